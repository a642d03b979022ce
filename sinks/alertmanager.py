"""`alertmanager`: keeps Alertmanagers told, by POST /api/v2/alerts.

The API is level-triggered, so a message is not sent and done: what fires is posted again at each interval, to every
Alertmanager (they form a cluster, and each expects to hear it from us). One that is down delays no other, and is told
everything when it is back.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Final
from urllib.parse import urlsplit

import msgspec

from engine.durations import Duration
from engine.errors import SinkError
from engine.ports import Notification, Options, Progress, SinkContext
from engine.secrets import Secret
from sinks._alert_table import AlertTable, decode, encode, is_over, told_of
from sinks._alertmanager_target import Target
from sinks._guard import networks_of
from sinks._http import HttpClient, check_headers, check_timeout, check_url

__all__ = ["AlertmanagerOptions", "AlertmanagerSink"]

API_PATH: Final = "/api/v2/alerts"
_API_PATHS: Final = re.compile(r"(/api/v[0-9](?:/alerts)?)/*\Z")
VALID_INTERVALS: Final = 4
"""A firing alert is said to end after so many intervals, as by Prometheus: three posts may fail without a flap."""
URLS_MAX: Final = 16
_OURS: Final = frozenset({"content-type"})


class AlertmanagerOptions(Options, frozen=True, kw_only=True):
    """`[sink.NAME]` with `type = "alertmanager"`; described in docs/sinks.md.

    Args:
        urls: Where the Alertmanagers are; all of them are told everything.
        headers: More headers to send; their values are secrets.
        interval: How often everything that fires is posted again, 1 s to 10 min.
        timeout: How long one request may take, 100 ms to 30 s.
        allow_addresses: Addresses or networks to connect to although they are link-local, multicast or reserved.
    """

    urls: list[Secret]
    headers: dict[str, Secret] = {}
    interval: Annotated[Duration, msgspec.Meta(extra={"min_ms": 1_000, "max_ms": 600_000})] = msgspec.field(
        default_factory=lambda: Duration.parse("1m")
    )
    timeout: Duration = msgspec.field(default_factory=lambda: Duration.parse("10s"))
    allow_addresses: list[str] = []

    def __post_init__(self) -> None:
        if not 1 <= len(self.urls) <= URLS_MAX:
            raise ValueError(f"urls: from 1 to {URLS_MAX} Alertmanagers, not {len(self.urls)}")
        for url in self.urls:
            check_url("urls", url)
            if set("?#") & set(url.reveal()):
                raise ValueError("urls: an Alertmanager's URL has no ? and no #; write it like http://127.0.0.1:9093")
            if written := _API_PATHS.search(url.reveal()):
                raise ValueError(f"urls: without {written[1]} at its end; write it like http://127.0.0.1:9093")
        check_timeout(self.timeout)
        check_headers(self.headers, _OURS)
        networks_of(self.allow_addresses)


class AlertmanagerSink:
    """A receiver that keeps what fires, and posts it again and again.

    Attributes:
        interval_s: Seconds between two posts of everything.
    """

    Options: ClassVar[type[AlertmanagerOptions]] = AlertmanagerOptions

    def __init__(self, options: AlertmanagerOptions, context: SinkContext) -> None:
        self.interval_s = options.interval.seconds
        self._clock = context.clock
        self._client = HttpClient(context, options.timeout, options.allow_addresses)
        self._table = AlertTable(VALID_INTERVALS * int(options.interval))
        headers = {name: value.reveal() for name, value in options.headers.items()}
        self._targets = [Target(_api(url), self._table, self._client, headers, context.clock) for url in options.urls]
        self._is_open = False

    async def open(self) -> None:
        """Make the session. It connects to nothing yet."""
        await self._client.open()
        self._is_open = True

    async def close(self) -> None:
        """End what is under way and close the session."""
        self._is_open = False
        for target in self._targets:
            await target.close()
        await self._client.close()

    def render(self, notification: Notification) -> bytes:
        """Return what a notification tells, in a form of our own: what is posted has times that change. Pure."""
        return encode(notification)

    def resume(self, standing: Notification) -> None:
        """Take what stands when the engine starts, and post it at once if the sink is open."""
        now_ms = self._clock.now_ms()
        changed = self._table.apply([one for one in told_of(standing) if not is_over(one, now_ms)], now_ms)
        for target in self._targets:
            target.mark(changed)
            if self._is_open:
                target.begin()

    async def deliver(self, message_id: str, body: bytes) -> None:
        """Keep what a message tells, and post it to every Alertmanager; return when one of them has taken it. The
        others are told meanwhile, or as soon as they can be.

        Raises:
            SinkError: None has taken it: the first one's reason, as by `HttpClient.request`. Or each one called an
                alert of it bad (`http_400`), or there is no room for it (`full`).
        """
        if not self._is_open:
            raise SinkError("closed", "the sink is not open", retryable=True)
        changed = self._table.apply(decode(body), self._clock.now_ms())
        for target in self._targets:
            target.mark(changed)
        failure = await self._first_success()
        if failure is not None:
            raise _again(failure)
        bad = [name for name in changed if all(target.refuses(name) for target in self._targets)]
        if bad:
            message = f"{self._targets[0].url.origin}: called {len(bad)} of {len(changed)} alerts bad"
            raise SinkError("http_400", message, retryable=False, status=400)

    async def tick(self, parts: Mapping[str, Progress]) -> None:
        """Post everything again, to all of them.

        Raises:
            SinkError: At least one could not be told; the reason is that of the first.
        """
        self._table.forget(self._clock.now_ms())
        for target in self._targets:
            target.mark_all()
        rounds = [target.post() for target in self._targets]
        await asyncio.wait(rounds)
        failures = [failure for one in rounds if (failure := _outcome(one)) is not None]
        if failures:
            message = f"{len(failures)} of {len(rounds)} Alertmanagers could not be told; {failures[0]}"
            raise SinkError(failures[0].reason, message, retryable=True)

    async def _first_success(self) -> SinkError | None:
        """None as soon as one Alertmanager has taken what waits for it, or the first failure if none has."""
        rounds: Sequence[asyncio.Future[SinkError | None]] = [target.post() for target in self._targets]
        pending = set(rounds)
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            if any(_outcome(one) is None for one in done):
                return None
        return _outcome(rounds[0])


def _outcome(one: asyncio.Future[SinkError | None]) -> SinkError | None:
    if one.cancelled():
        return SinkError("closed", "the sink was closed", retryable=True)
    return one.result()


def _again(failure: SinkError) -> SinkError:
    """The same failure, raised anew: one object raised twice would gather tracebacks."""
    return SinkError(
        failure.reason,
        str(failure),
        retryable=failure.retryable,
        retry_after_s=failure.retry_after_s,
        status=failure.status,
    )


def _api(url: Secret) -> Secret:
    """The API below the URL that an Alertmanager is reached at, which may have a path."""
    text = url.reveal()
    return Secret(text.rstrip("/") + API_PATH if urlsplit(text).path else text + API_PATH)
