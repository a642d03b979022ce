"""Lets an engine live and be killed, over and over, and hands back what the model says of it."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.chaos.model import Model
from tests.chaos.settings import configuration, rule_file
from tests.chaos.world import MOODS, World, now_ms, opened

__all__ = ["ROOT", "Stage", "Verdict", "staged"]

ROOT = Path(__file__).resolve().parents[2]
STARTUP_S_MAX = 20.0
STALLED_S = 4.0
"""With every receiver well again, so long nothing new may come before it counts as lost."""
SETTLE_S_MAX = 45.0
STOP_S_MAX = 25.0


class Verdict(NamedTuple):
    """What came of many lives. `faults` must be empty."""

    kills: int
    entries: int
    duplicates: int
    faults: list[str]


class Life:
    """One process, and how it ended."""

    def __init__(self, pid: int, ended: asyncio.Task[int]) -> None:
        self._handle = os.pidfd_open(pid)
        self.pid = pid
        self.ended = ended

    def kill(self, number: signal.Signals) -> None:
        """Send a signal, if it is still there."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, number)

    async def end(self) -> int:
        """Wait for its end; returns its exit code."""
        try:
            async with asyncio.timeout(STOP_S_MAX):
                return await asyncio.shield(self.ended)
        except TimeoutError:
            self.kill(signal.SIGKILL)
            await self.ended
            return 999
        finally:
            os.close(self._handle)


class Stage:
    """A world, and the engine in it.

    Args:
        folder: For the configuration, the state and what is written down.
        nursery: Forks engines.
        plant: A planted bug.
    """

    def __init__(self, folder: Path, world: World, nursery: Process, rng: random.Random, plant: str) -> None:
        self.folder = folder
        self.world = world
        self.model = world.model
        self.rng = rng
        self.kills = 0
        self.life: Life | None = None
        self._plant = plant
        self._tracer: Process | None = None
        self._nursery = nursery
        self._config = folder / "run.toml"
        self._config.write_text(configuration(folder, self.model.rules, world.ports))
        self._config.chmod(0o600)
        (folder / "rules.yml").write_text(rule_file(self.model.rules))

    # --- lives --------------------------------------------------------------------------------------------

    async def killed_at_random(self, *, real: bool = False) -> None:
        """One life that ends at a random moment, sometimes before it has begun to work.

        Args:
            real: Not forked but started, by `python -m engine`.
        """
        await self.world.feel(self.rng.choice([*MOODS, *MOODS, "well"]))
        early = self.rng.random() < 0.2
        life = await (self._started() if real else self._forked())
        if early:
            await self._watch(life, self.rng.uniform(0, 0.8 if real else 0.3))
        else:
            await self._scraped(life)
            await self._watch(life, self.rng.uniform(0, 0.6))
        await self._kill(life)
        if self.rng.random() < 0.3:
            await self.nobody(self.rng.uniform(0, 0.4))

    async def killed_after(self, seconds: float) -> None:
        """One life that ends so long after its first scrape."""
        life = await self._forked()
        await self._scraped(life)
        await self._watch(life, seconds)
        await self._kill(life)

    async def nobody(self, seconds: float) -> None:
        """Let no engine live for so long."""
        over = asyncio.Event()
        asyncio.get_running_loop().call_later(seconds, over.set)
        await over.wait()

    async def killed_at(self, call: str, number: int, longest_s: float) -> bool:
        """One life that ends at its n-th system call of a kind. Returns whether it came to that in so long."""
        await self.world.feel(self.rng.choice(MOODS))
        life = await self._forked(inject=f"{call}:signal=SIGKILL:when={number}", calls=call)
        await self._watch(life, longest_s)
        reached = life.ended.done()
        await self._kill(life)
        if self._tracer is not None:
            await self._tracer.communicate()
            self._tracer = None
        return reached

    async def killed_at_point(self, point: str, when: int, longest_s: float, *, stopping: bool = False) -> bool:
        """One life that ends the n-th time it passes a point of `failpoints`. Returns whether it came to that.

        Args:
            stopping: Whether that is on the way to a stop in good order.
        """
        await self.world.feel("refuses" if stopping else self.rng.choice(MOODS))
        life = await self._forked(point=point, when=when)
        if stopping:
            await self._scraped(life)
            await self._watch(life, 0.3)
            self.model.stops(now_ms())
            life.kill(signal.SIGTERM)
        await self._watch(life, longest_s)
        reached = life.ended.done()
        await self._kill(life)
        return reached

    async def settle(self) -> Verdict:
        """A last life, in which everything is well and everything is sent; and the verdict."""
        await self.world.feel("well")
        self.model.calm()
        life = await self._forked(hurry=True)
        loop = asyncio.get_running_loop()
        until_s = loop.time() + SETTLE_S_MAX
        await self._scraped(life)
        while not self.model.settled and loop.time() < until_s and await self._moves(life):
            pass
        self.model.stops(now_ms())
        life.kill(signal.SIGTERM)
        code = await life.end()
        self.model.died(now_ms())
        if code != 0:
            self.model.faults.append(f"a stop in good order ended with {code}")
        faults = [*self.model.verdict(), *self._damage()]
        self.model.turning = True
        return Verdict(self.kills, self.model.entries, self.model.duplicates, faults)

    async def _moves(self, life: Life) -> bool:
        """Whether anything new comes in time."""
        before = self.model.entries
        await self._watch(life, STALLED_S, lambda: self.model.settled or self.model.entries != before)
        return self.model.entries != before

    def _damage(self) -> list[str]:
        found = [f"corrupt: {path.name}" for path in self.folder.glob("state/*.corrupt*")]
        for path in self.folder.glob("state/*.db"):
            connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
            answer = connection.execute("PRAGMA integrity_check").fetchall()
            connection.close()
            if answer != [("ok",)]:
                found.append(f"corrupt: {path.name}: {answer[:3]}")
        return found

    async def _kill(self, life: Life) -> None:
        self.model.stops(now_ms())
        life.kill(signal.SIGKILL)
        code = await life.end()
        self.model.died(now_ms())
        self.kills += 1
        if code != -signal.SIGKILL:
            self.model.faults.append(f"the engine ended by itself, with {code}")

    # --- how a process begins -----------------------------------------------------------------------------

    async def _forked(
        self, *, inject: str = "", calls: str = "", point: str = "", when: int = 0, hurry: bool = False
    ) -> Life:
        self.model.born(now_ms())
        order = {"config": str(self._config), "output": str(self.folder / "output.log"), "plant": self._plant}
        self._tell(json.dumps(order | {"point": point, "when": when, "hurry": hurry}))
        pid = (await self._answer())["pid"]
        life = self.life = Life(pid, asyncio.create_task(self._code()))
        if inject:
            await self._trace(pid, inject, calls)
        self._tell("go")
        return life

    async def _started(self) -> Life:
        self.model.born(now_ms())
        with open(self.folder / "output.log", "ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "engine",
                "--config",
                str(self._config),
                "--no-live",
                cwd=ROOT,
                stdin=DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.life = Life(process.pid, asyncio.create_task(process.wait()))
        return self.life

    async def _trace(self, pid: int, inject: str, calls: str) -> None:
        """Attach strace, which ends with the process."""
        log = str(self.folder / "strace.log")
        options = ["-f", "-y", "-s", "0", "-o", log, "-p", str(pid), "-e", f"trace={calls}", "-e", f"inject={inject}"]
        self._tracer = await asyncio.create_subprocess_exec("strace", *options, stderr=PIPE)
        assert self._tracer.stderr is not None
        line = await self._tracer.stderr.readline()
        assert b"attached" in line, line

    async def _code(self) -> int:
        return int((await self._answer())["code"])

    def _tell(self, line: str) -> None:
        assert self._nursery.stdin is not None
        self._nursery.stdin.write(f"{line}\n".encode())

    async def _answer(self) -> dict[str, Any]:
        assert self._nursery.stdout is not None
        found: dict[str, Any] = json.loads(await self._nursery.stdout.readline())
        return found

    # --- waiting --------------------------------------------------------------------------------------------

    async def _scraped(self, life: Life) -> None:
        before = self.world.scrapes
        await self._watch(life, STARTUP_S_MAX, lambda: self.world.scrapes > before)
        if self.world.scrapes == before:
            self.model.faults.append("the engine does not begin")

    async def _watch(self, life: Life, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Let the process run until it ends, or so long, or until something is so."""
        happened = self.world.happened

        def tell_end(_: object) -> None:
            happened.set()

        life.ended.add_done_callback(tell_end)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not until() and not life.ended.done():
                    happened.clear()
                    await happened.wait()
        life.ended.remove_done_callback(tell_end)


@asynccontextmanager
async def staged(folder: Path, seed: int, plant: str = "") -> AsyncIterator[Stage]:
    """A stage, and everything on it gone at the end."""
    rng = random.Random(seed)
    model = Model(random.Random(rng.random()))
    async with opened(model, folder / "receivers.log", random.Random(rng.random())) as world:
        nursery = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.chaos.engine_child",
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
            stdin=PIPE,
            stdout=PIPE,
        )
        stage = Stage(folder, world, nursery, rng, plant)
        try:
            yield stage
        finally:
            if stage.life is not None and not stage.life.ended.done():  # the test has failed
                stage.life.kill(signal.SIGKILL)
            assert nursery.stdin is not None
            nursery.stdin.close()
            await nursery.wait()
