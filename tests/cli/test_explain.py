"""`explain` over a real history.db, as people see it."""

import io
import json
import os
from pathlib import Path

import msgspec
import numpy as np
import pytest

from engine.cli import main
from engine.cli.arguments import parse
from engine.cli.explain import run_explain
from engine.clock import SystemClock
from engine.events import Blind, Record, SampleBatch
from engine.status import EngineStatus
from sinks.sqlite import SqliteOptions, SqliteSink
from tests.sinks.context import StillClock, context

NOW_MS = 1_767_333_600_000  # 2026-01-02T06:00:00Z
RULES = """
groups:
- name: slow
  interval: 1m
  rules:
  - alert: Paged
    expr: cpu > 90
    for: 5m
"""
CONFIG = """
[engine]
name = "t"
timezone = "Europe/Berlin"
rule_files = ["rules.yml"]
[rule.HighCpu]
expr = "cpu > 90"
for = "5m"
[rule.Levels]
expr = "cpu"
keep_firing_for = "10m"
levels = [ { severity = "warning", when = "> 80", for = "2m", clear = "< 75" },
           { severity = "critical", when = "> 90", for = "5m" } ]
[rule.Share]
expr = "cpu > 90"
for = "5m"
of = 0.9
[rule.Ghost]
expr = "cpus > 90"
[sink.history]
type = "sqlite"
"""


def cpu(instance: str) -> str:
    return f'cpu{{instance="{instance}"}}'


@pytest.fixture
async def config(tmp_path: Path) -> Path:
    """Two hours: `a` is high since 3 minutes, `b` was for 4m45s, `c` fires, `d` fell silent, and the machine slept."""
    clock = StillClock()
    clock.wall_ms = NOW_MS
    sink = SqliteSink(SqliteOptions(), context(tmp_path, clock=clock))
    await sink.open()
    records: list[Record] = []
    for ago in range(7_200, -1, -15):
        values = {"a": 97.2 if ago <= 195 else 40.0, "b": 93.3 if 3_600 <= ago <= 3_870 else 43.0}
        values |= {"c": 95.0 if ago <= 1_800 else 30.0}
        if ago >= 600:
            values["d"] = 99.0 if ago <= 660 else 20.0
        batch = np.array(list(values.values()))
        records.append(SampleBatch(NOW_MS - ago * 1000, tuple(map(cpu, values)), batch, 15_000))
    records.append(Blind(NOW_MS - 100_000, NOW_MS - 140_000, NOW_MS - 100_000, "*", "suspend"))
    await sink.write(records)
    await sink.close()
    (tmp_path / "rules.yml").write_text(RULES)
    path = tmp_path / "run.toml"
    path.write_text(CONFIG + f'path = "{tmp_path}/history.db"\n')
    return path


def ask(config: Path, capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    code = main(["explain", *arguments, "--config", str(config), "--at", "2026-01-02T06:00:00Z"])
    printed = capfd.readouterr()
    assert (code, printed.err) == (0, "")
    return printed.out


def about(config: Path, capfd: pytest.CaptureFixture[str], rule: str, instance: str) -> list[str]:
    """The lines about one alert."""
    lines = ask(config, capfd, rule, "--labels", f"instance={instance}").splitlines()
    return lines[next(at for at, line in enumerate(lines) if f"instance={instance}" in line and line[0] != " ") :]


SILENT = "unknown from 07:00:45.001, in 45s; its clocks stand, lost after 1d"


def test_pending(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert about(config, capfd, "HighCpu", "a") == [
        "PENDING instance=a",
        "  value 97.2, true since 06:56:45",
        "  40s do not count: data was missing, or nobody could see",
        "  2m35s of 5m; fires at 07:02:25, in 2m25s, if it stays true",
        f"  if no sample comes any more: {SILENT}",
        "  what happened",
        "    06:56:45  97.2: true, its clock of 5m runs, PENDING (condition)",
        "    06:57:40  nobody could see for 40s (suspend), which does not count",
    ]


def test_not_firing_and_how_near_it_came(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert about(config, capfd, "HighCpu", "b") == [
        "inactive instance=b",
        "  not firing: 43 is not > 90",
        "  nearest miss of the last day: true for 4m45s of 5m, from 05:55:30 to 06:00:15, when it was 43",
        "  highest value of the last day: 93.3 at 05:55:30 (> 90 is wanted)",
        "  what happened",
        "    05:55:30  93.3: true, its clock of 5m runs, PENDING (condition)",
        "    06:00:15  43: not true after 4m45s of 5m, CLEARED (recovered)",
    ]


def test_firing_and_what_ends_it(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert about(config, capfd, "HighCpu", "c")[:4] == [
        "FIRING instance=c",
        "  value 95, true since 06:30:00",
        "  firing since 06:35:00; it resolves when it is not > 90",
        "  peak 95, mean 95 of 121 samples; true for 29m20s",
    ]


def test_paused_because_a_series_is_stale(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert about(config, capfd, "HighCpu", "d") == [
        "PENDING instance=d",
        "  not known since 06:50:45.001, 9m14s ago: data is missing (on_missing = hold); its clocks stand",
        "  9m14s do not count: data was missing, or nobody could see",
        '  stale: cpu{instance="d"}, last sample at 06:50:00, 10m ago, stale since 06:50:45.001',
        "  1m45s of 5m; is given up as lost at 2026-01-03 06:51:25.001, in 23h51m25s, if it stays unknown",
        "  what happened",
        "    06:49:00  99: true, its clock of 5m runs, PENDING (condition)",
        '    06:50:45.001  no data of cpu{instance="d"}: unknown, the clocks stand',
    ]


def test_one_line_for_each_level(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = ask(config, capfd, "Levels", "--labels", "instance=a")
    assert "\n  warning when > 80 for 2m clear < 75\n  critical when > 90 for 5m\n" in text
    lines = about(config, capfd, "Levels", "a")
    assert lines[0] == "FIRING instance=a severity=warning"
    assert "  warning  > 80: reached" in lines
    assert "  critical > 90: true for 2m35s of 5m" in lines
    assert "  becomes critical at 07:02:25, in 2m25s, if it stays true" in lines
    assert "    06:59:25  97.2: warning reached, FIRING warning (held)" in lines
    keeping = about(config, capfd, "Levels", "b")
    assert keeping[0] == "inactive instance=b"
    assert keeping[-2].endswith(
        "43: not true for warning after 4m45s of 2m, warning left, not true for critical after 4m45s of 5m, "
        "keep_firing_for 10m runs"
    )
    assert keeping[-1] == "    06:10:15  43: RESOLVED (recovered)"


def test_a_part_of_the_time(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines = about(config, capfd, "Share", "a")
    assert "  > 90: true for 2m35s of the last 5m, needs 4m30s" in lines
    assert "  fires at 07:01:55, in 1m55s, if it stays true" in lines
    fires = about(config, capfd, "Share", "c")
    assert "  value 95, true; pending since 06:30:00" in fires
    assert "  firing since 06:34:30; it resolves when it was true for less than 4m30s of the last 5m" in fires


def test_how_near_a_part_of_the_time_came(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What was true before the last run counts, too, so it has no beginning; and the window is not what is needed."""
    printed = ask(config, capfd, "Share", "--labels", "instance=b", "--set", "rule.Share.of=0.99")
    assert (
        "  nearest miss of the last day: true for 4m45s of the 5m until 06:00:15, of which it needs 4m57s; "
        "then it was 43"
    ) in printed.splitlines()


def test_a_rule_of_a_file_looks_at_instants(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = ask(config, capfd, "Paged", "--labels", "instance=a")
    assert "  evaluated every 1m, next at 07:01:00, in 1m; it looks at nothing in between\n" in text
    assert "rules.yml:6, group slow)" in text
    lines = about(config, capfd, "Paged", "a")
    assert lines[-5:] == [
        "  2m20s of 5m; fires at 07:03:00, in 3m, if it stays true",
        "    even if no sample comes any more",
        "  what happened",
        "    06:57:00  97.2: true, its clock of 5m runs, PENDING (condition)",
        "    06:57:40  nobody could see for 40s (suspend), which does not count",
    ]


def test_never_saw_data(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert ask(config, capfd, "Ghost").splitlines()[-2:] == [
        "  it never saw data in this time, so it can't fire:",
        "  cpus: the history has no series cpus at all; did you mean cpu?",
    ]


def test_all_of_it_and_where_the_answer_ends(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines = ask(config, capfd, "HighCpu").splitlines()
    assert lines[0] == "HighCpu at 2026-01-02 07:00:00 CET, by 1884 samples of 2h of history"
    assert lines[1].startswith("  note: what the history has begins at 2026-01-02 05:00:00 CET")
    states = [line for line in lines if "instance=" in line and line[0] != " "]
    assert states == ["FIRING instance=c", "PENDING instance=d", "PENDING instance=a", "inactive instance=b"]


def test_a_long_answer_for_machines_is_whole(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    printed = ask(config, capfd, "Levels", "--json")
    assert len(printed) > 4_000
    assert json.loads(printed)["rule"] == "Levels"


def test_json_is_the_same_for_machines(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    answer = json.loads(ask(config, capfd, "HighCpu", "--labels", "instance=a", "--json"))
    (rule,) = answer["rules"]
    (alert,) = rule["alerts"]
    assert (alert["now"]["state"], alert["now"]["next"]["time_ms"]) == ("pending", NOW_MS + 145_000)
    assert [change["what"] for change in alert["changes"]] == ["true", "pending", "blind"]
    assert rule["mode"] == "continuous"


def test_what_can_not_be_answered_is_one_line(config: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def refused(*arguments: str) -> str:
        assert main(["explain", *arguments]) == 2
        printed = capfd.readouterr()
        assert printed.out == ""
        return printed.err

    given = ["--config", str(config)]
    assert refused("HihgCpu", *given) == 'longwatch explain: there is no rule "HihgCpu"; did you mean HighCpu?\n'
    assert "HighCpu has no alert with instance=z; there are" in refused(
        "HighCpu", *given, "--labels", "instance=z", "--at", "1767333600"
    )
    assert '"soon" is not a time' in refused("HighCpu", *given, "--at", "soon")
    assert "there is no history" in refused("HighCpu", *given, "--history", str(tmp_path / "none.db"))
    assert "the built-in configuration has no sink of type sqlite" in refused("HighCpu")
    config.write_text("[rule.HighCpu]\nexpr = 'cpu >'\n")
    assert "run.toml:2" in refused("HighCpu", *given)


def test_long_work_says_how_far_it_is_on_a_terminal(
    config: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    arguments = parse(["explain", "HighCpu", "--config", str(config), "--at", "2026-01-02T06:00:00Z"])
    quick, slow = Terminal(), Terminal()
    assert run_explain(arguments, quick) == 0
    monkeypatch.setattr("engine.cli.explain.PROGRESS_FROM_S", 0.0)
    assert run_explain(arguments, slow) == 0
    assert "reading and playing the history: 50%" in slow.getvalue()
    assert slow.getvalue().endswith("\r\x1b[K")
    assert "reading" not in capfd.readouterr().out


ABSENT = """
[rule.Nothing]
expr = "absent(nothing)"
for = "10m"
"""


def test_what_needs_no_sample_begins_with_the_first_run(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Not a day before anybody watched: the only run of this history began just now."""
    config.write_text(config.read_text().replace("[rule.Ghost]", ABSENT + "[rule.Ghost]"))
    lines = ask(config, capfd, "Nothing").splitlines()
    assert "PENDING" in lines
    assert any("of 10m; fires at 07:10:00" in line for line in lines)


def test_a_time_that_has_not_come_is_refused(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "HighCpu", "--config", str(config), "--at", "2999-01-01T00:00:00Z"]) == 2
    assert "has not come yet" in capfd.readouterr().err


# --- is anybody there? --------------------------------------------------------------------------------


def noted(config: Path, capfd: pytest.CaptureFixture[str], *more: str) -> list[str]:
    """What an answer says of the engine itself."""
    assert main(["explain", "HighCpu", "--config", str(config), *more]) == 0
    return [
        line.strip() for line in capfd.readouterr().out.splitlines() if "is running" in line or "sign of life" in line
    ]


def test_it_says_whether_an_engine_is_running(
    config: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a rule would do is done by nobody without one; and nobody takes an old status for a running engine."""
    folder = config.parent
    monkeypatch.setenv("STATE_DIRECTORY", str(folder))
    nobody = f"note: no engine is running for state folder {folder}; as long as none does, nobody is told of this"
    assert noted(config, capfd) == [nobody]
    now_ms = SystemClock().now_ms()
    status = EngineStatus("t", os.getpid(), "running", now_ms, now_ms)
    (folder / "status.json").write_bytes(msgspec.json.encode(status))
    assert noted(config, capfd) == [f"note: the engine is running, process {os.getpid()}"]
    old = msgspec.structs.replace(status, heartbeat_ms=now_ms - 60_000)
    (folder / "status.json").write_bytes(msgspec.json.encode(old))
    (held,) = noted(config, capfd)
    assert held.startswith(f"note: process {os.getpid()} gave its last sign of life 1m")
    assert main(["explain", "HighCpu", "--config", str(config), "--json"]) == 0
    assert "last sign of life" in json.loads(capfd.readouterr().out)["notes"][0]


def test_of_the_past_and_of_another_history_it_does_not_say(
    config: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(config.parent))
    assert noted(config, capfd, "--at", "2026-01-02T06:00:00Z") == []
    assert noted(config, capfd, "--history", str(config.parent / "history.db")) == []
