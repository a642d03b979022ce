"""What DESIGN section 5 says of an alert, written down a second time and as slowly as possible.

It keeps the whole history and looks at every millisecond: no deadlines, no axis of known time, no columns. A clock is
the number of milliseconds since it began that were neither blind nor, where clocks pause, unknown; they are counted
one by one, each time anew. It shares no code with `engine.core` and must never import it.

An instant has three moments, in this order: the samples of that time, each atom for itself; what is due; what goes
stale. Where DESIGN does not say, it takes for granted:

- A blind span is told when it is over. What is due or goes stale until it begins, that instant included, has happened
  before it. Of later instants in the span there is no moment; what comes later and is stamped before its end is judged
  at its end, and nothing that was told is taken back.
- A label set is remembered from its first value on, with the metrics that fed its last one. What has ended is
  remembered no longer under `fire`. Of two stale markers the later one counts.
- What fired, fired by what was known: of a level that is set the window keeps what it has counted of a blind span
  that is told after time has passed it.
- The window of `of` begins with the alert: what was before is not true. An alert that is over keeps its window as long
  as anything true is left in it. What is lost, missing under `reset` or has ended has no window; nor has a level that
  was set and is cleared, which must be reached anew.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias

__all__ = ["EXPRESSIONS", "OPERATORS", "Reference", "Spec", "SpecLevel", "Told"]

OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
Comparison: TypeAlias = tuple[str, float]
Told: TypeAlias = tuple[int, str, str, str, str, str]
"""(time, instance, before, after, severity, reason) of one transition."""
Number: TypeAlias = float | None
Moment: TypeAlias = Literal["samples", "due", "stale"]


@dataclass(frozen=True)
class SpecLevel:
    severity: str = ""
    when: Comparison | None = None
    clear: Comparison | None = None
    for_ms: int = 0


@dataclass(frozen=True)
class Spec:
    """A rule: of levels the lowest first; `expr` is one of `EXPRESSIONS`."""

    expr: str
    levels: tuple[SpecLevel, ...]
    of: float = 1.0
    keep_ms: int = 0
    on_missing: Literal["hold", "reset", "count", "fire"] = "hold"
    missing_for_ms: int = 0
    hold_max_ms: int = 1_000_000


def _over(a: float, b: float) -> float:
    if b:
        return a / b
    return math.nan if a == 0 or a != a else math.copysign(math.inf, a)


def _above(number: Number) -> Number:
    return number if number is not None and number > 1 else None


Value: TypeAlias = Callable[[Number, Number], tuple[Number, str]]
EXPRESSIONS: Final[dict[str, Value]] = {
    "a": lambda a, b: (a, "a"),
    "a / b": lambda a, b: (None if a is None or b is None else _over(a, b), "ab"),
    "a and b": lambda a, b: (None if b is None else a, "ab"),
    "a > 1 and b > 1": lambda a, b: (None if _above(b) is None else _above(a), "ab"),
    "a unless b": lambda a, b: (a if b is None else None, "a"),
    "a > 1 unless b > 1": lambda a, b: (_above(a) if _above(b) is None else None, "a"),
    "a or b": lambda a, b: (b, "b") if a is None else (a, "a"),
    "a > 1 or b > 1": lambda a, b: (_above(b), "b") if _above(a) is None else (_above(a), "a"),
}
"""By expression: its value, and the metrics that feed it: all those without which there would be none."""


class Said(NamedTuple):
    """What a rule says of a label set: by level `when` and `clear`, and the reason that a false one is given."""

    whens: tuple[bool, ...]
    clears: tuple[bool, ...]
    reason: str = "recovered"


@dataclass
class Point:
    """The last sample of a series: a number, or the cause of a stale marker."""

    time_ms: int
    what: float | str
    interval_ms: int
    stale: bool = False


@dataclass
class Alert:
    """One label set. `since` and `on` are by level: where its `when` turned true, and whether it is set."""

    since: list[int | None]
    on: list[bool]
    phase: str = "inactive"
    severity: str = ""
    said: Said | None = None
    truths: dict[int, tuple[bool, ...]] = field(default_factory=dict)  # by millisecond
    paused: set[int] = field(default_factory=set)  # milliseconds
    kept_from: int = 0
    kept_levels: list[bool] = field(default_factory=list)
    kept_reason: str = ""
    windows: list[int | None] = field(default_factory=list)  # by level, where the window of `of` begins
    counted: list[set[int]] = field(default_factory=list)  # by level, milliseconds that were said to be blind too late
    unknown_from: int | None = None
    lost: bool = False
    fed: set[str] = field(default_factory=set)
    was_fed: set[str] = field(default_factory=set)  # before it was forgotten
    sampled_ms: int = 0  # the last instant at which a sample was judged
    done_ms: int = 0  # the last instant of which every moment is over


class Reference:
    """One rule over series `a` and `b` of some instances."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.told: list[Told] = []
        self.points: dict[tuple[str, str], Point] = {}
        self.alerts: dict[str, Alert] = {}
        self.unseen: set[int] = set()  # blind milliseconds
        self.floor = -1  # nothing is judged earlier
        self._early = 0

    def feed(self, time_ms: int, interval_ms: int, samples: Iterable[tuple[str, str, float | str]]) -> None:
        """One atom: (metric, instance, number or cause of a stale marker)."""
        read = [sample for sample in samples if sample[0] in self.spec.expr.split()]
        newer = [one for one in read if (old := self.points.get(one[:2])) is None or old.time_ms < time_ms]
        at: dict[str, int] = {}
        for _, instance, _ in newer:
            size = len(self.spec.levels)
            empty = Alert([None] * size, [False] * size, windows=[None] * size, done_ms=time_ms - 1)
            empty.counted = [set() for _ in range(size)]
            alert = self.alerts.setdefault(instance, empty)
            at[instance] = max(time_ms, self.floor, alert.sampled_ms)
            self._pass(instance, at[instance] - 1)
        for metric, instance, what in newer:
            if isinstance(what, str) and (metric, instance) not in self.points:
                what = "ended"  # what was never there cannot go down
            self.points[metric, instance] = Point(time_ms, what, interval_ms)
        for instance, now in at.items():
            self._moment(instance, now, "samples")
            self.alerts[instance].sampled_ms = now
            self._leave(instance, now)

    def advance(self, now_ms: int) -> None:
        for instance in self.alerts:
            self._pass(instance, now_ms)
        self.floor = max(self.floor, now_ms)

    def blind(self, from_ms: int, to_ms: int) -> None:
        for instance in self.alerts:
            self._pass(instance, from_ms)
            late = set(range(from_ms, min(to_ms, self.floor))) - self.unseen
            for counted, on in zip(self.alerts[instance].counted, self.alerts[instance].on, strict=True):
                counted |= late if on else set()
        self.floor = max(self.floor, to_ms)
        self.unseen.update(range(from_ms, to_ms))

    # --- instants -------------------------------------------------------------------------------------------

    def _pass(self, instance: str, until_ms: int) -> None:
        alert = self.alerts[instance]
        for now in range(alert.done_ms + 1, until_ms + 1):
            self._moment(instance, now, "due")
            self._moment(instance, now, "stale")
            self._leave(instance, now)
            alert.done_ms = now

    def _moment(self, instance: str, now: int, moment: Moment) -> None:
        alert = self.alerts[instance]
        if now not in self.unseen or now - 1 not in self.unseen:
            said = self._say(instance, now, moment)
            # A sample at a deadline is judged before it: only what takes no time at all is due already.
            self._early = int(moment == "samples" and now > alert.done_ms)
            phase = alert.phase
            self._step(instance, now, said)
            resolved = phase != "inactive" and alert.phase == "inactive"
            if resolved and self.spec.of < 1 and moment != "stale" and not self._early:
                self._step(instance, now, said)  # what is true as it resolves is pending again
            forgets = alert.phase == "inactive" or self.spec.on_missing == "fire"
            if said is not None and said.reason == "ended" and forgets:
                alert.was_fed, alert.fed = alert.fed | alert.was_fed, set()  # what has ended is not missing

    def _due(self, ran_ms: int, length_ms: int) -> bool:
        return length_ms == 0 or ran_ms - self._early >= length_ms

    def _leave(self, instance: str, now: int) -> None:
        """Write down what holds for the millisecond that begins now."""
        alert = self.alerts[instance]
        alert.truths[now] = alert.said.whens if alert.said else ()
        alert.paused.discard(now)
        if alert.unknown_from is not None and self.spec.on_missing != "count":
            alert.paused.add(now)

    def _seen(self, since: int, now: int) -> int:
        return sum(ms not in self.unseen for ms in range(since, now))

    def _ran(self, alert: Alert, since: int, now: int) -> int:
        return sum(ms not in self.unseen and ms not in alert.paused for ms in range(since, now))

    # --- conditions -----------------------------------------------------------------------------------------

    def _status(self, metric: str, instance: str, now: int, moment: Moment) -> float | str | None:
        point = self.points.get((metric, instance))
        if point is None or isinstance(point.what, str):
            return None if point is None else point.what
        age_ms, stale_after_ms = self._seen(point.time_ms, now), 3 * point.interval_ms or 300_000
        if moment == "due":  # what goes stale at this instant has not yet
            first = now > self.alerts[instance].sampled_ms and now - 1 not in self.unseen
            return "stale" if point.stale or age_ms > stale_after_ms + first else point.what
        point.stale |= age_ms > stale_after_ms  # until its next sample, whatever is told to have been blind
        return "stale" if point.stale else point.what

    def _say(self, instance: str, now: int, moment: Moment) -> Said | None:
        """What the rule says of a label set at an instant; None for: unknown."""
        status = {metric: self._status(metric, instance, now, moment) for metric in "ab"}
        numbers = [what if isinstance(what, float) else None for what in status.values()]
        (value, feeding), alert = EXPRESSIONS[self.spec.expr](*numbers), self.alerts[instance]
        if value is not None:
            alert.fed, alert.was_fed = set(feeding), set()
            return self._measured(value)
        lacking = {what for metric, what in status.items() if metric in alert.fed and isinstance(what, str)}
        if lacking and "ended" not in lacking:
            return None
        nothing = (False,) * len(self.spec.levels)
        if "ended" in lacking or "ended" in {status[metric] for metric in alert.was_fed}:
            return Said(nothing, (True,) * len(self.spec.levels), "ended")
        return Said(nothing, tuple(not self._windowed(level) or level.clear is not None for level in self.spec.levels))

    def _measured(self, value: float) -> Said:
        def holds(comparison: Comparison) -> bool:
            return OPERATORS[comparison[0]](value, comparison[1])

        whens = tuple(level.when is None or holds(level.when) for level in self.spec.levels)
        clears = tuple(
            (not when and not self._windowed(level)) if level.clear is None else holds(level.clear)
            for level, when in zip(self.spec.levels, whens, strict=True)
        )
        return Said(whens, clears)

    def _windowed(self, level: SpecLevel) -> bool:
        """Whether it is a share that sets the level, and that resets it if it has no `clear`."""
        return self.spec.of < 1 and level.for_ms > 0

    # --- the alert ------------------------------------------------------------------------------------------

    def _step(self, instance: str, now: int, said: Said | None) -> None:
        alert, spec = self.alerts[instance], self.spec
        none, every = (False,) * len(spec.levels), (True,) * len(spec.levels)
        resumes = said is not None and alert.unknown_from is not None and spec.on_missing != "count"
        if said is None and spec.on_missing == "reset":
            said = Said(none, every, "missing")
        if said is not None:
            if alert.unknown_from is not None and spec.on_missing == "fire":  # what fired may have been its silence
                rests = [self._windowed(level) and level.clear is None for level in spec.levels]
                alert.on = [on and not share for on, share in zip(alert.on, rests, strict=True)]
            alert.said, alert.unknown_from, alert.lost = said, None, False
        else:
            alert.unknown_from = now if alert.unknown_from is None else alert.unknown_from
            missing_ms = self._seen(alert.unknown_from, now)
            if self._due(missing_ms, spec.hold_max_ms) and not alert.lost:
                alert.lost, alert.since, alert.on = True, [None for _ in none], list(none)
                alert.said = Said(none, every, "lost")
                alert.windows = [None for _ in none]
                self._tell(instance, now, "inactive", "lost")
            if alert.lost:
                return
            if spec.on_missing == "fire" and self._due(missing_ms, spec.missing_for_ms) and not any(alert.on):
                alert.on[0] = True
                self._fire(instance, now, "missing")
            if spec.on_missing != "count" or alert.said is None:
                return
            said = alert.said
        self._set_levels(alert, now, said, looks=resumes or not self._early)
        self._move(instance, now, said)
        if alert.phase == "inactive" and not any(said.whens) and not self._any_true(alert, now):
            alert.windows = [None for _ in none]

    def _set_levels(self, alert: Alert, now: int, said: Said, *, looks: bool) -> None:
        forgets = said.reason in ("ended", "missing")
        for i, level in enumerate(self.spec.levels):
            alert.since[i] = (now if alert.since[i] is None else alert.since[i]) if said.whens[i] else None
            since = alert.since[i]
            if forgets or (alert.on[i] and said.clears[i] and level.clear is not None):
                alert.windows[i] = None
            if alert.windows[i] is None and not forgets:
                alert.windows[i] = now
            if self._windowed(level):
                due = self._true_ms(alert, i, now) >= math.ceil(self.spec.of * level.for_ms)
                sets = due and looks  # what is due at the very instant of a sample comes after it
                alert.on[i] = sets or (alert.on[i] and (due or level.clear is not None))
            elif since is not None and self._due(self._ran(alert, since, now), level.for_ms):
                alert.on[i] = True
            alert.on[i] = alert.on[i] and not said.clears[i]
        for i in range(len(alert.on)):
            alert.on[i] = alert.on[i] or (any(alert.on[i + 1 :]) and not said.clears[i])

    def _true_ms(self, alert: Alert, i: int, now: int) -> int:
        """For how much of the last `for` of known time level `i` was true."""
        begin, left, found, ms = alert.windows[i], self.spec.levels[i].for_ms, 0, now - 1
        while left and begin is not None and ms >= begin:
            if (ms not in self.unseen or ms in alert.counted[i]) and ms not in alert.paused:
                left -= 1
                found += bool(alert.truths[ms]) and alert.truths[ms][i]
            ms -= 1
        return found

    def _any_true(self, alert: Alert, now: int) -> bool:
        return any(self._true_ms(alert, i, now) for i in range(len(alert.on)))

    def _move(self, instance: str, now: int, said: Said) -> None:
        alert, spec = self.alerts[instance], self.spec
        shares = spec.of < 1
        if alert.phase == "keeping":
            if any(alert.on if shares else said.whens):
                back = [was and true for was, true in zip(alert.kept_levels, said.whens, strict=True)]
                if not shares and not any(back):
                    back[said.whens.index(True)] = True
                alert.on = [old or (new and not shares) for old, new in zip(alert.on, back, strict=True)]
                self._fire(instance, now, "level")
            elif self._due(self._ran(alert, alert.kept_from, now), spec.keep_ms):
                self._tell(instance, now, "inactive", alert.kept_reason)
        elif any(alert.on):
            self._fire(instance, now, "held" if alert.phase == "pending" else "condition")
        elif alert.phase == "firing":
            alert.phase, alert.kept_from, alert.kept_reason = "keeping", now, said.reason
            if spec.keep_ms == 0:
                self._tell(instance, now, "inactive", said.reason)
        elif any(said.whens):
            self._tell(instance, now, "pending", "condition")
        elif alert.phase == "pending" and not (shares and self._any_true(alert, now)):
            self._tell(instance, now, "inactive", said.reason)

    def _fire(self, instance: str, now: int, reason: str) -> None:
        alert = self.alerts[instance]
        alert.kept_levels = list(alert.on)
        severity = [level.severity for level, on in zip(self.spec.levels, alert.on, strict=True) if on][-1]
        was_firing = alert.phase in ("firing", "keeping")
        changed = severity != alert.severity
        alert.severity = severity
        if not was_firing:
            self._tell(instance, now, "firing", reason)
        elif changed:
            self._tell(instance, now, "firing", "level", again=True)
        alert.phase = "firing"

    def _tell(self, instance: str, now: int, after: str, reason: str, *, again: bool = False) -> None:
        alert = self.alerts[instance]
        before = "firing" if alert.phase == "keeping" else alert.phase
        if before != after or again:
            severity = alert.severity if "firing" in (before, after) else ""
            self.told.append((now, instance, before, after, severity, reason))
        alert.phase = after
        if after != "firing":
            alert.severity = ""
