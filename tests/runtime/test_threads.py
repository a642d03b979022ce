"""The pool: bounded, one call per owner, and nobody waits for a call that hangs (F65, M17, M18)."""

import asyncio
import contextlib
import functools
import threading
from collections.abc import Iterator

import pytest

from engine.errors import ProbeError, SinkError
from engine.runtime.threads import ThreadPool


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    pool = ThreadPool(4)
    yield pool
    pool.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("longwatch-call") and t.is_alive()]


async def until_begun(begun: threading.Event) -> None:
    while not begun.is_set():
        await asyncio.sleep(0)


async def test_returns_and_raises_what_the_function_does(pool: ThreadPool) -> None:
    assert await pool.call("a", lambda: threading.current_thread().daemon) is True
    with pytest.raises(KeyError, match="x"):
        await pool.call("a", lambda: {"y": 1}["x"])
    assert (pool.busy, pool.threads) == (0, 1)


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(1), asyncio.CancelledError()]
)
async def test_what_must_not_travel_through_a_loop_arrives_as_an_error(pool: ThreadPool, error: BaseException) -> None:
    """M21, F63: from a thread."""

    def function() -> None:
        raise error

    with pytest.raises(ProbeError) as caught:
        await pool.call("a", function)
    assert caught.value.reason == "raised"
    assert type(error).__name__ in str(caught.value)


async def test_one_call_per_owner_and_a_hung_one_keeps_its_owner_out_f65(pool: ThreadPool) -> None:
    release, begun = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        release.wait(20)

    for _ in range(30):
        with pytest.raises((TimeoutError, ProbeError)):
            async with asyncio.timeout(0.001):
                await pool.call("hung", hang)
    await until_begun(begun)
    with pytest.raises(ProbeError) as caught:
        await pool.call("hung", hang)
    assert caught.value.reason == "busy"
    assert pool.busy == 1, "thirty time-outs, one thread at work"
    assert pool.threads <= pool.threads_max
    assert await pool.call("other", lambda: 7) == 7
    release.set()
    while pool.busy:
        await asyncio.sleep(0)
    assert await pool.call("hung", lambda: 8) == 8


async def test_calls_beyond_the_threads_wait_and_can_be_withdrawn(pool: ThreadPool) -> None:
    release = threading.Event()
    hung = [asyncio.ensure_future(pool.call(f"h{i}", functools.partial(release.wait, 20))) for i in range(4)]
    await asyncio.sleep(0)
    ran: list[int] = []
    waiting = asyncio.ensure_future(pool.call("w", functools.partial(ran.append, 1)))
    await asyncio.sleep(0)
    assert (pool.busy, pool.threads) == (5, 4)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert pool.busy == 4, "a call that has not begun is gone when nobody waits for it"
    release.set()
    assert await asyncio.gather(*hung) == [True] * 4
    assert ran == []


async def test_close_ends_idle_threads_and_does_not_wait_for_a_hung_one() -> None:
    pool = ThreadPool(2)
    release, begun = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        release.wait(20)

    hung = asyncio.ensure_future(pool.call("hung", hang))
    await pool.call("other", lambda: None)
    await until_begun(begun)
    late = asyncio.ensure_future(pool.call("later", functools.partial(release.wait, 20)))
    queued = asyncio.ensure_future(pool.call("queued", lambda: None))
    await asyncio.sleep(0)
    pool.close()
    assert pool.threads <= 2
    with pytest.raises(ProbeError) as caught:
        await pool.call("a", lambda: None)
    assert caught.value.reason == "closed"
    with pytest.raises(ProbeError) as caught:
        await queued
    assert caught.value.reason == "closed"
    release.set()
    await hung
    with contextlib.suppress(ProbeError):
        await late
    while pool.threads:
        await asyncio.sleep(0)


async def test_a_caller_builds_errors_of_its_own_kind(pool: ThreadPool) -> None:
    release = threading.Event()
    call = pool.caller("sink.x", lambda reason, message: SinkError(reason, message, retryable=True))
    first = asyncio.ensure_future(call(functools.partial(release.wait, 20)))
    await asyncio.sleep(0)
    with pytest.raises(SinkError) as caught:
        await call(lambda: None)
    assert (caught.value.reason, caught.value.retryable) == ("busy", True)
    release.set()
    assert await first


async def test_no_thread_to_give_is_an_error_and_not_a_crash_f107(
    pool: ThreadPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(ProbeError) as caught:
            await pool.call("a", lambda: None)
    assert caught.value.reason == "no_thread"
    assert await pool.call("a", lambda: 1) == 1


def test_a_result_after_the_loop_has_closed_hurts_nobody_f111() -> None:
    pool = ThreadPool(1)
    release, begun = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        release.wait(20)

    async def main() -> None:
        task = asyncio.ensure_future(pool.call("a", hang))
        await until_begun(begun)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    release.set()
    pool.close()
    for thread in threading.enumerate():
        if thread.name.startswith("longwatch-call"):
            thread.join(5)
    assert pool.threads == 0
