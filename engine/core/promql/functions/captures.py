"""What the groups of a regular expression hold when it matches a whole text, in linear time.

Label values come from outside, so no pattern may take longer than its text (fault F76). Patterns that Python's
backtracking can't get lost in are left to it. For all others a list of threads, in the order in which Perl and RE2
would prefer them, walks the text once; of two threads in one state only the preferred one goes on.
"""

from __future__ import annotations

import re
from re import _constants as code  # type: ignore[attr-defined]  # the parser's own names; no public ones exist
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Final, TypeAlias

from engine.core.promql.re2_syntax import python_text
from engine.core.promql.regex import EDGES, Regex, one_character

__all__ = ["Captures", "repeats"]

# Backtracking over three independent repeats takes at most the third power of the length of the text.
SIMPLE_REPEATS_MAX: Final = 3

Groups: TypeAlias = tuple[str, ...]
"""Group 0, the whole text, and each group; empty where it took no part."""

_Slots: TypeAlias = tuple[int, ...]
_Step: TypeAlias = tuple[Any, ...]


class Captures:
    """A compiled pattern whose groups are wanted.

    Args:
        dot_all: Whether `.` matches a newline: since Prometheus 3.0 it does.

    Raises:
        RegexError: Says what is wrong with the pattern.
    """

    __slots__ = ("_groups", "_pattern", "_program", "_re2", "names")

    def __init__(self, pattern: str, *, dot_all: bool = True) -> None:
        regex = Regex(pattern, dot_all=dot_all)  # refuses what is not RE2's, and what is too large
        self._re2 = regex.re2
        self.names: dict[str, int] = {}
        if self._re2 is not None:
            self.names = self._re2.names
            return
        flags = re.ASCII | re.DOTALL if dot_all else re.ASCII
        text = python_text(pattern)
        tree = parser.parse(text, flags)
        self.names = dict(tree.state.groupdict)
        self._groups: int = tree.state.groups
        self._pattern = re.compile(text, flags) if sum(repeats(tree)) <= SIMPLE_REPEATS_MAX else None
        self._program: list[_Step] = []
        if self._pattern is None:
            self._add(tree, tree.state.flags)
            self._program.append(("match",))

    def fullmatch(self, text: str) -> Groups | None:
        """The groups if the pattern matches the whole text."""
        if self._re2 is not None:
            return self._re2.fullmatch(text)
        if self._pattern is not None:
            match = self._pattern.fullmatch(text)
            return None if match is None else (text, *match.groups(""))
        threads = self._reach([(0, (-1,) * (2 * self._groups))], 0, text)
        for at, character in enumerate(text):
            threads = self._reach(
                [
                    (state + 1, slots)
                    for state, slots in threads
                    if self._program[state][0] == "character" and self._program[state][1].fullmatch(character)
                ],
                at + 1,
                text,
            )
            if not threads:
                return None
        for state, slots in threads:
            if self._program[state][0] == "match":
                ends = zip(slots[2::2], slots[3::2], strict=True)
                return (text, *("" if end < 0 else text[begin:end] for begin, end in ends))
        return None

    def _reach(self, threads: list[tuple[int, _Slots]], at: int, text: str) -> list[tuple[int, _Slots]]:
        """Where threads get to without a character: at characters and at the end, the preferred first."""
        waiting, seen, reached = threads[::-1], set[int](), list[tuple[int, _Slots]]()
        while waiting:
            state, slots = waiting.pop()
            if state in seen:
                continue
            seen.add(state)
            match self._program[state]:
                case ("split", *targets):
                    waiting += [(target, slots) for target in reversed(targets)]
                case ("save", slot):
                    waiting.append((state + 1, (*slots[:slot], at, *slots[slot + 1 :])))
                case ("edge", at_end):
                    if at == (len(text) if at_end else 0):
                        waiting.append((state + 1, slots))
                case _:
                    reached.append((state, slots))
        return reached

    # -- construction ------------------------------------------------------------------------------------------

    def _add(self, sequence: Any, flags: int) -> None:
        for item, argument in sequence:
            self._item(item, argument, flags)

    def _item(self, item: Any, argument: Any, flags: int) -> None:
        program = self._program
        if item is code.BRANCH:
            ends = []
            for branch in argument[1][:-1]:
                split = self._reserve()
                self._add(branch, flags)
                ends.append(self._reserve())
                program[split] = ("split", split + 1, len(program))
            self._add(argument[1][-1], flags)
            for end in ends:
                program[end] = ("split", len(program))
        elif item is code.SUBPATTERN:
            group, added, removed, inner = argument
            if group is not None:
                program.append(("save", 2 * group))
            self._add(inner, (flags | added) & ~removed)
            if group is not None:
                program.append(("save", 2 * group + 1))
        elif item in (code.MAX_REPEAT, code.MIN_REPEAT):
            least, most, inner = argument
            self._repeat(least, most, inner, flags, greedy=item is code.MAX_REPEAT)
        elif item is code.AT:
            program.append(("edge", EDGES[argument]))
        else:
            program.append(("character", one_character(item, argument, flags)))

    def _repeat(self, least: int, most: Any, inner: Any, flags: int, *, greedy: bool) -> None:
        for _ in range(least):
            self._add(inner, flags)
        unbounded = most is code.MAXREPEAT
        splits = []
        for _ in range(1 if unbounded else most - least):
            splits.append(self._reserve())
            self._add(inner, flags)
        if unbounded:
            self._program.append(("split", splits[0]))
        for split in splits:
            targets = (split + 1, len(self._program))
            self._program[split] = ("split", *(targets if greedy else targets[::-1]))

    def _reserve(self) -> int:
        """The place of a step whose targets are known later."""
        self._program.append(())
        return len(self._program) - 1


def repeats(sequence: Any) -> tuple[int, int]:
    """What a parsed sequence leaves to choose: (repeats of a single character, parts that may be left out).

    A repeat of anything longer counts as more than are simple. Of parts that may be left out, one behind the other,
    each doubles what backtracking tries.
    """
    many = options = 0
    for item, argument in sequence:
        below: list[Any] = []
        if item is code.BRANCH:
            below = argument[1]
        elif item is code.SUBPATTERN:
            below = [argument[3]]
        elif item in (code.MAX_REPEAT, code.MIN_REPEAT):
            _, most, inner = argument
            single = len(inner) == 1 and inner[0][0] in (code.LITERAL, code.NOT_LITERAL, code.ANY, code.IN)
            if most == 1:
                options += 1
                below = [inner]
            else:
                many += 1 if single else SIMPLE_REPEATS_MAX + 1
        for part in below:
            many_below, options_below = repeats(part)
            many, options = many + many_below, options + options_below
    return many, options
