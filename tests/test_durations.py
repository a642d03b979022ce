"""Durations: what people write, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.durations import Duration, format_ms, parse_ms

YEAR_MS = 31_536_000_000


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("0", 0),
        ("0s", 0),
        ("250ms", 250),
        ("15s", 15_000),
        ("5m", 300_000),
        ("1h30m", 5_400_000),
        ("1d", 86_400_000),
        ("1w", 604_800_000),
        ("1y", YEAR_MS),
        ("1y2w3d4h5m6s7ms", YEAR_MS + 2 * 604_800_000 + 3 * 86_400_000 + 4 * 3_600_000 + 5 * 60_000 + 6_007),
        ("90s", 90_000),
        ("100y", 100 * YEAR_MS),
    ],
)
def test_reading(text: str, ms: int) -> None:
    assert parse_ms(text) == ms


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("5", '"5" has no unit; write "5s"'),
        ("1.5", "has no unit"),
        ("", "not a duration"),
        ("5 m", "not a duration"),
        ("-5m", "not a duration"),
        ("1.5h", "not a duration"),
        ("5M", "not a duration"),
        ("30m1h", "not a duration"),
        ("5m5m", "not a duration"),
        ("5m\n", "not a duration"),
        ("٥m", "not a duration"),  # an Arabic-Indic digit
        ("inf", "not a duration"),
        ("101y", "longer than 100 years"),
        ("9" * 400 + "ms", "longer than 100 years"),
        ("x" * 10_000, "not a duration"),
    ],
)
def test_refusing(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        parse_ms(text)
    assert len(str(refused.value)) < 200 + 6 * len(text[:40])


@given(st.integers(0, 100 * YEAR_MS))
def test_what_is_written_reads_the_same(ms: int) -> None:
    assert parse_ms(format_ms(ms)) == ms


@given(st.text(st.sampled_from("0159msywdh. -"), max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        ms = parse_ms(text)
    except ValueError:
        return
    assert 0 <= ms <= 100 * YEAR_MS
    assert parse_ms(format_ms(ms)) == ms


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0s"), (90_000, "1m30s"), (-1_500, "-1s500ms"), (36 * 3_600_000, "1d12h"), (14 * 86_400_000, "14d")],
)
def test_writing(ms: int, text: str) -> None:
    assert format_ms(ms) == text


def test_a_duration_is_its_milliseconds() -> None:
    five = Duration.parse("5m")
    assert five == 300_000
    assert five.seconds == 300.0
    assert (str(five), f"{five}", repr(five)) == ("5m", "5m", "Duration('5m')")
    with pytest.raises(ValueError, match="no unit"):
        Duration.parse("5")
