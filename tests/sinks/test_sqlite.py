"""The `sqlite` sink over real files: what goes in comes out, once, whatever the disk does meanwhile."""

import asyncio
import gc
import math
import os
import re
import sqlite3
import struct
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiosqlite
import anyio
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.durations import Duration
from engine.errors import SinkError
from engine.events import (
    STALE,
    STALE_BITS,
    Blind,
    DomainEvent,
    Facts,
    Health,
    Sample,
    SampleBatch,
    SecurityViolation,
    TradeClosed,
)
from engine.ports import History, Recorder
from engine.series import series_text
from sinks import sqlite as module
from sinks._sqlite_schema import APPLICATION_ID, USER_VERSION
from sinks.sqlite import SqliteOptions, SqliteSink, open_history
from tests.sinks.context import NOW_MS, StillClock, batch, context, transition

CPU_A = series_text("host_cpu_percent", {"instance": "a"})
CPU_B = series_text("host_cpu_percent", {"instance": "b"})
MINUTE = 60_000
FILES_MAX = (settings.default or settings()).max_examples // 4  # each example makes a file


@asynccontextmanager
async def opened(folder: Path, *, clock: Any = None, **options: Any) -> AsyncIterator[SqliteSink]:
    sink = SqliteSink(SqliteOptions(**options), context(folder, clock=clock))
    try:
        await sink.open()
        yield sink
    finally:
        await sink.close()


def rows(folder: Path, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """What another program sees."""
    with closing(sqlite3.connect(folder / "history.db")) as connection:
        return connection.execute(query, values).fetchall()


# --- what goes in comes out -----------------------------------------------------------------------


async def test_it_is_a_recorder_and_a_history(tmp_path: Path) -> None:
    sink = SqliteSink(SqliteOptions(), context(tmp_path))
    assert isinstance(sink, Recorder)
    assert isinstance(sink, History)


async def test_samples_come_back_by_series(tmp_path: Path) -> None:
    async with opened(tmp_path) as sink:
        await sink.write(
            [
                batch(NOW_MS, {CPU_A: 1.5, CPU_B: 2.5, "host_load1": 0.1}),
                Sample(NOW_MS + 1000, CPU_A, 3.5),
                Sample(NOW_MS + 2000, CPU_A, 4.5),
            ]
        )
        found = await sink.samples("host_cpu_percent", NOW_MS, NOW_MS + 2000)
    assert [item.series for item in found] == [CPU_A, CPU_B]
    assert found[0].times_ms.tolist() == [NOW_MS, NOW_MS + 1000]  # half-open
    assert found[0].values.tolist() == [1.5, 3.5]
    assert found[0].times_ms.dtype == np.int64
    assert found[1].values.tolist() == [2.5]


async def test_values_that_are_no_numbers_keep_their_meaning(tmp_path: Path) -> None:
    """M26: SQLite has infinities, no NaN, and no sign of zero."""
    given_values = [math.nan, math.inf, -math.inf, STALE, 0.0, 5e-324, 1.7e308]
    async with opened(tmp_path) as sink:
        await sink.write([Sample(NOW_MS + i, "up", value) for i, value in enumerate(given_values)])
        await sink.write([batch(NOW_MS + 7, {"up": STALE}, stale="target_down")])
        (found,) = await sink.samples("up", 0, NOW_MS * 2)
    bits = [struct.pack("<d", value) for value in found.values.tolist()]
    expected = [struct.pack("<d", value) for value in [*given_values, STALE]]
    assert bits == expected
    specials = rows(tmp_path, "SELECT special FROM samples ORDER BY time_ms")
    assert [special for (special,) in specials] == ["NaN", None, None, "ended", None, None, None, "target_down"]
    assert struct.unpack("<Q", bits[3])[0] == STALE_BITS


async def test_samples_of_several_metrics_come_back_as_they_came(tmp_path: Path) -> None:
    """What windows are refilled with: no roll-ups, and markers with their causes."""
    clock = StillClock()
    clock.wall_ms += 10 * MINUTE
    async with opened(tmp_path, clock=clock, keep_raw=Duration.parse("5m")) as sink:
        await sink.write(
            [batch(NOW_MS + number * MINUTE, {CPU_A: number, "up": 1.0, "x": 0.0}) for number in range(10)]
        )
        clock.pass_s(61)
        markers = [batch(NOW_MS + 600_000, {CPU_A: STALE}), batch(NOW_MS + 600_000, {"up": STALE}, stale="target_down")]
        await sink.write(markers)
        found = await sink.raw_samples(["up", "host_cpu_percent", "none"], NOW_MS, NOW_MS + 600_001)
        assert await sink.raw_samples([], 0, NOW_MS * 2) == await sink.raw_samples(["none"], 0, NOW_MS * 2) == []
    assert [one.series for one in found] == [CPU_A, "up"]
    kept = [NOW_MS + number * MINUTE for number in range(6, 11)]
    assert [one.times_ms.tolist() for one in found] == [kept, kept]
    assert found[0].values.tolist()[:4] == [6.0, 7.0, 8.0, 9.0]
    assert [one.values.view(np.int64)[-1] for one in found] == [STALE_BITS, STALE_BITS]
    assert [one.down_ms for one in found] == [frozenset(), {NOW_MS + 600_000}]
    assert [one.interval_ms for one in found] == [0, 0]


async def test_transitions_come_back_whole_and_once(tmp_path: Path) -> None:
    told = [
        transition("pending", NOW_MS - 300_000),
        transition("firing", NOW_MS, value=97.25, annotations={"summary": "hot\nand loud"}),
        transition("lost", NOW_MS + 1, value=math.inf),
    ]
    async with opened(tmp_path) as sink:
        await sink.write(told)
        await sink.write(told)
        found = await sink.transitions(0, NOW_MS + 2)
        assert await sink.transitions(NOW_MS + 1, NOW_MS + 1) == []
    assert found[1:] == told[1:]
    assert math.isnan(found[0].value)
    assert found[0].labels == told[0].labels
    assert rows(tmp_path, "SELECT time, kind, active_since FROM v_transitions ORDER BY time_ms LIMIT 1") == [
        ("2027-01-15T07:55:00.000Z", "pending", "2027-01-15T07:55:00.000Z")
    ]


async def test_severities_come_back_and_two_changes_in_one_instant_are_two(tmp_path: Path) -> None:
    up = transition("level", severity_before="warning", severity="critical", value=1.0)
    down = transition("level", severity_before="critical", severity="warning", value=0.5)
    async with opened(tmp_path) as sink:
        await sink.write([up, down])
        await sink.write([down])
        assert await sink.transitions(0, NOW_MS + 1) == [up, down]
    assert rows(tmp_path, "SELECT kind, severity FROM v_transitions") == [("firing", "critical"), ("firing", "warning")]


FILE_1, FILE_2 = (
    (Path(__file__).parent / f"files/history_{version}.sql").read_text(encoding="utf-8") for version in (1, 2)
)
ROW_1 = (
    f"INSERT INTO transitions VALUES (7, {NOW_MS - 5}, 'R', 'firing', 'pending', 'firing', 'held', NULL, 1, 5, 'f',"
    ' \'{"alertname":"R","severity":"info"}\', \'{}\')'
)
ROW_2 = ROW_1.replace("'held'", "'', '', 'held'")


async def test_a_flapping_alert_is_marked(tmp_path: Path) -> None:
    marked, other = (
        transition("firing", NOW_MS, value=1.0, flapping=True),
        transition("resolved", NOW_MS + 1, value=0.0),
    )
    async with opened(tmp_path) as sink:
        await sink.write([marked, other])
        assert await sink.transitions(0, NOW_MS + 2) == [marked, other]
    assert rows(tmp_path, "SELECT flapping FROM v_transitions ORDER BY time_ms") == [(1,), (0,)]


async def test_what_was_measured_comes_back(tmp_path: Path) -> None:
    told = [
        transition("resolved", NOW_MS, value=0.0, facts=Facts(9.5, 7.25, 12, 11_000, 500)),
        transition("resolved", NOW_MS + 1, value=0.0),
        transition("lost", NOW_MS + 2, value=0.0, facts=Facts(math.nan, math.nan, 0, 0, 86_400_000)),
    ]
    async with opened(tmp_path) as sink:
        await sink.write(told)
        assert repr(await sink.transitions(0, NOW_MS + 3)) == repr(told)
    assert rows(tmp_path, "SELECT peak, mean, samples, true_ms, unknown_ms FROM v_transitions ORDER BY time_ms") == [
        (9.5, 7.25, 12, 11_000, 500),
        (None,) * 5,
        (None, None, 0, 0, 86_400_000),
    ]


async def test_a_file_without_what_was_measured_is_read_and_brought_forward(tmp_path: Path) -> None:
    told = transition("resolved", NOW_MS, value=0.0)
    async with opened(tmp_path) as sink:
        await sink.write([told])
    with closing(sqlite3.connect(tmp_path / "history.db")) as connection, connection:
        connection.execute("DROP VIEW v_transitions")
        for column in ("peak", "mean", "samples", "true_ms", "unknown_ms"):
            connection.execute(f"ALTER TABLE transitions DROP COLUMN {column}")
        connection.execute("PRAGMA user_version = 4")
    assert await open_history(tmp_path / "history.db").transitions(0, NOW_MS + 1) == [told]
    async with opened(tmp_path) as sink:
        await sink.write([transition("resolved", NOW_MS + 1, facts=Facts(1.0, 1.0, 1, 1, 0))])
    assert rows(tmp_path, "SELECT samples FROM v_transitions ORDER BY time_ms") == [(None,), (1,)]


@pytest.mark.parametrize("old", [FILE_1 + ROW_1, FILE_2 + ROW_2], ids=["1", "2"])
async def test_a_file_of_a_version_before_is_read_as_it_is_and_brought_forward_when_opened(
    tmp_path: Path, old: str
) -> None:
    """F119. What was in it stays, and it is then like a new one."""
    path = tmp_path / "history.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(old)
    (before,) = await open_history(path).transitions(0, NOW_MS)
    async with opened(tmp_path) as sink:
        (after,) = await sink.transitions(0, NOW_MS)
        await sink.write([transition("level", severity_before="a", severity="b")])
    assert (before.labels, before.severity, before.reason) == ({"alertname": "R", "severity": "info"}, "", "held")
    assert msgspec.structs.replace(before, value=0.0) == msgspec.structs.replace(after, value=0.0)
    assert rows(tmp_path, "SELECT rule, severity FROM v_transitions ORDER BY time_ms") == [
        ("R", "info"),
        ("HighCpu", "b"),
    ]
    assert rows(tmp_path, "SELECT id FROM transitions ORDER BY time_ms") == [(7,), (8,)]
    async with opened(tmp_path, path=tmp_path / "new.db"):
        pass
    shapes = []
    for name in ("history.db", "new.db"):
        with closing(sqlite3.connect(tmp_path / name)) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (USER_VERSION,)
            told = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
            shapes.append(
                sorted([*row[:3], re.sub(r" ?([(),]) ?", r"\1", " ".join((row[3] or "").split()))] for row in told)
            )
    assert shapes[0] == shapes[1]


class OrderRejected(DomainEvent, frozen=True, kw_only=True, tag="order_rejected_for_sqlite"):
    price: float


async def test_health_events_and_facts_come_back(tmp_path: Path) -> None:
    sick = Health(NOW_MS, "probe.health", "failed", "timeout", "no answer", 3)
    async with opened(tmp_path) as sink:
        await sink.write([sick, TradeClosed(time_ms=NOW_MS, symbol="X", pnl=math.nan)])
        await sink.write([Blind(NOW_MS, NOW_MS - 5, NOW_MS, "*", "suspend"), OrderRejected(time_ms=NOW_MS, price=1.5)])
        await sink.write([SecurityViolation(time_ms=NOW_MS, kind="k", message="'; DROP TABLE health; --")])
        assert await sink.health(NOW_MS, NOW_MS + 1) == [sick]
    assert rows(tmp_path, "SELECT type, json_extract(body, '$.pnl') FROM events WHERE type = 'trade_closed'") == [
        ("trade_closed", "NaN")
    ]
    assert rows(tmp_path, "SELECT count(*) FROM v_events") == [(4,)]
    assert rows(tmp_path, "SELECT count(*) FROM health") == [(1,)]  # F138


async def test_events_come_back_and_of_unknown_types_when_they_were(tmp_path: Path) -> None:
    trade, rejected = TradeClosed(time_ms=NOW_MS, symbol="X", pnl=math.inf), OrderRejected(time_ms=NOW_MS, price=1.5)
    spans = [
        Blind(NOW_MS, NOW_MS - 500, NOW_MS - 100, "*", "suspend"),
        Blind(NOW_MS + 9, NOW_MS - 50, NOW_MS + 5, "probe.health", "offline", ("up", "probe_success")),
    ]
    async with opened(tmp_path) as sink:
        await sink.write([spans[0], trade, rejected, spans[1]])
        found = await sink.events(NOW_MS, NOW_MS + 1)
        assert await sink.events(NOW_MS + 1, NOW_MS + 100) == []
        assert await sink.blind(NOW_MS - 200, NOW_MS) == spans
        assert await sink.blind(NOW_MS - 100, NOW_MS) == spans[1:]
        assert await sink.blind(NOW_MS - 500, NOW_MS - 50) == spans[:1]
    assert found[0] == trade
    assert [(one.time_ms, one.__struct_config__.tag) for one in found] == [
        (NOW_MS, "trade_closed"),
        (NOW_MS, "order_rejected_for_sqlite"),
    ]
    with closing(sqlite3.connect(tmp_path / "history.db")) as connection, connection:
        connection.execute('UPDATE events SET body = \'{"type":"health"}\'')
    with pytest.raises(SinkError, match="a row of events can't be read"):
        await open_history(tmp_path / "history.db").events(0, NOW_MS + 1)


async def test_a_series_comes_with_its_interval_and_a_stale_marker_with_its_cause(tmp_path: Path) -> None:
    batch = SampleBatch(NOW_MS, ("up", "cpu"), np.array([1.0, STALE]), 5_000, "target_down")
    async with opened(tmp_path) as sink:
        await sink.write([batch, Sample(NOW_MS + 1, "cpu", STALE, 5_000, "ended"), Sample(NOW_MS, "load", 1.0)])
        (cpu,), (up,), (load,) = [await sink.samples(name, 0, NOW_MS + 2) for name in ("cpu", "up", "load")]
        assert (cpu.interval_ms, up.interval_ms, load.interval_ms) == (5_000, 5_000, 0)
        assert (cpu.down_ms, cpu.times_ms.tolist(), cpu.means) == ({NOW_MS}, [NOW_MS, NOW_MS + 1], 0)
    async with opened(tmp_path) as sink:  # another run, in which it is measured less often
        await sink.write([Sample(NOW_MS + 2, "up", 1.0, 30_000)])
        assert [one.interval_ms for one in await sink.samples("up", 0, NOW_MS + 2)] == [30_000]
    with closing(sqlite3.connect(tmp_path / "old.db")) as connection, connection:
        connection.executescript(FILE_1)
        connection.execute("INSERT INTO series VALUES (1, 'up', '{}', 'up', 0)")
        connection.execute("INSERT INTO samples VALUES (7, 1, 1.0, NULL)")
    assert [one.interval_ms for one in await open_history(tmp_path / "old.db").samples("up", 0, 9)] == [None]


HOSTILE = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


@settings(max_examples=FILES_MAX)
@given(HOSTILE, HOSTILE)
def test_hostile_text_is_only_text(name: str, value: str) -> None:
    """F138, F140: whatever a label says, it is a bound parameter."""
    import tempfile

    async def story(folder: Path) -> None:
        text = series_text("m", {"l": value})
        told = transition(labels={"alertname": "x", name: value}, annotations={name: value})
        async with opened(folder) as sink:
            await sink.write([Sample(NOW_MS, text, 1.0), told])
            (found,) = await sink.samples("m", 0, NOW_MS + 1)
            (back,) = await sink.transitions(0, NOW_MS + 1)
        assert found.series == text
        assert (back.labels, back.annotations) == (told.labels, told.annotations)
        assert rows(folder, "SELECT count(*) FROM series") == [(1,)]

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(story(Path(folder)))


class Untagged(DomainEvent, frozen=True, kw_only=True):
    a: int = 1


class Opaque(DomainEvent, frozen=True, kw_only=True, tag="opaque_for_sqlite"):
    a: object


UNSTORABLE: list[Any] = [
    Health(NOW_MS, "me", "ok", "r", "", 2**70),
    Health(NOW_MS, "me", "ok", "r", "\ud800"),
    Health(NOW_MS, "me", "ok", "r", "", "many"),  # type: ignore[arg-type]
    Untagged(time_ms=NOW_MS),
    Opaque(time_ms=NOW_MS, a=object()),
    Blind(2**70, 0, 1),
    Sample(2**70, "up", 1.0),
    Sample(NOW_MS, "up", "text"),  # type: ignore[arg-type]
    batch(-(2**63), {"up": 1.0}),  # its minute is beyond 64 bits
    transition(time_ms=2**63),
    transition(labels={"alertname": "\ud800"}),
    object(),
]


@pytest.mark.parametrize("bad", UNSTORABLE, ids=lambda bad: type(bad).__name__)
async def test_a_record_that_cannot_be_stored_costs_nobody_else_anything(tmp_path: Path, bad: Any) -> None:
    """One poisoned record in the middle of a write: it alone is left out, counted and told."""
    good = [Sample(NOW_MS + i, series_text("x", {"i": str(i)}), 9.0) for i in range(50)]
    told = [transition("pending"), transition("firing")]
    async with opened(tmp_path) as sink:
        await sink.write([*good[:25], told[0], bad, told[1], *good[25:], Health(NOW_MS, "c", "ok", "recovered")])
        assert sink.dropped == 1
        ((reason, message),) = sink.take_notices()
        assert reason == "bad_record"
        assert f"1 {type(bad).__name__}" in message
        assert [t.kind for t in await sink.transitions(0, NOW_MS * 2)] == ["pending", "firing"]
        assert len(await sink.samples("x", 0, NOW_MS * 2)) == 50
        assert len(await sink.health(0, NOW_MS * 2)) == 1
        await sink.write([Sample(NOW_MS + 99, good[0].series, 1.0), Sample(NOW_MS + 99, "fresh", 1.0)])
        assert len(await sink.samples("fresh", 0, NOW_MS * 2)) == 1
        assert sum(len(found.values) for found in await sink.samples("x", 0, NOW_MS * 2)) == 51
    assert rows(tmp_path, "SELECT count(*) FROM samples LEFT JOIN series ON id = series_id WHERE id IS NULL") == [(0,)]


@settings(max_examples=FILES_MAX)
@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_exactly_the_bad_ones_are_left_out(bad: list[bool]) -> None:
    import tempfile

    async def story(folder: Path) -> None:
        async with opened(folder) as sink:
            offered = [Sample(2**70 if is_bad else NOW_MS, f"s{at}", float(at)) for at, is_bad in enumerate(bad)]
            for _ in range(2):
                await sink.write(offered)
        assert sink.dropped == 2 * sum(bad)
        found = rows(folder, "SELECT text, value FROM samples JOIN series ON id = series_id ORDER BY value")
        assert found == [(f"s{at}", float(at)) for at, is_bad in enumerate(bad) if not is_bad]

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(story(Path(folder)))


async def test_runs_are_noted_and_a_crash_leaves_one_open(tmp_path: Path) -> None:
    clock = StillClock()
    async with opened(tmp_path, clock=clock) as sink:
        clock.pass_s(10)
        await sink.close()
        await sink.close()  # twice is once
    crashed = SqliteSink(SqliteOptions(), context(tmp_path, clock=clock))
    await crashed.open()
    assert crashed._database is not None
    await crashed._database.drop()  # as a kill would: no goodbye
    clock.pass_s(5)
    async with opened(tmp_path, clock=clock) as sink:
        runs = await sink.runs()
    assert [(run.name, run.started_ms - NOW_MS, run.ended_ms, run.outcome) for run in runs] == [
        ("watch", 15_000, 0, ""),
        ("watch", 10_000, 0, ""),
        ("watch", 0, NOW_MS + 10_000, "stopped"),
    ]


async def test_without_a_folder_it_says_what_to_set() -> None:
    sink = SqliteSink(SqliteOptions(), context(None, name="store"))
    with pytest.raises(SinkError, match=r"`path` in \[sink.store\]") as caught:
        await sink.open()
    assert not caught.value.retryable
    await sink.close()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"keep_raw": 0}, "keep_raw"),
        ({"keep_rollups": MINUTE}, "keep_rollups"),
        ({"size_max_mb": 0}, "size_max_mb"),
        ({"query_rows_max": 0}, "query_rows_max"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        SqliteOptions(**options)


# --- roll-ups ---------------------------------------------------------------------------------------

VALUES = st.one_of(st.integers(-1000, 1000).map(float), st.just(math.nan), st.just(STALE))
POINTS = st.dictionaries(
    st.tuples(st.integers(NOW_MS - 3 * MINUTE, NOW_MS + 3 * MINUTE), st.sampled_from([CPU_A, CPU_B])),
    VALUES,
    max_size=40,
)


@settings(max_examples=FILES_MAX)
@given(POINTS, st.data())
def test_rollups_equal_a_plain_recomputation_for_any_split(points: dict[tuple[int, str], float], data: Any) -> None:
    """Any order, any split into writes, and samples offered twice: the roll-ups are those of the set."""
    import tempfile

    order = data.draw(st.permutations(list(points)))
    again = data.draw(st.lists(st.sampled_from(order), max_size=10)) if order else []
    cuts = data.draw(st.lists(st.integers(0, len(order)), max_size=4).map(sorted))
    bounds = [0, *cuts, len(order)]

    async def story(folder: Path) -> None:
        async with opened(folder) as sink:
            for start, end in pairwise(bounds):
                await sink.write([Sample(time, series, points[time, series]) for time, series in order[start:end]])
            await sink.write([Sample(time, series, 12345.0) for time, series in again])

    expected: dict[tuple[int, str], list[tuple[int, float]]] = {}
    for (time, series), value in points.items():
        if not math.isnan(value):
            expected.setdefault((time // MINUTE * MINUTE, series), []).append((time, value))
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(story(Path(folder)))
        found = rows(
            Path(folder),
            "SELECT minute_ms, text, count, sum, min, max, last FROM rollups JOIN series ON id = series_id",
        )
    assert {(minute, text): tuple(rest) for minute, text, *rest in found} == {
        key: (len(items), sum(v for _, v in items), min(v for _, v in items), max(v for _, v in items), max(items)[1])
        for key, items in expected.items()
    }


async def test_what_is_older_than_the_raw_samples_comes_as_means(tmp_path: Path) -> None:
    """Roll-ups outlive the samples; together they cover every minute once."""
    clock = StillClock()
    async with opened(tmp_path, clock=clock, keep_raw=10 * MINUTE) as sink:
        await sink.write([Sample(NOW_MS + s * 1000, "up", float(s // 60)) for s in range(0, 1200, 20)])
        clock.pass_s(1200)
        await sink.write([Sample(NOW_MS + 1_200_000, "up", 99.0)])
        (found,) = await sink.samples("up", 0, NOW_MS * 2)
        (some,) = await sink.samples("up", NOW_MS + 9 * MINUTE, NOW_MS + 10 * MINUTE + 1)
    times = ((found.times_ms - NOW_MS) // 1000).tolist()
    assert times == [*range(0, 600, 60), *range(600, 1200, 20), 1200]
    assert found.values.tolist() == [*map(float, range(10)), *(float(s // 60) for s in range(600, 1200, 20)), 99.0]
    assert some.values.tolist() == [9.0, 10.0]
    assert rows(tmp_path, "SELECT min(time_ms) FROM samples") == [(NOW_MS + 10 * MINUTE,)]


# --- retention --------------------------------------------------------------------------------------


async def test_everything_but_runs_under_way_goes_with_age(tmp_path: Path) -> None:
    clock = StillClock()
    async with opened(tmp_path, clock=clock, keep_raw=MINUTE, keep_rollups=3_600_000) as sink:
        await sink.write([Sample(NOW_MS, "gone", 1.0), transition(), Health(NOW_MS, "x", "ok", "recovered")])
        await sink.write([TradeClosed(time_ms=NOW_MS, symbol="X", pnl=1.0)])
        for _ in range(4):  # four days, a day at a time
            clock.pass_s(86_400)
            await sink.write([Sample(clock.wall_ms, "kept", 1.0)])
        tables = ("samples", "rollups", "transitions", "health", "events", "runs", "series")
        counts = {table: rows(tmp_path, f"SELECT count(*) FROM {table}")[0][0] for table in tables}
    assert counts == {
        "samples": 1,
        "rollups": 1,
        "transitions": 0,
        "health": 0,
        "events": 0,
        "runs": 1,
        "series": 1,  # the name of a series that is gone goes, too
    }


async def test_bytes_are_a_limit_and_the_oldest_go_first(tmp_path: Path) -> None:
    """F23: in small transactions and bounded turns; the pages are used again, so the file stays."""
    clock = StillClock()
    many = [series_text("m", {"i": str(i)}) for i in range(1000)]
    async with opened(tmp_path, clock=clock, size_max_mb=1) as sink:
        sizes = []
        for turn in range(80):
            clock.pass_s(60)
            await sink.write([batch(clock.wall_ms, dict.fromkeys(many, float(turn)))])
            sizes.append((tmp_path / "history.db").stat().st_size)
        used = rows(
            tmp_path,
            "SELECT (page_count - freelist_count) * page_size "
            "FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
        )[0][0]
        newest = rows(tmp_path, "SELECT max(minute_ms) FROM rollups")[0][0]
        oldest_raw = rows(tmp_path, "SELECT min(time_ms) FROM samples")[0][0]
        oldest = rows(tmp_path, "SELECT min(minute_ms) FROM rollups")[0][0]
    assert used <= 1.3 * 2**20
    assert max(sizes) <= 3 * 2**20
    assert max(sizes[60:]) == max(sizes[40:60])  # no growth any more
    assert newest == clock.wall_ms
    assert oldest_raw is None or oldest_raw >= oldest > NOW_MS + MINUTE


async def test_retention_takes_small_transactions_and_stops_when_its_time_is_up(tmp_path: Path) -> None:
    """F23: a backlog is worked off over many writes, none of which takes long."""

    class HurriedClock(StillClock):
        def monotonic(self) -> float:  # each look costs 50 ms: 4 transactions in a turn
            self.monotonic_s += 0.05
            return self.monotonic_s

    clock = HurriedClock()
    many = [series_text("m", {"i": str(i)}) for i in range(2000)]
    async with opened(tmp_path, clock=clock, keep_raw=MINUTE) as sink:
        await sink.write([batch(NOW_MS + s, dict.fromkeys(many, 1.0)) for s in range(5)])
        clock.pass_s(3600)
        left = []
        for number in range(12):
            await sink.write([Sample(clock.wall_ms + number, "other", 1.0)])
            left.append(rows(tmp_path, "SELECT count(*) FROM samples WHERE time_ms < ?", NOW_MS + 1000)[0][0])
            # Readers see the means at once, not half of the samples.
            assert len(await sink.samples("m", 0, NOW_MS + 1000)) == 2000
    steps = [a - b for a, b in zip([10_000, *left], left, strict=False)]
    assert left[-1] == 0
    assert 0 < max(steps) <= 2_500


# --- writing is one unit -----------------------------------------------------------------------------


async def test_a_cancelled_write_is_whole_and_is_not_stored_twice(tmp_path: Path) -> None:
    """M7, M8: cancelled between BEGIN and COMMIT; offered again with more, each record is there once."""
    async with opened(tmp_path) as sink:
        records = [TradeClosed(time_ms=NOW_MS, symbol=f"S{i}", pnl=1.0) for i in range(50)]
        for passes in range(1, 12):
            write = asyncio.create_task(sink.write(records))
            for _ in range(passes):
                await asyncio.sleep(0)
            write.cancel()
            with pytest.raises(asyncio.CancelledError):
                await write
            await sink.write([*records, TradeClosed(time_ms=NOW_MS, symbol="more", pnl=1.0)])
            assert rows(tmp_path, "SELECT count(*) FROM events WHERE type = 'trade_closed'") == [(51 * passes,)]
            records = [TradeClosed(time_ms=NOW_MS, symbol=f"S{i}", pnl=1.0) for i in range(50)]


async def test_equal_facts_offered_anew_are_new_facts(tmp_path: Path) -> None:
    """Two trades may be equal to the millisecond: only the very same record counts as offered again."""
    async with opened(tmp_path) as sink:
        for _ in range(2):
            await sink.write([TradeClosed(time_ms=NOW_MS, symbol="X", pnl=1.0)])
    assert rows(tmp_path, "SELECT count(*) FROM events") == [(2,)]


async def test_close_waits_for_a_cancelled_write(tmp_path: Path) -> None:
    sink = SqliteSink(SqliteOptions(), context(tmp_path))
    await sink.open()
    write = asyncio.create_task(sink.write([Sample(NOW_MS, "up", 1.0)]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    write.cancel()
    await asyncio.gather(write, return_exceptions=True)
    await sink.close()
    assert rows(tmp_path, "SELECT count(*) FROM samples") == [(1,)]
    assert not (tmp_path / "history.db-wal").exists()


async def test_a_write_that_hangs_is_given_up_and_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F15, F18: locked longer than we wait. The write is told as failed, goes on, and is not done twice."""
    async with opened(tmp_path) as sink:
        monkeypatch.setattr(module, "WRITE_TIMEOUT_S", 0.05)  # not of the opening, which has a disk to wait for
        fact = TradeClosed(time_ms=NOW_MS, symbol="X", pnl=1.0)
        with closing(sqlite3.connect(tmp_path / "history.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(SinkError, match="no answer") as caught:
                await sink.write([fact])
            assert caught.value.reason == "timeout"
            with pytest.raises(SinkError, match="still hangs") as caught:
                await sink.write([fact])
            assert (caught.value.reason, caught.value.retryable) == ("busy", True)
            other.execute("ROLLBACK")
        monkeypatch.setattr(module, "WRITE_TIMEOUT_S", 20.0)
        await sink.write([fact])
    assert rows(tmp_path, "SELECT count(*) FROM events") == [(1,)]


async def test_the_loop_is_free_while_a_lock_is_waited_for(tmp_path: Path) -> None:
    """F18, M13: the thread waits, the loop does not."""
    async with opened(tmp_path) as sink:
        with closing(sqlite3.connect(tmp_path / "history.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            write = asyncio.create_task(sink.write([Sample(NOW_MS, "up", 1.0)]))
            turns = 0
            while turns < 2_000:
                await asyncio.sleep(0)
                turns += 1
            assert not write.done()
            other.execute("ROLLBACK")
        await write
    assert rows(tmp_path, "SELECT count(*) FROM samples") == [(1,)]


async def test_a_lock_that_stays_is_an_error_that_heals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F18: SQLITE_BUSY is retryable, and the connection is as good as before."""
    from sinks import _sqlite_schema

    pragmas = ("PRAGMA busy_timeout = 10", *_sqlite_schema.PRAGMAS[1:])
    monkeypatch.setattr(_sqlite_schema, "PRAGMAS", pragmas)
    async with opened(tmp_path) as sink:
        with closing(sqlite3.connect(tmp_path / "history.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(SinkError) as caught:
                await sink.write([Sample(NOW_MS, "up", 1.0)])
            assert (caught.value.reason, caught.value.retryable) == ("locked", True)
            other.execute("ROLLBACK")
        await sink.write([Sample(NOW_MS, "up", 1.0)])
        assert len(await sink.samples("up", 0, NOW_MS + 1)) == 1


# --- files -------------------------------------------------------------------------------------------


async def test_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    """F120."""
    before = os.umask(0)
    try:
        async with opened(tmp_path / "new" / "folder") as sink:
            await sink.write([Sample(NOW_MS, "up", 1.0)])
            modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new" / "folder").iterdir()}
    finally:
        os.umask(before)
    assert modes == {"history.db": 0o600, "history.db-wal": 0o600, "history.db-shm": 0o600}


async def test_the_file_says_whose_it_is(tmp_path: Path) -> None:
    async with opened(tmp_path, path=tmp_path / "other.db"):
        pass
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (USER_VERSION,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "empty":
        data = bytearray()
    elif how == "header":
        data[:16] = b"\xff" * 16
    elif how == "truncated":
        del data[6000:]
    elif how == "short":
        del data[50:]
    elif how == "page":
        data[4096:12288] = os.urandom(8192)
    elif how == "text":
        data = bytearray(b"[engine]\nname = 'x'\n" * 50)
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["empty", "header", "truncated", "short", "page", "text"])
async def test_a_damaged_file_is_set_aside_and_never_deleted(tmp_path: Path, how: str) -> None:
    """F19, M14."""
    async with opened(tmp_path) as sink:
        await sink.write([batch(NOW_MS + i, {CPU_A: 1.0, CPU_B: 2.0}) for i in range(2000)])
    damage(tmp_path / "history.db", how)
    (tmp_path / "history.db-wal").write_bytes(b"a log of another life")
    bad = (tmp_path / "history.db").read_bytes()
    async with opened(tmp_path) as sink:
        await sink.write([Sample(NOW_MS, "up", 1.0)])
        (notice,) = sink.take_notices()
        assert sink.take_notices() == []
        assert len(await sink.samples("up", 0, NOW_MS * 2)) == 1
        assert await sink.samples("host_cpu_percent", 0, NOW_MS * 2) == []
    kept = tmp_path / "history.db.corrupt.20270115T080000Z"
    assert kept.read_bytes() == bad
    if how not in ("truncated", "page"):  # those SQLite could open, and it threw the false log away
        assert kept.with_name(kept.name + "-wal").read_bytes() == b"a log of another life"
    assert notice[0] == "set_aside"
    assert kept.name in notice[1]


async def test_two_damaged_files_in_one_second_are_both_kept(tmp_path: Path) -> None:
    for _ in range(2):
        (tmp_path / "history.db").write_bytes(b"no database at all")
        async with opened(tmp_path):
            pass
    names = sorted(path.name for path in tmp_path.iterdir() if "corrupt" in path.name)
    assert names == ["history.db.corrupt.20270115T080000Z", "history.db.corrupt.20270115T080000Z.2"]


async def test_a_sentinel_that_is_gone_is_damage(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / "history.db")) as connection, connection:
        connection.execute("DELETE FROM meta")
    async with opened(tmp_path) as sink:
        assert [reason for reason, _ in sink.take_notices()] == ["set_aside"]


@settings(max_examples=FILES_MAX)
@given(st.data())
def test_random_flips_never_crash_it(data: Any) -> None:
    """F19: a few bytes of a real file are changed; it opens, sets the file aside, or says why not."""
    import tempfile

    positions = data.draw(st.lists(st.tuples(st.integers(0, 40_000), st.integers(1, 255)), min_size=1, max_size=5))

    async def story(folder: Path) -> None:
        async with opened(folder) as sink:
            await sink.write([batch(NOW_MS + i, {CPU_A: 1.0, CPU_B: 2.0}) for i in range(20)])
        raw = bytearray((folder / "history.db").read_bytes())
        for position, flip in positions:
            raw[position % len(raw)] ^= flip
        (folder / "history.db").write_bytes(raw)
        sink = SqliteSink(SqliteOptions(), context(folder))
        reason = ""
        try:
            await sink.open()
            await sink.write([Sample(NOW_MS + 1, "up", 1.0)])
            assert len(await sink.samples("up", 0, NOW_MS * 2)) == 1
        except SinkError as error:
            reason = error.reason
        finally:
            await sink.close()
        assert reason in {"", "newer", "foreign", "corrupt"}
        assert any("history.db" in path.name for path in folder.iterdir())

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(story(Path(folder)))


async def test_damage_found_while_running_begins_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F19: the write that finds it fails, the next one is stored."""
    from sinks import _sqlite_schema

    monkeypatch.setattr(_sqlite_schema, "PRAGMAS", (*_sqlite_schema.PRAGMAS, "PRAGMA cache_size = 1"))
    async with opened(tmp_path) as sink:
        await sink.write([batch(NOW_MS + i, {CPU_A: 1.0, CPU_B: 2.0}) for i in range(3000)])
    async with opened(tmp_path) as sink:
        path = tmp_path / "history.db"
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(path.stat().st_size - 4096))
        with pytest.raises(SinkError) as caught:
            await sink.write([Sample(NOW_MS + i, CPU_B, 1.0) for i in range(5000)])
        assert (caught.value.reason, caught.value.retryable) == ("corrupt", True)
        await sink.write([Sample(NOW_MS, "up", 1.0)])
        assert len(await sink.samples("up", 0, NOW_MS * 2)) == 1
        assert "set_aside" in [reason for reason, _ in sink.take_notices()]


async def test_a_newer_file_is_not_touched(tmp_path: Path) -> None:
    """F19, F119."""
    async with opened(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / "history.db")) as connection, connection:
        connection.execute(f"PRAGMA user_version = {USER_VERSION + 1}")
    before = (tmp_path / "history.db").read_bytes()
    sink = SqliteSink(SqliteOptions(), context(tmp_path))
    with pytest.raises(SinkError, match=f"schema {USER_VERSION + 1}") as caught:
        await sink.open()
    await sink.close()
    assert (caught.value.reason, caught.value.retryable) == ("newer", False)
    assert (tmp_path / "history.db").read_bytes() == before


async def test_a_database_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "history.db")) as connection, connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = (tmp_path / "history.db").read_bytes()
    sink = SqliteSink(SqliteOptions(), context(tmp_path))
    with pytest.raises(SinkError, match="another application") as caught:
        await sink.open()
    await sink.close()
    assert (caught.value.reason, caught.value.retryable) == ("foreign", False)
    assert (tmp_path / "history.db").read_bytes() == before


async def test_a_folder_in_its_place_is_an_error_that_may_heal(tmp_path: Path) -> None:
    """F16."""
    (tmp_path / "history.db").mkdir()
    sink = SqliteSink(SqliteOptions(), context(tmp_path))
    with pytest.raises(SinkError, match="not a regular file") as caught:
        await sink.open()
    assert (caught.value.reason, caught.value.retryable) == ("cant_open", True)
    (tmp_path / "history.db").rmdir()
    await sink.write([Sample(NOW_MS, "up", 1.0)])
    await sink.close()
    assert rows(tmp_path, "SELECT count(*) FROM samples") == [(1,)]


async def test_wal_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F14, M5: switching to WAL fails without an error; only its answer tells."""
    from sinks import _sqlite_schema

    monkeypatch.setattr(_sqlite_schema, "SET_WAL", "PRAGMA journal_mode = DELETE")
    sink = SqliteSink(SqliteOptions(), context(tmp_path))
    with pytest.raises(SinkError, match="stays in delete mode") as caught:
        await sink.open()
    assert (caught.value.reason, caught.value.retryable) == ("no_wal", True)
    await sink.close()


async def test_a_log_without_its_database_is_not_replayed(tmp_path: Path) -> None:
    """F20: the log of a deleted database would be applied to the new one."""
    sink = SqliteSink(SqliteOptions(), context(tmp_path))
    await sink.open()
    await sink.write([Sample(NOW_MS, "old", 1.0)])
    log = (tmp_path / "history.db-wal").read_bytes()
    await sink.close()
    (tmp_path / "history.db").unlink()
    (tmp_path / "history.db-wal").write_bytes(log)
    async with opened(tmp_path) as sink:
        await sink.write([Sample(NOW_MS, "new", 1.0)])
        assert await sink.samples("old", 0, NOW_MS * 2) == []
        assert [reason for reason, _ in sink.take_notices()] == ["set_aside"]
    assert (tmp_path / "history.db.corrupt.20270115T080000Z-wal").read_bytes() == log


@pytest.mark.parametrize("how", ["deleted", "replaced"])
async def test_a_file_that_vanishes_while_open_is_noticed_within_a_minute(tmp_path: Path, how: str) -> None:
    """F21."""
    clock = StillClock()
    async with opened(tmp_path, clock=clock) as sink:
        await sink.write([Sample(NOW_MS, "up", 1.0)])
        (tmp_path / "history.db").rename(tmp_path / "moved.db")
        if how == "replaced":
            (tmp_path / "history.db").write_bytes(b"")
        clock.pass_s(61)
        await sink.write([Sample(clock.wall_ms, "up", 2.0)])
        reasons = [reason for reason, _ in sink.take_notices()]
        (found,) = await sink.samples("up", 0, NOW_MS * 2)
        assert found.values.tolist() == [2.0]
        assert len(await sink.runs()) == 1  # the run is noted in the new file, too
    assert reasons[0] == "replaced"


async def test_a_reader_that_holds_the_log_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F22, M15: it costs disk, and nothing else; when the reader is gone the log is emptied."""
    from sinks import _sqlite_db

    monkeypatch.setattr(_sqlite_db, "WAL_BYTES_WARN", 2**20)
    clock = StillClock()
    many = [series_text("m", {"i": str(i)}) for i in range(5000)]
    async with opened(tmp_path, clock=clock) as sink:
        with closing(sqlite3.connect(tmp_path / "history.db", isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM samples").fetchall()
            for second in range(8):
                await sink.write([batch(NOW_MS + second, dict.fromkeys(many, 1.0))])
            assert [reason for reason, _ in sink.take_notices()] == ["wal_pinned"]  # once, not at each checkpoint
            reader.execute("ROLLBACK")
        clock.pass_s(61)
        await sink.write([Sample(clock.wall_ms, "m", 1.0)])
        assert sink.take_notices() == []
    assert not (tmp_path / "history.db-wal").exists()


# --- the disk ----------------------------------------------------------------------------------------


class FailingOnce:
    """Makes the next statement that starts with `start` fail with an SQLite error code, after it ran or instead."""

    def __init__(self, start: str, code: int, *, after: bool) -> None:
        self.start, self.code, self.after, self.times = start, code, after, 1
        self.real = aiosqlite.Connection.execute_fetchall

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def execute_fetchall(connection: Any, statement: str, parameters: Any = None) -> Any:
            return self.run(connection, statement, parameters)

        monkeypatch.setattr(aiosqlite.Connection, "execute_fetchall", execute_fetchall)

    async def run(self, connection: Any, statement: str, parameters: Any) -> Any:
        if statement.strip().startswith(self.start) and self.times > 0:
            self.times -= 1
            if self.after:
                await self.real(connection, statement, parameters)
            error = sqlite3.OperationalError("disk I/O error at /secret/path")
            error.sqlite_errorcode = self.code
            error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
            raise error
        return await self.real(connection, statement, parameters)


async def test_a_commit_that_failed_but_reached_the_disk_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F13: after an I/O error the outcome is unknown; a new connection looks, and nobody writes twice."""
    async with opened(tmp_path) as sink:
        FailingOnce("COMMIT", sqlite3.SQLITE_IOERR_FSYNC, after=True).install(monkeypatch)
        await sink.write([TradeClosed(time_ms=NOW_MS, symbol="X", pnl=1.0)])  # no error: it is there
    assert rows(tmp_path, "SELECT count(*) FROM events") == [(1,)]


async def test_a_commit_that_failed_is_told_and_heals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F13."""
    async with opened(tmp_path) as sink:
        FailingOnce("COMMIT", sqlite3.SQLITE_IOERR_FSYNC, after=False).install(monkeypatch)
        fact = TradeClosed(time_ms=NOW_MS, symbol="X", pnl=1.0)
        with pytest.raises(SinkError) as caught:
            await sink.write([fact])
        assert (caught.value.reason, caught.value.retryable) == ("io_error", True)
        assert "/secret" not in str(caught.value)
        await sink.write([fact])
    assert rows(tmp_path, "SELECT count(*) FROM events") == [(1,)]


@pytest.mark.parametrize("after", [True, False])
async def test_a_bad_record_is_counted_once_whatever_becomes_of_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """F13: offered again, the write is not told twice."""
    async with opened(tmp_path) as sink:
        FailingOnce("COMMIT", sqlite3.SQLITE_IOERR_FSYNC, after=after).install(monkeypatch)
        offered = [Sample(NOW_MS, "up", 1.0), Untagged(time_ms=NOW_MS), transition()]
        if not after:
            with pytest.raises(SinkError, match="disk reports an error"):
                await sink.write(offered)
            assert sink.dropped == 0
            assert sink.take_notices() == []
        await sink.write(offered)
        assert sink.dropped == 1
        assert [reason for reason, _ in sink.take_notices()] == ["bad_record"]
    assert rows(tmp_path, "SELECT count(*) FROM transitions") == [(1,)]


async def test_a_disk_that_fails_between_bad_records_is_the_disks_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as sink:
        FailingOnce("ROLLBACK TO", sqlite3.SQLITE_IOERR_WRITE, after=False).install(monkeypatch)
        offered = [Sample(NOW_MS, "up", 1.0), Untagged(time_ms=NOW_MS)]
        with pytest.raises(SinkError) as caught:
            await sink.write(offered)
        assert caught.value.retryable
        assert sink.dropped == 0
        await sink.write(offered)
        assert len(await sink.samples("up", 0, NOW_MS * 2)) == 1


async def test_an_outcome_that_stays_unknown_is_asked_for_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F13: the commit reached the disk, and then even opening fails for a while."""
    async with opened(tmp_path) as sink:
        FailingOnce("COMMIT", sqlite3.SQLITE_IOERR_FSYNC, after=True).install(monkeypatch)
        real_prepare = sink._database._call  # type: ignore[union-attr]

        async def broken(_: Any) -> Any:
            raise OSError(5, "Input/output error")

        sink._database._call = broken  # type: ignore[union-attr]
        fact = TradeClosed(time_ms=NOW_MS, symbol="X", pnl=1.0)
        with pytest.raises(SinkError, match="disk reports an error"):
            await sink.write([fact])
        with pytest.raises(SinkError, match="Input/output error"):
            await sink.write([fact])
        sink._database._call = real_prepare  # type: ignore[union-attr]
        await sink.write([fact, TradeClosed(time_ms=NOW_MS, symbol="Y", pnl=1.0)])
    assert rows(tmp_path, "SELECT count(*) FROM events") == [(2,)]


async def test_a_checkpoint_that_fails_is_told_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F14: the write is stored; the connection, whose state is not known, is replaced."""
    clock = StillClock()
    async with opened(tmp_path, clock=clock) as sink:
        FailingOnce("PRAGMA wal_checkpoint(PASSIVE)", sqlite3.SQLITE_IOERR_FSYNC, after=False).install(monkeypatch)
        await sink.write([Sample(NOW_MS, "up", 1.0)])
        assert [reason for reason, _ in sink.take_notices()] == ["checkpoint_failed"]
        await sink.write([Sample(NOW_MS + 1, "up", 1.0)])
    assert rows(tmp_path, "SELECT count(*) FROM samples") == [(2,)]


@pytest.mark.parametrize("start", ["SELECT (page_count", "SELECT value FROM meta"])
async def test_forgetting_that_fails_does_not_fail_the_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    """F23: what is stored is stored; the next write goes on with a connection that works."""
    async with opened(tmp_path) as sink:
        FailingOnce(start, sqlite3.SQLITE_IOERR_READ, after=False).install(monkeypatch)
        await sink.write([TradeClosed(time_ms=NOW_MS, symbol="X", pnl=1.0)])
        ((reason, message),) = sink.take_notices()
        assert reason == "retention"
        assert message.startswith("nothing could be forgotten: history.db: the disk reports an error")
        await sink.write([TradeClosed(time_ms=NOW_MS, symbol="Y", pnl=1.0)])
    assert rows(tmp_path, "SELECT count(*) FROM events") == [(2,)]


RUN_FULL = """
import asyncio, resource, signal, sqlite3, sys
from pathlib import Path
from engine.errors import SinkError
from engine.events import TradeClosed
from sinks.sqlite import SqliteOptions, SqliteSink
from tests.sinks.context import NOW_MS, context

async def main(folder):
    sink = SqliteSink(SqliteOptions(), context(folder))
    await sink.open()
    await sink.write([TradeClosed(time_ms=NOW_MS, symbol="first", pnl=1.0)])
    {fill}
    facts = [TradeClosed(time_ms=NOW_MS, symbol="x" * 900, pnl=1.0) for _ in range(2000)]
    try:
        await sink.write(facts)
    except SinkError as error:
        print(error.reason, error.retryable)
    print(len(await sink.transitions(0, NOW_MS)))  # reading still works
    {heal}
    await sink.write(facts)
    await sink.close()
    with sqlite3.connect(folder / "history.db") as connection:
        print(connection.execute("SELECT count(*) FROM events").fetchone()[0])
        print(connection.execute("PRAGMA integrity_check").fetchone()[0])

asyncio.run(main(Path(sys.argv[1])))
"""


def run_python(code: str, *arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, sys.executable, "-c", textwrap.dedent(code), *arguments],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )


@pytest.mark.process
def test_a_file_that_may_not_grow_is_an_error_that_heals(tmp_path: Path) -> None:
    """F12, M12: RLIMIT_FSIZE gives SQLITE_IOERR_WRITE."""
    code = RUN_FULL.format(
        fill="signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))",
        heal="resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))",
    )
    done = run_python(code, str(tmp_path))
    assert done.stdout.split() == ["io_error", "True", "0", "2001", "ok"], done.stderr


@pytest.mark.process
def test_a_full_disk_is_an_error_that_heals(tmp_path: Path) -> None:
    """F12, M11: on a file system of 1 MB, that later has room."""
    probe = subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if probe.returncode != 0:
        pytest.skip("needs the right to mount in a namespace of its own: " + probe.stderr.decode().strip())
    code = RUN_FULL.format(
        fill="(folder / 'ballast').write_bytes(bytes(300_000))",
        heal="import subprocess; (folder / 'ballast').unlink();"
        "subprocess.run(['mount', '-o', 'remount,size=32m', str(folder)], check=True)",
    )
    mount = 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"'
    done = run_python(code, str(tmp_path), prefix=("unshare", "-m", "sh", "-c", mount, str(tmp_path)))
    assert done.stdout.split() == ["disk_full", "True", "0", "2001", "ok"], done.stderr


@pytest.mark.process
def test_a_sink_left_open_does_not_hold_up_the_exit(tmp_path: Path) -> None:
    """M10, F113: aiosqlite's thread is not a daemon by itself."""
    code = """
    import asyncio, sys
    from pathlib import Path
    from sinks.sqlite import SqliteOptions, SqliteSink
    from tests.sinks.context import context

    async def main():
        await SqliteSink(SqliteOptions(), context(Path(sys.argv[1]))).open()
        raise SystemExit(7)

    asyncio.run(main())
    """
    assert run_python(code, str(tmp_path)).returncode == 7


async def test_an_open_that_fails_half_way_leaves_no_thread(tmp_path: Path) -> None:
    """M10."""
    before = set(threading.enumerate())  # one of an earlier test may still be ending
    with closing(sqlite3.connect(tmp_path / "history.db")) as connection, connection:
        connection.execute("CREATE TABLE theirs (x)")
    sink = SqliteSink(SqliteOptions(), context(tmp_path))
    for _ in range(5):
        with pytest.raises(SinkError):
            await sink.open()
    await sink.close()
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            thread.join(5)
    assert set(threading.enumerate()) <= before


# --- reading alone -----------------------------------------------------------------------------------


async def test_a_history_is_read_without_a_sink(tmp_path: Path) -> None:
    async with opened(tmp_path) as sink:
        await sink.write([Sample(NOW_MS, "up", 1.0), transition()])
        history = open_history(tmp_path / "history.db")
        assert isinstance(history, History)
        assert len(await history.samples("up", 0, NOW_MS + 1)) == 1  # while it is written
        await sink.write([Sample(NOW_MS, 'a{x="1"}', 1.0), Sample(NOW_MS, 'a{x="2"}', 1.0)])
        assert await history.metrics() == await sink.metrics() == ["a", "up"]
    assert len(await history.transitions(0, NOW_MS + 1)) == 1  # and afterwards
    assert (await history.runs())[0].outcome == "stopped"


async def test_reading_a_file_that_is_not_there_creates_none(tmp_path: Path) -> None:
    with pytest.raises(SinkError) as caught:
        await open_history(tmp_path / "no ? such # file.db").runs()
    assert caught.value.reason == "cant_open"
    assert list(tmp_path.iterdir()) == []


async def test_reading_something_else_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"x" * 5000)
    with pytest.raises(SinkError) as caught:
        await open_history(tmp_path / "x.db").health(0, 1)
    assert caught.value.reason == "corrupt"


@pytest.mark.parametrize("passes", range(12))
async def test_a_cancelled_reader_leaves_nothing_behind(tmp_path: Path, passes: int) -> None:
    """Neither a task, nor a connection, nor an exception that nobody looked at; whether there is a file or not."""
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told["message"]))
    async with opened(tmp_path) as sink:
        await sink.write([Sample(NOW_MS, "up", 1.0)])
    for name in ("history.db", "nothing.db"):
        reading = asyncio.create_task(open_history(tmp_path / name).samples("up", 0, NOW_MS))
        for _ in range(passes):
            await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises((asyncio.CancelledError, SinkError)):
            await reading
        assert asyncio.all_tasks() == {asyncio.current_task()}
    del reading
    gc.collect()
    await asyncio.sleep(0)
    assert complaints == []
    threads = [thread for thread in threading.enumerate() if "_connection_worker_thread" in thread.name]
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


async def test_a_long_query_that_is_cancelled_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would count for minutes; the reader has gone, and has not waited for it."""
    from sinks import _sqlite_schema

    forever = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n LIMIT ?"
    monkeypatch.setattr(_sqlite_schema, "READ_RUNS", forever)
    async with opened(tmp_path):
        history = open_history(tmp_path / "history.db")
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await history.runs()
        with anyio.move_on_after(0.2) as scope:  # anyio cancels again and again
            await history.runs()
        assert scope.cancelled_caught
        assert loop.time() - begun < 4
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_more_rows_than_the_limit_is_an_error_that_names_it(tmp_path: Path) -> None:
    async with opened(tmp_path, query_rows_max=3) as sink:
        await sink.write([Sample(NOW_MS + i, "up", 1.0) for i in range(4)])
        await sink.write([transition("firing", NOW_MS + i) for i in range(4)])
        assert len((await sink.samples("up", NOW_MS, NOW_MS + 3))[0].values) == 3
        with pytest.raises(SinkError, match=r"more than 3 rows.*`query_rows_max`") as caught:
            await sink.samples("up", NOW_MS, NOW_MS + 4)
        assert (caught.value.reason, caught.value.retryable) == ("too_many_rows", False)
        with pytest.raises(SinkError, match="more than 3 rows"):
            await sink.transitions(NOW_MS, NOW_MS + 4)
    assert len(await open_history(tmp_path / "history.db", rows_max=4).transitions(0, NOW_MS * 2)) == 4
    with pytest.raises(SinkError, match="`rows_max` of open_history"):
        await open_history(tmp_path / "history.db", rows_max=3).transitions(0, NOW_MS * 2)
