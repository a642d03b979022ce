"""Which metrics are shown to people, with their latest values: of the host, of endpoints, and what rules are about.

A choice for the eye, read from the text of the configuration; nothing is judged by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engine.config.shape import Config
from engine.rulefiles.metrics import metrics_of

__all__ = ["FIRST", "METRICS_MAX", "SERIES_MAX", "key_metrics"]

FIRST: Final = (
    "host_cpu_percent",
    "host_memory_percent",
    "host_load1",
    "host_disk_percent",
    "probe_success",
    "probe_duration_seconds",
)
METRICS_MAX: Final = 24
SERIES_MAX: Final = 100
"""Series of all these metrics together; a screen has room for fewer."""
RULES_READ_MAX: Final = 200
"""Expressions that are parsed for it."""

_OWN: Final = "longwatch_"


def key_metrics(config: Config) -> tuple[str, ...]:
    """The metrics, the most telling first: `FIRST`, what rules record, `up`, and what alerting rules read; at most
    `METRICS_MAX`. Buckets, and what the engine says of itself, are left out."""
    names = dict.fromkeys(FIRST)
    for name in (*_recorded(config), "up", *_read(config)):
        if len(names) == METRICS_MAX:
            break
        if not name.startswith(_OWN) and not name.endswith("_bucket"):
            names[name] = None
    return tuple(names)


def _recorded(config: Config) -> Iterator[str]:
    for rule in config.rules:
        if rule.table.record is not None:
            yield rule.table.record
    for group in (group for file in config.rule_files for group in file.groups):
        yield from (rule.name for rule in group.rules if rule.kind == "record")


def _read(config: Config) -> Iterator[str]:
    groups = [group for file in config.rule_files for group in file.groups]
    texts = [rule.table.expr for rule in config.rules if rule.table.record is None]
    texts += [rule.expr for group in groups for rule in group.rules if rule.kind == "alert"]
    for text in texts[:RULES_READ_MAX]:
        yield from sorted(metrics_of(text) or ())
