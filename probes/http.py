"""The `http` probe: asks one URL and reports whether, how fast and with which status it answered.

A target that is down is a measurement, `probe_success 0`, and so is a name that does not resolve. The
probe itself has failed only when this machine is out of something it needs to ask. It must never show
more of the URL than host and port, never read more of an answer than `BODY_BYTES_MAX`, and never use
the loop's default executor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Final, Literal, NamedTuple
from urllib.parse import urljoin, urlsplit

import aiohttp
import msgspec

from engine.events import Event
from engine.ports import KnownLabels, Options, ProbeContext
from engine.secrets import Secret
from probes.asking import Asker, authority, budget_s, check_headers, check_url, failure
from probes.batcher import Batcher, key

__all__ = ["HttpOptions", "HttpProbe"]

BODY_BYTES_MAX: Final = 64 * 1024
"""What is read of an answer's body; the rest is left unread and the connection closed."""
REDIRECTS_MAX: Final = 5
HEALTH_PATH: Final = "/health"

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class HttpOptions(Options, frozen=True, kw_only=True):
    """Options of `[probe.NAME]` with `type = "http"`.

    Args:
        url: What to ask, `http://` or `https://`. Credentials and tokens in it are never shown.
        preset: `health` asks `/health` if the URL has no path, and takes 200 to 399 for a success, as
            Kubernetes does.
        method: `GET`, or `HEAD` for the headers alone.
        expect_status: Which statuses are a success; empty means 200 to 299, or what the preset says.
        headers: Request headers.
        follow_redirects: Follow up to `REDIRECTS_MAX` redirects; the last answer counts.
        insecure_tls: Take any certificate.
    """

    url: Secret
    preset: Literal["health"] | None = None
    method: Literal["GET", "HEAD"] = "GET"
    expect_status: list[Annotated[int, msgspec.Meta(ge=100, le=599)]] = []
    headers: dict[str, Secret] = {}
    follow_redirects: bool = False
    insecure_tls: bool = False

    def __post_init__(self) -> None:
        check_url(self.url)
        check_headers(self.headers, self.url)


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, authority(parts)


class _Answer(NamedTuple):
    """`status` is 0 without an answer; `failure` is empty, or why this is not a success."""

    status: int
    failure: str


class HttpProbe:
    """Asks one URL, on a new connection each time."""

    Options: ClassVar[type[HttpOptions]] = HttpOptions
    DEFAULT_INTERVAL: ClassVar[str] = "30s"
    DEFAULT_TIMEOUT: ClassVar[str] = "10s"
    METRICS: ClassVar[tuple[str, ...]] = (
        "probe_success",
        "probe_duration_seconds",
        "probe_http_status_code",
        "probe_failure_info",
    )

    @staticmethod
    def known_labels(metric: str, options: HttpOptions, name: str, labels: Mapping[str, str]) -> KnownLabels:
        """See `Probe`."""
        own = {"instance": authority(urlsplit(options.url.reveal())), "probe": name} | dict(labels)
        return KnownLabels(own, complete=metric != "probe_failure_info")

    def __init__(self, options: HttpOptions, context: ProbeContext) -> None:
        url = urlsplit(options.url.reveal())
        if options.preset == "health" and url.path in {"", "/"}:
            url = url._replace(path=HEALTH_PATH)
        self._url = url.geturl()
        self._options = options
        self._context = context
        self._headers = {name: value.reveal() for name, value in options.headers.items()}
        self._budget_s = budget_s(context.timeout_ms)
        own = self.known_labels("probe_success", options, context.name, context.labels).labels
        self._batcher = Batcher(own, context.interval_ms)
        self._asker = Asker(context, options.insecure_tls, {"Accept-Encoding": "identity"})

    async def open(self) -> None:
        """Create the session; nothing is asked yet."""
        await self._asker.open()

    async def collect(self) -> Sequence[Event]:
        """Ask once and return one batch, whatever came of it.

        Raises:
            ProbeError: `no_resources`, if this machine is out of descriptors or memory; `closed`,
                before `open`.
        """
        session, clock = self._asker.session, self._context.clock
        started_s = clock.monotonic()
        answer = await self._ask(session)
        values = {
            key("probe_success"): 0.0 if answer.failure else 1.0,
            key("probe_duration_seconds"): clock.monotonic() - started_s,
            key("probe_http_status_code"): float(answer.status),
        }
        if answer.failure:
            values[key("probe_failure_info", reason=answer.failure)] = 1.0
        return [self._batcher.batch(clock.now_ms(), values)]

    async def close(self) -> None:
        """Close the session and its connections."""
        await self._asker.close()

    async def _ask(self, session: aiohttp.ClientSession) -> _Answer:
        url, headers, status = self._url, self._headers, 0
        try:
            async with asyncio.timeout(self._budget_s):
                for _ in range(REDIRECTS_MAX + 1):
                    async with session.request(
                        self._options.method, url, headers=headers, allow_redirects=False
                    ) as response:
                        status = response.status
                        target = response.headers.get("Location") if status in _REDIRECTS else None
                        if target is None or not self._options.follow_redirects:
                            await _read_some(response)
                            return _Answer(status, "" if self._is_expected(status) else "status")
                        response.close()
                    following = urljoin(url, target)
                    if not following.lower().startswith(("http://", "https://")):
                        return _Answer(status, "redirect")
                    if _origin(following) != _origin(url):
                        headers = {}  # they may be secrets, and they were meant for the first host
                    url = following
                return _Answer(status, "redirect")
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            return _Answer(status, failure(error))

    def _is_expected(self, status: int) -> bool:
        if self._options.expect_status:
            return status in self._options.expect_status
        return 200 <= status < (400 if self._options.preset == "health" else 300)


async def _read_some(response: aiohttp.ClientResponse) -> None:
    """Read up to `BODY_BYTES_MAX` of the body, throw it away and close. Half an answer is not an answer."""
    left = BODY_BYTES_MAX
    while left > 0 and (chunk := await response.content.read(left)):
        left -= len(chunk)
    response.close()
