"""The model that judges the engine can tell right from wrong."""

import json
import random
from datetime import UTC, datetime

import pytest

from tests.chaos.model import Model, Rule

RULES = (Rule("t", "told", 300, 1), Rule("f", "free", 0, 1), Rule("b", "blip", 1_000, 1))


def body(alert: str, event: str, time_ms: int, active_ms: int) -> bytes:
    times = [datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds") for ms in (time_ms, active_ms)]
    entry = {
        "labels": {"alert": alert} if alert else {"alertname": "LongwatchBlind"},
        "event": event,
        "time": times[0],
        "active_since": times[1],
    }
    return json.dumps({"data": {"truncated": 0, "alerts": [entry]}}).encode()


FIRING = ("firing", 1_400, 1_100)
RESOLVED = ("resolved", 2_000, 1_100)


@pytest.fixture
def model() -> Model:
    """One in which t-0 has turned once."""
    made = Model(random.Random(1), RULES, late_ms_max=3_000)
    made.born(900)
    made.exposition(1_000)
    assert made.alerts["t-0"].value == 1
    made.calm()
    return made


def tell(model: Model, receiver: str, *events: tuple[str, int, int], alert: str = "t-0", base: str = "m") -> None:
    for number, event in enumerate(events):
        model.receive(receiver, f"{base}{number}", body(alert, *event), 2_500)


def tell_all(model: Model, *events: tuple[str, int, int]) -> None:
    for receiver in ("good", "slow", "dead"):
        tell(model, receiver, *events)


def test_everything_told_once_is_right(model: Model) -> None:
    assert not model.settled
    tell_all(model, FIRING)
    assert model.settled
    assert model.verdict() == []


def test_a_duplicate_is_right_if_it_is_the_same(model: Model) -> None:
    tell_all(model, FIRING)
    tell_all(model, FIRING)
    assert model.duplicates == 3
    assert model.verdict() == []


@pytest.mark.parametrize("receiver", ["good", "slow", "dead"])
def test_a_receiver_that_was_not_told_is_a_loss(model: Model, receiver: str) -> None:
    for other in {"good", "slow", "dead"} - {receiver}:
        tell(model, other, FIRING)
    assert not model.settled
    assert any("t-0" in fault for fault in model.verdict())


def test_what_nobody_was_told_is_a_loss(model: Model) -> None:
    assert model.verdict() == ["lost: turn 1 of t-0 came to no one or not to good", *model.verdict()[1:]]


def test_another_body_under_the_same_id(model: Model) -> None:
    tell_all(model, FIRING)
    tell(model, "slow", ("firing", 1_401, 1_100))
    assert model.verdict() == ["slow: another body under the id m0"]


def test_the_same_under_another_id(model: Model) -> None:
    tell_all(model, FIRING)
    tell(model, "slow", FIRING, base="other")
    assert len(model.verdict()) == 1
    assert "under another id" in model.verdict()[0]


def test_more_than_has_happened(model: Model) -> None:
    tell_all(model, FIRING, RESOLVED)
    assert any("phantom" in fault for fault in model.verdict())


def test_a_blip_is_not_told(model: Model) -> None:
    tell_all(model, FIRING)
    tell(model, "good", ("firing", 3_000, 1_000), alert="b-0", base="b")
    assert any("phantom" in fault and "b-0" in fault for fault in model.verdict())


def test_an_alert_that_is_not_there(model: Model) -> None:
    tell_all(model, FIRING)
    tell(model, "dead", FIRING, alert="nobody", base="x")
    assert model.verdict() == ["dead: phantom: there is no nobody"]


def test_a_resolve_before_its_alert(model: Model) -> None:
    tell(model, "good", ("resolved", 1_100, 1_000), alert="f-0")
    assert any("out of order" in fault for fault in model.verdict())


def test_an_old_message_again_after_a_new_one(model: Model) -> None:
    free = [("firing", 1_100, 1_100), ("resolved", 1_200, 1_100)]
    tell(model, "good", *free, alert="f-0")
    tell(model, "good", free[0], alert="f-0")
    assert any("again after" in fault for fault in model.faults)


def test_time_in_which_nobody_lived_does_not_count(model: Model) -> None:
    model.died(1_200)
    model.born(1_350)
    tell_all(model, FIRING)
    assert "after 150 of 300 ms" in model.verdict()[0]


def test_what_is_due_while_it_lives_is_told_soon(model: Model) -> None:
    model.stops(4_400)
    assert "late" in model.verdict()[0]


def test_what_can_not_be_read(model: Model) -> None:
    tell_all(model, FIRING)
    model.receive("good", "x", b"{", 2_500)
    assert "can't be read" in model.verdict()[0]


def test_what_the_engine_says_of_itself_is_over_in_the_end(model: Model) -> None:
    tell_all(model, FIRING)
    for receiver in ("good", "slow", "dead"):
        tell(model, receiver, FIRING, alert="", base="x")
    assert model.settled, "it may take a minute, for which nobody waits"
    assert model.verdict() == ["lost: LongwatchBlind is 0, and last told was firing"]
    for receiver in ("good", "slow", "dead"):
        tell(model, receiver, RESOLVED, alert="", base="y")
    assert model.verdict() == []


def test_what_the_engine_says_of_itself_is_told_once(model: Model) -> None:
    tell_all(model, FIRING)
    tell(model, "good", FIRING, ("firing", 1_500, 1_400), alert="", base="x")
    assert any("LongwatchBlind" in fault and "out of order" in fault for fault in model.faults)
