"""The hot evaluator loop: one seeded workload through ours and through other stream processors, in one run.

The workload, and what counts as a transition, are in `benchmarks.hotloop.workload`; who takes part, in
`benchmarks.hotloop.contestants`. The peers come with `pip install -e '.[bench]'`; one that is not installed is said so.
"""

from benchmarks.harness import Row
from benchmarks.hotloop.breadth import breadth_rows
from benchmarks.hotloop.contest import contest_rows, versions
from benchmarks.hotloop.expressions import expression_rows
from benchmarks.hotloop.parts import part_rows
from benchmarks.hotloop.saving import saving_rows

__all__ = ["run", "versions"]

ROUNDS = 3


def run(quick: bool = False) -> list[Row]:
    """Run everything; `quick` is a tenth of the samples, once."""
    instants, rounds = (100, 1) if quick else (1_000, ROUNDS)
    return [
        *contest_rows("steady", instants=instants, rounds=rounds),
        *contest_rows("noisy", instants=instants, rounds=rounds),
        *expression_rows(quick=quick),
        *breadth_rows(quick=quick),
        *saving_rows(quick=quick),
        *part_rows(instants=20 if quick else 300),
    ]
