"""Runs files of rule tests, one after the other, and says what came of each, much as promtool does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from engine.core.promql.plan import Compat, QueryPlan
from engine.errors import ConfigError, Problem
from engine.rulefiles.compile import compiler
from engine.ruletests.inputs import InputError
from engine.ruletests.play import Failure, play
from engine.ruletests.read import read_test_file
from engine.ruletests.rules import Rules, gather
from engine.ruletests.shape import RuleTestFile, RuleTestGroup
from engine.text import clean

__all__ = ["run_tests"]

_FAILED, _BAD = 1, 2
_INDENT = "    "


def run_tests(
    paths: Sequence[Path],
    stream: TextIO,
    *,
    compat: Compat = "prometheus3",
    progress: Callable[[str], None] | None = None,
) -> int:
    """Run the tests of files.

    Args:
        stream: Where the outcome is written.
        compat: Whose rules hold for windows and functions.
        progress: Is told, in one line of text, how far a test is, whenever that changes by a hundredth; and an empty
            text before something is written to `stream`.

    Returns:
        0 if every test of every file holds, 1 if one does not, 2 if a file can't be used.
    """
    worst = 0
    for path in paths:
        run = _Run(path, stream, compat, progress)
        worst = max(worst, run.run())
    return worst


class _Run:
    """One file."""

    def __init__(self, path: Path, stream: TextIO, compat: Compat, progress: Callable[[str], None] | None) -> None:
        self._path = path
        self._name = clean(str(path))
        self._stream = stream
        self._compat: Compat = compat
        self._progress = progress
        self._compile: Callable[[str], QueryPlan] = compiler(compat)

    def run(self) -> int:
        self._say(f"Unit Testing: {self._name}")
        file, problems = read_test_file(self._path, self._compile)
        if file is None:
            return self._bad(problems)
        try:
            if not file.tests:
                self._say("  WARNING: there are no tests in it")
            rules = gather(file, self._compat, self._compile, lambda text: self._say(f"  WARNING: {text}"))
            self._warn_of_names(file, rules)
            failures = [
                (test, failure)
                for number, test in enumerate(file.tests, 1)
                for failure in self._play(file, test, number, rules)
            ]
        except ConfigError as error:
            return self._bad(error.problems)
        if not failures:
            self._say("  SUCCESS\n")
            return 0
        self._say("  FAILED:")
        for test, failure in failures:
            self._tell(test, failure)
        return _FAILED

    def _warn_of_names(self, file: RuleTestFile, rules: Rules) -> None:
        """A name that nothing has makes a test that can't fail."""
        for test in file.tests:
            named = [(one.line, one.alertname) for one in test.alert_rule_tests]
            named += [(one.line, one.alertname) for one in test.transition_tests]
            for line, name in named:
                if not rules.has(name):
                    self._say(f'  WARNING: line {line}: no alert in the rule files is called "{clean(name)}"')
        for name in file.group_eval_order:
            if name not in {group.name for group in rules.groups}:
                self._say(f'  WARNING: group_eval_order: no group in the rule files is called "{clean(name)}"')

    def _play(self, file: RuleTestFile, test: RuleTestGroup, number: int, rules: Rules) -> Iterator[Failure]:
        shown = -1

        def tell(share: float) -> None:
            nonlocal shown
            if self._progress is not None and int(share * 100) != shown:
                shown = int(share * 100)
                self._progress(f"{self._name}: test {number} of {len(file.tests)}: {shown} %")

        try:
            yield from play(file, test, rules, progress=tell)
        except InputError as error:
            raise ConfigError([Problem(file.path, error.line, f"test {number}", str(error))]) from error

    def _tell(self, test: RuleTestGroup, failure: Failure) -> None:
        if test.name:
            self._say(f"{_INDENT}name: {clean(test.name)},")
        self._say(f"{_INDENT}{failure.subject}, line: {failure.line}")
        for line in failure.lines:
            self._say(f"{_INDENT * 2}{line}".rstrip())
        self._say("")

    def _bad(self, problems: Sequence[Problem]) -> int:
        self._say("  FAILED:")
        for problem in problems:
            self._say(f"{_INDENT}{problem}")
        self._say("")
        return _BAD

    def _say(self, text: str) -> None:
        if self._progress is not None:
            self._progress("")
        self._stream.write(text + "\n")
