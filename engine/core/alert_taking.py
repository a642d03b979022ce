"""Alerts that are taken back from rows of their own (`engine.core.alert_bytes`) into a core that is new.

A row is as old as the last change of its alert. What came until the core went down and changed nothing is taken as
having come: an input that was fresh then is as if it had had its last sample at the end, and is seen again, or stale,
before its alert may resolve. It must never raise for a row that is damaged: that alert is counted, the others live.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from engine.core import judge_saved, spans
from engine.core.alert_bytes import Work, works_of
from engine.core.alert_rows import FREE, Ints
from engine.core.book import AlertBook
from engine.core.flaps import SavedFlaps, SavedRing
from engine.core.grid_alerts import GridAlerts, SavedGridAlerts
from engine.core.judge import Judge
from engine.core.kept_rows import read_row
from engine.core.label_places import Labels, SavedPlaces
from engine.core.makers import Makers
from engine.core.orphans import DAMAGED, Orphan
from engine.core.parts import Parts
from engine.core.projected import PROJECTORS, Projected
from engine.core.query_judge import QueryJudge
from engine.core.recent import SavedRecent
from engine.core.saved import is_row, join_rows, load_alerts
from engine.core.store import BEFORE_ALL_MS, NEVER_MS, Mark
from engine.core.stored import SavedAlert, SavedInput, SavedOwn, SavedSeen
from engine.series import series_text, split_series

__all__ = ["take_rows"]


class _Found(NamedTuple):
    """What rows say of one rule; by the labels of an alert, the labels as one text."""

    alerts: list[SavedAlert]
    texts: dict[Labels, str]
    rings: list[tuple[str, SavedRing]]
    own: list[SavedOwn]
    seen: list[SavedSeen]


def take_rows(parts: Parts, rows: Iterable[tuple[str, str, bytes]], until_ms: int) -> list[Orphan]:
    """Take alerts into new parts that were watched until an instant; return the rows that have no place here.

    Args:
        rows: The newest of each alert: key of the rule, labels as one text, what was kept.
    """
    works = list(works_of(parts))
    found = {key: _Found([], {}, [], [], []) for key, *_ in works}
    projected = Projected(parts)
    orphans = [orphan for row in rows if (orphan := _sort(found, projected, *row)) is not None]
    everything = list(found.values())
    for alert in (alert for one in everything for alert in one.alerts if alert.at_ms > until_ms):
        _set_back(alert, until_ms)
    kept: list[SavedAlert | SavedSeen] = [alert for one in everything for alert in one.alerts]
    kept += [seen for one in everything for seen in one.seen]
    _fill_store(parts, kept, until_ms)
    _fill_blind(parts, [own for one in everything for own in one.own], until_ms)
    parts.recent.since_ms = until_ms  # until a history fills them
    parts.lander.watermark_ms, parts.time_begun = until_ms, True
    for judge in parts.pointwise.values():
        parts.layouts.tell(judge)
        judge_saved.begin_late(judge, until_ms)
    parts.layouts.renew_inputs()
    parts.instants.load([None] * len(parts.runners), until_ms)
    made = {one.series: one.maker for each in kept for one in each.inputs}
    makers = Makers(parts)
    makers.take({series: key for series, key in made.items() if key}, until_ms)
    for chain in parts.chains:
        chain.settled_ms = max(chain.settled_ms, until_ms)
        for recorder in chain.recorders:
            recorder.expression.begin_again(until_ms)
    for key, book, number, work in works:
        one = found[key]
        for own in one.own:
            book.note_refusals(number, own.refused)
            book.flaps.load(number, SavedFlaps(own.span_ms, own.skipped_ms, own.forgotten, one.rings))
        if isinstance(work, QueryJudge):
            if any(own.expr == work.rule.plan.expr for own in one.own):
                work.expression.begin_again(until_ms)
            else:
                work.expression.refresh(until_ms + 1)
        left = _take_rule(book, number, work, one.alerts, until_ms)
        orphans += [Orphan(key, one.texts[alert.labels], alert, "rule_changed") for alert in left]
        if not isinstance(work, GridAlerts):
            _remember(work, one.seen)
        if isinstance(work, Judge):
            work.watch_from(until_ms + 1)
    makers.take_alerts(parts.runners)
    return orphans


def _sort(found: dict[str, _Found], projected: Projected, key: str, text: str, data: bytes) -> Orphan | None:
    """Put a row to its rule, if that is possible."""
    stored = read_row(data)
    if stored is None:
        return Orphan(key, text, reason=DAMAGED)
    one, alert = found.get(key), stored.alert
    if key == PROJECTORS:
        return None if projected.take(text, stored.projector or b"") else Orphan(key, text)
    if one is None:
        return Orphan(key, text, alert)
    if stored.own is not None:
        one.own.append(stored.own)
    if stored.seen is not None and all(map(_is_sound, stored.seen.inputs)):
        one.seen.append(stored.seen)
    if stored.ring is not None:
        one.rings.append((text, stored.ring))
    if alert is None:
        return None
    if alert.labels in one.texts or not _is_whole(alert) or not all(map(_is_sound, alert.inputs)):
        return Orphan(key, text, reason=DAMAGED)
    one.alerts.append(alert)
    one.texts[alert.labels] = text
    return None


def _set_back(alert: SavedAlert, until_ms: int) -> None:
    """The clock was set back below what the alert has seen: what has not come yet by it is taken to have come just
    now, so that no clock waits for the lost time, and what fires goes on."""
    columns, known_ms = alert.columns, until_ms - alert.columns["lost"]
    for name in ("opened", "active", "fired", "stepped"):
        columns[name] = min(columns[name], until_ms)
    for name in ("unknown", "paused"):
        columns[name] = columns[name] if columns[name] == NEVER_MS else min(columns[name], until_ms)
    columns["keep"] = min(columns["keep"], known_ms)
    alert.run[:] = [min(since_ms, known_ms) for since_ms in alert.run]
    alert.spans[:] = [[min(edge, known_ms) for edge in edges] for edges in alert.spans]
    alert.judged_ms = min(alert.judged_ms, until_ms)


def _is_whole(alert: SavedAlert) -> bool:
    told = np.iinfo(np.int16)
    return told.min <= alert.told <= told.max and is_row(alert.columns, alert.run, alert.spans, len(alert.levels))


def _is_sound(one: SavedInput) -> bool:
    try:
        split_series(one.series)
    except ValueError:
        return False
    numbers = one.last_ms, one.stale_after_ms, one.blind_from_ms, one.blind_to_ms
    return 0 <= one.mark <= max(Mark) and all(BEFORE_ALL_MS <= number <= NEVER_MS for number in numbers)


def _fill_store(parts: Parts, alerts: Sequence[SavedAlert | SavedSeen], until_ms: int) -> None:
    """The series that alerts rest on, each as the newest row has it."""
    newest: dict[str, tuple[bool, SavedInput]] = {}
    for alert in alerts:
        for one in alert.inputs:
            fresh = one.mark == Mark.LIVE and one.last_ms + one.stale_after_ms >= alert.at_ms
            known = newest.get(one.series)
            if known is None or (known[1].last_ms, known[0]) < (one.last_ms, fresh):
                newest[one.series] = fresh, one
    if not newest:
        return
    series = [one for _, one in newest.values()]
    for one in series:
        one.last_ms = min(one.last_ms, until_ms)  # of a clock that was set back
    ages = np.array([one.stale_after_ms for one in series], dtype=np.int64)
    lasted = np.array([max(0, until_ms - one.last_ms) if fresh else 0 for fresh, one in newest.values()])
    columns = {
        "last_ms": np.array([one.last_ms for one in series], dtype="<i8"),
        "values": np.array([one.value for one in series], dtype="<f8"),
        "stale_after": (ages + lasted).astype("<i8"),
        "marks": np.array([one.mark for one in series], dtype="i1"),
        "blind_from": np.array([one.blind_from_ms for one in series], dtype="<i8"),
        "blind_to": np.array([one.blind_to_ms for one in series], dtype="<i8"),
        "before_ms": np.array([one.last_ms for one in series], dtype="<i8"),
    }
    store = parts.store
    store.table.series_max = max(store.table.series_max, len(series))
    store.refill([one.series for one in series], {name: column.tobytes() for name, column in columns.items()})
    parts.ages_taken = ages
    parts.layouts.refill()
    parts.recent.load(SavedRecent(horizon_ms=-1, blocks=[], orders={}))  # windows come with a history


def _fill_blind(parts: Parts, owns: Sequence[SavedOwn], until_ms: int) -> None:
    edges = parts.store.blind
    for own in owns:
        for from_ms, to_ms in zip(own.blind[::2], own.blind[1::2], strict=False):
            if from_ms < (to_ms := min(to_ms, until_ms)):  # of a clock that was set back: what comes is not blind
                spans.add(edges, from_ms, to_ms)
    parts.store.blind_ms = max(parts.store.blind_ms, parts.store.blind_to_ms)
    for book in (parts.book, *(judge.book for chain in parts.chains for judge in chain.judges)):
        book.rows.blind = list(edges)


def _take_rule(
    book: AlertBook, number: int, work: Work, alerts: Sequence[SavedAlert], until_ms: int
) -> list[SavedAlert]:
    """Take the alerts of a rule; return those that have no place."""
    if isinstance(work, GridAlerts):
        return _take_grid(work, alerts, until_ms)
    groups: dict[bytes, list[SavedAlert]] = {}
    for alert in alerts:
        groups.setdefault(msgspec.msgpack.encode([alert.expr, alert.levels]), []).append(alert)
    return [left for some in groups.values() for left in _take_some(book, number, work, some)]


def _take_some(
    book: AlertBook, number: int, work: Judge | QueryJudge, alerts: Sequence[SavedAlert]
) -> list[SavedAlert]:
    """Take alerts that were written under the same rule."""
    rows = [(alert.columns, alert.run, alert.spans, alert.stood) for alert in alerts]
    saved = join_rows(alerts[0].levels, book.refusals(number), rows, book)
    edited = alerts[0].expr != work.rule.plan.expr
    places = _places(work, alerts)
    there = np.flatnonzero(places != FREE)
    if not edited:
        book.codes.array[places[there]] = np.array([alerts[at].told for at in there.tolist()], dtype=np.int16)
    for at in there.tolist() if not edited else ():
        _note(work, int(places[at]), alerts[at])
    flaps = book.flaps.saved(number)
    load_alerts(book, number, msgspec.structs.replace(saved, flaps=flaps), places, edited=edited)
    if isinstance(work, QueryJudge):
        work.arm_clocks()
    return _left(book, places, alerts)


def _left(book: AlertBook, places: Ints, alerts: Sequence[SavedAlert]) -> list[SavedAlert]:
    """The alerts that were not taken."""
    return [
        alert
        for place, alert in zip(places.tolist(), alerts, strict=True)
        if place == FREE or book.row_of.array[place] == FREE
    ]


def _places(work: Judge | QueryJudge, alerts: Sequence[SavedAlert]) -> Ints:
    if isinstance(work, QueryJudge):
        return work.places_for([alert.labels for alert in alerts])
    table = work.store.table
    slots = [work.binding.slot_of(series_text("x", dict(alert.labels))[1:], table) for alert in alerts]
    return np.array([FREE if slot < 0 else int(work.places.array[slot]) for slot in slots], dtype=np.int64)


def _note(work: Judge | QueryJudge, place: int, alert: SavedAlert) -> None:
    if isinstance(work, QueryJudge):
        work.note_value(place, alert.value)
        return
    slot = int(work.book.slot_of.array[place])
    if not work.binding.single and alert.judged_ms >= 0:
        work.judged[place] = max(int(work.judged[place]), alert.judged_ms)
        work.looks.judged_ms = max(work.looks.judged_ms, alert.judged_ms)
    work.complete.array[slot] = alert.complete
    work.fed.array[slot] = alert.fed


def _remember(work: Judge | QueryJudge, seen: Sequence[SavedSeen]) -> None:
    """Take back which label sets were there, for a rule to which that matters and that asks the same."""
    mine = [one for one in seen if one.expr == work.rule.plan.expr]
    if work.remembered() is None or not mine:
        return
    if isinstance(work, QueryJudge):
        work.places_for([one.labels for one in mine])
        return
    for one in mine:
        slot = work.binding.slot_of(series_text("x", dict(one.labels))[1:], work.store.table)
        if slot >= 0:
            work.complete.array[slot], work.fed.array[slot] = True, one.fed


def _take_grid(work: GridAlerts, alerts: Sequence[SavedAlert], until_ms: int) -> list[SavedAlert]:
    if not alerts:
        return []
    ordered = sorted(alerts, key=lambda alert: (not alert.active, alert.labels))
    rows = [(alert.columns, alert.run, alert.spans, alert.stood) for alert in ordered]
    saved = join_rows(ordered[0].levels, work.book.refusals(0), rows, work.book)
    saved.flaps = work.book.flaps.saved(0)
    saved.codes = np.array([alert.told for alert in ordered], dtype="<i2").tobytes()
    known = [alert.labels for alert in ordered]
    whole = SavedGridAlerts(
        at_ms=until_ms,
        known=known,
        active=sum(alert.active for alert in ordered),
        values=np.array([alert.value for alert in ordered], dtype="<f8").tobytes(),
        sample_labels=[alert.sample_labels for alert in ordered],
        texts=[alert.texts for alert in ordered],
        refused=[],
        withheld=[alert.labels for alert in ordered if alert.withheld],
        places=SavedPlaces(len(known), [(labels, place) for place, labels in enumerate(known)], []),
        alerts=saved,
    )
    work.load(whole)
    return _left(work.book, np.arange(len(ordered)), ordered)
