"""Runs files of rule tests, one after the other, and says what came of each, much as promtool does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from engine.core.groups import GridGroup
from engine.core.promql.plan import Compat, QueryPlan
from engine.errors import ConfigError, Problem
from engine.rulefiles.compile import compiler, grid_groups
from engine.rulefiles.find import find_rule_files
from engine.rulefiles.read import read_rule_file
from engine.rulefiles.shape import RuleFile
from engine.ruletests.inputs import InputError
from engine.ruletests.play import Failure, play
from engine.ruletests.read import read_test_file
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
            groups = self._groups(file)
            self._warn_of_names(file, groups)
            failures = [
                (test, failure)
                for number, test in enumerate(file.tests, 1)
                for failure in self._play(file, test, number, groups)
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

    def _groups(self, file: RuleTestFile) -> list[GridGroup]:
        """The groups of all rule files in the order of evaluation. Raises `ConfigError`."""
        rule_files: dict[str, RuleFile] = {}
        problems: list[Problem] = []
        for pattern in file.rule_files:
            paths, _ = find_rule_files([pattern], file.folder)
            if not paths:  # promtool goes on, too
                self._say(f"  WARNING: no file match pattern {clean(pattern)}")
            for path in paths:
                if (real := os.path.realpath(path)) in rule_files:
                    continue
                read, found = read_rule_file(path, self._compile)
                problems += found
                if read is not None:
                    rule_files[real] = read
        if problems:
            raise ConfigError(problems)
        interval_ms = file.evaluation_interval_ms
        groups = grid_groups(rule_files.values(), default_interval_ms=interval_ms, compile_expr=self._compile)
        places = {name: place for place, name in enumerate(file.group_eval_order)}
        return sorted(groups, key=lambda group: places.get(group.name, -1))

    def _warn_of_names(self, file: RuleTestFile, groups: Sequence[GridGroup]) -> None:
        """A name that nothing has makes a test that can't fail."""
        alerts = {rule.name for group in groups for rule in group.rules if rule.kind == "alert"}
        for test in file.tests:
            for one in test.alert_rule_tests:
                if one.alertname not in alerts:
                    self._say(
                        f'  WARNING: line {one.line}: no alert in the rule files is called "{clean(one.alertname)}"'
                    )
        for name in file.group_eval_order:
            if name not in {group.name for group in groups}:
                self._say(f'  WARNING: group_eval_order: no group in the rule files is called "{clean(name)}"')

    def _play(
        self, file: RuleTestFile, test: RuleTestGroup, number: int, groups: Sequence[GridGroup]
    ) -> Iterator[Failure]:
        shown = -1

        def tell(share: float) -> None:
            nonlocal shown
            if self._progress is not None and int(share * 100) != shown:
                shown = int(share * 100)
                self._progress(f"{self._name}: test {number} of {len(file.tests)}: {shown} %")

        try:
            yield from play(file, test, groups, self._compile, compat=self._compat, progress=tell)
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
