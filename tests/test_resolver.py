"""engine/resolver.py: look-ups go to the pool they were given, and nowhere else."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from engine.errors import ProbeError
from engine.resolver import PoolResolver


async def here(function: Callable[[], Any]) -> Any:
    return function()


async def test_a_name_and_a_literal_resolve_on_the_pool() -> None:
    """M17: and the loop's default executor is not so much as created."""
    calls = []

    async def counted(function: Callable[[], Any]) -> Any:
        calls.append(function)
        return function()

    resolver = PoolResolver(counted)
    (found,) = await resolver.resolve("127.0.0.1", 80)
    assert found == {
        "hostname": "127.0.0.1",
        "host": "127.0.0.1",
        "port": 80,
        "family": socket.AF_INET,
        "proto": 6,
        "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    }
    assert "127.0.0.1" in [item["host"] for item in await resolver.resolve("localhost", 443)]
    assert len(calls) == 2
    assert asyncio.get_running_loop()._default_executor is None  # type: ignore[attr-defined]
    await resolver.close()


async def test_ipv6_addresses_keep_their_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    def link_local(*_: Any, **__: Any) -> Any:
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1", 80, 0, 1))]

    monkeypatch.setattr(socket, "getaddrinfo", link_local)
    (found,) = await PoolResolver(here).resolve("router", 80, socket.AF_UNSPEC)
    assert found["host"].startswith("fe80::1%")
    assert found["port"] == 80


@pytest.mark.parametrize("host", ["a" * 70 + ".example", "\udcff.example", "no-such-host.invalid"])
async def test_what_has_no_address_is_an_os_error(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """F41: aiohttp turns it into its own error; anything else would pass through it unseen."""
    if host.endswith(".invalid"):

        def unknown(*_: Any, **__: Any) -> Any:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(OSError, match=r".+"):
        await PoolResolver(here).resolve(host)


async def test_a_look_up_that_hangs_is_an_os_error_of_the_next() -> None:
    """F41: one stalled look-up costs its own component, which is told so."""

    async def busy(_: Any) -> Any:
        raise ProbeError("busy", "an earlier blocking call has not returned")

    with pytest.raises(OSError, match="still hangs"):
        await PoolResolver(busy).resolve("example.org")


def test_importing_the_engine_does_not_import_it() -> None:
    code = "import engine, sys; sys.exit('engine.resolver' in sys.modules or 'aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
