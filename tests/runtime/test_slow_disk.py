"""The evaluator never waits for the disk: every sync of a real process takes a second, and rules are judged as ever."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.runtime.ledger.kills import can_trace, traced
from tests.runtime.slow_disk_child import STEPS, Found

pytestmark = [
    pytest.mark.slow,
    pytest.mark.process,
    pytest.mark.skipif(bool(can_trace()), reason=can_trace()),
]

ROOT = Path(__file__).resolve().parents[2]
SYNC_S = 1.0
DRAIN_MS_MAX = 50


def test_with_syncs_of_a_second_rules_are_judged_at_once_and_people_told_late_and_in_order(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.runtime.slow_disk_child", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        with traced(child.pid, f"fdatasync,fsync:delay_enter={round(SYNC_S * 1e6)}", tmp_path / "strace.log"):
            answer, _ = child.communicate("begin\n", timeout=50)
    finally:
        child.kill()
        child.communicate()
    found = msgspec.json.decode(answer, type=Found)
    assert (tmp_path / "strace.log").read_text().count("DELAYED") >= 3
    # One wait for the disk would hold up what is drained in that second, a third of all.
    assert np.percentile(found.drained_ms, 90) < DRAIN_MS_MAX
    assert max(found.drained_ms) < 1000 * SYNC_S / 2
    assert found.dropped == 0
    assert found.transitions == {"Busy": STEPS, "Told": 3}, "pending, firing, resolved"
    assert [each.kinds for each in found.delivered] == [["firing"], ["resolved"]]
    assert all(each.late_s > SYNC_S for each in found.delivered), "stored before it is told"
