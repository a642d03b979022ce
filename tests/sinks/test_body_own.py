"""Our own form of a notification: what each entry says, and that any input gives JSON within the limit."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.events import Facts, Transition
from engine.series import fingerprint
from sinks._body_own import render
from sinks._body_parts import BODY_BYTES_MAX, CUT_MARK
from tests.sinks.context import NOW_MS, transition
from tests.sinks.test_body_v4 import MAPS, TOLD, notification

LEVELS = {"alertname": "HighCpu", "instance": "a"}


def body_of(*transitions: Transition, **more: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(render(notification(*transitions, **more)))
    return body


def test_a_firing_alert_in_full() -> None:
    told = transition("firing", NOW_MS + 45, value=97.25, annotations={"summary": "hot"})
    labels = {"alertname": "HighCpu", "instance": "a", "severity": "critical"}
    assert body_of(told, external_labels={"env": "prod"}) == {
        "type": "alerts.firing",
        "timestamp": "2027-01-15T08:00:00.045Z",
        "data": {
            "version": 1,
            "status": "firing",
            "receiver": "ops",
            "group_key": '{}:{alertname="HighCpu"}',
            "group_labels": {"alertname": "HighCpu"},
            "external_labels": {"env": "prod"},
            "truncated": 0,
            "alerts": [
                {
                    "event": "firing",
                    "status": "firing",
                    "rule": "HighCpu",
                    "reason": "held",
                    "labels": labels | {"env": "prod"},
                    "annotations": {"summary": "hot"},
                    "fingerprint": fingerprint(labels | {"env": "prod"}),
                    "alert_id": fingerprint(labels | {"env": "prod"}),
                    "severity": "critical",
                    "severity_before": "",
                    "flapping": False,
                    "value": 97.25,
                    "time": "2027-01-15T08:00:00.045Z",
                    "active_since": "2027-01-15T07:55:00.000Z",
                    "fired_at": "2027-01-15T08:00:00.045Z",
                    "true_for_ms": 300_045,
                    "firing_for_ms": 0,
                    "facts": None,
                }
            ],
        },
    }


def test_a_resolve_says_for_how_long() -> None:
    (alert,) = body_of(transition("resolved", NOW_MS + 60_000, fired_ms=NOW_MS, value=12.0))["data"]["alerts"]
    assert (alert["event"], alert["status"], alert["value"]) == ("resolved", "resolved", 12.0)
    assert (alert["firing_for_ms"], alert["true_for_ms"]) == (60_000, 360_000)
    assert alert["fired_at"] == "2027-01-15T08:00:00.000Z"


def test_facts_that_are_no_numbers_are_words() -> None:
    body = body_of(transition("lost", facts=Facts(math.inf, math.nan, 2, 3_000, 4_000)))
    assert body["data"]["alerts"][0]["facts"] == {
        "peak": "+Inf", "mean": "NaN", "samples": 2, "true_ms": 3_000, "unknown_ms": 4_000,
    }  # fmt: skip


def test_a_lost_alert_is_lost_and_a_number_that_json_lacks_is_a_word() -> None:
    body = body_of(transition("lost", value=math.nan), transition("resolved", value=math.inf))
    assert (body["type"], body["data"]["status"]) == ("alerts.lost", "lost")
    assert [(alert["status"], alert["value"]) for alert in body["data"]["alerts"]] == [
        ("lost", "NaN"),
        ("resolved", "+Inf"),
    ]


def test_a_change_of_severity_is_one_entry_of_the_same_alert() -> None:
    first = transition("firing", NOW_MS, LEVELS, severity="warning")
    up = transition("level", NOW_MS + 1, LEVELS, severity="critical", severity_before="warning", fired_ms=NOW_MS)
    body = body_of(first, up)
    one, two = body["data"]["alerts"]
    assert body["type"] == "alerts.firing"
    assert (two["event"], two["status"]) == ("severity", "firing")
    assert (two["severity"], two["severity_before"]) == ("critical", "warning")
    assert one["alert_id"] == two["alert_id"] == fingerprint(LEVELS)
    assert one["fingerprint"] != two["fingerprint"]


@given(st.lists(TOLD, min_size=1, max_size=5), MAPS)
def test_any_notification_is_json_and_always_the_same_bytes(told: list[Transition], external: dict[str, str]) -> None:
    raw = render(notification(*told, external_labels=external))
    assert render(notification(*told, external_labels=dict(reversed(external.items())))) == raw
    assert len(json.loads(raw)["data"]["alerts"]) == len(told)


@pytest.mark.parametrize("count", [1, 3, 200])
def test_what_is_too_large_is_cut_marked_and_counted_f57(count: int) -> None:
    told = [
        transition(
            labels={"alertname": "X", "i": str(i), "l": "é" * 600_000 if count == 1 else "x"},
            annotations={"a": "\x01" * 100_000},
        )
        for i in range(count)
    ]
    raw = render(notification(*told))
    data = json.loads(raw)["data"]
    assert len(raw) <= BODY_BYTES_MAX
    assert len(data["alerts"]) + data["truncated"] == count
    text = data["alerts"][0]["labels"]["l"] if count == 1 else data["alerts"][0]["annotations"]["a"]
    assert text.endswith(CUT_MARK)


def test_the_pages_example_is_what_is_sent() -> None:
    page = (Path(__file__).parents[2] / "docs/sinks.md").read_text(encoding="utf-8")
    section = page.partition("### Our own JSON")[2]
    shown = json.loads(re.search(r"```json\n(.*?)```", section, re.DOTALL)[1])  # type: ignore[index]
    fired_ms = 1_795_412_160_045  # 2026-11-23T05:36:00.045Z
    told = transition(
        "resolved",
        fired_ms + 1_050_000,
        since_ms=fired_ms - 300_000,
        fired_ms=fired_ms,
        value=12.5,
        annotations={"summary": "hot"},
        facts=Facts(97.2, 88.125, 270, 1_350_000, 0),
    )
    assert body_of(told, external_labels={"env": "prod"}) == shown
