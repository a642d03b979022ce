"""`query` over a real history.db."""

import json
from pathlib import Path

import numpy as np
import pytest

from engine.cli import main
from engine.cli.query import QueryError, time_ms
from engine.events import SampleBatch
from sinks.sqlite import SqliteOptions, SqliteSink
from tests.sinks.context import StillClock, context

START_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
NOW_MS = 1_800_000_000_000


@pytest.fixture
async def history(tmp_path: Path) -> Path:
    """Five minutes of two series, and one with odd values."""
    clock = StillClock()
    clock.wall_ms = START_MS + 600_000
    sink = SqliteSink(SqliteOptions(), context(tmp_path, clock=clock))
    await sink.open()
    names = ('up{job="a"}', 'up{job="b"}', "odd")
    values = [[float(minute), 1.0, odd] for minute, odd in enumerate([1.5, np.nan, np.inf, -np.inf, 0.0])]
    await sink.write(
        [SampleBatch(START_MS + 60_000 * minute, names, np.array(row)) for minute, row in enumerate(values)]
    )
    await sink.close()
    return tmp_path / "history.db"


def ask(history: Path, capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    code = main(["query", *arguments, "--history", str(history)])
    printed = capfd.readouterr()
    assert (code, printed.err) == (0, "")
    return printed.out


@pytest.mark.parametrize(
    ("expr", "at", "answer"),
    [
        ("up", "2026-01-01T00:02:00Z", 'up{job="a"} 2\nup{job="b"} 1\n'),
        ("up", "1767225720.5", 'up{job="a"} 2\nup{job="b"} 1\n'),
        ("sum(up)", "2026-01-01T00:03:00+00:00", "{} 4\n"),
        ("avg by (job) (delta(up[4m])) > 0", "2026-01-01T00:04:00", '{job="a"} 4\n'),
        ("odd", "2026-01-01T00:01:00Z", "odd NaN\n"),
        ("odd", "2026-01-01T00:02:00Z", "odd +Inf\n"),
        ('{__name__=~"o.*"}', "2026-01-01T00:03:00Z", "odd -Inf\n"),
        ("1 + 0.5", "0", "1.5\n"),
        ('"text"', "0", "text\n"),
        ("up", "2026-01-01T01:00:00Z", "# nothing: no series has a value then\n"),
        (
            "job:up > 0 and up and ALERTS",
            "2026-01-01T00:02:00Z",
            "# nothing: no series ALERTS, job:up in the history; recorded series and ALERTS are not written to it\n",
        ),
    ],
)
def test_at_an_instant(history: Path, capfd: pytest.CaptureFixture[str], expr: str, at: str, answer: str) -> None:
    assert ask(history, capfd, expr, "--at", at) == answer


def test_over_a_range(history: Path, capfd: pytest.CaptureFixture[str]) -> None:
    span = ["--range", "2026-01-01T00:00:30Z", "2026-01-01T00:02:30Z", "--step", "1m"]
    assert ask(history, capfd, "up", *span).splitlines() == [
        'up{job="a"}',
        "  2026-01-01T00:00:30.000Z  0",
        "  2026-01-01T00:01:30.000Z  1",
        "  2026-01-01T00:02:30.000Z  2",
        'up{job="b"}',
        "  2026-01-01T00:00:30.000Z  1",
        "  2026-01-01T00:01:30.000Z  1",
        "  2026-01-01T00:02:30.000Z  1",
    ]
    assert len(ask(history, capfd, "up", *span[:3]).splitlines()) == 2 * (1 + 101)
    assert ask(history, capfd, "nothing", *span).startswith("# nothing: no series nothing in the history; recorded")
    assert ask(history, capfd, " + ".join("abcdefg"), *span).startswith(
        "# nothing: no series a, b, c, d, e, ... in the"
    )


def test_json_is_that_of_prometheus(history: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def data(*arguments: str) -> object:
        answer = json.loads(ask(history, capfd, *arguments, "--json"))
        assert answer["status"] == "success"
        return answer["data"]

    at = START_MS / 1000 + 120
    assert data("up > 1", "--at", str(at)) == {
        "resultType": "vector",
        "result": [{"metric": {"__name__": "up", "job": "a"}, "value": [at, "2"]}],
    }
    assert data("1", "--at", "7") == {"resultType": "scalar", "result": [7, "1"]}
    assert data('"x"', "--at", "7") == {"resultType": "string", "result": [7, "x"]}
    assert data("odd", "--range", str(at), str(at + 60), "--step", "1m") == {
        "resultType": "matrix",
        "result": [{"metric": {"__name__": "odd"}, "values": [[at, "+Inf"], [at + 60, "-Inf"]]}],
    }


def test_the_history_of_a_configuration(history: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "run.toml"
    config.write_text(f'[engine]\nname = "t"\nstate_dir = "{tmp_path}"\n[sink.sqlite]\n')
    asked = ["query", "up", "--at", "2026-01-01T00:02:00Z", "--config", str(config)]
    assert main(asked) == 0
    assert capfd.readouterr().out.startswith('up{job="a"} 2\n')
    moved = history.rename(tmp_path / "other.db")
    assert main(asked) == 2
    assert "there is no history" in capfd.readouterr().err
    assert main([*asked, "--set", f"sink.sqlite.path={moved}"]) == 0
    config.write_text('[engine]\nname = "t"\n[sink.console]\n')
    assert main(asked) == 2
    assert "the configuration has no sink of type sqlite" in (told := capfd.readouterr().err)
    assert "name a file with --history" in told
    assert main(asked[:2]) == 2
    assert "the built-in configuration has no sink" in (told := capfd.readouterr().err)
    assert told.endswith("name a file with --history, or a configuration with --config\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["up("], "could not parse expression"),
        (["up[5m]"], 'use a function of ranges, as in "rate(x[5m])"'),
        (["up", "--at", "yesterday"], '"yesterday" is not a time; write 2026-01-31T12:00:00Z'),
        (["up", "--at", "2026-13-01"], "is not a time"),
        (["up", "--range", "5m", "10m"], "the range ends before it starts"),
        (["up", "--step", "1m"], "--step belongs to --range"),
        (["up", "--range", "10m", "5m", "--step", "0s"], "longer than nothing"),
        (['"x"', "--range", "10m", "now"], "a string has no range"),
        (["up * on () up"], "many-to-many"),
        (["up", "--at", "5m", "--range", "5m", "now"], "not allowed with"),
    ],
)
def test_what_cannot_be_asked(
    history: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    at = ["--at", "2026-01-01T00:02:00Z"] if len(arguments) == 1 else []
    assert main(["query", *arguments, *at, "--history", str(history)]) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert told in printed.err
    assert len(printed.err.splitlines()) == 1


def test_a_file_that_is_no_history(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.db").write_bytes(b"x" * 5000)
    assert main(["query", "up", "--history", str(tmp_path / "x.db")]) == 2
    assert "longwatch query: x.db" in capfd.readouterr().err
    assert main(["query", "up", "--history", str(tmp_path / "none.db")]) == 2
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("now", NOW_MS),
        ("5m", NOW_MS - 300_000),
        ("1h30m", NOW_MS - 5_400_000),
        ("0", 0),
        ("-1.5", -1500),
        ("1767225600.25", START_MS + 250),
        ("2026-01-01T00:00:00Z", START_MS),
        ("2026-01-01T01:00:00.5+01:00", START_MS + 500),
        ("2026-01-01", START_MS),
    ],
)
def test_times(text: str, time: int) -> None:
    assert time_ms(text, NOW_MS) == time


@pytest.mark.parametrize("text", ["", "5", "x", "1e400", "99999999999999", "5 m", "2026-01-01T99:00:00Z"])
def test_no_times(text: str) -> None:
    if text == "5":  # seconds, too
        assert time_ms(text, NOW_MS) == 5_000
        return
    with pytest.raises(QueryError, match="is not a time"):
        time_ms(text, NOW_MS)
