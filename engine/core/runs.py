"""Runs of single samples: landed at once, and judged as they would be one by one.

Whatever a run comes to, its samples would come to it if each were landed alone: that is a property of the tests. The
only reason for this module is that one sample at a time costs a hundred times as much.
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core.alert_rows import Ints
from engine.core.book import AlertBook
from engine.core.chains import Outputs
from engine.core.judge import Judge
from engine.core.kin import Kin
from engine.core.lanes import Lanes, Run
from engine.core.layouts import Layouts
from engine.core.notices import Output
from engine.core.outputs import in_order
from engine.core.store import Landing, Mark, Store, stale_after_ms
from engine.core.tally import Tally
from engine.core.telling import Telling
from engine.core.touching import Parts
from engine.core.tracks import Laned, Track
from engine.events import STALE_BITS, Sample

__all__ = ["MARKS", "RUN_MAX", "BatchRun", "Runs", "columns_of", "marks_of", "picked"]

RUN_MAX: Final = 4_096
"""Samples that are landed together; few of them are changes."""
MARKS: Final = {"ended": Mark.ENDED, "target_down": Mark.TARGET_DOWN}


class BatchRun(NamedTuple):
    """Batches of the same series, none of which goes stale in between.

    Args:
        landing: What is left of them in the store.
        times: Of the batches, ascending.
        values: float64, shape (batches, series).
        kins: What the series touch.
    """

    landing: Landing
    times: Ints
    values: NDArray[np.float64]
    kins: Parts


class Runs:
    """Lands runs.

    Args:
        store: What is written.
        layouts: Knows who reads which series.
        tally: Counts what was accepted.
        book: Has the alerts of pointwise rules.
    """

    def __init__(self, store: Store, layouts: Layouts, tally: Tally, book: AlertBook) -> None:
        self._store = store
        self._layouts = layouts
        self._tally = tally
        self._book = book

    def land(self, run: Run) -> Outputs:
        """Land a run: nobody needs to see one of its samples by itself."""
        told = Telling(self._book)
        made: list[Output] = []
        positions: dict[int, list[Ints]] = {}
        judges: dict[int, Judge] = {}
        for metric, places in self._layouts.by_metric(run.handles) if self._layouts.any_alone(run.handles) else ():
            for judge in metric.alone:
                judges[judge.index] = judge
                positions.setdefault(judge.index, []).append(places)
        landing = run.landing()
        kins = self._layouts.kins(run.handles)
        ordered = False
        for kin, entries in kins:
            lanes = kin.run(run, entries) if self._store.restarted_ms < 0 else None
            if lanes is None:
                for judge in kin.judges:
                    judges[judge.index] = judge
                    positions[judge.index] = [np.arange(len(run.handles))]
                continue
            made += yield from self._tell_lanes(told, kin, lanes, run)
            ordered = len(kins) == 1 and not judges and not told.waits
        for index in sorted(judges):
            parts = positions[index]
            points = judges[index].run(run, parts[0] if len(parts) == 1 else np.sort(np.concatenate(parts)))
            yield
            for chunk in () if points is None else told.add(judges[index], points, RUN_MAX):
                made += chunk
                yield
        for chunk in told.rest():
            made += chunk
            yield
        self._store.land(landing)
        self._tally.count("samples_accepted_total", len(run.handles))
        yield from told.done()
        for kin, _ in kins:
            kin.ages.landed(landing.stale_from_ms)
        for judge in judges.values():
            judge.landed(landing.stale_from_ms)
        return made if ordered else (yield from in_order(made))

    def land_batches(self, run: BatchRun) -> Outputs:
        """Land batches, whose rules are all plain: a lane of each label set has as many rows as there are batches."""
        told = Telling(self._book)
        made: list[Output] = []
        for kin, parts in run.kins:
            for part in parts:
                yield from self._tell_track(made, told, kin, kin.grid(part, run.times, run.values))
        for chunk in told.rest():
            made += chunk
            yield
        self._store.land(run.landing)
        self._tally.count("samples_accepted_total", run.values.size)
        yield from told.done()
        for kin, _ in run.kins:
            kin.ages.landed(run.landing.stale_from_ms)
        return (yield from in_order(made))

    def _tell_track(self, made: list[Output], told: Telling, kin: Kin, track: Track) -> Generator[None, None, None]:
        done, changes, points = self._book.spells.run(track, kin.last_values)
        made += done
        yield
        told.note(kin, changes)
        if points is not None and points.size:
            first = np.flatnonzero(np.append(True, points.places[1:] != points.places[:-1]))
            for chunk in told.add(kin, kin.seen(points, first), RUN_MAX):
                made += chunk
                yield

    def _tell_lanes(self, told: Telling, kin: Kin, lanes: Lanes, run: Run) -> Outputs:
        made: list[Output] = []
        points = kin.points(lanes, run)
        if kin.plain and not lanes.has_gaps:
            yield from self._tell_track(made, told, kin, Laned(points, lanes.first, lanes.last))
        elif points.size:
            for chunk in told.add(kin, kin.seen(points, lanes.first), RUN_MAX):
                made += chunk
                yield
        return made


def columns_of(samples: list[Sample], handles: Ints, store: Store, floor_ms: int) -> Run:
    """Samples as columns. What each of these lines costs was measured: see docs/performance.md.

    Args:
        handles: Of their series; -1 where it was refused.
        floor_ms: Nothing is judged earlier.
    """
    size = len(samples)
    times = np.fromiter([sample.time_ms for sample in samples], np.int64, size)
    values = np.frombuffer(struct.pack(f"{size}d", *[sample.value for sample in samples]))
    intervals = [sample.interval_ms for sample in samples]
    if intervals.count(intervals[0]) == size:
        after = np.full(size, stale_after_ms(intervals[0]))
    else:
        after = np.array([stale_after_ms(interval) for interval in intervals], dtype=np.int64)
    earliest = int(times.min())
    if earliest < store.blind_ms and int(handles.max()) >= 0:
        after = after + store.blind_after(np.maximum(handles, 0), times)
    judged_at = times if floor_ms <= earliest else np.maximum(times, floor_ms)
    return Run(handles, times, judged_at, values, after)


def picked(run: Run, samples: list[Sample], keep: NDArray[np.bool_]) -> tuple[Run, list[Sample]]:
    """The run and the samples without those that are not kept."""
    return run.pick(keep), [sample for sample, kept in zip(samples, keep.tolist(), strict=True) if kept]


def marks_of(values: NDArray[np.float64], not_numbers: NDArray[np.bool_], samples: list[Sample]) -> NDArray[np.int8]:
    """What each sample says of its series."""
    marks = np.zeros(len(values), dtype=np.int8)
    stale = np.flatnonzero(not_numbers & (values.view(np.int64) == STALE_BITS))
    marks[stale] = [MARKS[samples[at].stale] for at in stale.tolist()]
    return marks
