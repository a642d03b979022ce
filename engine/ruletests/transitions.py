"""The transitions that a test expects beside those that came, as one timeline. Runs nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from engine.durations import format_ms
from engine.events import Transition
from engine.ruletests.shape import ExpectedTransition, TransitionTest
from engine.text import clean

__all__ = ["timeline"]

ROWS_MAX = 40
AROUND = 3
"""So many rows that are as expected are shown before and after one that is not."""
_COLUMN_CHARS = 40
_TEXT_CHARS_MAX = 300
_NONE = "-"


class _Row(NamedTuple):
    at_ms: int
    expected: str
    got: str
    same: bool


def timeline(test: TransitionTest, made: Iterable[Transition], start_ms: int) -> Iterator[str]:
    """Lines that show what is not as expected, in order of time, with some of what is; none if all is.

    Args:
        made: Of all alerts.
        start_ms: Of the test.
    """
    got = [one for one in made if one.rule == test.alertname]
    rows = list(_rows(test.transitions, got, start_ms))
    if all(row.same for row in rows):
        return
    shown = _shown(rows)
    width = max(8, *(len(format_ms(row.at_ms)) for row in rows))
    column = min(_COLUMN_CHARS, max(len("expected"), *(len(rows[place].expected) for place in shown)))
    yield f"  {'at':{width}}  {'expected':{column}}  got"
    before = -1
    for place in shown:
        if place > before + 1:
            yield f"  {'...':{width}}  {place - before - 1} as expected"
        row, before = rows[place], place
        mark = " " if row.same else "!"
        yield f"{mark} {format_ms(row.at_ms):{width}}  {row.expected:{column}}  {row.got}"
    if left := len(rows) - before - 1:
        wrong = sum(not row.same for row in rows[before + 1 :])
        yield f"  {'...':{width}}  {left} more" + (f", {wrong} of them not as expected" if wrong else ", as expected")


def _rows(wanted: Sequence[ExpectedTransition], got: Sequence[Transition], start_ms: int) -> Iterator[_Row]:
    """One for each instant and transition; what does not fit stands beside what came instead at that instant."""
    expected: dict[int, list[ExpectedTransition]] = {}
    came: dict[int, list[Transition]] = {}
    for one in wanted:
        expected.setdefault(one.at_ms, []).append(one)
    for transition in got:
        came.setdefault(transition.time_ms - start_ms, []).append(transition)
    many = len({tuple(sorted(one.labels.items())) for one in got}) > 1
    for at_ms in sorted({*expected, *came}):
        left = list(came.get(at_ms, ()))
        amiss: list[ExpectedTransition] = []
        for one in expected.get(at_ms, ()):
            found = next((other for other in left if _fits(one, other)), None)
            if found is None:
                amiss.append(one)
            else:
                left.remove(found)
                yield _Row(at_ms, _wanted(one), _got(found, one, many), True)
        for one_, other in itertools.zip_longest(amiss, left):
            texts = _NONE if one_ is None else _wanted(one_), _NONE if other is None else _got(other, one_, many)
            yield _Row(at_ms, *texts, False)


def _shown(rows: Sequence[_Row]) -> list[int]:
    """The places of rows to show."""
    amiss = [place for place, row in enumerate(rows) if not row.same]
    near = {near for place in amiss for near in range(place - AROUND, place + AROUND + 1)}
    return sorted(near & set(range(len(rows))))[:ROWS_MAX]


def _fits(one: ExpectedTransition, got: Transition) -> bool:
    same = one.kind == got.kind and one.reason in (None, got.reason)
    if same and one.severity is not None:
        same = one.severity == got.shown_labels.get("severity", "")
    if same and one.value is not None:
        same = one.value == got.value or (math.isnan(one.value) and math.isnan(got.value))
    if same and one.flapping is not None:
        same = one.flapping == got.flapping
    if same and one.labels is not None:
        same = _without(one.labels, "alertname") == _labels(got, one)
    return same


def _labels(got: Transition, one: ExpectedTransition | None) -> dict[str, str]:
    """The labels that are compared."""
    stated = one is not None and one.labels is not None and "severity" in one.labels
    return _without(got.shown_labels, "alertname", *(() if stated else ("severity",)))


def _without(labels: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: text for name, text in labels.items() if name not in names}


def _wanted(one: ExpectedTransition) -> str:
    words = [one.kind, one.severity or "", one.reason or "", "flapping" if one.flapping else ""]
    return _text(words, one.labels, one.value)


def _got(got: Transition, one: ExpectedTransition | None, many: bool) -> str:
    """What is compared with `one`; all that tells it from others where there is none."""
    severity = got.shown_labels.get("severity", "") if one is None or one.severity is not None else ""
    reason = got.reason if one is None or one.reason is not None else ""
    flapping = "flapping" if got.flapping and one is not None and one.flapping is not None else ""
    labels = _labels(got, one) if (many if one is None else one.labels is not None) else None
    return _text(
        [got.kind, severity, reason, flapping], labels, None if one is None or one.value is None else got.value
    )


def _text(words: Sequence[str], labels: Mapping[str, str] | None, value: float | None) -> str:
    parts = [word for word in words if word]
    if labels is not None:
        parts.append("{" + ", ".join(f'{name}="{text}"' for name, text in sorted(labels.items())) + "}")
    if value is not None:
        parts.append(f"value {value:g}")
    return clean(" ".join(parts), _TEXT_CHARS_MAX)
