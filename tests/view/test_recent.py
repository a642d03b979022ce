"""The latest lines: bounded, literal, from transitions, health events and the log."""

import math
import threading
from zoneinfo import ZoneInfo

from engine.events import Health, Sample, Transition
from engine.ports import Recorder
from engine.view.recent import LINES_MAX, RecentLines, RecentSink

T_MS = 1_700_000_000_000


def lines() -> RecentLines:
    return RecentLines(ZoneInfo("Europe/Berlin"))


def transition(before: str, after: str, reason: str, value: float = 93.12) -> Transition:
    labels = {"alertname": "HighCpu", "instance": "\x1b[31ma"}
    return Transition(T_MS, "HighCpu", labels, before, after, reason, value, T_MS)  # type: ignore[arg-type]


async def test_the_sink_keeps_what_people_would_want_to_see() -> None:
    kept = lines()
    sink = RecentSink(kept)
    assert isinstance(sink, Recorder)
    await sink.open()
    await sink.write(
        [
            Sample(T_MS, "up", 1.0),
            transition("inactive", "pending", "condition"),
            transition("pending", "firing", "held"),
            transition("firing", "inactive", "recovered", math.nan),
            transition("firing", "inactive", "lost"),
            Health(T_MS, "probe.health", "failed", "timeout", "no answer\nwithin 3s"),
            Health(T_MS, "probe.health", "ok", "recovered"),
        ]
    )
    await sink.close()
    assert kept.latest(10) == [
        ("23:13:20 PENDING HighCpu instance=\\x1b[31ma value=93.12", "warn"),
        ("23:13:20 FIRING HighCpu instance=\\x1b[31ma value=93.12", "bad"),
        ("23:13:20 RESOLVED HighCpu instance=\\x1b[31ma after 0s (recovered)", "ok"),
        ("23:13:20 LOST HighCpu instance=\\x1b[31ma after 0s: no data, its state is not known", "warn"),
        ("23:13:20 failed probe.health timeout: no answer\\nwithin 3s", "bad"),
        ("23:13:20 ok probe.health recovered", "ok"),
    ]


def test_lines_are_bounded_from_any_thread() -> None:
    kept = lines()

    def add_many() -> None:
        for _ in range(1_000):
            kept.add("x")

    threads = [threading.Thread(target=add_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept.add("newest")
    assert len(kept.latest(10_000)) == LINES_MAX
    assert kept.latest(1) == [("newest", "")]
    assert kept.latest(0) == []


def test_when_the_view_is_gone_new_lines_are_handed_on() -> None:
    kept = lines()
    kept.add("before")
    printed: list[str] = []
    kept.follow(printed.append)
    kept.add("after")
    assert printed == ["after"]


def test_a_change_of_severity_says_what_it_was() -> None:
    kept = lines()
    labels = {"alertname": "HighCpu", "instance": "a"}
    kept.add_record(
        Transition(T_MS, "HighCpu", labels, "firing", "firing", "level", 95.0, T_MS, {}, T_MS, "critical", "warning")
    )
    ((text, style),) = kept.latest(1)
    assert text.endswith("FIRING HighCpu instance=a severity=critical value=95 (was warning)")
    assert style == "bad"


def test_an_alert_that_goes_back_and_forth_says_so() -> None:
    kept = lines()
    kept.add_record(
        Transition(T_MS, "R", {"alertname": "R"}, "firing", "inactive", "recovered", 9.0, T_MS, flapping=True)
    )
    ((text, _),) = kept.latest(1)
    assert text.endswith("RESOLVED R after 0s (recovered, flapping)")
