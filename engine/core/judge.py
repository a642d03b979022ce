"""One rule at work: which of its label sets hold, which are unknown, and what that does to its alerts.

The judge sees a landing twice. `look` comes before the store is written: it evaluates the touched label
sets with the values that are about to land, finds those whose condition changes, and lets everything
that was due for them strictly before happen first. `settle` comes after: it steps their alerts. Label
sets whose condition does not change cost a few vector operations and no step.

Conditions have three values. Inside an expression there is only presence; absence is classified here,
for label sets that have an alert: false if every selector that fed it last has a fresh sample, ended if
one of them has ended, else unknown.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.core.alerts import Alert, Input, Phase
from engine.core.binding import Binding, Compacted, Touched
from engine.core.book import AlertBook, Output
from engine.core.columns import Column, Index
from engine.core.promql.evaluate import Columns, evaluate, measured
from engine.core.promql.plan import Plan
from engine.core.rules import Rule
from engine.core.store import NEVER_MS, Landing, Mark, Store
from engine.core.timers import Deadline, Timers
from engine.status import AlertStatus

__all__ = ["Judge", "Look", "SavedRule"]

Slots: TypeAlias = NDArray[np.int64]
Times: TypeAlias = NDArray[np.int64]

STEPS_PER_CHUNK = 64
_FALSE, _TRUE, _OPEN = 0, 1, 2  # open: unknown, or ended; whatever comes next is judged anew
_CONDITIONS = {Input.TRUE: _TRUE, Input.UNKNOWN: _OPEN, Input.ENDED: _OPEN}


class Look(NamedTuple):
    """What `look` found: label sets to step, with their evaluation at the landing's time, and all it touched."""

    slots: Slots
    times: Times
    columns: Columns
    touched: Index
    touched_times: Times
    touched_columns: Columns


class SavedRule(msgspec.Struct):
    """What a snapshot keeps of one rule; alerts by the text of their labels."""

    swept_ms: int
    refused: int
    alerts: dict[str, Alert]


class Judge:
    """The state of one rule: its label sets, their conditions, its alerts.

    Args:
        index: The rule's place in the order of rules.
        rule: What to judge.
        store: Where samples are read.
        timers: Where deadlines go; they come back through `due` and `sweep`.
        alerts_max: How many alerts it may have.
    """

    def __init__(self, index: int, rule: Rule, store: Store, timers: Timers, alerts_max: int) -> None:
        self.index = index
        self.rule = rule
        self._plan = _pointwise(rule)
        self.binding = Binding(self._plan)
        self.book = AlertBook(index, rule, timers, alerts_max)
        self._store = store
        self._timers = timers
        self._conditions: Column[np.int8] = Column(np.int8, _FALSE)
        # Time of the last judgement by slot. Several series may feed a slot, each with its own clock.
        self._judged: Column[np.int64] = Column(np.int64, 0)
        self._judged_ms = -1  # no slot was judged later than this
        self._sweep_ms = NEVER_MS
        self._swept_ms = -1

    @property
    def alerts(self) -> dict[int, Alert]:
        """Its alerts by slot, to be read."""
        return self.book.alerts

    def add_series(self, handle: int, text: str) -> None:
        """Take note of a series at first sight."""
        self.binding.add_series(handle, text)
        self._conditions.resize(len(self.binding))
        if not self.binding.single:
            self._judged.resize(len(self.binding))

    def inputs(self) -> Slots:
        """The series of its alerts: they must not be forgotten."""
        slots = np.fromiter(self.alerts, np.int64, len(self.alerts))
        handles = np.concatenate([self.binding.handles(leaf, slots) for leaf in range(len(self._plan.leaves))])
        return handles[handles >= 0]

    def compacting(self, keep: NDArray[np.bool_], numbers: Slots) -> Generator[None, None, Compacted]:
        """Prepare to forget series, as `Binding.compacting` does."""
        slots, commit_binding = yield from self.binding.compacting(keep, numbers)
        conditions = self._conditions.taken(slots >= 0)
        judged = self._judged if self.binding.single else self._judged.taken(slots >= 0)

        def commit() -> None:
            commit_binding()
            self._conditions, self._judged = conditions, judged
            self.book.renumber(slots)

        return Compacted(slots, commit)

    # -- a landing ---------------------------------------------------------------------------------------------

    def look(self, touched: Touched, landing: Landing, at_ms: int) -> Look | None:
        """Evaluate the touched label sets as they will be, before the store is written.

        Args:
            at_ms: When the landing is judged.

        Returns:
            The label sets to step, or None.
        """
        slots, conditions = touched.slots, self._conditions.array[touched.at]
        times, latest = np.broadcast_to(np.int64(at_ms), slots.shape), at_ms
        if not self.binding.single and at_ms < self._judged_ms:
            times = np.maximum(times, self._judged.array[touched.at])
            latest = int(times.max())
        columns = self._evaluate_landing(touched, landing, times, latest)
        stepping = columns.present != (conditions == _TRUE)
        if self.alerts:
            stepping |= conditions == _OPEN
            if landing.stale is not None:
                stepping |= self._has_alert(slots)
            if self.book.due_ms < latest:
                stepping |= np.isin(slots, self.book.due_before(latest))
        if self.alerts or self._plan.absence_matters:
            if self._sweep_ms < latest:  # an input may have been stale for a while in between
                stepping |= self._stale_from(slots, self._swept_ms) < times
            self._expect(landing.stale_from_ms)
        rows = np.flatnonzero(stepping)
        if not len(rows) and self.binding.single:
            return None  # with several selectors `settle` keeps the times, and with `or` who fed what
        picked = Columns(columns.values[rows], columns.present[rows], _picked(columns.fed, rows))
        return Look(slots[rows], times[rows], picked, touched.at, times, columns)

    def matters(
        self, handles: Slots, at_ms: Times, values: NDArray[np.float64], fresh_until: Times, before: Slots
    ) -> NDArray[np.bool_]:
        """Which samples of a run change the condition of their label set: aligned columns, see `engine.core.runs`.

        Only for a rule with one selector. The first sample of a series is held against what is known now.
        """
        slots, places = self.binding.placed(handles)
        shown = fresh_until >= at_ms
        holds = np.zeros(len(handles), dtype=np.bool_)
        holds[places] = evaluate(self._plan.root, lambda _: (values[places], shown[places])).present
        known = np.full(len(handles), _FALSE, dtype=np.int8)
        known[places] = self._conditions.array[slots]
        first = before < 0
        differs = holds != np.where(first, known == _TRUE, holds[before])
        changes: NDArray[np.bool_] = differs | (first & (known == _OPEN))
        return changes

    def wakes(self, handle: int) -> int:
        """After which instant the next sample of a series must be looked at, whatever its value: when
        the clock of its alert comes; at once (-1) if it was refused an alert or its alert is unknown."""
        slots, _ = self.binding.placed(np.array([handle]))
        if not len(slots):
            return NEVER_MS
        slot = int(slots[0])
        alert = self.alerts.get(slot)
        if alert is None:
            return -1 if self.book.full else NEVER_MS
        if alert.unknown_since_ms is not None:
            return -1
        due = self.book.next_input(slot)
        return NEVER_MS if due is None else due[0]

    def expect_stale(self, instant_ms: int) -> None:
        """Samples were landed that no `look` saw; the first of them goes stale at `instant_ms`."""
        if self.alerts:
            self._expect(instant_ms)

    def catch_up(self, look: Look) -> Iterator[list[Output]]:
        """Let happen what was due for these label sets strictly before their new sample, in order of time."""
        if not self.alerts and not self._plan.absence_matters:
            return
        stale = self._stale_from(look.slots, self._swept_ms)
        rows = zip(look.slots.tolist(), look.times.tolist(), stale.tolist(), strict=True)
        for slot, time_ms, stale_ms in rows:
            due = self.book.next_input(slot)
            if stale_ms < time_ms or (due is not None and due[0] < time_ms):
                yield self._catch_up(slot, time_ms)

    def settle(self, look: Look) -> Iterator[list[Output]]:
        """Step the alerts of these label sets, after the store was written. Yields after each chunk."""
        if not self.binding.single:
            self._judged.array[look.touched] = look.touched_times
            self._judged_ms = max(self._judged_ms, int(look.touched_times.max(initial=-1)))
            if self.alerts and not isinstance(look.touched_columns.fed, int):
                self._refresh_fed(np.arange(len(self.binding))[look.touched], look.touched_columns)
        values = self._values(look.slots, look.times, look.columns)
        rows = list(
            zip(
                look.slots.tolist(),
                look.times.tolist(),
                look.columns.present.tolist(),
                values.tolist(),
                _bits(look.columns.fed, len(look.slots)).tolist(),
                strict=True,
            )
        )
        for chunk in range(0, len(rows), STEPS_PER_CHUNK):
            yield [made for row in rows[chunk : chunk + STEPS_PER_CHUNK] for made in self._step(*row)]
        if self.alerts:
            self._expect(int(np.min(self._stale_from(look.slots, look.times), initial=NEVER_MS)))

    def _evaluate_landing(self, touched: Touched, landing: Landing, times: Times, latest: int) -> Columns:
        def leaf(number: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
            source = touched.sources[number]
            if source is None:
                return self._store.show(self.binding.handles(number, touched.at), times)
            values = landing.values[source.at]
            present = np.ones(len(values), dtype=np.bool_)
            if landing.stale is not None:
                present = ~landing.stale[source.at]
            if landing.stale_from_ms <= latest:  # so late that it is stale on arrival, it shows nothing
                fresh_until = np.broadcast_to(landing.times + landing.stale_after_ms, landing.values.shape)
                present = present & (fresh_until[source.at] >= times)
            if source.inside is None:
                return values, present
            stored, shown = self._store.show(self.binding.handles(number, touched.at), times)
            return np.where(source.inside, values, stored), np.where(source.inside, present, shown)

        return evaluate(self._plan.root, leaf)

    def _has_alert(self, slots: Slots) -> NDArray[np.bool_]:
        marked = np.zeros(len(self.binding), dtype=np.bool_)
        marked[np.fromiter(self.alerts, np.int64, len(self.alerts))] = True
        return marked[slots]

    def _refresh_fed(self, slots: Slots, columns: Columns) -> None:
        """With `or`, the side that feeds a label set may change while its condition goes on holding."""
        fed = _bits(columns.fed, len(slots))
        for row in np.flatnonzero(columns.present & self._has_alert(slots)).tolist():
            self.alerts[int(slots[row])].fed = int(fed[row])

    # -- time --------------------------------------------------------------------------------------------------

    def due(self, deadlines: list[Deadline], time_ms: int) -> Iterator[list[Output]]:
        """Step the alerts whose clock has come, all at `time_ms`."""
        slots = self.book.still_due(deadlines)
        if not slots:
            return
        at = np.array(slots, dtype=np.int64)
        values = self._values(at, np.full(len(at), time_ms), None).tolist()
        for chunk in range(0, len(slots), STEPS_PER_CHUNK):
            done: list[Output] = []
            rows = slice(chunk, chunk + STEPS_PER_CHUNK)
            for slot, value in zip(slots[rows], values[rows], strict=True):
                done += self._pass_time(slot, time_ms, value)
            yield done

    def sweep(self, time_ms: int) -> Iterator[list[Output]]:
        """Find the label sets with an input that goes stale at `time_ms`, and judge them."""
        if time_ms != self._sweep_ms:
            return
        self._sweep_ms = NEVER_MS
        watched = self._watched()
        leaves = range(len(self._plan.leaves))
        soonest = min(self._store.not_stale_before(self.binding.handles(leaf, watched)) for leaf in leaves)
        if soonest > time_ms:  # all have got newer samples since
            self._swept_ms = time_ms
            self._expect(soonest)
            return
        instants = self._stale_from(watched, self._swept_ms)
        stale = np.flatnonzero(instants <= time_ms)
        for slot in np.arange(len(self.binding))[self._watched()][stale].tolist():
            yield self._judge(slot, time_ms)
        self._swept_ms = time_ms
        if len(stale):
            instants = self._stale_from(self._watched(), time_ms)
        self._expect(int(np.min(instants, initial=NEVER_MS)))

    def arm_all(self) -> None:
        """Set every timer anew, from the alerts alone."""
        for slot in self.alerts:
            self.book.arm(slot)
        self._sweep_ms = NEVER_MS
        self._expect(int(np.min(self._stale_from(self._watched(), self._swept_ms), initial=NEVER_MS)))

    def _watched(self) -> Index:
        """Label sets for which it matters that an input goes stale."""
        if self._plan.absence_matters:
            return slice(0, len(self.binding))
        return np.fromiter(self.alerts, np.int64, len(self.alerts))

    def _stale_from(self, slots: Index, after_ms: Times | int) -> Times:
        """The first instant after `after_ms` at which an input of each slot goes stale."""
        inputs = [self._store.stale_from(self.binding.handles(leaf, slots)) for leaf in range(len(self._plan.leaves))]
        for instants in inputs:
            instants[instants <= after_ms] = NEVER_MS
        first = inputs[0]
        for instants in inputs[1:]:
            np.minimum(first, instants, out=first)
        return first

    def _expect(self, instant_ms: int) -> None:
        """Sweep at `instant_ms`, unless an earlier sweep is planned: that one plans the next."""
        if instant_ms < self._sweep_ms:
            self._sweep_ms = instant_ms
            self._timers.add(instant_ms, Deadline(self.index, -1, 0))

    def _catch_up(self, slot: int, before_ms: int) -> list[Output]:
        """Everything due for a slot strictly before `before_ms`, judged by the store as it was."""
        done: list[Output] = []
        seen_ms = self._swept_ms
        while True:
            if slot not in self.alerts and not self._plan.absence_matters:
                return done
            clock = self.book.next_input(slot)
            stale_ms = int(self._stale_from(np.array([slot]), seen_ms)[0])
            if clock is not None and clock[0] <= stale_ms and clock[0] < before_ms:
                value = self._values(np.array([slot]), np.array([clock[0]]), None)[0]
                done += self._pass_time(slot, clock[0], float(value))
            elif stale_ms < before_ms:
                seen_ms = stale_ms
                done += self._judge(slot, stale_ms)
            else:
                return done

    # -- steps -------------------------------------------------------------------------------------------------

    def _judge(self, slot: int, time_ms: int) -> list[Output]:
        """Evaluate one label set from the store and step its alert."""
        at = np.array([slot])
        if not self.binding.single:
            time_ms = max(time_ms, int(self._judged.array[slot]))
        columns = self._evaluate_stored(at, np.array([time_ms]))
        value = self._values(at, np.array([time_ms]), columns)[0]
        done = self._step(slot, time_ms, bool(columns.present[0]), float(value), int(_bits(columns.fed, 1)[0]))
        if slot in self.alerts:
            self._expect(int(self._stale_from(at, max(self._swept_ms, time_ms))[0]))
        return done

    def _step(self, slot: int, time_ms: int, holds: bool, value: float, fed: int) -> list[Output]:
        """Tell the alert of a slot what its condition is at `time_ms`."""
        alert = self.alerts.get(slot)
        if alert is None:
            alert = self.book.open(slot, self.binding.labels(slot, self._store.table), time_ms) if holds else None
            if alert is None:
                return []
        if holds:
            given = Input.TRUE
            alert.fed = fed
        else:
            given = self._classify(slot, alert, max(time_ms, alert.stepped_ms))
        self._conditions.array[slot] = _CONDITIONS.get(given, _FALSE)
        return self._closing(slot, self.book.tell(slot, given, time_ms, value))

    def _pass_time(self, slot: int, time_ms: int, value: float) -> list[Output]:
        return self._closing(slot, self.book.pass_time(slot, time_ms, value))

    def _closing(self, slot: int, made: list[Output]) -> list[Output]:
        """A slot without an alert waits for its condition to turn true."""
        if slot not in self.alerts:
            self._conditions.array[slot] = _FALSE
        return made

    def _classify(self, slot: int, alert: Alert, time_ms: int) -> Input:
        """Why a label set is absent: false, ended, or unknown."""
        given, at = Input.FALSE, np.array([slot])
        for leaf in range(len(self._plan.leaves)):
            if not alert.fed >> leaf & 1:
                continue
            handles = self.binding.handles(leaf, at)
            if handles[0] >= 0 and self._store.mark(int(handles[0])) is Mark.ENDED:
                return Input.ENDED
            if not self._store.show(handles, time_ms)[1][0]:
                given = Input.UNKNOWN
        if given is Input.UNKNOWN and self.rule.on_missing == "reset":
            return Input.MISSING
        return given

    # -- reading -----------------------------------------------------------------------------------------------

    def statuses(self, slots: Sequence[int], now_ms: int) -> list[AlertStatus]:
        """The alerts of these slots, as people see them at `now_ms`."""
        at = np.array(slots, dtype=np.int64)
        values = self._values(at, np.full(at.shape, now_ms), None).tolist() if len(at) else []
        return [self.book.status(slot, value, now_ms) for slot, value in zip(slots, values, strict=True)]

    def saved(self) -> SavedRule:
        """What a snapshot keeps of this rule."""
        alerts = {self.binding.key(slot, self._store.table): alert for slot, alert in self.alerts.items()}
        return SavedRule(self._swept_ms, self.book.refused, alerts)

    def load(self, saved: SavedRule) -> int:
        """Take back what `saved` gave, after the store was refilled; return how many alerts found no label set."""
        self._swept_ms = saved.swept_ms
        self.book.refused = saved.refused
        unplaced = 0
        for key, alert in saved.alerts.items():
            slot = self.binding.slot_of(key, self._store.table)
            if slot < 0:
                unplaced += 1
                continue
            self.alerts[slot] = alert
            unknown = alert.unknown_since_ms is not None
            self._conditions.array[slot] = _OPEN if unknown or alert.phase is Phase.KEEPING else _TRUE
        if not self.binding.single:
            every = np.arange(len(self.binding), dtype=np.int64)
            for leaf in range(len(self._plan.leaves)):
                handles = self.binding.handles(leaf, every)
                last = np.where(handles >= 0, self._store.last_ms(np.maximum(handles, 0)), 0)
                self._judged.array[:] = np.maximum(self._judged.array, last)
            self._judged_ms = int(self._judged.array.max(initial=-1))
        self.arm_all()
        return unplaced

    def _evaluate_stored(self, slots: Slots, times: Times) -> Columns:
        return evaluate(self._plan.root, lambda leaf: self._store.show(self.binding.handles(leaf, slots), times))

    def _values(self, slots: Slots, times: Times, columns: Columns | None) -> NDArray[np.float64]:
        """The expression's value where it holds, else what it measures; NaN where nothing is known."""
        if columns is None:
            columns = self._evaluate_stored(slots, times)
        if columns.present.all():
            return columns.values
        seen = measured(self._plan.root, lambda leaf: self._store.show(self.binding.handles(leaf, slots), times))
        return np.where(columns.present, columns.values, np.where(seen.present, seen.values, np.nan))


def _bits(fed: NDArray[np.int64] | int, size: int) -> NDArray[np.int64]:
    return np.full(size, fed, dtype=np.int64) if isinstance(fed, int) else fed


def _picked(fed: NDArray[np.int64] | int, rows: Slots) -> NDArray[np.int64]:
    return _bits(fed, len(rows)) if isinstance(fed, int) else fed[rows]


def _pointwise(rule: Rule) -> Plan:
    if not isinstance(rule.plan, Plan):
        raise TypeError(f"{rule.plan.expr} is not pointwise")
    return rule.plan
