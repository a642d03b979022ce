"""Long synchronous work in the host's loop: done in parts, and the loop has its turn between them."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import TypeVar

__all__ = ["in_turns"]

T = TypeVar("T")


async def in_turns(steps: Generator[None, None, T]) -> T:
    """Run a generator that yields after each part to its end, and return what it returns."""
    try:
        while True:
            next(steps)
            await asyncio.sleep(0)
    except StopIteration as end:
        value: T = end.value
        return value
