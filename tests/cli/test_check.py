"""What `check` prints and returns."""

import io
from pathlib import Path

import pytest

from engine.cli.check import run_check
from engine.cli.schema import run_schema

GOOD = "[probe.host]\n[rule.A]\nexpr = 'host_cpu_percent > 90'\n[sink.console]\n"


def check(*texts: str, strict: bool = False, overrides: tuple[str, ...] = ()) -> tuple[int, list[str]]:
    paths = [Path(f"{number}.toml") for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    stream = io.StringIO()
    code = run_check(paths, overrides, strict, stream, {})
    return code, stream.getvalue().splitlines()


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_good_file() -> None:
    assert check(GOOD) == (0, ["0.toml: ok: 1 probe, 1 rule, 1 sink"])


def test_no_file_is_the_built_in_one() -> None:
    assert check() == (0, ["built-in configuration: ok: 1 probe, 3 rules, 1 sink"])


def test_errors_and_warnings_are_counted() -> None:
    assert check("[engine]\nnmae = 1\nname = 2\n") == (
        2,
        [
            '0.toml:2: engine.nmae: unknown key (did you mean "name"?)',
            '0.toml:3: engine.name: expected text, got 2 (write "2")',
            "warning: 0.toml: sink: no sink: nothing is recorded and nobody is told (add [sink.console])",
            "0.toml: 2 errors, 1 warning",
        ],
    )


def test_warnings_are_errors_when_strict() -> None:
    text = GOOD.replace("host_cpu_percent", "host_cpu_percnt")
    warning = (
        'warning: 0.toml:2: rule.A.expr: no probe here measures "host_cpu_percnt" (did you mean "host_cpu_percent"?)'
    )
    assert check(text) == (0, [warning, "0.toml: ok: 1 warning: 1 probe, 1 rule, 1 sink"])
    assert check(text, strict=True) == (2, [warning, "0.toml: 1 warning: 1 probe, 1 rule, 1 sink"])


def test_each_file_has_its_lines_and_one_bad_one_decides() -> None:
    code, lines = check(GOOD, "x = 1\n", GOOD)
    assert code == 2
    assert [line for line in lines if "ok" in line] == [
        "0.toml: ok: 1 probe, 1 rule, 1 sink",
        "2.toml: ok: 1 probe, 1 rule, 1 sink",
    ]
    assert "1.toml: 1 error, 1 warning" in lines


def test_overrides_go_to_each_file() -> None:
    code, lines = check(GOOD, GOOD, overrides=("engine.series_max=0",))
    assert code == 2
    assert lines.count("--set: engine.series_max: must be at least 1, not 0") == 2


def test_a_missing_file() -> None:
    stream = io.StringIO()
    assert run_check([Path("no.toml")], (), False, stream, {}) == 2
    assert stream.getvalue().splitlines() == [
        "no.toml: there is no such file",
        "no.toml: 1 error",
    ]


def test_schema_is_printed_as_json() -> None:
    import json

    stream = io.StringIO()
    assert run_schema(stream) == 0
    assert json.loads(stream.getvalue())["title"] == "run.toml"
