"""Random expressions over random series, asked of a Prometheus 2 on this machine and of ours: the same answers."""

import contextlib
import json
import math
import random
import shutil
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from engine.core.promql.memory import MemorySource, Series
from engine.core.promql.parse import PromQLError
from engine.core.promql.query import evaluate_instant, evaluate_range
from engine.core.promql.query_compile import compile_query
from engine.core.promql.vector import EvaluationError, Scalar, Vector
from tests.core.promql.answers import same_number
from tests.core.promql.expressions import INTERVAL_MS, SCRAPES, START_MS, Expressions, series

EXPRESSIONS = 1_500
TOLERANCE = 1e-9
SEED = 20

pytestmark = [
    pytest.mark.process,
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("prometheus") is None or shutil.which("promtool") is None,
        reason="prometheus and promtool are not installed",
    ),
]

# What a Prometheus 2 answers differently from one run to the next, or by a mistake of its own:
# ties of topk and rounding errors in range queries, where series come in the order of a Go map; predict_linear
# of a fixed time in a range query, whose window moves.
UNSTABLE_IN_RANGES = ("topk", "bottomk", "std", "count_values", "predict_linear", "sum", "avg", "deriv")


def openmetrics(rows: list[Series]) -> str:
    lines, last = [], ""
    for labels, times, values in rows:
        name = labels["__name__"]
        if name != last:
            lines.append(f"# TYPE {name} unknown")
            last = name
        inner = ",".join(f'{label}="{value}"' for label, value in labels.items() if label != "__name__")
        for time, value in zip(times, values, strict=True):
            number = "NaN" if math.isnan(value) else f"{'+' if value > 0 else '-'}Inf" if math.isinf(value) else value
            lines.append(f"{name}{{{inner}}} {number} {time / 1000:.3f}")
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that has the series in blocks; its address."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "samples.om").write_text(openmetrics(series(SEED)), encoding="utf-8")
    (folder / "prometheus.yml").write_text("global: {evaluation_interval: 1m}\n", encoding="utf-8")
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "samples.om", "data"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=30)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    arguments = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={address}"]
    with subprocess.Popen(
        ["prometheus", *arguments, "--storage.tsdb.retention.time=100y"], cwd=folder, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            log = []
            for line in process.stderr:
                log.append(line)
                if "ready to receive web requests" in line:
                    break
            if process.poll() is not None:
                pytest.skip(f"prometheus does not start: {''.join(log)[-300:]}")
            with urllib.request.urlopen(f"http://{address}/api/v1/status/buildinfo") as answer:
                version = json.load(answer)["data"]["version"]
            if not version.startswith("2."):
                pytest.skip(f"prometheus is {version}, and these expectations are of 2.x")
            yield f"http://{address}"
        finally:
            process.terminate()
            process.communicate(timeout=20)


@pytest.fixture(scope="module")
def source() -> MemorySource:
    return MemorySource(series(SEED), left_open=False)


Answer = dict[tuple[Any, int], float]


def ask(server: str, path: str, **parameters: object) -> Answer | None:
    """(labels, ms) -> value; None if it refuses."""
    try:
        with urllib.request.urlopen(f"{server}/api/v1/{path}?{urllib.parse.urlencode(parameters)}") as reply:
            data = json.load(reply)["data"]
    except urllib.error.HTTPError as error:
        with contextlib.closing(error):
            return None
    if data["resultType"] == "scalar":
        return {((), 0): float(data["result"][1])}
    if data["resultType"] == "vector":
        return {(_key(row["metric"]), 0): float(row["value"][1]) for row in data["result"]}
    return {
        (_key(row["metric"]), round(time * 1000)): float(value)
        for row in data["result"]
        for time, value in row["values"]
    }


def _key(labels: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def instant_answer(source: MemorySource, expr: str, at_ms: int) -> Answer | None:
    try:
        value = evaluate_instant(compile_query(expr, compat="prometheus2"), source, at_ms)
    except (PromQLError, EvaluationError):
        return None
    if isinstance(value, Scalar):
        return {((), 0): value.value}
    assert isinstance(value, Vector)
    return {(_key(labels), 0): number for labels, number in value.items()}


def range_answer(source: MemorySource, expr: str, start_ms: int, end_ms: int, step_ms: int) -> Answer | None:
    try:
        result = evaluate_range(compile_query(expr, compat="prometheus2"), source, start_ms, end_ms, step_ms)
    except (PromQLError, EvaluationError):
        return None
    return {
        (_key(labels), int(result.times_ms[index])): number
        for labels, at, numbers in result.matrix.items()
        for index, number in zip(at.tolist(), numbers.tolist(), strict=True)
    }


def differ(ours: Answer | None, theirs: Answer | None) -> bool:
    if ours is None or theirs is None:
        return (ours is None) != (theirs is None)
    return ours.keys() != theirs.keys() or not all(same_number(ours[k], theirs[k], TOLERANCE) for k in theirs)


def test_instant_queries(server: str, source: MemorySource) -> None:
    rng = random.Random(1)
    build, wrong, answered = Expressions(rng), [], 0
    for _ in range(EXPRESSIONS):
        expr = build.vector(3)
        at_ms = START_MS + rng.choice([rng.randint(0, 1_000_000), rng.randint(0, SCRAPES) * INTERVAL_MS])
        theirs = ask(server, "query", query=expr, time=at_ms / 1000)
        answered += bool(theirs)
        if differ(ours := instant_answer(source, expr, at_ms), theirs):
            wrong.append(f"{expr} at {at_ms}: {str(ours)[:300]}, not {str(theirs)[:300]}")
    assert answered > EXPRESSIONS * 0.4
    assert not wrong, "\n".join(wrong[:20])


def test_range_queries(server: str, source: MemorySource) -> None:
    rng = random.Random(2)
    build, wrong, answered = Expressions(rng), [], 0
    for _ in range(EXPRESSIONS // 3):
        expr = build.vector(2)
        if any(name in expr for name in UNSTABLE_IN_RANGES):
            continue
        step_ms = rng.choice([15_000, 30_000, 47_000, 60_000])
        start_ms = START_MS + rng.randint(0, 60) * INTERVAL_MS
        end_ms = start_ms + rng.randint(0, 12) * step_ms
        span = {"start": start_ms / 1000, "end": end_ms / 1000, "step": step_ms / 1000}
        theirs = ask(server, "query_range", query=expr, **span)
        answered += bool(theirs)
        if differ(ours := range_answer(source, expr, start_ms, end_ms, step_ms), theirs):
            wrong.append(f"{expr} from {start_ms} to {end_ms} by {step_ms}: {str(ours)[:300]}, not {str(theirs)[:300]}")
    assert answered > EXPRESSIONS * 0.05
    assert not wrong, "\n".join(wrong[:20])
