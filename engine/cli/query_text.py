"""Answers of `query` as text: lines in Prometheus' notation, or the JSON of its API. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from engine.core.promql.labels import NAME
from engine.core.promql.query import RangeResult
from engine.core.promql.vector import Scalar, Value
from engine.series import series_text

__all__ = ["instant_json", "instant_lines", "range_json", "range_lines"]


def instant_lines(value: Value) -> str:
    """One line for each label set, in the expression's order, or no text; a number or a string as it is."""
    if isinstance(value, str):
        return value + "\n"
    if isinstance(value, Scalar):
        return _number(value.value) + "\n"
    return "".join(f"{_series(labels)} {_number(number)}\n" for labels, number in value.items())


def range_lines(result: RangeResult) -> str:
    """Each label set, and below it its values with their times; no text if there is none."""
    lines: list[str] = []
    for labels, times_ms, values in _rows(result):
        lines.append(_series(labels))
        lines += [f"  {_time(at)}  {_number(value)}" for at, value in zip(times_ms, values, strict=True)]
    return "".join(line + "\n" for line in lines)


def instant_json(value: Value, at_ms: int) -> str:
    """As Prometheus' API answers `/api/v1/query`."""
    if isinstance(value, str):
        return _envelope("string", [at_ms / 1000, value])
    if isinstance(value, Scalar):
        return _envelope("scalar", [at_ms / 1000, _number(value.value)])
    rows = [{"metric": labels, "value": [at_ms / 1000, _number(number)]} for labels, number in value.items()]
    return _envelope("vector", rows)


def range_json(result: RangeResult) -> str:
    """As Prometheus' API answers `/api/v1/query_range`."""
    rows = [
        {
            "metric": labels,
            "values": [[at / 1000, _number(value)] for at, value in zip(times_ms, values, strict=True)],
        }
        for labels, times_ms, values in _rows(result)
    ]
    return _envelope("matrix", rows)


def _rows(result: RangeResult) -> Iterator[tuple[dict[str, str], list[int], list[float]]]:
    for labels, places, values in result.matrix.items():
        yield labels, result.times_ms[places].tolist(), values.tolist()


def _envelope(kind: str, result: Any) -> str:
    answer = {"status": "success", "data": {"resultType": kind, "result": result}}
    return json.dumps(answer, ensure_ascii=False) + "\n"


def _series(labels: Mapping[str, str]) -> str:
    rest = {name: text for name, text in labels.items() if name != NAME}
    if NAME in labels:
        return series_text(labels[NAME], rest)
    return series_text("x", rest).removeprefix("x") or "{}"


def _number(number: float) -> str:
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    text = repr(number)
    return text.removesuffix(".0")


def _time(time_ms: int) -> str:
    try:
        at = datetime.fromtimestamp(time_ms // 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{time_ms / 1000:.3f}"
    return f"{at:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z"
