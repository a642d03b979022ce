"""The `webhook` sink against real servers on loopback: one attempt each, and what it says when it fails."""

import asyncio
import contextlib
import email.utils
import signal
import socket
import ssl
import subprocess
import sys
import traceback
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from engine.config import load_text
from engine.durations import Duration
from engine.errors import ConfigError, SinkError
from engine.ports import Notification, Receiver, Recorder
from engine.secrets import Secret
from sinks import _http as module
from sinks._body_v4 import render as render_v4
from sinks._http import retry_after_s
from sinks.webhook import WebhookOptions, WebhookSink
from tests.sinks.context import NOW_MS, context, transition

CANARY = "c4n4ry-t0k3n"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def opened(url: str, timeout_ms: int = 5_000, **options: Any) -> AsyncIterator[WebhookSink]:
    sink = WebhookSink(WebhookOptions(url=Secret(url), timeout=Duration(timeout_ms), **options), context())
    try:
        await sink.open()
        yield sink
    finally:
        await sink.close()


@asynccontextmanager
async def scripted(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that does just what the handler does with each connection; yields `host:port`."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await handler(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"localhost:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def attempt(url: str, timeout_ms: int = 5_000, **options: Any) -> SinkError | None:
    """One attempt; what it raised."""
    async with opened(url, timeout_ms, **options) as sink:
        try:
            await sink.deliver("evt_1", b"{}")
        except SinkError as error:
            return error
    return None


def answering(*parts: bytes) -> Handler:
    """Reads a request and answers with these bytes."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        for part in parts:
            writer.write(part)
            await writer.drain()

    return handler


async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


# --- one attempt --------------------------------------------------------------------------------------


async def test_it_is_a_receiver_only() -> None:
    sink = WebhookSink(WebhookOptions(url=Secret("http://x")), context())
    assert isinstance(sink, Receiver)
    assert not isinstance(sink, Recorder)
    assert sink.send_resolved
    with pytest.raises(SinkError, match="not open"):
        await sink.deliver("x", b"")


async def test_who_wants_no_resolved_ones_is_told_the_new_severity_alone() -> None:
    told = transition("level", NOW_MS, {"alertname": "X"}, severity="critical", severity_before="warning")
    notification = Notification(receiver="ops", group_key="k", group_labels={}, transitions=(told,))
    seen = []
    for send_resolved in (True, False):
        options = WebhookOptions(url=Secret("http://x"), send_resolved=send_resolved)
        body = msgspec.json.decode(WebhookSink(options, context()).render(notification))
        seen.append([(alert["status"], alert["labels"]["severity"]) for alert in body["alerts"]])
    assert seen == [[("resolved", "warning"), ("firing", "critical")], [("firing", "critical")]]


async def test_the_request_is_what_receivers_expect() -> None:
    seen: list[tuple[web.Request, bytes]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request, await request.read()))
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_route("*", "/hook", handler)
    async with TestServer(app) as server:
        url = str(server.make_url(f"/hook?token={CANARY}"))
        headers = {"Authorization": Secret(f"Bearer {CANARY}"), "X-Team": Secret("ops")}
        async with opened(url, headers=headers) as sink:
            for _ in range(2):  # again, after a restart say: the same bytes under the same id
                await sink.deliver("evt_abc", b'{"version":"4"}')
    (first, body), (second, again) = seen
    assert first.method == "POST"
    assert body == again == b'{"version":"4"}'
    assert first.query["token"] == CANARY
    wanted = {
        "Content-Type": "application/json",
        "webhook-id": "evt_abc",
        "Authorization": f"Bearer {CANARY}",
        "X-Team": "ops",
        "Accept-Encoding": "identity",
    }
    assert {name: first.headers[name] for name in wanted} == wanted
    assert first.headers["User-Agent"].startswith("longwatch/")
    assert second.headers["webhook-id"] == "evt_abc"


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_success(status: int) -> None:
    async with scripted(answering(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)) as where:
        assert await attempt(f"http://{where}/") is None


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        (500, True),
        (502, True),
        (503, True),
        (504, True),
        (599, True),
        (408, True),
        (425, True),
        (429, True),
        (401, True),
        (403, True),
        (404, True),
        (400, False),
        (410, False),
        (413, False),
        (422, False),
    ],
)
async def test_each_status_says_whether_a_retry_helps(status: int, retryable: bool) -> None:
    """F31, F33, F34, F35."""
    answer = b"HTTP/1.1 %d X\r\nContent-Length: 2\r\nRetry-After: 7\r\n\r\nno" % status
    async with scripted(answering(answer)) as where:
        error = await attempt(f"http://{where}/")
    assert error is not None
    assert (error.reason, error.retryable) == (f"http_{status}", retryable)
    assert error.retry_after_s == (7.0 if status >= 500 or status in (408, 429) else 0.0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_failure_and_is_not_followed(status: int) -> None:
    """F36, M29: else a POST becomes a GET, or the body and its headers go to somebody else."""
    seen = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n{}"))
        writer.write(b"HTTP/1.1 %d X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n" % status)

    async with scripted(handler) as where:
        error = await attempt(f"http://{where}/")
    assert error is not None
    assert (error.reason, error.retryable) == ("redirect", True)
    assert len(seen) == 1


async def headers_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 500 X\r\nContent-Length: 10\r\n")
    await stall(reader, writer)


async def headers_drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        writer.write(b"y")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await stall(reader, writer)


@pytest.mark.parametrize("handler", [stall, headers_only, headers_drip], ids=["accepts", "half_headers", "drips"])
async def test_a_server_that_does_not_answer_is_given_up(handler: Handler) -> None:
    """F30, M30: also where a byte comes now and then."""
    async with scripted(handler) as where:
        error = await attempt(f"http://{where}/", timeout_ms=150)
    assert error is not None
    assert (error.reason, error.retryable) == ("timeout", True)


async def test_a_server_that_does_not_accept_is_given_up() -> None:
    """F30: the queue of the listening socket is full, so no connection comes about."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        error = await attempt(f"http://127.0.0.1:{listening.getsockname()[1]}/", timeout_ms=150)
    assert error is not None
    assert (error.reason, error.retryable) == ("timeout", True)


@pytest.mark.parametrize("status", [200, 503])
async def test_a_body_that_drips_does_not_change_what_the_status_said(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F30, M30."""
    monkeypatch.setattr(module, "RESPONSE_TIMEOUT_S", 0.05)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 1000\r\n\r\n." % status)
        await stall(reader, writer)

    async with scripted(handler) as where:
        error = await attempt(f"http://{where}/")
    assert (error.reason if error else None) == (None if status == 200 else "http_503")


@pytest.mark.parametrize("hangs_up", [True, False])
async def test_an_answer_before_the_body_is_through_is_an_answer_f33(hangs_up: bool) -> None:
    """A proxy that lets no such large body pass does not read it; `disconnected` would be tried for days."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        if not hangs_up:
            await stall(reader, writer)

    async with scripted(handler) as where, opened(f"http://{where}/") as sink:
        with pytest.raises(SinkError) as caught:
            await sink.deliver("evt_1", b"x" * 500_000)
    assert (caught.value.reason, caught.value.retryable) == ("http_413", False)


async def test_a_2xx_counts_even_if_the_connection_breaks_after_it() -> None:
    """F38."""
    async with scripted(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome")) as where:
        assert await attempt(f"http://{where}/") is None
    async with scripted(answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")) as where:
        assert await attempt(f"http://{where}/") is None


async def test_an_endless_answer_is_cut_off() -> None:
    """F37, M28: nothing is unpacked, at most 64 KiB are read, and the server is hung up on."""
    sent = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"4000\r\n" + bytes(0x4000) + b"\r\n")
            await writer.drain()
            sent += 0x4000

    async with scripted(handler) as where, opened(f"http://{where}/") as sink:
        tracemalloc.start()
        try:
            await sink.deliver("evt_1", b"{}")
            assert tracemalloc.get_traced_memory()[1] < 2 * 2**20
        finally:
            tracemalloc.stop()
    assert sent < 64 * 2**20  # what socket buffers took; the server found itself cut off


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\x01\x02\x03",
        b"HTTP/0.9 hello\r\n\r\n",
        b"<html>hello</html>",
        b"HTTP/1.1 abc X\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
    ids=["nothing", "binary", "http09", "html", "status", "header_100k", "headers_100k", "length", "two_lengths"],
)
async def test_what_is_not_http_is_a_failure_worth_a_retry(answer: bytes) -> None:
    """F39."""
    async with scripted(answering(answer)) as where:
        error = await attempt(f"http://{where}/")
    assert error is not None
    assert error.reason in {"bad_response", "disconnected"}
    assert error.retryable


async def test_a_connection_that_is_closed_between_two_messages_costs_neither_f44() -> None:
    """It promises to keep the connection, and closes it."""
    connections = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answering(b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n")(reader, writer)

    async with scripted(handler) as where, opened(f"http://{where}/") as sink:
        for number in range(3):
            await sink.deliver(f"evt_{number}", b"{}")
    assert connections == 3


async def test_a_second_answer_that_was_smuggled_in_is_never_seen() -> None:
    """F39: each attempt has a connection of its own."""
    both = b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    async with scripted(answering(both)) as where, opened(f"http://{where}/") as sink:
        for _ in range(2):
            with pytest.raises(SinkError, match="503"):
                await sink.deliver("x", b"{}")


async def test_a_refused_connection_says_so() -> None:
    """F42."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        error = await attempt(f"http://127.0.0.1:{free.getsockname()[1]}/")
    assert error is not None
    assert (error.reason, error.retryable) == ("refused", True)


async def test_a_reset_connection_says_so() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)

    async with scripted(reset) as where:
        error = await attempt(f"http://{where}/")
    assert error is not None
    assert (error.reason, error.retryable) == ("disconnected", True)


@pytest.mark.parametrize("problem", [socket.gaierror(-2, "no"), OSError("x"), SinkError("busy", "b", retryable=True)])
async def test_a_name_that_does_not_resolve_says_so(problem: Exception) -> None:
    """F41: and a look-up that still hangs is an error of this sink alone."""

    async def call(_: Any) -> Any:
        raise problem

    given = msgspec.structs.replace(context(), call=call)
    sink = WebhookSink(WebhookOptions(url=Secret(f"http://nowhere.invalid/{CANARY}")), given)
    await sink.open()
    with pytest.raises(SinkError) as caught:
        await sink.deliver("x", b"")
    await sink.close()
    assert (caught.value.reason, caught.value.retryable) == ("dns", True)


async def test_the_default_executor_stays_unused() -> None:
    """M17: names are resolved by the engine's pool, or not at all."""
    async with scripted(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as where:
        assert where.startswith("localhost")
        assert await attempt(f"http://{where}/") is None
    assert asyncio.get_running_loop()._default_executor is None  # type: ignore[attr-defined]


STANDS_STILL = """
import http.server, sys

class Ok(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(204)
        self.end_headers()

server = http.server.HTTPServer(("127.0.0.1", 0), Ok)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.mark.process
async def test_a_receiver_that_stands_still_is_given_up_and_works_when_it_goes_on_f43() -> None:
    """SIGSTOP: the kernel still takes connections for it."""
    server = subprocess.Popen([sys.executable, "-c", STANDS_STILL], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/"
        async with opened(url, timeout_ms=300) as sink:
            await sink.deliver("evt_1", b"{}")
            server.send_signal(signal.SIGSTOP)
            with pytest.raises(SinkError) as caught:
                await sink.deliver("evt_2", b"{}")
            assert (caught.value.reason, caught.value.retryable) == ("timeout", True)
            server.send_signal(signal.SIGCONT)
            async with asyncio.timeout(30):
                while True:  # it has the first attempt to work off, and 300 ms may be too little for that
                    with contextlib.suppress(SinkError):
                        await sink.deliver("evt_2", b"{}")
                        break
    finally:
        server.kill()
        server.communicate()


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ("body = 'template'\ntemplate = '{{ nope }}'", 'template: line 1: "nope" is not known'),
        ("body = 'template'", "template: `template` goes with"),
        (f"secrets = ['whsec_{CANARY}']", "secrets: number 1 is not base64 of at least 24 bytes"),
        ("allow_addresses = ['10.0.0.1/8']", "allow_addresses: '10.0.0.1/8' is no address or network"),
        ("body = 'xml'", 'body: expected "alertmanager", "json" or "template"'),
    ],
)
def test_what_is_wrong_is_said_with_its_place_when_the_file_is_read(keys: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(f"[sink.x]\ntype = 'webhook'\nurl = 'http://127.0.0.1:9/'\n{keys}\n", environ={})
    (problem,) = caught.value.problems
    assert f"sink.x.{complaint}" in str(problem)
    assert problem.line == (1 if "goes with" in complaint else 5 if "line 1" in complaint else 4)
    assert CANARY not in str(problem)


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """F55."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with scripted(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as where:
        assert await attempt(f"http://{where}/") is None


async def test_a_cancelled_attempt_leaves_nothing_behind() -> None:
    """F56."""
    async with scripted(stall) as where, opened(f"http://{where}/") as sink:
        task = asyncio.create_task(sink.deliver("x", b"{}"))
        for _ in range(20):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


# --- TLS ----------------------------------------------------------------------------------------------


CA_CONFIG = """
[ca]
default_ca = it
[it]
database = {folder}/index.txt
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
[any]
commonName = supplied
"""


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def certificate(folder: Path, name: str, starts: str, ends: str) -> Path:
    """A key and a self-signed certificate for `name`, in one file. `openssl ca` alone takes dates in the past."""
    folder.mkdir()
    (folder / "index.txt").touch()
    (folder / "ca.cnf").write_text(CA_CONFIG.format(folder=folder))
    (folder / "names.cnf").write_text(f"subjectAltName = DNS:{name}\n")
    key, wish, made = (str(folder / part) for part in ("key.pem", "wish.pem", "made.pem"))
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-new", *curve, "-subj", f"/CN={name}", "-keyout", key, "-out", wish)
    signing = ("-batch", "-selfsign", "-config", str(folder / "ca.cnf"), "-extfile", str(folder / "names.cnf"))
    openssl("ca", *signing, "-keyfile", key, "-in", wish, "-out", made, "-startdate", starts, "-enddate", ends)
    both = folder / "both.pem"
    both.write_text((folder / "key.pem").read_text() + (folder / "made.pem").read_text())
    return both


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tls")
    long = ("20200101000000Z", "20991231000000Z")
    return {
        "good": certificate(folder / "good", "localhost", *long),
        "wrong_host": certificate(folder / "wrong_host", "other.example", *long),
        "expired": certificate(folder / "expired", "localhost", "20200101000000Z", "20200102000000Z"),
    }


def serving(pem: Path) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)
    return tls


def trust(monkeypatch: pytest.MonkeyPatch, pem: Path) -> None:
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", ssl.create_default_context(cafile=str(pem)))


OK = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


async def test_tls_works(certificates: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    trust(monkeypatch, certificates["good"])
    async with scripted(OK, serving(certificates["good"])) as where:
        assert await attempt(f"https://{where}/") is None


@pytest.mark.parametrize("which", ["self_signed", "wrong_host", "expired"])
async def test_a_certificate_that_is_not_valid_is_a_reason(
    which: str, certificates: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """F40: and nothing is sent, least of all in the clear."""
    seen = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read(100))

    pem = certificates["good" if which == "self_signed" else which]
    if which != "self_signed":
        trust(monkeypatch, pem)
    async with scripted(handler, serving(pem)) as where:
        error = await attempt(f"https://{where}/{CANARY}")
    assert error is not None
    assert (error.reason, error.retryable) == ("tls_certificate", True)
    assert b"POST" not in b"".join(seen)


async def test_a_server_that_speaks_no_tls_of_today_is_a_reason() -> None:
    """F40: TLS 1.0 only. It answers our greeting by the alert `protocol_version`."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(2_000)
        writer.write(b"\x15\x03\x01\x00\x02\x02\x46")
        await writer.drain()
        await reader.read()

    async with scripted(handler) as where:
        error = await attempt(f"https://{where}/")
    assert error is not None
    assert (error.reason, error.retryable) == ("tls", True)


async def test_a_handshake_that_stalls_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """F40: bounded by the time-out for connecting, which is shorter than that for all."""
    monkeypatch.setattr(module, "CONNECT_TIMEOUT_S", 0.1)
    async with scripted(stall) as where:
        error = await attempt(f"https://{where}/", timeout_ms=30_000)
    assert error is not None
    assert (error.reason, error.retryable) == ("timeout", True)


async def test_plain_text_where_tls_was_expected_is_a_reason() -> None:
    async with scripted(answering(b"HTTP/1.1 200 OK\r\n\r\n")) as where:
        error = await attempt(f"https://{where}/", timeout_ms=500)
    assert error is not None
    assert error.reason in {"tls", "timeout", "disconnected"}


# --- Retry-After --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 120 ", 120.0),
        ("0", 1.0),
        ("0.5", 1.0),
        ("1e9", 3600.0),
        ("inf", 3600.0),
        (email.utils.formatdate(NOW_MS / 1000 + 90, usegmt=True), 90.0),
        (email.utils.formatdate(NOW_MS / 1000 - 90, usegmt=True), 1.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600.0),
        ("", 0.0),
        ("soon", 0.0),
        ("-5", 0.0),
        ("-inf", 0.0),
        ("nan", 0.0),
        ("9" * 65, 0.0),
        ("Fri, 99 Zzz 9999 99:99:99 GMT", 0.0),
    ],
)
def test_retry_after_is_honoured_within_reason(value: str, seconds: float) -> None:
    """F32."""
    assert retry_after_s(value, NOW_MS) == pytest.approx(seconds)


@given(
    st.one_of(st.text(), st.floats().map(str), st.integers().map(str), st.datetimes().map(email.utils.format_datetime))
)
def test_retry_after_is_always_within_its_limits(value: str) -> None:
    """F32."""
    seconds = retry_after_s(value, NOW_MS)
    assert seconds == 0.0 or 1.0 <= seconds <= 3600.0


# --- secrets ------------------------------------------------------------------------------------------


async def test_no_error_shows_the_url_or_a_header() -> None:
    """F144, M31: not in its text, not in its traceback, not in what it is chained to."""
    failures = [
        scripted(answering(b"HTTP/1.1 500 %s\r\nX-Echo: %s\r\n\r\n%s" % ((CANARY.encode(),) * 3))),
        scripted(answering(b"HTTP/1.1 302 X\r\nLocation: /%s\r\n\r\n" % CANARY.encode())),
        scripted(answering(b"nonsense " + CANARY.encode())),
        scripted(answering(b"")),
    ]
    headers = {"Authorization": Secret(CANARY)}
    for failure in failures:
        async with failure as where:
            error = await attempt(f"http://user:{CANARY}@{where}/{CANARY}?q={CANARY}", headers=headers)
        assert error is not None
        shown = "".join(traceback.format_exception(error)) + repr(error) + str(error.__dict__)
        assert CANARY not in shown
        assert error.__context__ is None
        assert error.__cause__ is None
        assert f"http://{where}: " in str(error)
    assert CANARY not in repr(WebhookOptions(url=Secret(f"http://x/{CANARY}"), headers=headers))


@pytest.mark.parametrize(
    "url", ["", "ftp://x/" + CANARY, "http://", "//x/", "x/" + CANARY, "http://[::1/", "http://x:99999/", "http://x:0/"]
)
def test_an_url_that_is_none_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ValueError, match=r"^url: not an http") as caught:
        WebhookOptions(url=Secret(url))
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", f"a\r\nX-Evil: {CANARY}"),
        ("X-A", "a\x00"),
        ("X A", "a"),
        ("", "a"),
        ("X-\n", "a"),
        ("Content-Length", "5"),
        ("webhook-id", "x"),
        ("Transfer-Encoding", "chunked"),
    ],
)
def test_headers_that_would_inject_are_refused(name: str, value: str) -> None:
    """F143."""
    with pytest.raises(ValueError, match="`headers`") as caught:
        WebhookOptions(url=Secret("http://x"), headers={name: Secret(value)})
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("timeout", [0, 99, 30_001])
def test_a_time_out_that_makes_no_sense_is_refused(timeout: int) -> None:
    with pytest.raises(ValueError, match="`timeout`"):
        WebhookOptions(url=Secret("http://x"), timeout=Duration(timeout))


def test_the_sink_renders_what_the_format_says() -> None:
    notification = Notification(receiver="ops", group_key="{}:{}", group_labels={}, transitions=(transition(),))
    sink = WebhookSink(WebhookOptions(url=Secret("http://x")), context())
    assert sink.render(notification) == render_v4(notification)
