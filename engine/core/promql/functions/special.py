"""Functions about presence, time and type rather than about values."""

from __future__ import annotations

import math

import numpy as np

from engine.core.promql.functions.context import FunctionContext, VectorFunction, number, vector
from engine.core.promql.vector import Scalar, Value, Vector

__all__ = ["SPECIAL"]


def _pi(_: FunctionContext, arguments: list[Value]) -> Value:
    return Scalar(math.pi)


def _time(context: FunctionContext, arguments: list[Value]) -> Value:
    """The instant of evaluation, in seconds."""
    return Scalar(context.at_ms / 1000.0)


def _vector(context: FunctionContext, arguments: list[Value]) -> Value:
    """A number as a vector of one element without labels."""
    return Vector(context.single({}), np.array([number(arguments[0])]), np.ones(1, dtype=np.bool_))


def _scalar(_: FunctionContext, arguments: list[Value]) -> Value:
    """The value of a vector of one element; NaN if it has none or several."""
    given = vector(arguments[0])
    rows = np.flatnonzero(given.present)
    return Scalar(float(given.values[rows[0]]) if len(rows) == 1 else math.nan)


def _timestamp(context: FunctionContext, arguments: list[Value]) -> Value:
    """When the samples of a selector were, in seconds; of anything computed, the instant of evaluation."""
    if context.times is not None:
        return context.times
    given = vector(arguments[0])
    return given._replace(values=np.full(len(given.values), context.at_ms / 1000.0))


def _absent(context: FunctionContext, arguments: list[Value]) -> Value:
    """1, with the labels of the selector, if the vector is empty; otherwise nothing."""
    empty = not vector(arguments[0]).present.any()
    return Vector(context.single(context.absent), np.ones(1), np.array([empty]))


SPECIAL: dict[str, VectorFunction] = {
    "pi": _pi,
    "time": _time,
    "vector": _vector,
    "scalar": _scalar,
    "timestamp": _timestamp,
    "absent": _absent,
    "absent_over_time": _absent,
}
