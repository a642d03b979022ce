"""How often the disk is waited for: a system whose syncs take a second is slow, and an alarm must not be."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime.ledger.kills import ROOT, can_trace

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
