"""Alerts as a snapshot keeps them: columns of bytes, with the label set of each by its text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import numpy as np

from engine.core.alert_rows import FREE, Ints
from engine.core.book import AlertBook
from engine.core.shares import Share

__all__ = ["SavedAlerts", "load_alerts", "save_alerts"]

_COLUMNS: Final = (
    ("phase", "<i1"),
    ("level", "<i1"),
    ("code", "<i2"),
    ("set", "<i2"),
    ("kept", "<i2"),
    ("reason", "<i2"),
    ("keep", "<i8"),
    ("lost", "<i8"),
    ("paused", "<i8"),
    ("unknown", "<i8"),
    ("active", "<i8"),
    ("fired", "<i8"),
    ("stepped", "<i8"),
    ("fed", "<i8"),
)


class SavedAlerts(msgspec.Struct):
    """The alerts of one rule.

    Args:
        severities: Of its levels, the lowest first: how many clocks an alert has.
        keys: The label set of each alert, as text.
        told: What each was told last.
        columns: Little-endian bytes by name.
        run: By level, since when it runs.
        shares: Of each alert by level, for a rule with `of`.
    """

    severities: list[str]
    refused: int
    keys: list[str]
    told: bytes
    columns: dict[str, bytes]
    run: list[bytes]
    shares: list[list[Share]] = []


def save_alerts(book: AlertBook, rule: int, keys_of: Callable[[Ints], list[str]]) -> SavedAlerts:
    """The alerts of a rule.

    Args:
        keys_of: The texts of slots.
    """
    own, rows = book.rows, book.rows_of(rule)
    rows = rows[np.argsort(own.place[rows])]
    places = own.place[rows]
    levels = book.rules[rule].levels
    return SavedAlerts(
        severities=[level.severity for level in levels],
        refused=int(book.refused[rule]),
        keys=keys_of(book.slot_of.array[places]),
        told=book.codes.array[places].astype("<i2").tobytes(),
        columns={name: getattr(own, name)[rows].astype(kind).tobytes() for name, kind in _COLUMNS},
        run=[own.run[level, rows].astype("<i8").tobytes() for level in range(len(levels))],
        shares=book.shares.saved(rows.tolist()) if book.shares.any else [],
    )


def load_alerts(book: AlertBook, rule: int, saved: SavedAlerts, places_of: Callable[[Sequence[str]], Ints]) -> int:
    """Take alerts back; return how many found no label set, or are of levels that the rule does not have.

    Args:
        places_of: The places of label sets by their texts; -1 for what there is none of.

    Raises:
        ValueError: The columns don't fit each other.
    """
    count = len(saved.keys)
    columns = {name: np.frombuffer(saved.columns.get(name, b""), dtype=kind) for name, kind in _COLUMNS}
    run = [np.frombuffer(clock, dtype="<i8") for clock in saved.run]
    told = np.frombuffer(saved.told, dtype="<i2")
    if any(len(column) != count for column in (*columns.values(), *run, told)) or len(run) != len(saved.severities):
        raise ValueError(f"columns of other lengths than {count}")
    book.refused[rule] = saved.refused
    book.note_told()
    if saved.severities != [level.severity for level in book.rules[rule].levels]:
        return count
    places = places_of(saved.keys)
    at = np.flatnonzero(places != FREE)
    rows = book.adopt(rule, places[at], told[at])
    own = book.rows
    for name, column in columns.items():
        getattr(own, name)[rows] = column[at]
    for level, clock in enumerate(run):
        own.run[level, rows] = clock[at]
    if saved.shares:
        book.shares.load(rows.tolist(), [saved.shares[place] for place in at.tolist()])
    book.arm(rows)
    return count - len(at)
