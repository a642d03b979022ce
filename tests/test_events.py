"""Events: the stale marker's bits, and what kind of transition is what."""

import struct

import msgspec
import numpy as np
import pytest

from engine.events import (
    STALE,
    STALE_BITS,
    Blind,
    Deployment,
    Event,
    Health,
    Sample,
    SampleBatch,
    SecurityViolation,
    TradeClosed,
    Transition,
    weight,
)


def transition(before: str, after: str, reason: str = "held") -> Transition:
    return Transition(1, "R", {"alertname": "R"}, before, after, reason, 1.0, 1)  # type: ignore[arg-type]


def test_the_stale_marker_has_prometheus_bits() -> None:
    assert STALE != STALE
    assert struct.unpack("<Q", struct.pack("<d", STALE))[0] == STALE_BITS == 0x7FF0000000000002
    assert np.array([STALE]).view(np.int64)[0] == STALE_BITS  # a signalling NaN that NumPy keeps as it is
    assert Sample(1, "a", STALE).value is STALE


@pytest.mark.parametrize(
    ("before", "after", "reason", "kind"),
    [
        ("inactive", "pending", "condition", "pending"),
        ("inactive", "firing", "condition", "firing"),
        ("pending", "firing", "held", "firing"),
        ("pending", "inactive", "recovered", "cleared"),
        ("pending", "inactive", "lost", "cleared"),
        ("firing", "inactive", "recovered", "resolved"),
        ("firing", "inactive", "ended", "resolved"),
        ("firing", "inactive", "missing", "resolved"),
        ("firing", "inactive", "lost", "lost"),
        ("firing", "inactive", "rule_removed", "resolved"),
    ],
)
def test_kinds(before: str, after: str, reason: str, kind: str) -> None:
    assert transition(before, after, reason).kind == kind


def test_the_fingerprint_is_of_the_labels_alone() -> None:
    assert transition("pending", "firing").fingerprint == transition("firing", "inactive").fingerprint
    assert len(transition("pending", "firing").fingerprint) == 16


@pytest.mark.parametrize(
    ("event", "samples"),
    [
        (SampleBatch(1, ("a", "b", "c"), np.zeros(3)), 3),
        (SampleBatch(1, (), np.zeros(0)), 1),
        (Sample(1, "a", 1.0), 1),
        (Blind(1, 0, 1), 1),
        (Health(1, "store", "ok", "recovered"), 1),
        (Deployment(time_ms=1, service="s", version="1"), 1),
    ],
)
def test_weights(event: Event, samples: int) -> None:
    assert weight(event) == samples


@pytest.mark.parametrize(
    "event",
    [
        Sample(1, "a", 1.0),
        SampleBatch(1, ("a",), np.zeros(1)),
        Blind(1, 0, 1),
        Health(1, "store", "ok", "recovered"),
        TradeClosed(time_ms=1, symbol="X", pnl=1.0),
        SecurityViolation(time_ms=1, kind="k"),
        Deployment(time_ms=1, service="s", version="1"),
        transition("pending", "firing"),
    ],
    ids=lambda event: type(event).__name__,
)
def test_events_are_facts(event: msgspec.Struct) -> None:
    with pytest.raises(AttributeError):
        event.time_ms = 2  # type: ignore[attr-defined]
    assert isinstance(event.__struct_config__.tag, str)
