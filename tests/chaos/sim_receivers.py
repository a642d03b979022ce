"""The receivers of a simulation: each takes a message or fails in one of the ways there are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from engine.errors import SinkError
from engine.ports import Notification
from sinks._body_own import render
from tests.chaos.sim_world import STEP_MS, Crash, World

__all__ = ["Receiver"]


# --- how they behave: true if they take it ----------------------------------------------------------------------


async def _well(_: World) -> bool:
    return True


async def _slow(world: World) -> bool:
    await asyncio.sleep(world.rng.uniform(0, 25))
    return True


async def _hangs(_: World) -> bool:
    await asyncio.sleep(10 * 60)
    return False


async def _down(_: World) -> bool:
    raise SinkError("refused", "nobody listens", retryable=True)


async def _flaps(world: World) -> bool:
    if world.now_ms // STEP_MS % 2:
        raise SinkError("http_503", "unavailable", retryable=True, status=503)
    return True


async def _busy(world: World) -> bool:
    after_s = world.rng.choice([float("nan"), float("inf"), -1.0, 0.0, 1e9, 1e-9, 30.0])
    raise SinkError("http_429", "too many", retryable=True, status=429, retry_after_s=after_s)


async def _locked(world: World) -> bool:
    status = world.rng.choice([401, 403, 404])
    raise SinkError(f"http_{status}", "no entry", retryable=True, status=status)


async def _gone(_: World) -> bool:
    raise SinkError("http_410", "nothing more, please", retryable=False, status=410)


async def _refuses(world: World) -> bool:
    status = world.rng.choice([400, 413, 422])
    raise SinkError(f"http_{status}", "what is this", retryable=False, status=status)


ANSWERS: dict[str, Callable[[World], Awaitable[bool]]] = {
    "well": _well,
    "slow": _slow,
    "hangs": _hangs,
    "down": _down,
    "flaps": _flaps,
    "busy": _busy,
    "locked": _locked,
    "gone": _gone,
    "refuses": _refuses,
}
MOODS = tuple(name for name in ANSWERS if name not in {"gone", "refuses"})


class Receiver:
    """One of the three."""

    def __init__(self, name: str, world: World) -> None:
        self._name = name
        self._world = world

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    def render(self, notification: Notification) -> bytes:
        """As the webhook does."""
        return render(notification)

    async def deliver(self, message_id: str, body: bytes) -> None:
        """One attempt."""
        if self._world.dead:
            raise SinkError("closed", "the process is gone", retryable=True)
        try:
            await self._take(message_id, body)
        except Crash:
            await asyncio.Event().wait()

    async def _take(self, message_id: str, body: bytes) -> None:
        world, name = self._world, self._name
        world.may_crash("before send", 0.003)
        answer = ANSWERS[world.mood(name, tuple(ANSWERS) if world.story.refuses else MOODS)]
        world.check_kept(name, message_id, body)
        if await answer(world):
            world.model.receive(name, message_id, body, world.now_ms)
            if not world.calm and name != "good" and world.rng.random() < 0.05:
                world.seen.add("answer lost")
                raise SinkError("timeout", "the answer was lost", retryable=True)
        world.may_crash("after send", 0.003)
