"""One engine per folder, a sign of life in it, and a full disk is news and nothing worse (F12, F16, F18, F120)."""

import asyncio
import contextlib
import math
import os
import resource
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.clock import SystemClock
from engine.errors import ConfigError
from engine.runtime import statefiles
from engine.runtime.statefiles import LIFE_FILE, LOCK_FILE, STATUS_FILE, StateLock, StatusFile
from engine.runtime.threads import ThreadPool
from engine.status import AlertStatus, EngineStatus
from tests.runtime.rig import health_of, shared


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    pool = ThreadPool(2)
    yield pool
    pool.close()


def status() -> EngineStatus:
    alert = AlertStatus("R", {}, "firing", 0, 0, 0, math.nan)
    return EngineStatus("x", os.getpid(), "running", 1, 2, alerts=(alert,), gauges={"g": math.inf})


def test_a_second_engine_is_refused_with_the_pid_and_the_remedy_f18(tmp_path: Path) -> None:
    first, second = StateLock(tmp_path), StateLock(tmp_path)
    first.acquire()
    with pytest.raises(ConfigError) as caught:
        second.acquire()
    assert f"process {os.getpid()}" in str(caught.value)
    assert "stop that one" in str(caught.value)
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_a_lock_of_a_killed_process_is_free_f18(tmp_path: Path) -> None:
    code = (
        "import sys, os, pathlib; from engine.runtime.statefiles import StateLock;"
        "lock = StateLock(pathlib.Path(sys.argv[1])); lock.acquire(); print('held', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=f"process {child.pid}"):
            StateLock(tmp_path).acquire()
        child.kill()
        child.wait(10)
    lock = StateLock(tmp_path)
    lock.acquire()
    assert (tmp_path / LOCK_FILE).read_text() == f"{os.getpid()}\n"
    lock.release()


def test_files_are_the_owners_alone_f120(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        lock = StateLock(tmp_path / "new" / "folder")
        lock.acquire()
    finally:
        os.umask(before)
    assert mode(tmp_path / "new" / "folder") == 0o700
    assert mode(tmp_path / "new" / "folder" / LOCK_FILE) == 0o600
    lock.release()


def test_a_folder_that_cannot_be_is_the_operators_f16(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"engine\.state_dir.*can't be written"):
        StateLock(tmp_path / "file" / "x").acquire()


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("keep")
    (tmp_path / LOCK_FILE).symlink_to(tmp_path / "victim")
    with pytest.raises(ConfigError):
        StateLock(tmp_path).acquire()
    assert (tmp_path / "victim").read_text() == "keep"


async def until(true: Any) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0)


async def end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_the_sign_of_life_is_json_and_goes_at_the_end(tmp_path: Path, pool: ThreadPool) -> None:
    parts = shared(SystemClock())
    file = StatusFile(tmp_path, status, parts, pool)
    task = asyncio.ensure_future(file.run())
    path = tmp_path / STATUS_FILE
    await until(path.exists)
    read = msgspec.json.decode(path.read_bytes())
    assert (read["pid"], read["phase"], read["gauges"]) == (os.getpid(), "running", {"g": None})
    assert mode(path) == 0o600
    await until((tmp_path / LIFE_FILE).exists)
    assert msgspec.json.decode((tmp_path / LIFE_FILE).read_bytes())["stopped"] is False
    await end(task)
    await file.close()
    assert [path.name for path in tmp_path.iterdir()] == [LIFE_FILE]
    assert msgspec.json.decode((tmp_path / LIFE_FILE).read_bytes())["stopped"] is True
    assert mode(tmp_path / LIFE_FILE) == 0o600


async def test_a_full_disk_is_told_and_counted_f12(tmp_path: Path, pool: ThreadPool) -> None:
    """RLIMIT_FSIZE stands for a full disk (M12); the signal that comes with it is ignored by Python."""
    parts = shared(SystemClock())
    file = StatusFile(tmp_path, status, parts, pool)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        task = asyncio.ensure_future(file.run())
        await until(lambda: file.failures)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    await end(task)
    assert await health_of(parts) == [("state", "degraded", "disk")]
    task = asyncio.ensure_future(file.run())
    await until((tmp_path / STATUS_FILE).exists)
    await until(lambda: parts.channel.statistics().depth)
    await end(task)
    assert await health_of(parts) == [("state", "ok", "recovered")]


async def test_a_folder_that_has_gone_is_told(tmp_path: Path, pool: ThreadPool) -> None:
    parts = shared(SystemClock())
    file = StatusFile(tmp_path / "gone", status, parts, pool)
    task = asyncio.ensure_future(file.run())
    await until(lambda: file.failures)
    await end(task)
    await file.close()
    assert await health_of(parts) == [("state", "degraded", "disk")]


async def test_the_status_is_encoded_on_a_thread_and_not_in_the_loop_f80(
    tmp_path: Path, pool: ThreadPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def write(path: Path, status: EngineStatus) -> None:
        threads.append(threading.get_ident())
        real(path, status)

    real = statefiles._write
    monkeypatch.setattr(statefiles, "_write", write)
    file = StatusFile(tmp_path, status, shared(SystemClock()), pool)
    task = asyncio.ensure_future(file.run())
    await until((tmp_path / STATUS_FILE).exists)
    await end(task)
    await file.close()
    assert threads
    assert threading.get_ident() not in threads
