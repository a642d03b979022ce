"""What a run prints at its start and at its end. Pure: texts in, lines out, at most one screen.

It says what is watched and how often, what is judged, where things go, where files are and how long they
are kept. Of an address only scheme and host are shown, since tokens are in the rest.
"""

from __future__ import annotations

import sqlite3
import textwrap
from collections.abc import Iterator, Sequence
from datetime import datetime, tzinfo
from pathlib import Path

import msgspec

from engine.config.http_tables import HttpTable
from engine.config.shape import Config, ProbeConfig, RuleConfig, SinkConfig
from engine.durations import format_ms
from engine.ports import Options
from engine.rulefiles.shape import RuleFile
from engine.secrets import Secret
from engine.text import clean

__all__ = ["Plan", "banner", "kept", "summary", "target"]

LINES_MAX = 24
COLUMNS = 80
_ROWS_MAX = 5
"""Probes and sinks that are listed one by one."""
_RULE_ROWS_MAX = 3
_RULE_CHARS_MAX = 40
_WARNINGS_MAX = 3
_LOSSES_MAX = 8
_INDENT = 11
_PATH_CHARS_MAX = 2 * COLUMNS


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it was asked for.

    Args:
        folder: The state folder; None keeps everything in memory.
        starts_ms, ends_ms: Since the epoch; `ends_ms` is 0 for a run without an end.
        zone: Of the times that are shown.
    """

    version: str
    config: Config
    folder: Path | None
    starts_ms: int
    ends_ms: int
    zone: tzinfo
    warnings: Sequence[str] = ()


def banner(plan: Plan) -> list[str]:
    """The lines printed at the start: at most `LINES_MAX` of at most `COLUMNS` characters.

    Only the state folder's line may be longer.
    """
    config = plan.config
    source = str(config.source) if config.source else "the built-in configuration"
    lines = [f'longwatch {plan.version}: "{config.engine.name}" from {source}', ""]
    lines += _titled("probes", _few([_probe(probe) for probe in config.probes], "more probes"))
    lines += _titled("rules", _rules(config.rules, config.rule_files))
    lines += _titled("sinks", _few([_sink(sink) for sink in config.sinks], "more sinks"))
    if config.http is not None:
        lines += _titled("listens", [_listens(config.http)])
    lines += _titled("files", [_files(plan.folder)])
    lines += _titled("ends", [_end(plan)])
    lines += _titled(
        "to stop", [f"Ctrl-C or SIGTERM, within {config.engine.shutdown_timeout}; a second one stops at once"]
    )
    lines += _titled("warning", _warnings(plan.warnings))
    return [_cut(line.rstrip(), whole=line.startswith("  files")) for line in lines][:LINES_MAX]


def _files(folder: Path | None) -> str:
    """With SQLite's version, whose bugs are a matter of that (F24)."""
    return f"{folder} (SQLite {sqlite3.sqlite_version})" if folder else "none: everything is kept in memory"


def target(options: Options) -> str:
    """What a probe looks at or a sink sends to: the origin of its URL, or its path; empty where it has
    neither.
    """
    for name in options.__struct_fields__:
        value = getattr(options, name)
        if name.rpartition("_")[2] in {"url", "urls"}:
            first = value[0] if isinstance(value, list) and value else value
            if isinstance(first, Secret | str):
                return (first if isinstance(first, Secret) else Secret(first)).origin
        if isinstance(value, Path):
            return str(value)
    return ""


def kept(options: Options) -> str:
    """How much a sink keeps, from its options that say so: `keeps raw 7d, rollups 400d, at most 2048 MB`."""
    told: list[str] = []
    for name in options.__struct_fields__:
        value = getattr(options, name)
        if name.startswith("keep_"):
            told.append(f"{'' if told else 'keeps '}{name.removeprefix('keep_')} {value}")
        elif name == "size_max_mb":
            told.append(f"at most {value} MB")
    return ", ".join(told)


def summary(plan: Plan, ended_ms: int, transitions: int, losses: Sequence[str]) -> list[str]:
    """The lines printed at the end; `losses` says by kind what was not kept."""
    length = format_ms(max(ended_ms - plan.starts_ms, 0) // 1_000 * 1_000)
    changes = _count(transitions, "transition")
    lost = "not everything was kept:" if losses else "nothing dropped"
    stores = [sink for sink in plan.config.sinks if kept(sink.options)]
    where = f"in {plan.folder}" if plan.folder else "not kept, the run was in memory"
    if not stores:
        where = "not kept, no sink records it"
    elif path := target(stores[0].options):
        where = path
    told = [f"  {line}" for line in _few(list(losses), "more kinds of loss", _LOSSES_MAX)]
    ran = f"longwatch ran for {length}: {changes}, {lost}"
    return [*(_cut(line) for line in (ran, *told)), _cut(f"history: {where}", whole=True)]


def _titled(title: str, rows: Sequence[str]) -> Iterator[str]:
    for at, row in enumerate(rows):
        yield f"  {'' if at else title:<{_INDENT - 2}}{row}"


def _few(rows: list[str], rest: str, rows_max: int = _ROWS_MAX) -> list[str]:
    return rows if len(rows) <= rows_max else [*rows[: rows_max - 1], f"and {len(rows) - rows_max + 1} {rest}"]


def _probe(probe: ProbeConfig) -> str:
    return f"{_named(probe.name, probe.type)} every {probe.interval!s:<6} {target(probe.options)}".rstrip()


def _listens(http: HttpTable) -> str:
    host = f"[{http.address}]" if ":" in http.address else http.address
    return f"http://{host}:{http.port}" if http.port else f"http://{host}, at any free port"


def _sink(sink: SinkConfig) -> str:
    told = [part for part in (target(sink.options), kept(sink.options)) if part]
    return f"{_named(sink.name, sink.type)} {', '.join(told)}".rstrip()


def _named(name: str, kind: str) -> str:
    return f"{clean(name if name == kind else f'{name} ({kind})', 24):<18}"


def _rules(rules: Sequence[RuleConfig], files: Sequence[RuleFile]) -> list[str]:
    """Alerting rules with their `for`, in as many rows as there may be, and how many are not named; below them, in one
    row, how many rules record, and the rule files.
    """
    groups = [group for file in files for group in file.groups]
    of_files = f"{sum(file.rules_count for file in files)} in {_count(len(groups), 'group')} of "
    of_files += _count(len(files), "rule file")
    if not rules and not files:
        return ["none: nothing will be judged"]
    alerting = [rule for rule in rules if rule.table.record is None]
    recording = len(rules) - len(alerting)
    others = ([_count(recording, "recording rule")] if recording else []) + ([of_files] if files else [])
    return (_rule_rows(alerting) if alerting else []) + (["; ".join(others)] if others else [])


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _rule_rows(rules: Sequence[RuleConfig]) -> list[str]:
    rows = [f"{len(rules)}: "]
    for at, rule in enumerate(rules):
        shown = f"{rule.name} for {rule.table.for_}" if rule.table.for_ else rule.name
        name = clean(shown, _RULE_CHARS_MAX)
        last = at + 1 == len(rules)
        room = COLUMNS - _INDENT - (len(", and 10000 more") if len(rows) == _RULE_ROWS_MAX and not last else 0)
        if len(rows[-1]) + len(name) > room:
            if len(rows) == _RULE_ROWS_MAX:
                rows[-1] += f"and {len(rules) - at} more"
                return rows
            rows.append("")
        rows[-1] += name if last else f"{name}, "
    return rows


def _warnings(warnings: Sequence[str]) -> list[str]:
    rows = []
    for warning in _few(list(warnings), "more warnings; `check` shows all", _WARNINGS_MAX):
        rows += textwrap.wrap(clean(warning), COLUMNS - _INDENT, max_lines=2, placeholder=" …") or [""]
    return rows


def _end(plan: Plan) -> str:
    zone = plan.config.engine.timezone
    if not plan.ends_ms:
        return f"when it is stopped; times are {zone}"
    at = datetime.fromtimestamp(plan.ends_ms / 1000, plan.zone)
    return f"{at:%Y-%m-%d %H:%M:%S}, after {format_ms(plan.ends_ms - plan.starts_ms)}; times are {zone}"


def _cut(line: str, *, whole: bool = False) -> str:
    """One line of the screen; a path is shown whole, since half of it is of no use."""
    return clean(line, _PATH_CHARS_MAX if whole else COLUMNS) if line else ""
