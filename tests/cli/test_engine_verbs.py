"""`status`, `outbox`, `drill`, `backup` as people and scripts see them, with an engine that answers and without."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.cli import main
from engine.cli.arguments import parse
from engine.cli.asking import age_words, columns
from engine.clock import SystemClock
from engine.errors import SinkError
from engine.events import Facts
from engine.runtime.commands import client
from engine.runtime.commands.wire import LIST_MAX, SOCKET_FILE, StatusArguments
from engine.runtime.downtime import LifeSign
from engine.runtime.ledger.opening import reading
from engine.runtime.ledger.values import Cover, Instant, NewMessage, Settlement
from engine.status import AlertStatus, EngineStatus, SinkStatus
from engine.testing import RecordingSink
from tests.runtime.commands.rig import Host, serving
from tests.runtime.commands.test_server import listening

Told = tuple[int, list[str], str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    monkeypatch.setenv("STATE_DIRECTORY", str(state))
    return state


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str) -> Told:
        code = main(list(arguments))
        printed = capfd.readouterr()
        assert printed.err.count("\n") <= 1
        return code, printed.out.splitlines(), printed.err.rstrip("\n")

    return run


def message(name: str, receiver: str = "ops", seq: int = 1, kind: str = "firing") -> NewMessage:
    covers = (Cover(name, kind, seq),)
    return NewMessage(receiver, name, f"evt_{name}{seq}", b"body", covers, SystemClock().now_ms() - 200_000)


def fill(host: Host) -> None:
    """A dead message, one that is to be tried again, one that waits for another receiver."""
    host.queue(message("a"), message("b"), message("c", "pager", kind="resolved"))
    again = Instant(SystemClock().now_ms() + 40_000)
    host.settle(Settlement(1, "dead", "http_400"), Settlement(2, "retry", "http_503", again))


# --- the grammar --------------------------------------------------------------------------------------


def test_what_the_verbs_take() -> None:
    listed = parse(["outbox", "--limit", "7", "--receiver", "ops", "--config", "x.toml"])
    assert (listed.verb, listed.action, listed.limit, listed.receiver) == ("outbox", "list", 7, "ops")
    assert (parse(["outbox"]).action, parse(["outbox"]).limit) == ("list", 50)
    replayed = parse(["outbox", "replay", "3", "--config", "x.toml", "--json"])
    assert (replayed.action, replayed.ids, replayed.config, replayed.json) == ("replay", [3], Path("x.toml"), True)
    assert parse(["outbox", "drop", "3", "4"]).ids == [3, 4]
    drill = parse(["drill", "--sink", "ops", "--hold", "30s", "--set", "engine.name=x"])
    assert (drill.sink, drill.hold, drill.overrides) == ("ops", 30_000, ["engine.name=x"])
    assert parse(["backup", "copy.db"]).path == Path("copy.db")
    assert parse(["status", "--json"]).json is True


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["outbox", "replay"], "required: ID"),
        (["outbox", "drop", "x"], '"x" is not a number from 1 to'),
        (["outbox", "drop", "0"], "is not a number"),
        (["outbox", "drop", "9" * 30], "is not a number"),
        (["outbox", "list", "3"], "unrecognized arguments: 3"),
        (["outbox", "--limit", str(LIST_MAX + 1)], "from 1 to 1000"),
        (["outbox", "resend", "3"], "invalid choice"),
        (["drill", "--hold", "1h"], "at most 10m"),
        (["drill", "--hold", "soon"], "not a duration"),
        (["backup"], "required: PATH"),
    ],
)
def test_a_wrong_one_is_a_line_and_exit_2(run: Any, arguments: list[str], told: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, [])
    assert told in err


def test_every_action_says_what_it_does(capfd: pytest.CaptureFixture[str]) -> None:
    for arguments, says in (
        (["outbox", "--help"], "without one: list"),
        (["outbox", "replay", "-h"], "needs a running engine"),
        (["drill", "-h"], "1 one did not, or no engine runs"),
        (["backup", "-h"], "also while no engine runs"),
        (["status", "-h"], "0 it runs, 1 it does not or does not answer"),
    ):
        assert main(arguments) == 0
        assert says in " ".join(capfd.readouterr().out.split())


# --- with an engine -----------------------------------------------------------------------------------


def test_status_is_the_engines_own_word(folder: Path, run: Any) -> None:
    now_ms, nan, labels = SystemClock().now_ms(), float("nan"), {"alertname": "HighCpu", "instance": "a"}
    alerts = (
        AlertStatus("HighCpu", labels, "firing", now_ms - 250_000, 0, 0, 97.25, facts=Facts(99.1, 93.4, 250, 1, 0)),
        AlertStatus("Gone", {}, "firing", now_ms - 9_000, 0, 0, nan, facts=Facts(nan, nan, 0, 0, 9_000)),
        AlertStatus("Odd", {"alertname": "Odd"}, "pending", now_ms - 5_000, 0, 0, nan, paused=True),
    )
    sinks = (SinkStatus("ops", "webhook", "degraded", "http_503"),)
    status = EngineStatus("trade-1", 4711, "running", now_ms - 3_700_000, now_ms, alerts=alerts, sinks=sinks)
    with serving(folder) as host:
        host.served = status
        fill(host)
        code, out, err = run("status")
        assert (code, err) == (0, "")
        assert out[0] == "trade-1: running, degraded, started 1h1m ago, process 4711"
        assert out[1].split() == ["sink", "ops", "webhook", "degraded", "http_503"]
        assert out[3:] == [
            "  alerts: 2 firing, 1 pending",
            "    FIRING   HighCpu instance=a, for 4m10s, value 97.25, peak 99.1, mean 93.4 of 250 samples",
            "    FIRING   Gone, for 9s",
            "    PENDING  Odd, for 5s, its clock stands: nothing is known",
            "  ledger: on disk",
            "  outbox: ops: 1 dead, 1 waiting, the oldest 3m20s old",
            "  outbox: pager: 1 waiting, the oldest 3m20s old",
        ]
        code, out, _ = run("status", "--json")
        told = json.loads(out[0])
        assert (code, told["running"], told["age_ms"], told["engine"]["pid"]) == (0, True, 0, 4711)
        assert told["ledger"]["kept"] == "disk"


def test_the_outbox_as_a_table(folder: Path, run: Any) -> None:
    with serving(folder) as host:
        assert run("outbox") == (0, ["the outbox is empty: everything that was to be told has been"], "")
        fill(host)
        code, out, err = run("outbox")
        assert (code, err) == (0, "")
        assert out == [
            "ops: 1 dead, 1 waiting, the oldest 3m20s old",
            "pager: 1 waiting, the oldest 3m20s old",
            "",
            "ID  RECEIVER  STATE    TRIES  AGE    SAYS        REASON",
            "1   ops       dead     1      3m20s  1 firing    http_400",
            "2   ops       waiting  1      3m20s  1 firing    http_503, next try in 40s",
            "3   pager     waiting  0      3m20s  1 resolved",
        ]
        assert run("outbox", "--limit", "1")[1][-1] == "and 2 more; --limit and --receiver show others"
        assert run("outbox", "list", "--receiver", "pager")[1][4].startswith("3   pager")
        assert run("outbox", "list", "--receiver", "nobody")[1][-1] == "nothing for nobody"
        told = json.loads(run("outbox", "--json")[1][0])
        assert told["running"] is True
        assert [each["message_id"] for each in told["messages"]] == ["evt_a1", "evt_b1", "evt_c1"]


def test_replay_and_drop_say_what_came_of_each(folder: Path, run: Any) -> None:
    with serving(folder) as host:
        fill(host)
        host.queue(message("old"), message("old", seq=2, kind="resolved"))
        host.settle(Settlement(4, "dead", "http_400"), Settlement(5, "done"))
        assert run("outbox", "replay", "1", "1") == (0, ["1: waits again"], "")
        assert run("outbox", "replay", "2", "4", "99") == (
            1,
            [
                "4: stays dead: its receiver was told something newer of alerts in it; of the others it is told anew",
                "2: nothing to do: there is no such message, or it waits already",
                "99: nothing to do: there is no such message, or it waits already",
            ],
            "",
        )
        assert run("outbox", "drop", "4") == (0, ["4: dropped"], "")
        assert run("outbox", "drop", "1", "2", "4") == (
            1,
            ["1: dropped", "2: dropped", "4: there is no such message"],
            "",
        )
        assert [each.id for each in host.outbox()] == [3]
        assert json.loads(run("outbox", "drop", "3", "--json")[1][0]) == {"dropped": [3], "missing": []}
        assert json.loads(run("outbox", "replay", "3", "--json")[1][0])["missing"] == [3]


def test_a_drill_is_a_line_for_each_message(folder: Path, run: Any) -> None:
    refused = SinkError("http_503", "https://x: answered 503", retryable=True, status=503)
    sinks = {"ops": RecordingSink(), "pager": RecordingSink([None, refused])}
    with serving(folder, sinks):
        code, out, err = run("drill")
        assert (code, err) == (1, "")
        words = sorted(line.split()[:4] for line in out[:-1])
        assert words == [
            ["ops", "RecordingSink", "firing", "delivered"],
            ["ops", "RecordingSink", "resolved", "delivered"],
            ["pager", "RecordingSink", "firing", "delivered"],
            ["pager", "RecordingSink", "resolved", "failed"],
        ]
        assert next(line for line in out if "failed" in line).endswith("ms  http_503: https://x: answered 503")
        assert out[-1] == "1 of 2 receivers took the drill"
        code, out, err = run("drill", "--sink", "pager", "--json")
        told = json.loads(out[0])
        assert (code, told["passed"], told["receivers"], len(told["rows"])) == (0, 1, 1, 2)
        assert run("drill", "--sink", "x") == (
            2,
            [],
            'longwatch drill: there is no receiver "x"; there is ops, pager',
        )
    with serving(folder):
        assert run("drill")[::2] == (1, "longwatch drill: there is no sink that tells people: nothing to drill")


def test_a_backup_into_a_file_or_a_folder(folder: Path, run: Any, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    with serving(folder) as host:
        fill(host)
        code, out, err = run("backup", str(target))
        assert (code, err) == (0, "")
        assert out == [f"{target}: {target.stat().st_size} bytes, checked and on disk"]
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        code, out, err = run("backup", str(target))
        assert (code, out) == (1, [])
        assert "there is a file of that name" in err
        told = json.loads(run("backup", str(tmp_path), "--json")[1][0])
        assert told["running"] is True
        assert Path(told["path"]).parent == tmp_path
        assert messages_in(Path(told["path"])) == ["evt_a1", "evt_b1", "evt_c1"]


def messages_in(path: Path) -> list[str]:
    connection = reading(path)
    found = [name for (name,) in connection.execute("SELECT message_id FROM outbox ORDER BY id").fetchall()]
    connection.close()
    return found


# --- without one --------------------------------------------------------------------------------------


def test_what_needs_the_engine_says_so_exits_1_and_leaves_nothing(folder: Path, run: Any) -> None:
    with serving(folder) as host:
        fill(host)
    before = sorted(path.name for path in folder.iterdir())
    for arguments, told in (
        (["outbox", "replay", "1"], "this needs a running engine, nothing was done"),
        (["outbox", "drop", "1"], "this needs a running engine, nothing was done"),
        (["drill"], "a drill needs a running engine, nothing was sent"),
    ):
        code, out, err = run(*arguments)
        assert (code, out) == (1, [])
        assert err == f"longwatch {arguments[0]}: no engine is running for state folder {folder}; {told}"
    assert sorted(path.name for path in folder.iterdir()) == before, "nothing is queued in a file"


def test_the_outbox_and_a_backup_are_read_from_the_file(folder: Path, run: Any, tmp_path: Path) -> None:
    with serving(folder) as host:
        fill(host)
    code, out, err = run("outbox")
    assert (code, err, len(out)) == (0, "", 8)
    assert out[0] == (
        f"no engine is running for state folder {folder}; this is read from its state.db, and nothing is sent meanwhile"
    )
    assert out[5].split()[:3] == ["1", "ops", "dead"]
    told = json.loads(run("outbox", "--json")[1][0])
    assert (told["running"], len(told["messages"])) == (False, 3)
    target = tmp_path / "copy.db"
    code, out, err = run("backup", str(target))
    assert (code, err) == (0, "")
    assert out[0] == f"no engine is running for state folder {folder}; the copy was made from its state.db"
    assert messages_in(target) == ["evt_a1", "evt_b1", "evt_c1"]
    assert "there is a file of that name" in run("backup", str(target))[2]
    os.replace(target, folder / "state.db")
    for name in ("state.db-wal", "state.db-shm"):
        (folder / name).unlink(missing_ok=True)
    with serving(folder) as host:
        assert [each.id for each in host.outbox()] == [1, 2, 3], "an engine starts with the copy"


def test_where_no_engine_ever_ran(folder: Path, run: Any, tmp_path: Path) -> None:
    nothing = f"there is no {folder / 'state.db'}: no engine has run with this state folder"
    assert run("outbox") == (1, [], f"longwatch outbox: {nothing}")
    assert run("backup", str(tmp_path / "x.db")) == (1, [], f"longwatch backup: {nothing}")
    assert run("status") == (1, [f"no engine is running for state folder {folder}"], "")
    told = json.loads(run("status", "--json")[1][0])
    assert (told["running"], told["engine"], told["outbox"]) == (False, None, None)
    assert list(folder.iterdir()) == [], "asking makes nothing"


@pytest.mark.parametrize("content", [b"", b"not a database at all, but long enough to look like one" * 20])
def test_a_damaged_file_is_a_line(folder: Path, run: Any, content: bytes) -> None:
    (folder / "state.db").write_bytes(content)
    code, out, err = run("outbox")
    assert (code, out) == (1, [])
    assert err.startswith("longwatch outbox: ")
    assert run("status")[0] == 1


def test_status_of_one_that_was_killed_says_how_old_its_word_is(folder: Path, run: Any) -> None:
    now_ms = SystemClock().now_ms()
    status = EngineStatus("trade-1", 4711, "running", now_ms - 900_000, now_ms - 310_000)
    (folder / "status.json").write_bytes(msgspec.json.encode(status))
    (folder / "life.json").write_bytes(msgspec.json.encode(LifeSign(now_ms - 310_000)))
    with serving(folder) as host:
        fill(host)
    code, out, err = run("status")
    assert (code, err) == (1, "")
    assert out[:3] == [
        f"no engine is running for state folder {folder}",
        "this is what it wrote last, 5m10s ago:",
        "trade-1: running, ok, started 15m ago, process 4711, as it was then",
    ]
    assert out[-2:] == [
        "  outbox: ops: 1 dead, 1 waiting, the oldest 3m20s old",
        "  outbox: pager: 1 waiting, the oldest 3m20s old",
    ]
    told = json.loads(run("status", "--json")[1][0])
    assert told["running"] is False
    assert 310_000 <= told["age_ms"] < 340_000
    assert told["engine"]["name"] == "trade-1"


@pytest.mark.parametrize(
    ("stopped", "says"),
    [(True, "the last one was stopped 2h5m ago"), (False, "the last sign of life of one was 2h5m ago")],
)
def test_status_of_one_that_was_stopped_says_when(folder: Path, run: Any, stopped: bool, says: str) -> None:
    sign = LifeSign(SystemClock().now_ms() - 7_530_000, stopped=stopped)
    (folder / "life.json").write_bytes(msgspec.json.encode(sign))
    assert run("status") == (1, [f"no engine is running for state folder {folder}", says], "")


@pytest.mark.parametrize("name", ["status.json", "life.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]"])
def test_damaged_files_say_nothing(folder: Path, run: Any, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    assert run("status") == (1, [f"no engine is running for state folder {folder}"], "")


def test_an_engine_that_stands_still(folder: Path, run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Reading goes on over the files; what changes something is not done."""
    with serving(folder) as host:
        fill(host)
    monkeypatch.setattr(client, "GREETING_S", 0.02)
    with listening(folder):
        stands = f"the engine of {folder} does not answer: its event loop may be held, or its process stopped"
        assert run("status")[1][0] == stands
        assert run("outbox")[1][0].startswith(stands)
        assert run("backup", str(tmp_path / "x.db"))[1][0] == f"{stands}; the copy was made from its state.db"
        for arguments in (["outbox", "drop", "1"], ["drill"]):
            assert run(*arguments) == (1, [], f"longwatch {arguments[0]}: {stands}")


def test_the_configuration_says_which_engine(run: Any, tmp_path: Path) -> None:
    state = tmp_path / "elsewhere"
    state.mkdir()
    config = tmp_path / "run.toml"
    config.write_text(f'[engine]\nstate_dir = "{state}"\n[probe.host]\n')
    with serving(state):
        assert run("status", "--config", str(config))[0] == 0
        assert run("outbox", "--config", str(config))[0] == 0
    config.write_text("[engin]\n")
    assert run("status", "--config", str(config))[0] == 2
    assert run("drill", "--config", str(tmp_path / "none.toml"))[0] == 2


def test_without_a_folder_there_is_no_engine(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    assert run("drill")[0] == 2


# --- words --------------------------------------------------------------------------------------------


def test_ages_and_columns() -> None:
    assert [age_words(10_000_000, then) for then in (9_999_500, 9_990_000, 6_399_000, 10_500_000)] == [
        "0s",
        "10s",
        "1h",
        "0s",
    ]
    assert columns([("A", "BB", "C"), ("aaa", "b", "long text"), ("", "", "")]) == [
        "A    BB  C",
        "aaa  b   long text",
        "",
    ]


@pytest.fixture
def start(tmp_path: Path, folder: Path) -> Iterator[Callable[[], "subprocess.Popen[bytes]"]]:
    """Starts engines, each a process of its own, with the state folder; returns once one takes commands."""
    config = tmp_path / "run.toml"
    config.write_text('[engine]\n[sink.file]\ntype = "jsonl"\n')
    started: list[subprocess.Popen[bytes]] = []

    def run() -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "engine", "--config", str(config), "--no-live"]
        null = subprocess.DEVNULL
        process = subprocess.Popen(command, stdin=null, stdout=null, stderr=null)
        started.append(process)
        while b'"phase":"running"' not in asked(folder):
            assert process.poll() is None
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def asked(folder: Path) -> bytes:
    """The status of an engine, empty where none answers yet."""
    try:
        return bytes(client.ask(folder, "status", StatusArguments(), timeout_s=20.0))
    except client.NotRunning:
        return b""


@pytest.mark.process
def test_a_killed_engine_and_the_one_after_it(
    folder: Path, run: Any, start: Callable[[], "subprocess.Popen[bytes]"]
) -> None:
    process = start()
    assert run("drill")[0] == 0
    process.kill()
    process.wait()
    code, out, _ = run("status")
    assert (code, out[0]) == (1, f"no engine is running for state folder {folder}")
    assert out[1].startswith("this is what it wrote last, ")
    assert run("outbox")[0] == 0, "read from the log of the killed engine"
    assert run("drill")[0] == 1
    assert (folder / SOCKET_FILE).is_socket(), "a killed engine leaves it"
    with serving(folder, {"ops": RecordingSink()}):
        command = [sys.executable, "-m", "engine", "drill"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "1 of 1 receivers took the drill"
    assert (folder / "notifications.jsonl").read_text().count("DRILL: longwatch tries how it reaches file.") == 2
