"""Shares against a count of milliseconds."""

from hypothesis import given
from hypothesis import strategies as st

from engine.core.shares import SPANS_MAX, Share

lengths = st.lists(st.integers(0, 12), max_size=12)


def by_count(share: Share, now: int) -> int:
    """Milliseconds of the window in which it held: one at t covers (t - 1, t]."""
    edges = [*share.spans, now] if share.on else share.spans
    true = {t for start, end in zip(edges[::2], edges[1::2], strict=True) for t in range(start + 1, end + 1)}
    return sum(1 for t in range(now - share.window + 1, now + 1) if t in true)


@given(lengths, st.integers(1, 20), st.floats(0.05, 1), st.integers(0, 30))
def test_a_share_is_a_count(parts: list[int], window: int, of: float, wait: int) -> None:
    share, now = Share(window, max(1, round(of * window))), 0
    for number, length in enumerate(parts):
        share.turn(number % 2 == 0, now)
        assert share.true_for(now) == by_count(share, now)
        now += length
    now += wait
    assert share.true_for(now) == by_count(share, now)
    assert share.reached(now) == (by_count(share, now) >= share.need)


@given(lengths, st.integers(1, 20), st.floats(0.05, 1))
def test_the_next_change_is_the_first(parts: list[int], window: int, of: float) -> None:
    share, now = Share(window, max(1, round(of * window))), 0
    for number, length in enumerate(parts):
        share.turn(number % 2 == 0, now)
        now += length

    def reached(at: int) -> bool:
        return by_count(share, at) >= share.need

    left = by_count(share, now) > 0 or share.on
    changes = (
        at
        for at in range(now + 1, now + 2 * window + 2)
        if reached(at) != share.reached(now) or (left and not share.on and not by_count(share, at))
    )
    assert share.next_change(now) == next(changes, None)


@given(lengths, st.integers(1, 20))
def test_what_is_forgotten_is_missed_by_nobody(parts: list[int], window: int) -> None:
    share, now = Share(window, 1), 0
    for number, length in enumerate(parts):
        share.turn(number % 2 == 0, now)
        now += length
    before = share.true_for(now)
    share.forget(now)
    assert share.true_for(now) == before


def test_many_spans_are_bounded() -> None:
    share = Share(10**9, 10)
    for at in range(5 * SPANS_MAX):
        share.turn(at % 2 == 0, 10 * at)
    assert len(share.spans) <= 2 * SPANS_MAX
    assert share.true_for(50 * SPANS_MAX) >= 10 * 2 * SPANS_MAX


def test_without_a_window_a_share_is_what_holds_now() -> None:
    """A level without `for` of a rule with `of`: it was once stepped every millisecond, and never set."""
    share = Share(0, 1)
    share.turn(True, 5)
    assert (share.reached(5), share.reached(9), share.next_change(9)) == (True, True, None)
    share.turn(False, 9)
    assert (share.reached(9), share.next_change(9)) == (False, None)
