"""The command server of an engine, from its parts."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from functools import partial

from engine.config.shape import Config
from engine.runtime.commands.server import CommandServer
from engine.runtime.commands.table import Reach, commands
from engine.runtime.commands.wire import PROTOCOL, Greeting
from engine.runtime.delivery import SinkRunner
from engine.runtime.ledger.ledger import Ledger
from engine.runtime.supervisor import Shared
from engine.status import EngineStatus

__all__ = ["build_commands"]


def build_commands(
    config: Config,
    shared: Shared,
    sinks: Sequence[SinkRunner],
    ledger: Ledger,
    status: Callable[[], EngineStatus],
    doubt: Callable[[str], None],
) -> CommandServer | None:
    """None if the engine has no state folder: there is no place for a socket then.

    Args:
        status: Says how the engine is now.
        doubt: Has it looked at whether a receiver knows what it should.
    """
    from engine import __version__

    folder, name = config.engine.state_dir, config.engine.name
    if folder is None:
        return None

    wake, labels = partial(_wake, sinks), config.engine.external_labels
    reach = Reach(status, ledger, sinks, shared, wake, partial(_doubt, doubt), name, labels)
    return CommandServer(folder, Greeting(__version__, PROTOCOL, os.getpid(), name), commands(reach), shared)


def _doubt(doubt: Callable[[str], None], receivers: Collection[str]) -> None:
    for name in receivers:
        doubt(name)


def _wake(sinks: Sequence[SinkRunner], again: Collection[str]) -> None:
    for runner in sinks:
        if runner.messages is None:
            continue
        if runner.spec.name in again:
            runner.messages.enable()
        runner.messages.wake()
