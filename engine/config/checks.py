"""Checks that a type can't express: names, labels, time zones. Each reports at the key it is about."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from zoneinfo import ZoneInfo, available_timezones

from engine.addresses import endpoint
from engine.config.convert import BAD, Converter
from engine.config.locate import KeyPath
from engine.config.report import quote
from engine.errors import nearest
from engine.series import LABEL_NAME_CHARS_MAX, LABEL_VALUE_CHARS_MAX, LABELS_MAX

__all__ = ["NAME_PATTERN", "check_engine", "check_labels", "named_tables"]

NAME_PATTERN: Final = "[A-Za-z_][A-Za-z0-9_-]*"
"""Names of probes, rules and sinks: what `table.name.key` can be written with, without quotes."""
NAME_CHARS_MAX: Final = 64
SENTINELS_MIN: Final = 2
SENTINELS_MAX: Final = 8
ENGINE_NAME_PATTERN: Final = "[A-Za-z0-9._-]{1,64}"
_LABEL = re.compile("[a-zA-Z_][a-zA-Z0-9_]*")


def named_tables(kind: str, tables: Any, converter: Converter) -> dict[str, Mapping[str, Any]]:
    """Return the tables `[kind.NAME]` whose name can be used; report the others."""
    report = converter.report
    found: dict[str, Mapping[str, Any]] = {}
    if not isinstance(tables, dict):
        report.error((kind,), f"expected tables [{kind}.NAME]")
        return found
    for name, table in tables.items():
        path: KeyPath = (kind, name)
        if not isinstance(table, dict):
            what = f"expected a table [{kind}.NAME]"
            report.error(path, what, "one pair of brackets, not two" if isinstance(table, list) else "")
        elif not re.fullmatch(NAME_PATTERN, name):
            report.error(path, "not a name", "a name has letters, digits, _ and -, and starts with a letter or _")
        elif len(name) > NAME_CHARS_MAX:
            report.error(path, f"a name has at most {NAME_CHARS_MAX} characters, not {len(name)}")
        else:
            found[name] = table
    return found


def check_engine(values: Mapping[str, Any], converter: Converter) -> None:
    """Check what `[engine]` says beyond the types of its keys."""
    report, tainted = converter.report, converter.from_environment
    name = values.get("name", BAD)
    if name is not BAD and (not re.fullmatch(ENGINE_NAME_PATTERN, name) or not name.strip(".")):
        words = "not a name" if ("engine", "name") in tainted else f"{quote(name)} is not a name"
        report.error(("engine", "name"), words, "1 to 64 letters, digits, dots, _ and -")
    timezone = values.get("timezone", BAD)
    if timezone is not BAD and timezone != "UTC" and not _is_timezone(timezone):
        known = sorted(available_timezones())
        if ("engine", "timezone") in tainted:
            report.error(("engine", "timezone"), "the value from the environment is not a time zone")
        elif known:
            hint = nearest(timezone, known) or 'write a name such as "Europe/Berlin"'
            report.error(("engine", "timezone"), f"there is no time zone {quote(timezone)}", hint)
        else:
            hint = "pip install tzdata"
            report.error(("engine", "timezone"), "this machine has no time zone database", hint)
    check_labels(("engine", "external_labels"), converter)
    _check_sentinel(values.get("sentinel", BAD), converter)


def _check_sentinel(sentinel: Any, converter: Converter) -> None:
    if sentinel is BAD or not sentinel:
        return
    path: KeyPath = ("engine", "sentinel")
    if not SENTINELS_MIN <= len(sentinel) <= SENTINELS_MAX:
        told = f"{SENTINELS_MIN} to {SENTINELS_MAX} addresses, not {len(sentinel)}"
        converter.report.error(path, told, "one alone could be down itself; take independent ones")
        return
    for number, text in enumerate(sentinel, 1):
        try:
            endpoint(text)
        except ValueError as error:
            hint = 'write it like "tcp://192.0.2.1:443"'
            converter.report.error(path, f"address {number}: {error}", hint)


def check_labels(path: KeyPath, converter: Converter, value_chars_max: int = LABEL_VALUE_CHARS_MAX) -> None:
    """Check names, lengths and number of the labels that were converted at `path`, as Prometheus has them."""
    report, labels = converter.report, converter.items(path)
    for name, value in labels.items():
        if not _LABEL.fullmatch(name):
            hint = nearest_label(name)
            report.error((*path, name), "not a label name", hint)
        elif name.startswith("__"):
            report.error((*path, name), "label names that start with __ are reserved")
        elif len(name) > LABEL_NAME_CHARS_MAX:
            report.error((*path, name), f"a label name has at most {LABEL_NAME_CHARS_MAX} characters")
        elif len(value) > value_chars_max:
            message = f"has at most {value_chars_max} characters, not {len(value)}"
            report.error((*path, name), message)
    if len(labels) > LABELS_MAX:
        report.error(path, f"at most {LABELS_MAX} labels, not {len(labels)}")


def nearest_label(name: str) -> str:
    """A label name that can be used in place of one that can't."""
    usable = re.sub("[^a-zA-Z0-9_]", "_", name).lstrip("0123456789_")[:LABEL_NAME_CHARS_MAX]
    return f"write {usable}" if usable else "a label name has letters, digits and _"


def _is_timezone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, LookupError):  # "Europe" is a folder; "../x" is refused; no such zone
        return False
    return True
