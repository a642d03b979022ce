"""What was decided last of each alert, until it is known that each receiver knows it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, KeysView, Mapping
from typing import Final, NamedTuple

from engine.events import Transition
from engine.runtime.ledger.values import Cover
from engine.status import AlertStatus

__all__ = ["ENTRIES_MAX", "Book", "Entry", "Late", "end_of", "missing", "transition_of"]

ENTRIES_MAX: Final = 100_000


class Entry(NamedTuple):
    """What was decided last of an alert. `seq` 0: no number is known of it, since it fires since before the start, or
    could not be kept; what a receiver was told is compared by what it is then."""

    seq: int
    transition: Transition


class Book:
    """What is to be checked for each receiver, and what fires.

    Args:
        receivers: Those that are told everything.
        others: Those that are told of some ends only: in the place of others, or never that something is resolved.
    """

    def __init__(self, receivers: Iterable[str], others: Iterable[str] = ()) -> None:
        self._unchecked: dict[str, dict[str, Entry]] = {name: {} for name in receivers}
        self._others = frozenset(others)
        self._suspect = {*self._unchecked, *self._others}
        self._firing: dict[str, Entry] = {}
        self._coming: set[str] = set()
        self.knows_all = False
        """Whether what fires is here in full. Until it is said what fires since before the start, it is not."""
        self.forgotten_total = 0
        """Alerts that could not be remembered until they were checked."""

    def note(self, key: str, entry: Entry) -> None:
        """This was decided last of an alert."""
        self._coming.discard(key)
        if entry.transition.kind == "firing":
            self._note_firing(key, entry)
        else:
            self._firing.pop(key, None)
            self._suspect |= self._others
        for entries in self._unchecked.values():
            self._put(entries, key, entry)

    def stand(self, firing: Mapping[str, Entry], coming: Iterable[str]) -> None:
        """These fire since before the start.

        Args:
            coming: Alerts that ended with the start, which is still to be decided on.
        """
        self.knows_all = True
        self._coming.update(coming)
        for key, entry in firing.items():
            self.note(key, entry)

    def _note_firing(self, key: str, entry: Entry) -> None:
        self.knows_all &= key in self._firing or len(self._firing) < ENTRIES_MAX  # else what is not here may fire
        self._put(self._firing, key, entry)

    def doubt(self, receiver: str) -> None:
        """Something that was decided for it is gone: whatever fires, and whatever it believes to fire, is checked
        again."""
        if receiver in self._unchecked:  # what is a fallback only is not told of all that fires
            self._unchecked[receiver] = {**self._firing, **self._unchecked[receiver]}
        self.suspect(receiver)

    def suspect(self, receiver: str) -> None:
        """It may believe that something fires which does not."""
        self._suspect.add(receiver)

    def take_suspect(self, receiver: str) -> bool:
        """Whether a receiver is to be checked for that, once."""
        found = receiver in self._suspect
        self._suspect.discard(receiver)
        return found

    def open_keys(self, receiver: str) -> set[str]:
        """Alerts that fire, whose end is being decided on, or of which something else is to be checked."""
        return {*self._firing, *self._coming, *self._unchecked.get(receiver, ())}

    def is_open(self, receiver: str, key: str) -> bool:
        """Whether an alert is one of `open_keys`."""
        return key in self._firing or key in self._coming or key in self._unchecked.get(receiver, ())

    def unchecked(self, receiver: str) -> dict[str, Entry]:
        """By the alert's key, as it is now."""
        return dict(self._unchecked[receiver])

    def still(self, receiver: str, key: str, entry: Entry) -> bool:
        """Whether nothing newer was decided of an alert since `unchecked`."""
        return self._unchecked.get(receiver, {}).get(key) is entry

    def checked(self, receiver: str, key: str, entry: Entry) -> None:
        """The receiver knows, or will know."""
        if self.still(receiver, key, entry):
            del self._unchecked[receiver][key]

    def number(self, receiver: str, entries: Mapping[str, Entry], seq: int) -> None:
        """These are being told; those without a number will be known by this one."""
        for key, entry in entries.items():
            if not entry.seq and self.still(receiver, key, entry):
                self._unchecked[receiver][key] = entry._replace(seq=seq)

    def fires(self, key: str) -> bool:
        """Whether the last thing that was decided of an alert is that it fires."""
        return key in self._firing

    def give_up(self, receiver: str, key: str) -> None:
        """The receiver can't be told of this alert."""
        self._unchecked.get(receiver, {}).pop(key, None)

    def _put(self, entries: dict[str, Entry], key: str, entry: Entry) -> None:
        entries.pop(key, None)
        if len(entries) >= ENTRIES_MAX:
            del entries[next(iter(entries))]
            self.forgotten_total += 1
        entries[key] = entry


class Late:
    """What was decided out of its turn, until everything older is decided: only the last of each alert counts."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[int, Entry]] = {}
        self.forgotten_total = 0
        """Alerts for which there was no room here, either."""

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def keys(self) -> KeysView[str]:
        """Of which alerts."""
        return self._entries.keys()

    def put(self, order: int, key: str, entry: Entry) -> None:
        """Keep one; they come in their own order."""
        self._entries.pop(key, None)
        if len(self._entries) >= ENTRIES_MAX:
            del self._entries[next(iter(self._entries))]
            self.forgotten_total += 1
        self._entries[key] = (order, entry)

    def take(self, before: int | None = None) -> list[tuple[str, Entry]]:
        """Those that are older than a decision of the core's, or all."""
        taken = []
        for key, (order, entry) in self._entries.items():
            if before is not None and order >= before:
                break
            taken.append((key, entry))
        for key, _ in taken:
            del self._entries[key]
        return taken


def missing(
    entries: Mapping[str, Entry], told: Mapping[str, Cover], *, send_resolved: bool
) -> Iterator[tuple[str, Entry, bool]]:
    """Each entry, and whether the receiver was not told of it. Pure.

    Args:
        told: What it was told last of each alert, or will be.
    """
    for key, entry in entries.items():
        known = told.get(key)
        if entry.transition.kind == "resolved" and not send_resolved:
            yield key, entry, False
        elif entry.seq:
            yield key, entry, known is None or known.seq < entry.seq
        else:
            yield key, entry, known is None or known.kind != entry.transition.kind or entry.transition.changes_level


def end_of(last: Transition, time_ms: int, *, known: bool) -> Transition:
    """The end of an alert of which only the last firing is known.

    Args:
        time_ms: Now: nobody knows the instant.
        known: Whether it has ended. Otherwise nothing is known of it any more: it is lost.
    """
    return Transition(
        time_ms=time_ms,
        rule=last.rule,
        labels=last.labels,
        before="firing",
        after="inactive",
        reason="ended" if known else "lost",
        value=math.nan,
        active_since_ms=last.active_since_ms,
        annotations=last.annotations,
        fired_ms=last.fired_ms,
        severity=last.severity,
        severity_before=last.severity,
    )


def transition_of(status: AlertStatus) -> Transition:
    """The last transition of an alert that fires, as far as its status knows it."""
    return Transition(
        time_ms=status.fired_ms,
        rule=status.rule,
        labels=status.labels,
        before="pending",
        after="firing",
        reason="held",
        value=status.value,
        active_since_ms=status.active_since_ms,
        annotations=status.annotations,
        fired_ms=status.fired_ms,
        severity=status.severity,
        flapping=status.flapping,
    )
