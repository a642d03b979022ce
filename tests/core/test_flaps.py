"""The mark of alerts that go back and forth: when it comes and goes, what it rests on, and that it is bounded."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.evaluator import Core
from engine.core.flaps import SPAN_MS_MIN, SPANS, Flaps
from engine.core.rules import LevelTerms, Rule, compile_rule
from engine.events import Blind, Sample, Transition

START_MS = 1_000_000_020_000  # the beginning of a minute
MINUTE_MS = 60_000
LABELS = (("alertname", "R"),)


# -- the ring --------------------------------------------------------------------------------------------------


def weights() -> list[float]:
    """From the newest span to the oldest, as DESIGN says it."""
    return [1.2 - 0.4 * place / (SPANS - 1) for place in range(SPANS)]


def reference(changes: Sequence[int], times: Sequence[int]) -> list[bool]:
    """Minute by minute from the first change: on above a half, off below a quarter."""
    on, marks, found = False, {}, {time // SPAN_MS_MIN for time in changes}
    for minute in range(min(found), max(times) // SPAN_MS_MIN + 1):
        for known in (found - {minute}, found):  # before it changes in this minute, and after
            share = sum(w for back, w in enumerate(weights()) if minute - back in known) / sum(weights())
            on = share > 0.5 + 1e-9 or (on and share >= 0.25 - 1e-9)
            marks[minute, known is found] = on
    return [marks[time // SPAN_MS_MIN, time // SPAN_MS_MIN in found] for time in times]


@given(gaps=st.lists(st.integers(0, 150_000) | st.integers(0, 1_500_000), min_size=1, max_size=60))
def test_the_mark_is_the_one_of_a_simple_reference(gaps: list[int]) -> None:
    times, now = [], 0
    for gap in gaps:
        now += gap
        times.append(now)
    flaps = Flaps([0], [10])
    for number, time_ms in enumerate(times):
        marked = flaps.change(0, LABELS, time_ms)
        assert marked == flaps.is_on(0, LABELS, time_ms)
        done = times[: number + 1]
        assert marked == reference(done, [time_ms])[0]
        later = [time_ms + ahead * SPAN_MS_MIN for ahead in range(SPANS + 3)]
        assert [flaps.is_on(0, LABELS, at) for at in later] == reference(done, later)


def test_the_thresholds() -> None:
    """Ten spans in a row make more than half of the weight; they fade to less than a quarter as they grow old."""
    flaps = Flaps([0], [10])
    marks = [flaps.change(0, LABELS, minute * MINUTE_MS) for minute in range(10)]
    assert marks == [False] * 9 + [True]
    assert sum(weights()[:10]) / sum(weights()) > 0.5 >= sum(weights()[:9]) / sum(weights())
    fades = [minute for minute in range(10, 40) if not flaps.is_on(0, LABELS, minute * MINUTE_MS)]
    assert fades == list(range(24, 40))  # then six of the spans are left, the oldest ones
    assert sum(weights()[15:]) / sum(weights()) < 0.25 <= sum(weights()[14:]) / sum(weights())


def test_however_often_it_changes_in_a_span_it_counts_once() -> None:
    often, once = Flaps([0], [10]), Flaps([0], [10])
    for minute in range(30):
        at_ms = minute * MINUTE_MS
        marks = [often.change(0, LABELS, at_ms + second * 1_000) for second in range(0, 60, 7)]
        assert set(marks) == {once.change(0, LABELS, at_ms)}


def test_it_is_bounded_and_what_is_forgotten_is_counted() -> None:
    flaps = Flaps([0, 0], [100, 1_000])
    for number in range(1_000):
        flaps.change(0, (("n", str(number)),), 0)
        flaps.change(1, (("n", str(number)),), number * 10 * MINUTE_MS)
    assert len(flaps._rings[0]) <= 100
    assert flaps.forgotten == [1_000 - len(flaps._rings[0]), 0]
    assert len(flaps._rings[1]) <= 64  # what is calm again is let go of


def test_what_a_snapshot_keeps_goes_on_as_it_was() -> None:
    one, other = Flaps([0], [10]), Flaps([0], [10])
    for minute in range(9):
        one.change(0, LABELS, minute * MINUTE_MS)
    one.skip(3_600_000)
    other.load(0, one.saved(0))
    assert other.saved(0) == one.saved(0)
    for flaps in (one, other):
        assert flaps.change(0, LABELS, 9 * MINUTE_MS + 3_600_000)
    longer = Flaps([2 * MINUTE_MS], [10])
    longer.load(0, one.saved(0))
    assert not longer.is_on(0, LABELS, 10 * MINUTE_MS + 3_600_000)


# -- in a core -------------------------------------------------------------------------------------------------


def rule(**terms: object) -> Rule:
    return compile_rule("R", "x" if "levels" in terms else "x > 5", **terms)  # type: ignore[arg-type]


def swing(minutes: float, *, every_ms: int, period_ms: int, start_ms: int = START_MS) -> list[Sample]:
    """Half of each period it is 9, half of it 0."""
    return [
        Sample(at_ms, "x", 9.0 if (at_ms - start_ms) % period_ms < period_ms // 2 else 0.0, every_ms)
        for at_ms in range(start_ms, start_ms + int(minutes * MINUTE_MS), every_ms)
    ]


def marks(made: Sequence[Transition]) -> list[tuple[float, bool]]:
    return [((one.time_ms - START_MS) / MINUTE_MS, one.flapping) for one in made]


@pytest.mark.parametrize("every_ms", [100, 1_000, 15_000, 30_000, 60_000])
def test_the_mark_does_not_depend_on_the_rate_of_samples(every_ms: int) -> None:
    core = Core([rule()])
    made = core.feed(swing(15, every_ms=every_ms, period_ms=120_000))
    assert marks(made) == [(float(minute), minute >= 9) for minute in range(15)]
    assert [alert.flapping for alert in core.alerts()] == [True]


def test_one_incident_is_none() -> None:
    core = Core([rule(for_ms=120_000)])
    made = core.feed(swing(60, every_ms=15_000, period_ms=40 * MINUTE_MS))
    assert len(made) == 5
    assert not any(one.flapping for one in made)


def test_broken_pendings_count() -> None:
    core = Core([rule(for_ms=60_000)])
    made = core.feed(swing(15, every_ms=15_000, period_ms=60_000))
    assert {one.kind for one in made} == {"pending", "cleared"}
    assert next(at for at, marked in marks(made) if marked) == 9.0


def test_an_alert_that_can_not_fire_faster_is_marked_all_the_same() -> None:
    """It fires for a minute every twelve, which is as often as `for` lets it, half an hour after half an hour."""
    core = Core([rule(for_ms=5 * MINUTE_MS)])
    made = core.feed(swing(120, every_ms=30_000, period_ms=12 * MINUTE_MS))
    assert next(at for at, marked in marks(made) if marked) < 75
    fired = [one for one in made if one.kind == "firing"]
    assert fired[-1].flapping  # that it fires is no change, and it has the mark


def test_that_what_is_pending_fires_is_no_change() -> None:
    core = Core([rule(for_ms=30_000)])
    core.feed(swing(15, every_ms=15_000, period_ms=20 * MINUTE_MS))
    (ring,) = core._parts.book.flaps._rings[0].values()
    assert ring.bits.bit_count() == 2


def test_changes_of_severity_count() -> None:
    levels = [LevelTerms(severity="low", when="> 1"), LevelTerms(severity="high", when="> 5")]
    core = Core([rule(levels=levels)])
    samples = [Sample(START_MS + at * MINUTE_MS, "x", 9.0 if at % 2 else 3.0, MINUTE_MS) for at in range(15)]
    made = core.feed(samples)
    assert {one.kind for one in made} == {"firing"}
    assert marks(made) == [(float(minute), minute >= 9) for minute in range(15)]


def test_time_takes_the_mark_away() -> None:
    core = Core([rule()])
    core.feed(swing(11, every_ms=60_000, period_ms=120_000))
    (alert,) = core.alerts()
    assert alert.flapping
    core.feed([Sample(START_MS + (11 + n) * MINUTE_MS, "x", 9.0, MINUTE_MS) for n in range(20)])
    core.advance(START_MS + 31 * MINUTE_MS)
    (alert,) = core.alerts()
    assert (alert.state, alert.flapping) == ("firing", False)


def test_what_nobody_could_see_is_no_part_of_a_span() -> None:
    """A night's suspend does not calm an alert down."""
    night_ms = 8 * 3_600_000
    core = Core([rule()])
    core.feed(swing(10, every_ms=60_000, period_ms=120_000))
    end_ms = START_MS + 10 * MINUTE_MS
    core.feed([Blind(end_ms + night_ms, end_ms, end_ms + night_ms)])
    made = core.feed(swing(5, every_ms=60_000, period_ms=120_000, start_ms=end_ms + night_ms))
    assert [one.flapping for one in made] == [True] * 5


@pytest.mark.parametrize("expr", ["x > 5", "sum(x) > 5"])
@pytest.mark.parametrize("cut", [3, 9, 10, 12])
def test_a_restart_forgets_nothing(expr: str, cut: int) -> None:
    rules = [compile_rule("R", expr)]
    samples = swing(20, every_ms=60_000, period_ms=120_000)
    whole, first, second = Core(rules), Core(rules), Core(rules)
    made = whole.feed(samples)
    early = first.feed(samples[:cut])
    second.restore(first.snapshot())
    assert second.snapshot() == first.snapshot()
    assert early + second.feed(samples[cut:]) == made
    assert made[-1].flapping


def test_alerts_that_do_not_change_cost_nothing() -> None:
    core = Core([rule()])
    core.feed([Sample(START_MS + n * 1_000, f'x{{n="{n % 50}"}}', 0.0, 50_000) for n in range(1_000)])
    assert core._parts.book.flaps._rings == [{}]
    assert core.counters()["flaps_forgotten_total"] == 0
