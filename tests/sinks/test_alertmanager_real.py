"""The `alertmanager` sink and a real Alertmanager: the same alerts, the same bodies, and no flap across restarts."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from engine.durations import Duration
from engine.events import Transition
from engine.ports import Notification
from engine.secrets import Secret
from sinks.alertmanager import AlertmanagerOptions, AlertmanagerSink
from sinks.webhook import WebhookOptions, WebhookSink
from tests.probes.servers import free_port
from tests.sinks import debian_alertmanager as debian
from tests.sinks.context import StillClock, context, transition
from tests.sinks.hook import hooked

pytestmark = debian.needed


@asynccontextmanager
async def opened(url: str, clock: StillClock) -> AsyncIterator[AlertmanagerSink]:
    sink = AlertmanagerSink(
        AlertmanagerOptions(urls=[Secret(url)], interval=Duration(5_000)), context(clock=clock, name="hook")
    )
    await sink.open()
    try:
        yield sink
    finally:
        await sink.close()


def told(name: str, *transitions: Transition) -> Notification:
    return Notification(
        receiver="hook",
        group_key=f'{{}}:{{alertname="{name}"}}',
        group_labels={"alertname": name},
        transitions=transitions,
    )


def now() -> StillClock:
    clock = StillClock()
    clock.wall_ms = time.time_ns() // 1_000_000 // 10 * 10 + 7  # Go leaves out the zeros at the end of a fraction
    return clock


async def test_a_body_of_ours_and_of_the_real_one_are_equal_field_by_field(tmp_path: Path) -> None:
    clock = now()
    fired_ms = clock.wall_ms - 120_000
    labels = {"alertname": "HighCpu", "instance": 'a"b\nü', "severity": "critical"}
    notes = {"summary": "hot <&> ü", "runbook_url": "https://example.org/rb"}
    firing = transition("firing", fired_ms, labels, annotations=notes)
    resolve = transition("resolved", clock.wall_ms - 1_000, labels, annotations=notes, fired_ms=fired_ms)
    ours = WebhookSink(WebhookOptions(url=Secret("http://x")), context())
    async with (
        hooked() as (hook, to),
        debian.running(tmp_path, to, free_port()) as url,
        opened(url, clock) as sink,
    ):
        for number, change in enumerate((firing, resolve)):
            notification = told("HighCpu", change)
            await sink.deliver(f"evt_{number}", sink.render(notification))
            await hook.wait(lambda: len(hook.bodies) > number)  # noqa: B023  # awaited here
            theirs = hook.bodies[number]
            assert theirs.pop("externalURL").startswith("http"), "each names itself; we have no page yet"
            mine = msgspec.json.decode(ours.render(notification))
            assert mine.pop("externalURL") == ""
            assert mine == theirs
            assert theirs["status"] == change.kind


async def test_no_flap_across_its_restart_and_ours(tmp_path: Path) -> None:
    """F50: both are gone and back, and the people behind it have heard of one firing and one resolve."""
    clock, port = now(), free_port()
    fired_ms = clock.wall_ms - 60_000
    firing = transition("firing", fired_ms, {"alertname": "A", "instance": "a"}, annotations={"summary": "s"})
    async with hooked() as (hook, to):
        async with debian.running(tmp_path, to, port) as url, opened(url, clock) as sink:
            await sink.deliver("evt_1", sink.render(told("A", firing)))
            await hook.wait(lambda: hook.of("A") == ["firing"])
            (listed,) = debian.query(url)
            assert listed["labels"] == firing.labels
            assert listed["fingerprint"] == firing.fingerprint
            assert listed["status"]["state"] == "active"
            other = transition("firing", fired_ms, {"alertname": "Z"})
            await sink.deliver("evt_z", sink.render(told("Z", other)))
            await hook.wait(lambda: bool(hook.of("Z")))  # by now it has noted that A was told
        async with debian.running(tmp_path, to, port) as url:
            async with opened(url, clock) as sink:  # ours is new, too
                clock.wall_ms = now().wall_ms
                sink.resume(told("A", firing, other))
                await sink.tick({})
                again = next(one for one in debian.query(url) if one["labels"] == firing.labels)
                assert (again["fingerprint"], again["startsAt"]) == (listed["fingerprint"], listed["startsAt"])
            async with opened(url, clock) as sink:  # ours alone
                sink.resume(told("A", firing))
                for name in ("B", "C"):  # what is told after these has had its time
                    await sink.deliver(
                        f"evt_{name}", sink.render(told(name, transition("firing", fired_ms, {"alertname": name})))
                    )
                    await hook.wait(lambda: bool(hook.of(name)))  # noqa: B023  # awaited here
                assert {alert["labels"]["alertname"] for alert in debian.query(url)} == {"A", "B", "C", "Z"}
                end = transition(
                    "resolved", now().wall_ms - 10, firing.labels, annotations={"summary": "s"}, fired_ms=fired_ms
                )
                await sink.deliver("evt_2", sink.render(told("A", end)))
                await hook.wait(lambda: hook.of("A")[-1] == "resolved")
    assert hook.of("A") == ["firing", "resolved"]


async def test_a_change_of_severity_is_two_alerts_one_of_which_has_ended(tmp_path: Path) -> None:
    clock = now()
    fired_ms, labels = clock.wall_ms - 60_000, {"alertname": "L"}
    first = transition("firing", fired_ms, labels, severity="warning")
    up = transition(
        "level", clock.wall_ms - 500, labels, severity="critical", severity_before="warning", fired_ms=fired_ms
    )
    async with hooked() as (hook, to), debian.running(tmp_path, to, free_port()) as url, opened(url, clock) as sink:
        for number, change in enumerate((first, up), 1):
            await sink.deliver(f"evt_{number}", sink.render(told("L", change)))
            await hook.wait(lambda: len(hook.bodies) == number)  # noqa: B023  # awaited here
        (active,) = debian.query(url)
        assert active["labels"]["severity"] == "critical"
    statuses = {alert["labels"]["severity"]: alert["status"] for alert in hook.bodies[-1]["alerts"]}
    assert statuses == {"warning": "resolved", "critical": "firing"}


async def test_an_alert_it_calls_bad_costs_no_other_f51(tmp_path: Path) -> None:
    clock = now()
    good, bad = ({"alertname": "G", "i": str(n)} for n in range(2))
    bad |= {"not a name": "x"}
    both = [transition("firing", clock.wall_ms - 1_000, labels) for labels in (good, bad)]
    async with hooked() as (hook, to), debian.running(tmp_path, to, free_port()) as url, opened(url, clock) as sink:
        with pytest.raises(Exception, match="called 1 of 2 alerts bad"):
            await sink.deliver("evt_1", sink.render(told("G", *both)))
        await hook.wait(lambda: bool(hook.bodies))
        assert [alert["labels"] for alert in debian.query(url)] == [good]
