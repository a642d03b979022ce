"""Transitions become one notification per rule, in order, with Alertmanager's group key."""

import msgspec
import pytest

from engine.events import Transition
from engine.runtime.notifications import (
    NOTIFICATION_ALERTS_MAX,
    NOTIFICATION_BYTES_MAX,
    TRANSITIONS_PER_TURN,
    group,
    grouped,
)
from engine.secrets import Secret
from sinks.webhook import WebhookOptions, WebhookSink
from tests.runtime.rig import firing, resolved
from tests.sinks.context import context


def test_one_for_each_rule_in_the_order_of_appearance() -> None:
    told = group([firing("B", 1), firing("A", 2), resolved("B", 3)], "ops", {"env": "prod"})
    assert [(n.group_key, [t.time_ms for t in n.transitions]) for n in told] == [
        ('{}:{alertname="B"}', [1, 3]),
        ('{}:{alertname="A"}', [2]),
    ]
    assert told[0].group_labels == {"alertname": "B"}
    assert (told[0].receiver, told[0].external_labels, told[0].truncated) == ("ops", {"env": "prod"}, 0)


def test_only_what_people_act_on_is_told() -> None:
    pending = Transition(1, "R", {}, "inactive", "pending", "condition", 1.0, 1)
    cleared = Transition(1, "R", {}, "pending", "inactive", "recovered", 1.0, 1)
    lost = Transition(1, "R", {}, "firing", "inactive", "lost", 1.0, 1)
    assert group([pending, cleared], "ops", {}) == []
    assert group([pending, lost], "ops", {})[0].transitions == (lost,)


def test_a_storm_is_told_in_parts_and_nothing_is_left_out() -> None:
    storm = [firing("R", number) for number in range(3 * NOTIFICATION_ALERTS_MAX + 8)]
    told = group([*storm, firing("S")], "ops", {})
    assert [len(n.transitions) for n in told] == [NOTIFICATION_ALERTS_MAX] * 3 + [8, 1]
    assert [t for n in told[:4] for t in n.transitions] == storm
    assert {n.group_key for n in told[:4]} == {'{}:{alertname="R"}'}
    assert {n.truncated for n in told} == {0}


def level(number: int, text: str = "") -> Transition:
    labels = {"alertname": "R", "i": f"{number}"}
    told = Transition(number, "R", labels, "firing", "firing", "level", 1.0, 1, {"a": text}, 1, "critical", "warning")
    assert told.changes_level
    return told


def test_a_change_of_severity_is_told_and_takes_two_places() -> None:
    """The end of the old label set, and the start of the new one."""
    storm = [level(number) for number in range(NOTIFICATION_ALERTS_MAX)]
    told = group(storm, "ops", {}, send_resolved=False)
    assert [len(n.transitions) for n in told] == [NOTIFICATION_ALERTS_MAX // 2] * 2
    sink = WebhookSink(WebhookOptions(url=Secret("http://x")), context())
    long = [level(number, '"' * 30_000) for number in range(16)]
    bodies = [msgspec.json.decode(sink.render(notification)) for notification in group(long, "ops", {})]
    assert [body["truncatedAlerts"] for body in bodies] == [0] * len(bodies)
    assert sum(len(body["alerts"]) for body in bodies) == 32


@pytest.mark.parametrize("text", ["x", "\u20ac", '"', "\\"])
def test_long_texts_are_told_in_smaller_parts_so_that_no_sink_leaves_an_alert_out(text: str) -> None:
    """A body has at most 512 KiB, and an alert up to 16 KiB of annotations."""
    sink = WebhookSink(WebhookOptions(url=Secret("http://x")), context())
    storm = [
        msgspec.structs.replace(firing("R", n, i=f"{n}"), annotations={"a": text * 30_000, "b": f"{n}"})
        for n in range(64)
    ]
    told = group(storm, "ops", {})
    assert [t for n in told for t in n.transitions] == storm
    for notification in told:
        body = msgspec.json.decode(sink.render(notification))
        assert body["truncatedAlerts"] == 0
        assert len(body["alerts"]) == len(notification.transitions)


def test_an_alert_larger_than_the_bound_is_told_by_itself() -> None:
    big = [firing("R", n, label="x" * NOTIFICATION_BYTES_MAX) for n in range(3)]
    assert [len(n.transitions) for n in group(big, "ops", {})] == [1, 1, 1]


def test_it_is_done_in_turns() -> None:
    storm = [firing("R", number) for number in range(10_000)]
    parts = list(grouped(storm, "ops", {}, send_resolved=True))
    assert parts.count(None) == 10_000 // TRANSITIONS_PER_TURN
    assert len(parts) - parts.count(None) == -(-10_000 // NOTIFICATION_ALERTS_MAX)


def test_resolved_ones_are_left_out_for_who_does_not_want_them() -> None:
    lost = Transition(1, "R", {}, "firing", "inactive", "lost", 1.0, 1)
    assert group([resolved()], "ops", {}, send_resolved=False) == []
    assert group([resolved(), lost], "ops", {}, send_resolved=False)[0].transitions == (lost,)


def test_hostile_rule_names_stay_inside_their_quotes() -> None:
    (told,) = group([firing('a"}\\\n')], "ops", {})
    assert told.group_key == '{}:{alertname="a\\"}\\\\\\n"}'
