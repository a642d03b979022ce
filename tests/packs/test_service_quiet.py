"""What fires nothing: a healthy service, an idle one, a restart, a gap. And what a quiet night does to an alert."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from engine.events import STALE, SampleBatch
from tests.packs.service import Service, batch, core_of, latest, pack, play, told

DAY_S = 86_400


def requests_of_a_day(seed: int) -> Iterator[SampleBatch]:
    """Busy by day and calm by night, with what happens to every service: errors, slow moments, a missed scrape."""
    rng, service = random.Random(seed), Service()
    for at_s in range(0, DAY_S + 1, 120):
        busy = 0.2 + 0.8 * (9 <= at_s / 3600 < 21)
        count = int(rng.gauss(1200, 120) * busy) + 1
        slow = 1.4 if rng.random() < 0.02 else 1.0
        for seconds, share in ((0.05, 0.80), (0.3, 0.16), (0.8, 0.035), (2.0, 0.005)):
            service.requests(int(count * share) + 1, seconds=seconds * slow)
        if rng.random() < 0.6:
            service.requests(rng.randint(1, 4) if count > 600 else 1, rng.choice(["500", "502", "503"]))
        yield service.scrape(at_s, 120, up=0.0 if rng.random() < 0.004 else 1.0)


@pytest.mark.slow
def test_a_day_of_requests_is_silent() -> None:
    core = core_of()
    made = play(core, requests_of_a_day(1))
    assert told(made) == []
    assert {t.rule for t in made} == {"ServiceDown"}, "a day without a single doubt would prove little"
    assert 0 < latest(core, "error_ratio:rate5m")['service:error_ratio:rate5m{job="shop"}'] < 0.02
    assert core.take_health() == []


def host_of_a_day(seed: int) -> Iterator[SampleBatch]:
    """Load that comes and goes with peaks up to the ceiling, memory that wanders, a disk that fills, a failed check."""
    rng = random.Random(seed)
    cpu, memory = 35.0, 60.0
    for at_s in range(0, DAY_S + 1, 60):
        busy = 0.2 + 0.8 * (9 <= at_s / 3600 < 21)
        cpu = min(100.0, max(2.0, 0.8 * cpu + 0.2 * rng.gauss(60 * busy, 40)))
        memory += rng.gauss(0, 0.4) + (70 - memory) * 0.01
        values = {
            "host_cpu_percent": rng.uniform(80, 100) if rng.random() < 0.04 else cpu,
            "host_memory_percent": memory + (20 if rng.random() < 0.002 else 0),
            'host_disk_percent{mountpoint="/"}': 55 + 10 * at_s / DAY_S + (16 if rng.random() < 0.005 else 0),
            'probe_success{instance="10.0.0.1:8000",probe="health"}': 0.0 if rng.random() < 0.002 else 1.0,
        }
        yield batch(at_s, values, 60)


@pytest.mark.slow
def test_a_day_of_the_host_is_silent() -> None:
    made = play(core_of(), host_of_a_day(1))
    assert told(made) == []
    assert {t.rule for t in made} == {
        "ServiceDown",
        "HighCpu",
        "HighMemory",
        "HighDiskUsage",
    }, "a day without a single doubt would prove little"


def test_a_service_that_nobody_asks() -> None:
    """0/0: no ratio and no percentile, neither 0 nor an alert, not even a pending one."""
    core, service = core_of(), Service()
    service.requests(100, "200")
    service.requests(100, "500", seconds=2.0)
    assert play(core, (service.scrape(at_s) for at_s in range(0, 1801, 15))) == []
    assert latest(core, "request_rate:rate5m") == {'service:request_rate:rate5m{job="shop"}': 0.0}
    assert latest(core, "throughput:rate5m") == {'service:throughput:rate5m{job="shop"}': 0.0}
    for record in ("error_ratio:rate5m", "latency_p50:rate5m", "latency_p95:rate5m", "latency_p99:rate5m"):
        assert latest(core, record) == {}, record
    assert latest(core, "availability:avg1h") == {'service:availability:avg1h{job="shop"}': 1.0}


def test_a_service_that_was_never_asked_has_no_series_of_requests() -> None:
    core, service = core_of(), Service()
    assert play(core, (service.scrape(at_s) for at_s in range(0, 601, 15))) == []
    assert latest(core, "request_rate:rate5m") == {}


def quiet_night(count: int, every: int, until_s: int = 1200) -> Iterator[SampleBatch]:
    """`count` requests at each so many-th scrape, all of which fail and take long."""
    service = Service()
    service.requests(0, "200")
    for step, at_s in enumerate(range(0, until_s + 1, 15)):
        service.requests(count if step % every == 0 else 0, "500", seconds=2.0)
        yield service.scrape(at_s)


def test_below_min_rate_nothing_arms() -> None:
    """Every request fails, but there are 20 in five minutes, and `min_rate` is 30."""
    core = core_of()
    assert play(core, quiet_night(1, 1)) == []
    assert latest(core, "error_ratio:rate5m") == {'service:error_ratio:rate5m{job="shop"}': 1.0}
    rules = {rule for _, rule, _ in told(play(core_of(pack("min_rate = 0.06")), quiet_night(1, 1)))}
    assert rules == {"HighErrorRate critical", "HighLatencyP95"}


def test_an_alert_that_fires_when_the_night_comes() -> None:
    """It is resolved when the last requests but a few have left the window, and does not come back."""
    core, service = core_of(), Service()
    made = []
    for at_s in range(0, 2401, 15):
        service.requests(20 if at_s <= 900 else 0, "500", seconds=2.0)
        service.requests(0, "200")
        made += play(core, [service.scrape(at_s)])
    # 20 requests of the last step are 20/285 s, those of two steps 40/285 s: above 0.1 until only one step is left.
    quiet_s = 900 + 285 - 15
    assert told(made) == [
        (315.0, "HighErrorRate critical", "firing"),
        (315.0, "HighLatencyP95", "firing"),
        (quiet_s, "HighErrorRate critical", "resolved"),
        (quiet_s, "HighLatencyP95", "resolved"),
    ]
    assert core.alerts() == []


def test_a_restart_of_the_service_is_no_error() -> None:
    """Counters begin anew at 0, errors among them; the largest steps are those of the restart."""
    core, service = core_of(), Service()
    made = []
    for at_s in range(0, 1801, 15):
        if at_s in (600, 1200, 1215, 1500):
            service.restart()
        service.requests(100)
        service.requests(1 if at_s % 60 == 0 else 0, "500")
        made += play(core, [service.scrape(at_s)])
    assert made == []
    assert 0 < latest(core, "error_ratio:rate5m")['service:error_ratio:rate5m{job="shop"}'] < 0.01


@pytest.mark.parametrize(
    ("gap_s", "told_down"),
    [(60, False), (240, True), (600, False), (3_600, True)],
)
def test_a_gap_of_scrapes(gap_s: int, told_down: bool) -> None:
    """Nobody could look. What was counted meanwhile comes at once, and nothing fires in the gap or after it."""
    core, service = core_of(), Service()
    made, last = [], None
    for at_s in range(0, 600 + gap_s + 600, 15):
        service.requests(100)
        service.requests(1 if at_s % 60 == 0 else 0, "500")
        if not 600 <= at_s < 600 + gap_s:
            last = service.scrape(at_s)
            made += play(core, [last, batch(at_s + 1, {"host_cpu_percent": 50.0, "host_memory_percent": 50.0})])
        elif told_down and at_s == 600 and last is not None:
            gone = dict.fromkeys(last.series, STALE)
            made += core.feed(
                [SampleBatch(batch(600, gone).time_ms, tuple(gone), batch(600, gone).values, 15_000, "target_down")]
            )
        made += core.advance(batch(at_s, {}).time_ms)
    assert made == []


@pytest.mark.parametrize("back_s", [645, 1005])
def test_a_gap_holds_what_fires(back_s: int) -> None:
    """Four minutes without a scrape, of which the last five are still known, and ten, after which the first scrape
    gives no rate yet: an alert neither resolves nor begins anew."""
    core, service = core_of(), Service()
    made = []
    for at_s in range(0, 1501, 15):
        service.requests(80)
        service.requests(20, "500")
        if not 405 <= at_s < back_s:
            made += play(core, [service.scrape(at_s)])
        made += core.advance(batch(at_s, {}).time_ms)
    assert told(made) == [(315.0, "HighErrorRate critical", "firing")]


@pytest.mark.parametrize("failed", [20, 4])
def test_nothing_is_resolved_while_nobody_can_look(failed: int) -> None:
    """An hour without a scrape. What has fired stays; what was pending does not fire on data that is not there."""
    core, service = core_of(), Service()
    made = []
    for at_s in range(0, 3000, 15):
        service.requests(100 - failed)
        service.requests(failed, "500", seconds=2.0)
        if at_s < 330:
            made += play(core, [service.scrape(at_s)])
        made += core.advance(batch(at_s, {}).time_ms)
    states = {(alert.rule, alert.state, alert.paused) for alert in core.alerts()}
    if failed == 4:
        assert (told(made), states) == ([], {("HighErrorRate", "pending", True)})
        return
    assert told(made) == [(315.0, "HighErrorRate critical", "firing"), (315.0, "HighLatencyP95", "firing")]
    assert states == {("HighErrorRate", "firing", True), ("HighLatencyP95", "firing", True)}
