"""The alerts of the pack `service`: each fires at its exact instant, not a millisecond before, and resolves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from engine.config import load_text
from engine.events import SampleBatch
from engine.testing import START_MS
from tests.packs.service import OLD, Service, core_of, gauge, latest, pack, play, severities, told

EVERY_S = 7  # so that deadlines lie between samples


class Gauge(NamedTuple):
    """An alert over a gauge: what makes it fire and what does not, on the line included."""

    rule: str
    series: str
    bad: float
    line: float
    for_s: int
    on_the_line: str = ""
    """The level that is left then; else it is resolved."""


GAUGES = [
    Gauge("HighMemory critical", "host_memory_percent", 95.01, 95.0, 300, "HighMemory warning"),
    Gauge("HighMemory warning", "host_memory_percent", 85.01, 85.0, 600),
    Gauge("HighDiskUsage", 'host_disk_percent{mountpoint="/"}', 70.01, 70.0, 3600),
    Gauge("HighCpu critical", "host_cpu_percent", 90.01, 90.0, 300, "HighCpu warning"),
    Gauge("HighCpu warning", "host_cpu_percent", 80.01, 80.0, 600),
    Gauge("ServiceDown", 'up{instance="10.0.0.1:8000",job="shop"}', 0.0, 1.0, 120),
    Gauge("ServiceDown", 'probe_success{instance="10.0.0.1:8000",probe="health"}', 0.0, 1.0, 120),
]


@pytest.mark.parametrize("case", GAUGES, ids=lambda case: f"{case.rule}-{case.series.partition('{')[0]}")
def test_a_gauge_over_its_line(case: Gauge) -> None:
    """From the first sample on it is bad; on the line itself nothing is wrong, or what the level below says."""
    core = core_of()
    good_s = case.for_s + 3 * EVERY_S - case.for_s % EVERY_S
    samples = gauge(case.series, lambda s: case.bad if s < good_s else case.line, case.for_s - 1, EVERY_S)
    assert told(play(core, samples, case.for_s - 0.001)) == []
    assert told(core.advance(START_MS + case.for_s * 1000)) == [(case.for_s, case.rule, "firing")]
    (alert,) = core.alerts()
    assert f"{alert.rule} {alert.severity}".strip() == case.rule
    assert (alert.state, alert.active_since_ms) == ("firing", START_MS)
    at_s = case.for_s - case.for_s % EVERY_S + EVERY_S
    rest = list(gauge(case.series, lambda s: case.bad if s < good_s else case.line, good_s + 120, EVERY_S, at_s))
    then = told(play(core, rest))
    # The average of a minute is at the line when its last bad sample has left the window, or is nearly so.
    slack_s = 60 if "Cpu" in case.rule else 0
    after = (case.on_the_line, "firing") if case.on_the_line else (case.rule, "resolved")
    assert [(rule, kind) for _, rule, kind in then] == [after]
    assert good_s <= then[0][0] <= good_s + slack_s


def test_severities_and_durations_are_those_of_the_table() -> None:
    alerts = [rule for rule in load_text(pack()).rules if rule.table.annotations]
    assert [(rule.name, length, word) for rule in alerts for word, length in severities(rule.table)] == [
        ("ServiceDown", "2m", "critical"),
        ("HighErrorRate", "10m", "warning"),
        ("HighErrorRate", "5m", "critical"),
        ("HighCpu", "10m", "warning"),
        ("HighCpu", "5m", "critical"),
        ("HighMemory", "10m", "warning"),
        ("HighMemory", "5m", "critical"),
        ("HighLatencyP95", "5m", "warning"),
        ("ZeroTrustViolation", "1m", "critical"),
        ("HighDiskUsage", "1h", "info"),
    ]


def test_a_break_of_one_sample_starts_the_time_anew() -> None:
    core = core_of()
    samples = gauge("host_memory_percent", lambda s: 90 if s == 294 else 99, 900, EVERY_S)
    made = play(core, samples)
    assert told(made) == [(600.0, "HighMemory warning", "firing"), (601.0, "HighMemory critical", "firing")]
    assert [t.annotations["description"] for t in made if t.kind == "firing"] == [
        "When nothing is left, the kernel kills processes to get memory back.",
        "Soon the kernel kills processes to get memory back.",
    ]


# --- errors ---------------------------------------------------------------------------------------


def failing(
    until_s: int, bad_until_s: int, share: float, start: int = OLD, label: str = "status"
) -> Iterator[SampleBatch]:
    """100 requests every 15 s, of which a share fails until a sample."""
    service = Service(status_label=label, start=start)
    for at_s in range(0, until_s + 1, 15):
        failed = round(100 * share) if at_s <= bad_until_s else 0
        service.requests(100 - failed)
        service.requests(failed, "503")
        yield service.scrape(at_s)


@pytest.mark.parametrize("label", ["status", "code"])
def test_a_tenth_of_the_requests_fails(label: str) -> None:
    """A ratio is there from the second sample on. A window holds 19 steps, and 2 of 10 % in 19 are not over 2 %."""
    core = core_of()
    events = list(failing(1500, 900, 0.1, label=label))
    first = [event for event in events if event.time_ms < START_MS + 315_000]
    assert told(play(core, first, 314.999)) == []
    assert told(core.advance(START_MS + 315_000)) == [(315.0, "HighErrorRate critical", "firing")]
    assert latest(core, "error_ratio:rate5m") == {'service:error_ratio:rate5m{job="shop"}': pytest.approx(0.1)}
    made = play(core, events[len(first) :])
    # k bad steps of 19 are left at 900 + 285 - 15 k seconds. 0.1 k / 19 is at most 5 % at k = 9 and 2 % at k = 3.
    assert told(made) == [
        (900 + 285 - 9 * 15, "HighErrorRate warning", "firing"),
        (900 + 285 - 3 * 15, "HighErrorRate warning", "resolved"),
    ]
    assert {t.reason for t in made if t.kind == "resolved"} == {"recovered"}


@pytest.mark.parametrize(("share", "rules"), [(0.05, ["HighErrorRate warning"]), (0.02, [])])
def test_on_the_line_is_not_over_it(share: float, rules: list[str]) -> None:
    assert [rule for _, rule, _ in told(play(core_of(), failing(1200, 1200, share)))] == rules


def test_the_texts_say_how_many_and_whose() -> None:
    made = play(core_of(pack('runbooks = "https://wiki.example.org"')), failing(700, 700, 0.1))
    fired = {t.rule: t for t in made if t.kind == "firing"}
    assert fired["HighErrorRate"].annotations == {
        "summary": "shop: 10% of all requests fail",
        "description": "So many of the requests of the last 5 minutes failed, for long enough to be no accident.",
        "runbook_url": "https://wiki.example.org/HighErrorRate.md",
    }
    assert fired["HighErrorRate"].shown_labels == {"alertname": "HighErrorRate", "job": "shop", "severity": "critical"}


# --- latency --------------------------------------------------------------------------------------


def slow(until_s: int, bad_until_s: int) -> Iterator[SampleBatch]:
    """100 requests every 15 s, of which 10 take two seconds until a sample."""
    service = Service()
    for at_s in range(0, until_s + 1, 15):
        tail = 10 if at_s <= bad_until_s else 0
        service.requests(100 - tail)
        service.requests(tail, seconds=2.0)
        yield service.scrape(at_s)


def test_one_request_in_ten_is_slow() -> None:
    core = core_of()
    events = list(slow(1200, 600))
    first = [event for event in events if event.time_ms < START_MS + 315_000]
    assert told(play(core, first, 314.999)) == []
    made = core.advance(START_MS + 315_000)
    assert told(made) == [(315.0, "HighLatencyP95", "firing")]
    # Half of the slow tenth is below the percentile, in the bucket from 1 to 2.5 s.
    assert made[0].annotations["summary"] == "shop: one request in twenty takes more than 1.75s"
    assert latest(core, "latency_p50:rate5m") == {'service:latency_p50:rate5m{job="shop"}': pytest.approx(0.5 / 9)}
    assert latest(core, "latency_p99:rate5m") == {'service:latency_p99:rate5m{job="shop"}': pytest.approx(2.35)}
    # 0.1 k / 19 of all requests are slow; with k = 9 it is less than one in twenty.
    assert told(play(core, events[len(first) :])) == [(600 + 285 - 9 * 15, "HighLatencyP95", "resolved")]


# --- what is recorded -----------------------------------------------------------------------------


def test_what_is_recorded_of_a_service_that_lives() -> None:
    core = core_of()
    play(core, failing(600, 600, 0.25))
    job = '{job="shop"}'
    for record, value in {
        "request_rate:rate5m": 100 / 15,
        "errors:rate5m": 25 / 15,
        "throughput:rate5m": 75 / 15,
        "error_ratio:rate5m": 0.25,
        "observations:rate5m": 100 / 15,
        "availability:avg1h": 1.0,
    }.items():
        assert latest(core, record) == {f"service:{record}{job}": pytest.approx(value)}, record


def test_targets_of_one_service_are_added_up_and_services_told_apart() -> None:
    core = core_of()
    one, two = Service(), Service({"job": "shop", "instance": "10.0.0.2:8000"})
    other = Service({"job": "pay", "instance": "10.0.0.3:8000"})
    for at_s in range(0, 301, 15):
        for service, count, status in ((one, 100, "200"), (two, 100, "500"), (other, 10, "200")):
            service.requests(count, status)
            play(core, [service.scrape(at_s)])
    assert latest(core, "error_ratio:rate5m") == {
        'service:error_ratio:rate5m{job="shop"}': pytest.approx(0.5),
        'service:error_ratio:rate5m{job="pay"}': 0.0,
    }


def test_availability_is_the_share_of_checks_that_succeeded() -> None:
    """An hour has 60 checks; one of the two targets fails a quarter of them."""
    core = core_of()
    one, two = Service(), Service({"job": "shop", "instance": "10.0.0.2:8000"})
    for step in range(60):
        play(core, [one.scrape(step * 60, 60), two.scrape(step * 60, 60, up=0.0 if step % 4 == 0 else 1.0)])
    assert latest(core, "availability:avg1h") == {'service:availability:avg1h{job="shop"}': pytest.approx(0.875)}


def test_requests_without_a_status_have_no_errors_that_could_be_known() -> None:
    """A wrong status label must not look like a service without errors."""
    core = core_of(pack('status_labels = ["outcome"]'))
    play(core, failing(300, 300, 0.5))
    assert latest(core, "request_rate:rate5m") != {}
    assert latest(core, "errors:rate5m") == latest(core, "error_ratio:rate5m") == {}
