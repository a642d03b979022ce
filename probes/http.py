"""The `http` probe: asks one URL and reports whether, how fast and with which status it answered.

A target that is down is a measurement, `probe_success 0`, and so is a name that does not resolve. The
probe itself has failed only when this machine is out of something it needs to ask. It must never show
more of the URL than host and port, never read more of an answer than `BODY_BYTES_MAX`, and never use
the loop's default executor.
"""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Annotated, ClassVar, Final, Literal, NamedTuple
from urllib.parse import SplitResult, urljoin, urlsplit

import aiohttp
import msgspec

from engine.errors import ProbeError
from engine.events import Event
from engine.ports import Options, ProbeContext
from engine.resolver import PoolResolver
from engine.secrets import Secret
from probes.batcher import Batcher, key

__all__ = ["HttpOptions", "HttpProbe"]

BODY_BYTES_MAX: Final = 64 * 1024
"""What is read of an answer's body; the rest is left unread and the connection closed."""
HEADER_BYTES_MAX: Final = 8190
"""Longest status or header line of an answer."""
HEADERS_MAX: Final = 128
REDIRECTS_MAX: Final = 5
HEALTH_PATH: Final = "/health"
USER_AGENT: Final = "longwatch"

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# What frames the request is not the operator's to set: it would make one request look like two.
_FRAMING = frozenset({"connection", "content-length", "transfer-encoding", "upgrade"})
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
# Out of descriptors or memory: it is this machine that can't ask, and nothing is known of the target.
_OUR_OWN = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


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
        _check_url(self.url.reveal())
        for name, value in self.headers.items():
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"headers: {name[:80]!a} is not a name that HTTP allows")
            if name.lower() in _FRAMING:
                raise ValueError(f"headers: {name} can't be set, it belongs to the connection")
            if _CONTROL.search(value.reveal().replace(" ", "").replace("\t", "")):
                raise ValueError(f"headers: the value of {name} has a control character in it")
            if name.lower() == "authorization" and "@" in urlsplit(self.url.reveal()).netloc:
                raise ValueError(f"headers: {name} is given and the url has credentials, too; keep one of them")


def _check_url(text: str) -> None:
    """Raise `ValueError` without any of the text in it: tokens may be anywhere in a URL."""
    if _CONTROL.search(text):
        raise ValueError("url: has a space or a control character in it; write a space as %20")
    if not text.lower().startswith(("http://", "https://")):
        raise ValueError("url: must start with http:// or https://")
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
        if host and (":" in host or not host.strip("0123456789.")):
            ip_address(host)
        host.encode("idna")
    except ValueError:
        raise ValueError("url: has a host or a port that can't be right") from None
    if not host or port == 0:
        raise ValueError("url: has no host or no port; write it like http://127.0.0.1:8080/health")


def _authority(url: SplitResult) -> str:
    """`host:port` with the port always there and nothing else of the URL."""
    host = url.hostname or ""
    return f"{f'[{host}]' if ':' in host else host}:{url.port or (443 if url.scheme == 'https' else 80)}"


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, _authority(parts)


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

    def __init__(self, options: HttpOptions, context: ProbeContext) -> None:
        url = urlsplit(options.url.reveal())
        if options.preset == "health" and url.path in {"", "/"}:
            url = url._replace(path=HEALTH_PATH)
        self._url = url.geturl()
        self._options = options
        self._context = context
        self._headers = {name: value.reveal() for name, value in options.headers.items()}
        self._budget_s = _budget_s(context.timeout_ms)
        own = {"instance": _authority(url), "probe": context.name}
        self._batcher = Batcher(own | dict(context.labels), context.interval_ms)
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Create the session; nothing is asked yet."""
        await self.close()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                # A kept connection may be closed by the server just as it is used again, and the target
                # would look down (F44). A new one each time also measures what a new client meets.
                force_close=True,
                use_dns_cache=False,
                resolver=PoolResolver(self._context.call),
                ssl=not self._options.insecure_tls,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            # One limit over connecting, redirects and body, in `_ask`. aiohttp's own counts each request
            # on its own, and rounds up to whole seconds, past the time-out of this probe.
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            max_headers=HEADERS_MAX,
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        )

    async def collect(self) -> Sequence[Event]:
        """Ask once and return one batch, whatever came of it.

        Raises:
            ProbeError: `no_resources`, if this machine is out of descriptors or memory; `closed`,
                before `open`.
        """
        if self._session is None:
            raise ProbeError("closed", "the probe is not open")
        clock = self._context.clock
        started_s = clock.monotonic()
        answer = await self._ask(self._session)
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
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _ask(self, session: aiohttp.ClientSession) -> _Answer:
        url, headers, status = self._url, self._headers, 0
        try:
            # Shorter than the time-out, so that what is told is "down" and not "the probe took too long".
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
        except TimeoutError:
            return _Answer(status, "timeout")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in _OUR_OWN:
                raise ProbeError("no_resources", f"can't ask: {errno.errorcode[error.errno]}") from None
            return _Answer(status, _failure(error))

    def _is_expected(self, status: int) -> bool:
        if self._options.expect_status:
            return status in self._options.expect_status
        return 200 <= status < (400 if self._options.preset == "health" else 300)


def _budget_s(timeout_ms: int) -> float:
    """How long asking may take, in seconds: less than the time-out by a twentieth, at least 50 ms."""
    return max(timeout_ms / 2, min(timeout_ms * 0.95, timeout_ms - 50)) / 1000


async def _read_some(response: aiohttp.ClientResponse) -> None:
    """Read up to `BODY_BYTES_MAX` of the body, throw it away and close. Half an answer is not an answer."""
    left = BODY_BYTES_MAX
    while left > 0 and (chunk := await response.content.read(left)):
        left -= len(chunk)
    response.close()


def _failure(error: Exception) -> str:
    """The reason code of what went wrong; foreign messages have the URL in them."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "dns"
        case aiohttp.ClientSSLError():
            return "tls"
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            return "refused"
        case aiohttp.ClientConnectorError():
            return "unreachable"
        case aiohttp.ClientPayloadError():
            return "broken_off"
        case aiohttp.ServerDisconnectedError() | OSError():
            return "disconnected"
        case _:
            return "bad_answer"
