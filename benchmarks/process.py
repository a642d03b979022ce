"""Our engine as a process of its own, started as an operator starts it, with its state on a disk."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["disk_folder", "file_system", "running", "syncing"]

SYNC_BYTES = 4096
SYNC_EVERY_S = 0.2  # seldom enough to be no load
ON_DISK = Path("/var/tmp")  # noqa: S108  # survives a restart, so it is not in memory
SHUTDOWN_S = 2  # what is not told by then is on the disk
STOP_S_MAX = 30.0


@contextmanager
def disk_folder() -> Iterator[Path]:
    """A temporary folder on a disk."""
    with tempfile.TemporaryDirectory(prefix="longwatch-", dir=ON_DISK if ON_DISK.is_dir() else None) as name:
        yield Path(name)


@contextmanager
def running(folder: Path, config: str) -> Iterator[None]:
    """`python -m engine` until the block is left; then it is asked to stop.

    Args:
        folder: For its configuration and its state.
        config: Tables of a run.toml; `[engine]` is written here.

    Raises:
        RuntimeError: It ended by itself, or not well; with the end of what it said.
    """
    file, said = folder / "run.toml", folder / "said.txt"
    head = f'[engine]\nname = "bench"\nstate_dir = "{folder / "state"}"\nshutdown_timeout = "{SHUTDOWN_S}s"\n'
    file.write_text(head + config, encoding="utf-8")
    file.chmod(0o600)
    command = [sys.executable, "-m", "engine", "--config", str(file), "--no-live"]
    with said.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield
        alone = process.poll()
        process.terminate()
        code = process.wait(timeout=STOP_S_MAX)
    finally:
        process.kill()
        process.wait()
    if alone is not None or code != 0:
        raise RuntimeError(f"the engine ended with {code}: {said.read_text(encoding='utf-8')[-2_000:]}")


@contextmanager
def syncing(folder: Path) -> Iterator[list[float]]:
    """Ask the disk now and then, until the block is left, how long it takes to make 4 KiB that were appended durable;
    yields the milliseconds of each time."""
    took_ms: list[float] = []
    left = threading.Event()

    def run() -> None:
        with (folder / "sync").open("wb", buffering=0) as file:
            while not left.wait(SYNC_EVERY_S):
                started = time.perf_counter()
                file.write(bytes(SYNC_BYTES))
                os.fdatasync(file.fileno())
                took_ms.append((time.perf_counter() - started) * 1e3)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield took_ms
    finally:
        left.set()
        thread.join()


def file_system(folder: Path) -> str:
    """Its type, as /proc/mounts has it; empty where there is none."""
    best, kind = "", ""
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    for line in mounts:
        _, point, found, *_ = line.split()
        if folder.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, found
    return kind
