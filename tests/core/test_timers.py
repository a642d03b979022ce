"""Deadlines in event time."""

from hypothesis import given
from hypothesis import strategies as st

from engine.core.timers import Deadline, Timers


def test_deadlines_of_one_instant_come_together_in_the_order_they_were_added() -> None:
    timers = Timers()
    first, second, other = Deadline(0, 1), Deadline(1, 1), Deadline(0, 2)
    timers.add(20, other)
    timers.add(10, first)
    timers.add(10, second)
    assert (len(timers), timers.next_ms()) == (3, 10)
    assert timers.pop(9) is None
    assert timers.pop(10) == (10, [first, second])
    assert (len(timers), timers.next_ms()) == (1, 20)
    assert timers.pop(1_000) == (20, [other])
    assert (len(timers), timers.next_ms(), timers.pop(10**15)) == (0, None, None)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3)), max_size=40), st.integers(0, 20))
def test_everything_comes_out_once_in_order_of_time(added: list[tuple[int, int]], now: int) -> None:
    timers = Timers()
    for time_ms, slot in added:
        timers.add(time_ms, Deadline(0, slot))
    popped: list[tuple[int, int]] = []
    while (due := timers.pop(now)) is not None:
        popped += [(due[0], deadline.kind) for deadline in due[1]]
    expected = sorted((entry for entry in added if entry[0] <= now), key=lambda entry: entry[0])
    assert popped == expected
    assert len(timers) == len(added) - len(popped)


def test_clearing_forgets_everything_and_it_can_be_used_again() -> None:
    timers = Timers()
    timers.add(1, Deadline(0, 0))
    timers.clear()
    assert (len(timers), timers.next_ms(), timers.pop(10)) == (0, None, None)
    timers.add(1, Deadline(0, 5))
    assert timers.pop(1) == (1, [Deadline(0, 5)])
