"""The start of an engine whose alerts were kept: what was there goes back into the core, what is missed is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from zoneinfo import ZoneInfo

from engine.config.shape import Config
from engine.core.evaluator import Core
from engine.events import Transition
from engine.runtime.blindness import Blindness
from engine.runtime.downtime import NEVER_QUIET
from engine.runtime.internal import InternalAlerts
from engine.runtime.keeping import Keeper
from engine.runtime.restarting import WATCHED_UNTIL, AlertKeeper, missing, watched_until
from engine.runtime.statefiles import last_life
from engine.runtime.storagealert import StorageAlert
from engine.runtime.threads import ThreadPool

__all__ = ["build_alerts", "build_internal", "took_back_all"]


def build_internal(config: Config, keeper: Keeper, blindness: Blindness) -> InternalAlerts:
    """The alerts of the engine's own."""
    return InternalAlerts([blindness, StorageAlert(keeper.status, ZoneInfo(config.engine.timezone))])


def build_alerts(
    config: Config, core: Core, keeper: Keeper, blindness: Blindness, internal: InternalAlerts, pool: ThreadPool
) -> tuple[AlertKeeper | None, Callable[[int], Awaitable[list[Transition]]] | None]:
    """What keeps alerts across restarts, and takes them back; neither without a state folder."""
    folder = config.engine.state_dir
    if folder is None:
        return None, None
    last = last_life(folder)  # now: it is written anew as soon as the engine runs
    alerts = keeper.alerts = AlertKeeper(core, NEVER_QUIET if last is None else last.quiet, internal)

    async def resume(now_ms: int) -> list[Transition]:
        restored, status = keeper.restored, keeper.status()
        assert restored is not None
        if status.kept == "disk" and not status.resets_total and (notice := missing(restored, last)) is not None:
            keeper.tell(notice.reason, notice.message, failed=True)
        blindness.watched_until(watched_until(restored, last))
        return await alerts.take_back(restored, last, now_ms, pool)

    return alerts, resume


def took_back_all(core: Core, keeper: Keeper) -> bool:
    """Whether every alert that the run before has left is in the core again, or was ended with the start."""
    status, restored = keeper.status(), keeper.restored
    unread = status.trouble and (restored is None or WATCHED_UNTIL not in restored.counters)
    return not (unread or status.resets_total or core.counters().get("alerts_not_restored_total"))
