"""Errors, one class per who must act.

`ConfigError` and `RuleError`: the operator edits a file. `ProbeError`: somebody looks at a target or
at a probe's code. `SinkError`: somebody looks at a receiver or at storage. `StateError`: we have a
bug, or a snapshot is not ours. Messages are built here, so that all of them read alike; they never
carry a secret, because they are built from addresses and reason codes, not from foreign exceptions.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = [
    "ConfigError",
    "LongwatchError",
    "Problem",
    "ProbeError",
    "RuleError",
    "SinkError",
    "StateError",
    "nearest",
]


class LongwatchError(Exception):
    """Base of everything Longwatch raises on purpose."""


class Problem(NamedTuple):
    """One thing wrong in a configuration.

    Args:
        file: Path as the operator gave it, or a name such as `--set`.
        line: 1-based line in that file; 0 where there is none.
        address: What is wrong, as `table.name.key` (`probe.health.url`); empty for the whole file.
        message: What is wrong and what was expected.
        hint: What to write instead, or empty.
    """

    file: str
    line: int
    address: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        subject = f"{place}: {self.address}: " if self.address else f"{place}: "
        return subject + self.message + (f" ({self.hint})" if self.hint else "")


class ConfigError(LongwatchError):
    """The configuration can't be used. Carries every problem found, in file order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class RuleError(LongwatchError):
    """A rule can't be compiled. `message` names the construct; the config loader adds file and line."""

    def __init__(self, rule: str, message: str, hint: str = "") -> None:
        self.rule = rule
        self.message = message
        self.hint = hint
        super().__init__(f'rule "{rule}": {message}' + (f" ({hint})" if hint else ""))


class ProbeError(LongwatchError):
    """A probe could not measure.

    Args:
        reason: A short stable code (`timeout`, `refused`, `bad_output`), for counting.
        message: For a person. Must not contain a secret.
    """

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class SinkError(LongwatchError):
    """A sink could not take what it was given.

    Args:
        reason: A short stable code (`http_503`, `timeout`, `disk_full`), for counting.
        message: For a person. Must not contain a secret.
        retryable: Whether the same bytes may succeed later.
        retry_after_s: What the receiver asked for, in seconds, already clamped; 0 if it did not ask.
        status: The HTTP status it answered with; 0 where there was none.
    """

    def __init__(
        self, reason: str, message: str, *, retryable: bool, retry_after_s: float = 0.0, status: int = 0
    ) -> None:
        self.reason = reason
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.status = status
        super().__init__(message)


class StateError(LongwatchError):
    """A step the state table does not define, or a snapshot that can't be restored: a bug, not an input."""


def nearest(word: str, known: Sequence[str]) -> str:
    """Return `did you mean "x"?` for the closest of `known`, or an empty string."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f'did you mean "{close[0]}"?' if close else ""
