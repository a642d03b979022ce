"""A file, `--set` and the environment to a `Config`, or to every problem in them at once.

One direction, no state: read, put the overrides in, lay the operator's rules over those of packs,
convert table by table, check what only the whole shows. Nothing but `ConfigError` is raised, whatever
stands in the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from engine.config.checks import check_engine, named_tables
from engine.config.convert import BAD, Converter
from engine.config.document import Document, Override, Places, parse_document, parse_override, read_document
from engine.config.environment import ExpandError, expand
from engine.config.files import check_files
from engine.config.http import heartbeat_configs, http_table
from engine.config.kinds import fields_of
from engine.config.leaves import check_receivers, probe_config, sink_config
from engine.config.locate import KeyPath
from engine.config.packs import BUILT_IN_NAME, BUILT_IN_TOML, fill, merge_rules, pack_names, pack_texts, read_pack
from engine.config.report import Report, address_of, quote
from engine.config.rules import check_recording, rule_config
from engine.config.shape import Config, EngineTable
from engine.errors import ConfigError, Problem, nearest
from engine.rulefiles.shape import RuleFile

__all__ = ["Examined", "built_in", "examine", "load", "load_rules", "load_text"]

TABLES = ("engine", "probe", "pack", "rule", "sink", "http", "heartbeat")
_TABLES = "tables are [engine], [probe.NAME], [pack.NAME], [rule.NAME], [sink.NAME], [http] and [heartbeat.NAME]"
_LATER = ("route", "silence", "inhibit", "projector", "phase", "gate")
_SECRET_NAME = re.compile("auth|cookie|token|key|secret|pass|credential|signature", re.IGNORECASE)
TOKEN_CHARS_MIN = 16
"""From this length on, a part of a URL's path is taken for a token."""


class Examined(NamedTuple):
    """What was found: `config` is None if there are problems."""

    config: Config | None
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def load(path: Path, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> Config:
    """Read a configuration file.

    Args:
        overrides: Each `table.name.key=value`; the value is TOML if it parses, else text.
        environ: For `${NAME}`; by default the environment of this process.

    Raises:
        ConfigError: With every problem, in file order.
    """
    return _config(examine(path, overrides, environ))


def load_rules(path: Path, environ: Mapping[str, str] | None = None) -> Config:
    """Read the rules of a configuration file, and what holds for them: its `[engine]`, packs and rules. What its
    probes, sinks and listener need (variables of the environment, files of secrets) need not be there. Raises
    `ConfigError`."""
    document = read_document(path)
    tree = {name: table for name, table in document.tree.items() if name not in ("probe", "sink", "http", "heartbeat")}
    return _config(_examine(document._replace(tree=tree), path, (), environ))


def load_text(
    text: str,
    source: str = "run.toml",
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Read a configuration from a string; `source` is its name in messages. Raises `ConfigError`."""
    document = parse_document(text, source, Path())
    return _config(_examine(document, None, overrides, environ))


def built_in(overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> Config:
    """The configuration used when there is none: this host, the rules of the pack `host`, the console."""
    return _config(examine(None, overrides, environ))


def examine(path: Path | None, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> Examined:
    """As `load`, but return problems and warnings side by side. None is the built-in configuration."""
    try:
        document = read_document(path) if path else parse_document(BUILT_IN_TOML, BUILT_IN_NAME, Path())
        return _examine(document, path, overrides, environ)
    except ConfigError as error:
        return Examined(None, error.problems, ())


def _config(examined: Examined) -> Config:
    if examined.config is None:
        raise ConfigError(examined.problems)
    return examined.config


def _examine(
    document: Document, source: Path | None, overrides: Sequence[str], environ: Mapping[str, str] | None
) -> Examined:
    tree, settings, misread = _override(document, overrides)
    environ = os.environ if environ is None else environ
    packs = _packs(tree.get("engine"), environ)
    places = Places([document, *packs.values()], settings)
    report = Report(places)
    converter = Converter(report, environ, document.folder)
    _check_root(tree, report)

    engine = _engine(tree.get("engine", {}), converter)
    probes = [
        probe_config(name, table, converter)
        for name, table in named_tables("probe", tree.get("probe", {}), converter).items()
    ]
    texts = pack_texts(tree.get("pack", {}), packs, converter)
    filled = [fill(pack, texts.get(name, {})) for name, pack in packs.items()]
    own_rules = named_tables("rule", tree.get("rule", {}), converter)
    rules = [
        rule_config(name, table, converter, places, engine.external_labels if engine else {})
        for name, table in merge_rules(filled, own_rules).items()
    ]
    check_recording(rules, converter)
    sinks = [
        sink_config(name, table, converter)
        for name, table in named_tables("sink", tree.get("sink", {}), converter).items()
    ]
    http, heartbeats = http_table(tree, converter), heartbeat_configs(tree, converter)
    check_receivers([sink for sink in sinks if sink], report)

    check_files((sink for sink in sinks if sink), engine.state_dir if engine else None, report)

    files, unread = _rule_files(engine, document.folder, report) if engine else ((), ())
    if not tree.get("sink"):
        report.warn(("sink",), "no sink: nothing is recorded and nobody is told", "add [sink.console]")
    if document.world_readable:
        _warn_readable(converter, report)
    if problems := [*report.problems(), *misread, *unread]:
        return Examined(None, tuple(problems), tuple(report.warnings()))
    assert engine is not None
    config = Config(
        engine=engine,
        probes=tuple(probe for probe in probes if probe),
        rules=tuple(rule for rule in rules if rule),
        rule_files=files,
        sinks=tuple(sink for sink in sinks if sink),
        http=http,
        heartbeats=heartbeats,
        source=source,
        warnings=tuple(report.warnings()),
    )
    return Examined(config, (), config.warnings)


def _rule_files(engine: EngineTable, folder: Path, report: Report) -> tuple[tuple[RuleFile, ...], tuple[Problem, ...]]:
    """The rule files, or everything that is wrong with them. A pattern without a file is no error, but told."""
    if not engine.rule_files:
        return (), ()
    from engine.rulefiles.compile import compiler, grid_groups  # reads YAML: only for those who use it
    from engine.rulefiles.find import find_rule_files
    from engine.rulefiles.lint import unread
    from engine.rulefiles.read import load_rule_files

    for index, pattern in enumerate(engine.rule_files):
        if not any(find_rule_files([pattern], folder)):  # neither files nor problems
            report.warn(("engine", "rule_files", index), "no file matches, so no rules are read from there")
    compile_expr = compiler(engine.compat)
    try:
        files = load_rule_files(engine.rule_files, folder, compile_expr)
        grid_groups(files, default_interval_ms=int(engine.evaluation_interval), compile_expr=compile_expr)
    except ConfigError as error:
        return (), error.problems
    for file in files:
        for warning in unread(file):
            report.warn(("engine", "rule_files"), f"{warning.file}:{warning.line}: {warning.message}", warning.hint)
    return files, ()


def _override(document: Document, overrides: Sequence[str]) -> tuple[dict[str, Any], list[Override], list[Problem]]:
    """The tree with the overrides in it, the overrides, and what is wrong with others."""
    tree = _copy(document.tree)
    settings: list[Override] = []
    problems: list[Problem] = []
    for text in overrides:
        try:
            setting = parse_override(text)
        except ConfigError as error:
            problems.extend(error.problems)
            continue
        settings.append(setting)
        table = tree
        for depth, part in enumerate(setting.path[:-1], 1):
            inner = table.setdefault(part, {})
            if not isinstance(inner, dict):  # a value in the way: replaced, and what is wrong then is `--set`'s
                inner = table[part] = {}
                settings.append(Override(setting.path[:depth], inner))
            table = inner
        table[setting.path[-1]] = setting.value
    return tree, settings, problems


def _copy(value: Any) -> Any:
    return {key: _copy(item) for key, item in value.items()} if isinstance(value, dict) else value


def _check_root(tree: Mapping[str, Any], report: Report) -> None:
    for key, value in tree.items():
        if key in TABLES:
            continue
        if not isinstance(value, dict | list):
            hint = "put it under [engine]" if key in fields_of(EngineTable) else _TABLES
            report.error((key,), "a key outside of any table", hint)
        elif key in _LATER:
            report.error((key,), "unknown table", "this version does not have it yet")
        else:
            report.error((key,), "unknown table", nearest(key, TABLES) or _TABLES)


def _packs(engine: Any, environ: Mapping[str, str]) -> dict[str, Document]:
    """The packs that exist, by name; the others are reported when `[engine]` is converted."""
    packs = engine.get("packs") if isinstance(engine, dict) else None
    if not isinstance(packs, list):
        return {}
    wanted: dict[str, None] = {}
    for name in packs:
        try:
            wanted[expand(name, environ).text if isinstance(name, str) else ""] = None
        except ExpandError:
            pass  # reported there, too
    known = pack_names()
    return {name: read_pack(name) for name in wanted if name in known}


def _engine(table: Any, converter: Converter) -> EngineTable | None:
    path: KeyPath = ("engine",)
    if not isinstance(table, dict):
        converter.report.error(path, "expected a table [engine]")
        return None
    values = converter.table(fields_of(EngineTable), table, path)
    check_engine(values, converter)
    packs = values.get("packs", BAD)
    for index, name in enumerate(packs if packs is not BAD else ()):
        at: KeyPath = (*path, "packs", index)
        if name not in (known := pack_names()):
            tainted = at in converter.from_environment
            hint = (not tainted and nearest(name, known)) or f"known: {', '.join(known)}"
            converter.report.error(at, "there is no such pack" if tainted else f"there is no pack {quote(name)}", hint)
    return converter.build(EngineTable, values, path)


def _warn_readable(converter: Converter, report: Report) -> None:
    wrong = {problem.address for problem in report.problems()}  # these have to be written anew in any case
    for path, text in converter.literal_secrets:
        if address_of(path) in wrong:
            continue
        in_dict = len(path) > 3  # headers: most of them are no secret
        if _SECRET_NAME.search(str(path[-1])) if in_dict else _is_telling(text):
            key = path[-1] if isinstance(path[-1], str) else "value"
            message = "a secret in a file that every user of this machine can read"
            report.warn(path, message, f'chmod o-r the file, or write {key} = "${{NAME}}"')


def _is_telling(text: str) -> bool:
    """Whether a literal secret gives something away: a URL without a token in it does not."""
    try:
        url = urlsplit(text)
        if url.scheme not in ("http", "https") or not url.hostname:
            return True
    except ValueError:
        return True
    longest = max(map(len, url.path.split("/")))
    return bool(url.query or "@" in url.netloc or longest >= TOKEN_CHARS_MIN)
