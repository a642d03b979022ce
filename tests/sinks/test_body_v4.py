"""Alertmanager's webhook body, version 4: the form, the times, the limits."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.events import Transition
from engine.ports import Notification
from engine.series import fingerprint
from sinks._body_parts import ANNOTATION_BYTES_MAX, BODY_BYTES_MAX, CUT_MARK
from sinks._body_v4 import render
from tests.sinks.context import NOW_MS, transition

ZERO = "0001-01-01T00:00:00Z"


def notification(*transitions: Transition, **more: Any) -> Notification:
    fields: dict[str, Any] = {
        "receiver": "ops",
        "group_key": '{}:{alertname="HighCpu"}',
        "group_labels": {"alertname": "HighCpu"},
        "transitions": transitions,
    }
    return Notification(**fields | more)


def body_of(*transitions: Transition, **more: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(render(notification(*transitions, **more)))
    return body


def test_a_firing_alert_is_alertmanagers_own_example() -> None:
    """The body that a real Alertmanager sends for this alert, but for its URLs."""
    told = transition("firing", NOW_MS + 45, annotations={"summary": "hot"})
    labels = {"alertname": "HighCpu", "instance": "a", "severity": "critical"}
    assert body_of(told) == {
        "version": "4",
        "groupKey": '{}:{alertname="HighCpu"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "ops",
        "groupLabels": {"alertname": "HighCpu"},
        "commonLabels": labels,
        "commonAnnotations": {"summary": "hot"},
        "externalURL": "",
        "alerts": [
            {
                "status": "firing",
                "labels": labels,
                "annotations": {"summary": "hot"},
                "startsAt": "2027-01-15T08:00:00.045Z",
                "endsAt": ZERO,
                "generatorURL": "",
                "fingerprint": "9460993ac6987772",
            }
        ],
    }


def test_a_resolve_has_its_end_and_the_time_it_fired() -> None:
    body = body_of(transition("resolved", NOW_MS + 60_000, value=math.nan, fired_ms=NOW_MS))
    (alert,) = body["alerts"]
    assert body["status"] == alert["status"] == "resolved"
    assert alert["startsAt"] == "2027-01-15T08:00:00.000Z"
    assert alert["endsAt"] == "2027-01-15T08:01:00.000Z"


def test_an_alert_that_fired_and_resolved_is_one_entry_that_knows_when_it_fired() -> None:
    body = body_of(transition("firing", NOW_MS), transition("resolved", NOW_MS + 60_000, fired_ms=NOW_MS))
    (alert,) = body["alerts"]
    assert (alert["status"], alert["startsAt"]) == ("resolved", "2027-01-15T08:00:00.000Z")


def test_a_lost_alert_is_never_called_resolved() -> None:
    body = body_of(transition("lost", NOW_MS, annotations={"summary": "hot"}))
    (alert,) = body["alerts"]
    assert body["status"] == alert["status"] == "firing"
    assert alert["endsAt"] == ZERO
    assert alert["annotations"] == {"summary": "hot", "longwatch_reason": "lost: no data; state unknown"}


def test_a_flapping_alert_is_annotated() -> None:
    (alert,) = body_of(transition("firing", NOW_MS, flapping=True))["alerts"]
    assert alert["annotations"]["longwatch_flapping"] == "true"
    (alert,) = body_of(transition("firing", NOW_MS))["alerts"]
    assert "longwatch_flapping" not in alert["annotations"]


LEVELS = {"alertname": "HighCpu", "instance": "a"}


def test_a_change_of_severity_ends_the_old_label_set_and_starts_the_new_one() -> None:
    told = transition(
        "level",
        NOW_MS + 60_000,
        LEVELS,
        severity="critical",
        severity_before="warning",
        fired_ms=NOW_MS,
        annotations={"summary": "hot"},
    )
    body = body_of(told)
    old, new = body["alerts"]
    assert body["status"] == "firing"
    assert old["labels"] == LEVELS | {"severity": "warning"}
    assert (old["status"], old["endsAt"]) == ("resolved", "2027-01-15T08:01:00.000Z")
    assert old["annotations"]["longwatch_reason"] == "level: the alert goes on with severity critical"
    assert new["labels"] == LEVELS | {"severity": "critical"}
    assert (new["status"], new["endsAt"], new["annotations"]) == ("firing", ZERO, {"summary": "hot"})
    assert old["startsAt"] == new["startsAt"] == "2027-01-15T08:00:00.000Z"
    assert [one["fingerprint"] for one in (old, new)] == [fingerprint(one["labels"]) for one in (old, new)]
    assert body["commonLabels"] == LEVELS
    (alone,) = json.loads(render(notification(told), with_ended=False))["alerts"]
    assert alone == new


def test_the_severity_that_is_reached_wins_and_ends_with_the_alert() -> None:
    own = LEVELS | {"severity": "of the series"}
    first = transition("firing", NOW_MS, own, severity="warning")
    up = transition("level", NOW_MS + 1, own, severity="critical", severity_before="warning", fired_ms=NOW_MS)
    over = transition("resolved", NOW_MS + 2, own, severity="critical", severity_before="critical", fired_ms=NOW_MS)
    assert [alert["labels"]["severity"] for alert in body_of(first)["alerts"]] == ["warning"]
    seen = [(alert["labels"]["severity"], alert["status"]) for alert in body_of(first, up, over)["alerts"]]
    assert seen == [("warning", "resolved"), ("critical", "resolved")]
    down = transition("level", NOW_MS + 2, own, severity="warning", severity_before="critical", fired_ms=NOW_MS)
    seen = [(alert["labels"]["severity"], alert["status"]) for alert in body_of(first, up, down)["alerts"]]
    assert seen == [("warning", "firing"), ("critical", "resolved")]


def test_what_is_cut_is_what_has_ended_first() -> None:
    told = [
        transition(
            "level",
            NOW_MS,
            LEVELS | {"i": f"{n}"},
            severity="c",
            severity_before="w",
            annotations={"s": "\x01" * (ANNOTATION_BYTES_MAX - 100)},
        )
        for n in range(8)
    ]
    body = body_of(*told)
    assert body["truncatedAlerts"] > 0
    assert sum(alert["status"] == "firing" for alert in body["alerts"]) >= min(8, len(body["alerts"]))


def test_one_firing_among_resolved_is_firing_and_common_is_what_all_share() -> None:
    one = transition("resolved", labels={"alertname": "X", "instance": "a"}, annotations={"s": "1", "r": "u"})
    two = transition("firing", labels={"alertname": "X", "instance": "b"}, annotations={"s": "2", "r": "u"})
    body = body_of(one, two, truncated=3)
    assert body["status"] == "firing"
    assert [alert["status"] for alert in body["alerts"]] == ["resolved", "firing"]
    assert body["commonLabels"] == {"alertname": "X"}
    assert body["commonAnnotations"] == {"r": "u"}
    assert body["truncatedAlerts"] == 3


def test_external_labels_are_sent_and_lose_against_the_alerts_own() -> None:
    body = body_of(transition(), external_labels={"env": "prod", "instance": "engine"})
    (alert,) = body["alerts"]
    assert alert["labels"]["env"] == "prod"
    assert alert["labels"]["instance"] == "a"
    assert alert["fingerprint"] == fingerprint(alert["labels"])


def test_the_receivers_name_is_quoted_as_alertmanager_does() -> None:
    assert body_of(transition(), receiver="a.b+c")["receiver"] == r"a\.b\+c"


def test_times_out_of_range_are_still_times() -> None:
    (alert,) = body_of(transition("resolved", 2**62, since_ms=-(2**62)))["alerts"]
    assert alert["startsAt"] == "1970-01-01T00:00:00.000Z"
    assert alert["endsAt"] == "9999-12-31T23:59:59.999Z"


TEXT = st.text(st.characters(), max_size=30)
MAPS = st.dictionaries(TEXT, TEXT, max_size=5)
KINDS = st.sampled_from(["firing", "resolved", "lost"])
TOLD = st.builds(
    lambda kind, labels, notes, value, time: transition(
        kind, time, {"alertname": "x"} | labels, value=value, annotations=notes
    ),
    KINDS,
    MAPS,
    MAPS,
    st.floats(),
    st.integers(-(2**63), 2**63),
)


@given(st.lists(TOLD, min_size=1, max_size=5), MAPS)
def test_any_notification_is_valid_json_and_always_the_same_bytes(
    told: list[Transition], external: dict[str, str]
) -> None:
    """Lone surrogates, control characters, NaN: nothing breaks it, and nothing becomes null."""
    raw = render(notification(*told, external_labels=external))
    shuffled = [
        Transition(
            t.time_ms,
            t.rule,
            dict(reversed(t.labels.items())),
            t.before,
            t.after,
            t.reason,
            t.value,
            t.active_since_ms,
            dict(reversed(t.annotations.items())),
        )
        for t in told
    ]
    assert render(notification(*shuffled, external_labels=dict(reversed(external.items())))) == raw
    body = json.loads(raw)
    assert b"null" not in raw or any("null" in str(t) for t in (*told, external))
    assert all(alert["fingerprint"] == fingerprint(alert["labels"]) for alert in body["alerts"])
    assert not any(alert["status"] == "resolved" and alert["endsAt"] == ZERO for alert in body["alerts"])


@pytest.mark.parametrize("filler", ["x", "é", "𝄞", '"', "\\", "\x00", "\n"], ids=ascii)
def test_a_huge_annotation_is_cut_and_marked(filler: str) -> None:
    """F57."""
    body = body_of(transition(annotations={"a": filler * 100_000, "b": "small", "c": "last"}))
    (alert,) = body["alerts"]
    text = alert["annotations"]["a"]
    assert text.endswith(CUT_MARK)
    assert text.startswith(filler * 100)
    size = sum(len(name.encode()) + len(value.encode()) for name, value in alert["annotations"].items())
    assert ANNOTATION_BYTES_MAX - 8 <= size <= ANNOTATION_BYTES_MAX


def test_the_reason_of_a_lost_alert_is_never_cut_away() -> None:
    (alert,) = body_of(transition("lost", annotations={"a": "x" * 100_000}))["alerts"]
    assert alert["annotations"]["longwatch_reason"] == "lost: no data; state unknown"


def test_too_many_alerts_are_left_out_and_counted() -> None:
    """F57."""
    told = [transition(labels={"alertname": "X", "i": str(i)}, annotations={"text": "y" * 4_000}) for i in range(1_000)]
    raw = render(notification(*told, truncated=5))
    body = json.loads(raw)
    assert BODY_BYTES_MAX * 0.9 < len(raw) <= BODY_BYTES_MAX
    assert len(body["alerts"]) + body["truncatedAlerts"] == 1_005
    assert body["alerts"][0]["labels"]["i"] == "0"


@settings(max_examples=(settings.default or settings()).max_examples // 4)
@given(st.integers(1, 300), st.integers(1, 40_000), st.sampled_from(["x", "𝄞", "\x00", '"']))
def test_no_label_set_makes_a_body_too_large(count: int, length: int, filler: str) -> None:
    """F57: even one alert alone that is larger than a body may be."""
    length = min(length, 1_000_000 // count)
    labels = {"alertname": "X"} | {f"l{i}": filler * length for i in range(count)}
    raw = render(notification(transition(labels=labels), group_labels=labels, group_key=filler * length))
    assert len(raw) <= BODY_BYTES_MAX
    assert json.loads(raw)["alerts"][0]["labels"]["alertname"] == "X"
