"""docs/history.md and docs/sinks.md: the queries in them run and answer their question, and nothing is left out."""

import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from engine.durations import Duration
from engine.events import Blind, Health, Sample
from engine.secrets import Secret
from engine.series import series_text
from sinks.console import ConsoleOptions
from sinks.sqlite import SqliteOptions, SqliteSink
from sinks.webhook import WebhookOptions
from tests.sinks.context import StillClock, context, transition

SOURCES = Path(__file__).resolve().parents[2] / "sinks"
DOCS = Path(__file__).resolve().parents[2] / "docs"
HISTORY = (DOCS / "history.md").read_text(encoding="utf-8")
SINKS = (DOCS / "sinks.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"^(.*?)\n\n```sql\n(.*?)```", HISTORY, re.DOTALL | re.MULTILINE)
MINUTE = 60_000
NOW = datetime(2026, 3, 4, 12)  # noqa: DTZ001  # local on purpose, as the nights of the questions are


def query(words: str) -> str:
    """The one query whose question has these words."""
    (found,) = [sql for question, sql in QUERIES if words in question.splitlines()[-1]]
    return str(found)


@pytest.fixture
async def database(tmp_path: Path) -> Path:
    """A history of which the answers are known, written by a run that stops at `NOW`."""
    now = int(NOW.timestamp() * 1000)
    night_ms = now - 9 * 60 * MINUTE
    alert = {"alertname": "HighCpu", "instance": "a"}
    other = {"alertname": "Down", "instance": "b"}
    high = {"alertname": "Mem", "instance": "b"}
    clock = StillClock()
    clock.wall_ms = now
    sink = SqliteSink(SqliteOptions(), context(tmp_path, clock=clock))
    await sink.open()
    cpu = series_text("host_cpu_percent", {"instance": "a"})
    fast = series_text("probe_duration_seconds", {"instance": "u"})
    minute = now // MINUTE * MINUTE - 5 * MINUTE
    await sink.write(
        [
            transition("pending", night_ms - MINUTE, alert),
            transition("firing", night_ms, alert, value=97.25),
            transition("resolved", night_ms + 90_000, alert, value=12.0),
            transition("firing", night_ms - 48 * 60 * MINUTE, other, rule="Down"),
            transition("firing", night_ms - 24 * 60 * MINUTE, high, rule="Mem", severity="warning"),
            transition(
                "level",
                night_ms - 24 * 60 * MINUTE + MINUTE,
                high,
                rule="Mem",
                severity="critical",
                severity_before="warning",
            ),
            transition(
                "resolved",
                night_ms - 24 * 60 * MINUTE + 3 * MINUTE,
                high,
                rule="Mem",
                severity="critical",
                severity_before="critical",
            ),
            Sample(minute, cpu, 10.0),
            Sample(minute + 1000, cpu, 20.0),
            Sample(minute + MINUTE, cpu, 50.0),
            *(Sample(minute + i * 100, fast, i / 100) for i in range(1000)),
            Health(now - 1000, "probe.x", "failed", "timeout", "", 3),
            Health(now - 500, "probe.x", "failed", "timeout", "", 2),
            Health(now - 100, "probe.x", "ok", "recovered"),
            Blind(now - 50, now - 28_800_050, now - 50, "*", "suspend"),
        ]
    )
    await sink.close()
    return tmp_path / "history.db"


def answers(database: Path, sql: str) -> list[dict[str, Any]]:
    """What a query gives at `NOW`, which it takes from the machine otherwise."""
    now = NOW.astimezone(UTC).strftime("'%Y-%m-%d %H:%M:%S'")
    sql = sql.replace("'now'", now).replace("unixepoch()", f"unixepoch({now})")
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql)]


async def test_what_fired_last_night(database: Path) -> None:
    found = answers(database, query("What fired last night"))
    assert [(row["kind"], row["rule"], row["instance"], row["value"]) for row in found] == [
        ("firing", "HighCpu", "a", 97.3),
        ("resolved", "HighCpu", "a", 12.0),
    ]


async def test_how_long_each_alert_was_firing(database: Path) -> None:
    first, critical, second, warning = answers(database, query("How long was each alert firing"))
    told = [[row[key] for key in ("severity", "minutes", "ended")] for row in (critical, warning)]
    assert told == [["critical", 2.0, "resolved"], ["warning", 1.0, "another severity"]]
    assert (first["rule"], first["ended"]) == ("Down", "still firing")
    assert first["minutes"] > 24 * 60
    assert (second["rule"], second["minutes"], second["ended"]) == ("HighCpu", 1.5, "resolved")


async def test_cpu_per_minute(database: Path) -> None:
    found = answers(database, query("CPU per minute"))
    assert [(row["mean"], row["max"]) for row in found] == [(15.0, 20.0), (50.0, 50.0)]


async def test_which_parts_had_trouble(database: Path) -> None:
    (row,) = answers(database, query("Which parts of the engine had trouble"))
    assert (row["component"], row["reason"], row["times"]) == ("probe.x", "timeout", 5)


async def test_the_99th_percentile(database: Path) -> None:
    (row,) = answers(database, query("The 99th percentile"))
    assert row["instance"] == "u"
    assert row["p99"] == pytest.approx(9.89, abs=0.02)


async def test_when_it_could_not_see(database: Path) -> None:
    (row,) = answers(database, query("When could the engine not see"))
    assert (row["seconds"], row["reason"], row["scope"]) == (28_800.0, "suspend", "*")


async def test_every_query_has_a_test(database: Path) -> None:
    assert len(QUERIES) == 6
    assert len(re.findall("```sql", HISTORY)) == len(QUERIES)


async def test_every_table_column_and_view_is_described(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        names = [
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
            if not name.startswith("sqlite_")
        ]
        columns = {
            column[1]
            for name in names
            if name != "meta" and not name.startswith("v_")
            for column in connection.execute(f"PRAGMA table_info({name})")
        } - {"id"}
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", HISTORY))))
    assert {*names, *columns} - words == set()


@pytest.mark.parametrize(
    "made",
    [ConsoleOptions(), SqliteOptions(), WebhookOptions(url=Secret("http://x"))],
    ids=lambda made: type(made).__name__,
)
def test_every_option_has_a_row_with_its_default(made: Any) -> None:
    documented = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", SINKS, re.MULTILINE))
    defaults = {field: getattr(made, field) for field in made.__struct_fields__}
    assert set(defaults) - set(documented) == set()
    for field, value in defaults.items():
        if isinstance(value, Duration):
            assert f'`"{value}"`' == documented[field]
        elif isinstance(value, int):
            assert documented[field] == f"`{str(value).lower()}`"


def test_the_files_schema_number_is_the_documented_one() -> None:
    from sinks._sqlite_schema import APPLICATION_ID, USER_VERSION

    assert f"0x{APPLICATION_ID:X}" in HISTORY
    assert f"`user_version` {USER_VERSION}" in HISTORY


def test_every_reason_is_documented() -> None:
    """Of errors and of notices: people write rules and scripts on them, so none appears or changes unseen."""
    forms = (
        r'(?:SinkError|_notice|_failure)\(\s*"(\w+)"',
        r'otices\.append\(\("(\w+)"',
        r'sqlite3\.SQLITE_\w+: \("(\w+)", ',
        r'errno\.\w+: "(\w+)"',
        r'return "(\w+)", "',
    )
    told = {
        reason
        for path in SOURCES.glob("*.py")
        for form in forms
        for reason in re.findall(form, path.read_text(encoding="utf-8"))
    }
    assert {"bad_record", "full", "disk_full", "set_aside", "wal_pinned", "refused", "tls", "timeout"} <= told
    assert told - set(re.findall(r"`(\w+)`", SINKS)) == set()
