"""Every bad configuration of the table through what `python -m engine check` runs (F145, F146, F147)."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli.check import run_check
from engine.config import examine
from tests.config.bad_configs import BAD_CONFIGS, CANARIES, ENVIRON, Bad

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_is_as_long_as_it_should_be() -> None:
    assert len(BAD_CONFIGS) >= 60
    assert len({case.name for case in BAD_CONFIGS}) == len(BAD_CONFIGS)


@pytest.mark.usefixtures("demo_types")
@pytest.mark.parametrize("case", BAD_CONFIGS, ids=lambda case: case.name)
def test_bad_config(case: Bad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("run.toml")
    file.write_text(case.text, encoding="utf-8", newline="")
    file.chmod(0o600)
    stream = io.StringIO()

    code = run_check([file], [], False, stream, ENVIRON)

    printed = stream.getvalue().splitlines()
    summary, found = printed[-1], [line for line in printed[:-1] if not line.startswith("warning: ")]
    assert code == 2
    assert len(found) == len(case.problems), found
    for line, expected in zip(found, case.problems, strict=True):
        assert line.startswith(expected[:-1]) if expected.endswith("…") else line == expected
    count = len(case.problems)
    assert summary.startswith(f"run.toml: {count} error{'s' if count > 1 else ''}")
    assert not [canary for canary in CANARIES if canary in stream.getvalue()]


REAL = {
    "syntax": ("interval = 5s\n", "run.toml:1: not a TOML value"),
    "unknown_key": ("[probe.host]\nintervall = '5s'\n", 'probe.host.intervall: unknown key (did you mean "interval"?)'),
    "missing_key": ("[probe.health]\ntype = 'http'\n", "run.toml:1: probe.health.url: is missing"),
    "unknown_type": (
        "[probe.hots]\n",
        'run.toml:1: probe.hots: there is no probe of type "hots" (did you mean "host"?)',
    ),
    "no_variable": (
        "[sink.webhook]\nurl = '${OPS_URL_NOT_SET}'\n",
        "the environment variable OPS_URL_NOT_SET is not set",
    ),
    "no_variable_remedy": (
        "[sink.webhook]\nurl = '${OPS_URL_NOT_SET}'\n",
        "(export OPS_URL_NOT_SET=... or use url_file)",
    ),
    "port": (
        "[sink.webhook]\nurl = 'http://canary-host:99999/'\n",
        "run.toml:2: sink.webhook.url: not an http:// or https:// URL with a host and, if any, a port from 1 to 65535",
    ),
    "rule_of_a_pack_that_is_not_loaded": (
        "[rule.HostCpuHigh]\nfor = '1h'\n",
        'expr: is missing; expected text (to change that rule of the pack "host", add packs = ["host"] to [engine])',
    ),
    "nearly_a_rule_of_a_pack": (
        "[engine]\npacks = ['service']\n[rule.HighCPU]\nfor = '1h'\n",
        'rule.HighCPU.expr: is missing; expected text (did you mean "HighCpu" of the pack "service"?)',
    ),
    "the_beginning_of_a_rule_of_a_pack": (
        "[engine]\npacks = ['service']\n[rule.HighLatency]\nfor = '1h'\n",
        '(did you mean "HighLatencyP95" of the pack "service"?)',
    ),
    "kept_shorter_raw": (
        "[sink.sqlite]\nkeep_raw = '500d'\n",
        "run.toml:2: sink.sqlite.keep_raw: samples are kept for 500d (keep_raw) and their roll-ups only for 400d (keep",
    ),
    "kept_shorter_rollups": (
        "[sink.sqlite]\nkeep_rollups = '3d'\n",
        "their roll-ups only for 3d (keep_rollups) (lower keep_raw or raise keep_rollups)",
    ),
    "option_check": (
        "[probe.http]\nurl = 'ftp://canary-host/'\n",
        "probe.http.url: must start with http:// or https://",
    ),
    "expression": ("[rule.A]\nexpr = 'rate('\n", "run.toml:2: rule.A.expr: "),
    "latin_1": ("# caf\xe9\n", "run.toml:1: not UTF-8: byte 0xe9 (save the file as UTF-8)"),
}


@pytest.mark.process
@pytest.mark.parametrize("name", REAL)
def test_bad_config_in_a_real_process(name: str, tmp_path: Path) -> None:
    text, expected = REAL[name]
    (tmp_path / "run.toml").write_bytes(text.encode("latin-1"))
    done = check(tmp_path, "run.toml")
    assert done.returncode == 2
    assert expected in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert "canary" not in done.stdout + done.stderr


@pytest.mark.process
def test_the_example_in_a_real_process(tmp_path: Path) -> None:
    done = check(tmp_path, str(ROOT / "examples/run.toml"), "--set", "probe.host.interval=1s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("run.toml: ok: 1 probe, 3 rules, 2 sinks\n")


def check(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "engine", "check", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_what_has_to_be_written_anew_is_not_called_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('[probe.http]\nurl = "localhost:8080"\n[sink.console]\n')
    file.chmod(0o644)
    config, problems, warnings = examine(file, environ={})
    assert (config, [problem.address for problem in problems], warnings) == (None, ["probe.http.url"], ())
