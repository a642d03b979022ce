"""Every sequence of a few steps, for every kind of rule, against the oracle, with a restart between any two steps.

Small scopes find what random search has to be lucky for: if the core and the semantics differ at all, they nearly
always differ within a few steps. A node of the tree of sequences is a snapshot; each child restores it, so that
every sequence is also a sequence with a restart at every cut. `HYPOTHESIS_PROFILE=deep` goes two steps deeper.
"""

import copy
import itertools
import os
from collections.abc import Callable

import pytest

from engine.core.evaluator import Core
from engine.core.rules import Rule, compile_rule
from engine.events import STALE, Sample
from tests.core.oracle import Oracle, Told
from tests.core.test_evaluator_properties import same, told

SECOND, DAY = 1_000, 86_400_000
DEEPER = int(os.environ.get("HYPOTHESIS_PROFILE") == "deep")

Step = Callable[[int], tuple[int, Sample | None]]  # now -> the next now, and what is fed then; None is an advance


def value(series: str, number: float) -> Step:
    return lambda now: (now + SECOND, Sample(now + SECOND, series, number, SECOND))


def marker(series: str, cause: str) -> Step:
    return lambda now: (now + SECOND, Sample(now + SECOND, series, STALE, SECOND, cause))  # type: ignore[arg-type]


def late(series: str, number: float) -> Step:
    return lambda now: (now, Sample(now - 500, series, number, SECOND))


def wait(ms: int) -> Step:
    return lambda now: (now + ms, None)


ONE: dict[str, Step] = {
    "true": value("a", 2.0),
    "false": value("a", 0.0),
    "ended": marker("a", "ended"),
    "down": marker("a", "target_down"),
    "late true": late("a", 2.0),
    "wait 1s": wait(SECOND),
    "gap": wait(5 * SECOND),
}
TWO: dict[str, Step] = {
    f"{name} {what}": step
    for name in "ab"
    for what, step in {
        "true": value(name, 2.0),
        "false": value(name, 0.0),
        "ended": marker(name, "ended"),
        "down": marker(name, "target_down"),
    }.items()
} | {"gap": wait(5 * SECOND)}


def rules(exprs: list[str]) -> list[Rule]:
    return [
        compile_rule(
            f"R{number}",
            expr,
            for_ms=for_ms,
            keep_firing_for_ms=keep_ms,
            on_missing=on_missing,  # type: ignore[arg-type]
            hold_max_ms=hold_ms,
        )
        for number, (expr, (for_ms, keep_ms), (on_missing, hold_ms)) in enumerate(
            itertools.product(
                exprs,
                [(0, 0), (2 * SECOND, 0), (0, 2 * SECOND), (SECOND, SECOND)],
                [("hold", 86_400_000), ("hold", 2 * SECOND), ("reset", 86_400_000)],
            )
        )
    ]


@pytest.mark.parametrize(
    ("exprs", "alphabet", "depth"),
    [
        pytest.param(["a > 1"], ONE, 3 + 2 * DEEPER, id="one selector"),
        pytest.param(["a > 1 unless b > 1", "a > 1 or b > 1"], TWO, 2 + 2 * DEEPER, id="absence matters"),
        pytest.param(["a > 1 and b > 1", "a + b > 3"], TWO, 2 + 2 * DEEPER, id="both are needed"),
    ],
)
def test_all_short_stories(exprs: list[str], alphabet: dict[str, Step], depth: int) -> None:
    some = rules(exprs)
    seen = 0

    def walk(snapshot: bytes | None, oracle: Oracle, now: int, path: tuple[str, ...]) -> None:
        nonlocal seen
        for name, step in alphabet.items():
            core = Core(some)
            if snapshot is not None:
                core.restore(snapshot)
            mine = copy.deepcopy(oracle)
            then, sample = step(now)
            story = " -> ".join([*path, name])
            check(core, mine, sample, then, story)
            seen += 1
            if len(path) + 1 < depth:
                walk(core.snapshot(), mine, then, (*path, name))
            else:  # whatever is still to come, comes in the same way
                check(core, mine, None, then + 20 * SECOND, story)

    walk(None, Oracle(some), 100 * SECOND, ())
    assert seen == sum(len(alphabet) ** length for length in range(1, depth + 1))


def check(core: Core, oracle: Oracle, sample: Sample | None, now: int, story: str) -> None:
    expected: list[Told] = oracle.advance(now) if sample is None else oracle.feed(sample)
    made = core.advance(now) if sample is None else core.feed([sample])
    try:
        same([told(transition) for transition in made], expected)
    except AssertionError as error:
        raise AssertionError(f"after {story}: {error}") from None


GAPS = [SECOND, 2 * SECOND + 1, 4 * SECOND]


@pytest.mark.parametrize("length", [3 + 2 * DEEPER])
def test_all_short_runs_of_samples_fed_at_once(length: int) -> None:
    """A run of samples is landed in bulk where nothing happens: that must be a matter of cost alone."""
    some = rules(["a > 1"])
    moments = list(itertools.product(GAPS, (0.0, 2.0), ("a", 'a{i="x"}')))
    firsts = [(SECOND, 0.0, "a"), (SECOND, 2.0, "a")]  # a first gap means nothing; the rest is the same by symmetry
    for shape in itertools.product(firsts, *[moments] * (length - 1)):
        now, samples = 100 * SECOND, []
        for gap, number, series in shape:
            now += gap
            samples.append(Sample(now, series, number, SECOND))
        at_once, one_by_one = Core(some), Core(some)
        expected = [told(made) for sample in samples for made in one_by_one.feed([sample])]
        same([told(made) for made in at_once.feed(samples)], expected)
        same(
            [told(made) for made in at_once.advance(now + DAY)], [told(made) for made in one_by_one.advance(now + DAY)]
        )
