"""The benchmarks' own arithmetic and command line. No figure of a benchmark is asserted here."""

import json
import math
import types
from pathlib import Path

import pytest

import benchmarks
from benchmarks import __main__ as program
from benchmarks.harness import REFERENCE_CALIBRATION_MS, Row, best_of, calibrate, scaled_limit, within

SLOW = REFERENCE_CALIBRATION_MS * 2


@pytest.mark.parametrize(
    ("row", "limit"),
    [
        (Row("a time", 1, "us", 10), 20),
        (Row("a rate", 1, "samples/s", 10, "higher"), 5),
        (Row("a size", 1, "MiB", 10), 10),
        (Row("no limit", 1, "us"), None),
    ],
)
def test_limits_follow_the_machine(row: Row, limit: float | None) -> None:
    assert scaled_limit(row, SLOW) == limit


def test_a_limit_is_kept_at_exactly_the_limit() -> None:
    assert within(Row("x", 20, "us", 10), SLOW)
    assert not within(Row("x", 20.1, "us", 10), SLOW)
    assert within(Row("x", 5, "x/s", 10, "higher"), SLOW)
    assert not within(Row("x", 4.9, "x/s", 10, "higher"), SLOW)


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_a_figure_that_is_not_a_number_keeps_no_limit(better: str) -> None:
    assert not within(Row("x", math.nan, "us", 10, better), SLOW)  # type: ignore[arg-type]


def test_timing_gives_a_positive_figure() -> None:
    assert best_of(lambda: sum(range(100)), repeats=2) > 0
    assert calibrate() > 0


@pytest.fixture
def two_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark `quick` that keeps its limit and one, `strict`, that is run only by name and does not."""
    quick = types.SimpleNamespace(__doc__="A quick one.", run=lambda: [Row("x", 1, "count", 2)])
    strict = types.SimpleNamespace(
        __doc__=None,
        ON_REQUEST=True,
        run=lambda duration_s=1.0, quick=False: [Row("went on for", math.nan if quick else duration_s, "of one", 1)],
        versions=lambda: {"other": "1.2"},
    )
    made = {"benchmarks.quick": quick, "benchmarks.strict": strict}
    infos = [types.SimpleNamespace(name=name.partition(".")[2]) for name in made]
    monkeypatch.setattr(program, "pkgutil", types.SimpleNamespace(iter_modules=lambda _path: infos))
    monkeypatch.setattr(program, "importlib", types.SimpleNamespace(import_module=made.__getitem__))
    monkeypatch.setattr(program, "calibrate", lambda: REFERENCE_CALIBRATION_MS)


@pytest.mark.usefixtures("two_benchmarks")
def test_without_a_name_runs_what_is_not_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "figures.json"
    assert program.main(["--check", "--json", str(out)]) == 0
    document = json.loads(out.read_text())
    assert [result["benchmark"] for result in document["results"]] == ["quick"]
    assert set(document["machine"]) == {"python", "numpy", "msgspec", "promql-parser", "longwatch", "prometheus", "on"}
    assert "A quick one." in capsys.readouterr().out


@pytest.mark.usefixtures("two_benchmarks")
def test_check_fails_past_a_limit_and_duration_is_handed_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["strict", "--check"]) == 0
    assert program.main(["strict", "--duration", "10m"]) == 0
    assert program.main(["strict", "--duration", "10m", "--check"]) == 3
    assert "1 of 1 figures" in capsys.readouterr().err


@pytest.mark.usefixtures("two_benchmarks")
def test_quick_is_handed_on_and_what_is_no_number_is_null(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "figures.json"
    assert program.main(["strict", "quick", "--quick", "--json", str(out)]) == 0
    document = json.loads(out.read_text())
    assert [(result["value"], result["ok"]) for result in document["results"]] == [(None, False), (1, True)]
    assert document["versions"] == {"strict": {"other": "1.2"}}
    assert "past it" in capsys.readouterr().out


def test_an_unknown_name_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["no_such"]) == 2
    assert "no_such" in capsys.readouterr().err


def test_a_duration_without_a_unit_is_a_usage_error() -> None:
    with pytest.raises(SystemExit) as stopped:
        program.main(["--duration", "10"])
    assert stopped.value.code == 2


def test_every_module_is_a_benchmark_or_the_harness() -> None:
    folder = Path(benchmarks.__file__).parent
    others = {path.stem for path in folder.glob("*.py")} - {"__init__"} - program.NOT_BENCHMARKS
    assert [name for name in sorted(others) if "def run(" not in (folder / f"{name}.py").read_text()] == []
