"""What an engine holds, by walking through it: nothing may have grown with the time it has lived (I8)."""

from __future__ import annotations

import asyncio
import gc
import types
from collections import deque
from typing import Any

__all__ = ["overgrown"]

LENGTH_MAX = 600
"""The world has some ten series and alerts, and a life a few hundred hours: what has more entries has one for each
event. The longest that is meant to be is a ring of 256."""
PASSED_OVER = (type, types.ModuleType, types.FunctionType, types.CodeType, asyncio.AbstractEventLoop)


def overgrown(root: object, skip: tuple[object, ...]) -> list[str]:
    """Containers that hold too much, with the type of what they are in.

    Args:
        skip: What is not the engine's.
    """
    seen = {id(one) for one in skip}
    found, queue = [], deque[tuple[object, str]]([(root, "")])
    while queue:
        one, owner = queue.popleft()
        if id(one) in seen or isinstance(one, PASSED_OVER):
            continue
        seen.add(id(one))
        kind = type(one)
        name = kind.__qualname__ if kind.__module__.startswith("engine.") else owner
        if isinstance(one, dict | list | set | deque | asyncio.Queue) and _length(one) > LENGTH_MAX:
            found.append(f"{_length(one)} in a {kind.__name__} of {name}")
        queue.extend((other, name) for other in gc.get_referents(one))
    return found


def _length(one: Any) -> int:
    return int(one.qsize() if isinstance(one, asyncio.Queue) else len(one))
