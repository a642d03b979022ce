"""The thread beside the loop sees who holds it, while it is held, and is felt by nobody (F79)."""

import asyncio
import logging
import threading
import time

import psutil
import pytest

from engine.clock import SystemClock
from engine.runtime import watchdog as module
from engine.runtime.blindness import Blindness
from engine.runtime.watchdog import FRAMES_MAX, LOOKS_EVERY_S, NOTICED_AFTER_S, STOOD_STILL, TEXT_CHARS_MAX, Watchdog
from tests.runtime.rig import shared, taken


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the times, so that a test holds its loop for a fifth of a second."""
    monkeypatch.setattr(module, "LOOKS_EVERY_S", LOOKS_EVERY_S / 10)
    monkeypatch.setattr(module, "NOTICED_AFTER_S", NOTICED_AFTER_S / 10)
    monkeypatch.setattr(module, "LOGGED_AFTER_S", 0.1)


def hold(until: "threading.Event | float") -> None:
    """What holds the loop in these tests: native code that waits, without the interpreter's lock."""
    if isinstance(until, float):
        threading.Event().wait(until)
    else:
        assert until.wait(20)


class Noisy(logging.Handler):
    """Lets the test go on when the watchdog has said something."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.said = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self.said.set()


@pytest.fixture
def noisy() -> object:
    handler = Noisy()
    module.log.addHandler(handler)
    yield handler
    module.log.removeHandler(handler)


async def test_who_holds_the_loop_is_told_in_the_log_while_it_is_held(noisy: Noisy) -> None:
    turned_s = time.monotonic()
    watchdog = Watchdog(lambda: turned_s, time.monotonic)
    assert watchdog.start()
    asyncio.get_running_loop().call_soon(hold, noisy.said)
    await asyncio.sleep(0)  # held in here
    watchdog.stop()
    (line,) = noisy.lines
    assert line.startswith("the event loop has been held for 0.")
    assert f"{__name__}:" in line
    assert f"in {hold.__name__}" in line
    assert "asyncio" not in line, "the loop's own frames say nothing"
    assert watchdog.account(turned_s).startswith("by threading:")
    assert watchdog.account(time.monotonic()) in ("", STOOD_STILL)


async def test_a_stack_is_bounded_and_shows_no_values(noisy: Noisy) -> None:
    def deeper(secret: str, depth: int) -> None:
        if depth:
            deeper(secret, depth - 1)
        else:
            hold(noisy.said)

    turned_s = time.monotonic()
    watchdog = Watchdog(lambda: turned_s, time.monotonic)
    watchdog.start()
    asyncio.get_running_loop().call_soon(deeper, "canary", 500)
    await asyncio.sleep(0)
    watchdog.stop()
    account = watchdog.account(turned_s)
    assert account.count(" in ") == FRAMES_MAX
    assert len(account) <= TEXT_CHARS_MAX + 3
    assert "canary" not in account


def test_a_loop_that_turns_is_never_looked_at_closer(noisy: Noisy, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []
    monkeypatch.setattr(module, "_where", looked.append)
    watchdog, now_s = still()
    for _ in range(100):
        now_s[0] += 0.02
        watchdog.look()
    assert (looked, noisy.lines, watchdog.account(100.0)) == ([], [], "")


async def test_a_loop_that_waits_is_held_by_nobody() -> None:
    """It was not seen turning, since it had nothing to do: nobody is blamed."""
    turned_s = time.monotonic()
    watchdog = Watchdog(lambda: turned_s, time.monotonic)
    watchdog.start()
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.call_later(0.2, done.set_result, None)
    await done
    assert watchdog.account(turned_s) in ("", STOOD_STILL)
    watchdog.stop()


def still(turned_s: float = 0.0) -> tuple[Watchdog, list[float]]:
    """A watchdog that a test lets look, and its time; the loop turned at `turned_s`, or just now if that is 0."""
    now_s = [100.0]
    watchdog = Watchdog(lambda: turned_s or now_s[0], lambda: now_s[0])
    watchdog._watched = threading.get_ident()
    watchdog._looked_s = now_s[0]
    return watchdog, now_s


def test_a_thread_that_did_not_look_either_says_that_nothing_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGSTOP, or native code that keeps the interpreter's lock: time went on for neither of the two."""
    monkeypatch.setattr(module, "_where", lambda frame: "")
    watchdog, now_s = still()
    now_s[0] = 160.0
    assert watchdog.account(100.0) == STOOD_STILL, "the loop was first to run again"
    watchdog.look()
    assert watchdog.account(100.0) == STOOD_STILL, "and the thread after it"
    for _ in range(10):
        now_s[0] += 0.02
        watchdog.look()
    assert watchdog.account(160.0) == "", "it looks again, and the loop turns"


def test_native_code_that_kept_the_interpreter_is_found_where_it_left_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_where", lambda frame: "shop.prices:41 in Book.sort")
    watchdog, now_s = still(turned_s=100.0)
    now_s[0] = 160.0
    watchdog.look()
    assert watchdog.account(100.0) == "by shop.prices:41 in Book.sort"


def test_a_standstill_is_logged_once(noisy: Noisy) -> None:
    watchdog, now_s = still(turned_s=100.0)
    for _ in range(500):
        now_s[0] += 0.02
        watchdog.look()
    assert len(noisy.lines) == 1


async def test_it_ends_with_its_owner_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())  # one of an earlier test may still be ending
    for _ in range(20):
        watchdog = Watchdog(time.monotonic, time.monotonic)
        watchdog.start()
        assert len(set(threading.enumerate()) - before) == 1
        watchdog.stop()
        watchdog.stop()
    assert set(threading.enumerate()) <= before


async def test_without_a_thread_everything_else_works(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    watch = Blindness(shared(SystemClock()), with_thread=True)
    with watch.watching():
        await asyncio.sleep(0)
        assert watch.complete([]) == []


@pytest.mark.slow
@pytest.mark.process
async def test_the_health_event_names_who_held_the_loop_f79() -> None:
    """With the real times: the loop is held for a good second."""
    parts = shared(SystemClock())
    watch = Blindness(parts, with_thread=True)
    with watch.watching():
        asyncio.get_running_loop().call_soon(hold, 1.3)
        await asyncio.sleep(0)
        (span,) = watch.complete([])
    assert span.reason == "loop_lag"  # type: ignore[union-attr]
    (event,) = await taken(parts)
    assert event.message.startswith("the event loop was held for 1.")  # type: ignore[union-attr]
    assert f"{__name__}:" in event.message  # type: ignore[union-attr]
    assert "in hold" in event.message  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.process
async def test_it_costs_next_to_nothing() -> None:
    """Thread and timer together, at ten times their pace."""
    process = psutil.Process()
    watch = Blindness(shared(SystemClock()), with_thread=True)
    with watch.watching():
        loop = asyncio.get_running_loop()
        before = process.cpu_times()
        done = loop.create_future()
        loop.call_later(1.0, done.set_result, None)
        await done
        after = process.cpu_times()
    assert after.user + after.system - before.user - before.system < 0.1, "seconds of processor in a second"
