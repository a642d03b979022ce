"""Sockets: limits, slow clients, refusals, the end (F130 to F135, M32); real ones on loopback, under virtual time."""

import asyncio
import errno
import logging
import socket
from typing import Any

import pytest

from engine.errors import ConfigError
from engine.http.guard import BODY_BYTES_MAX, REQUEST_TIMEOUT_S
from engine.http.server import IDLE_S, HttpServer
from engine.http.tally import GUESSES_MAX, Tally
from engine.testing import VirtualClock, run_virtual
from tests.http.rig import TOKEN, Rig, ask, bearer, connect, loop, parsed, read, say, secret, serving, table


def test_every_answer_has_the_headers_of_a_page_that_nobody_may_use() -> None:
    async def main(clock: VirtualClock) -> None:
        async with serving(clock) as rig:
            replies = [
                await rig.ask("/health/live"),
                await rig.ask("/metrics"),
                await rig.ask("/nothing"),
                await rig.ask("/metrics", "POST"),
                await rig.ask("/metrics", Host="evil.example"),
                await rig.ask("/heartbeat/backup"),
                await say(rig.server.port, b"\x16\x03\x01 no HTTP\r\n\r\n"),
            ]
            assert [reply.status for reply in replies] == [200, 200, 404, 405, 421, 200, 400]
            for reply in replies:
                told = reply.headers
                assert told["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
                assert told["x-content-type-options"] == "nosniff"
                assert told["x-frame-options"] == "DENY"
                assert told["referrer-policy"] == "no-referrer"
                assert told["cache-control"] == "no-store"
                assert told["server"] == "longwatch"
                assert not [name for name in told if name.startswith("access-control-")]

    run_virtual(main)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /health/live HTTP/1.1\r\nHost: evil.example", 421),
        ("GET /health/live HTTP/1.1\r\nHost: evil.example:9797", 421),
        ("GET /health/live HTTP/1.1\r\nHost: 127.0.0.1.", 200),
        ("GET /health/live HTTP/1.1\r\nHost: localhost.", 200),
        ("GET /health/live HTTP/1.1\r\nHost: LOCALHOST:1", 200),
        ("GET /health/live HTTP/1.1\r\nX: y", 400),
        ("GET /health/live HTTP/1.0\r\nX: y", 400),
        ("GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example", 400),
        ("GET http://evil.example/health/live HTTP/1.1\r\nHost: 127.0.0.1", 400),
        ("GET http://127.0.0.1/health/live HTTP/1.1\r\nHost: 127.0.0.1", 400),
        ("GET //health/live HTTP/1.1\r\nHost: 127.0.0.1", 400),
        ("GET /health/../metrics HTTP/1.1\r\nHost: 127.0.0.1", 404),
        ("GET /health%2Flive HTTP/1.1\r\nHost: 127.0.0.1", 404),
        ("GET /health/live%00 HTTP/1.1\r\nHost: 127.0.0.1", 404),
        ("GET /..%2f..%2fetc/passwd HTTP/1.1\r\nHost: 127.0.0.1", 404),
        ("HEAD /health/live HTTP/1.1\r\nHost: 127.0.0.1", 200),
        ("OPTIONS /health/live HTTP/1.1\r\nHost: 127.0.0.1", 405),
        ("DELETE /metrics HTTP/1.1\r\nHost: 127.0.0.1", 405),
        ("HEAD /heartbeat/backup HTTP/1.1\r\nHost: 127.0.0.1", 405),
    ],
)
def test_hosts_targets_and_methods(head: str, status: int) -> None:
    async def main(clock: VirtualClock) -> None:
        async with serving(clock) as rig:
            reply = await say(rig.server.port, f"{head}\r\nConnection: close\r\n\r\n".encode())
            assert reply.status == status
            assert b"evil" not in reply.body
            assert rig.batches == []

    run_virtual(main)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: y\r\n" * 100 + b"\r\n",
    ],
    ids=["a header of 1 MB", "a line of 10 KB", "100 headers"],
)
def test_a_head_that_is_too_large_is_refused(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def main(clock: VirtualClock) -> None:
        async with serving(clock) as rig:
            reply = await say(rig.server.port, data)
            assert reply.status in (0, 400)  # 0: it was closed while we still wrote
            assert b"xxx" not in reply.body
            assert (await rig.ask("/health/live")).status == 200

    with caplog.at_level(logging.DEBUG):
        run_virtual(main)
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == [], "not a line in the host's log"


def test_a_body_that_is_too_large_is_refused() -> None:
    async def main(clock: VirtualClock) -> None:
        async with serving(clock) as rig:
            fits = await ask(rig.server.port, "/heartbeat/backup", "POST", body=b"x" * BODY_BYTES_MAX)
            assert fits.status == 200
            declared = await ask(rig.server.port, "/heartbeat/backup", "POST", body=b"x" * (BODY_BYTES_MAX + 1))
            assert declared.status == 413
            chunk = b"400\r\n" + b"x" * 1_024 + b"\r\n"
            head = b"POST /heartbeat/backup HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            assert (await say(rig.server.port, head + chunk * 3 + b"0\r\n\r\n")).status == 413
            assert len(rig.batches) == 1

    run_virtual(main)


@pytest.mark.parametrize("sent", [b"", b"GET /health/live HT", b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n"])
def test_a_client_that_does_not_get_its_request_out_is_cut_off(sent: bytes) -> None:
    async def main(clock: VirtualClock) -> None:
        async with serving(clock) as rig:
            reader, writer = await connect(rig.server.port)
            writer.write(sent)
            begun = clock.monotonic()
            assert (await read(reader)).status == 0
            assert IDLE_S - 1 < clock.monotonic() - begun <= IDLE_S + 1
            writer.close()

    run_virtual(main)


def test_a_client_that_drips_a_header_is_cut_off_all_the_same() -> None:
    async def main(clock: VirtualClock) -> None:
        async with serving(clock) as rig:
            reader, writer = await connect(rig.server.port)
            writer.write(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            for number in range(30):
                writer.write(f"X-{number}: y\r\n".encode())
                await clock.sleep(1)
                if reader.at_eof():
                    break
            assert reader.at_eof()
            assert clock.monotonic() < IDLE_S + 3
            writer.close()

    run_virtual(main)


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async def main(clock: VirtualClock) -> None:
        async with serving(clock) as rig:
            reader, writer = await connect(rig.server.port)
            writer.write(b"POST /heartbeat/backup HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nab")
            assert (await read(reader)).status == 408
            assert clock.monotonic() <= REQUEST_TIMEOUT_S
            assert rig.batches == []
            writer.close()

    run_virtual(main)


def test_a_client_that_does_not_take_its_answer_is_cut_off() -> None:
    async def main(clock: VirtualClock) -> None:
        many = {f'longwatch_alerts{{state="{number}{"x" * 100_000}"}}': 1.0 for number in range(100)}
        async with serving(clock, figures=lambda: many) as rig:
            with loop().hold():
                client = socket.socket()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                client.setblocking(False)
                await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", rig.server.port))
                await asyncio.get_running_loop().sock_sendall(
                    client, b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
                )
            await clock.sleep(1)
            assert rig.tally.connections == 1
            await clock.sleep(REQUEST_TIMEOUT_S + 1)
            assert rig.tally.connections == 0
            assert rig.tally.figures()['longwatch_http_requests_total{code="408",route="/metrics"}'] == 1
            client.close()

    run_virtual(main)


def test_one_connection_too_many_is_told_so_and_costs_nobody() -> None:
    async def main(clock: VirtualClock) -> None:
        async with serving(clock, table(connections_max=4)) as rig:
            held = [await connect(rig.server.port) for _ in range(4)]
            reply = await rig.ask("/health/live")
            assert (reply.status, reply.headers["retry-after"]) == (503, "1")
            assert (rig.tally.connections, rig.tally.connections_refused) == (4, 1)
            with loop().hold():
                held[0][1].write(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                assert parsed(await held[0][0].readuntil(b"}]}}")).status == 200
            for _, writer in held:
                writer.close()
                with loop().hold():
                    await writer.wait_closed()
            await clock.sleep(0.1)
            assert (await rig.ask("/health/live")).status == 200

    run_virtual(main)


def test_hundreds_of_connections_at_once_are_bounded() -> None:
    async def main(clock: VirtualClock) -> None:
        async with serving(clock) as rig:
            with loop().hold():
                opening = [asyncio.open_connection("127.0.0.1", rig.server.port) for _ in range(300)]
                clients = await asyncio.gather(*opening)
            assert rig.tally.connections == 64
            assert rig.tally.connections_refused > 64, "so that some were not even told"
            await clock.sleep(IDLE_S + 1)
            assert rig.tally.connections == 0
            for _, writer in clients:
                writer.close()
            assert (await rig.ask("/health/live")).status == 200

    run_virtual(main)


def test_many_requests_in_one_go_are_answered_one_after_the_other() -> None:
    async def main(clock: VirtualClock) -> None:
        async with serving(clock) as rig:
            one = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
            reply = await say(rig.server.port, one * 300 + one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert reply.body.count(b"HTTP/1.1 200 OK") == 300

    run_virtual(main)


def test_a_token_is_asked_for_where_one_is_set() -> None:
    async def main(clock: VirtualClock) -> None:
        async with serving(clock, table(token=secret())) as rig:
            assert (await rig.ask("/metrics", **bearer())).status == 200
            assert (await rig.ask("/metrics", Authorization=f"bearer  {TOKEN} ")).status == 200
            for headers in ({}, bearer("x" * 23), bearer(""), {"Authorization": f"Basic {TOKEN}"}, bearer("é\xff" * 8)):
                reply = await rig.ask("/metrics", **headers)
                assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
                assert TOKEN.encode() not in reply.body
            assert (await rig.ask(f"/metrics?token={TOKEN}")).status == 401
            assert (await rig.ask("/health/ready")).body == b'{"status":"pass"}', "no reasons for everybody"
            assert b"serviceId" in (await rig.ask("/health/ready", **bearer())).body
            assert (await rig.ask("/heartbeat/backup")).status == 401
            assert (await rig.ask("/heartbeat/backup", **bearer())).status == 200

    run_virtual(main)


def test_who_guesses_is_soon_not_listened_to() -> None:
    async def main(clock: VirtualClock) -> None:
        async with serving(clock, table(token=secret())) as rig:
            for path, statuses in (("/heartbeat/backup", [401]), ("/health/ready", [200])):
                assert [(await rig.ask(path, **bearer("wrong" * 5))).status] == statuses
            tries = [(await rig.ask("/metrics", **bearer("wrong" * 5))).status for _ in range(GUESSES_MAX)]
            assert tries == [401] * (GUESSES_MAX - 2) + [429] * 2
            assert b"serviceId" not in (await rig.ask("/health/ready", **bearer())).body
            assert (await rig.ask("/metrics", **bearer())).status == 429
            assert (await rig.ask("/heartbeat/backup", **bearer())).status == 429
            assert (await rig.ask("/health/live")).status == 200
            await clock.sleep(61)
            assert (await rig.ask("/metrics", **bearer())).status == 200

    run_virtual(main)


def test_an_error_of_ours_is_one_answer_and_told() -> None:
    async def main(clock: VirtualClock) -> None:
        def figures() -> Any:
            raise ArithmeticError("canary")

        async with serving(clock, figures=figures) as rig:
            reply = await rig.ask("/metrics")
            assert (reply.status, reply.body) == (500, b"internal error\n")
            assert (await rig.ask("/health/live")).status == 200
            assert [type(error) for error in rig.errors] == [ArithmeticError, type(None)]

    run_virtual(main)


def test_answers_are_counted_by_route_and_code() -> None:
    async def main(clock: VirtualClock) -> None:
        async with serving(clock) as rig:
            for path in ("/health/live", "/heartbeat/backup", "/heartbeat/backup/start", "/heartbeat/x", "/a", "/b"):
                await rig.ask(path)
            found = {name: value for name, value in rig.tally.figures().items() if "requests" in name}
            assert found == {
                'longwatch_http_requests_total{code="200",route="/health/live"}': 1,
                'longwatch_http_requests_total{code="200",route="/heartbeat"}': 2,
                'longwatch_http_requests_total{code="404",route="/heartbeat"}': 1,
                'longwatch_http_requests_total{code="404",route="other"}': 2,
            }

    run_virtual(main)


def test_a_stop_cuts_off_who_only_waits_and_answers_nobody_else() -> None:
    async def main(clock: VirtualClock) -> None:
        async with serving(clock) as rig:
            reader, writer = await connect(rig.server.port)
            begun = clock.monotonic()
        assert clock.monotonic() - begun <= 1
        with loop().hold():
            assert (await read(reader)).status == 0
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", rig.server.port)
        writer.close()

    run_virtual(main)


def test_a_stop_waits_shortly_for_what_is_under_way() -> None:
    async def main(clock: VirtualClock) -> None:
        async with serving(clock, table(connections_max=1)) as rig:
            reader, writer = await connect(rig.server.port)
            writer.write(b"POST /heartbeat/backup HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nab")
            with loop().hold():
                turned_away = await asyncio.open_connection("127.0.0.1", rig.server.port)
            await clock.sleep(0.1)
            assert rig.tally.connections_refused == 1
            begun = clock.monotonic()
        assert clock.monotonic() - begun < 3
        assert (await read(reader)).status == 0
        assert (await read(turned_away[0])).status == 0
        writer.close()
        turned_away[1].close()

    run_virtual(main)


def test_who_goes_before_the_answer_is_counted_and_no_error() -> None:
    async def main(clock: VirtualClock) -> None:
        many = {f'longwatch_alerts{{state="{number}{"x" * 100_000}"}}': 1.0 for number in range(100)}
        async with serving(clock, figures=lambda: many) as rig:
            _, writer = await connect(rig.server.port)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            await clock.sleep(0.5)
            writer.transport.abort()
            await clock.sleep(0.5)
            counted = {name: value for name, value in rig.tally.figures().items() if "requests" in name}
            assert counted == {'longwatch_http_requests_total{code="499",route="/metrics"}': 1}
            assert [error for error in rig.errors if error] == []

    run_virtual(main)


def test_a_web_socket_is_none() -> None:
    async def main(clock: VirtualClock) -> None:
        async with serving(clock) as rig:
            head = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            reader, writer = await connect(rig.server.port)
            writer.write(head + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
            for _ in range(100):
                writer.write(b"x" * 10_000)
            reply = await read(reader)
            assert reply.status in (0, 200)  # 0: it was closed with much of ours unread
            await clock.sleep(1)
            assert rig.tally.connections == 0
            assert clock.monotonic() < IDLE_S + 5
            writer.close()

    run_virtual(main)


def test_it_can_be_started_a_second_time() -> None:
    """As the supervisor does after a crash: at the same port, with a socket of its own."""

    async def main(clock: VirtualClock) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = int(other.getsockname()[1])
        rig = Rig(clock, table().__class__(port=port), dict)
        for _ in range(2):
            task = asyncio.get_running_loop().create_task(rig.server.run())
            await clock.sleep(1)
            assert (await rig.ask("/health/live")).status == 200
            task.cancel()
            await asyncio.wait({task})
        await rig.server.close()

    run_virtual(main)


# --- what can't be listened at --------------------------------------------------------------------


def refused(**more: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        HttpServer(table().__class__(**more), None, Tally(), "run.toml")  # type: ignore[arg-type]
    (problem,) = caught.value.problems
    return str(problem)


def test_a_port_that_is_taken_is_a_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert refused(port=port) == (
            f"run.toml: http.port: can't listen at 127.0.0.1:{port}: another program listens there "
            "(stop that one, or set http.port to another)"
        )


def test_an_address_of_another_machine_is_a_clear_error() -> None:
    assert "http.address: can't listen at 192.0.2.1:0: this machine has no such address" in refused(
        address="192.0.2.1", port=0, insecure_bind=True
    )


def test_a_port_that_is_not_for_this_user_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Denied(socket.socket):
        def bind(self, address: Any) -> None:
            raise OSError(errno.EACCES, "no")

    monkeypatch.setattr(socket, "socket", Denied)
    assert "http.port: can't listen at 127.0.0.1:80: this user may not listen there" in refused(port=80)
