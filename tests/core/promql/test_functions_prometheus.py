"""The functions against what Prometheus answered, wherever a case is a call of selectors and constants."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import promql_parser as ast
import pytest

from engine.core.promql.vector import EvaluationError
from tests.core.promql.function_cases import NotSimple, Reader, close, labels_of, result_of, same, samples_of

DATA = Path(__file__).parents[4] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="Prometheus' answers (../shared/data) are not here")

UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000, "y": 31_536_000_000}


def milliseconds(duration: str) -> int:
    if duration.isdigit():
        return int(duration) * 1000
    return sum(int(n) * UNITS_MS[unit] for n, unit in re.findall(r"(\d+)(ms|[smhdwy])", duration))


def holds(case: dict[str, Any], *, compat2: bool) -> bool:
    """Whether a case of Prometheus' test scripts comes out as it should. Its values are rounded to 1e-6."""
    series = [
        (labels_of(name), samples_of(values, milliseconds(load["step"])))
        for load in case["loads"]
        for name, values in load["series"]
    ]
    # The parser no longer knows the name that Prometheus 2.x has for it.
    expr = case["expr"].replace("holt_winters", "double_exponential_smoothing")
    try:
        value = Reader(series, compat2=compat2).value(ast.parse(expr), milliseconds(case["at"]))
    except (EvaluationError, ValueError):
        return bool(case["fail"])
    got = result_of(value)
    expected = [(labels_of(labels or "{}"), float(number)) for labels, number in case["expect"]]
    if not case["ordered"]:
        got, expected = (sorted(side, key=lambda item: sorted(item[0].items())) for side in (got, expected))
    return (
        not case["fail"]
        and [labels for labels, _ in got] == [labels for labels, _ in expected]
        and all(close(right, left, 1e-6) for (_, left), (_, right) in zip(got, expected, strict=True))
    )


@pytest.mark.parametrize(
    ("file", "version", "least"), [("prometheus3", "3.5", 90), ("prometheus3", "2.42", 75), ("prometheus2", "2.42", 80)]
)
def test_prometheus_own_test_scripts(file: str, version: str, least: int) -> None:
    passed, wrong = 0, []
    for line in (DATA / "promqltest" / f"{file}.jsonl").read_text().splitlines():
        case = json.loads(line)
        if version not in case["ok_in"] or case["kind"] != "instant" or r"\xff" in case["expr"]:
            continue
        try:
            if holds(case, compat2=version == "2.42"):
                passed += 1
            else:
                wrong.append((case["file"], case["line"], case["expr"]))
        except NotSimple:
            continue
    assert wrong == []
    assert passed >= least


@pytest.mark.parametrize(("version", "compat2"), [("prometheus-3.5", False), ("prometheus-2.42", True)])
def test_calls_in_public_rules(version: str, compat2: bool) -> None:
    tried, wrong = 0, []
    with gzip.open(DATA / "rules" / "eval_cases.jsonl.gz", "rt") as lines:
        for line in lines:
            case = json.loads(line)
            calls = [query for query in case["queries"] if _is_call(query["expr"])]
            if not calls:
                continue
            try:
                series = [(labels_of(name), samples_of(text, case["step"] * 1000)) for name, text in case["series"]]
                reader = Reader(series, compat2=compat2)
                for query in calls:
                    tried += 1
                    if not _agrees(reader, query, version):
                        wrong.append((case["id"], query["expr"], query["t"]))
            except NotSimple:
                continue
    assert wrong == []
    assert tried >= 600


def _is_call(expr: str) -> bool:
    return re.fullmatch(r"\w+\(.*\)\s*", expr, re.DOTALL) is not None and isinstance(ast.parse(expr), ast.Call)


def _agrees(reader: Reader, query: dict[str, Any], version: str) -> bool:
    expected: Any = query.get("both", query.get(version))
    try:
        got = result_of(reader.value(ast.parse(query["expr"]), int(query["t"] * 1000)))
    except EvaluationError:
        return isinstance(expected, str)
    return not isinstance(expected, str) and same([(labels, float(value)) for labels, value in expected], got)
