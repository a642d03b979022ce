"""Kills `kill_child` and judges what is left, from what the receivers got and from the ledger itself."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from engine.runtime.ledger.opening import open_file
from engine.runtime.ledger.operator import list_outbox, restore

ROOT = Path(__file__).resolve().parents[3]
ATTACHED = re.compile(r"attached")


class Ended(NamedTuple):
    """How a child ended."""

    signal: int
    code: int

    @property
    def killed(self) -> bool:
        return self.signal == 9


class Nursery:
    """The process whose children are killed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def life(self, folder: Path, steps: int, *, seed: int = 0, bug: str = "", inject: str = "", **more: Any) -> Ended:
        """One life of a child, until it ends or is killed.

        Args:
            inject: What strace makes of its system calls.
            more: `after_ms`, when to kill it; `file_bytes_max`.
        """
        order = {"folder": str(folder), "steps": steps, "seed": seed, "bug": bug, "hold": bool(inject), **more}
        pid = self._ask(order)["pid"]
        tracer = None
        if inject:
            tracer = traced(pid, inject, folder / "strace.log")
            self._tell("go")
        answer = self._read()
        if tracer is not None:
            tracer.communicate(timeout=20)
        return Ended(answer["signal"], answer["code"])

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        self._tell(json.dumps(order))
        return self._read()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


def traced(pid: int, inject: str, log: Path) -> subprocess.Popen[str]:
    """strace, once it holds the process."""
    calls = {*inject.partition(":")[0].split(","), "pwrite64", "fdatasync", "fsync"}
    tracer = subprocess.Popen(
        [
            "strace",
            "-f",
            "-y",
            "-s",
            "0",
            "-o",
            str(log),
            "-p",
            str(pid),
            "-e",
            f"trace={','.join(sorted(calls))}",
            "-e",
            f"inject={inject}",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert tracer.stderr is not None
    line = tracer.stderr.readline()
    assert ATTACHED.search(line), line
    return tracer


def can_trace() -> str:
    """Why strace can't be used here; empty if it can."""
    try:
        done = subprocess.run(
            ["strace", "-o", "/dev/null", "-e", "inject=getpid:delay_exit=1", "true"], capture_output=True, text=True
        )
    except FileNotFoundError:
        return "strace is not installed"
    return "" if done.returncode == 0 else f"strace does not work here: {done.stderr.strip()[:100]}"


@contextmanager
def nursery() -> Iterator[Nursery]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.runtime.ledger.kill_child"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield Nursery(process)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(20)


class Verdict(NamedTuple):
    """What came of many lives. Everything but `transitions` and `duplicates` must be empty."""

    transitions: int
    duplicates: int
    faults: list[str]


def judge(folder: Path) -> Verdict:
    """Compare the receivers' logs with the ledger, after a last life that has sent everything."""
    opened = open_file(folder / "state.db", 0)
    faults = [f"corrupt: {notice.message}" for notice in opened.notices]
    final = {alert.labels: int(alert.row or b"0") for alert in restore(opened.connection).alerts}
    held = list_outbox(opened.connection, 0, 10**6)
    opened.connection.close()
    duplicates = 0
    for receiver in ("fast", "slow"):
        found, again = _judge_log(folder / f"{receiver}.log", final)
        faults += [f"{receiver}: {fault}" for fault in found]
        duplicates += again
    dead = Counter(message.body.decode() for message in held if message.receiver == "dead")
    wanted = Counter(f"{alert} {n}" for alert, last in final.items() for n in range(1, last + 1))
    faults += [f"dead: lost {text}" for text in wanted - dead]
    faults += [f"dead: phantom {text}" for text in dead - wanted]
    faults += [f"left: {message}" for message in held if message.receiver != "dead"]
    for line in _lines(folder / "acks.log"):
        alert, n = line.split()
        if int(n) > final.get(alert, 0):
            faults.append(f"an acknowledged transition is gone: {line}")
    return Verdict(sum(final.values()), duplicates, faults)


def _judge_log(path: Path, final: dict[str, int]) -> tuple[list[str], int]:
    """Of each alert 1, 2, 3 ... must have come, in that order; again only with the same id, right after."""
    faults, reached, ids, duplicates = [], dict.fromkeys(final, 0), {}, 0
    for line in _lines(path):
        message_id, alert, n = line.split()
        text = f"{alert} {n}"
        if (message_id in ids and ids[message_id] != text) or (text in ids and ids[text] != message_id):
            faults.append(f"another id or body: {line}")
        ids[message_id], ids[text] = text, message_id
        last = reached.get(alert, 0)
        if int(n) == last + 1:
            reached[alert] = last + 1
        elif int(n) == last:
            duplicates += 1
        else:
            faults.append(f"lost or out of order: {line} after {last}")
            reached[alert] = int(n)
    faults += [
        f"phantom: {alert} {n} of {final.get(alert, 0)}" for alert, n in reached.items() if n > final.get(alert, 0)
    ]
    faults += [f"lost: {alert} {n + 1}" for alert, n in reached.items() if n < final.get(alert, 0)]
    return faults, duplicates


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def final_life(nurse: Nursery, folder: Path, bug: str = "") -> Verdict:
    """Let everything be sent, and judge."""
    ended = nurse.life(folder, 0, bug=bug, after_ms=50_000)
    assert ended == Ended(0, 0), ended
    return judge(folder)


# --- a power cut ------------------------------------------------------------------------------------------

_WRITE = re.compile(r"pwrite64\(\d+<([^>]+)>, .*, (\d+), (\d+)\) = (\d+)$")
_SYNC = re.compile(r"f(?:data)?sync\(\d+<([^>]+)>\) += 0$")


def not_synced(log: Path) -> dict[Path, list[tuple[int, int]]]:
    """By file, what was written (offset, bytes) and not synced after it, by strace's log."""
    open_writes: dict[Path, list[tuple[int, int]]] = {}
    for line in log.read_text().splitlines():
        if (found := _WRITE.search(line)) is not None:
            path, _, offset, size = found.groups()
            open_writes.setdefault(Path(path), []).append((int(offset), int(size)))
        elif (found := _SYNC.search(line)) is not None:
            open_writes.pop(Path(found.group(1)), None)
    return {path: writes for path, writes in open_writes.items() if not path.name.endswith("-shm")}


def cut_power(folder: Path, rng: random.Random) -> int:
    """Let each write that was not synced reach the disk, or not, or in part; returns how many did not.

    What was there before can't be known, so what is lost becomes zeros or noise. That is harsher.
    """
    lost = 0
    for path, writes in not_synced(folder / "strace.log").items():
        if not path.exists():
            continue
        data = bytearray(path.read_bytes())
        for offset, size in writes:
            fate = rng.choice(["kept", "zeros", "noise", "half"])
            if fate != "kept":
                lost += 1
                begin = offset + (size // 2 if fate == "half" else 0)
                length = offset + size - begin
                data[begin : begin + length] = rng.randbytes(length) if fate == "noise" else bytes(length)
        if writes and rng.random() < 0.3 and path.name.endswith("-wal"):
            del data[writes[-1][0] :]  # the file had not grown yet
        path.write_bytes(data)
    (folder / "state.db-shm").unlink(missing_ok=True)
    return lost
