"""Signatures, held against the reference implementation of Standard Webhooks."""

import base64
import time
from collections.abc import Mapping

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from engine.clock import SystemClock
from engine.secrets import Secret
from engine.testing import START_MS, VirtualClock, run_virtual
from sinks._http import wall_ms
from sinks._signing import KEY_BYTES_MIN, keys_of, signed_headers
from sinks.webhook import WebhookOptions, WebhookSink
from tests.sinks.context import NOW_MS, StillClock, context

OLD = "whsec_" + base64.b64encode(b"o" * 32).decode()
NEW = "whsec_" + base64.b64encode(bytes(range(24))).decode()
OTHER = "whsec_" + base64.b64encode(b"x" * 32).decode()


def verified(secret: str, body: bytes, headers: Mapping[str, str]) -> bool:
    try:
        Webhook(secret).verify(body, dict(headers), json_parse=False)
    except WebhookVerificationError:
        return False
    return True


@given(st.text(), st.binary(min_size=KEY_BYTES_MIN, max_size=64))
def test_the_reference_implementation_verifies_what_is_signed(text: str, key: bytes) -> None:
    body = text.encode("utf-8", "replace")
    secret = "whsec_" + base64.b64encode(key).decode()
    headers = signed_headers(keys_of([Secret(secret)]), "evt_1", int(time.time()), body)
    assert verified(secret, body, headers)
    assert not verified(secret, body + b" ", headers)
    assert not verified(secret, body, headers | {"webhook-id": "evt_2"})
    assert not verified(OTHER, body, headers)


async def test_while_keys_are_exchanged_either_verifies_each_attempt_f52_f53() -> None:
    """And an attempt has its own time: a receiver refuses what was signed five minutes ago."""
    seen: list[tuple[bytes, dict[str, str]]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((await request.read(), dict(request.headers)))
        return web.Response()

    app = web.Application()
    app.router.add_post("/", handler)
    clock = StillClock()
    async with TestServer(app) as server:
        options = WebhookOptions(url=Secret(str(server.make_url("/"))), secrets=[Secret(NEW), Secret(OLD)])
        sink = WebhookSink(options, context(clock=clock))
        await sink.open()
        for wall_s in (time.time() - 600, time.time()):
            clock.wall_ms = round(wall_s * 1000)
            await sink.deliver("evt_1", '{"a":"ü"}'.encode())
        await sink.close()
    (body, late), (again, headers) = seen
    assert body == again
    assert late["webhook-id"] == headers["webhook-id"] == "evt_1"
    assert [verified(secret, body, headers) for secret in (OLD, NEW, OTHER)] == [True, True, False]
    assert not verified(NEW, body, late)
    assert len(headers["webhook-signature"].split(" ")) == 2


def test_after_our_clock_was_set_back_a_signature_has_the_time_on_the_wall_f53() -> None:
    """Event time runs on, an hour ahead; a receiver would refuse that."""

    async def main(clock: VirtualClock) -> None:
        clock.look()
        clock.step(-3_600_000)
        clock.look()
        assert clock.now_ms() == START_MS
        assert wall_ms(clock) == START_MS - 3_600_000

    run_virtual(main)
    assert abs(wall_ms(SystemClock()) - time.time() * 1000) < 60_000
    assert wall_ms(StillClock()) == NOW_MS


async def test_without_a_secret_there_is_no_signature_and_the_rest_is_there() -> None:
    headers = signed_headers((), "evt_1", 7, b"")
    assert headers == {"webhook-id": "evt_1", "webhook-timestamp": "7"}


@pytest.mark.parametrize(
    "text",
    ["whsec_", "whsec_" + base64.b64encode(b"x" * 23).decode(), "whsec_!" + "A" * 40, "plain-canary" * 4, "é" * 40],
)
def test_a_secret_that_is_none_or_too_short_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ValueError, match="secrets: number 2 is not base64 of at least 24 bytes") as caught:
        WebhookOptions(url=Secret("http://x"), secrets=[Secret(OLD), Secret(text)])
    assert (text.removeprefix("whsec_") or OLD) not in str(caught.value)


def test_there_are_not_endlessly_many() -> None:
    with pytest.raises(ValueError, match="secrets: at most 8, not 9"):
        keys_of([Secret(OLD)] * 9)


def test_padding_and_prefix_may_be_left_out() -> None:
    assert keys_of([Secret(OLD.rstrip("=")), Secret(OLD.removeprefix("whsec_"))]) == (b"o" * 32, b"o" * 32)


@pytest.mark.parametrize("name", ["webhook-signature", "Webhook-Timestamp", "WEBHOOK-ID"])
def test_nobody_else_sets_these_headers_f143(name: str) -> None:
    with pytest.raises(ValueError, match="is set by the sink itself"):
        WebhookOptions(url=Secret("http://x"), headers={name: Secret("1")})
