"""SIGKILL, at random moments and at single system calls; a disk that fails at single calls. Judged by `kills`."""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.memory import memory
from tests.runtime.ledger.kill_child import REFUSED
from tests.runtime.ledger.kills import ROOT, Ended, Nursery, Verdict, can_trace, cut_power, final_life, nursery

pytestmark = pytest.mark.process
CHAOS = bool(os.environ.get("LONGWATCH_CHAOS"))
RANDOM_KILLS = 1_000 if CHAOS else 30
NO_TRACE = can_trace()
needs_strace = pytest.mark.skipif(bool(NO_TRACE), reason=NO_TRACE)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the files are: in memory; for chaos on disk."""
    room = None if CHAOS else memory()
    if room is None:
        yield tmp_path_factory.mktemp("kills")
        return
    with tempfile.TemporaryDirectory(prefix="longwatch-kills-", dir=room) as folder:
        yield Path(folder)


@pytest.fixture
def place(base: Path) -> Iterator[Path]:
    """A folder of the test's own."""
    with tempfile.TemporaryDirectory(dir=base) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def nurse() -> Iterator[Nursery]:
    with nursery() as opened:
        yield opened


def killed_at_random(nurse: Nursery, folder: Path, kills: int) -> Verdict:
    rng = random.Random(5)
    killed = 0
    for number in range(kills):
        killed += nurse.life(folder, 10**6, seed=number, after_ms=rng.randint(0, 40)).killed
        if number % 25 == 24:  # or what waits would grow from kill to kill
            assert final_life(nurse, folder).faults == [], f"after {number + 1} kills"
    assert killed == kills
    return final_life(nurse, folder)


def test_f01_f02_f03_kills_at_random_moments_lose_nothing(nurse: Nursery, place: Path) -> None:
    verdict = killed_at_random(nurse, place, RANDOM_KILLS)
    print(verdict)
    assert verdict.faults == []
    assert verdict.transitions > RANDOM_KILLS
    assert verdict.duplicates <= 8 * 2 * RANDOM_KILLS, "at most what was in flight at each kill"


@needs_strace
@pytest.mark.parametrize(
    ("bug", "call"),
    [
        ("mark_before_send", "write"),
        ("naive_send", "write"),
        ("two_transactions", "fdatasync"),
        ("send_before_commit", "fdatasync"),
    ],
)
def test_the_harness_finds_planted_bugs(nurse: Nursery, place: Path, bug: str, call: str) -> None:
    """Killed at the writes to the receivers' files, or at the syncs of the log."""
    for number in range(10, 40, 2):
        here = place / str(number)
        here.mkdir()
        assert nurse.life(here, STEPS * 10, bug=bug, inject=f"{call}:signal=SIGKILL:when={number}").killed
        if final_life(nurse, here, bug).faults:
            return
        shutil.rmtree(here)
    pytest.fail(f"{bug} was not found")


# --- single system calls --------------------------------------------------------------------------------

STEPS = 6


# Which calls: under LONGWATCH_CHAOS every one. The first eight pwrite64 of an open are for the -shm; after a kill there
# are those of a checkpoint before the first commit.
FEW = {
    "kill": {"pwrite64": (3, 9, 10, 12, 30, 45), "fdatasync": (1, 2, 3, 5, 8), "write": (1, 4, 9, 16)},
    "error": {"pwrite64": (9, 35, 36, 41, 50, 60), "fdatasync": (1, 2, 4, 5, 6, 8)},
}


def points(what: str, call: str) -> Iterable[int]:
    return range(1, 250) if CHAOS else FEW[what].get(call, (1, 2))


@pytest.fixture(scope="module")
def killed(nurse: Nursery, base: Path) -> Path:
    """What a kill in the middle of things has left."""
    folder = base / "killed"
    folder.mkdir()
    assert nurse.life(folder, 10**6, inject="fdatasync:signal=SIGKILL:when=25" if not NO_TRACE else "").killed
    return folder


@needs_strace
@pytest.mark.parametrize("before", ["", "killed"], ids=["first", "after a kill"])
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync", "write", "ftruncate", "unlink", "rename", "fsync"])
def test_f03_f04_f06_a_kill_at_single_calls(nurse: Nursery, place: Path, killed: Path, call: str, before: str) -> None:
    """From the making of the file to its close, checkpoints included: whole transactions or none, no false alarm."""
    reached = []
    for number in points("kill", call):
        here = place / f"{number}"
        if before:
            shutil.copytree(killed, here)
        else:
            here.mkdir()
        ended = nurse.life(here, STEPS, inject=f"{call}:signal=SIGKILL:when={number}")
        if not ended.killed:
            assert ended.code == 0
            break  # it has fewer of them
        reached.append(number)
        verdict = final_life(nurse, here)
        assert verdict.faults == [], number
        assert not list(here.glob("*.corrupt.*")), number
        shutil.rmtree(here)
    print(call, before, len(reached))
    assert reached or (before and call in {"rename", "fsync"}), "those are for the making of the file"


@needs_strace
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync"])
@pytest.mark.parametrize("error", ["EIO", "ENOSPC", "EROFS"])
def test_f12_f13_f14_f17_a_call_that_fails_once_loses_nothing(
    nurse: Nursery, place: Path, killed: Path, call: str, error: str
) -> None:
    """Mended at once, or kept in memory and written at the end; or the start is refused, and the next one finds all."""
    lived = refused = 0
    for number in points("error", call):
        here = place / str(number)
        shutil.copytree(killed, here)
        ended = nurse.life(here, STEPS, seed=number, inject=f"{call}:error={error}:when={number}")
        assert ended in {Ended(0, 0), Ended(0, REFUSED)}
        if "(INJECTED)" not in (here / "strace.log").read_text():
            break  # it has fewer of them
        verdict = final_life(nurse, here)
        assert verdict.faults == [], number
        assert not list(here.glob("*.corrupt.*")), number
        shutil.rmtree(here)
        lived, refused = lived + (ended.code == 0), refused + (ended.code != 0)
    print(call, error, lived, refused)
    assert lived >= 4


@needs_strace
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync"])
def test_f12_f13_a_disk_that_fails_for_good_stops_nobody(nurse: Nursery, place: Path, call: str) -> None:
    """Everything is sent from memory, and the close says that it is not on disk."""
    assert nurse.life(place, 3) == Ended(0, 0)
    before = json.loads((place / "final.json").read_text())["n"]
    for file in place.glob("*.log"):
        file.unlink()
    ended = nurse.life(place, STEPS, seed=1, inject=f"{call}:error=EIO:when=20+")
    assert ended == Ended(0, 0)
    story = json.loads((place / "final.json").read_text())
    assert not story["healed"]
    assert ["failed", "io_error"] in story["notices"]
    wanted = [f"{a} {n}" for a, last in story["n"].items() for n in range(before.get(a, 0) + 1, last + 1)]
    for receiver in ("fast", "slow"):
        told = [line.partition(" ")[2] for line in (place / f"{receiver}.log").read_text().splitlines()]
        assert sorted(told) == sorted(wanted), "each once"


def test_f12_a_file_that_may_not_grow(nurse: Nursery, place: Path) -> None:
    """RLIMIT_FSIZE gives SQLITE_IOERR_WRITE (M12)."""
    assert nurse.life(place, 60, file_bytes_max=75_000) == Ended(0, 0)
    story = json.loads((place / "final.json").read_text())
    assert ["failed", "io_error"] in story["notices"]
    for receiver in ("fast", "slow"):
        told = (place / f"{receiver}.log").read_text().splitlines()
        assert len(told) == sum(story["n"].values())


# --- a power cut --------------------------------------------------------------------------------------------


def after_power_cuts(
    nurse: Nursery, base: Path, folder: Path, call: str, numbers: Iterable[int], bug: str
) -> list[str]:
    """Cut the power at single calls, and return what that has done to acknowledged and sent transitions."""
    faults = []
    for number in numbers:
        here = folder / f"{call}-{number}"
        shutil.copytree(base, here)
        assert nurse.life(here, 40, seed=number, bug=bug, inject=f"{call}:signal=SIGKILL:when={number}").killed
        lost = cut_power(here, random.Random(number))
        verdict = final_life(nurse, here)
        faults += [f"{number}, {lost} writes lost: {fault}" for fault in verdict.faults]
        shutil.rmtree(here)
    return faults


@pytest.fixture(scope="module")
def stopped(nurse: Nursery, base: Path) -> Path:
    """What a stop in good order has left."""
    folder = base / "stopped"
    folder.mkdir()
    assert nurse.life(folder, 5) == Ended(0, 0)
    return folder


@needs_strace
def test_f11_after_a_power_cut_everything_acknowledged_is_there(nurse: Nursery, place: Path, stopped: Path) -> None:
    """As far as the log of system calls tells: each write that was not synced may be there, or not, or be noise."""
    points = (
        {"fdatasync": range(1, 40), "pwrite64": range(9, 200)}
        if CHAOS
        else {"fdatasync": (3, 6), "pwrite64": (40, 70, 101)}
    )
    for call, numbers in points.items():
        assert after_power_cuts(nurse, stopped, place, call, numbers, "") == []


@needs_strace
def test_a_ledger_that_does_not_sync_is_found_by_power_cuts(nurse: Nursery, place: Path, stopped: Path) -> None:
    assert after_power_cuts(nurse, stopped, place, "pwrite64", (60, 100, 140), "no_sync") != []


# --- a full disk ----------------------------------------------------------------------------------------------

FULL_DISK = """
import os, sys
from pathlib import Path
from tests.runtime.ledger.rig import *

folder = Path(sys.argv[1])
store, _ = open_store(folder / "state.db")
assert store.has_ballast

def fill():
    filler = os.open(folder / "filler", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    try:
        while os.write(filler, bytes(4096)):
            pass
    except OSError:
        os.close(filler)

fill()
count = 0
while not store.in_memory:
    put(store, [transition(f"t{count}")], [alert(f"a{count}", bytes(20_000))])
    count += 1
    if not store.has_ballast:
        fill()
assert count > 1
queue(store, message("m"))
assert not store.heal()
print([notice.reason for notice in store.take_notices()])
(folder / "filler").unlink()
assert store.heal()
print([notice.reason for notice in store.take_notices()], store.has_ballast)
crash(store)
store, restored = open_store(folder / "state.db")
assert (len(restored.alerts), restored.last_seq) == (count, count)
assert [found.message_id for found in sendable(store)] == ["evt_m"]
print(store._connection.execute("PRAGMA integrity_check").fetchall()[0][0])
store.close()
"""


def test_f12_a_full_disk_heals_without_a_restart(tmp_path: Path) -> None:
    """On a small file system of its own: the reserve first, then memory, then all of it is written (M11)."""
    mount = 'mount -t tmpfs -o size=16m tmpfs "$0" || exit 99; exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, str(tmp_path), sys.executable, "-c", FULL_DISK, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
    )
    if done.returncode in (1, 99) and ("unshare" in done.stderr or "mount" in done.stderr):
        pytest.skip(f"this machine allows no mounts: {done.stderr.strip()[:120]}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["['ballast_used', 'disk_full']", "['recovered'] True", "ok"]
