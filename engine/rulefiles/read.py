"""One rule file to values, by the rules that Prometheus 3 refuses files by. Every problem is found, not the first."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from engine.errors import ConfigError, Problem
from engine.rulefiles.find import find_rule_files
from engine.rulefiles.shape import RuleDef, RuleFile, RuleGroup
from engine.templates import compile_go_template
from engine.text import clean
from engine.yamlfields import Fields, read_yaml, words
from engine.yamltree import Mapping, Node, Scalar

__all__ = ["CheckExpr", "load_rule_files", "parse_rule_file", "read_rule_file"]

CheckExpr = Callable[[str], object]
"""Raises `ValueError` for an expression that can't be used; its attribute `hint`, if any, says what to write."""

NAME_CHARS_MAX = 4_096  # PATH_MAX of Linux
_FILE = ("groups",)
_GROUP = ("name", "interval", "query_offset", "limit", "labels", "rules")
_RULE = ("record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations")
_COULD_NOT = "could not parse expression: "


def load_rule_files(patterns: Iterable[str], folder: Path, check_expr: CheckExpr) -> tuple[RuleFile, ...]:
    """Find and read rule files, in the order of the patterns.

    Args:
        patterns: Paths with wildcards, relative to `folder`.

    Raises:
        ConfigError: With every problem of every file.
    """
    paths, problems = find_rule_files(patterns, folder)
    files: list[RuleFile] = []
    for path in paths:
        file, found = read_rule_file(path, check_expr)
        problems += found
        if file is not None:
            files.append(msgspec.structs.replace(file, name=_name(path, folder)))
    if problems:
        raise ConfigError(problems)
    return tuple(files)


def _name(path: Path, folder: Path) -> str:
    inside = path.is_relative_to(folder)
    return clean((path.relative_to(folder) if inside else path).as_posix(), NAME_CHARS_MAX)


def read_rule_file(path: Path, check_expr: CheckExpr, name: str = "") -> tuple[RuleFile | None, list[Problem]]:
    """Read a file.

    Args:
        check_expr: See `CheckExpr`.
        name: What messages call it; by default its path.

    Returns:
        The file, or None if anything is wrong with it, and what is wrong.
    """
    fields = Fields(name or clean(str(path)))
    tree = read_yaml(path, "the rule file", fields)
    return _finished(tree, fields, check_expr)


def parse_rule_file(data: bytes, name: str, check_expr: CheckExpr) -> tuple[RuleFile | None, list[Problem]]:
    """Read what a file has; returns as `read_rule_file`."""
    fields = Fields(name)
    return _finished(fields.parse(data), fields, check_expr)


def _finished(tree: Node | None, fields: Fields, check_expr: CheckExpr) -> tuple[RuleFile | None, list[Problem]]:
    reader = _Reader(fields, check_expr)
    groups = reader.groups(tree)
    problems = fields.problems
    file = None if problems else RuleFile(path=fields.file, groups=groups, unread_line=fields.unread_line)
    return file, problems


class _Reader:
    def __init__(self, fields: Fields, check_expr: CheckExpr) -> None:
        self._fields = fields
        self._check_expr = check_expr

    def groups(self, tree: Node | None) -> tuple[RuleGroup, ...]:
        keys = {key.text for key, _ in tree.pairs} if isinstance(tree, Mapping) else set()
        if tree is not None and keys & {"tests", "rule_files"} and "groups" not in keys:
            self._fields.error(tree, "", "this is a file of tests, not of rules", "run it with `test`")
            return ()
        values = self._fields.table(tree, "", _FILE)
        lines: dict[str, int] = {}
        return tuple(self._group(node, lines) for node in self._fields.items(values.get("groups"), "", "groups"))

    def _group(self, node: Node, lines: dict[str, int]) -> RuleGroup:
        values = self._fields.table(node, _group_address(node), _GROUP)
        name = self._fields.text(values.get("name"), "", "name")
        address = f"group {_quoted(name)}"
        if not name:
            self._fields.error(node, "", "Groupname must not be empty")
        elif name in lines:
            message = f"groupname: {_quoted(name)} is repeated in the same file"
            self._fields.error(node, "", message, f"it is on line {lines[name]}, too")
        lines.setdefault(name, node.line)
        interval_ms = self._fields.duration_ms(values.get("interval"), address, "interval")
        rules = self._fields.items(values.get("rules"), address, "rules")
        return RuleGroup(
            name=name,
            interval_ms=interval_ms or None,  # Prometheus: 0 is the default, too
            query_offset_ms=self._fields.duration_ms(values.get("query_offset"), address, "query_offset"),
            limit=self._fields.whole(values.get("limit"), address, "limit"),
            labels=words(self._labels(values.get("labels"), address)),
            rules=tuple(self._rule(rule, address, number) for number, rule in enumerate(rules, 1)),
            line=node.line,
        )

    def _rule(self, node: Node, group: str, number: int) -> RuleDef:
        name = next((text for key in ("alert", "record") if (text := _text_of(node, key))), "")
        address = f"{group}, rule {number}, {_quoted(name)}"
        values = self._fields.table(node, address, _RULE)
        record = self._fields.text(values.get("record"), address, "record")
        alert = self._fields.text(values.get("alert"), address, "alert")
        if bool(record) == bool(alert):
            which = "only one of 'record' and 'alert'" if record else "one of 'record' or 'alert'"
            self._fields.error(values.get("record") or values.get("alert") or node, address, f"{which} must be set")
        kind: Literal["alert", "record"] = "alert" if alert else "record"
        rule = RuleDef(
            kind=kind,
            name=alert or record,
            expr=self._expr(values.get("expr"), node, address),
            for_ms=self._fields.duration_ms(values.get("for"), address, "for") or 0,
            keep_firing_for_ms=self._fields.duration_ms(values.get("keep_firing_for"), address, "keep_firing_for") or 0,
            labels=words(labels := self._labels(values.get("labels"), address)),
            annotations=words(annotations := self._fields.texts(values.get("annotations"), address, "annotations")),
            line=node.line,
            column=node.column,
        )
        for title in annotations:
            if not title:
                self._fields.error(annotations[title], address, "invalid annotation name: it is empty")
        if record:
            self._check_record(rule, values, record, address)
        if alert:
            self._check_templates("label", labels, address)
            self._check_templates("annotation", annotations, address)
        return rule

    def _expr(self, node: Node | None, rule: Node, address: str) -> str:
        text = self._fields.text(node, address, "expr")
        if not text:
            if node is None or isinstance(node, Scalar):
                self._fields.error(node or rule, address, "field 'expr' must be set in rule")
            return ""
        try:
            self._check_expr(text)
        except ValueError as error:
            message = str(error)
            message = message if message.startswith(_COULD_NOT) else _COULD_NOT + message
            self._fields.error(node or rule, address, message, getattr(error, "hint", ""))
        return text

    def _labels(self, node: Node | None, address: str) -> dict[str, Scalar]:
        labels = self._fields.texts(node, address, "labels")
        for name, value in labels.items():
            if not name or name == "__name__":
                self._fields.error(value, address, f"invalid label name: {name or 'it is empty'}")
        return labels

    def _check_record(self, rule: RuleDef, values: dict[str, Node], record: str, address: str) -> None:
        for name, given in (
            ("annotations", rule.annotations),
            ("for", rule.for_ms),
            ("keep_firing_for", rule.keep_firing_for_ms),
        ):
            if given:
                self._fields.error(values[name], address, f"invalid field '{name}' in recording rule")
        if "{" in record or "}" in record:
            message = "braces present in the recording rule name; should it be in expr?"
            self._fields.error(values["record"], address, f"{message}: {record}")

    def _check_templates(self, what: str, texts: dict[str, Scalar], address: str) -> None:
        for name, value in texts.items():
            if "{{" not in value.text:
                continue
            try:
                compile_go_template(value.text)
            except ValueError as error:
                self._fields.error(value, address, f"{what} {_quoted(name)}: {error}")


def _text_of(node: Node, key: str) -> str:
    """The text of one field, before the fields are checked; for addresses."""
    pairs: Sequence[tuple[Scalar, Node]] = getattr(node, "pairs", ())
    for name, value in pairs:
        if name.text == key and isinstance(value, Scalar) and not value.is_null:
            return value.text
    return ""


def _group_address(node: Node) -> str:
    return f"group {_quoted(_text_of(node, 'name'))}"


def _quoted(text: str) -> str:
    return json.dumps(clean(text, 100), ensure_ascii=False)
