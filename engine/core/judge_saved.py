"""A pointwise rule as a snapshot keeps it, and how it goes on: as it was, edited, or new among old series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.core.alert_rows import FREE
from engine.core.alerts import Code
from engine.core.judge import Judge
from engine.core.label_places import Labels
from engine.core.saved import SavedAlerts, load_alerts, save_alerts, save_levels
from engine.series import series_text, split_series

__all__ = ["SavedPointwise", "adopt", "begin_late", "load", "save"]


class SavedPointwise(msgspec.Struct, tag="pointwise"):
    """What a snapshot keeps of one rule.

    Args:
        series: By selector the series of each slot.
        judged: By slot when it was judged last, if that matters; `judged_ms` is the latest.
        complete: By slot whether everything was there once, under `fire`.
        fed: By slot which selectors fed it last, as bits, where that can change.
    """

    expr: str
    swept_ms: int
    sweep_ms: int
    judged_ms: int
    judged: bytes
    complete: bytes
    fed: bytes
    series: list[bytes]
    alerts: SavedAlerts

    def label_sets(self, texts: Sequence[str]) -> list[Labels]:
        """The label sets of its alerts."""
        columns = [np.frombuffer(data, dtype="<i8") for data in self.series]
        found: list[Labels] = []
        for slot in np.frombuffer(self.alerts.slots, dtype="<i8").tolist():
            handle = max(int(column[slot]) for column in columns)  # all have the same labels
            found.append(tuple(sorted(split_series(texts[handle])[1].items())))
        return found


def save(judge: Judge) -> SavedPointwise:
    """What a snapshot keeps of this rule."""
    return SavedPointwise(
        expr=judge.plan.expr,
        swept_ms=judge.looks.swept_ms,
        sweep_ms=judge.looks.at_ms,
        judged_ms=judge.looks.judged_ms,
        judged=judge.judged[judge.places.array].astype("<i8").tobytes() if judge.looks.judged_ms >= 0 else b"",
        complete=judge.complete.array.tobytes() if judge.fires else b"",
        fed=judge.fed.array.astype("<i8").tobytes() if judge.plan.absence_matters else b"",
        series=judge.binding.saved(),
        alerts=save_alerts(judge.book, judge.index, judge.places.array),
    )


def load(judge: Judge, saved: SavedPointwise, texts: Sequence[str]) -> int:
    """Take back what `saved` gave of the same expression, before any series was added; return how many alerts the
    rule's levels have no place for.

    Args:
        texts: Of the series by handle, which the store has taken back.

    Raises:
        ValueError: It does not fit itself or the series.
    """
    judge.binding.load(saved.series, texts)
    judge.grow()
    for leaf in range(len(judge.plan.leaves)):
        every = np.arange(len(judge.places), dtype=np.int64)
        judge.fed_by.feed(leaf, judge.places.array, judge.binding.handles(leaf, every))
    judge.looks.swept_ms = max(judge.looks.swept_ms, saved.swept_ms)
    judge.looks.judged_ms = max(judge.looks.judged_ms, saved.judged_ms)
    if saved.judged:
        judge.judged[judge.places.array] = _column(saved.judged, "<i8", len(judge.places))
    if saved.complete:
        judge.complete.array[:] = _column(saved.complete, "?", len(judge.places))
    if saved.fed:
        judge.fed.array[:] = _column(saved.fed, "<i8", len(judge.places))
    judge.book.codes.array[judge.places.array] = np.frombuffer(saved.alerts.codes, dtype="<i2")
    slots = np.frombuffer(saved.alerts.slots, dtype="<i8")
    if len(slots) and not 0 <= int(slots.min()) <= int(slots.max()) < len(judge.places):
        raise ValueError("alerts of label sets that there are not")
    unplaced = load_alerts(judge.book, judge.index, saved.alerts, judge.places.array[slots], edited=False)
    if saved.alerts.levels != save_levels(judge.rule.levels):
        judge.book.codes.array[judge.places.array] = Code.REFUSED  # what it says now is a change
    judge.looks.expect(saved.sweep_ms)
    return unplaced


def adopt(judge: Judge, alerts: SavedAlerts, label_sets: Sequence[Labels], swept_ms: int) -> int:
    """Take alerts of another expression, once every series was added; return how many have no place here.

    Args:
        label_sets: Of each.
        swept_ms: No input that went stale until then is looked at again.
    """
    table = judge.store.table
    slots = [judge.binding.slot_of(series_text("x", labels)[1:], table) for labels in label_sets]
    at = np.array(slots, dtype=np.int64)
    places = np.full(len(at), FREE)
    places[at >= 0] = judge.places.array[at[at >= 0]]
    unplaced = load_alerts(judge.book, judge.index, alerts, places, edited=True)
    begin_late(judge, swept_ms)
    return unplaced


def begin_late(judge: Judge, swept_ms: int) -> None:
    """It is new among series that were there before: what they say is judged when they say it again."""
    judge.looks.swept_ms = max(judge.looks.swept_ms, swept_ms)
    every = np.arange(len(judge.binding), dtype=np.int64)
    for leaf in range(len(judge.plan.leaves)):
        handles = judge.binding.handles(leaf, every)
        if not judge.binding.single:
            last = np.where(handles >= 0, judge.store.last_ms(np.maximum(handles, 0)), 0)
            judge.judged[judge.places.array] = np.maximum(judge.judged[judge.places.array], last)
        if judge.fires and len(every):
            judge.complete.array[:] = (
                (handles >= 0) & ~judge.store.state(handles, 0)[2] & (judge.complete.array | (leaf == 0))
            )
        judge.fed.array[:] |= (handles >= 0).astype(np.int64) << leaf
    if not judge.binding.single:
        judge.looks.judged_ms = max(judge.looks.judged_ms, int(judge.judged[judge.places.array].max(initial=-1)))
    judge.watch()


def _column(data: bytes, kind: str, size: int) -> NDArray[Any]:
    column: NDArray[Any] = np.frombuffer(data, dtype=kind)
    if len(column) != size:
        raise ValueError(f"a column of {len(column)} values for {size} slots")
    return column
