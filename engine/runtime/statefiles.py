"""What an engine leaves in its state folder besides its data: a lock while it runs, and a sign of life.

`engine.lock` is held by flock with the process id in it, so that a second engine of the same folder is refused at
once. `status.json` is written anew every two seconds, for `python -m engine health`, and removed at a clean stop;
`life.json` with it, for the next start to know how long nobody looked, and it stays. All are readable by their owner
alone. That the sign of life can't be written is told and counted, never more: a
full disk must not end the watch.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from engine.errors import ConfigError, Problem
from engine.ports import Clock
from engine.runtime.contain import Failure, Outcome
from engine.runtime.downtime import Downtime, LifeSign, Quiet, downtime, life_sign
from engine.runtime.supervisor import Shared
from engine.runtime.threads import ThreadPool
from engine.status import EngineStatus

__all__ = [
    "HEARTBEAT_S",
    "LIFE_FILE",
    "LOCK_FILE",
    "STATUS_FILE",
    "StateLock",
    "StatusFile",
    "last_downtime",
    "last_life",
]

LOCK_FILE: Final = "engine.lock"
STATUS_FILE: Final = "status.json"
LIFE_FILE: Final = "life.json"
LIFE_BYTES_MAX: Final = 4_096
HEARTBEAT_S: Final = 2.0
WRITE_TIMEOUT_S: Final = 5.0


class StateLock:
    """The right to use a state folder, held from `acquire` to `release`, and ended with the process in any case.

    Args:
        folder: The state folder; it is created for its owner alone if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fd = -1

    def acquire(self) -> None:
        """Take the lock, without waiting.

        Raises:
            ConfigError: Another engine has it; the message names its process. Or the folder can't be written.
        """
        path = self._folder / LOCK_FILE
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise _refused(path, f"can't be written: {os.strerror(error.errno or 0)}", _WRITABLE) from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            pid = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            os.close(fd)
            if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                raise _refused(path, f"can't be locked: {os.strerror(error.errno or 0)}", _WRITABLE) from None
            holder = f"process {pid}" if pid.isdigit() else "another process"
            message = f"an engine is running with this state folder already: {holder}"
            raise _refused(path, message, "stop that one, or give this one another name or state_dir") from None
        self._fd = fd

    def release(self) -> None:
        """Give the lock back. The file stays: removing it would let two engines in."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            try:
                os.ftruncate(fd, 0)
            except OSError:
                pass  # an old process id in the file misleads nobody who finds it unlocked
            os.close(fd)


_WRITABLE = "set engine.state_dir to a folder of this user"


def _refused(path: Path, message: str, hint: str) -> ConfigError:
    return ConfigError([Problem(str(path), 0, "engine.state_dir", message, hint)])


def last_life(folder: Path) -> LifeSign | None:
    """What the run before left in the state folder; None if it left nothing readable."""
    try:
        with open(folder / LIFE_FILE, "rb") as file:
            return msgspec.json.decode(file.read(LIFE_BYTES_MAX), type=LifeSign)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):  # a damaged one says nothing, which must not end a start
        return None


def last_downtime(folder: Path, clock: Clock) -> Downtime | None:
    """How long nobody looked, by what the run before left in the state folder; None if it left nothing readable."""
    last = last_life(folder)
    return None if last is None else downtime(last, life_sign(clock))


class StatusFile:
    """The sign of life, in two files.

    Args:
        folder: The state folder.
        status: Says how the engine is now.
        pool: Writes on a thread of it, so that a slow disk does not hold the loop.
        quiet: Says how long nothing has changed that the ledger would know.
    """

    component: Final = "state"

    def __init__(
        self,
        folder: Path,
        status: Callable[[], EngineStatus],
        shared: Shared,
        pool: ThreadPool,
        quiet: Callable[[], Quiet] = Quiet,
    ) -> None:
        self._path = folder / STATUS_FILE
        self._status = status
        self._shared = shared
        self._pool = pool
        self._quiet = quiet
        self._writing: asyncio.Task[Outcome[None]] | None = None
        self.failures = 0

    async def run(self) -> None:
        """Write every two seconds, for ever."""
        while True:
            status = self._status()  # a value: a thread may encode it at its leisure
            # A task of its own: a stop must not abandon a write that would then come after the removal.
            life = life_sign(self._shared.clock, quiet=self._quiet())
            write = self._on_a_thread(functools.partial(_write_both, self._path, status, life))
            self._writing = asyncio.get_running_loop().create_task(write, name="longwatch status")
            outcome = await asyncio.shield(self._writing)
            now_ms = self._shared.clock.now_ms()
            if outcome.failure is None:
                self._shared.report(self._shared.reporter.recovered(now_ms, self.component))
            else:
                self.failures += 1
                message = f"{STATUS_FILE} can't be written: {outcome.failure.message}"
                self._shared.report(
                    self._shared.reporter.failed(
                        now_ms, self.component, outcome.failure.reason, message, status="degraded"
                    )
                )
            await asyncio.sleep(HEARTBEAT_S)

    async def close(self) -> None:
        """Remove the status, and leave word that this was a stop; does not raise. A write that is still under way on
        its thread is waited for."""
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=WRITE_TIMEOUT_S)
        life = life_sign(self._shared.clock, stopped=True, quiet=self._quiet())
        await self._on_a_thread(functools.partial(_end, self._path, life))

    async def _on_a_thread(self, function: Callable[[], None]) -> Outcome[None]:
        outcome = await self._shared.containment.call(
            self.component, lambda: self._pool.call(self.component, function), WRITE_TIMEOUT_S
        )
        failure = outcome.failure
        if failure is not None and isinstance(failure.error, OSError):  # our own path: its reason may be shown
            return Outcome(None, Failure("disk", os.strerror(failure.error.errno or 0), failure.error))
        return outcome


def _write(path: Path, status: EngineStatus) -> None:
    _replace(path, msgspec.json.encode(status))  # NaN and the infinities become null


def _write_both(path: Path, status: EngineStatus, life: LifeSign) -> None:
    _write(path, status)
    _write_life(path, life)


def _write_life(path: Path, life: LifeSign) -> None:
    _replace(path.with_name(LIFE_FILE), msgspec.json.encode(life))


def _end(path: Path, life: LifeSign) -> None:
    path.unlink(missing_ok=True)
    _write_life(path, life)


def _replace(path: Path, data: bytes) -> None:
    """Write a file anew: whoever reads it sees the old one or the new one, whole."""
    fresh = path.with_suffix(".new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(fd, "wb") as file:
        file.write(data)
    fresh.replace(path)
