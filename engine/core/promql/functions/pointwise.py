"""Arithmetic on each value alone: rounding, bounds, exponentials, trigonometry."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.core.promql.functions.context import FunctionContext, VectorFunction, number, vector
from engine.core.promql.vector import Floats, Value, Vector

__all__ = ["POINTWISE"]


def _each(compute: Callable[[Floats], Any]) -> VectorFunction:
    """A vector function that computes each value by itself."""

    def function(_: FunctionContext, arguments: list[Value]) -> Value:
        given = vector(arguments[0])
        with np.errstate(all="ignore"):
            return given._replace(values=compute(given.values))

    return function


def _round(_: FunctionContext, arguments: list[Value]) -> Value:
    """To the nearest multiple, 1 if not given; halves go up. The inverse is used because it is more often exact."""
    given = vector(arguments[0])
    with np.errstate(all="ignore"):
        inverse = np.float64(1.0) / np.float64(number(arguments[1]) if len(arguments) > 1 else 1.0)
        return given._replace(values=np.floor(given.values * inverse + 0.5) / inverse)


def _at_most(values: Floats, most: float) -> Floats:
    """The lesser of two. NaN if either is, but -Inf wins over NaN, as in Go."""
    return np.where((values == -math.inf) | (most == -math.inf), -math.inf, np.minimum(values, most))


def _at_least(values: Floats, least: float) -> Floats:
    """The greater of two. NaN if either is, but +Inf wins over NaN, as in Go."""
    return np.where((values == math.inf) | (least == math.inf), math.inf, np.maximum(values, least))


def _bounded(given: Vector, least: float, most: float) -> Vector:
    """Values moved into [least, most]; nothing at all if that is empty."""
    if most < least:
        return given._replace(present=np.zeros_like(given.present))
    with np.errstate(all="ignore"):
        return given._replace(values=_at_least(_at_most(given.values, most), least))


def _clamp(_: FunctionContext, arguments: list[Value]) -> Value:
    return _bounded(vector(arguments[0]), number(arguments[1]), number(arguments[2]))


def _clamp_min(_: FunctionContext, arguments: list[Value]) -> Value:
    return _bounded(vector(arguments[0]), number(arguments[1]), math.inf)


def _clamp_max(_: FunctionContext, arguments: list[Value]) -> Value:
    return _bounded(vector(arguments[0]), -math.inf, number(arguments[1]))


POINTWISE: dict[str, VectorFunction] = {
    "abs": _each(np.abs),
    "ceil": _each(np.ceil),
    "floor": _each(np.floor),
    "exp": _each(np.exp),
    "ln": _each(np.log),
    "log2": _each(np.log2),
    "log10": _each(np.log10),
    "sqrt": _each(np.sqrt),
    "sgn": _each(np.sign),
    "deg": _each(lambda values: values * 180 / math.pi),
    "rad": _each(lambda values: values * math.pi / 180),
    "sin": _each(np.sin),
    "cos": _each(np.cos),
    "tan": _each(np.tan),
    "asin": _each(np.arcsin),
    "acos": _each(np.arccos),
    "atan": _each(np.arctan),
    "sinh": _each(np.sinh),
    "cosh": _each(np.cosh),
    "tanh": _each(np.tanh),
    "asinh": _each(np.arcsinh),
    "acosh": _each(np.arccosh),
    "atanh": _each(np.arctanh),
    "round": _round,
    "clamp": _clamp,
    "clamp_min": _clamp_min,
    "clamp_max": _clamp_max,
}
