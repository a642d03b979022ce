"""Whatever foreign code does, the caller gets an outcome and the loop goes on (F62 to F66, M21)."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from engine.errors import LongwatchError, ProbeError, SinkError
from engine.runtime.contain import Containment, Outcome, describe, settle
from engine.testing import VirtualClock, run_virtual

EVERYTHING = [
    ValueError("https://user:token@example.org"),
    asyncio.CancelledError("mine"),
    SystemExit(1),
    KeyboardInterrupt(),
    GeneratorExit(),
    MemoryError(),
    StopIteration(1),
    StopAsyncIteration(),
    TimeoutError("token"),
    BaseExceptionGroup("token", [SystemExit(1)]),
    RecursionError("token"),
]


def raiser(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def function() -> None:
        raise error

    return function


@pytest.mark.parametrize("error", EVERYTHING, ids=lambda error: type(error).__name__)
async def test_whatever_is_raised_becomes_a_failure_f62_f63(error: BaseException) -> None:
    outcome = await Containment().call("x", raiser(error), 5)
    assert outcome.failure is not None
    assert outcome.failure.reason == "raised"
    assert "token" not in outcome.failure.message
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@pytest.mark.parametrize("error", EVERYTHING, ids=lambda error: type(error).__name__)
async def test_what_is_raised_before_the_first_await_as_well(error: BaseException) -> None:
    def function() -> Awaitable[None]:
        raise error

    outcome = await Containment().call("x", function, 5)
    assert outcome.failure is not None
    assert outcome.failure.reason == "raised"


async def test_a_value_comes_through() -> None:
    async def function() -> int:
        return 7

    assert await Containment().call("x", function, 5) == (7, None)


async def test_something_that_is_not_awaitable_is_a_failure() -> None:
    function: Any = lambda: 7  # noqa: E731
    outcome: Outcome[Any] = await Containment().call("x", function, 5)
    assert outcome.failure is not None
    assert "TypeError" in outcome.failure.message


def test_a_hang_ends_at_the_time_out_f64() -> None:
    async def main(clock: VirtualClock) -> None:
        containment = Containment()
        outcome = await containment.call("x", asyncio.Event().wait, 3)
        assert outcome.failure is not None
        assert (outcome.failure.reason, clock.monotonic()) == ("timeout", 3.0)
        assert containment.abandoned == 0

    run_virtual(main)


def test_what_ignores_its_cancellation_is_left_behind_and_ended_at_the_close_f66() -> None:
    async def main(clock: VirtualClock) -> None:
        async def stubborn() -> None:
            while True:
                try:
                    await clock.sleep(10)
                except asyncio.CancelledError:
                    pass

        containment = Containment(grace_s=1)
        outcome = await containment.call("x", stubborn, 3)
        assert outcome.failure is not None
        assert (outcome.failure.reason, clock.monotonic()) == ("hung", 4.0)
        assert containment.is_hung("x")
        assert not containment.is_hung("y")
        await clock.sleep(100)
        assert containment.is_hung("x"), "it is held on to"
        assert await containment.close(1) == 0, "closing its coroutine ends it"
        assert len(asyncio.all_tasks()) == 1

    run_virtual(main)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Python complains of it, and rightly
def test_even_what_ignores_everything_is_ended_at_the_close() -> None:
    async def main(clock: VirtualClock) -> None:
        async def unstoppable() -> None:
            while True:
                try:
                    await clock.sleep(1)
                except BaseException:  # noqa: BLE001
                    pass

        containment = Containment(grace_s=1)
        await containment.call("x", unstoppable, 1)
        assert await containment.close(1) == 0
        assert (containment.abandoned, containment.abandoned_total) == (0, 1)
        assert len(asyncio.all_tasks()) == 1

    run_virtual(main)


def test_a_late_end_frees_the_owner() -> None:
    async def main(clock: VirtualClock) -> None:
        async def slow_to_go() -> None:
            try:
                await clock.sleep(100)
            except asyncio.CancelledError:
                await clock.sleep(10)
                raise ValueError("late") from None

        containment = Containment(grace_s=1)
        await containment.call("x", slow_to_go, 1)
        assert containment.is_hung("x")
        await clock.sleep(20)
        assert not containment.is_hung("x")

    run_virtual(main)


def test_the_callers_cancellation_reaches_the_call_and_is_passed_on() -> None:
    async def main(clock: VirtualClock) -> None:
        ended = []

        async def function() -> None:
            try:
                await clock.sleep(100)
            finally:
                ended.append(clock.monotonic())

        containment = Containment()
        task = asyncio.ensure_future(containment.call("x", function, 50))
        await clock.sleep(5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == [5.0]

    run_virtual(main)


def test_settle_waits_through_one_cancellation_and_no_more() -> None:
    async def main(clock: VirtualClock) -> None:
        work = asyncio.ensure_future(clock.sleep(10))
        waiting = asyncio.ensure_future(settle([work], 60))
        await clock.sleep(1)
        waiting.cancel()
        await clock.sleep(1)
        assert not waiting.done()
        waiting.cancel()
        assert await waiting == 2
        assert not work.done()
        assert await settle([work], 60) == 0
        assert clock.monotonic() == 10.0
        assert await settle([asyncio.ensure_future(clock.sleep(100))], 5) == 0
        assert clock.monotonic() == 15.0

    run_virtual(main)


def test_describe_repeats_our_own_words_and_no_others() -> None:
    assert describe(ProbeError("refused", "no\x1b")).message == "no\\x1b"
    assert describe(SinkError("http_503", "busy", retryable=True)).reason == "http_503"
    assert describe(LongwatchError("a reason")).message == "a reason"
    try:
        raise OSError(28, "No space at /secret")
    except OSError as error:
        message = describe(error).message
    assert "ENOSPC" in message
    assert "test_contain.py:" in message
    assert "secret" not in message


def module(code: str, name: str = "their_probe") -> dict[str, Any]:
    """A module of somebody else's."""
    names: dict[str, Any] = {"__name__": name}
    exec(compile(code, f"{name}.py", "exec"), names)
    return names


@pytest.mark.parametrize(
    ("raising", "message"),
    [
        ("raise ValueError('no such venue\x1b')", "ValueError raised at their_probe.py:3: no such venue\\x1b"),
        ("return {}['venue']", "KeyError raised at their_probe.py:3: 'venue'"),
        ("raise ValueError('x' * 900)", "ValueError raised at their_probe.py:3: " + "x" * 199 + "…"),
        (
            "raise ValueError('not https://user:canary@h/ but this')",
            "ValueError raised at their_probe.py:3: not <url> but this",
        ),
        ("raise ValueError", "ValueError raised at their_probe.py:3"),
        ("raise type('ClientError', (ValueError,), {})('canary')", "ClientError raised at their_probe.py:3"),
        ("library('canary')", "ValueError raised at library.py:2"),
    ],
)
async def test_the_words_of_a_probes_own_plain_errors_are_repeated(raising: str, message: str) -> None:
    code = f"async def open(): ...\nasync def collect():\n    {raising}\n"
    names = module(code)
    names["library"] = module("def library(text):\n    raise ValueError(text)\n", "library")["library"]
    outcome = await Containment().call("probe.x", names["collect"], 5)
    assert outcome.failure is not None
    assert outcome.failure.message == message


async def test_the_traceback_is_in_the_log_at_debug_without_foreign_words(caplog: pytest.LogCaptureFixture) -> None:
    names = module("def fetch():\n    raise OSError('https://h/canary')\nasync def collect():\n    fetch()\n")
    await Containment().call("probe.x", names["collect"], 5)
    assert caplog.records == []
    with caplog.at_level("DEBUG", "engine.runtime.contain"):
        await Containment().call("probe.x", names["collect"], 5)
    (record,) = caplog.records
    assert record.getMessage() == "probe.x failed"
    told = logging.Formatter().format(record)
    assert 'File "their_probe.py", line 4, in collect' in told
    assert 'File "their_probe.py", line 2, in fetch' in told
    assert "OSError raised at their_probe.py:2" in told
    assert "canary" not in told


def test_describe_survives_a_hostile_exception() -> None:
    class Hostile(ProbeError):
        def __str__(self) -> str:
            raise ValueError("no")

    assert describe(Hostile("x", "y")).reason == "raised"
