"""The pattern of breaches that delays are measured over: every breach is long enough for an alert, and ends."""

from itertools import pairwise

from benchmarks.punctual.pattern import HIGH, LOW, Pattern

FOR_S = 2.0


def test_every_breach_outlasts_for_and_there_is_time_between() -> None:
    pattern = Pattern(50, FOR_S)
    spans = {number: [pattern.breach(number, at / 20) for at in range(40 * 20)] for number in range(50)}
    for found in spans.values():
        breaches = sorted({(round(one.begins_s, 6), round(one.ends_s, 6)) for one in found if one is not None})
        assert len(breaches) >= 5
        assert all(ends - begins >= 1.5 * FOR_S for begins, ends in breaches)
        assert all(later[0] - before[1] >= 0.49 * FOR_S for before, later in pairwise(breaches))
    begins = [min(one.begins_s for one in found if one is not None) for found in spans.values()]
    assert len({round(at % 1, 3) for at in begins}) > 40  # phases are spread


def test_values_are_those_of_the_breaches() -> None:
    pattern = Pattern(50, FOR_S)
    numbers = range(50)
    for at_s in (-1.0, 0.0, 3.3, 17.9):
        expected = [LOW if pattern.breach(number, at_s) is None else HIGH for number in numbers]
        assert pattern.values(at_s, numbers) == expected
    assert set(pattern.values(-1.0, numbers)) == {LOW}
    assert set(pattern.values(17.9, numbers)) == {LOW, HIGH}
