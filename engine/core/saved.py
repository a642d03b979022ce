"""Alerts as a snapshot keeps them: columns of bytes, and how those of a rule that was edited since are taken back.

What still fits a rule's levels is kept, by their severities; what does not is left out and counted by who asked. It
must never make an alert that the table of `engine.core.alerts` could not have made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.core.alert_rows import FREE, OFF, Ints, Rows
from engine.core.alerts import Code, Phase
from engine.core.book import AlertBook
from engine.core.flaps import SavedFlaps
from engine.core.life import Level
from engine.core.spans import Edges

__all__ = ["SavedAlerts", "SavedLevel", "is_row", "join_rows", "load_alerts", "save_alerts", "save_levels", "save_row"]

_OWN: Final = frozenset({"place", "rule", "run", "due", "peak", "total"})
"""Columns of rows that are not kept as they are: they are numbered, or computed, anew, or are kept as bits."""


class SavedLevel(msgspec.Struct, array_like=True):
    """A level as its rule had it: what is the same has the same texts."""

    severity: str
    when: str
    clear: str


class SavedAlerts(msgspec.Struct):
    """The alerts of one rule.

    Args:
        levels: Of the rule, the lowest first: how many clocks an alert has.
        refused: How many alerts there was no room for, and of how many of these people were told.
        slots: The label set of each alert, by the number that its judge has for it.
        codes: By slot what was told last; of every slot, with an alert or without.
        columns: Of the alerts, by name.
        run: By level, since when it runs.
        spans: Of each alert by level, when it was true, for a rule with `of`.
        flaps: When its alerts changed lately.
        stood: By place of the alert, when its clocks stood, and when nobody could see what it rests on.
    """

    levels: list[SavedLevel]
    refused: tuple[int, int]
    slots: bytes
    codes: bytes
    columns: dict[str, bytes]
    run: list[bytes]
    spans: list[list[list[int]]] = []
    flaps: SavedFlaps | None = None
    stood: dict[int, tuple[list[int], list[int]]] = {}


def save_levels(levels: Sequence[Level]) -> list[SavedLevel]:
    """The levels of a rule, to be compared with those it has later."""
    return [SavedLevel(level.severity, repr(getattr(level, "when", None)), repr(level.clear)) for level in levels]


def save_alerts(book: AlertBook, rule: int, places: Ints) -> SavedAlerts:
    """The alerts of a rule.

    Args:
        places: Of its slots.
    """
    own, rows = book.rows, book.rows_of(rule)
    rows = rows[np.argsort(book.slot_of.array[own.place[rows]])]
    levels = book.rules[rule].levels
    return SavedAlerts(
        levels=save_levels(levels),
        refused=book.refusals(rule),
        slots=_bytes(book.slot_of.array[own.place[rows]]),
        codes=_bytes(book.codes.array[places]),
        columns={name: _bytes(column[rows]) for name, column in _columns(book)},
        run=[_bytes(own.run[level, rows]) for level in range(len(levels))],
        spans=book.shares.saved(rows.tolist()) if book.shares.of_rule[rule] else [],
        flaps=book.flaps.saved(rule),
        stood={
            at: (own.stood[row], own.unseen.get(row, []))
            for at, row in enumerate(rows.tolist() if own.stood else ())
            if row in own.stood
        },
    )


def save_row(book: AlertBook, row: int) -> tuple[dict[str, int], list[int], list[list[int]], tuple[Edges, Edges]]:
    """One alert: its columns by name; by level since when it runs and, under `of`, when it was true; when its clocks
    stood, and when nobody could see what it rests on."""
    own = book.rows
    rule = int(own.rule[row])
    spans = book.shares.saved([row])[0] if book.shares.of_rule[rule] else []
    return (
        {name: int(column[row]) for name, column in _columns(book)},
        own.run[: len(book.rules[rule].levels), row].tolist(),
        [list(edges) for edges in spans],
        (list(own.stood.get(row, [])), list(own.unseen.get(row, []))),
    )


def is_row(columns: Mapping[str, int], run: Sequence[int], spans: Sequence[object], levels: int) -> bool:
    """Whether these can be what `save_row` gave of an alert of a rule with so many levels."""
    if len(run) != levels or (spans and len(spans) != levels) or not 0 <= columns.get("phase", -1) <= max(Phase):
        return False
    fit = all(low <= columns.get(name, low - 1) <= high for name, (low, high) in _BOUNDS.items())
    return fit and columns["level"] < levels


def join_rows(
    levels: list[SavedLevel],
    refused: tuple[int, int],
    rows: Sequence[tuple[dict[str, int], list[int], list[list[int]], tuple[Edges, Edges]]],
    book: AlertBook,
) -> SavedAlerts:
    """Rows of one rule, each as `save_row` gave it, as a snapshot has them; their slots are their places in `rows`.

    Raises:
        ValueError: A row lacks a column, or has another number of levels.
        OverflowError: It holds what no row can.
    """
    if any(len(run) != len(levels) or (spans and len(spans) != len(levels)) for _, run, spans, _ in rows):
        raise ValueError("an alert with other levels than its rule has")
    columns = {}
    for name, column in _columns(book):
        if not all(name in own for own, _, _, _ in rows):
            raise ValueError(f"an alert without {name}")
        columns[name] = _bytes(np.array([own[name] for own, _, _, _ in rows], dtype=column.dtype))
    return SavedAlerts(
        levels=levels,
        refused=refused,
        slots=_bytes(np.arange(len(rows), dtype=np.int64)),
        codes=b"",
        columns=columns,
        run=[_bytes(np.array([run[level] for _, run, _, _ in rows], dtype=np.int64)) for level in range(len(levels))],
        spans=[spans or [[]] * len(levels) for _, _, spans, _ in rows] if any(spans for _, _, spans, _ in rows) else [],
        stood={at: stood for at, (_, _, _, stood) in enumerate(rows) if stood[0] or stood[1]},
    )


def load_alerts(book: AlertBook, rule: int, saved: SavedAlerts, places: Ints, *, edited: bool) -> int:
    """Take alerts back; return how many there is no label set for, or do not fit the rule's levels.

    Args:
        places: Of each alert; FREE where its label set is not known any more.
        edited: The rule asks something else now: what was told last means nothing.

    Raises:
        ValueError: The columns don't fit each other.
    """
    slots = np.frombuffer(saved.slots, dtype="<i8")
    columns = {name: _column(saved.columns.get(name, b""), column, len(slots)) for name, column in _columns(book)}
    run = [_column(clock, book.rows.run, len(slots)) for clock in saved.run]
    if len(run) != len(saved.levels) or len(places) != len(slots):
        raise ValueError(f"{len(run)} clocks for {len(saved.levels)} levels")
    if len(slots) and not 0 <= int(columns["phase"].min()) <= int(columns["phase"].max()) <= max(Phase):
        raise ValueError("a phase that there is not")
    levels = book.rules[rule].levels
    fits = np.ones(len(slots), dtype=np.bool_)
    if saved.levels != save_levels(levels):
        columns, run, fits = _fitted(saved.levels, levels, columns, run, of=book.shares.of_rule[rule])
        edited = True
    if len(slots) and int(columns["level"].max()) >= len(levels):
        raise ValueError("a level that there is not")
    book.note_refusals(rule, saved.refused)
    book.flaps.load(rule, saved.flaps)
    at = np.flatnonzero((places != FREE) & fits)
    if len(np.unique(places[at])) < len(at):
        raise ValueError("a label set with two alerts")
    rows = book.adopt(rule, places[at])
    for name, column in _columns(book):
        column[rows] = columns[name][at]
    for level, clock in enumerate(run):
        book.rows.run[level, rows] = clock[at]
    _load_spans(book, rule, rows, saved.spans, at)
    for row, place in zip(rows.tolist(), at.tolist(), strict=True):
        if place in saved.stood:
            book.rows.stood[row], book.rows.unseen[row] = map(list, saved.stood[place])
    if edited:
        book.codes.array[places[at]] = Code.REFUSED
        book.rows.measure_anew(rows)
    book.arm(rows)
    return len(slots) - len(at)


def _load_spans(book: AlertBook, rule: int, rows: Ints, spans: Sequence[list[list[int]]], at: Ints) -> None:
    """Shares for rows of a rule that has `of`; for one that has it no more, or not before, what its clocks would be."""
    own, levels = book.rows, len(book.rules[rule].levels)
    if book.shares.of_rule[rule]:
        if spans:
            chosen = [spans[place] for place in at.tolist()]
        else:
            chosen = [[[] if since == OFF else [since] for since in own.run[:, row].tolist()] for row in rows.tolist()]
        own.run[:, rows] = OFF
        book.shares.load(rows.tolist(), [(each + [[]] * levels)[:levels] for each in chosen], rule)
    elif spans:
        for row, place in zip(rows.tolist(), at.tolist(), strict=True):
            for level, edges in enumerate(spans[place][:levels]):
                own.run[level, row] = edges[-1] if len(edges) % 2 else OFF


def _fitted(
    before: Sequence[SavedLevel],
    levels: Sequence[Level],
    columns: dict[str, NDArray[np.int64]],
    run: Sequence[NDArray[np.int64]],
    *,
    of: bool,
) -> tuple[dict[str, NDArray[np.int64]], list[NDArray[np.int64]], NDArray[np.bool_]]:
    """Columns and clocks for other levels, and which alerts have a place among them.

    A level that is new counts as set below one that is: see the laws.
    """
    names = [level.severity for level in before]
    old = [names.index(level.severity) if level.severity in names else -1 for level in levels]
    code, shown, phase = columns["code"], columns["level"], columns["phase"]
    made = {name: _moved(columns[name], old, 0) for name in ("set", "kept")}
    level_now = np.full(len(shown), -1, dtype=np.int64)
    clear = _moved(code >> 8, old, 0)
    for number, place in enumerate(old):
        higher = (made["set"] >> number) > 1
        made["set"] |= np.where(higher, 1 << number, 0)
        level_now[(made["set"] >> number & 1 != 0) | ((shown == place) & (place >= 0))] = number
        clear |= np.where((place < 0) & ~higher, 1 << number, 0)
    clear |= (Code.WHENS >> len(levels)) << len(levels)
    off = np.full(len(code), OFF)
    clocks = [off if place < 0 else run[place] for place in old]
    runs = np.any([clock != OFF for clock in clocks], axis=0)
    fits = np.where(phase == Phase.PENDING, runs | of, np.where(phase == Phase.FIRING, made["set"] != 0, True))
    made |= {"level": level_now, "code": clear << 8 | _moved(code, old, 0)}
    return columns | made, clocks, fits


def _moved(bits: NDArray[np.int64], old: Sequence[int], fill: int) -> NDArray[np.int64]:
    """Bits of levels, at the places of the levels they belong to now."""
    moved = np.full(len(bits), fill, dtype=np.int64)
    for number, place in enumerate(old):
        if place >= 0:
            moved |= (bits.astype(np.int64) >> place & 1) << number
    return moved


def _columns(book: AlertBook) -> Iterator[tuple[str, NDArray[np.int64]]]:
    for name, column in vars(book.rows).items():
        if isinstance(column, np.ndarray) and name not in _OWN:
            yield name, column


_BOUNDS: Final = {
    name: (int(np.iinfo(column.dtype).min), int(np.iinfo(column.dtype).max))
    for name, column in vars(Rows(1)).items()
    if isinstance(column, np.ndarray) and name not in _OWN
}


def _bytes(column: NDArray[Any]) -> bytes:
    return column.astype(column.dtype.newbyteorder("<")).tobytes()


def _column(data: bytes, like: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    column = np.frombuffer(data, dtype=like.dtype.newbyteorder("<")).astype(like.dtype)
    if len(column) != size:
        raise ValueError(f"a column of {len(column)} values for {size} alerts")
    return column
