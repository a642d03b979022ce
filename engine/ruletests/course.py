"""What a test of the longer form says of its course: what was not seen, restarts, and the transitions that come of it.

It reads fields and collects problems; it runs nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from engine.core.promql.notation import parse_labels
from engine.durations import format_ms
from engine.errors import nearest
from engine.ruletests.shape import KINDS, REASONS, BlindSpan, ExpectedTransition, Restart, TransitionTest
from engine.series import series_text
from engine.text import clean
from engine.yamlfields import Fields, words
from engine.yamltree import Node, Scalar

__all__ = ["Course"]

_BLIND = ("from", "to", "scope")
_RESTART = ("at", "down")
_TRANSITIONS = ("alertname", "exp_transitions")
_TRANSITION = ("at", "kind", "reason", "severity", "value", "flapping", "labels")


class Course:
    """What one test says of its course.

    Args:
        fields: Where problems are collected.
        values: The fields of the test.
        address: Which test it is.
    """

    def __init__(self, fields: Fields, values: Mapping[str, Node], address: str) -> None:
        self._fields = fields
        self._values = values
        self._address = address
        self.until_ms = self._time(values.get("until"), address, "until")
        self.blind = self._blind()
        """In the order of their ends."""
        self.restarts = self._restarts()
        """In order of time."""
        nodes = fields.items(values.get("transitions"), address, "transitions")
        self.transition_tests = tuple(self._transition_test(node, number) for number, node in enumerate(nodes, 1))
        if self.until_ms:
            self._check_end()

    def _check_end(self) -> None:
        for test in self.transition_tests:
            for one in test.transitions:
                if one.at_ms > self.until_ms:
                    message = f"a transition at {format_ms(one.at_ms)}, when the test is over"
                    hint = "let until be as late, or leave it out"
                    self._fields.error(one.line, f'{self._address}, transitions of "{test.alertname}"', message, hint)

    def _blind(self) -> tuple[BlindSpan, ...]:
        spans = []
        for number, node in enumerate(self._fields.items(self._values.get("blind"), self._address, "blind"), 1):
            address = f"{self._address}, blind {number}"
            values = self._fields.table(node, address, _BLIND)
            missing = [name for name in ("from", "to") if name not in values]
            if missing:
                self._fields.error(node, address, f"field {missing[0]} is missing", "as in { from: 3m, to: 5m }")
                continue
            from_ms, to_ms = (self._time(values[name], address, name) for name in ("from", "to"))
            if to_ms <= from_ms:
                self._fields.error(values["to"], address, "field to: it must be later than from")
            scope = self._scope(values["scope"], address) if "scope" in values else "*"
            spans.append(BlindSpan(from_ms=from_ms, to_ms=to_ms, scope=scope, line=node.line))
        return tuple(sorted(spans, key=lambda span: span.to_ms))

    def _restarts(self) -> tuple[Restart, ...]:
        found = []
        for number, node in enumerate(self._fields.items(self._values.get("restarts"), self._address, "restarts"), 1):
            address = f"{self._address}, restart {number}"
            values = self._fields.table(node, address, _RESTART)
            if "at" not in values:
                self._fields.error(node, address, "field at is missing", "as in { at: 10m, down: 2m }")
                continue
            at_ms, down_ms = (self._time(values.get(name), address, name) for name in _RESTART)
            found.append(Restart(at_ms=at_ms, down_ms=down_ms, line=node.line))
        found.sort(key=lambda one: one.at_ms)
        self._check_restarts(found)
        return tuple(found)

    def _check_restarts(self, restarts: Sequence[Restart]) -> None:
        for before, one in itertools.pairwise(restarts):
            if one.at_ms <= before.end_ms:
                message = f"it stops at {format_ms(one.at_ms)} and was not there since {format_ms(before.at_ms)}"
                self._fields.error(one.line, f"{self._address}, restarts", message, "let it run in between")
        for one in restarts:
            for span in self.blind:
                if span.scope == "*" and span.from_ms <= one.end_ms and one.at_ms < span.to_ms:
                    message = f"the restart at {format_ms(one.at_ms)} and a blind span overlap"
                    hint = "leave the blind span out: a downtime is one by itself"
                    self._fields.error(one.line, f"{self._address}, restarts", message, hint)

    def _transition_test(self, node: Node, number: int) -> TransitionTest:
        address = f"{self._address}, transitions {number}"
        values = self._fields.table(node, address, _TRANSITIONS)
        name = self._fields.text(values.get("alertname"), address, "alertname")
        if not name:
            hint = "as in { alertname: HighCpu, exp_transitions: [{ at: 5m, kind: firing }] }"
            self._fields.error(node, address, "field alertname is missing", hint)
        address = f'{self._address}, transitions of "{name}"'
        items = self._fields.items(values.get("exp_transitions"), address, "exp_transitions")
        made = [self._transition(item, address) for item in items]
        return TransitionTest(alertname=name, transitions=tuple(one for one in made if one is not None), line=node.line)

    def _transition(self, node: Node, address: str) -> ExpectedTransition | None:
        values = self._fields.table(node, address, _TRANSITION)
        for name in ("at", "kind"):
            if name not in values:
                self._fields.error(node, address, f"field {name} is missing", "as in { at: 5m, kind: firing }")
                return None
        reason = values.get("reason")
        severity = values.get("severity")
        return ExpectedTransition(
            at_ms=self._time(values["at"], address, "at"),
            kind=self._word(values["kind"], address, "kind", KINDS),
            reason=None if reason is None else self._word(reason, address, "reason", REASONS),
            severity=None if severity is None else self._fields.text(severity, address, "severity"),
            value=self._fields.number(values["value"], address, "value") if "value" in values else None,
            flapping=self._fields.boolean(values["flapping"], address, "flapping") if "flapping" in values else None,
            labels=words(self._fields.texts(values["labels"], address, "labels")) if "labels" in values else None,
            line=node.line,
        )

    def _time(self, node: Node | None, address: str, name: str) -> int:
        return self._fields.duration_ms(node, address, name) or 0

    def _word(self, node: Node, address: str, name: str, known: tuple[str, ...]) -> str:
        text = self._fields.text(node, address, name)
        if text not in known:
            hint = nearest(text, known) or f"known: {', '.join(known)}"
            self._fields.error(node, address, f'field {name}: "{clean(text, 40)}" is not known', hint)
        return text

    def _scope(self, node: Node, address: str) -> str:
        """In canonical form."""
        text = self._fields.text(node, address, "scope")
        if text == "*":
            return text
        try:
            labels = parse_labels(text)
            return series_text(labels.pop("__name__", ""), labels)
        except ValueError as error:
            hint = 'write "*" for everything, a metric, or a series' if isinstance(node, Scalar) else ""
            self._fields.error(node, address, f"field scope: {error}", hint)
            return "*"
