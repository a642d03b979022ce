"""`[http]` and `[heartbeat.NAME]` read from the tables of a configuration; problems go to the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.config.checks import check_labels, named_tables
from engine.config.convert import Converter
from engine.config.http_tables import HEARTBEATS_MAX, HeartbeatConfig, HeartbeatTable, HttpTable
from engine.config.kinds import fields_of

__all__ = ["heartbeat_configs", "http_table"]


def http_table(tree: Mapping[str, Any], converter: Converter) -> HttpTable | None:
    """What `[http]` says; None if there is none, or it was reported."""
    if "http" not in tree:
        return None
    table = tree["http"]
    if not isinstance(table, dict):
        converter.report.error(("http",), "expected a table [http]")
        return None
    return converter.build(HttpTable, converter.table(fields_of(HttpTable), table, ("http",)), ("http",))


def heartbeat_configs(tree: Mapping[str, Any], converter: Converter) -> tuple[HeartbeatConfig, ...]:
    """The heartbeats that could be read."""
    found: list[HeartbeatConfig] = []
    tables = named_tables("heartbeat", tree.get("heartbeat", {}), converter)
    if tables and "http" not in tree:
        converter.report.error(("heartbeat",), "nothing listens for heartbeats", "add [http]")
    if len(tables) > HEARTBEATS_MAX:
        converter.report.error(("heartbeat",), f"at most {HEARTBEATS_MAX} heartbeats, not {len(tables)}")
    for name, table in tables.items():
        path = ("heartbeat", name)
        values = converter.table(fields_of(HeartbeatTable), table, path)
        check_labels((*path, "labels"), converter)
        built = converter.build(HeartbeatTable, values, path)
        if built is not None:
            found.append(HeartbeatConfig(name=name, table=built))
    return tuple(found)
