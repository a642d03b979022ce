"""One test at work: series into a core in virtual time, and what comes of it against what is expected.

The core is the live one. promtool's tests are evaluated as promtool does: at each multiple of the file's evaluation
interval from the start of the test, with samples loaded up to the last of those instants. A test of the longer form is
stepped from sample to sample instead, with the blind spans and restarts it names, and each transition has its instant.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterator

import msgspec

from engine.core.evaluator import Core
from engine.core.promql.notation import VALUES_MAX
from engine.durations import format_ms
from engine.events import Blind, Transition
from engine.ruletests.checks import Failure, check_alerts, check_expr
from engine.ruletests.inputs import Hidden, Inputs
from engine.ruletests.rules import Rules
from engine.ruletests.shape import BlindSpan, Restart, RuleTestFile, RuleTestGroup
from engine.ruletests.transitions import timeline
from engine.ruletests.values import count_values
from engine.text import clean

__all__ = ["Failure", "play"]

SERIES_MAX = 10_000_000
ALERTS_PER_RULE_MAX = 1_000_000
_EVERYTHING = '{__name__=~".+"}'


def play(
    file: RuleTestFile, test: RuleTestGroup, rules: Rules, *, progress: Callable[[float], None] | None = None
) -> list[Failure]:
    """Run one test.

    Args:
        progress: Is told how far it is, from 0 to 1, at each instant.

    Raises:
        InputError: A series of the test can't be loaded.
    """
    return list(_Play(file, test, rules).run(progress))


class _Play:
    def __init__(self, file: RuleTestFile, test: RuleTestGroup, rules: Rules) -> None:
        self._file, self._test, self._rules = file, test, rules
        self._step_ms = file.evaluation_interval_ms
        self._last_ms = _end_ms(test) if test.exact else test.end_ms // self._step_ms * self._step_ms
        self._over_ms = self._last_ms + (1 if test.exact else self._step_ms)
        self._inputs = Inputs(
            test.series,
            interval_ms=test.interval_ms,
            start_ms=test.start_ms,
            end_ms=test.start_ms + self._last_ms,
            hidden=[
                *(Hidden(span.from_ms, span.to_ms, span.scope) for span in test.blind),
                *(Hidden(restart.at_ms + 1, restart.end_ms) for restart in test.restarts),
            ],
        )
        plans = [rules.compile_expr(one.expr) for one in test.promql_expr_tests]
        texts = [
            text
            for group in rules.groups
            for rule in group.rules
            for text in (*rule.labels.values(), *rule.annotations.values())
        ]
        if any(text.queries for text in texts):
            plans.append(rules.compile_expr(_EVERYTHING))
        self._plans = plans
        self._core = self._new_core()
        self._made: list[Transition] = []

    def _new_core(self) -> Core:
        test, rules, step_ms = self._test, self._rules, self._step_ms
        tested = [msgspec.structs.replace(group, interval_ms=step_ms, phase_ms=test.start_ms) for group in rules.tested]
        return Core(
            rules.continuous,
            groups=[*tested, *rules.live],
            queries=self._plans,
            series_max=SERIES_MAX,
            batch_samples_max=SERIES_MAX,
            alerts_per_rule_max=ALERTS_PER_RULE_MAX,
            external_labels=test.external_labels or rules.external_labels,
            external_url=test.external_url,
            subquery_step_ms=step_ms,
            resolution_ms=rules.resolution_ms,
            compat=rules.compat,
        )

    def run(self, progress: Callable[[float], None] | None) -> Iterator[Failure]:
        """Evaluate from the start to the last time that is looked at. A rule without a value ends the test."""
        waiting = deque(sorted(self._test.alert_rule_tests, key=lambda one: one.eval_time_ms))
        for at_ms, next_ms in self._exact() if self._test.exact else self._evaluations():
            wrong = [
                Failure(self._test.line, f"{_of_component(told.component)}, time: {format_ms(at_ms)}", (told.message,))
                for told in self._core.take_health()
            ]
            yield from wrong
            if wrong:
                return
            while waiting and waiting[0].eval_time_ms < next_ms:
                yield from check_alerts(self._core, waiting.popleft(), self._rules)
            if progress is not None:
                progress(next_ms / self._over_ms)
        yield from self._check_end()

    def _check_end(self) -> Iterator[Failure]:
        test, made = self._test, sorted(self._made, key=lambda one: one.time_ms)
        for one in test.transition_tests:
            if lines := tuple(timeline(one, made, test.start_ms)):
                yield Failure(one.line, f"{self._rules.where(one.alertname)}, transitions", lines)
        compile_expr, fuzzy = self._rules.compile_expr, self._file.fuzzy_compare
        for asked in test.promql_expr_tests:
            yield from check_expr(self._core, asked, test.start_ms, compile_expr, fuzzy=fuzzy)

    # -- stepping: instants from the start at which something was done, each with the next -----------------------

    def _evaluations(self) -> Iterator[tuple[int, int]]:
        """From evaluation to evaluation."""
        for at_ms in range(0, self._last_ms + 1, self._step_ms):
            self._advance(at_ms)
            yield at_ms, at_ms + self._step_ms

    def _exact(self) -> Iterator[tuple[int, int]]:
        """From sample to sample, and wherever something is looked at or happens."""
        stops = itertools.pairwise(itertools.chain(self._stops(), [self._last_ms + 1]))
        unseen, restarts = deque(self._test.blind), deque(self._test.restarts)
        down: Restart | None = None
        for at_ms, next_ms in stops:
            if down is not None and at_ms == down.end_ms:
                self._start_again(down)
                down = None
            if down is None and not self._is_dark(at_ms):
                self._say_blind(unseen, at_ms)
                self._advance(at_ms)
            if restarts and restarts[0].at_ms == at_ms:
                down = restarts.popleft()
                if not down.down_ms:
                    self._start_again(down)
                    down = None
            yield at_ms, next_ms

    def _stops(self) -> Iterator[int]:
        """Instants in order."""
        test = self._test
        others = {0, self._last_ms, *(one.eval_time_ms for one in test.alert_rule_tests)}
        for span in test.blind:
            others |= {max(0, span.from_ms - 1), span.to_ms}  # what is due before it comes before it
        for restart in test.restarts:
            others |= {restart.at_ms, restart.end_ms}
        merged = heapq.merge(range(0, self._last_ms + 1, test.interval_ms), sorted(others))
        yield from (at_ms for at_ms, _ in itertools.groupby(merged))

    def _is_dark(self, at_ms: int) -> bool:
        """Whether nobody is there to do anything."""
        return any(span.scope == "*" and span.from_ms <= at_ms < span.to_ms for span in self._test.blind)

    def _say_blind(self, unseen: deque[BlindSpan], at_ms: int) -> None:
        """Tell the core of blind spans: of one that goes on, what there was of it until now."""
        start_ms = self._test.start_ms
        for span in list(unseen):
            to_ms = min(span.to_ms, at_ms + 1)
            if to_ms > span.from_ms:
                self._made += self._core.feed(
                    [Blind(start_ms + at_ms, start_ms + span.from_ms, start_ms + to_ms, span.scope, "test")]
                )
            if to_ms == span.to_ms:
                unseen.remove(span)

    def _start_again(self, restart: Restart) -> None:
        """Everything the core knows goes to bytes and comes back in a new one, as when the engine stops and starts."""
        saved = self._core.snapshot()
        self._core = self._new_core()
        self._core.restore(saved, self._test.start_ms + restart.end_ms)

    def _advance(self, at_ms: int) -> None:
        now_ms = self._test.start_ms + at_ms
        self._made += self._core.feed(self._inputs.until(now_ms))
        self._made += self._core.advance(now_ms)


def _end_ms(test: RuleTestGroup) -> int:
    """When a test is over: with transitions that is at the end of its series, but for those that go on for ever."""
    if not test.transition_tests or test.until_ms:
        return test.end_ms
    counts = [count_values(series.values) for series in test.series]
    last = max((count for count in counts if count <= VALUES_MAX), default=0)
    return max(test.end_ms, (last - 1) * test.interval_ms)


def _of_component(component: str) -> str:
    kind, _, name = component.partition(".")
    return f"rule: {clean(name)}" if kind == "rule" else component
