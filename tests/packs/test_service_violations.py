"""ZeroTrustViolation: the first violation on a label set that was never seen fires, an old counter does not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.core.evaluator import Core
from engine.events import Event, SampleBatch, SecurityViolation, Transition
from engine.testing import START_MS
from tests.packs.service import Service, batch, core_of, pack, play, told

RULE = "ZeroTrustViolation"
SCRAPED = pack('violations = "auth_denied_total"')
LATE_S, WINDOW_S = 30, 300


def violation(at_s: float) -> SecurityViolation:
    return SecurityViolation(time_ms=START_MS + round(at_s * 1000), kind="token_expired", source="10.0.0.9")


def alive(until_s: int) -> Iterator[SampleBatch]:
    """Something that is measured, so that time goes on."""
    for at_s in range(0, until_s + 1, 15):
        yield batch(at_s, {"host_memory_percent": 50.0})


def merged(*streams: Iterator[SampleBatch] | list[Event]) -> list[Event]:
    return sorted((event for stream in streams for event in stream), key=lambda event: event.time_ms)


def violations(made: list[Transition]) -> list[tuple[float, str]]:
    return [(at_s, kind) for at_s, rule, kind in told(made) if rule == RULE]


# --- domain events --------------------------------------------------------------------------------


@pytest.mark.parametrize("at_s", [0, 0.5, 20, 3 * 3600 + 0.25])
def test_the_first_event_fires_a_minute_later(at_s: float) -> None:
    """From the engine's first second on, and hours after its counter was last heard of."""
    core = core_of(pack(resolution="1s" if at_s < 60 else "1m"))
    before = play(core, [event for event in alive(int(at_s) + 60) if event.time_ms <= START_MS + at_s * 1000])
    made = before + play(core, [violation(at_s)], at_s + 59.999)
    assert violations(made) == []
    assert violations(core.advance(START_MS + round(at_s * 1000) + 60_000)) == [(at_s + 60, "firing")]
    assert [a.labels for a in core.alerts()] == [
        {"alertname": RULE, "severity": "critical", "type": "security_violation"}
    ]


def test_it_lasts_until_five_minutes_have_passed_without_another() -> None:
    """With the default resolution: what was counted is known as new for 30 s, and in the window for 5 minutes."""
    core = core_of(pack(resolution="1s"))
    made = play(core, merged(alive(600), [violation(10), violation(200)]), 900)
    assert violations(made) == [(70, "firing"), (200 + LATE_S - 1 + WINDOW_S, "resolved")]


def test_many_at_once_are_told_by_number() -> None:
    core = core_of()
    made = play(core, merged(alive(300), [violation(100 + n / 1000) for n in range(7)]))
    (fired,) = [t for t in made if t.kind == "firing"]
    assert fired.annotations["description"].startswith("7 at once.")


def test_other_events_are_none() -> None:
    core = core_of()
    assert play(core, alive(600)) == []


# --- what a target exposes ------------------------------------------------------------------------


def exposed(counts: dict[int, dict[str, float]], until_s: int, down: range = range(0)) -> Iterator[SampleBatch]:
    """A target whose counters have these values from these seconds on, by kind."""
    service = Service()
    for at_s in range(0, until_s + 1, 15):
        for kind, value in counts.get(at_s, {}).items():
            series = service.series("auth_denied_total", kind=kind)
            service.more.pop(series, None)
            if value >= 0:
                service.more[series] = value
        yield service.scrape(at_s, up=0.0 if at_s in down else 1.0)


def test_a_counter_that_appears_with_one() -> None:
    core = core_of(SCRAPED)
    events = list(exposed({300: {"mtls": 1}}, 900))
    made = play(core, [event for event in events if event.time_ms < START_MS + 360_000], 359.999)
    assert violations(made) == []
    made = play(core, [event for event in events if event.time_ms >= START_MS + 360_000])
    assert violations(made) == [(360, "firing"), (300 + LATE_S - 15 + WINDOW_S, "resolved")]


def test_a_counter_that_appears_at_the_second_answer() -> None:
    """Its target was there once, but half a minute ago it was not: what is new is known a little later, not never."""
    made = play(core_of(SCRAPED), exposed({15: {"mtls": 1}}, 600))
    assert violations(made)[0] == (30 + 60, "firing")


def test_a_counter_goes_on() -> None:
    made = play(core_of(SCRAPED), exposed({0: {"mtls": 7}, 600: {"mtls": 8}}, 1200))
    assert violations(made) == [(660, "firing"), (600 + LATE_S - 15 + WINDOW_S, "resolved")]


def test_one_label_set_does_not_hide_another() -> None:
    core = core_of(SCRAPED)
    play(core, exposed({0: {"mtls": 7}, 300: {"token": 1}, 330: {"mtls": 8}}, 480))
    assert sorted(a.labels["kind"] for a in core.alerts()) == ["mtls", "token"]


def test_a_restart_of_the_engine_with_an_old_counter() -> None:
    """All it sees at its first look has been there before."""
    assert play(core_of(SCRAPED), exposed({0: {"mtls": 7, "token": 1}}, 1800)) == []


@pytest.mark.parametrize("up", ["up", "alive"])
def test_an_old_counter_of_a_target_that_is_new(up: str) -> None:
    """That there is a target is known by what `up` names."""
    core = core_of(pack(f'violations = "auth_denied_total"\nup = "{up}"'))
    labels = '{instance="i:1",job="shop"}'
    target = (batch(at_s, {up + labels: 1.0, "auth_denied_total" + labels: 7.0}) for at_s in range(600, 1501, 15))
    assert violations(play(core, merged(alive(1500), target))) == []


@pytest.mark.parametrize("down_s", [15, 240, 600, 4500])
def test_a_restart_of_the_service_with_its_old_counter(down_s: int) -> None:
    """It was down for a while, and has kept its counts in a file."""
    core = core_of(pack('violations = "auth_denied_total"'))
    made = play(core, exposed({0: {"mtls": 7}}, 1200 + down_s, range(600, 600 + down_s)))
    assert violations(made) == []
    assert [a for a in core.alerts() if a.rule == RULE] == []


def test_a_restart_of_the_service_with_a_new_counter() -> None:
    """From 7 to 0 is nothing; from 0 to 1 is a violation, and so is from 7 to nothing to 1."""
    assert play(core_of(SCRAPED), exposed({0: {"mtls": 7}, 600: {"mtls": 0}}, 900)) == []
    made = play(core_of(SCRAPED), exposed({0: {"mtls": 7}, 600: {"mtls": 0}, 630: {"mtls": 1}}, 900))
    assert violations(made)[0] == (690, "firing")
    made = play(core_of(SCRAPED), exposed({0: {"mtls": 7}, 600: {"mtls": -1}, 900: {"mtls": 1}}, 1200))
    assert violations(made)[0] == (960, "firing")


@pytest.mark.parametrize(("after", "fires"), [(7.0, False), (8.0, True)])
def test_a_gap_of_scrapes(after: float, fires: bool) -> None:
    """What was counted in a gap is told after it."""
    events = [
        e
        for e in exposed({0: {"mtls": 7}, 1500: {"mtls": after}}, 1800)
        if not 600 <= (e.time_ms - START_MS) / 1000 < 1500
    ]
    made = play(core_of(SCRAPED), events)
    assert violations(made)[:1] == ([(1560, "firing")] if fires else [])


def test_a_sample_that_comes_late() -> None:
    """It is stamped when it was measured and judged when it comes: within half a minute it is not lost."""
    core = core_of(SCRAPED)
    events = list(exposed({300: {"mtls": 1}}, 600))
    made: list[Transition] = []
    for event in events:
        late = event.time_ms == START_MS + 300_000
        made += core.advance(event.time_ms + (12_000 if late else 0)) + core.feed([event])
    assert violations(made) == [(312 + 60, "firing")]


# --- a counter without a target -------------------------------------------------------------------


def emitted(core: Core, counts: dict[float, float], until_s: float) -> list[Transition]:
    """A service in whose process the engine runs, and that hands its counter over itself."""
    series = 'auth_denied_total{kind="mtls"}'
    samples: list[SampleBatch] = [batch(at_s, {series: value}) for at_s, value in counts.items()]
    return violations_of(play(core, merged(alive(int(until_s)), list(samples))))


def violations_of(made: list[Transition]) -> list[Transition]:
    return [t for t in made if t.rule == RULE and t.kind == "firing"]


def test_a_counter_without_a_target_that_appears_with_one() -> None:
    (fired,) = emitted(core_of(SCRAPED), {300: 1}, 600)
    assert fired.time_ms == START_MS + 360_000


def test_a_restart_of_the_engine_with_an_old_counter_that_has_no_target() -> None:
    assert emitted(core_of(SCRAPED), {5.0 + 15 * n: 7 for n in range(40)}, 600) == []
    fired = emitted(core_of(SCRAPED), {5.0 + 15 * n: 7 + (n >= 2) for n in range(40)}, 600)
    assert [t.time_ms for t in fired] == [START_MS + 35_000 + 60_000]
