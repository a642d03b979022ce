"""Operators' own unit tests of rules: the verdict that promtool gives.

They lie beside the checkout, in ../shared/data/unittests; without them these tests are skipped.
"""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from engine.ruletests.run import run_tests

DATA = Path(__file__).parents[3] / "shared" / "data" / "unittests"
INDEX: list[dict[str, Any]] = (
    json.loads((DATA / "index.json").read_text(encoding="utf-8")) if (DATA / "index.json").exists() else []
)
# Many days by the minute, or subqueries over days.
LONG = ("eventbus_test", "gitlab_test", "data_pipelines_test", "bgp_test", "blazegraph_test")

pytestmark = pytest.mark.skipif(not INDEX, reason="../shared/data/unittests is not beside the checkout")


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case["file"], marks=[pytest.mark.slow] if Path(case["file"]).stem in LONG else [])
        for case in INDEX
    ],
)
def test_same_verdict_as_promtool(case: dict[str, Any]) -> None:
    told = io.StringIO()
    code = run_tests([DATA / case["file"]], told)
    assert (code == 0) == ("3.5" in case["passes_on_promtool"]), told.getvalue()


def test_every_file_is_there() -> None:
    assert len(INDEX) == 54
    assert sum("3.5" in case["passes_on_promtool"] for case in INDEX) == 54
