"""A minute of a real engine: memory flat, CPU within its share, nothing left after the stop."""

import pytest

from benchmarks.harness import calibrate, within
from benchmarks.soak import run


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.timeout(180)
def test_a_minute_costs_no_more_than_promised() -> None:
    rows = run(duration_s=60)
    assert len(rows) == 8
    # The figures are ratios, sizes and counts, so the machine's speed does not matter to their limits.
    assert [f"{row.name}: {row.value}" for row in rows if not within(row, calibrate())] == []
