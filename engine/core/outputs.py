"""Transitions on their way out, very many of them at times: put in order and joined without holding anybody up.

A threshold that ten thousand rules share makes hundreds of thousands of transitions of one scrape. What this gives must
be exactly what sorting all of them at once gives.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator
from typing import Final

from engine.core.notices import Output

__all__ = ["OUTPUTS_PER_STEP", "in_order", "joined"]

OUTPUTS_PER_STEP: Final = 2_048
_MOVED_PER_STEP: Final = 32_768


def joined(made: list[Output], more: list[Output]) -> list[Output]:
    """Both, one after the other, in one of the two lists: to copy very many takes its time."""
    if not made:
        return more
    made += more
    return made


def in_order(made: list[Output]) -> Generator[None, None, list[Output]]:
    """Outputs in order, in steps. The list that is given is used up."""
    if len(made) <= OUTPUTS_PER_STEP:
        made.sort()
        return made
    runs = []
    made.reverse()
    while made:
        run = made[-OUTPUTS_PER_STEP:]
        del made[-OUTPUTS_PER_STEP:]
        run.sort()
        runs.append(run)
        yield
    while len(runs) > 1:
        pairs, runs = runs, []
        for at in range(0, len(pairs) - 1, 2):
            yield from _merge(pairs[at], pairs[at + 1])
            runs.append(pairs[at])
        runs += pairs[len(pairs) & ~1 :]
    return runs[0]


def _merge(first: list[Output], second: list[Output]) -> Generator[None, None, None]:
    """Bring the second run, in order, into the first. What happens comes nearly in order, so they overlap little."""
    cut = bisect_left(first, second[0])
    left, right, done = first[cut:], 0, 0
    del first[cut:]
    while done < len(left) and right < len(second):
        stop = min(done + OUTPUTS_PER_STEP, len(left))
        until = bisect_left(second, left[stop - 1], right)
        if until > right + OUTPUTS_PER_STEP:
            until = right + OUTPUTS_PER_STEP
            stop = bisect_left(left, second[until - 1], done, stop)
        both = left[done:stop] + second[right:until]
        both.sort()
        first += both
        done, right = stop, until
        yield
    for rest, start in ((left, done), (second, right)):
        rest.reverse()  # so that what is moved can be let go of at once
        del rest[len(rest) - start :]
        while rest:
            first += rest[: -_MOVED_PER_STEP - 1 : -1]
            del rest[-_MOVED_PER_STEP:]
            yield
