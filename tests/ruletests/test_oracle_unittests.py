"""Operators' own unit tests of rules: the verdict that promtool gives.

They lie beside the checkout, in ../shared/data/unittests; without them these tests are skipped.
"""

import io
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from engine.ruletests.run import run_tests

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "unittests"
INDEX: list[dict[str, Any]] = (
    json.loads((DATA / "index.json").read_text(encoding="utf-8")) if (DATA / "index.json").exists() else []
)
# Many days by the minute, or subqueries over days.
LONG = ("eventbus_test", "gitlab_test", "data_pipelines_test", "bgp_test", "blazegraph_test")


def is_long(case: dict[str, Any]) -> bool:
    return Path(case["file"]).stem in LONG


pytestmark = pytest.mark.skipif(not INDEX, reason="../shared/data/unittests is not beside the checkout")


@pytest.mark.parametrize("case", [case for case in INDEX if not is_long(case)], ids=lambda case: case["file"])
def test_same_verdict_as_promtool(case: dict[str, Any]) -> None:
    told = io.StringIO()
    code = run_tests([DATA / case["file"]], told)
    assert (code == 0) == ("3.5" in case["passes_on_promtool"]), told.getvalue()


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.timeout(320)
def test_same_verdict_as_promtool_on_long_ones() -> None:
    """Each on a processor of its own, as far as there are some."""
    cases = [case for case in INDEX if is_long(case)]
    assert {Path(case["file"]).stem for case in cases} == set(LONG)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for case, (code, told) in zip(cases, pool.map(verdict, cases), strict=True):
            assert (code == 0) == ("3.5" in case["passes_on_promtool"]), f"{case['file']}\n{told}"


def verdict(case: dict[str, Any]) -> tuple[int, str]:
    command = [sys.executable, "-m", "engine", "test", str(DATA / case["file"])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


def test_every_file_is_there() -> None:
    assert len(INDEX) == 54
    assert sum("3.5" in case["passes_on_promtool"] for case in INDEX) == 54
