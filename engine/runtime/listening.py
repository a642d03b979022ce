"""Whether the engine listens, decided without importing what listening takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from engine.config.shape import Config
from engine.runtime.delivery import SinkRunner
from engine.runtime.keeping import Keeper
from engine.runtime.stepping import Stepper
from engine.runtime.supervisor import ProbeRunner, Shared
from engine.status import EngineStatus

if TYPE_CHECKING:
    from engine.http.build import Listener

__all__ = ["build_listener"]


def build_listener(
    config: Config,
    shared: Shared,
    stepper: Stepper,
    runners: Sequence[ProbeRunner | SinkRunner],
    keeper: Keeper,
    status: Callable[[], EngineStatus],
    phase: Callable[[], str],
) -> Listener | None:
    """What listens; None where nothing is to. From here on its port is taken. Raises `ConfigError` if it can't be."""
    if config.http is None:
        return None
    from engine.http.build import Listener  # brings aiohttp

    return Listener(config, shared, stepper, runners, keeper, phase, lambda: status().counters)
