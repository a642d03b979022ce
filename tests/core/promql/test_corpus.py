"""The project's own corpus: expressions over small series, each with how its answer was obtained.

`answer` is [[labels, value]], `error` stands for a refusal; `answer_2` is what differs in Prometheus 2, null a refusal.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.core.promql.notation import parse_values
from engine.core.promql.parse import PromQLError
from engine.core.promql.plan import Compat
from engine.core.promql.query import evaluate_instant, evaluate_range
from engine.core.promql.query_compile import compile_query
from engine.core.promql.vector import EvaluationError
from tests.core.promql.answers import loaded, ms, rows_of, same_matrix, same_rows

TOLERANCE = 1e-9
LINES = [json.loads(line) for line in (Path(__file__).parent / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
WORLDS = {line["world"]: line for line in LINES if "world" in line}
CASES = [line for line in LINES if "expr" in line]


@pytest.mark.parametrize("compat", ["prometheus3", "prometheus2"])
@pytest.mark.parametrize("case", CASES, ids=[case["expr"] for case in CASES])
def test_the_answer_is_as_recorded(case: dict[str, Any], compat: Compat) -> None:
    world = WORLDS[case["in"]]
    source = loaded([(ms(world["step"]), world["series"])], compat2=compat == "prometheus2")
    answer = case.get("answer_2" if compat == "prometheus2" and "answer_2" in case else "answer")
    if answer is None:
        with pytest.raises((PromQLError, EvaluationError)):
            evaluate_instant(compile_query(case["expr"], compat=compat), source, ms(case["at"]))
        return
    plan = compile_query(case["expr"], compat=compat)
    if "start" in case:
        result = evaluate_range(plan, source, ms(case["start"]), ms(case["end"]), ms(case["every"]))
        expected = [(_series(labels), values) for labels, values in answer]
        assert same_matrix(result.matrix, expected, tolerance=TOLERANCE), result.matrix.items()
        return
    rows = rows_of(evaluate_instant(plan, source, ms(case["at"])))
    wanted = [(tuple(sorted(labels.items())), parse_values(value)[0] or 0.0) for labels, value in answer]
    assert same_rows(rows, wanted, tolerance=TOLERANCE, ordered=case.get("ordered", False)), rows


def _series(labels: dict[str, str]) -> str:
    return "{" + ",".join(f"{json.dumps(name)}={json.dumps(value)}" for name, value in labels.items()) + "}"


def test_the_corpus_says_how_each_answer_was_obtained() -> None:
    assert len(CASES) >= 150
    assert all(case["obtained"].startswith(("Prometheus 2.42.0", "by hand: ")) for case in CASES)
