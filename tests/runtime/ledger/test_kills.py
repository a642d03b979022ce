"""SIGKILL, at random moments and at single system calls; a disk that fails at single calls. Judged by `kills`."""

import json
import os
import random
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.runtime.ledger.kill_child import REFUSED
from tests.runtime.ledger.kills import Ended, Nursery, Verdict, can_trace, final_life, nursery

pytestmark = pytest.mark.process
CHAOS = bool(os.environ.get("LONGWATCH_CHAOS"))
RANDOM_KILLS = 1_000 if CHAOS else 30
NO_TRACE = can_trace()
needs_strace = pytest.mark.skipif(bool(NO_TRACE), reason=NO_TRACE)


@pytest.fixture(scope="module")
def nurse() -> Iterator[Nursery]:
    with nursery() as opened:
        yield opened


def killed_at_random(nurse: Nursery, folder: Path, kills: int, bug: str = "") -> Verdict:
    rng = random.Random(5)
    killed = 0
    for number in range(kills):
        killed += nurse.life(folder, 10**6, seed=number, bug=bug, after_ms=rng.randint(0, 40)).killed
    assert killed == kills
    return final_life(nurse, folder, bug)


def test_f01_f02_f03_kills_at_random_moments_lose_nothing(nurse: Nursery, tmp_path: Path) -> None:
    verdict = killed_at_random(nurse, tmp_path, RANDOM_KILLS)
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
def test_the_harness_finds_planted_bugs(nurse: Nursery, tmp_path: Path, bug: str, call: str) -> None:
    """Killed at the writes to the receivers' files, or at the syncs of the log."""
    for number in range(10, 40, 2):
        place = tmp_path / str(number)
        place.mkdir()
        assert nurse.life(place, STEPS * 10, bug=bug, inject=f"{call}:signal=SIGKILL:when={number}").killed
        if final_life(nurse, place, bug).faults:
            return
    pytest.fail(f"{bug} was not found")


# --- single system calls --------------------------------------------------------------------------------

STEPS = 6


# Which calls: under LONGWATCH_CHAOS every one. The first eight pwrite64 of an open are for the -shm; after a kill there
# are those of a checkpoint before the first commit.
FEW = {
    "kill": {"pwrite64": (3, 9, 10, 12, 30, 45), "fdatasync": (1, 2, 3, 5, 8), "write": (1, 4, 9, 16)},
    "error": {"pwrite64": (9, 12, 35, 36, 41, 50, 60), "fdatasync": (1, 2, 4, 5, 6, 8)},
}


def points(what: str, call: str) -> Iterable[int]:
    return range(1, 250) if CHAOS else FEW[what].get(call, (1, 2))


@pytest.fixture(scope="module")
def killed(nurse: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a kill in the middle of things has left."""
    folder = tmp_path_factory.mktemp("killed")
    assert nurse.life(folder, 10**6, inject="fdatasync:signal=SIGKILL:when=25" if not NO_TRACE else "").killed
    return folder


@needs_strace
@pytest.mark.parametrize("before", ["", "killed"], ids=["first", "after a kill"])
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync", "write", "ftruncate", "unlink", "rename", "fsync"])
def test_f03_f04_f06_a_kill_at_single_calls(
    nurse: Nursery, tmp_path: Path, killed: Path, call: str, before: str
) -> None:
    """From the making of the file to its close, checkpoints included: whole transactions or none, no false alarm."""
    reached = []
    for number in points("kill", call):
        place = tmp_path / f"{number}"
        if before:
            shutil.copytree(killed, place)
        else:
            place.mkdir()
        ended = nurse.life(place, STEPS, inject=f"{call}:signal=SIGKILL:when={number}")
        if not ended.killed:
            assert ended.code == 0
            break  # it has fewer of them
        reached.append(number)
        verdict = final_life(nurse, place)
        assert verdict.faults == [], number
        assert not list(place.glob("*.corrupt.*")), number
    print(call, before, len(reached))
    assert reached or (before and call in {"rename", "fsync"}), "those are for the making of the file"


@needs_strace
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync"])
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_f12_f13_f14_a_call_that_fails_once_loses_nothing(
    nurse: Nursery, tmp_path: Path, killed: Path, call: str, error: str
) -> None:
    """Mended at once, or kept in memory and written at the end; or the start is refused, and the next one finds all."""
    lived = refused = 0
    for number in points("error", call):
        place = tmp_path / str(number)
        shutil.copytree(killed, place)
        ended = nurse.life(place, STEPS, seed=number, inject=f"{call}:error={error}:when={number}")
        assert ended in {Ended(0, 0), Ended(0, REFUSED)}
        verdict = final_life(nurse, place)
        assert verdict.faults == [], number
        assert not list(place.glob("*.corrupt.*")), number
        lived, refused = lived + (ended.code == 0), refused + (ended.code != 0)
    print(call, error, lived, refused)
    assert lived >= 4


@needs_strace
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync"])
def test_f12_f13_a_disk_that_fails_for_good_stops_nobody(nurse: Nursery, tmp_path: Path, call: str) -> None:
    """Everything is sent from memory, and the close says that it is not on disk."""
    assert nurse.life(tmp_path, 3) == Ended(0, 0)
    before = json.loads((tmp_path / "final.json").read_text())["n"]
    for file in tmp_path.glob("*.log"):
        file.unlink()
    ended = nurse.life(tmp_path, STEPS, seed=1, inject=f"{call}:error=EIO:when=20+")
    assert ended == Ended(0, 0)
    story = json.loads((tmp_path / "final.json").read_text())
    assert not story["healed"]
    assert ["failed", "io_error"] in story["notices"]
    wanted = [f"{a} {n}" for a, last in story["n"].items() for n in range(before.get(a, 0) + 1, last + 1)]
    for receiver in ("fast", "slow"):
        told = [line.partition(" ")[2] for line in (tmp_path / f"{receiver}.log").read_text().splitlines()]
        assert sorted(told) == sorted(wanted), "each once"


def test_f12_a_file_that_may_not_grow(nurse: Nursery, tmp_path: Path) -> None:
    """RLIMIT_FSIZE gives SQLITE_IOERR_WRITE (M12)."""
    assert nurse.life(tmp_path, 60, file_bytes_max=75_000) == Ended(0, 0)
    story = json.loads((tmp_path / "final.json").read_text())
    assert ["failed", "io_error"] in story["notices"]
    for receiver in ("fast", "slow"):
        told = (tmp_path / f"{receiver}.log").read_text().splitlines()
        assert len(told) == sum(story["n"].values())
