"""What rules say over samples: from what was measured and when a process lived, the transitions of each alert.

It knows nothing of the engine but what its documentation promises. Where a crash leaves open whether the last change
was kept it follows both: what was told must be what one of its hypotheses says, to the millisecond.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple, TypeAlias

from tests.chaos.model import ROUNDING_MS, Entry

__all__ = ["HOLD_MS", "Ending", "Sample", "disagreement"]

HOLD_MS = 1_000
"""A change that tells nobody anything may be written that much later, and is lost with what comes before."""


class Sample(NamedTuple):
    """One measurement of one signal."""

    time_ms: float
    value: int


class Ending(NamedTuple):
    """The end of a process and the beginning of the next.

    Args:
        begin_ms: When the next one begins.
        anew: Whether that is so long after that what was pending begins anew, with the first sample that is true; None
            if that depends on how old the last sign of life is.
        lost_ms: The last sign of life may be so much older than the end, so clocks may be so much behind.
        back: Whether the clock shows less at the beginning than it did at the end. What has not come yet by it is taken
            to have come just then.
    """

    how: Literal["crash", "stop"]
    time_ms: float
    begin_ms: float
    anew: bool | None = False
    lost_ms: float = 0.0
    back: bool = False


class _Hypothesis(NamedTuple):
    """How an alert may be at some time.

    Args:
        since_ms: Since when its condition is true; None while it is not.
        least_ms: How long it has been true at least, as far as somebody looked.
        told: How many transitions it has had.
    """

    firing: bool = False
    since_ms: float | None = None
    least_ms: float = 0.0
    most_ms: float = 0.0
    told: int = 0


Moments: TypeAlias = Callable[[int], Sequence[float]]
"""When it may really have been, when a clock showed this."""


def _as_shown(time_ms: int) -> Sequence[float]:
    return (time_ms,)


class _Walk:
    """One alert's way through everything that happened."""

    def __init__(self, for_ms: int, told: Sequence[Entry], moments: Moments) -> None:
        self._for_ms = for_ms
        self._told = told
        self._moments = moments
        self._at_ms = 0.0
        self._before: tuple[float, set[_Hypothesis]] = (0.0, set())
        self.open = {_Hypothesis()}

    def sample(self, sample: Sample) -> None:
        """The condition is known anew."""
        self._pass(sample.time_ms)
        self._before = (sample.time_ms, self.open)
        self.open = {after for one in self.open for after in self._measured(one, sample)}

    def ending(self, ending: Ending) -> None:
        """A process ends and another one begins; the time between is on no clock."""
        self._pass(ending.time_ms, slack_ms=HOLD_MS if ending.how == "crash" else ROUNDING_MS)
        left = set(self.open)
        if ending.how == "crash" and ending.time_ms - self._before[0] <= HOLD_MS + ROUNDING_MS:
            left |= self._before[1]
        self._before = (0.0, set())
        self.open = {begun for one in left for begun in _begun(one, ending)}
        self._at_ms = ending.begin_ms

    def _pass(self, until_ms: float, slack_ms: float = 2 * ROUNDING_MS) -> None:
        self.open = {after for one in self.open for after in self._waited(one, until_ms, slack_ms)}
        self._at_ms = until_ms

    def _waited(self, one: _Hypothesis, until_ms: float, slack_ms: float) -> Iterable[_Hypothesis]:
        if one.since_ms is None or one.firing:
            return [one]
        passed_ms, rest_ms = until_ms - self._at_ms, self._for_ms - one.least_ms
        waits = one._replace(least_ms=one.least_ms + passed_ms, most_ms=one.most_ms + passed_ms)
        first_ms = self._at_ms + max(0.0, self._for_ms - one.most_ms)
        last_ms = self._at_ms + max(0.0, rest_ms)
        found = [waits] if last_ms + slack_ms >= until_ms else []
        if first_ms <= until_ms + ROUNDING_MS:
            found += self._fired(one, first_ms, min(last_ms, until_ms))
        return found

    def _fired(self, one: _Hypothesis, first_ms: float, last_ms: float) -> list[_Hypothesis]:
        next_one = self._next(one, "firing")
        if next_one is None or not self._is_within(next_one.time_ms, first_ms, last_ms):
            return []
        return [_Hypothesis(True, one.since_ms, told=one.told + 1)]

    def _measured(self, one: _Hypothesis, sample: Sample) -> Iterable[_Hypothesis]:
        time_ms = sample.time_ms
        if sample.value and one.since_ms is None:
            begun = one._replace(since_ms=time_ms, least_ms=0.0, most_ms=0.0)
            return [begun] if self._for_ms else self._fired(begun, time_ms, time_ms)
        if sample.value or one.since_ms is None:
            return [one]
        if not one.firing:
            return [_Hypothesis(told=one.told)]
        next_one = self._next(one, "resolved")
        if next_one is None or not self._is_within(next_one.time_ms, time_ms, time_ms):
            return []
        return [_Hypothesis(told=one.told + 1)]

    def _next(self, one: _Hypothesis, event: str) -> Entry | None:
        """The transition that was told next, if it is this one."""
        found = self._told[one.told] if one.told < len(self._told) else None
        if found is None or found.event != event or one.since_ms is None:
            return None
        return found if self._is_within(found.active_ms, one.since_ms, one.since_ms) else None

    def _is_within(self, shown_ms: int, first_ms: float, last_ms: float) -> bool:
        earliest_ms, latest_ms = first_ms - 2 * ROUNDING_MS, last_ms + 2 * ROUNDING_MS
        return any(earliest_ms <= moment_ms <= latest_ms for moment_ms in self._moments(shown_ms))


def _begun(one: _Hypothesis, ending: Ending) -> list[_Hypothesis]:
    """What is left of it when the next process begins."""
    if one.since_ms is not None and not one.firing and ending.anew is not False:
        anew = _Hypothesis(told=one.told)  # with the next sample: until then nobody has looked
        return [anew] if ending.anew else [anew, *_begun(one, ending._replace(anew=False))]
    if one.since_ms is not None and ending.back:
        behind = one._replace(least_ms=0.0)
        return [behind, behind._replace(since_ms=ending.begin_ms)]
    return [one._replace(least_ms=max(0.0, one.least_ms - ending.lost_ms))]


def disagreement(
    for_ms: int, happened: Iterable[Sample | Ending], told: Sequence[Entry], moments: Moments = _as_shown
) -> str:
    """Where what was told is not what the rule says; empty if it is.

    Args:
        happened: In the order of time, to the end.
        moments: What the times that were told mean; they are as shown if no clock was set.
    """
    walk, before = _Walk(for_ms, told, moments), set[_Hypothesis]()
    last: Sample | Ending | None = None
    for each in happened:
        if walk.open:
            before = walk.open
        elif not (isinstance(each, Ending) and each.how == "crash"):  # else what was before may be what was kept
            break
        if isinstance(each, Sample):
            walk.sample(each)
        else:
            walk.ending(each)
        last = each
    if not walk.open:
        at = min(one.told for one in before)
        return f"{sorted(before)[:2]} and then {last} can't have been told as {told[at : at + 2]}"
    if not any(one.told == len(told) for one in walk.open):
        at = max(one.told for one in walk.open)
        return f"nothing more is due, and told was {told[at : at + 2]}"
    return ""
