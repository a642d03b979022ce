"""`heartbeat`: calls a URL at each interval while the engine gets on, so that the outside notices when it does not.

A dead engine can't say that it is dead. Somebody else must miss its call: a service for it, another host's monitor. So
the call is made only while every part that must get on does: a heart that beats while nothing is measured or judged
would be worse than none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final

import msgspec

from engine.durations import Duration
from engine.errors import SinkError
from engine.ports import Clock, Options, Progress, SinkContext
from engine.secrets import Secret
from sinks._guard import networks_of
from sinks._http import HttpClient, check_headers, check_timeout, check_url

__all__ = ["HeartbeatOptions", "HeartbeatSink"]

_OURS: Final = frozenset({"content-type"})


class HeartbeatOptions(Options, frozen=True, kw_only=True):
    """`[sink.NAME]` with `type = "heartbeat"`; described in docs/sinks.md.

    Args:
        url: What to call, by GET.
        headers: Headers to send; their values are secrets.
        interval: How often, 5 s to 1 h.
        timeout: How long one call may take, 100 ms to 30 s.
        allow_addresses: Addresses or networks to connect to although they are link-local, multicast or reserved.
    """

    url: Secret
    headers: dict[str, Secret] = {}
    interval: Annotated[Duration, msgspec.Meta(extra={"min_ms": 5_000, "max_ms": 3_600_000})] = msgspec.field(
        default_factory=lambda: Duration.parse("1m")
    )
    timeout: Duration = msgspec.field(default_factory=lambda: Duration.parse("10s"))
    allow_addresses: list[str] = []

    def __post_init__(self) -> None:
        check_url("url", self.url)
        check_timeout(self.timeout)
        check_headers(self.headers, _OURS)
        networks_of(self.allow_addresses)


class HeartbeatSink:
    """Calls a URL while the engine gets on.

    Attributes:
        interval_s: Seconds between two calls.
    """

    Options: ClassVar[type[HeartbeatOptions]] = HeartbeatOptions

    def __init__(self, options: HeartbeatOptions, context: SinkContext) -> None:
        self.interval_s = options.interval.seconds
        self._url = options.url
        self._headers = {name: value.reveal() for name, value in options.headers.items()}
        self._clock: Clock = context.clock
        self._client = HttpClient(context, options.timeout, options.allow_addresses)

    async def open(self) -> None:
        """Make the session. It connects to nothing yet."""
        await self._client.open()

    async def close(self) -> None:
        """Close the session."""
        await self._client.close()

    async def tick(self, parts: Mapping[str, Progress]) -> None:
        """Make one call, if everything gets on.

        Raises:
            SinkError: `stuck`: a part of the engine got nowhere for too long, so no call was made. Or the call failed,
                as by `HttpClient.request`.
        """
        now_s = self._clock.monotonic()
        stuck = {name: now_s - part.last_s for name, part in parts.items() if now_s - part.last_s > part.limit_s}
        if stuck or not parts:
            words = ", ".join(f"{name} for {age_s:.0f} s" for name, age_s in sorted(stuck.items()))
            what = f"got nowhere: {words}" if stuck else "nothing is known of the engine's parts"
            raise SinkError("stuck", f"no call was made; {what}", retryable=True)
        await self._client.request("GET", self._url, self._headers)
