"""Parts of a date, in UTC, of values that are seconds since the epoch; of the instant itself without argument.

Integers only, so that every year that fits is right. What is no int64 (NaN, infinities) is read as Prometheus reads
it on amd64: there it becomes the least int64, whose date wraps around to 2**63 seconds after the epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core.promql.functions.context import FunctionContext, VectorFunction, vector
from engine.core.promql.vector import Floats, Value, Vector

__all__ = ["DATES"]

Integers = NDArray[np.int64]

DAY_S = 86_400
ERA_DAYS = 146_097  # 400 Gregorian years
EPOCH_DAYS = 719_468  # from 0000-03-01 to 1970-01-01
SECONDS_END = 2.0**63  # from here on, in both directions, seconds do not fit into int64


class _Day(NamedTuple):
    """Gregorian dates: year, month 1..12, day 1..31."""

    year: Integers
    month: Integers
    day: Integers


def _civil(days: Integers) -> _Day:
    """Dates of days since the epoch.

    The year is counted from March, so that the leap day is its last: then the months before a day of that
    year follow from 153 days in five months.
    """
    from_march = days + EPOCH_DAYS
    era = from_march // ERA_DAYS
    day_of_era = from_march - era * ERA_DAYS
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    month = shifted + np.where(shifted < 10, 3, -9)
    year = year_of_era + era * 400 + (month <= 2)
    return _Day(year, month, day_of_year - (153 * shifted + 2) // 5 + 1)


def _days_before_month(day: _Day) -> Integers:
    """Days from the first of January to the first of the month."""
    leap = _leap(day.year) & (day.month > 2)
    earlier: Integers = np.array([0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334])[day.month - 1]
    return earlier + leap


def _leap(year: Integers) -> NDArray[np.bool_]:
    leap: NDArray[np.bool_] = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    return leap


def _minute(days: Integers, seconds: Integers) -> Integers:
    return seconds // 60 % 60


def _hour(days: Integers, seconds: Integers) -> Integers:
    return seconds // 3600


def _day_of_week(days: Integers, seconds: Integers) -> Integers:
    return (days + 4) % 7  # the epoch was a Thursday; Sunday is 0


def _day_of_month(days: Integers, seconds: Integers) -> Integers:
    return _civil(days).day


def _day_of_year(days: Integers, seconds: Integers) -> Integers:
    day = _civil(days)
    return _days_before_month(day) + day.day


def _days_in_month(days: Integers, seconds: Integers) -> Integers:
    day = _civil(days)
    usual: Integers = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])[day.month - 1]
    leap: Integers = (_leap(day.year) & (day.month == 2)).astype(np.int64)
    return usual + leap


def _month(days: Integers, seconds: Integers) -> Integers:
    return _civil(days).month


def _year(days: Integers, seconds: Integers) -> Integers:
    return _civil(days).year


def _dated(part: Callable[[Integers, Integers], Integers]) -> VectorFunction:
    """A vector function of this part of the date: of days since the epoch and seconds of the day."""

    def of(values: Floats) -> Floats:
        fits = np.abs(values) < SECONDS_END
        whole = np.where(fits, values, 0.0).astype(np.int64)  # fractions are cut off, towards zero
        days, seconds = np.divmod(whole, DAY_S)
        wrapped_days, wrapped_seconds = divmod(int(SECONDS_END), DAY_S)
        days, seconds = np.where(fits, days, wrapped_days), np.where(fits, seconds, wrapped_seconds)
        return part(days, seconds).astype(np.float64)

    def function(context: FunctionContext, arguments: list[Value]) -> Value:
        if not arguments:
            now = np.array([context.at_ms / 1000.0])
            return Vector(context.single({}), of(now), np.ones(1, dtype=np.bool_))
        given = vector(arguments[0])
        return given._replace(values=of(given.values))

    return function


DATES: dict[str, VectorFunction] = {
    "minute": _dated(_minute),
    "hour": _dated(_hour),
    "day_of_week": _dated(_day_of_week),
    "day_of_month": _dated(_day_of_month),
    "day_of_year": _dated(_day_of_year),
    "days_in_month": _dated(_days_in_month),
    "month": _dated(_month),
    "year": _dated(_year),
}
