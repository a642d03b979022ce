"""Public alerting and recording rules over generated series, judged by the answers of Prometheus 3.5 and 2.42."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest

from engine.core.promql.memory import MemorySource
from engine.core.promql.parse import PromQLError
from engine.core.promql.plan import Compat, QueryPlan
from engine.core.promql.query import evaluate_instant
from engine.core.promql.query_compile import compile_query
from engine.core.promql.vector import EvaluationError
from tests.core.promql.answers import DATA, loaded, rows_of, same_rows

CASES = DATA / "rules" / "eval_cases.jsonl.gz"
TOLERANCE = 1e-9

pytestmark = pytest.mark.skipif(
    not CASES.is_file(), reason="the rules' answers are not here: ../shared/data/rules/eval_cases.jsonl.gz"
)


def rules() -> Iterator[dict[str, Any]]:
    with gzip.open(CASES, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def difference(plan: QueryPlan | PromQLError, source: MemorySource, at_ms: int, answer: Any) -> str:
    """What is wrong with our answer; empty if nothing is."""
    refused = isinstance(answer, str)
    try:
        if isinstance(plan, PromQLError):
            raise plan
        rows = rows_of(evaluate_instant(plan, source, at_ms))
    except (PromQLError, EvaluationError) as error:
        return "" if refused else f"refused: {error}"
    if refused:
        return f"got {str(rows)[:300]}, not {answer[:300]}"
    expected = [(tuple(sorted(labels.items())), float(value)) for labels, value in answer]
    return "" if same_rows(rows, expected, tolerance=TOLERANCE) else f"got {str(rows)[:300]}, not {str(expected)[:300]}"


def compiled(expr: str, compat: Compat) -> QueryPlan | PromQLError:
    try:
        return compile_query(expr, compat=compat)
    except PromQLError as error:
        return error


@pytest.mark.slow
@pytest.mark.parametrize(("version", "compat"), [("prometheus-3.5", "prometheus3"), ("prometheus-2.42", "prometheus2")])
def test_every_rule(version: str, compat: Compat) -> None:
    asked, wrong = 0, []
    for rule in rules():
        source = loaded([(round(rule["step"] * 1000), rule["series"])], compat2=compat == "prometheus2")
        plans: dict[str, QueryPlan | PromQLError] = {}
        for query in rule["queries"]:
            answer = query.get("both", query.get(version))
            if answer is None:
                continue
            asked += 1
            plan = plans.setdefault(query["expr"], compiled(query["expr"], compat))
            if found := difference(plan, source, round(query["t"] * 1000), answer):
                wrong.append(f"{rule['id']} {rule['name']} at {query['t']}: {query['expr'][:200]}: {found}")
    assert asked > 10_000
    assert not wrong, f"{len(wrong)} of {asked}:\n" + "\n".join(wrong[:50])
