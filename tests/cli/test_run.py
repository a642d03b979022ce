"""Whole runs in processes of their own: how they start, stop, and what they leave."""

import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from engine.cli import main
from engine.cli.run import why_not_live

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]
READY = "to stop"  # the banner's last line but the warnings; handlers are in place before it

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str, **changes: Any) -> subprocess.Popen[str]:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "PYTHONPATH": str(ROOT),
            "TERM": "xterm-256color",
        }
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        options |= {key: value for key, value in changes.items() if key != "environ"}
        environ |= changes.get("environ", {})
        process = subprocess.Popen(
            [sys.executable, "-m", "engine", *arguments], env=environ, cwd=tmp_path, text=True, **options
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def until(stream: IO[str] | None, mark: str) -> str:
    """Read lines up to the one with a mark in it, and return it."""
    assert stream is not None
    for line in stream:
        if mark in line:
            return line
    raise AssertionError(f"the process ended without saying {mark!r}")


def config(folder: Path, text: str = "") -> str:
    """A configuration file with a probe, its state beside it."""
    path = folder / "run.toml"
    path.write_text(f'[engine]\nstate_dir = "{folder}/state"\n[probe.host]\ninterval = "1s"\n[sink.console]\n{text}')
    path.chmod(0o600)
    return str(path)


# --- from start to end ----------------------------------------------------------------------------


def test_no_configuration_at_all(start: Start, tmp_path: Path) -> None:
    process = start("--duration", "500ms", environ={"PYTHONDEVMODE": "1"})  # shows what was left open
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert '"longwatch" from the built-in configuration' in out
    assert f"files    {tmp_path}/.local/state/longwatch/longwatch" in out
    assert re.search(r"longwatch ran for \d+s: ", out)
    assert "Traceback" not in err
    assert "Warning" not in err
    assert (tmp_path / ".local/state/longwatch/longwatch").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_cleanly(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    """F100, F102."""
    process = start("--config", config(tmp_path, "[sink.sqlite]\n"))
    until(process.stdout, READY)
    process.send_signal(number)
    out, err = process.communicate(timeout=25)
    assert process.returncode == 0, err
    assert out.splitlines()[-2].startswith("longwatch ran for ")
    assert out.splitlines()[-1] == f"history: in {tmp_path}/state"
    assert f"stopping: {number.name}; a second one stops at once" in err
    assert "Traceback" not in err


def test_the_second_signal_ends_it_at_once(start: Start, tmp_path: Path) -> None:
    """F101: while a receiver that accepts and never answers holds the clean stop."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        port = server.getsockname()[1]
        rule = '[rule.Always]\nexpr = "host_memory_percent > 0"\n'
        hook = f'[sink.ops]\ntype = "webhook"\nurl = "http://127.0.0.1:{port}/"\n'
        process = start("--config", config(tmp_path, rule + hook))
        taken, _ = server.accept()
        with taken:
            process.send_signal(signal.SIGINT)
            until(process.stderr, "stopping: SIGINT")
            process.send_signal(signal.SIGINT)
            told = until(process.stderr, "ended at once")
            assert told.startswith("longwatch: ended at once; abandoned: ")
            assert "1 record for ops" in told
            assert process.wait(5) == 130


def test_a_hangup_is_told_and_ends_nothing(start: Start, tmp_path: Path) -> None:
    """F103."""
    process = start("--config", config(tmp_path))
    until(process.stdout, READY)
    process.send_signal(signal.SIGHUP)
    until(process.stderr, "SIGHUP")
    process.send_signal(signal.SIGTERM)
    assert process.wait(25) == 0


def test_a_second_engine_of_the_same_folder_is_refused(start: Start, tmp_path: Path) -> None:
    """F18."""
    first = start("--config", config(tmp_path))
    until(first.stdout, READY)
    until_locked(tmp_path / "state" / "engine.lock", first)
    second = start("--config", config(tmp_path))
    out, err = second.communicate(timeout=30)
    assert second.returncode == 2
    assert out == ""
    assert f"an engine is running with this state folder already: process {first.pid}" in err
    assert "Traceback" not in err
    first.send_signal(signal.SIGTERM)
    assert first.wait(25) == 0


def test_a_running_engine_is_well_and_an_ended_one_is_not_there(
    start: Start, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = config(tmp_path)
    process = start("--config", path)
    while not (tmp_path / "state" / "status.json").exists():
        assert process.poll() is None
    assert main(["health", "--config", path]) == 0
    assert f"process {process.pid}" in capfd.readouterr().out
    process.send_signal(signal.SIGTERM)
    assert process.wait(25) == 0
    assert main(["health", "--config", path]) == 1
    assert "no engine is running for state folder" in capfd.readouterr().out


def until_locked(lock: Path, holder: "subprocess.Popen[str]") -> None:
    while not (lock.exists() and lock.read_text().strip() == str(holder.pid)):
        assert holder.poll() is None


# --- who reads ------------------------------------------------------------------------------------


def test_a_reader_that_leaves_after_a_line_stops_nothing(start: Start, tmp_path: Path) -> None:
    """F104: `| head -1`."""
    far, near = os.pipe()
    process = start("--config", config(tmp_path), "--duration", "800ms", stdout=near)
    os.close(near)
    with os.fdopen(far) as reader:
        assert reader.readline().startswith("longwatch ")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert "BrokenPipe" not in err
    assert "stopping: its time is up" in err


def test_pipes_that_nobody_reads_do_not_hold_it(start: Start, tmp_path: Path) -> None:
    """F104: standard output and the log are full from the start."""
    far, near = os.pipe()
    os.set_blocking(near, False)
    try:
        while True:
            os.write(near, b"x" * 4_096)
    except BlockingIOError:
        os.set_blocking(near, True)
    process = start("--config", config(tmp_path), "--duration", "500ms", stdout=near, stderr=near)
    os.close(near)
    assert process.wait(30) == 0
    os.close(far)


def test_closed_descriptors_do_not_stop_it(start: Start, tmp_path: Path) -> None:
    """F104: `>&- 2>&-`."""
    path = config(tmp_path, "[sink.sqlite]\n")
    command = f'exec "{sys.executable}" -m engine --config "{path}" --duration 500ms <&- >&- 2>&-'
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["sh", "-c", command], env=environ, cwd=tmp_path, timeout=30, check=False)
    assert done.returncode == 0
    for file in (tmp_path / "state").iterdir():  # nothing was printed or logged into a file that got a low number
        assert b"longwatch ran" not in file.read_bytes()
        assert b"its time is up" not in file.read_bytes()
    assert (tmp_path / "state" / "history.db").read_bytes().startswith(b"SQLite format 3\0")


@pytest.mark.parametrize("verb", ["schema", "health"])
def test_verbs_print_to_nobody_without_a_word(tmp_path: Path, verb: str) -> None:
    """F104: `| head -0`, and `>&-`."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    far, near = os.pipe()
    os.close(far)
    for command in (f'"{sys.executable}" -m engine {verb}', f'"{sys.executable}" -m engine {verb} >&-'):
        done = subprocess.run(
            ["sh", "-c", command], env=environ, stdout=near, stderr=subprocess.PIPE, timeout=30, check=False
        )
        assert done.returncode == (1 if verb == "health" else 0)
        assert done.stderr == b""
    os.close(near)


def test_json_logs_are_json_lines(start: Start, tmp_path: Path) -> None:
    process = start("--config", config(tmp_path), "--duration", "500ms", "--log-format", "json", "--live")
    _, err = process.communicate(timeout=30)
    lines = [json.loads(line) for line in err.splitlines()]
    assert lines[0]["message"] == "no live view: standard output is not a terminal"
    assert lines[-1]["message"] == "stopping: its time is up"


# --- terminals ------------------------------------------------------------------------------------


def in_terminal(
    start: Start, *arguments: str, environ: dict[str, str], columns: int = 80, rows: int = 24
) -> tuple[int, str]:
    """Run in a pseudo-terminal; return the exit code and everything that was written."""
    far, near = pty.openpty()
    fcntl.ioctl(near, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = start(*arguments, stdin=near, stdout=near, stderr=near, environ=environ)
    os.close(near)
    seen = b""
    while True:
        try:
            data = os.read(far, 65_536)
        except OSError:  # EIO: the last one on the other side is gone
            break
        if not data:
            break
        seen += data
    os.close(far)
    return process.wait(30), seen.decode()


def test_in_a_terminal_there_is_a_view_and_the_terminal_is_left_clean(start: Start, tmp_path: Path) -> None:
    code, seen = in_terminal(start, "--config", config(tmp_path), "--duration", "2500ms", environ={})
    assert code == 0
    assert seen.count("\x1b[?1049h") == seen.count("\x1b[?1049l") == 1
    shown, after = seen.split("\x1b[?1049l")
    for word in ("─ alerts", "─ targets", "─ metrics", "host_cpu_percent", "Ctrl-C stops"):
        assert word in shown
    assert re.search(r"longwatch ran for \d+s: ", after)
    assert "stopping: its time is up" in after
    assert "\x1b[?25h" in seen


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [(["--no-live"], {}), (["--color", "never"], {"TERM": "dumb"})],
)
def test_without_a_view_there_are_plain_lines(
    start: Start, tmp_path: Path, arguments: list[str], environ: dict[str, str]
) -> None:
    """F105."""
    code, seen = in_terminal(start, "--config", config(tmp_path), "--duration", "500ms", *arguments, environ=environ)
    assert code == 0
    assert "\x1b[?1049h" not in seen
    assert re.search(r"longwatch ran for \d+s: ", seen)


def test_a_terminal_of_one_cell_is_no_error(start: Start, tmp_path: Path) -> None:
    """F105."""
    code, seen = in_terminal(start, "--config", config(tmp_path), "--duration", "2s", environ={}, columns=1, rows=1)
    assert code == 0
    assert "\x1b[?1049l" in seen
    assert "the live view is off" not in seen


def test_a_view_without_colour(start: Start, tmp_path: Path) -> None:
    code, seen = in_terminal(start, "--config", config(tmp_path), "--duration", "2s", environ={"NO_COLOR": "1"})
    assert code == 0
    assert "─ alerts" in seen
    assert "\x1b[3" not in seen
    assert ";3" not in seen.replace("\x1b[?", "")


@pytest.mark.parametrize(
    ("wanted", "term", "told"),
    [
        (None, "xterm-256color", ""),
        (True, "xterm", ""),
        (False, "xterm", "-"),
        (None, "dumb", 'the terminal can\'t do it (TERM is "dumb")'),
        (True, "", 'the terminal can\'t do it (TERM is "")'),
    ],
)
def test_why_there_is_no_view(wanted: bool | None, term: str, told: str) -> None:
    far, near = pty.openpty()
    assert why_not_live(wanted, near, term) == told
    os.close(far)
    os.close(near)


def test_there_is_no_view_in_a_pipe() -> None:
    far, near = os.pipe()
    assert why_not_live(True, near, "xterm") == "standard output is not a terminal"
    os.close(far)
    os.close(near)


# --- what is wrong --------------------------------------------------------------------------------


def test_every_problem_of_a_configuration_and_exit_2(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = config(tmp_path, '[probe.health]\ntype = "http"\nurll = "x"\n[sink.ops]\ntype = "webhok"\n')
    assert main(["--config", path]) == 2
    err = capfd.readouterr().err
    assert "probe.health.urll" in err
    assert "webhok" in err
    assert "Traceback" not in err


def test_a_configuration_that_is_not_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(tmp_path / "none.toml")]) == 2
    err = capfd.readouterr().err
    assert "none.toml" in err
    assert len(err.splitlines()) == 1


def test_an_override_that_is_wrong(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", config(tmp_path), "--set", "probe.host.intervall=1s"]) == 2
    assert "intervall" in capfd.readouterr().err


def test_a_state_folder_that_cannot_be_made_names_the_remedy(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """F16."""
    (tmp_path / "state").write_text("a file")
    assert main(["--config", config(tmp_path)]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "--memory" in line


def test_in_memory_no_file_is_written(start: Start, tmp_path: Path) -> None:
    process = start("--config", config(tmp_path, "[sink.sqlite]\n"), "--memory", "--duration", "500ms")
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "none: everything is kept in memory" in out
    assert "sink.sqlite is left out: --memory writes no file" in out
    assert "FAILED   sink" not in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.toml"]


def test_without_a_configuration_a_missing_home_is_no_error(start: Start) -> None:
    """F120."""
    process = start("--duration", "500ms", environ={"HOME": ""})
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "none: everything is kept in memory" in out
    assert "warning  there is no state folder" in out


def test_with_a_configuration_a_missing_home_is_exit_2(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "bare.toml"
    path.write_text("[probe.host]\n")
    process = start("--config", str(path), environ={"HOME": ""})
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "--memory" in err
    assert len(err.splitlines()) == 1
