"""Starts on a file system that takes nothing: what is in the file is known all the same (F12, F16)."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
START = """
import os, shutil, subprocess, sys
from pathlib import Path
from engine.runtime.ledger.errors import LedgerError
from engine.runtime.ledger.store import Store
from tests.runtime.ledger.rig import NOW_MS, alert, crash, message, open_store, put, queue, sendable, transition

folder = Path(sys.argv[1])
store, _ = open_store(folder / "state.db")
put(store, [transition("a")], [alert("x", bytes(100_000))])
queue(store, message("m"), cursor="policy", seq=1)
if sys.argv[2] == "killed":
    left = [(file, file.read_bytes()) for file in folder.glob("state.db*")]
store.close()
if sys.argv[2] == "killed":
    for file, data in left:
        file.write_bytes(data)
assert not (folder / "state.ballast").exists(), "it is too small for a reserve"
if sys.argv[3] == "full":
    filler = os.open(folder / "filler", os.O_CREAT | os.O_WRONLY)
    try:
        while os.write(filler, bytes(4096)):
            pass
    except OSError:
        os.close(filler)
else:
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
store = Store(folder / "state.db", lambda: NOW_MS)
try:
    restored = store.open()
except LedgerError as error:
    print(error.reason)
    restored = store.open_degraded(error)
print([each.labels for each in restored.alerts], [each.message_id for each in sendable(store)])
assert put(store, [transition("b")], [alert("y")]) == [2]
if sys.argv[3] == "full":
    (folder / "filler").unlink()
else:
    subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
assert store.heal() and store.take_found() is None
crash(store)
store, restored = open_store(folder / "state.db")
print([each.labels for each in restored.alerts], restored.last_seq)
store.close()
"""


@pytest.mark.process
@pytest.mark.parametrize("ending", ["stopped", "killed"])
@pytest.mark.parametrize(("disk", "reason"), [("full", "disk_full"), ("read-only", "read_only")])
def test_a_start_on_a_disk_that_takes_nothing_has_its_alerts(
    tmp_path: Path, ending: str, disk: str, reason: str
) -> None:
    mount = 'mount -t tmpfs -o size=8m tmpfs "$0" || exit 99; exec "$@"'
    command = [sys.executable, "-c", START, str(tmp_path), ending, disk]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, str(tmp_path), *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
    )
    if done.returncode in (1, 99) and ("unshare" in done.stderr or "mount:" in done.stderr):
        pytest.skip(f"this machine allows no mounts: {done.stderr.strip()[:120]}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [reason, "['x'] ['evt_m']", "['x', 'y'] 2"]
