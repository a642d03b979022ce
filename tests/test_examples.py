"""Every example runs, and what the README shows is true."""

from __future__ import annotations

import ast
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from engine.config import load_text

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
EXIT_SKIP = 77  # the machine is not fit for it just now, and the last line says why
TOLD = {"embedded.py", "replay_rules.py", "busy_host.py"}


def run(script: str, *arguments: str, timeout_s: float = 50) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    if done.returncode == EXIT_SKIP:
        pytest.skip(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_example_is_run_by_a_test() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == TOLD


def test_embedded() -> None:
    told = run("embedded.py")
    assert re.findall(r"(PENDING|FIRING|RESOLVED) +(\w+)", told) == [
        ("PENDING", "SlowOrders"),
        ("FIRING", "SecurityViolation"),
        ("FIRING", "SlowOrders"),
        ("RESOLVED", "SlowOrders"),
    ]
    assert told.endswith("still firing at the end: SecurityViolation\n")


def test_replay_rules() -> None:
    shown = run("replay_rules.py").split()
    assert "14:35:00" in shown  # with 5m
    assert "14:31:00" in shown  # with 1m


@pytest.mark.parametrize(
    ("idle_percent", "threshold"),
    [(0.0, 60.0), (40.0, 60.0), (40.6, 61.0), (70.0, 90.0), (85.0, 95.0), (85.1, None), (100.0, None)],
)
def test_a_host_that_is_busy_anyway_gets_a_higher_line(idle_percent: float, threshold: float | None) -> None:
    """Or the alert of the next test would wait for a calm that never comes."""
    names = runpy.run_path(str(EXAMPLES / "busy_host.py"))
    assert names["choose_threshold"](idle_percent) == threshold
    assert names["EXIT_TOO_BUSY"] == EXIT_SKIP


@pytest.mark.process
@pytest.mark.timeout(300)
def test_the_story_of_a_busy_host(tmp_path: Path) -> None:
    """A real host, a real engine, a real receiver: firing exactly `for` after the first sample over the line."""
    told = run("busy_host.py", "--for", "5s", "--dir", str(tmp_path), timeout_s=280)
    story = json.loads(told.splitlines()[-1])
    assert f"host_cpu_percent > {story['threshold']:g}" in (tmp_path / "run.toml").read_text(encoding="utf-8")
    kept = [row for row in story["transitions"] if row["kind"] != "cleared"]
    first = next(row for row in kept if row["kind"] == "firing")
    assert first["time_ms"] - first["active_since_ms"] == 5_000
    assert any(row["kind"] == "pending" and row["time_ms"] == first["active_since_ms"] for row in kept)
    assert first["value"] > story["threshold"] >= 60
    (firing,), (resolved,) = story["firing"]["alerts"], story["resolved"]["alerts"]
    assert story["firing"]["version"] == "4"
    assert firing["labels"] == {"alertname": "HighCpu", "severity": "critical"}
    assert firing["startsAt"] == resolved["startsAt"] == first["time"]
    last = next(row for row in story["transitions"] if row["kind"] == "resolved")
    assert resolved["endsAt"] == last["time"]
    assert resolved["fingerprint"] == firing["fingerprint"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def test_the_readmes_configuration_loads() -> None:
    (text,) = blocks("toml")
    config = load_text(text, environ={"OPS_URL": "https://ops.example.org/hook"})
    assert [rule.name for rule in config.rules] == ["HighCpu", "Down"]
    assert config.warnings == ()


def test_the_readmes_test_passes() -> None:
    (code,) = blocks("python")
    names: dict[str, object] = {}
    exec(compile(ast.parse(code), "README.md", "exec"), names)
    test = names["test_five_minutes_are_five_minutes"]
    assert callable(test)
    test()
