"""promtool beside ours: files of our own, and generated ones, checked line by line."""

import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.ruletests.run import run_tests

FILES = Path(__file__).parent / "files"
TESTS = sorted(FILES.glob("*_test.yml"))
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")

# What ours must answer; 2 is a failure, too, to promtool.
CODES = {
    "bad_test": 1,
    "clash_test": 1,
    "good_test": 0,
    "limit_test": 1,
    "misspelt_test": 2,
    "no_clash_test": 0,
    "no_rules_test": 0,
    "no_value_test": 1,
    "unreadable_test": 2,
}


def ours(path: Path) -> tuple[int, str]:
    told = io.StringIO()
    return run_tests([path], told, compat="prometheus2"), told.getvalue()


def both(path: Path) -> tuple[tuple[int, str], tuple[int, str]]:
    """What we say, and what promtool does: side by side, each on a processor of its own where there are two."""
    assert PROMTOOL is not None
    command = [PROMTOOL, "test", "rules", path.name]
    with subprocess.Popen(
        command, cwd=path.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        said = ours(path)
        out, err = process.communicate(timeout=60)
    return said, (process.returncode, out + err)


def failures(text: str) -> set[tuple[str, ...]]:
    """(alert, time) or (expression, time) of what is not as expected, with the test's name where there is one."""
    found: set[tuple[str, ...]] = set()
    for name, alert, time in re.findall(r"(?:name: (\w+),\n\s*)?alertname: (\w+),.*?time: (\w+)", text):
        found.add((name, alert, time))
    for expr, time in re.findall(r'expr: "?([^"\n]+?)"?, time: (\w+)', text):
        found.add((expr, time))
    return found


@pytest.mark.parametrize("path", TESTS, ids=[path.stem for path in TESTS])
def test_a_file_of_ours_has_its_verdict(path: Path) -> None:
    code, text = ours(path)
    assert code == CODES[path.stem], text
    assert text.startswith("Unit Testing: ")
    assert ("SUCCESS" in text, "FAILED" in text) == (code == 0, code != 0)


@needs_promtool
@pytest.mark.process
@pytest.mark.parametrize("path", TESTS, ids=[path.stem for path in TESTS])
def test_a_file_of_ours_has_promtools_verdict(path: Path) -> None:
    (_, said), (code, text) = both(path)
    assert min(1, CODES[path.stem]) == code, text
    if CODES[path.stem] == 1:
        assert failures(said) == failures(text)


# -- generated files -------------------------------------------------------------------------------------------

VALUE = st.sampled_from(["0", "1", "2", "2", "3", "_", "stale"])
RECORDED = [
    "x",
    "sum by (a) (x)",
    "rate(x[2m])",
    "max_over_time(x[3m])",
    "x > 1",
    "count(x)",
    "x offset 1m",
    "deriv(x[3m])",
]
ALERTED = ["x > 1", "rec > 0", "absent(x)", "x == 0", "changes(x[3m]) > 0", "avg_over_time(x[4m:]) >= 1", "x and rec"]
LENGTHS = ["0s", "30s", "1m", "2m", "3m"]
GUESSES: list[tuple[str, list[dict[str, str]]]] = [
    ("none", []),
    ("one", [{"a": "1"}]),
    ("two", [{"a": "2"}]),
    ("both", [{"a": "1"}, {"a": "2"}]),
    ("bare", [{}]),
]


@st.composite
def rule_tests(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rules, and tests that guess: each has every answer that is likely, so that one of them is right."""
    alerts = [
        {
            "alert": name,
            "expr": draw(st.sampled_from(ALERTED)),
            "for": draw(st.sampled_from(LENGTHS)),
            "keep_firing_for": draw(st.sampled_from(LENGTHS)),
        }
        for name in ("A", "B")
    ]
    rec = {"record": "rec", "expr": draw(st.sampled_from(RECORDED))}
    told = {"record": "told", "expr": 'count(ALERTS{alertname="A",alertstate="firing"}) or vector(0)'}
    rules: list[dict[str, Any]] = draw(st.permutations([rec, *alerts, told]))
    times = draw(
        st.lists(
            st.sampled_from(["0s", "1m", "90s", "2m", "3m", "4m", "5m59s", "7m"]), min_size=1, max_size=3, unique=True
        )
    )
    series = [
        {"series": f'x{{a="{a}"}}', "values": " ".join(draw(st.lists(VALUE, min_size=1, max_size=8)))} for a in "12"
    ]
    shared: dict[str, Any] = {"interval": draw(st.sampled_from(["30s", "1m", "70s"])), "input_series": series}
    tests = [
        {
            "name": guess,
            **shared,
            "alert_rule_test": [
                {"eval_time": at, "alertname": alert, "exp_alerts": [{"exp_labels": labels} for labels in expected]}
                for at in times
                for alert in ("A", "B")
            ],
        }
        for guess, expected in GUESSES
    ]
    exprs = [
        {"expr": f"({expr}) == bool {number}", "eval_time": at, "exp_samples": [{"labels": "{}", "value": 1}]}
        for at in times
        for expr in (
            "count(rec) or vector(0)",
            "sum(told)",
            "round(sum(rec) or vector(0), 0.25)",
            "count(ALERTS_FOR_STATE)",
        )
        for number in range(7)
    ]
    tests.append({"name": "values", **shared, "promql_expr_test": exprs})
    interval = draw(st.sampled_from(["30s", "1m", "2m"]))
    groups = [{"name": "g", "interval": draw(st.sampled_from(["30s", "5m"])), "rules": rules}]
    return {"groups": groups}, {"rule_files": ["r.json"], "evaluation_interval": interval, "tests": tests}


@needs_promtool
@pytest.mark.process
@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(files=rule_tests())
def test_generated_rules_and_guesses(
    files: tuple[dict[str, Any], dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("generated")
    for name, content in zip(("r.json", "t.json"), files, strict=True):
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    (code, text), (expected_code, expected) = both(folder / "t.json")
    assert code == expected_code, (text, expected)
    assert failures(text) == failures(expected), (text, expected)
    assert failures(text)  # of several guesses at most one is right
