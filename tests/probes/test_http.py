import asyncio
import errno
import gzip
import logging
import socket
import ssl
import tracemalloc
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aioresponses import aioresponses

from engine.clock import SystemClock
from engine.errors import ProbeError
from engine.events import SampleBatch
from engine.runtime.threads import ThreadPool
from engine.secrets import Secret
from engine.series import split_series
from probes.asking import HEADER_BYTES_MAX, HEADERS_MAX, budget_s
from probes.http import BODY_BYTES_MAX, REDIRECTS_MAX, HttpOptions, HttpProbe
from tests.probes.context import StillClock, by_series, context
from tests.probes.servers import Handler, dripping, free_port, saying, serving, silent, site

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def asking(url: str, *, timeout_ms: int = 5_000, labels: Any = None, call: Any = None, **options: Any) -> Any:
    """An open probe of a URL."""
    more = {"call": call} if call else {}
    given = context("web", timeout_ms=timeout_ms, clock=SystemClock(), **more, **(labels or {}))
    probe = HttpProbe(HttpOptions(url=Secret(url), **options), given)
    await probe.open()
    try:
        yield probe
    finally:
        await probe.close()


class Seen(msgspec.Struct):
    """One measurement, read back from its batch."""

    success: float = -1.0
    status: float = -1.0
    duration_s: float = -1.0
    failure: str = ""
    labels: dict[str, str] = {}


async def ask(probe: HttpProbe) -> Seen:
    (batch,) = await probe.collect()
    assert isinstance(batch, SampleBatch)
    seen = Seen()
    for series, value in by_series(batch).items():
        name, labels = split_series(series)
        match name:
            case "probe_success":
                seen.success, seen.labels = value, labels
            case "probe_http_status_code":
                seen.status = value
            case "probe_duration_seconds":
                seen.duration_s = value
            case "probe_failure_info" if value == 1.0:  # else the stale marker of the reason before
                assert not seen.failure
                seen.failure = labels["reason"]
    return seen


async def ask_once(url: str, **options: Any) -> Seen:
    async with asking(url, **options) as probe:
        return await ask(probe)


# --- statuses -------------------------------------------------------------------------------------


async def test_a_good_answer() -> None:
    async with site(root=200) as (url, requests), asking(url, labels={"env": "prod"}) as probe:
        seen = await ask(probe)
        assert (seen.success, seen.status, seen.failure) == (1.0, 200.0, "")
        assert 0 < seen.duration_s < 5
        host = url.removeprefix("http://").rstrip("/")
        assert seen.labels == {"env": "prod", "instance": host, "probe": "web"}
    assert requests[0].headers["User-Agent"] == "longwatch"
    assert requests[0].headers["Accept-Encoding"] == "identity"


async def test_the_batch_keeps_its_tuple_and_is_stamped_after_the_answer() -> None:
    clock = StillClock()

    def answer(_: web.Request) -> web.Response:
        clock.wall_ms += 1_500
        clock.monotonic_s += 1.5
        return web.Response()

    async with site(root=answer) as (url, _):
        probe = HttpProbe(HttpOptions(url=Secret(url)), context("web", clock=clock))
        await probe.open()
        (first,), (second,) = await probe.collect(), await probe.collect()
        await probe.close()
    assert isinstance(first, SampleBatch)
    assert isinstance(second, SampleBatch)
    assert first.series is second.series
    assert (second.time_ms, second.interval_ms) == (clock.wall_ms, 5_000)
    assert first.values.tolist() == [1.0, 1.5, 200.0]


@pytest.mark.parametrize(
    ("status", "options", "success"),
    [
        (200, {}, True),
        (204, {}, True),
        (302, {}, False),
        (404, {}, False),
        (500, {}, False),
        (302, {"preset": "health"}, True),
        (399, {"preset": "health"}, True),
        (400, {"preset": "health"}, False),
        (401, {"expect_status": [401, 403]}, True),
        (200, {"expect_status": [401, 403]}, False),
        (503, {"expect_status": [503], "preset": "health"}, True),
    ],
)
async def test_which_status_is_a_success(status: int, options: dict[str, Any], success: bool) -> None:
    async with site(root=status, health=status) as (url, _):
        seen = await ask_once(url, **options)
    assert (seen.success, seen.status, seen.failure) == (float(success), status, "" if success else "status")


@pytest.mark.parametrize(
    ("path", "asked"),
    [("", "/health"), ("/", "/health"), ("/?a=1", "/health?a=1"), ("/live", "/live"), ("?a=1", "/health?a=1")],
)
async def test_the_health_preset_fills_in_a_path_that_is_not_there(path: str, asked: str) -> None:
    async with site(health=200, live=200) as (url, requests):
        assert (await ask_once(url.rstrip("/") + path, preset="health")).success == 1.0
    assert [str(request.rel_url) for request in requests] == [asked]


async def test_head_asks_for_the_head_alone() -> None:
    async with site(root=200) as (url, requests):
        assert (await ask_once(url, method="HEAD")).success == 1.0
    assert [request.method for request in requests] == ["HEAD"]


async def test_headers_and_credentials_are_sent() -> None:
    async with site(root=200) as (url, requests):
        url = url.replace("http://", "http://user:pw@")
        seen = await ask_once(url, headers={"X-Key": Secret("k1"), "User-Agent": Secret("mine")})
    assert seen.success == 1.0
    assert "user" not in seen.labels["instance"]
    assert requests[0].headers["X-Key"] == "k1"
    assert requests[0].headers["User-Agent"] == "mine"
    assert requests[0].headers["Authorization"] == "Basic dXNlcjpwdw=="


async def test_a_change_of_the_reason_ends_the_one_before() -> None:
    answers = iter([500, 200, 200])
    async with site(root=lambda _: web.Response(status=next(answers))) as (url, _), asking(url) as probe:
        (down,), (up,), (after,) = [await probe.collect() for _ in range(3)]
    reason = [series for series in down.series if series.startswith("probe_failure_info")]
    assert reason
    assert 'reason="status"' in reason[0]
    assert by_series(down)[reason[0]] == 1.0
    assert by_series(up)[reason[0]] != by_series(up)[reason[0]], "no stale marker"
    assert up.stale == "ended"
    assert reason[0] not in after.series


# --- redirects ------------------------------------------------------------------------------------


def to(location: str, status: int = 302) -> Callable[[web.Request], web.Response]:
    return lambda _: web.Response(status=status, headers={"Location": location})


async def test_f36_a_redirect_is_not_followed_by_itself() -> None:
    async with site(root=to("/next"), next=200) as (url, requests):
        seen = await ask_once(url)
    assert (seen.success, seen.status, seen.failure) == (0.0, 302.0, "status")
    assert len(requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed_when_asked_to(status: int) -> None:
    async with site(root=to("/next", status), next=200) as (url, requests):
        seen = await ask_once(url, follow_redirects=True, headers={"X-Key": Secret("k1")}, method="HEAD")
    assert (seen.success, seen.status) == (1.0, 200.0)
    assert [request.headers.get("X-Key") for request in requests] == ["k1", "k1"]
    assert [request.method for request in requests] == ["HEAD", "HEAD"]


async def test_headers_do_not_follow_to_another_host() -> None:
    async with site(end=200) as (other, others), site(root=to(other + "end")) as (url, requests):
        authenticated = url.replace("http://", "http://user:pw@")
        seen = await ask_once(authenticated, follow_redirects=True, headers={"X-Key": Secret("k1")})
    assert seen.success == 1.0
    assert requests[0].headers["X-Key"] == "k1"
    assert "X-Key" not in others[0].headers
    assert "Authorization" not in others[0].headers


@pytest.mark.parametrize("location", ["/", "ftp://127.0.0.1/", "file:///etc/passwd", "http://[::1", "//"])
async def test_a_redirect_to_nowhere_is_a_failure(location: str) -> None:
    async with site(root=to(location)) as (url, requests):
        seen = await ask_once(url, follow_redirects=True)
    assert (seen.success, seen.status) == (0.0, 302.0)
    assert seen.failure in {"redirect", "bad_answer"}
    assert len(requests) <= REDIRECTS_MAX + 1


# --- targets that are down ------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_refused(host: str) -> None:
    seen = await ask_once(f"http://{host}:{free_port()}/")
    assert (seen.success, seen.status, seen.failure) == (0.0, 0.0, "refused")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_f30_a_server_that_never_answers_is_down_before_the_time_out(scheme: str) -> None:
    """F30, F40, F84: after the accept, and in the middle of a TLS handshake."""
    async with serving(silent) as host, asking(f"{scheme}://{host}/", timeout_ms=200) as probe:
        looks = [await ask(probe) for _ in range(3)]
    assert [(seen.success, seen.status, seen.failure) for seen in looks] == [(0.0, 0.0, "timeout")] * 3
    # The quickest of three, since a busy machine may be late with any one of them.
    assert 0.1 < min(seen.duration_s for seen in looks) < 0.2, "the runner's own time-out would have come first"


async def test_f30_a_body_that_drips_is_down() -> None:
    """M30: a limit on the time between two bytes would never end this."""
    drip = dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x")
    async with serving(drip) as host:
        seen = await ask_once(f"http://{host}/", timeout_ms=200)
    assert (seen.success, seen.status, seen.failure) == (0.0, 200.0, "timeout")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
)
async def test_a_server_that_dies_in_the_body_is_down(answer: bytes) -> None:
    async with serving(saying(answer)) as host:
        seen = await ask_once(f"http://{host}/")
    assert (seen.success, seen.status, seen.failure) == (0.0, 200.0, "broken_off")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-"])
async def test_a_server_that_dies_before_its_status_is_down(answer: bytes) -> None:
    async with serving(saying(answer)) as host:
        seen = await ask_once(f"http://{host}/")
    assert (seen.success, seen.status) == (0.0, 0.0)
    assert seen.failure in {"disconnected", "bad_answer"}


@pytest.mark.parametrize(
    "answer",
    [
        b"\r\n\r\n",
        b"<html>HTTP/0.9 has no status</html>",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/1.1 99999 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * (HEADER_BYTES_MAX + 100) + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (HEADERS_MAX + 1) + b"\r\n",
        b"HTTP/1.1 200 " + b"O" * 100_000 + b"\r\n\r\n",
        bytes(range(256)) * 16,
    ],
    ids=range(14),
)
async def test_f39_what_is_not_http_is_down(answer: bytes) -> None:
    async with serving(saying(answer)) as host:
        seen = await ask_once(f"http://{host}/")
    assert seen.success == 0.0
    assert seen.failure in {"bad_answer", "disconnected", "broken_off"}


async def test_f39_a_smuggled_second_answer_is_not_read() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
    async with serving(saying(answer)) as host, asking(f"http://{host}/") as probe:
        assert [(await ask(probe)).status for _ in range(3)] == [200.0, 200.0, 200.0]


@pytest.mark.parametrize("hangs_up", [True, False])
async def test_f44_each_look_has_a_connection_of_its_own(hangs_up: bool) -> None:
    """F44: a server that says keep-alive and hangs up, or forgets the connection, does not look down."""
    connections = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"))
        await writer.drain()
        if not hangs_up:
            await reader.read()

    async with serving(handler) as host, asking(f"http://{host}/") as probe:
        assert [(await ask(probe)).success for _ in range(5)] == [1.0] * 5
    assert connections == 5


async def test_f55_a_proxy_in_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    async with site(root=200) as (url, _):
        assert (await ask_once(url)).success == 1.0


async def test_cookies_are_not_kept() -> None:
    def answer(_: web.Request) -> web.Response:
        response = web.Response()
        response.set_cookie("session", "1")
        return response

    # By name: no jar takes a cookie from a bare address.
    async with site(root=answer) as (url, requests), asking(url.replace("127.0.0.1", "localhost")) as probe:
        await ask(probe)
        await ask(probe)
    assert "Cookie" not in requests[1].headers


# --- answers that are too big ---------------------------------------------------------------------


async def memory_peak(probe: HttpProbe) -> tuple[Seen, int]:
    tracemalloc.start()
    try:
        seen = await ask(probe)
        return seen, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def test_f37_a_gzip_bomb_is_not_unpacked() -> None:
    """M28: 200 MB in 200 KB."""
    bomb = gzip.compress(bytes(200_000_000), compresslevel=1)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    async with serving(saying(head + bomb)) as host, asking(f"http://{host}/") as probe:
        seen, peak = await memory_peak(probe)
    assert (seen.success, seen.status) == (1.0, 200.0)
    assert peak < 4_000_000


async def test_f37_nothing_is_unpacked() -> None:
    async with serving(saying(OK.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n"))) as host:
        assert (await ask_once(f"http://{host}/")).failure == ""


async def test_f37_a_body_without_end_is_left_unread() -> None:
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * BODY_BYTES_MAX)
            sent += BODY_BYTES_MAX
            await writer.drain()

    async with serving(endless) as host, asking(f"http://{host}/") as probe:
        seen, peak = await memory_peak(probe)
    assert (seen.success, seen.failure) == (1.0, "")
    assert peak < 4_000_000
    assert sent < 50_000_000, "most of this is in the kernel's buffers"


# --- names and addresses --------------------------------------------------------------------------


async def test_f41_a_name_is_looked_up_on_the_engines_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """M17: a few hung lookups in the default executor would stop every lookup of the host."""

    def refuse(*_: Any) -> Any:
        raise AssertionError("the default executor was used")

    pool = ThreadPool(1)
    monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", refuse)
    async with serving(saying(OK)) as host:
        port = host.rpartition(":")[2]
        seen = await ask_once(f"http://localhost:{port}/", call=pool.caller("probe.web"))
        assert (seen.success, seen.failure) == (1.0, "")
        assert pool.threads == 1
    pool.close()


async def test_an_address_needs_no_lookup() -> None:
    async def refuse(_: Any) -> Any:
        raise AssertionError("looked up")

    async with serving(saying(OK)) as host:
        assert (await ask_once(f"http://{host}/", call=refuse)).success == 1.0


def raising(error: Exception) -> Any:
    async def call(_: Any) -> Any:
        raise error

    return call


@pytest.mark.parametrize(
    "error",
    [
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        ProbeError("busy", "an earlier blocking call has not returned"),
        OSError("stranger"),
    ],
    ids=str,
)
async def test_f41_a_name_that_does_not_resolve_is_a_measurement(error: Exception) -> None:
    """F41: a lookup that hangs since last time, too; without an answer nobody can reach the target."""
    seen = await ask_once("http://db.example:1/", call=raising(error))
    assert (seen.success, seen.status, seen.failure) == (0.0, 0.0, "dns")


async def test_no_addresses_at_all() -> None:
    async def nothing(_: Any) -> Any:
        return []

    assert (await ask_once("http://db.example:1/", call=nothing)).failure == "dns"


async def test_no_thread_for_the_lookup_says_nothing_of_the_target() -> None:
    async with asking("http://db.example:1/", call=raising(ProbeError("no_thread", "none"))) as probe:
        with pytest.raises(ProbeError) as caught:
            await probe.collect()
    assert caught.value.reason == "no_thread"


async def test_ipv6() -> None:
    try:
        async with serving(saying(OK), address="::1") as host:
            seen = await ask_once(f"http://{host}/")
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    assert (seen.success, seen.labels["instance"]) == (1.0, host)
    assert host.startswith("[::1]:")


@pytest.mark.parametrize(
    ("url", "instance"),
    [
        ("http://example.org", "example.org:80"),
        ("https://Example.ORG/x?y#z", "example.org:443"),
        ("https://user:pw@example.org:8443/", "example.org:8443"),
        ("http://[2001:db8::1]/", "[2001:db8::1]:80"),
    ],
)
async def test_the_instance_is_host_and_port(url: str, instance: str) -> None:
    call = raising(OSError("not asked in this test"))
    async with asking(url, call=call, labels={"network": "none"}) as probe:
        assert probe._batcher._labels["instance"] == instance


async def test_the_operators_labels_win() -> None:
    labels = {"instance": "shop", "probe": "blackbox"}
    seen = await ask_once(f"http://127.0.0.1:{free_port()}/", labels=labels)
    assert seen.labels == labels


# --- TLS ------------------------------------------------------------------------------------------


async def test_f40_a_self_signed_certificate_is_down(self_signed: ssl.SSLContext) -> None:
    async with serving(saying(OK), ssl=self_signed) as host:
        seen = await ask_once(f"https://{host}/")
        assert (seen.success, seen.status, seen.failure) == (0.0, 0.0, "tls")
        insecure = await ask_once(f"https://{host}/", insecure_tls=True)
        assert (insecure.success, insecure.status) == (1.0, 200.0)


async def test_f40_there_is_no_way_back_to_plain() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(OK)
        await writer.drain()

    async with serving(plain) as host:
        seen = await ask_once(f"https://{host}/")
    assert (seen.success, seen.status, seen.failure) == (0.0, 0.0, "tls")


# --- faults that no server can be made to have ----------------------------------------------------


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS])
async def test_f106_out_of_descriptors_is_the_probes_failure(number: int) -> None:
    """F106: `probe_success 0` would blame the target for what this machine lacks."""
    key: Any = aiohttp.client_reqrep.ConnectionKey("127.0.0.1", 1, False, True, None, None, None)
    error = aiohttp.ClientConnectorError(key, OSError(number, "too many open files"))
    with aioresponses() as fake:
        fake.get("http://127.0.0.1:1/", exception=error)
        async with asking("http://127.0.0.1:1/") as probe:
            with pytest.raises(ProbeError, match=errno.errorcode[number]) as caught:
                await probe.collect()
    assert caught.value.reason == "no_resources"


async def test_an_unreachable_network_is_down() -> None:
    key: Any = aiohttp.client_reqrep.ConnectionKey("127.0.0.1", 1, False, True, None, None, None)
    with aioresponses() as fake:
        fake.get(
            "http://127.0.0.1:1/",
            exception=aiohttp.ClientConnectorError(key, OSError(errno.ENETUNREACH, "unreachable")),
        )
        seen = await ask_once("http://127.0.0.1:1/")
    assert (seen.success, seen.failure) == (0.0, "unreachable")


# --- life cycle -----------------------------------------------------------------------------------


async def test_it_can_be_opened_again_after_a_restart() -> None:
    async with site(root=200) as (url, _), asking(url) as probe:
        await probe.open()
        assert (await ask(probe)).success == 1.0
        await probe.close()
        await probe.close()
        with pytest.raises(ProbeError, match="not open"):
            await probe.collect()
        await probe.open()
        assert (await ask(probe)).success == 1.0


async def test_a_cancelled_look_leaves_nothing_behind() -> None:
    connected, gone = asyncio.Event(), asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read()
        gone.set()

    async with serving(handler) as host, asking(f"http://{host}/") as probe:
        look = asyncio.create_task(probe.collect())
        await connected.wait()
        look.cancel()
        with pytest.raises(asyncio.CancelledError):
            await look
        async with asyncio.timeout(5):
            await gone.wait()


@pytest.mark.parametrize(
    ("timeout_ms", "seconds"), [(60_000, 57.0), (10_000, 9.5), (1_000, 0.95), (200, 0.15), (100, 0.05), (10, 0.005)]
)
def test_the_time_to_ask_is_less_than_the_time_out(timeout_ms: int, seconds: float) -> None:
    assert budget_s(timeout_ms) == pytest.approx(seconds)


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("example.org/CANARY", "url: must start with http:// or https://"),
        ("ftp://example.org/CANARY", "url: must start with http:// or https://"),
        ("http://", "url: has no host"),
        ("http:///CANARY", "url: has no host"),
        ("http://CANARY@:80/", "url: has no host"),
        ("http://example.org:0/CANARY", "url: has no host or no port"),
        ("http://example.org:99999/CANARY", "url: has a host or a port that can't be right"),
        ("http://example.org:CANARY/", "url: has a host or a port that can't be right"),
        ("http://[::CANARY/", "url: has a host or a port that can't be right"),
        ("http://CANARY..org/", "url: has a host or a port that can't be right"),
        ("http://127.1/CANARY", "url: has a host or a port that can't be right"),
        ("http://2130706433/CANARY", "url: has a host or a port that can't be right"),
        (f"http://{'CANARY' * 20}/", "url: has a host or a port that can't be right"),
        ("http://example.org/a CANARY", "url: has a space or a control character"),
        ("http://example.org/\r\nCANARY: 1", "url: has a space or a control character"),
    ],
)
def test_a_url_that_can_not_be_right_is_refused_without_being_shown(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^url: ") as caught:
        HttpOptions(url=Secret(url))
    assert str(caught.value).startswith(message)
    assert "CANARY" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("X Key", "CANARY", "headers: 'X Key' is not a name that HTTP allows"),
        ("X-Key\n", "CANARY", r"headers: 'X-Key\n' is not a name that HTTP allows"),
        ("", "CANARY", "headers: '' is not a name that HTTP allows"),
        ("Content-Length", "CANARY", "headers: Content-Length can't be set, it belongs to the connection"),
        ("X-Key", "CANARY\r\nX: 1", "headers: the value of X-Key has a control character in it"),
    ],
)
def test_f143_headers_that_would_break_the_request_are_refused(name: str, value: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^headers: ") as caught:
        HttpOptions(url=Secret("http://127.0.0.1/"), headers={name: Secret(value)})
    assert str(caught.value) == message


def test_credentials_are_given_once() -> None:
    with pytest.raises(ValueError, match=r"^headers: Authorization is given and the url has credentials") as caught:
        HttpOptions(url=Secret("http://user:CANARY@127.0.0.1/"), headers={"Authorization": Secret("Bearer CANARY")})
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize("handler", [silent, saying(b""), saying(b"CANARY\r\n\r\n"), saying(OK)])
async def test_f144_secrets_are_nowhere_to_be_seen(handler: Handler, caplog: pytest.LogCaptureFixture) -> None:
    """F144, M31: canaries in each place of a URL and in a header; grep all that comes out."""
    caplog.set_level(logging.DEBUG)
    headers = {"Authorization": Secret("Bearer CANARY1")}
    async with serving(handler) as host:
        url = f"http://{host}/CANARY2?key=CANARY3"
        async with asking(url, timeout_ms=200, headers=headers) as probe:
            (batch,) = await probe.collect()
            shown = [repr(probe._options), str(probe._options), repr(probe), *batch.series, caplog.text]
    assert "CANARY" not in "".join(shown)
