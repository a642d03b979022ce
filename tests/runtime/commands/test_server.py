"""The command socket: who may use it, what is left of a killed engine, and clients that misbehave."""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from engine.runtime.commands import client, server
from engine.runtime.commands.address import Peer, Socket, connect, peer_of
from engine.runtime.commands.client import NoAnswer, NotRunning, ask
from engine.runtime.commands.server import CONNECTIONS_MAX, Command, CommandServer, Emit, may_ask
from engine.runtime.commands.wire import (
    ANSWER_BYTES_MAX,
    PROTOCOL,
    REQUEST_BYTES_MAX,
    SOCKET_FILE,
    CommandRefused,
    Greeting,
    LedgerState,
    StatusArguments,
    StatusResult,
)
from engine.status import AlertStatus, EngineStatus
from engine.testing import VirtualClock, run_virtual
from tests.runtime.commands.rig import serving
from tests.runtime.rig import health_of, shared


class Text(msgspec.Struct):
    text: str


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def say(folder: Path, data: bytes) -> bytes:
    """Send bytes past the greeting and return the first line that is answered."""
    with connect(folder, 10.0) as connection, connection.makefile("rb") as lines:
        assert msgspec.json.decode(lines.readline(), type=Greeting).protocol == PROTOCOL
        try:
            connection.sendall(data)
        except BrokenPipeError:
            pass
        return lines.readline()


# --- the socket ---------------------------------------------------------------------------------------


def test_a_command_is_answered_and_the_socket_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with serving(tmp_path):
            path = tmp_path / SOCKET_FILE
            assert (stat.S_ISSOCK(path.lstat().st_mode), mode(path)) == (True, 0o600)
            answer = ask(tmp_path, "status", StatusArguments(), timeout_s=10.0)
            assert msgspec.json.decode(answer)["engine"]["name"] == "trade-1"
    finally:
        os.umask(before)
    assert not (tmp_path / SOCKET_FILE).exists()
    with pytest.raises(NotRunning, match=f"no engine is running for state folder {tmp_path}"):
        ask(tmp_path, "status", StatusArguments(), timeout_s=10.0)


def test_a_folder_whose_path_is_longer_than_a_sockets_may_be(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30) / ("name" * 30)
    folder.mkdir(parents=True)
    with serving(folder, on_disk=False):
        assert (folder / SOCKET_FILE).is_socket()
        assert ask(folder, "status", StatusArguments(), timeout_s=10.0)
    assert not (folder / SOCKET_FILE).exists()


def test_what_a_killed_engine_left_is_replaced(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib; from engine.runtime.commands.address import Socket;"
        "end = Socket(pathlib.Path(sys.argv[1])); print('listens', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "listens\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (tmp_path / SOCKET_FILE).is_socket(), "a killed process leaves it"
    with pytest.raises(NotRunning):
        ask(tmp_path, "status", StatusArguments(), timeout_s=10.0)
    with serving(tmp_path, on_disk=False):
        assert ask(tmp_path, "status", StatusArguments(), timeout_s=10.0)


def test_two_engines_in_two_folders_do_not_meet(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    with serving(folders[0]), serving(folders[1]):
        for folder in folders:
            assert ask(folder, "status", StatusArguments(), timeout_s=10.0)


def test_the_end_of_one_does_not_take_the_socket_of_another(tmp_path: Path) -> None:
    first, second = Socket(tmp_path), Socket(tmp_path)
    first.close()
    assert (tmp_path / SOCKET_FILE).is_socket()
    second.close()
    assert not (tmp_path / SOCKET_FILE).exists()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / SOCKET_FILE
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        Socket(tmp_path)
    assert path.is_symlink() or path.exists()


def test_where_nobody_can_listen_it_is_told_and_tried_again(tmp_path: Path) -> None:
    (tmp_path / SOCKET_FILE).mkdir()

    async def main(clock: VirtualClock) -> list[tuple[str, str, str]]:
        parts = shared(clock)
        commands = CommandServer(tmp_path, Greeting("1", PROTOCOL, 1, "x"), {}, parts)
        task = asyncio.create_task(commands.run())
        await clock.sleep(1)
        (tmp_path / SOCKET_FILE).rmdir()
        await clock.sleep(server.LISTEN_PAUSE_S)
        assert (tmp_path / SOCKET_FILE).is_socket()
        task.cancel()
        await asyncio.wait({task})
        return await health_of(parts)

    assert run_virtual(main) == [
        ("commands", "degraded", "cant_listen"),
        ("commands", "ok", "recovered"),
    ]
    assert not (tmp_path / SOCKET_FILE).exists()


def test_without_descriptors_it_waits_and_does_not_spin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F106. A connection that can't be taken stays in the queue of the socket until it can be."""
    tries: list[float] = []

    async def main(clock: VirtualClock) -> list[tuple[str, str, str]]:
        loop, parts = asyncio.get_running_loop(), shared(clock)
        real = loop.sock_accept

        async def sock_accept(listener: socket.socket) -> tuple[socket.socket, object]:
            tries.append(loop.time())
            if len(tries) <= 3:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return await real(listener)

        monkeypatch.setattr(loop, "sock_accept", sock_accept)
        task = asyncio.create_task(CommandServer(tmp_path, Greeting("1", PROTOCOL, 1, "x"), {}, parts).run())
        await clock.sleep(5)
        with connect(tmp_path, 10.0) as connection:
            await clock.sleep(1)
            assert msgspec.json.decode(connection.recv(1_000), type=Greeting).name == "x"
        task.cancel()
        await asyncio.wait({task})
        return await health_of(parts)

    assert run_virtual(main) == [
        ("commands", "degraded", "cant_accept"),
        ("commands", "degraded", "cant_accept"),
        ("commands", "ok", "recovered"),
    ]
    assert tries[:4] == [0.0, 1.0, 2.0, 3.0]


# --- who asks -----------------------------------------------------------------------------------------


def test_the_owner_and_root_may_ask_and_nobody_else() -> None:
    assert may_ask(Peer(1, 1000), 1000)
    assert may_ask(Peer(1, 0), 1000)
    assert may_ask(None, 1000), "the file's mode has decided"
    assert not may_ask(Peer(1, 1001), 1000)
    assert not may_ask(Peer(1, 1000), 0)


def test_the_kernel_says_who_asks() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_of(ours) == Peer(os.getpid(), os.geteuid())


def test_somebody_else_is_sent_away_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path, on_disk=False) as host:
        monkeypatch.setattr(server, "peer_of", lambda _: Peer(1, os.geteuid() + 1))
        with pytest.raises(CommandRefused, match="another user") as caught:
            ask(tmp_path, "status", StatusArguments(), timeout_s=10.0)
        assert (caught.value.reason, host.server.refused) == ("not_allowed", 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_can_not_even_connect(tmp_path: Path) -> None:
    """The folder is open to all here, so that the socket's own mode is what keeps them out."""
    code = (
        "import os, socket, sys; os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX)\n"
        "try: s.connect(sys.argv[1])\nexcept PermissionError: sys.exit(7)"
    )
    folder = Path(f"/tmp/longwatch-test-{os.getpid()}")  # pytest's own folders are closed
    folder.mkdir(mode=0o755)
    try:
        with serving(folder, on_disk=False):
            command = [sys.executable, "-I", "-c", code, str(folder / SOCKET_FILE)]
            assert subprocess.run(command, check=False).returncode == 7
    finally:
        folder.rmdir()


# --- clients that misbehave ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"{\n", b"not understood"),
        (b"\xff\xfe\n", b"not understood"),
        (b"\n", b"not understood"),
        (b'{"command": "status", "more": 1}\n', b"not understood"),
        (b'{"command": "reboot"}\n', b'no command \\"reboot\\", only backup, drill'),
        (b'{"command": "status", "arguments": {"x": 1}}\n', b"not understood"),
        (b'{"command": "outbox.drop", "arguments": {"ids": []}}\n', b"not understood"),
        (b'{"command": "outbox.drop", "arguments": {"ids": ["1"]}}\n', b"not understood"),
        (b'{"command": "backup", "arguments": {"path": "a.db"}}\n', b"the whole path"),
        (b"x" * (REQUEST_BYTES_MAX + 70_000), b"at most 65536 bytes"),
    ],
)
def test_what_is_no_request_is_refused_and_the_next_is_served(tmp_path: Path, data: bytes, says: bytes) -> None:
    with serving(tmp_path):
        answer = say(tmp_path, data)
        assert b'"reason":"usage"' in answer
        assert says in answer
        assert ask(tmp_path, "status", StatusArguments(), timeout_s=10.0)


def test_a_client_that_says_nothing_is_not_waited_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_S", 0.05)
    with serving(tmp_path, on_disk=False):
        assert b"no request came within 0.05 s" in say(tmp_path, b'{"command": ')


def test_too_many_clients_are_told_so(tmp_path: Path) -> None:
    with serving(tmp_path, on_disk=False):
        held = [connect(tmp_path, 10.0) for _ in range(CONNECTIONS_MAX)]
        for connection in held:
            assert connection.recv(1)  # greeted
        with pytest.raises(CommandRefused, match="try again") as caught:
            ask(tmp_path, "status", StatusArguments(), timeout_s=10.0)
        assert caught.value.reason == "busy"
        for connection in held:
            connection.close()
        served: list[msgspec.Raw] = []
        while not served:  # the server finds out in its own time that they are gone
            with contextlib.suppress(CommandRefused):
                served.append(ask(tmp_path, "status", StatusArguments(), timeout_s=10.0))


def test_a_command_is_done_to_its_end_although_its_client_has_gone(tmp_path: Path) -> None:
    done = []
    go = asyncio.Event()

    async def slow(arguments: StatusArguments, emit: Emit) -> Text:
        await emit(Text("begun"))
        await go.wait()
        await emit(Text("to nobody"))
        await emit(Text("to nobody"))
        done.append(True)
        return Text("done")

    with serving(tmp_path, table={"slow": Command(StatusArguments, slow, 10.0)}, on_disk=False) as host:
        with connect(tmp_path, 10.0) as connection, connection.makefile("rb") as lines:
            lines.readline()
            connection.sendall(b'{"command": "slow"}\n')
            assert b"begun" in lines.readline()
        host.loop.call_soon_threadsafe(go.set)
        assert ask(tmp_path, "status", StatusArguments(), timeout_s=10.0)
    assert done == [True]


def test_a_command_that_raises_or_takes_too_long_is_an_answer(tmp_path: Path) -> None:
    async def broken(arguments: StatusArguments, emit: Emit) -> Text:
        raise ArithmeticError("a bug")

    async def hangs(arguments: StatusArguments, emit: Emit) -> Text:
        await asyncio.Event().wait()
        return Text("")

    table = {"broken": Command(StatusArguments, broken, 1.0), "hangs": Command(StatusArguments, hangs, 0.02)}
    with serving(tmp_path, table=table, on_disk=False):
        for name, reason in (("broken", "internal"), ("hangs", "timeout")):
            with pytest.raises(CommandRefused) as caught:
                ask(tmp_path, name, StatusArguments(), timeout_s=10.0)
            assert caught.value.reason == reason


def test_an_answer_beyond_the_bound_is_not_sent(tmp_path: Path) -> None:
    async def endless(arguments: StatusArguments, emit: Emit) -> Text:
        return Text("x" * ANSWER_BYTES_MAX)

    with (
        serving(tmp_path, table={"endless": Command(StatusArguments, endless, 1.0)}, on_disk=False),
        pytest.raises(CommandRefused, match="too long"),
    ):
        ask(tmp_path, "endless", StatusArguments(), timeout_s=10.0)


def test_the_longest_status_fits() -> None:
    """200 alerts with annotations of 16 KiB, as a status lists them at most."""
    alert = AlertStatus("R", {"a": "l" * 1_000}, "firing", 0, 0, 0, 1.0, annotations={"summary": "s" * 16_384})
    status = EngineStatus("x", 1, "running", 0, 0, alerts=(alert,) * 200)
    ledger = LedgerState("disk", "", 0.0, 0, 0, 0, 0, 0, 0, True)
    assert len(msgspec.json.encode(StatusResult(status, ledger, None))) < ANSWER_BYTES_MAX


# --- engines that misbehave ---------------------------------------------------------------------------


def listening(folder: Path) -> socket.socket:
    """Something else that listens there."""
    end = socket.socket(socket.AF_UNIX)
    end.bind(str(folder / SOCKET_FILE))
    end.listen()
    return end


@pytest.mark.parametrize(
    ("says", "told"),
    [
        (b"", "closed the connection"),
        (b"SSH-2.0-OpenSSH\n", "no engine of this kind"),
        (b'{"longwatch":"7.0","protocol":99,"pid":1,"name":"x"}\n', "longwatch 7.0.*same version"),
        (b'{"longwatch":"1","protocol":1,"pid":1,"name":"x"}\n', "closed the connection"),
        (b'{"longwatch":"1","protocol":1,"pid":1,"name":"x"}\n{"kind":"done","res', "closed the connection"),
        (b'{"longwatch":"1","protocol":1,"pid":1,"name":"x"}\n{"kind":"odd"}\n', "not understood"),
    ],
)
def test_an_odd_answer_is_one_line(tmp_path: Path, says: bytes, told: str) -> None:
    with listening(tmp_path) as end:

        def answer() -> None:
            connection, _ = end.accept()
            with connection:
                connection.sendall(says)
                if says.count(b"{") > 1:
                    connection.recv(1_000)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(NoAnswer, match=told):
            ask(tmp_path, "status", StatusArguments(), timeout_s=10.0)
        thread.join()


def test_an_engine_that_stands_still_is_said_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "GREETING_S", 0.05)
    with listening(tmp_path), pytest.raises(NoAnswer, match="its event loop may be held"):
        ask(tmp_path, "status", StatusArguments(), timeout_s=10.0)
