"""Where a sink may connect to, and that no spelling and no name gets around it."""

import asyncio
import socket
from typing import Any

import msgspec
import pytest

from engine.durations import Duration
from engine.errors import SinkError
from engine.secrets import Secret
from sinks._guard import ForbiddenAddress, Guard, networks_of, reason_against
from sinks.webhook import WebhookOptions, WebhookSink
from tests.sinks.context import context

ALLOWED = [
    *("127.0.0.1", "127.8.9.10", "::1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "fc00::1", "fd12:3456::1"),
    *("8.8.8.8", "2606:4700::1", "100.64.0.1", "198.18.0.1"),
    # The same, written otherwise.
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::808:808", "64:ff9b::a00:1", "2002:808:808::1"),
]
FORBIDDEN = {
    "link-local": ["169.254.169.254", "169.254.1.1", "fe80::1", "fe80::1%eth0", "febf::1"],
    "link-local, mapped": ["::ffff:169.254.169.254", "::ffff:a9fe:a9fe"],
    "link-local, NAT64": ["64:ff9b::a9fe:a9fe", "64:ff9b::169.254.169.254"],
    "link-local, 6to4": ["2002:a9fe:a9fe::", "2002:a9fe:a9fe::1"],
    "metadata service": ["100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254", "::ffff:100.100.100.200"],
    "multicast": ["224.0.0.1", "239.255.255.250", "ff02::1", "::ffff:224.0.0.1", "64:ff9b::e000:1"],
    "unspecified": ["0.0.0.0", "::", "::ffff:0.0.0.0", "2002::"],
    "reserved": ["0.1.2.3", "192.0.0.8", "192.0.0.192", "240.0.0.1", "255.255.255.255", "::169.254.169.254"],
    "reserved, IPv6": ["64:ff9b:1::a9fe:a9fe", "2001:0:1::1", "100::1", "4000::1", "fe00::1"],
    "not an address": ["", "localhost", "169.254.169.254.example", "0x7f000001", "2130706433", "127.1"],
}


@pytest.mark.parametrize("address", ALLOWED)
def test_what_an_operator_may_mean_is_allowed_f54(address: str) -> None:
    assert reason_against(address) == ""


@pytest.mark.parametrize(("kind", "address"), [(kind, one) for kind, many in FORBIDDEN.items() for one in many])
def test_what_no_receiver_is_at_is_refused_f54(kind: str, address: str) -> None:
    assert reason_against(address) == kind.partition(",")[0]
    with pytest.raises(ForbiddenAddress):
        Guard()((socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 80)))


def test_an_allow_list_opens_what_it_names_and_no_more() -> None:
    allowed = networks_of(["169.254.7.0/24", "fe80::/10", "100.100.100.200"])
    for address in ("169.254.7.7", "::ffff:169.254.7.7", "64:ff9b::a9fe:707", "fe80::1%eth0", "100.100.100.200"):
        assert reason_against(address, allowed) == ""
    assert reason_against("169.254.169.254", allowed) == "link-local"


@pytest.mark.parametrize("texts", [["nonsense"], ["10.0.0.1/8"], [""], ["10.0.0.0/33"], ["1.1.1.1"] * 33])
def test_an_allow_list_that_is_none_is_refused(texts: list[str]) -> None:
    with pytest.raises(ValueError, match="allow_addresses: "):
        WebhookOptions(url=Secret("http://x"), allow_addresses=texts)


async def refusal(url: str, resolves_to: str = "", **options: Any) -> SinkError:
    """What a delivery to the URL comes to; nothing must be connected to."""

    async def call(_: Any) -> Any:
        family = socket.AF_INET6 if ":" in resolves_to else socket.AF_INET
        found = {"hostname": "x", "host": resolves_to, "port": 80, "family": family, "proto": 0, "flags": 0}
        return [found]

    given = msgspec.structs.replace(context(), call=call)
    sink = WebhookSink(WebhookOptions(url=Secret(url), timeout=Duration(500), **options), given)
    await sink.open()
    try:
        with pytest.raises(SinkError) as caught:
            await sink.deliver("evt_1", b"{}")
    finally:
        await sink.close()
    return caught.value


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::]", "0.0.0.0"]
)
async def test_no_spelling_of_an_address_gets_around_it_f54(host: str) -> None:
    """M34: a resolver is not asked for an address in digits; whoever makes the socket is."""
    error = await refusal(f"http://{host}/latest/meta-data/")
    assert (error.reason, error.retryable) == ("forbidden_address", True)
    assert "latest" not in str(error)


@pytest.mark.parametrize("leads_to", ["169.254.169.254", "fe80::1", "::ffff:a9fe:a9fe"])
async def test_no_name_that_leads_there_gets_around_it_f54_f41(leads_to: str) -> None:
    """Asked at each connection, so that a name that is bound anew after a check leads nowhere either."""
    error = await refusal("http://innocent.example/", leads_to)
    assert error.reason == "forbidden_address"


async def test_a_name_that_is_bound_anew_is_looked_at_anew_f54_f41() -> None:
    """Its first address is fine, and takes the message; a redirect there is not followed either."""
    answers = iter(["127.0.0.1", "169.254.169.254", "127.0.0.1"])
    head = iter([b"204 X", b"302 X\r\nLocation: http://169.254.169.254/latest"])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(b"HTTP/1.1 " + next(head) + b"\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async def call(_: Any) -> Any:
        found = {"hostname": "x", "host": next(answers), "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}
        return [found]

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    given = msgspec.structs.replace(context(), call=call)
    sink = WebhookSink(WebhookOptions(url=Secret(f"http://rebound.example:{port}/")), given)
    await sink.open()
    await sink.deliver("evt_1", b"{}")
    for reason in ("forbidden_address", "redirect"):
        sink._client._session.connector.clear_dns_cache()  # type: ignore[union-attr]  # ten seconds have passed
        with pytest.raises(SinkError) as caught:
            await sink.deliver("evt_2", b"{}")
        assert caught.value.reason == reason
    await sink.close()
    listening.close()
    await listening.wait_closed()
    assert [*answers, *head] == [], "each attempt has asked"


def test_a_socket_is_made_for_what_is_allowed() -> None:
    with Guard()((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("10.0.0.1", 80))) as made:
        assert (made.family, made.type) == (socket.AF_INET, socket.SOCK_STREAM)
    Guard(networks_of(["169.254.7.7"]))((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("169.254.7.7", 80))).close()
