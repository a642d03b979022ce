"""Work that is held against other work in the same process: taken turn by turn, and the median of the ratios."""

import gc
import time
from collections.abc import Callable, Sequence
from statistics import median

__all__ = ["in_turns", "ratios_to_first", "seconds_of"]


def seconds_of(work: Callable[[], object]) -> float:
    """CPU seconds of one run, with the collector running as it does in a service, and nothing left over from before."""
    gc.collect()
    began = time.process_time()
    work()
    return time.process_time() - began


def in_turns(makers: Sequence[Callable[[], Callable[[], object]]], *, rounds: int) -> list[list[float]]:
    """Seconds of each round of each work. A maker makes the work anew each time, and is not timed."""
    seconds: list[list[float]] = [[] for _ in makers]
    for _ in range(rounds):
        for place, maker in enumerate(makers):
            seconds[place].append(seconds_of(maker()))
    return seconds


def ratios_to_first(seconds: Sequence[Sequence[float]]) -> list[float]:
    """How much longer each took than the first, as the median over the rounds; the first is 1."""
    return [median(own / first for own, first in zip(one, seconds[0], strict=True)) for one in seconds]
