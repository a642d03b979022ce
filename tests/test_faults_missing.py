"""Data that stops coming, through a whole engine: a gap (F72) and an end (F73), under each `on_missing`.

What of it is a law of the core is in tests/core/test_reference_laws.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from engine import Engine, Sample
from engine.testing import FunctionProbe, RecordingSink, VirtualClock
from tests.test_faults import RULE, fired_in_time, play

POLICIES = ("hold", "reset", "count", "fire")
WATCHED = "".join(
    f'[rule.{policy}]\nexpr = "y > 5"\nfor = "20s"\non_missing = "{policy}"\n'
    + 'hold_max = "1m"\n' * (policy != "reset")
    + 'missing_for = "10s"\n' * (policy == "fire")
    for policy in POLICIES
)
FOR_MS, MISSING_FOR_MS, HOLD_MAX_MS = 20_000, 10_000, 60_000
STALE_MS = 3_001
"""A value of a series that comes by the second is one for three."""


class Told(NamedTuple):
    """What became of a series `y`, always above its limit. All times in milliseconds from its first sample."""

    seen_ms: list[int]
    rules: Mapping[str, Sequence[tuple[str, str, int]]]


def told(is_there: Callable[[float], bool]) -> Told:
    """Two minutes of a series that comes by the second while `is_there` of the second."""

    async def scene(clock: VirtualClock, engine: Engine, sink: RecordingSink) -> None:
        started_s = clock.monotonic()

        def collect() -> list[Sample]:
            return [Sample(clock.now_ms(), "y", 9.0, 1_000)] if is_there(clock.monotonic() - started_s) else []

        engine.add_probe("some", FunctionProbe(collect), "1s")

    sink, _ = play(scene, RULE + WATCHED, seconds=120)
    assert fired_in_time(sink), "what goes on is not concerned"
    seen_ms = [r.time_ms for r in sink.records if isinstance(r, Sample) and r.series == "y"]
    rules = {
        policy: [(t.kind, t.reason, t.time_ms - seen_ms[0]) for t in sink.transitions if t.rule == policy]
        for policy in POLICIES
    }
    return Told([ms - seen_ms[0] for ms in seen_ms], rules)


def test_f72_a_gap_is_no_true_time() -> None:
    """Ten seconds are seen, thirty are not: who did not ask for it is told after ten more that were seen."""
    seen_ms, rules = told(lambda at_s: not 10 <= at_s < 40)
    last, back = next((a, b) for a, b in itertools.pairwise(seen_ms) if b - a > 2_000)
    assert back - last > 30_000
    onset, unknown = ("pending", "condition", 0), last + STALE_MS
    assert rules["hold"] == [onset, ("firing", "held", back + FOR_MS - unknown)]
    assert rules["reset"] == [
        onset,
        ("cleared", "missing", unknown),
        ("pending", "condition", back),
        ("firing", "held", back + FOR_MS),
    ]
    assert rules["count"] == [onset, ("firing", "held", FOR_MS)]
    assert rules["fire"] == [onset, ("firing", "missing", unknown + MISSING_FOR_MS)]


def test_f73_a_series_that_disappears_did_not_recover() -> None:
    """Nothing is ever seen again: no alert ends as if its condition had, and none stays for ever."""
    seen_ms, rules = told(lambda at_s: at_s < 30)
    unknown = seen_ms[-1] + STALE_MS
    fired = [("pending", "condition", 0), ("firing", "held", FOR_MS)]
    for policy in ("hold", "count", "fire"):
        assert rules[policy] == [*fired, ("lost", "lost", unknown + HOLD_MAX_MS)], policy
    assert rules["reset"] == [*fired, ("resolved", "missing", unknown)]
