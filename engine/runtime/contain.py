"""Foreign code, kept in: whatever a probe or a sink raises, however long it takes, the engine goes on.

Each call runs in an asyncio task of its own, so that one which ignores its cancellation can be left behind
instead of being waited for. Nothing it raises reaches the event loop: SystemExit or KeyboardInterrupt out of a
task would end the host's loop. A failure becomes a reason code and a message without foreign text: an
exception's own text may carry a URL with a token in it, so only that of our own errors is repeated, and of plain
errors that the probe or sink itself raised, without URLs. With the log at `debug` the traceback is written, too, with
that same message in place of the exception's text.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import re
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from engine.errors import LongwatchError, ProbeError, SinkError
from engine.text import clean

log = logging.getLogger(__name__)

__all__ = ["Asked", "Containment", "Failure", "Outcome", "describe", "settle"]

T = TypeVar("T")
TEXT_CHARS_MAX = 200
# Of these, by type and not by base: a client's own errors derive from them, and have URLs in their texts.
_PLAIN = frozenset(
    {
        ArithmeticError,
        AssertionError,
        AttributeError,
        IndexError,
        KeyError,
        LookupError,
        NameError,
        NotImplementedError,
        RuntimeError,
        TypeError,
        ValueError,
        ZeroDivisionError,
    }
)
_URL = re.compile(r"""[^\s'"]*://[^\s'"]*""")
_INSIDE = "engine.runtime."
GRACE_S = 2.0
"""How long a call may take to end after its cancellation before it is left behind."""


class Asked(NamedTuple):
    """What a `SinkError` says of a next attempt, as the types that its own docstring promises.

    Args:
        status: 100 to 599, or 0.
        retry_after_s: Not below 0, and not NaN; it may be infinite.
    """

    status: int = 0
    retryable: bool = True
    retry_after_s: float = 0.0


class Failure(NamedTuple):
    """Why a call gave no value.

    Args:
        reason: `timeout`, `hung` (it ignored its cancellation, too), `cancelled`, `raised`, or the code of our own
            errors.
        message: For a person, clean and without secrets.
        error: What was raised, if anything was.
    """

    reason: str
    message: str
    error: BaseException | None = None

    @property
    def asked(self) -> Asked | None:
        """What the sink asked for; None if no `SinkError` was raised. What is no number counts as not said."""
        if not isinstance(self.error, SinkError):
            return None
        status, after_s = _number(self.error, "status"), _number(self.error, "retry_after_s")
        return Asked(int(status) if 100 <= status < 600 else 0, _flag(self.error, "retryable"), max(0.0, after_s))


class Outcome(NamedTuple, Generic[T]):
    """What came of a call: a value, or a failure."""

    value: T | None
    failure: Failure | None = None


def describe(error: BaseException) -> Failure:
    """Turn an exception into a reason and a message that are safe to show."""
    try:
        if isinstance(error, ProbeError | SinkError):
            return Failure(clean(str(error.reason), 64), clean(str(error)), error)
        if isinstance(error, LongwatchError):
            return Failure("raised", clean(str(error)), error)
        code = (
            f" ({errno.errorcode.get(error.errno, error.errno)})" if isinstance(error, OSError) and error.errno else ""
        )
        return Failure("raised", clean(f"{type(error).__name__}{code} raised{_place(error)}"), error)
    except Exception:  # noqa: BLE001  # a foreign exception may fail even at being described
        return Failure("raised", "an exception that can't be described", error)


def _number(error: BaseException, name: str) -> float:
    """An attribute that ought to be a number, which is a promise of foreign code: "30" is one, None is none."""
    try:
        number = float(getattr(error, name))
    except Exception:  # noqa: BLE001  # whatever it is, it may refuse
        return 0.0
    return 0.0 if math.isnan(number) else number


def _flag(error: BaseException, name: str) -> bool:
    """An attribute that ought to be a bool; where it can't be told, another attempt does no harm."""
    try:
        return bool(getattr(error, name))
    except Exception:  # noqa: BLE001  # as above
        return True


class Contained(Exception):  # it is no error of ours, and never raised
    """Stands in the log for a foreign exception, with a message that is safe to show."""


def _text(error: BaseException) -> str:
    """An exception's own words, if it is a plain one that was raised where the probe or sink itself is written."""
    if type(error) not in _PLAIN:
        return ""
    trace, modules = error.__traceback__, []
    while trace is not None:
        modules.append(str(trace.tb_frame.f_globals.get("__name__", "")))
        trace = trace.tb_next
    outside = [module for module in modules if not module.startswith(_INSIDE)]
    if not outside or modules[-1] != outside[0]:  # it comes out of a library it calls, or out of ours
        return ""
    try:
        words = clean(_URL.sub("<url>", str(error)), TEXT_CHARS_MAX)
    except Exception:  # noqa: BLE001  # what it was given may refuse to be shown
        return ""
    return f": {words}" if words else ""


def _place(error: BaseException) -> str:
    """Where it was raised: file and line of the innermost frame."""
    trace = error.__traceback__
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


class Containment:
    """Runs calls into foreign code, and keeps hold of those that had to be left behind."""

    def __init__(self, grace_s: float = GRACE_S) -> None:
        self.grace_s = grace_s
        self._running: set[asyncio.Task[Any]] = set()
        self._abandoned: dict[asyncio.Task[Any], str] = {}
        self.abandoned_total = 0

    @property
    def abandoned(self) -> int:
        """Calls left behind that have still not ended."""
        return len(self._abandoned)

    def is_hung(self, owner: str) -> bool:
        """Whether a call of this owner was left behind and has not ended: then it gets no other."""
        return owner in self._abandoned.values()

    async def call(self, owner: str, function: Callable[[], Awaitable[T]], timeout_s: float) -> Outcome[T]:
        """Call an async function of foreign code.

        Args:
            owner: Who it belongs to, such as `probe.host`.
            timeout_s: After this it is cancelled, and left behind if it ignores that.

        Raises:
            asyncio.CancelledError: The caller was cancelled; the call was, too.
        """
        task = asyncio.get_running_loop().create_task(_outcome(function, owner), name=f"longwatch {owner}")
        self._running.add(task)
        task.add_done_callback(self._ended)
        try:
            await asyncio.wait({task}, timeout=timeout_s)
            if task.done():
                return _result(task)
            task.cancel()
            await asyncio.wait({task}, timeout=self.grace_s)
        except asyncio.CancelledError:
            task.cancel()
            await settle({task}, self.grace_s)
            self._give_up(task, owner)
            raise
        if self._give_up(task, owner):
            return Outcome(None, Failure("hung", f"no answer after {timeout_s:g} s, and it ignores being cancelled"))
        return Outcome(None, Failure("timeout", f"no answer after {timeout_s:g} s"))

    async def close(self, timeout_s: float) -> int:
        """Cancel everything that is left, and return how many calls could not be ended."""
        for task in self._running:
            task.cancel()
        await settle(self._running, timeout_s)
        for task in list(self._running):
            _put_down(task)
        await settle(self._running, min(timeout_s, self.grace_s))
        return len(self._running)

    def _give_up(self, task: asyncio.Task[Any], owner: str) -> bool:
        if task.done():
            return False
        self._abandoned[task] = owner
        self.abandoned_total += 1
        return True

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        self._abandoned.pop(task, None)
        if not task.cancelled():
            task.exception()  # taken note of, so that asyncio does not print it


async def settle(tasks: Collection[asyncio.Task[Any]], timeout_s: float, *, through: int = 1) -> int:
    """Wait until the tasks have ended or the time is over, without being turned away by a cancellation.

    Returns how often the waiting was cancelled meanwhile; the caller owes that to whoever cancelled it.

    Args:
        through: How many cancellations it waits through; one more means "at once", and the waiting ends.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + timeout_s
    cancelled = 0
    while cancelled <= through and (left := [task for task in tasks if not task.done()]) and loop.time() < until:
        try:
            await asyncio.wait(left, timeout=until - loop.time())
        except asyncio.CancelledError:
            cancelled += 1
    return cancelled


async def _outcome(function: Callable[[], Awaitable[T]], owner: str) -> Outcome[T]:
    try:
        return Outcome(await function())
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            return Outcome(None, Failure("cancelled", "cancelled", error))
        return Outcome(None, _described(error, owner))
    except BaseException as error:  # noqa: BLE001  # SystemExit and its kin must not reach the host's loop
        return Outcome(None, _described(error, owner))


def _described(error: BaseException, owner: str) -> Failure:
    failure = describe(error)
    failure = failure._replace(message=failure.message + _text(error))
    if log.isEnabledFor(logging.DEBUG):
        log.debug("%s failed", owner, exc_info=(Contained, Contained(failure.message), error.__traceback__))
    return failure


def _result(task: asyncio.Task[Outcome[T]]) -> Outcome[T]:
    if task.cancelled():  # cancelled before its first step, by the loop's owner
        return Outcome(None, Failure("cancelled", "cancelled"))
    return task.result()


def _put_down(task: asyncio.Task[Any]) -> None:
    """End a task that ignores cancellation: close its coroutine, so that its next step fails for good.

    GeneratorExit passes the `except Exception` that swallowed the cancellation. What catches even that stays.
    """
    coroutine = task.get_coro()
    try:
        if coroutine is not None:
            coroutine.close()
    except (RuntimeError, ValueError):
        return  # it ignores this as well, or is running at this moment
    task.cancel()
