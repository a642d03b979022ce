"""What rules cost before they judge anything: memory of many series, and the time to load and compile."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from gzip import open as gzip_open
from pathlib import Path

import numpy as np
import psutil

from benchmarks.columnar.workloads import START_MS, Scale, continuous, five_labels, grid
from benchmarks.harness import Row, best_of
from engine.events import SampleBatch
from engine.rulefiles.compile import compiler, grid_groups
from engine.rulefiles.read import read_rule_file

SHARED_RULES = Path(__file__).parents[3] / "shared" / "data" / "rules" / "eval_cases.jsonl.gz"
MEMORY_BATCH = 10_000


def memory(mode: str, scale: Scale) -> Row:
    """In a process of its own, the texts and whatever the allocator keeps included."""
    command = [sys.executable, "-m", "benchmarks.columnar.footprint", mode, str(scale.memory)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    name = f"memory of {scale.memory:,} series of 5 labels, a threshold rule, {mode}, texts included"
    return Row(name, float(done.stdout), "bytes/series", limit=450)


def measure_memory(mode: str, count: int) -> float:
    """Bytes of resident memory a series, after three scrapes."""
    watch = (continuous if mode == "continuous" else grid)(["m > 99"])
    watch.core.feed([SampleBatch(START_MS - 1_000, ("one",), np.zeros(1))])  # what comes with the first sample
    process = psutil.Process()
    before = process.memory_info().rss
    shapes = []
    for start in range(0, count, MEMORY_BATCH):
        shapes.append(five_labels("m", range(start, min(start + MEMORY_BATCH, count))))
        watch.core.feed([SampleBatch(watch.now_ms - 500, shapes[-1], np.zeros(len(shapes[-1])), 15_000)])
    for _ in range(2):
        watch.core.advance(watch.now_ms)
        watch.now_ms += 15_000
        for shape in shapes:
            watch.core.feed([SampleBatch(watch.now_ms - 500, shape, np.zeros(len(shape)), 15_000)])
    return (process.memory_info().rss - before) / count


def load(scale: Scale) -> Row:
    """A rule file read, checked and compiled, templates included."""
    exprs = _real_exprs(scale.rules) or [f"sum by (job) (rate(m{i}_total[5m])) / 60 > {i}" for i in range(scale.rules)]
    rules = [
        {
            "alert": f"Rule{index}",
            "expr": expr,
            "for": "5m",
            "labels": {"severity": "warning"},
            "annotations": {"summary": "{{ $labels.instance }} is at {{ $value | humanize }}"},
        }
        for index, expr in enumerate(exprs)
    ]
    with _written(json.dumps({"groups": [{"name": "g", "rules": rules}]})) as path:

        def work() -> None:
            compile_expr = compiler()
            file, problems = read_rule_file(path, compile_expr)
            if file is None:
                raise RuntimeError(f"the rules do not load: {problems[:3]}")
            grid_groups([file], default_interval_ms=15_000, compile_expr=compile_expr)

        return Row(f"load and compile {len(rules):,} rules", best_of(work, repeats=3), "s", limit=0.5)


def _real_exprs(count: int) -> list[str]:
    """Expressions of public rules, if they are there."""
    if not SHARED_RULES.exists():
        return []
    with gzip_open(SHARED_RULES, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["expr"] for line, _ in zip(lines, range(count), strict=False)]


@contextmanager
def _written(text: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="longwatch-rules-") as folder:
        path = Path(folder) / "rules.yml"
        path.write_text(text, encoding="utf-8")
        yield path


if __name__ == "__main__":
    print(measure_memory(sys.argv[1], int(sys.argv[2])))
