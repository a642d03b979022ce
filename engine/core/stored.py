"""What is kept of an alert beside the others: the forms of rows, as they are written by `engine.core.alert_bytes`."""

from __future__ import annotations

from typing import Final

import msgspec

from engine.core.flaps import SavedRing
from engine.core.label_places import Labels
from engine.core.saved import SavedLevel

__all__ = ["INPUTS_MAX", "VERSION", "SavedAlert", "SavedInput", "SavedOwn", "SavedSeen", "Stored"]

VERSION: Final = 2
"""What rows of before lack is made up for by `engine.core.kept_rows`."""
INPUTS_MAX: Final = 64
"""Of how many series an alert keeps the last sample. An alert over more of them has the others from a history."""


class SavedInput(msgspec.Struct, array_like=True):
    """The last sample of a series, and how it ages. Times in milliseconds; `maker` is the key of the rule that
    recorded it, if one did."""

    series: str
    last_ms: int
    value: float
    stale_after_ms: int
    mark: int
    blind_from_ms: int
    blind_to_ms: int
    maker: str = ""


class SavedAlert(msgspec.Struct, array_like=True):
    """One alert.

    Args:
        expr, levels: Of its rule when this was written.
        at_ms: The watermark then.
        labels: Of the result, without the metric name; in grid mode those of the alert.
        told: The code that was told last.
        value: What was measured last.
        columns: Of its row, by name.
        run: By level, since when it runs.
        spans: By level, when it was true, for a rule with `of`.
        stood: When its clocks stood, and when nobody could see what it rests on.
        judged_ms, complete, fed: Of a pointwise rule, as in a snapshot.
        active, withheld: In grid mode, whether it was in the last result, and whether it may have ended.
        sample_labels, texts: In grid mode, of the sample, and rendered.
    """

    expr: str
    levels: list[SavedLevel]
    at_ms: int
    labels: Labels
    told: int
    value: float
    columns: dict[str, int]
    run: list[int]
    spans: list[list[int]]
    stood: tuple[list[int], list[int]]
    inputs: list[SavedInput]
    judged_ms: int = -1
    complete: bool = False
    fed: int = 0
    active: bool = False
    withheld: bool = False
    sample_labels: dict[str, str] = {}
    texts: dict[str, str] = {}


class SavedSeen(msgspec.Struct, array_like=True):
    """A label set without an alert whose going missing would be one.

    Args:
        expr: Of its rule when this was written.
        labels: Of the result, without the metric name.
        fed: As of an alert.
    """

    expr: str
    at_ms: int
    labels: Labels
    fed: int
    inputs: list[SavedInput]


class SavedOwn(msgspec.Struct, array_like=True):
    """What the alerts of a rule have in common.

    Args:
        expr: Of the rule.
        refused: How many alerts there was no room for, and of how many of these people were told.
        span_ms, skipped_ms, forgotten: Of its rings.
        blind: When nobody could see anything.
    """

    expr: str
    refused: tuple[int, int]
    span_ms: int
    skipped_ms: int
    forgotten: int
    blind: list[int]


class Stored(msgspec.Struct, array_like=True):
    """A row: of an alert, of what all alerts of a rule have in common, or of a projector. An alert that is
    over has nothing but its ring, and what its rule remembers of it."""

    version: int
    alert: SavedAlert | None = None
    ring: SavedRing | None = None
    own: SavedOwn | None = None
    seen: SavedSeen | None = None
    projector: bytes | None = None
