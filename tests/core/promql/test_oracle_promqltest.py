"""The cases of Prometheus' own PromQL test scripts, judged by what promtool 3.5 and 2.42 make of them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from engine.core.promql.notation import parse_labels, parse_values
from engine.core.promql.parse import PromQLError
from engine.core.promql.plan import Compat
from engine.core.promql.query import evaluate_instant, evaluate_range
from engine.core.promql.query_compile import compile_query
from engine.core.promql.vector import EvaluationError
from tests.core.promql.answers import DATA, Row, loaded, ms, rows_of, same_matrix, same_rows

TOLERANCE = 1e-6

pytestmark = pytest.mark.skipif(
    not (DATA / "promqltest").is_dir(), reason="the test scripts' cases are not here: ../shared/data/promqltest"
)


def cases(file: str, version: str) -> Iterator[dict[str, Any]]:
    with (DATA / "promqltest" / file).open(encoding="utf-8") as lines:
        for line in lines:
            case = json.loads(line)
            if version in case["ok_in"]:
                yield case


def difference(case: dict[str, Any], compat: Compat) -> str:
    """What is wrong with our answer; empty if nothing is."""
    source = loaded([(ms(load["step"]), load["series"]) for load in case["loads"]], compat2=compat == "prometheus2")
    try:
        plan = compile_query(case["expr"], compat=compat)
        if case["kind"] == "range":
            matrix = evaluate_range(plan, source, ms(case["start"]), ms(case["end"]), ms(case["step"])).matrix
            good, got = same_matrix(matrix, case["expect"], tolerance=TOLERANCE), str(matrix.items())
        else:
            rows = rows_of(evaluate_instant(plan, source, ms(case["at"])))
            good = same_rows(rows, _expected(case), tolerance=TOLERANCE, ordered=case["ordered"])
            got = str(rows)
    except (PromQLError, EvaluationError) as error:
        return "" if case["fail"] else f"{case['expr']}: {error}"
    return "" if good and not case["fail"] else f"{case['expr']}: got {got[:300]}, not {case['expect']}"


def _expected(case: dict[str, Any]) -> list[Row]:
    rows = []
    for series, value in case["expect"]:
        number = parse_values(value)[0]
        assert number is not None
        rows.append((tuple(sorted(parse_labels(series).items())) if series else (), number))
    return rows


@pytest.mark.parametrize(
    ("file", "version", "compat", "at_least"),
    [
        ("prometheus3.jsonl", "3.5", "prometheus3", 300),
        ("prometheus3.jsonl", "2.42", "prometheus2", 250),
        ("prometheus2.jsonl", "2.42", "prometheus2", 210),
    ],
)
def test_every_case(file: str, version: str, compat: Compat, at_least: int) -> None:
    given = list(cases(file, version))
    wrong = [f"{case['file']}:{case['line']} {found}" for case in given if (found := difference(case, compat))]
    assert len(given) >= at_least
    assert not wrong, "\n".join(wrong)
