"""Regular expressions as PromQL means them, in linear time.

Prometheus matches with RE2: anchored at both ends, `.` matches a newline, `\\d` and `\\w` are ASCII, and no
pattern takes longer than its text. Python's `re` backtracks, and the text of a label comes from outside: `(a+)+b`
against thirty a's would hold the core for minutes (fault F76). So Python only parses the pattern; matching
walks all its states at once and remembers which set of states follows on which character. What Python can't read as
RE2 does is left to RE2 itself, if it is installed, and else refused.
"""

from __future__ import annotations

import re
from re import _constants as code  # type: ignore[attr-defined]  # the parser's own names; no public ones exist
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Final, TypeAlias

from engine.core.promql.re2_itself import RE2Pattern, re2_pattern
from engine.core.promql.re2_syntax import OnlyRE2, RegexError, python_text

__all__ = ["EDGES", "Regex", "RegexError", "one_character"]

PATTERN_CHARS_MAX: Final = 4_096
STATES_MAX: Final = 10_000
REPEAT_MAX: Final = 1_000  # as in RE2
CACHED_MAX: Final = 10_000

EDGES: Final = {
    code.AT_BEGINNING: False,
    code.AT_BEGINNING_STRING: False,
    code.AT_END: True,
    code.AT_END_STRING: True,
}
"""Where a text begins (False) or ends (True), as Python's parser says it."""
_ONLY_RE2: Final = {code.AT_BOUNDARY: r"\b", code.AT_NON_BOUNDARY: r"\B"}
_States: TypeAlias = frozenset[int]


class Regex:
    """A compiled pattern. Compares by its text.

    Args:
        dot_all: Whether `.` matches a newline: since Prometheus 3.0 it does.

    Raises:
        RegexError: Says what is wrong with the pattern.
    """

    __slots__ = (
        "_accepts",
        "_classes",
        "_edges",
        "_edges_at",
        "_empty",
        "_follows",
        "_start",
        "dot_all",
        "pattern",
        "re2",
    )

    def __init__(self, pattern: str, *, dot_all: bool = True) -> None:
        if len(pattern) > PATTERN_CHARS_MAX:
            raise RegexError(f"a regular expression has at most {PATTERN_CHARS_MAX} characters, not {len(pattern)}")
        self.pattern = pattern
        self.dot_all = dot_all
        self.re2: RE2Pattern | None = None
        """RE2's own, where only that reads the pattern."""
        try:
            self._compile()
        except RegexError as error:
            self.re2 = re2_pattern(pattern, error, dot_all=dot_all)

    def _compile(self) -> None:
        try:
            tree = parser.parse(python_text(self.pattern), re.ASCII | re.DOTALL if self.dot_all else re.ASCII)
        except (re.error, OverflowError, RecursionError) as error:
            raise RegexError(f'"{self.pattern}" is not a regular expression: {error}') from error
        # State n goes to _edges[n][1] on a character of class _edges[n][0], and to all of _empty[n] on none.
        self._edges: list[tuple[int, int] | None] = []
        self._empty: list[list[int]] = []
        # Where a text begins (False) or ends (True), state n goes to these, too: `^` and `$`.
        self._edges_at: dict[bool, dict[int, list[int]]] = {}
        self._classes: list[re.Pattern[str]] = []
        start, end = self._state(), self._state()
        self._add(tree, start, end, tree.state.flags)
        self._accepts = end
        self._start = self._closure({start}, begin=True)
        self._follows: dict[tuple[_States, str], _States] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Regex) and (other.pattern, other.dot_all) == (self.pattern, self.dot_all)

    def __hash__(self) -> int:
        return hash((Regex, self.pattern, self.dot_all))

    def __repr__(self) -> str:
        return f"Regex({self.pattern!r})"

    def matches(self, text: str) -> bool:
        """Whether the whole text matches."""
        if self.re2 is not None:
            return self.re2.fullmatch(text) is not None
        states = self._start
        for character in text:
            states = self._follows.get((states, character)) or self._step(states, character)
            if not states:
                return False
        if self._accepts in states or True not in self._edges_at:
            return self._accepts in states
        return self._accepts in self._closure(set(states), begin=not text, end=True)

    def _step(self, states: _States, character: str) -> _States:
        reached = {
            edge[1]
            for state in states
            if (edge := self._edges[state]) is not None and self._classes[edge[0]].fullmatch(character)
        }
        following = self._closure(reached)
        if len(self._follows) >= CACHED_MAX:
            self._follows.clear()
        self._follows[states, character] = following
        return following

    def _closure(self, states: set[int], *, begin: bool = False, end: bool = False) -> _States:
        """The states that can be reached without a character."""
        extra = [self._edges_at.get(at_end, {}) for at_end, here in ((False, begin), (True, end)) if here]
        found, waiting = set(states), list(states)
        while waiting:
            at = waiting.pop()
            for state in (*self._empty[at], *(state for edges in extra for state in edges.get(at, ()))):
                if state not in found:
                    found.add(state)
                    waiting.append(state)
        return frozenset(found)

    # -- construction ------------------------------------------------------------------------------------------

    def _state(self) -> int:
        if len(self._edges) >= STATES_MAX:
            raise RegexError("the regular expression is too large")
        self._edges.append(None)
        self._empty.append([])
        return len(self._edges) - 1

    def _add(self, sequence: Any, start: int, end: int, flags: int) -> None:
        """Make the states of a sequence of parsed items between two states."""
        for item, argument in sequence:
            following = self._state()
            self._item(item, argument, start, following, flags)
            start = following
        self._empty[start].append(end)

    def _item(self, item: Any, argument: Any, start: int, end: int, flags: int) -> None:
        if item in (code.LITERAL, code.NOT_LITERAL, code.ANY, code.IN):
            self._classes.append(one_character(item, argument, flags))
            self._edges[start] = len(self._classes) - 1, end
        elif item is code.BRANCH:
            for branch in argument[1]:
                begin = self._state()
                self._empty[start].append(begin)
                self._add(branch, begin, end, flags)
        elif item is code.SUBPATTERN:
            _, added, removed, inner = argument
            self._add(inner, start, end, (flags | added) & ~removed)
        elif item in (code.MAX_REPEAT, code.MIN_REPEAT):
            least, most, inner = argument
            self._repeat(least, most, inner, start, end, flags)
        elif item is code.AT and argument in EDGES and not flags & re.MULTILINE:
            self._edges_at.setdefault(EDGES[argument], {}).setdefault(start, []).append(end)
        else:
            raise OnlyRE2(self.pattern, _ONLY_RE2.get(argument, "(?m)") if item is code.AT else str(item))

    def _repeat(self, least: int, most: Any, inner: Any, start: int, end: int, flags: int) -> None:
        unbounded = most is code.MAXREPEAT
        if least > REPEAT_MAX or (not unbounded and most > REPEAT_MAX):
            raise RegexError(f'"{self.pattern}" repeats more than {REPEAT_MAX} times')
        for _ in range(least):
            following = self._state()
            self._add(inner, start, following, flags)
            start = following
        if unbounded:
            begin, finish = self._state(), self._state()
            self._empty[start] += [begin, end]
            self._add(inner, begin, finish, flags)
            self._empty[finish] += [begin, end]
            return
        for _ in range(most - least):
            self._empty[start].append(end)
            following = self._state()
            self._add(inner, start, following, flags)
            start = following
        self._empty[start].append(end)


def one_character(item: Any, argument: Any, flags: int) -> re.Pattern[str]:
    """A class of characters, as a pattern for one: Python's reading of classes and of case is kept."""
    if item is code.ANY:
        source = "."
    elif item is code.IN:
        source = "[" + "".join(map(_member, argument)) + "]"
    else:
        source = ("[^{}]" if item is code.NOT_LITERAL else "{}").format(_escaped(argument))
    return re.compile(source, flags & (re.IGNORECASE | re.DOTALL | re.ASCII))


def _member(item: tuple[Any, Any]) -> str:
    kind, argument = item
    if kind is code.NEGATE:
        return "^"
    if kind is code.RANGE:
        return f"{_escaped(argument[0])}-{_escaped(argument[1])}"
    if kind is code.CATEGORY:
        return _CATEGORIES[argument]
    return _escaped(argument)


def _escaped(character: int) -> str:
    return f"\\U{character:08x}"


_CATEGORIES: dict[Any, str] = {
    code.CATEGORY_DIGIT: r"\d",
    code.CATEGORY_NOT_DIGIT: r"\D",
    code.CATEGORY_SPACE: r"\s",
    code.CATEGORY_NOT_SPACE: r"\S",
    code.CATEGORY_WORD: r"\w",
    code.CATEGORY_NOT_WORD: r"\W",
}
