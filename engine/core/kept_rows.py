"""Rows of alerts as they are read, whichever version of this program has written them.

A field that is added at the end, with a default, needs no new version: rows without it are read. Whatever else changes
raises `VERSION` and adds to `UPGRADES` what makes rows of the version before ones of the next, so that an update never
costs an alert. A row that can't be read must never raise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from engine.core.alert_rows import NOTHING_MEASURED, OFF
from engine.core.orphans import DAMAGED, Orphan
from engine.core.stored import VERSION, Stored

__all__ = ["UPGRADES", "Upgrade", "lost_rows", "read_row"]

_DECODER: Final = msgspec.msgpack.Decoder(Stored)
Upgrade: TypeAlias = Callable[[list[Any]], list[Any]]
_ALERT, _COLUMNS = 1, 6  # places of `Stored.alert` and of `SavedAlert.columns`


def _with_measures(plain: list[Any]) -> list[Any]:
    """Rows of version 1 may lack what was measured: that begins anew. For how long the condition held is taken to be
    since it was active, for one that has not ended."""
    if plain[_ALERT] is not None:
        columns = plain[_ALERT][_COLUMNS]
        born = columns["active"]
        made = {"born": born, "since": born if columns["keep"] == OFF else OFF, "held": 0}
        plain[_ALERT][_COLUMNS] = {**made, **NOTHING_MEASURED, **columns}
    return plain


UPGRADES: Final[Mapping[int, Upgrade]] = {1: _with_measures}
"""By the version of a row, what makes it one of the next version: of its plain values, the version first."""


def read_row(data: bytes) -> Stored | None:
    """A row; None if it can't be read, or is of a later version."""
    try:
        stored = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _upgraded(data)
    return stored if stored.version == VERSION else _upgraded(data)


def _upgraded(data: bytes) -> Stored | None:
    try:
        plain = msgspec.msgpack.decode(data)
        while (upgrade := UPGRADES.get(plain[0])) is not None:
            plain = [plain[0] + 1, *upgrade(plain)[1:]]
        return msgspec.convert(plain, Stored) if plain[0] == VERSION else None
    except (msgspec.MsgspecError, ValueError, TypeError, LookupError):  # damage, in whatever form
        return None


def lost_rows(rows: Iterable[tuple[str, str, bytes]]) -> list[Orphan]:
    """The alerts of rows that a core could not be given when it was new, and does not have itself: nobody knows how
    they went on."""
    return [_lost(*row) for row in rows]


def _lost(key: str, text: str, data: bytes) -> Orphan:
    stored = read_row(data)
    return Orphan(key, text, reason=DAMAGED) if stored is None else Orphan(key, text, stored.alert, "lost")
