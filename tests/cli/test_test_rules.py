"""`test`: its exit codes, and how far it is on a terminal. What it finds is in tests/ruletests."""

import io
from pathlib import Path

import pytest

from engine.cli import main
from engine.cli.test_rules import run_test_rules

GOOD = "tests: [{promql_expr_test: [{expr: time(), eval_time: 1d, exp_samples: [{value: 86400}]}]}]\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.yml"
    path.write_text(GOOD)
    return path


def test_exit_codes(good: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.yml"
    bad.write_text(GOOD.replace("86400", "1"))
    assert main(["test", str(good)]) == 0
    assert main(["test", str(good), str(bad)]) == 1
    assert main(["test", str(tmp_path / "none.yml"), str(good)]) == 2
    printed = capfd.readouterr()
    assert printed.err == ""  # no terminal, no progress
    assert printed.out.startswith(f"Unit Testing: {good}\n  SUCCESS\n")
    assert "can't read the tests: there is no such file" in printed.out
    assert main(["test"]) == 2


def test_wildcards_that_the_shell_left(good: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(good.with_name("*.yml"))]) == 0
    assert capfd.readouterr().out == f"Unit Testing: {good}\n  SUCCESS\n\n"
    assert main(["test", str(good.with_name("no*.yml"))]) == 2
    assert "no*.yml: can't read the tests: there is no such file" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("", 0, "WARNING: there are no tests in it\n  SUCCESS"),
        ("groups: []\n", 2, ":1: this is a rule file, not one of tests (look at it with `check`)\n\n"),
        ("groups: []\ntests: []\n", 2, ":1: field groups not found (known: rule_files, "),
        ("[engine]\nname = 'x'\n", 2, "FAILED"),
    ],
)
def test_other_files_are_told_from_tests(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str, code: int, says: str
) -> None:
    (tmp_path / "t.yml").write_text(text)
    assert main(["test", str(tmp_path / "t.yml")]) == code
    assert says in capfd.readouterr().out


def test_a_folder_is_no_file_of_tests(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(tmp_path)]) == 2
    assert f"can't read the tests: it is a directory (name its files, as in {tmp_path}/*.yml)" in capfd.readouterr().out


def test_progress_is_one_line_that_is_gone_at_the_end(good: Path) -> None:
    terminal, stream = Terminal(), io.StringIO()
    assert run_test_rules([good], stream, terminal) == 0
    written = terminal.getvalue().split("\r\x1b[K")
    assert written[1].endswith("good.yml: test 1 of 1: 0 %")
    assert written[-2].endswith(" 100 %")
    assert written[-1] == ""
    assert "%" not in stream.getvalue()


def test_a_pipe_gets_no_progress(good: Path) -> None:
    pipe = io.StringIO()
    assert run_test_rules([good], io.StringIO(), pipe) == 0
    assert pipe.getvalue() == ""
