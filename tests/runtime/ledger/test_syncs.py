"""How often the disk is waited for: a system whose syncs take a second is slow, and an alarm must not be."""

import asyncio
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from engine.runtime.keeping import Keeper
from engine.runtime.ledger.ledger import Ledger
from engine.runtime.ledger.store import Store
from engine.runtime.ledger.thread import LoopWorker
from engine.testing import VirtualClock, run_virtual
from tests.runtime.ledger.kills import ROOT, can_trace
from tests.runtime.ledger.rig import Switch, message, open_store, queue, sendable
from tests.runtime.rig import health_of, shared

NO_TRACE = can_trace()
OPEN = """
import sys
from pathlib import Path
from engine.runtime.ledger.store import Store

Store(Path(sys.argv[1]), lambda: 0).open()
"""


@pytest.mark.process
@pytest.mark.skipif(bool(NO_TRACE), reason=NO_TRACE)
def test_f15_the_first_start_waits_for_two_syncs(tmp_path: Path) -> None:
    """The core judges nothing before the ledger is open: the new file as a whole, and the folder it was renamed in."""
    log = tmp_path / "log"
    tracing = ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync,rename", "-o", str(log)]
    path = tmp_path / "deep" / "state.db"
    subprocess.run([*tracing, sys.executable, "-c", OPEN, str(path)], cwd=ROOT, check=True, timeout=50)
    calls = re.findall(r"^\d+ +(\w+)\((?:\d+<)?\"?([^>\",]*)", log.read_text(), re.MULTILINE)
    assert calls == [("fsync", f"{path}.new"), ("rename", f"{path}.new"), ("fsync", str(path.parent))]


def test_a_start_commits_that_it_runs_and_else_only_what_has_to_change(tmp_path: Path) -> None:
    """Messages for a receiver that is gone are parked, and wait again when it is back."""

    async def main(clock: VirtualClock) -> None:
        first, _ = open_store(tmp_path / "state.db")
        queue(first, message("a"))
        first.close()
        found = []
        for receivers in (["ops"], ["ops"], ["other"], ["other"], ["ops"], ["ops"]):
            switch = Switch()
            store = Store(tmp_path / "state.db", clock.now_ms, switch.factory())
            parts = shared(clock)
            ledger = Ledger(store, clock, lambda notice: None, worker=LoopWorker(), rng=random.Random(1))
            keeper = Keeper(ledger, parts, receivers=receivers)
            running = asyncio.ensure_future(keeper.run())
            await keeper.opened.wait()
            found.append((switch.statements.count("BEGIN IMMEDIATE"), len(sendable(store))))
            running.cancel()
            await asyncio.wait({running})
            await keeper.close(5)
            told = [reason for _, _, reason in await health_of(parts)]
            assert told == (["no_receiver"] if receivers == ["other"] and len(found) == 3 else [])
        assert found == [(1, 1), (1, 1), (2, 0), (1, 0), (2, 1), (1, 1)]

    run_virtual(main)
