"""A second, slow and simple judge of rules: one label set at a time, one float at a time, no columns.

It is written from the semantics, not from the core: plain dictionaries, an if-chain for the life of an
alert, and a search through all instants at which time alone changes something.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from engine.core.promql.plan import Arithmetic, Comparison, Negation, Number, Selector, SetOperation
from engine.core.rules import Rule
from engine.events import STALE_BITS, Sample, SampleBatch
from engine.series import split_series

Told = tuple[int, str, tuple[tuple[str, str], ...], str, str, str, float]


def is_stale(value: float) -> bool:
    import struct

    return struct.unpack("<Q", struct.pack("<d", value))[0] == STALE_BITS


@dataclass
class Last:
    time: int
    value: float
    stale_after: int
    mark: str = ""  # "", "ended" or "target_down"


@dataclass
class State:
    """One alert. Clocks count what has elapsed; `running_from` is None while they stand."""

    phase: str = "inactive"  # inactive, pending, firing, keeping
    active_since: int = 0
    elapsed: int = 0
    running_from: int | None = None
    unknown_since: int | None = None
    fed: set[int] = field(default_factory=set)
    end_reason: str = ""
    stepped: int = 0

    def time_on_clock(self, now: int) -> int:
        return self.elapsed + (now - self.running_from if self.running_from is not None else 0)


class OracleRule:
    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.series: dict[str, Last] = {}
        self.states: dict[tuple[tuple[str, str], ...], State] = {}
        self.watermark = -1
        self.judged: dict[tuple[tuple[str, str], ...], int] = {}

    # -- expressions

    def leaf(self, index: int, labels: tuple[tuple[str, str], ...]) -> tuple[str, Last] | None:
        selector = self.rule.plan.leaves[index]
        for text, last in self.series.items():
            metric, own = split_series(text)
            if metric == selector.metric and tuple(sorted(own.items())) == labels and selector.matches(own):
                return text, last
        return None

    def fresh(self, index: int, labels: tuple[tuple[str, str], ...], now: int) -> bool:
        found = self.leaf(index, labels)
        return found is not None and not found[1].mark and now - found[1].time <= found[1].stale_after

    def value(self, node, labels, now):  # type: ignore[no-untyped-def]
        """(value, selectors that fed it), or None where the label set is absent."""
        if isinstance(node, Selector):
            if not self.fresh(node.leaf, labels, now):
                return None
            found = self.leaf(node.leaf, labels)
            return found[1].value, {node.leaf}
        if isinstance(node, Negation):
            inner = self.value(node.operand, labels, now)
            return None if inner is None else (-inner[0], inner[1])
        if isinstance(node, SetOperation):
            left, right = self.value(node.left, labels, now), self.value(node.right, labels, now)
            if node.op == "and":
                return None if left is None or right is None else (left[0], left[1] | right[1])
            if node.op == "unless":
                return left if right is None else None
            return right if left is None else left
        left = (node.left.value, set()) if isinstance(node.left, Number) else self.value(node.left, labels, now)
        right = (node.right.value, set()) if isinstance(node.right, Number) else self.value(node.right, labels, now)
        if left is None or right is None:
            return None
        fed = left[1] | right[1]
        if isinstance(node, Arithmetic):
            return calculate(node.op, left[0], right[0]), fed
        assert isinstance(node, Comparison)
        holds = compare(node.op, left[0], right[0])
        if node.as_bool:
            return float(holds), fed
        return (right[0] if isinstance(node.left, Number) else left[0], fed) if holds else None

    def measured(self, node, labels, now):  # type: ignore[no-untyped-def]
        if isinstance(node, Comparison) and not node.as_bool:
            return self.measured(node.right if isinstance(node.left, Number) else node.left, labels, now)
        if isinstance(node, SetOperation):
            left = self.measured(node.left, labels, now)
            if node.op == "or":
                return self.measured(node.right, labels, now) if left is None else left
            return left
        return self.value(node, labels, now)

    # -- time

    def stale_instants(self, labels, after):  # type: ignore[no-untyped-def]
        for index in range(len(self.rule.plan.leaves)):
            found = self.leaf(index, labels)
            if found and not found[1].mark and found[1].time + found[1].stale_after + 1 > after:
                yield found[1].time + found[1].stale_after + 1

    def due(self, state: State) -> tuple[int, str] | None:
        if state.phase == "inactive":
            return None
        if state.unknown_since is not None:
            return state.unknown_since + self.rule.hold_max_ms, "lost"
        if state.running_from is None or state.phase == "firing":
            return None
        length = self.rule.for_ms if state.phase == "pending" else self.rule.keep_firing_for_ms
        return state.running_from + length - state.elapsed, "due"

    def pass_time(self, labels, limit: int, seen: int) -> list[Told]:  # type: ignore[no-untyped-def]
        """Everything that happens to one label set until `limit`, inclusive."""
        told: list[Told] = []
        while True:
            state = self.states.get(labels, State())
            due = self.due(state)
            stale = min(self.stale_instants(labels, seen), default=None)
            if due is not None and due[0] <= limit and (stale is None or due[0] <= stale):
                told += self.give(labels, due[1], due[0])
            elif stale is not None and stale <= limit:
                seen = stale
                told += self.judge(labels, stale)
            else:
                return told

    # -- alerts

    def judge(self, labels, now: int) -> list[Told]:  # type: ignore[no-untyped-def]
        now = max(now, self.judged.get(labels, 0))
        found, when = self.value(self.rule.measure, labels, now), self.rule.levels[0].when
        holds = found is not None and (when is None or compare(when.op, found[0], when.threshold))
        state = self.states.get(labels)
        if state is None:
            if not holds:
                return []
            state = self.states[labels] = State(active_since=now)
        now = max(now, state.stepped)
        if found is not None:
            state.fed = found[1]
            return self.give(labels, "true" if holds else "false", now)
        given = "false"
        for index in state.fed:
            mark = self.leaf(index, labels)
            if mark and mark[1].mark == "ended":
                given = "ended"
                break
            if not self.fresh(index, labels, now):
                given = "unknown" if self.rule.on_missing == "hold" else "missing"
        return self.give(labels, given, now)

    def give(self, labels, given: str, now: int) -> list[Told]:  # type: ignore[no-untyped-def]
        state = self.states[labels]
        before = state.phase
        same = (state.phase, state.unknown_since)
        lost = self.change(state, given, now)
        state.stepped = now
        if (state.phase, state.unknown_since) == same:
            return []
        while (due := self.due(state)) is not None and due[0] <= now:
            lost = self.change(state, due[1], now)
        if state.phase == "inactive":
            del self.states[labels]
        shown = {"keeping": "firing"}
        was, is_now = shown.get(before, before), shown.get(state.phase, state.phase)
        if was == is_now:
            return []
        if is_now == "inactive":
            reason = "lost" if lost else state.end_reason
        else:
            reason = "condition" if was == "inactive" else "held"
        found = self.value(self.rule.plan.root, labels, now) or self.measured(self.rule.plan.root, labels, now)
        value = math.nan if found is None else found[0]
        alert_labels = self.rule.alert_labels(dict(labels))
        return [(now, self.rule.name, tuple(sorted(alert_labels.items())), was, is_now, reason, value)]

    def change(self, state: State, given: str, now: int) -> bool:
        """One step; returns whether the alert was lost."""
        if given == "unknown":
            if state.unknown_since is None:
                state.unknown_since = now
                state.elapsed, state.running_from = state.time_on_clock(now), None
            return False
        if given == "lost":
            state.phase = "inactive"
            return True
        if given == "due":
            state.phase = "firing" if state.phase == "pending" else "inactive"
            state.elapsed, state.running_from = 0, None
            return False
        known_again = state.unknown_since is not None
        state.unknown_since = None
        if given == "true":
            if state.phase == "inactive":
                state.phase, state.elapsed, state.running_from = "pending", 0, now
            elif state.phase == "pending" and known_again:
                state.running_from = now
            elif state.phase == "keeping":
                state.phase, state.elapsed, state.running_from = "firing", 0, None
            return False
        reason = {"false": "recovered", "missing": "missing", "ended": "ended"}[given]
        if state.phase == "pending":
            state.phase, state.end_reason = "inactive", reason
        elif state.phase == "firing":
            state.phase, state.end_reason = "keeping", reason
            state.elapsed, state.running_from = 0, now
        elif state.phase == "keeping" and known_again:
            state.running_from = now
        return False

    # -- entries

    def land(self, samples: list[Sample]) -> list[Told]:
        """One atom."""
        accepted = [s for s in samples if s.series not in self.series or self.series[s.series].time < s.time_ms]
        touched: dict[tuple[tuple[str, str], ...], int] = {}
        for sample in accepted:
            metric, labels = split_series(sample.series)
            if any(leaf.metric == metric and leaf.matches(labels) for leaf in self.rule.plan.leaves):
                key = tuple(sorted(labels.items()))
                touched[key] = max(sample.time_ms, self.watermark, self.judged.get(key, 0))
        told: list[Told] = []
        for labels, now in touched.items():
            told += self.pass_time(labels, now - 1, self.watermark)
        if len(self.rule.plan.leaves) > 1:
            self.judged.update(touched)
        for sample in accepted:
            after = 3 * sample.interval_ms if sample.interval_ms else 300_000
            mark = sample.stale if is_stale(sample.value) else ""
            self.series[sample.series] = Last(sample.time_ms, sample.value, after, mark)
        for labels, now in touched.items():
            told += self.judge(labels, now)
        return told

    def advance(self, now: int) -> list[Told]:
        if now <= self.watermark:
            return []
        every = {tuple(sorted(split_series(text)[1].items())) for text in self.series}
        told = [entry for labels in every for entry in self.pass_time(labels, now, self.watermark)]
        self.watermark = now
        return told


class Oracle:
    """The rules together, with the order the core promises."""

    def __init__(self, rules: list[Rule]) -> None:
        self.rules = [OracleRule(rule) for rule in rules]

    def feed(self, atom: Sample | SampleBatch) -> list[Told]:
        if isinstance(atom, SampleBatch):
            samples = [
                Sample(atom.time_ms, text, value, atom.interval_ms, atom.stale)
                for text, value in zip(atom.series, atom.values.tolist(), strict=True)
            ]
        else:
            samples = [atom]
        return self._sorted([rule.land(samples) for rule in self.rules])

    def advance(self, now: int) -> list[Told]:
        return self._sorted([rule.advance(now) for rule in self.rules])

    def _sorted(self, by_rule: list[list[Told]]) -> list[Told]:
        rows = [(told[0], index, told[2], told) for index, rows in enumerate(by_rule) for told in rows]
        rows.sort(key=lambda row: row[:3])
        return [row[3] for row in rows]


def compare(op: str, left: float, right: float) -> bool:
    return {
        "==": left == right,
        "!=": left != right,
        ">": left > right,
        "<": left < right,
        ">=": left >= right,
        "<=": left <= right,
    }[op]


def calculate(op: str, left: float, right: float) -> float:
    if op == "/":
        if right == 0:
            return (
                math.nan if left == 0 or math.isnan(left) else math.copysign(math.inf, left) * math.copysign(1, right)
            )
        return left / right
    return {"+": left + right, "-": left - right, "*": left * right}[op]
