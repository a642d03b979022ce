"""Conditions: what makes a measured value true, and the levels that are built of them.

A rule whose expression is a comparison with a number measures what stands on the other side, and the comparison is
its condition. Any other expression is its own condition: true where it has a value.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from typing import Final, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.core.alerts import LEVELS_MAX, Code
from engine.core.promql.evaluate import COMPARISON
from engine.core.promql.plan import Comparison, ComparisonOp, Node, Number

__all__ = ["Condition", "Level", "Verdict", "asks_for_less", "check_levels", "parse_condition", "split_condition"]

_CONDITION: Final = re.compile(r"\s*(==|!=|>=|<=|>|<)\s*(\S+)\s*")
_MIRRORED: Final[dict[ComparisonOp, ComparisonOp]] = {
    "==": "==", "!=": "!=", ">": "<", "<": ">", ">=": "<=", "<=": ">=",
}  # fmt: skip


class Condition(msgspec.Struct, frozen=True):
    """A comparison of the measured value with a number."""

    op: ComparisonOp
    threshold: float

    def holds(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """For each value whether it is true; never for NaN, but with `!=`."""
        found: NDArray[np.bool_] = COMPARISON[self.op](values, self.threshold)
        return found

    def __str__(self) -> str:
        return f"{self.op} {self.threshold:g}"


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """One severity of a rule.

    Args:
        severity: Its word; empty for the only level of a rule without levels.
        when: What must hold of the measured value; None for: that there is one.
        clear: What resets the level; None for: that `when` does not hold.
        for_ms: How long `when` must hold before the level is set.
    """

    severity: str = ""
    when: Condition | None = None
    clear: Condition | None = None
    for_ms: int = 0


class Verdict:
    """What a rule's levels say of measured values.

    Args:
        levels: Of the rule.
    """

    def __init__(self, levels: Sequence[Level]) -> None:
        self._levels = tuple(levels)
        first = self._levels[0]
        self._plain = len(self._levels) == 1 and first.clear is None
        self._when = first.when

    def codes(self, values: NDArray[np.float64], present: NDArray[np.bool_] | None) -> NDArray[np.int16]:
        """The code of each value; what is not present is false.

        Args:
            present: None if all are.
        """
        if self._plain:
            if self._when is None:
                holds = np.ones(len(values), dtype=np.bool_) if present is None else present
            else:
                holds = self._when.holds(values)
                if present is not None:
                    holds = holds & present
            found = holds.astype(np.int16)  # a table look-up says the same, in five times the time
            found *= np.int16(Code.TRUE - Code.FALSE)
            found += np.int16(Code.FALSE)
            return found
        codes = np.full(len(values), Code.FALSE, dtype=np.int16)
        for number, level in enumerate(self._levels):
            when = np.ones(len(values), dtype=np.bool_) if level.when is None else level.when.holds(values)
            clear = ~when if level.clear is None else level.clear.holds(values)
            codes |= np.where(when, np.int16(1 << number), np.int16(0))
            codes &= np.where(clear, np.int16(-1), np.int16(~(Code.CLEAR << number)))
        return codes if present is None else np.where(present, codes, np.int16(Code.FALSE))


def asks_for_less(condition: Condition | None) -> bool:
    """Whether the lowest value is the worst."""
    return condition is not None and condition.op in ("<", "<=")


def parse_condition(text: str) -> Condition:
    """Read `> 80`.

    Raises:
        ValueError: It is not a comparison with a number.
    """
    match = _CONDITION.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        threshold = float(match[2])
    except ValueError:
        raise ValueError(f'"{text}" is not a comparison with a number, such as "> 80"') from None
    if math.isnan(threshold):
        raise ValueError("a comparison with NaN never holds")
    op: ComparisonOp = match[1]  # type: ignore[assignment]  # one of the words in the pattern
    assert op in get_args(ComparisonOp)
    return Condition(op, threshold)


def split_condition(root: Node) -> tuple[Node, Condition | None]:
    """(what an expression measures, its condition): of `a > 5` it is (`a`, `> 5`); of others all and nothing."""
    match root:
        case Comparison(left=Number() as number, as_bool=False) if not isinstance(root.right, Number):
            return root.right, Condition(_MIRRORED[root.op], number.value)
        case Comparison(right=Number() as number, as_bool=False) if not isinstance(root.left, Number):
            return root.left, Condition(root.op, number.value)
    return root, None


def check_levels(levels: Sequence[Level]) -> None:
    """Refuse levels that contradict themselves.

    Raises:
        ValueError: There are too many, two have one severity, a level is true where a lower one is not, or a level is
            cleared where it is true.
    """
    if not levels:
        raise ValueError("levels is empty; give at least one")
    if len(levels) > LEVELS_MAX:
        raise ValueError(f"{len(levels)} levels; at most {LEVELS_MAX} are allowed")
    names = [level.severity for level in levels]
    if len(set(names)) < len(names):
        raise ValueError("two levels have the same severity")
    for level in levels:
        if level.when is not None and level.clear is not None and _overlap(level.when, level.clear):
            raise ValueError(f'clear "{level.clear}" holds where when "{level.when}" does, so the level would flap')
    for lower, higher in itertools.pairwise(levels):
        if not _implies(higher.when, lower.when):
            message = f'"{higher.severity}" ({higher.when}) can hold where "{lower.severity}" ({lower.when}) does not'
            raise ValueError(f"{message}; list levels lowest first")


def _implies(one: Condition | None, other: Condition | None) -> bool:
    """Whether wherever `one` holds, `other` does."""
    if other is None or one == other:
        return True
    if one is None:
        return False
    numbers = _numbers(one, other)
    return bool((~one.holds(numbers) | other.holds(numbers)).all())


def _overlap(one: Condition, other: Condition) -> bool:
    """Whether both hold for some number."""
    numbers = _numbers(one, other)
    return bool((one.holds(numbers) & other.holds(numbers)).any())


def _numbers(one: Condition, other: Condition) -> NDArray[np.float64]:
    """Numbers on every side of both thresholds: what holds for none of them holds for none at all."""
    ends = np.array([one.threshold, other.threshold])
    return np.concatenate([np.nextafter(ends, -np.inf), ends, np.nextafter(ends, np.inf), [-np.inf, np.inf]])
