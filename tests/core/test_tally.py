"""What the core tells of errors: our own words, and of a foreign one its type."""

import pytest

from engine.core.promql.vector import EvaluationError
from engine.core.tally import words_of
from engine.errors import StateError
from engine.series import SeriesError, series_text


@pytest.mark.parametrize(
    "error", [EvaluationError("many-to-many"), SeriesError("65 labels"), StateError("no snapshot")]
)
def test_our_own_words_are_told(error: Exception) -> None:
    assert words_of(error) == str(error)


@pytest.mark.parametrize("error", [ValueError("password=hunter2"), OSError(13, "hunter2"), UnicodeError("hunter2")])
def test_of_a_foreign_error_its_type_is_told(error: Exception) -> None:
    assert words_of(error) == f"{type(error).__name__} raised"


def test_what_no_series_can_have_is_said_without_the_labels() -> None:
    with pytest.raises(SeriesError) as caught:
        series_text("m", {f"l{number}": "hunter2" for number in range(65)})
    assert words_of(caught.value) == "65 labels; at most 64 are allowed"
