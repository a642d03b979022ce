"""Transitions become one notification per rule, in order, with Alertmanager's group key."""

from engine.events import Transition
from engine.runtime.notifications import NOTIFICATION_ALERTS_MAX, group, message_id
from tests.runtime.rig import firing, resolved


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


def test_a_storm_is_cut_and_says_so() -> None:
    storm = [firing("R", number) for number in range(NOTIFICATION_ALERTS_MAX + 36)]
    (told,) = group(storm, "ops", {})
    assert len(told.transitions) == NOTIFICATION_ALERTS_MAX
    assert told.truncated == 36


def test_hostile_rule_names_stay_inside_their_quotes() -> None:
    (told,) = group([firing('a"}\\\n')], "ops", {})
    assert told.group_key == '{}:{alertname="a\\"}\\\\\\n"}'


def test_ids_are_stable_and_differ() -> None:
    ids = {message_id(run, sink, n) for run in ("a", "b") for sink in ("x", "y") for n in range(50)}
    assert len(ids) == 200
    assert message_id("a", "x", 1) == message_id("a", "x", 1)
    assert all(len(i) == 30 and i.startswith("evt_") and i[4:].isalnum() for i in ids)
