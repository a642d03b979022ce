"""Name look-ups for aiohttp on the engine's own thread pool.

aiohttp's resolver, and `loop.getaddrinfo` below it, use the loop's default executor: it belongs to the
host, has few threads, and one stalled DNS server would stop every other look-up in the process (faults
F41, M17). This one asks through the `call` of a probe's or a sink's context, which is bounded and has
one call outstanding per component. It keeps no cache; the connector's own is used. Only leaves import
this module: `import engine` must not pull in aiohttp.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401  # getaddrinfo imports it on first use, which fails when descriptors are out (M25)
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from aiohttp.abc import AbstractResolver, ResolveResult

from engine.errors import ProbeError, SinkError

__all__ = ["PoolResolver"]

T = TypeVar("T")


class PoolResolver(AbstractResolver):
    """Resolves names by `getaddrinfo` on a thread pool.

    Args:
        call: `context.call` of the probe or sink the session belongs to.
    """

    def __init__(self, call: Callable[[Callable[[], T]], Awaitable[T]]) -> None:
        self._call = call

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of `host`.

        Raises:
            OSError: No such name, or an earlier look-up of this component still hangs: that is how a name
                looks that can't be found. aiohttp turns it into `ClientConnectorDNSError`.
            ProbeError, SinkError: The pool has no thread for it. That is not the target's fault.
        """
        try:
            found: list[ResolveResult] = await self._call(partial(_look_up, host, port, family))  # type: ignore[arg-type, assignment]
        except (ProbeError, SinkError) as error:
            if error.reason != "busy":
                raise
            raise OSError("an earlier look-up still hangs") from None
        except UnicodeError:
            raise OSError("no such name can exist") from None
        if not found:  # aiohttp asserts that there is one
            raise OSError("no address")
        return found

    async def close(self) -> None:
        """Nothing to release: the pool belongs to the engine."""


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    """The blocking part. IPv6 addresses keep their scope (`fe80::1%eth0`), as they are useless without it."""
    found = []
    for kind, _, protocol, _, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG
    ):
        numeric, _ = socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
        found.append(
            ResolveResult(
                hostname=host,
                host=numeric,
                port=int(address[1]),
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
        )
    return found
