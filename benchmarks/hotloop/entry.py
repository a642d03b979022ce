"""What a contestant hands over to be timed."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

__all__ = ["Change", "Entry", "Single"]

Single: TypeAlias = tuple[int, str, float]
"""A sample: (time, series, value)."""
Change: TypeAlias = tuple[int, str, str, str, str]
"""A transition: (time, rule, series, before, after), see `benchmarks.hotloop.workload.Step`."""


class Entry(NamedTuple):
    """Prepared work.

    Args:
        work: What is timed, once: from the first event to the last transition.
        changes: Turns what `work` returned into transitions as all contestants give them; not timed.
    """

    work: Callable[[], Any]
    changes: Callable[[Any], Iterable[Change]] = list
