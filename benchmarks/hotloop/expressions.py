"""What richer rules cost beside the bare threshold, and single events beside a batch of them.

The variations stand in one table. Each has the workload's conditions at the workload's instants, so that what
happens to the alerts is the same and only the way to find out differs; this is checked before anything is timed.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Row
from benchmarks.hotloop.timing import in_turns, ratios_to_first
from benchmarks.hotloop.workload import FOR_MS, INTERVAL_MS, START_MS, Workload, make
from engine.core.evaluator import Core
from engine.core.rules import LevelTerms, Rule, compile_rule
from engine.events import STALE, Event, Sample, SampleBatch, Transition

__all__ = ["VARIATIONS", "Variation", "expression_rows", "singles_row", "variation_rows"]

UNKNOWN_SHARE: Final = 0.2
UNKNOWN_INSTANTS: Final = 10
"""For how long a series that is unknown stays so."""
SLOWER_MAX: Final = 3.0
SEED: Final = 7


class Variation(NamedTuple):
    """The workload, said in another way.

    Args:
        name: As it stands in the table.
        rules: The rules for a workload.
        series, values: What is sampled at each instant: texts, and float64 of shape (instants, series).
        same: Whether the transitions are those of the bare workload.
    """

    name: str
    rules: Callable[[Workload], list[Rule]]
    series: Callable[[Workload], tuple[str, ...]]
    values: Callable[[Workload], NDArray[np.float64]]
    same: bool = True

    def batches(self, workload: Workload) -> list[Event]:
        """One event for each instant. Stale markers say that the target is down."""
        series, values = self.series(workload), self.values(workload)
        rows = zip(workload.times_ms.tolist(), values, strict=True)
        return [SampleBatch(time_ms, series, row, INTERVAL_MS, "target_down") for time_ms, row in rows]

    def singles(self, workload: Workload) -> list[Event]:
        """One event for each sample."""
        series, values = self.series(workload), self.values(workload)
        return [
            Sample(time_ms, text, value, INTERVAL_MS, "target_down")
            for time_ms, row in zip(workload.times_ms.tolist(), values.tolist(), strict=True)
            for text, value in zip(series, row, strict=True)
        ]


def _bare(workload: Workload) -> list[Rule]:
    return [compile_rule(name, expr, for_ms=FOR_MS) for name, expr in workload.expressions.items()]


def _divided(workload: Workload) -> list[Rule]:
    rules = []
    for name, expr in workload.expressions.items():
        metric, _, compared = expr.partition(" ")
        rules.append(compile_rule(name, f"{metric} / {metric}_limit {compared}", for_ms=FOR_MS))
    return rules


def _cleared(workload: Workload) -> list[Rule]:
    """The second level is never reached, and both are reset by what does not hold any more."""
    rules = []
    for name, expr in workload.expressions.items():
        metric, _, threshold = expr.split(" ")
        levels = (
            LevelTerms(severity="warning", when=f"> {threshold}", clear=f"<= {threshold}", for_ms=FOR_MS),
            LevelTerms(severity="critical", when="> 1e6", clear=f"<= {threshold}", for_ms=FOR_MS),
        )
        rules.append(compile_rule(name, metric, levels=levels))
    return rules


def _with_limits(workload: Workload) -> tuple[str, ...]:
    """Every series, and beside it the one that it is divided by."""
    return tuple(text for one in workload.series for text in (one, one.replace("{", "_limit{", 1)))


def _scaled(workload: Workload) -> NDArray[np.float64]:
    """Powers of two, and the values times them: the quotients are the workload's values to the last bit."""
    scales = 2.0 ** (np.arange(len(workload.series)) % 4)
    values = np.empty((len(workload.times_ms), 2 * len(workload.series)))
    values[:, 0::2] = workload.values * scales
    values[:, 1::2] = scales
    return values


def _partly_unknown(workload: Workload) -> NDArray[np.float64]:
    """The values, with a fifth of the series unknown at any time, for ten instants each."""
    rng = np.random.default_rng(SEED)
    instants, series = workload.values.shape
    spans = rng.random((-(-instants // UNKNOWN_INSTANTS), series)) < UNKNOWN_SHARE
    unknown = np.repeat(spans, UNKNOWN_INSTANTS, axis=0)[:instants]
    return np.where(unknown, STALE, workload.values)


VARIATIONS: Final = (
    Variation("metric > x", _bare, lambda workload: workload.series, lambda workload: workload.values),
    Variation("a / b > x", _divided, _with_limits, _scaled),
    Variation("two levels with clear", _cleared, lambda workload: workload.series, lambda workload: workload.values),
    Variation(
        "metric > x, 20 % of the series unknown", _bare, lambda workload: workload.series, _partly_unknown, same=False
    ),
)


def expression_rows(*, quick: bool) -> list[Row]:
    """The part of the table about richer rules."""
    workload = make("steady", instants=20 if quick else 200)
    few = make("steady", instants=5 if quick else 20)
    rounds = 1 if quick else 5
    return [
        *variation_rows("batches", workload, Variation.batches, rounds=rounds),
        *variation_rows("single events", few, Variation.singles, rounds=rounds),
        singles_row(instants=5 if quick else 30, rounds=rounds),
    ]


def variation_rows(
    how: str, workload: Workload, events_of: Callable[[Variation, Workload], list[Event]], *, rounds: int
) -> list[Row]:
    """How much longer a sample takes in each variation than in the bare one."""
    events = [events_of(variation, workload) for variation in VARIATIONS]
    bare = _told(_fed(Core(VARIATIONS[0].rules(workload)), workload, events[0]))
    for variation, own in zip(VARIATIONS, events, strict=True):
        if variation.same and _told(_fed(Core(variation.rules(workload)), workload, own)) != bare:
            raise AssertionError(f"{variation.name} made other transitions than {VARIATIONS[0].name}")

    def maker(place: int) -> Callable[[], Callable[[], object]]:
        def made() -> Callable[[], object]:
            core = Core(VARIATIONS[place].rules(workload))
            return lambda: _fed(core, workload, events[place])

        return made

    seconds = in_turns([maker(place) for place in range(len(VARIATIONS))], rounds=rounds)
    rows = [Row(f"{how}: {VARIATIONS[0].name}", min(seconds[0]) / workload.samples * 1e9, "ns")]
    for variation, ratio in list(zip(VARIATIONS, ratios_to_first(seconds), strict=True))[1:]:
        more = variation.values(workload).shape[1] / len(workload.series)
        note = "per sample" if more == 1 else f"per sample; {more:g} samples for each label set"
        rows.append(Row(f"{how}: {variation.name} / bare", ratio / more, "x", SLOWER_MAX, "lower", note))
    return rows


def _fed(core: Core, workload: Workload, events: Sequence[Event]) -> list[Transition]:
    """What comes of the events, with an advance at every instant."""
    made: list[Transition] = []
    each = len(events) // len(workload.times_ms)
    for place, time_ms in enumerate(workload.times_ms.tolist()):
        made += core.feed(events[place * each : (place + 1) * each])
        made += core.advance(time_ms)
    return made


def _told(made: Sequence[Transition]) -> list[tuple[int, str, list[tuple[str, str]], str, str]]:
    return sorted((t.time_ms, t.rule, sorted(t.labels.items()), t.before, t.after) for t in made)


def singles_row(*, instants: int, rounds: int) -> Row:
    """1,000 single events of one instant beside one batch of the same 1,000."""
    series = tuple(f'{metric}{{instance="host-{at:04}"}}' for at in range(500) for metric in ("a", "b"))
    rule = compile_rule("Share", "a / b > 0.05", for_ms=FOR_MS)
    rng = np.random.default_rng(SEED)
    values = np.where(np.arange(1_000) % 2, 100.0, rng.uniform(0, 5.1, (instants, 1_000)))
    times = [START_MS + INTERVAL_MS * at for at in range(instants)]
    batches: list[list[Event]] = [
        [SampleBatch(time_ms, series, row, INTERVAL_MS)] for time_ms, row in zip(times, values, strict=True)
    ]
    singles: list[list[Event]] = [
        [Sample(time_ms, text, value, INTERVAL_MS) for text, value in zip(series, row, strict=True)]
        for time_ms, row in zip(times, values.tolist(), strict=True)
    ]

    def maker(feeds: list[list[Event]]) -> Callable[[], Callable[[], object]]:
        def made() -> Callable[[], object]:
            core = Core([rule])
            core.feed(feeds[0])

            def work() -> None:
                for time_ms, events in zip(times[1:], feeds[1:], strict=True):
                    core.feed(events)
                    core.advance(time_ms)

            return work

        return made

    ratio = ratios_to_first(in_turns([maker(batches), maker(singles)], rounds=rounds))[1]
    return Row("1,000 single events for a / b > 0.05 / one batch", ratio, "x", 3.0, "lower", "fed to the core")
