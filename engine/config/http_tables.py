"""`[http]` and `[heartbeat.NAME]`: the shape of what the operator may write about the listener. Nothing here listens.

A struct checks itself; the messages begin with the key that they are about, and never show a token.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta

from engine.durations import Duration
from engine.ports import Options
from engine.secrets import Secret

__all__ = ["HEARTBEATS_MAX", "HeartbeatConfig", "HeartbeatTable", "HttpTable"]

HEARTBEATS_MAX: Final = 100
"""Each has nine series at most, and what the engine says of itself is made in one go."""
HOSTS_MAX: Final = 64
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,62}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,62}[a-z0-9_])?)*\.?")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,512}")  # RFC 6750: what stands behind "Bearer"

# At most what a sample can say of its interval, see engine.runtime.intake.
_Every: TypeAlias = Annotated[Duration, Meta(extra={"min_ms": 1_000, "max_ms": 366 * 86_400_000})]


class HttpTable(Options, frozen=True, kw_only=True):
    """`[http]`: the engine listens for health checks, scrapes and heartbeats. Without this table it listens nowhere.

    Args:
        address: The IP address to listen at; 0.0.0.0 or :: is every one of this machine.
        port: The TCP port; 0 takes any that is free.
        allowed_hosts: Names, without a port, that it may be called by in the header Host, beside the address that was
            connected to and, from this machine, localhost.
        token: What /metrics and heartbeats ask for: `Authorization: Bearer TOKEN`. At least 16 characters.
        insecure_bind: Whether to listen at an address that others can reach although there is no token.
        connections_max: How many connections are served at the same time; others are told to come back.
    """

    address: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 9797
    allowed_hosts: list[str] = []
    token: Secret | None = None
    insecure_bind: bool = False
    connections_max: Annotated[int, Meta(ge=1, le=10_000)] = 64

    def __post_init__(self) -> None:
        try:
            address = ipaddress.ip_address(self.address)
        except ValueError:
            raise ValueError('address: not an IP address; write "127.0.0.1" for this machine alone') from None
        if len(self.allowed_hosts) > HOSTS_MAX:
            raise ValueError(f"allowed_hosts: at most {HOSTS_MAX}, not {len(self.allowed_hosts)}")
        for number, host in enumerate(self.allowed_hosts, 1):
            if not _is_host(host):
                raise ValueError(f'allowed_hosts: entry {number} is not a host; write it like "watch.example.org"')
        _check_token(self.token)
        if not (address.is_loopback or self.token or self.insecure_bind):
            raise ValueError(
                "address: other machines can reach it and no token is set; "
                "set http.token, or insecure_bind = true if something before it lets nobody else in"
            )


class HeartbeatTable(Options, frozen=True, kw_only=True):
    """`[heartbeat.NAME]`: a call that somebody else makes, such as a cron job when it is done; needs `[http]`.

    Args:
        every: How often the call comes. Without one for this long its series are stale.
        token: What the call must bring, `Authorization: Bearer TOKEN`, instead of that of [http].
        labels: Labels of its series, beside `heartbeat`, its name.
    """

    every: _Every
    token: Secret | None = None
    labels: dict[str, str] = {}

    def __post_init__(self) -> None:
        _check_token(self.token)
        if "heartbeat" in self.labels:
            raise ValueError("labels: the label heartbeat is the heartbeat's name; use another label")


class HeartbeatConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One heartbeat and its name."""

    name: str
    table: HeartbeatTable


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return bool(_HOST.fullmatch(text.lower()))
    return True


def _check_token(token: Any) -> None:
    if token is not None and not _TOKEN.fullmatch(token.reveal()):
        raise ValueError(
            "token: not a token: 16 to 512 letters, digits and . _ ~ + / = -; make one with `openssl rand -hex 16`"
        )
