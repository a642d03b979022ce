"""Signals and the deadline, in processes of their own."""

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest

from engine.cli.stopping import EXIT_INTERRUPTED, EXIT_TOO_LATE, abandoned
from engine.status import ChannelStatus, EngineStatus, SinkStatus

pytestmark = pytest.mark.process

# A run whose engine stops, or does not, as the test wants it.
RUN = """
import asyncio, logging, os, sys, threading
from engine.cli.stopping import Stopping

class Plain(logging.Handler):
    def emit(self, record):
        say(record.getMessage())

logging.basicConfig(level=logging.INFO, handlers=[Plain()])

def say(text):  # not print: a signal's handler may come in the middle of it, and must not say it again
    os.write(1, text.encode() + b"\\n")

async def run(stopping, stops):
    stopped = asyncio.Event()
    stopping.attach(lambda: (say("asked"), stops and stopped.set()))
    say("ready")
    await stopped.wait()

with Stopping({deadline}) as stopping:
    stopping.last_words = lambda: say("last words")
    {body}
say("done")
"""


@pytest.fixture
def start() -> Iterator[object]:
    started: list[subprocess.Popen[str]] = []

    def run(body: str, deadline: float = 60.0) -> subprocess.Popen[str]:
        code = RUN.format(deadline=deadline, body=textwrap.indent(textwrap.dedent(body), "    ").strip())
        process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "error", "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def until(process: subprocess.Popen[str], word: str) -> None:
    """Read lines until one is that word."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == word:
            return
    raise AssertionError(f"the process ended without saying {word!r}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_cleanly(start, number: signal.Signals) -> None:  # type: ignore[no-untyped-def]
    """F100, F102."""
    process = start("asyncio.run(run(stopping, stops=True))")
    until(process, "ready")
    process.send_signal(number)
    until(process, "asked")
    until(process, "done")
    assert process.wait(20) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_at_once(start, number: signal.Signals) -> None:  # type: ignore[no-untyped-def]
    """F101."""
    process = start("asyncio.run(run(stopping, stops=False))")
    until(process, "ready")
    process.send_signal(signal.SIGINT)
    until(process, "asked")
    process.send_signal(number)
    until(process, "last words")
    assert process.wait(20) == EXIT_INTERRUPTED


def test_the_second_signal_works_while_the_loop_is_stuck(start) -> None:  # type: ignore[no-untyped-def]
    process = start(
        """
        say("ready")
        while not stopping.asked: pass
        say("stuck")
        while True: pass
        """
    )
    until(process, "ready")
    process.send_signal(signal.SIGINT)
    until(process, "stuck")
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == EXIT_INTERRUPTED


def test_the_second_signal_says_what_is_abandoned(start) -> None:  # type: ignore[no-untyped-def]
    """F101: one line, and only then the end."""
    process = start(
        """
        stopping.left = lambda: "3 samples not judged"
        asyncio.run(run(stopping, stops=False))
        """
    )
    until(process, "ready")
    process.send_signal(signal.SIGINT)
    until(process, "asked")
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == EXIT_INTERRUPTED
    assert process.stderr.read() == "longwatch: ended at once; abandoned: 3 samples not judged\n"


def test_the_second_signal_ends_it_even_if_the_last_words_fail(start) -> None:  # type: ignore[no-untyped-def]
    process = start(
        """
        def broken(): raise OSError("no terminal")
        stopping.last_words = stopping.left = broken
        asyncio.run(run(stopping, stops=False))
        """
    )
    until(process, "ready")
    process.send_signal(signal.SIGINT)
    until(process, "asked")
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == EXIT_INTERRUPTED
    assert process.stderr.read() == "longwatch: ended at once\n"


def test_signals_while_nobody_reads_either_output(start) -> None:  # type: ignore[no-untyped-def]
    """F101, F104: the interrupted write never ends, and the last line finds no room; neither is waited for."""
    process = start(
        """
        stopping.last_words = lambda: None
        os.set_blocking(2, False)
        try:
            while True: os.write(2, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(2, True)
        say("ready")
        print("y" * 10_000_000, flush=True)
        """
    )
    until(process, "ready")
    assert process.stdout.read(1) == "y"  # now it writes
    process.send_signal(signal.SIGTERM)  # two kinds: two of one kind may become one
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == EXIT_INTERRUPTED


def test_a_stop_that_takes_too_long_is_cut_off(start) -> None:  # type: ignore[no-untyped-def]
    process = start("asyncio.run(run(stopping, stops=False))", deadline=0.2)
    until(process, "ready")
    process.send_signal(signal.SIGTERM)
    until(process, "last words")
    assert process.wait(20) == EXIT_TOO_LATE
    assert process.stderr.read() == "longwatch: did not stop in time; the process is ended\n"


def test_what_is_abandoned_in_words() -> None:
    sinks = (
        SinkStatus("history", "sqlite", queued=4),
        SinkStatus("console", "console"),
        SinkStatus("a\x1b", "b", queued=1),
    )
    status = EngineStatus("n", 1, "draining", 0, 0, sinks=sinks, channel=ChannelStatus(depth=12))
    assert abandoned(status) == "12 samples not judged, 4 records for history, 1 record for a\\x1b"
    assert abandoned(EngineStatus("n", 1, "draining", 0, 0)) == "nothing that waited"


def test_a_thread_that_would_hold_the_process_is_cut_off_too(start) -> None:  # type: ignore[no-untyped-def]
    """M10: the interpreter waits for threads that are not daemons."""
    process = start(
        """
        threading.Thread(target=threading.Event().wait).start()
        stopping.ask("test")
        """,
        deadline=0.2,
    )
    until(process, "done")
    assert process.wait(20) == EXIT_TOO_LATE


def test_a_signal_before_the_engine_runs_is_not_lost(start) -> None:  # type: ignore[no-untyped-def]
    process = start(
        """
        say("early")
        while not stopping.asked: pass
        asyncio.run(run(stopping, stops=True))
        """
    )
    until(process, "early")
    process.send_signal(signal.SIGTERM)
    until(process, "done")
    assert process.wait(20) == 0


def test_a_hangup_is_told_and_ends_nothing(start) -> None:  # type: ignore[no-untyped-def]
    """F103."""
    process = start("asyncio.run(run(stopping, stops=True))")
    until(process, "ready")
    process.send_signal(signal.SIGHUP)
    until(process, "SIGHUP: the configuration can't be reloaded yet; nothing was changed")
    process.send_signal(signal.SIGTERM)
    until(process, "done")
    assert process.wait(20) == 0
