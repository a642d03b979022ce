"""`health`: the verdict over real files, and its exit code."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.cli import main
from engine.cli.health import HEARTBEAT_MAX_MS, STATUS_BYTES_MAX, judge, pid_lives
from engine.clock import SystemClock
from engine.status import AlertStatus, ChannelStatus, EngineStatus, ProbeStatus, SinkStatus

NOW_MS = 1_700_000_000_000


def write(folder: Path, **changes: Any) -> Path:
    status = EngineStatus(
        name="trade-1",
        pid=os.getpid(),
        phase="running",
        started_ms=NOW_MS - 60_000,
        heartbeat_ms=NOW_MS,
        probes=(ProbeStatus("host", "host", 5_000),),
        sinks=(SinkStatus("ops", "webhook", status="degraded", message="http_503"),),
        alerts=(AlertStatus("HighCpu", {}, "firing", NOW_MS, 5, 5, float("nan")),),
        channel=ChannelStatus(1, 100, 7, 50, {"old": 3}),
        gauges={"host_cpu_percent": float("nan")},
    )
    (folder / "status.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(status, **changes)))
    return folder


def test_an_engine_that_lives_is_well_even_when_a_part_is_degraded(tmp_path: Path) -> None:
    """A value that is NaN is written as null, and does not hide the rest (M26)."""
    verdict = judge(write(tmp_path), NOW_MS + 2_000)
    assert verdict.healthy
    assert verdict.reason == ""
    assert verdict.heartbeat_age_ms == 2_000
    assert verdict.engine is not None
    assert verdict.engine.status == "degraded"


@pytest.mark.parametrize(("age_ms", "healthy"), [(HEARTBEAT_MAX_MS - 1, True), (HEARTBEAT_MAX_MS, False)])
def test_the_heartbeat_must_be_young(tmp_path: Path, age_ms: int, healthy: bool) -> None:
    verdict = judge(write(tmp_path), NOW_MS + age_ms)
    assert verdict.healthy is healthy
    assert healthy or verdict.reason == f"process {os.getpid()} gave its last sign of life 10s ago"


def test_a_failed_part_is_named(tmp_path: Path) -> None:
    broken = ProbeStatus("health", "http", 1_000, status="failed", message="connection refused")
    verdict = judge(write(tmp_path, probes=(broken,)), NOW_MS)
    assert not verdict.healthy
    assert verdict.reason == "health (http) failed: connection refused"


def test_no_file_no_engine(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        verdict = judge(folder, NOW_MS)
        assert verdict.reason == f"no engine is running for state folder {folder}"
        assert not verdict.healthy


def test_an_engine_that_ended_is_not_running(tmp_path: Path) -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert not pid_lives(done.pid)
    for changes in ({"pid": done.pid}, {"phase": "stopped"}, {"pid": 0}, {"pid": -1}):
        assert judge(write(tmp_path, **changes), NOW_MS).reason.startswith("no engine is running")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"name": 5}', b"null"])
def test_a_file_that_is_no_status_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "status.json").write_bytes(content)
    verdict = judge(tmp_path, NOW_MS)
    assert not verdict.healthy
    assert "can't be read" in verdict.reason
    assert "\n" not in verdict.reason


def test_ten_thousand_alerts_with_long_labels_are_read(tmp_path: Path) -> None:
    """A large status is the sign of a storm, and just then `health` is asked."""
    labels = {"alertname": "HighCpu", "instance": "i" * 500}
    annotations = {"summary": "s" * 1_000}
    storm = AlertStatus("HighCpu", labels, "firing", NOW_MS, 5, 5, 1.0, annotations=annotations)
    write(tmp_path, alerts=(storm,) * 10_000)
    assert (tmp_path / "status.json").stat().st_size > 16 * 1024 * 1024
    verdict = judge(tmp_path, NOW_MS)
    assert verdict.healthy
    assert verdict.engine is not None
    assert len(verdict.engine.alerts) == 10_000


def test_a_file_beyond_every_status_is_one_sentence(tmp_path: Path) -> None:
    with (tmp_path / "status.json").open("wb") as file:
        file.truncate(STATUS_BYTES_MAX + 1)
    path = tmp_path / "status.json"
    assert judge(tmp_path, NOW_MS).reason == (
        f"{path} can't be read: it has more than 64 MiB, which is more than any engine writes"
    )


def test_a_folder_in_the_place_of_the_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "status.json").mkdir()
    assert "can't be read: Is a directory" in judge(tmp_path, NOW_MS).reason


# --- the verb -------------------------------------------------------------------------------------


def test_exit_0_with_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(write(tmp_path, heartbeat_ms=SystemClock().now_ms())))
    assert main(["health"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith(f"trade-1: running, degraded, process {os.getpid()}, last sign of life ")
    assert lines[1].split() == ["probe", "host", "host", "ok"]
    assert lines[2].split() == ["sink", "ops", "webhook", "degraded", "http_503"]
    assert "queue 1 of 100, 3 dropped" in lines[3]
    assert lines[4].strip() == "alerts: 1 firing, 0 pending"


def test_a_target_that_is_down_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    probes = (ProbeStatus("shop", "http", 1_000, target_down=True),)
    folder = write(tmp_path, heartbeat_ms=SystemClock().now_ms(), probes=probes)
    monkeypatch.setenv("STATE_DIRECTORY", str(folder))
    assert main(["health"]) == 0
    line = capfd.readouterr().out.splitlines()[1]
    assert " ".join(line.split()) == "probe shop http ok the target is down"


def test_alerts_are_counted_and_not_only_those_that_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A status lists the foremost ones; how many there are is in its counters, of which one may be null."""
    counters = {'longwatch_alerts{state="firing"}': 5_000.0, "longwatch_loop_lag_seconds": float("nan")}
    folder = write(tmp_path, heartbeat_ms=SystemClock().now_ms(), counters=counters)
    monkeypatch.setenv("STATE_DIRECTORY", str(folder))
    assert main(["health"]) == 0
    assert capfd.readouterr().out.splitlines()[-1].strip() == "alerts: 5000 firing, 0 pending"


def test_exit_1_with_the_reason_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(write(tmp_path)))
    assert main(["health"]) == 1
    assert capfd.readouterr().out.splitlines()[-1].startswith("not healthy: process")


def test_exit_1_in_one_line_when_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    assert main(["health"]) == 1
    assert capfd.readouterr().out == f"no engine is running for state folder {tmp_path}\n"


def test_the_folder_is_the_one_of_the_configuration(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    write(folder, heartbeat_ms=SystemClock().now_ms())
    config = tmp_path / "run.toml"
    config.write_text(f'[engine]\nstate_dir = "{folder}"\n[probe.host]\n')
    assert main(["health", "--config", str(config), "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["healthy"] is True
    assert told["folder"] == str(folder)
    assert told["engine"]["name"] == "trade-1"


def test_a_configuration_that_is_wrong_is_exit_2(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "run.toml"
    config.write_text("[engine]\nnaem = 1\n")
    assert main(["health", "--config", str(config)]) == 2
    assert "naem" in capfd.readouterr().err


def test_no_home_is_exit_2(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """F120."""
    for name in ("HOME", "XDG_STATE_HOME", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    assert main(["health"]) == 2
    assert "no state folder" in capfd.readouterr().err
