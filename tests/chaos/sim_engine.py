"""The engine as it is simulated: its pauses stretched, without threads, and its disk one that the world can break."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

from msgspec.structs import replace

import engine.codec
import engine.registry
import engine.runtime.blindness
import engine.runtime.engine
import engine.runtime.gate
import engine.runtime.keeping
import engine.runtime.ledger.ledger
import engine.runtime.outbox
import engine.runtime.overview
import engine.runtime.reconcile
import engine.runtime.statefiles
import engine.runtime.stepping
from engine import Engine
from engine.config.load import load
from engine.config.shape import Config
from engine.durations import Duration
from engine.runtime import retry
from engine.runtime.ledger.store import Store
from engine.runtime.ledger.values import Limits
from engine.runtime.stepping import Stepper
from engine.runtime.threads import ThreadPool
from engine.status import EngineStatus
from tests.chaos.model import Rule
from tests.chaos.settings import rule_file
from tests.chaos.sim_world import DAY_MS, GRID_MS, HOUR_MS, MINUTE_MS, STEP_MS, WRITING, World

__all__ = ["HEARTBEAT_MS", "TOLERANCE_MS", "Watch", "coarse", "configuration"]

T = TypeVar("T")
SLOWER = STEP_MS // MINUTE_MS
"""What the product does each second or minute to be prompt, it does that much more rarely here: nothing happens in
between, and days are cheap. What was true of a minute there is true of a step here."""
HEARTBEAT_MS = STEP_MS // 2
TOLERANCE_MS = 10 * HOUR_MS
PACE = (
    (engine.runtime.blindness, "LAG_S_MIN", 2 * STEP_MS / 1000),
    (engine.runtime.blindness, "TURNS_EVERY_S", STEP_MS / 1000),
    (engine.runtime.ledger.ledger, "TICK_S", STEP_MS / 1000),
    (engine.runtime.ledger.ledger, "UPKEEP_S", 6 * HOUR_MS / 1000),
    (engine.runtime.outbox, "LOOK_S_MAX", 6 * HOUR_MS / 1000),
    (engine.runtime.gate, "Breaker", partial(retry.Breaker, open_s_max=SLOWER * 60.0)),
    (engine.runtime.overview, "OWN_INTERVAL_MS", DAY_MS),
    (engine.runtime.reconcile, "RECONCILE_S", SLOWER * engine.runtime.reconcile.RECONCILE_S),
    (retry, "AGE_S_MAX", SLOWER * retry.AGE_S_MAX),
    (retry, "SLOW_S", SLOWER * retry.SLOW_S),
    (retry, "jittered_s", partial(retry.jittered_s, max_s=SLOWER * retry.WAIT_S_MAX)),
    (engine.runtime.statefiles, "HEARTBEAT_S", HEARTBEAT_MS / 1000),
    (engine.runtime.stepping, "WAKE_MS_MAX", STEP_MS),
)

STARTING = ((engine.registry, "entry_points"), (engine.codec, "_float_fields"))
"""What every start finds out anew, and costs more than the hour that a short life lasts."""


class InlinePool(ThreadPool):
    """Without threads, which live in real time."""

    async def call(self, owner: str, function: Callable[[], T], error: Any = None) -> T:
        """Run it."""
        return function()


class Watch(Engine):
    """Its status is not asked for: that is much work, and done every two seconds."""

    def status(self) -> EngineStatus:
        """Nothing of interest."""
        return EngineStatus("simulated", 0, "running", 0, 0)


def configuration(state: Path, rules: tuple[Rule, ...]) -> Config:
    """Of one life."""
    config = _parsed(state.parent, rules)
    return replace(config, engine=replace(config.engine, resolution=Duration(STEP_MS), state_dir=state))


@cache
def _parsed(folder: Path, rules: tuple[Rule, ...]) -> Config:
    texts = (f'[rule.{r.name}]\nexpr = "{r.metric} > 0"\nfor = "{r.for_ms}ms"\n' for r in rules if not r.grid)
    head = f'[engine]\noutage_tolerance = "{TOLERANCE_MS}ms"\n'
    if any(rule.grid for rule in rules):
        head += 'rule_files = ["rules.yml"]\n'
        (folder / "rules.yml").write_text(rule_file(rules, interval_ms=STEP_MS, window_ms=GRID_MS))
    (folder / "run.toml").write_text(head + "".join(texts))
    (folder / "run.toml").chmod(0o600)
    return load(folder / "run.toml", environ={})


def _error(text: str, code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


def _disk(world: World) -> type[sqlite3.Connection]:
    shut = world.story.shut

    class Disk(sqlite3.Connection):
        """Full while the world says so. What is only in memory is never full."""

        def __init__(self, database: str, *args: Any, **more: Any) -> None:
            self._on_disk = "state.db" in str(database)
            super().__init__(database, *args, **more)
            world.connections.append(self)

        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            if not self._on_disk:
                return super().execute(sql, *parameters)
            if shut and world.is_locked(sql):
                raise _error("database is locked", sqlite3.SQLITE_BUSY)
            if sql.startswith(WRITING) and world.disk_full:
                raise _error("database or disk is full", sqlite3.SQLITE_FULL)
            if sql == "COMMIT":
                world.may_crash("at commit", 0.0005)
                if world.io_fails():
                    if world.rng.random() < 0.5:
                        super().execute(sql)
                    raise _error("disk I/O error", sqlite3.SQLITE_IOERR_FSYNC)
            return super().execute(sql, *parameters)

    return Disk


@contextmanager
def coarse(world: World) -> Iterator[None]:
    """The product with its pauses stretched, without threads, and with a ledger that the world can get at."""
    begin, run, restart, disk = Store.__init__, Store.run, Stepper._take_back, _disk(world)

    def begin_with_disk(self: Store, path: Path | None, now_ms: Callable[[], int]) -> None:
        begin(self, path, now_ms, disk)
        world.store = self

    async def take_back(self: Stepper, now_ms: int) -> bool:
        world.core_begins()
        return await restart(self, now_ms)

    def run_or_crash(self: Store, jobs: Any) -> Any:
        world.may_crash("before commit", 0.0005)
        found = run(self, jobs)
        world.may_crash("after commit", 0.0005)
        return found

    with ExitStack() as stack:
        for module, name, value in PACE:
            stack.enter_context(patch.object(module, name, value))
        for module, name in STARTING:
            stack.enter_context(patch.object(module, name, cache(getattr(module, name))))
        stack.enter_context(patch.object(engine.runtime.engine, "ThreadPool", InlinePool))
        if rows_max := world.story.outbox_rows_max:
            limits = partial(Limits, outbox_rows_max=rows_max)
            stack.enter_context(patch.object(engine.runtime.keeping, "Limits", limits))
        stack.enter_context(patch.object(Store, "run", run_or_crash))
        stack.enter_context(patch.object(Stepper, "_take_back", take_back))
        stack.enter_context(patch.object(Store, "__init__", begin_with_disk))
        yield
