"""Text in cells: safe, cut to width, with the unit its name promises."""

import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from engine.view.cells import bar, fit, literal, number, short_ms


@given(st.text())
def test_literal_leaves_nothing_a_terminal_acts_on(text: str) -> None:
    """F139: no control, format, surrogate or unassigned character gets through."""
    shown = literal(text)
    assert all(unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"} for char in shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("[red]x[/red] :skull:", "[red]x[/red] :skull:"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u200db", "a\\u200db"),
        ("\u2764\ufe0f", "\u2764\\ufe0f"),
        ("a\udcffb", "a\\udcffb"),
        ("漢字", "漢字"),
        ("two\nlines", "two\\nlines"),
    ],
)
def test_literal_shows_what_is_there(text: str, shown: str) -> None:
    assert literal(text) == shown


@given(st.text(), st.integers(0, 60), st.sampled_from(["left", "right"]))
def test_fit_is_exactly_that_wide(text: str, width: int, align: str) -> None:
    assert cell_len(fit(literal(text), width, align)) == width  # type: ignore[arg-type]


def test_fit_marks_a_cut_and_does_not_split_a_wide_character() -> None:
    assert fit("abcdef", 4) == "abc…"
    assert fit("漢字漢字", 4) == "漢 …"
    assert fit("7", 3, "right") == "  7"
    assert fit("abc", 0) == ""


@pytest.mark.parametrize(
    ("share", "drawn"),
    [(0.0, "░░░░"), (0.5, "██░░"), (1.0, "████"), (7.0, "████"), (-1.0, "░░░░"), (math.nan, "░░░░")],
)
def test_bar_fills_from_the_left(share: float, drawn: str) -> None:
    assert bar(share, 4) == drawn


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (-5, "0s"),
        (0, "0s"),
        (850, "850ms"),
        (12_000, "12s"),
        (192_000, "3m12s"),
        (300_000, "5m"),
        (7_380_000, "2h03m"),
        (86_400_000 * 5, "5d"),
        (86_400_000 + 3_600_000, "1d01h"),
    ],
)
def test_short_ms_has_two_units_at_most(ms: int, text: str) -> None:
    assert short_ms(ms) == text


@pytest.mark.parametrize(
    ("value", "metric", "text"),
    [
        (43.21, "host_cpu_percent", "43.2%"),
        (0.5, "host_swap_ratio", "50.0%"),
        (3.4e9, "host_memory_available_bytes", "3.17GiB"),
        (512.0, "x_bytes", "512B"),
        (1.5 * 2**30, "host_network_receive_bytes_total", "1.5GiB"),
        (0.0123, "probe_duration_seconds", "12.3ms"),
        (0.0, "probe_duration_seconds", "0s"),
        (345_600.0, "host_uptime_seconds", "4d"),
        (1.7e9, "host_boot_time_seconds", "1.7G"),
        (1.23, "host_load1", "1.23"),
        (341.0, "", "341"),
        (12_300.0, "", "12.3k"),
        (-12_300.0, "", "-12.3k"),
        (1e300, "", "1.00e+285P"),
        (math.nan, "x_percent", "NaN"),
        (math.inf, "", "+Inf"),
        (-math.inf, "", "-Inf"),
    ],
)
def test_number_has_the_unit_of_its_metric(value: float, metric: str, text: str) -> None:
    assert number(value, metric) == text


@given(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from(["x_percent", "x_bytes", "x_seconds", ""]))
def test_number_takes_any_float(value: float, metric: str) -> None:
    assert number(value, metric).isascii()
