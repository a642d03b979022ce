"""Places in the engine at which a process kills itself: before and after each thing that has an effect.

They are set from outside, in a process that is to be killed, so that the product knows nothing of them.
"""

from __future__ import annotations

import functools
import inspect
import os
import signal
from collections.abc import Callable
from typing import Any, NamedTuple

from engine.runtime.deciding import Policy
from engine.runtime.keeping import Keeper
from engine.runtime.ledger.group import Group
from engine.runtime.ledger.ledger import Ledger
from engine.runtime.ledger.sending import look
from engine.runtime.ledger.store import Store
from engine.runtime.ledger.transactions import decide, record
from sinks.webhook import WebhookSink

__all__ = ["POINTS", "set_point"]


class Point(NamedTuple):
    """A function, before or after which it happens.

    Args:
        of: Which calls count, by their first argument.
        stopping: Whether it is only passed while the engine stops.
    """

    owner: type
    name: str
    before: bool
    of: Callable[[Any], bool] = lambda _: True
    stopping: bool = False


def _has(function: Any) -> Callable[[Any], bool]:
    """Groups of transactions with one of a kind among them."""

    def found(group: Group) -> bool:
        return group.writes and any(getattr(job.function, "func", None) is function for job in group._jobs)

    return found


POINTS = {
    "open.before": Point(Store, "open", before=True),
    "open.after": Point(Store, "open", before=False),
    "step.before": Point(Keeper, "record", before=True),
    "t1.before": Point(Group, "commit", before=True, of=_has(record)),
    "t1.after": Point(Group, "commit", before=False, of=_has(record)),
    "told.before": Point(Policy, "take", before=True),
    "told.after": Point(Policy, "take", before=False),
    "t2.before": Point(Group, "commit", before=True, of=_has(decide)),
    "t2.after": Point(Group, "commit", before=False, of=_has(decide)),
    "send.before": Point(WebhookSink, "deliver", before=True),
    "send.after": Point(WebhookSink, "deliver", before=False),
    "t3.before": Point(Group, "commit", before=True, of=_has(look)),
    "t3.after": Point(Group, "commit", before=False, of=_has(look)),
    "close.before": Point(Ledger, "close", before=True, stopping=True),
    "close.after": Point(Ledger, "close", before=False, stopping=True),
    "store_close.before": Point(Store, "close", before=True, stopping=True),
    "store_close.after": Point(Store, "close", before=False, stopping=True),
}


def set_point(name: str, when: int) -> None:
    """Kill this process the n-th time that a point is passed."""
    point = POINTS[name]
    function = getattr(point.owner, point.name)
    passed = 0

    def pass_by(before: bool, subject: Any) -> None:
        nonlocal passed
        if before == point.before and point.of(subject):
            passed += 1
            if passed == when:
                os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(function)
    def sync(*args: Any, **more: Any) -> Any:
        pass_by(True, args[0])
        found = function(*args, **more)
        pass_by(False, args[0])
        return found

    @functools.wraps(function)
    async def in_loop(*args: Any, **more: Any) -> Any:
        pass_by(True, args[0])
        found = await function(*args, **more)
        pass_by(False, args[0])
        return found

    setattr(point.owner, point.name, in_loop if inspect.iscoroutinefunction(function) else sync)
