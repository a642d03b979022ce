"""The log: one record is one line, in a thread, and a storm or a full pipe costs lines, not time."""

import json
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.cli.log import (
    LINE_CHARS_MAX,
    STORM_KEYS_MAX,
    STORM_LINES_MAX,
    STORM_WINDOW_S,
    JsonFormatter,
    LineFormatter,
    LogPipe,
    RateLimit,
    configure,
)

T_S = 1_700_000_000.123


def record(message: str = "text", *args: object, level: int = logging.INFO, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("engine.sinks", level, "f.py", 1, message, args, None)
    made.created = extra.pop("created", T_S)
    vars(made).update(extra)
    return made


def failed(message: str) -> logging.LogRecord:
    made = record(message, level=logging.ERROR)
    try:
        raise OSError("disk\nfull")
    except OSError:
        made.exc_info = sys.exc_info()
    return made


# --- formats --------------------------------------------------------------------------------------


def test_text() -> None:
    line = LineFormatter(tracebacks=False).format(record("sent %d", 3, sink="ops"))
    assert line == "2023-11-14T22:13:20.123Z INFO engine.sinks: sent 3 sink=ops"


def test_json() -> None:
    line = JsonFormatter().format(record("sent %d", 3, sink="ops", tries=2, late=True))
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.123Z",
        "level": "info",
        "logger": "engine.sinks",
        "message": "sent 3",
        "sink": "ops",
        "tries": 2,
        "late": True,
    }


def test_an_error_is_named_on_the_same_line() -> None:
    line = LineFormatter(tracebacks=False).format(failed("can't write"))
    assert line.endswith("can't write [OSError: disk\\nfull]")


def test_a_traceback_is_indented_so_that_no_line_of_it_looks_like_a_record() -> None:
    first, *rest = LineFormatter(tracebacks=True).format(failed("can't write")).split("\n")
    assert first.endswith("can't write [OSError: disk\\nfull]")
    assert len(rest) >= 3
    assert all(line.startswith("    | ") for line in rest)


def test_a_traceback_in_json_stays_in_its_field() -> None:
    line = JsonFormatter().format(failed("can't write"))
    assert "\n" not in line
    assert "Traceback" in json.loads(line)["error"]


def test_arguments_that_do_not_fit_do_not_lose_the_line() -> None:
    assert "%d files" in LineFormatter(tracebacks=False).format(record("%d files", "no number"))


@given(st.text(), st.text(), st.dictionaries(st.sampled_from(["sink", "a b", "x"]), st.text(), max_size=2))
def test_no_text_can_begin_a_line_of_its_own(message: str, argument: str, extra: dict[str, str]) -> None:
    """F140: newline, carriage return, U+2028, ESC and lone surrogates in any field."""
    forged = record("%s " + message.replace("%", "%%"), argument)
    vars(forged).update(extra)
    text = LineFormatter(tracebacks=False).format(forged)
    assert len(text.splitlines()) == 1
    assert "\x1b" not in text
    assert len(text) <= LINE_CHARS_MAX
    line = JsonFormatter().format(forged)
    assert len(line.splitlines()) == 1
    assert json.loads(line)["level"] == "info"


# --- storms ---------------------------------------------------------------------------------------


def test_a_storm_is_let_through_a_few_times_and_then_summed_up() -> None:
    """F118."""
    limit = RateLimit()
    passed = [limit.filter(record("probe %s failed", at, created=T_S + at / 100)) for at in range(1_000)]
    assert passed.count(True) == STORM_LINES_MAX
    after = record("probe %s failed", 1_000, created=T_S + STORM_WINDOW_S)
    assert limit.filter(after)
    assert "(990 more like it were left out)" in LineFormatter(tracebacks=False).format(after)


def test_different_messages_do_not_share_a_limit() -> None:
    limit = RateLimit()
    assert all(limit.filter(record(f"message {at}")) for at in range(100))
    assert limit.filter(record("message 0", level=logging.ERROR))


def test_a_clock_set_back_opens_a_new_window() -> None:
    limit = RateLimit(lines_max=1)
    assert [limit.filter(record(created=T_S + at)) for at in (0, 1, -3600)] == [True, False, True]


def test_what_it_remembers_is_bounded() -> None:
    limit = RateLimit()
    for at in range(3 * STORM_KEYS_MAX):
        limit.filter(record(f"message {at}"))
    assert len(limit._seen) == STORM_KEYS_MAX


# --- the pipe -------------------------------------------------------------------------------------


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    far, near = os.pipe()
    yield far, near
    for fd in (far, near):
        try:
            os.close(fd)
        except OSError:
            continue


def test_configure_writes_and_close_undoes_it(pipe: tuple[int, int]) -> None:
    far, near = pipe
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    made = configure("text", "info", fd=near)
    try:
        logging.getLogger("engine.x").info("hello")
        logging.getLogger("engine.x").debug("not this")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("a warning", UserWarning, stacklevel=1)
    finally:
        made.close()
        made.close()
        root.setLevel(before[1])
    os.close(near)
    with open(far, closefd=False, encoding="utf-8") as file:
        lines = file.read().splitlines()
    assert lines[0].split(" ", 1)[1] == "INFO engine.x: hello"
    assert len(lines) == 2
    assert "a warning" in lines[1]
    assert list(root.handlers) == before[0]


def test_a_full_pipe_nobody_reads_costs_lines_and_no_time(pipe: tuple[int, int]) -> None:
    """F104: the caller never waits; what is lost is counted, and told once there is room again."""
    far, near = pipe
    made = LogPipe(near, queue_lines_max=100)
    made.setFormatter(LineFormatter(tracebacks=False))
    try:
        for at in range(5_000):
            made.handle(record(f"{at} " + "x" * 100))
        dropped = made.dropped
        assert dropped > 1_000
        reader = threading.Thread(target=_read_all, args=(far, seen := bytearray()))
        reader.start()
    finally:
        made.close()
    os.close(near)
    reader.join()
    lines = seen.decode().splitlines()
    told = [line for line in lines if "log lines were dropped" in line]
    assert len(lines) - len(told) + dropped == 5_000
    assert sum(int(line.split("engine.cli.log: ")[1].split()[0]) for line in told) == dropped


def test_closing_gives_up_on_a_pipe_nobody_reads(pipe: tuple[int, int]) -> None:
    far, near = pipe
    made = LogPipe(near, queue_lines_max=10)
    made.setFormatter(LineFormatter(tracebacks=False))
    for _ in range(5_000):
        made.handle(record("x" * 100))
    made.close()  # returns
    assert made.dropped > 1_000
    os.close(far)  # lets the thread out of its write
    made._thread.join(10)
    assert not made._thread.is_alive()


def test_a_reader_that_left_is_no_error(pipe: tuple[int, int]) -> None:
    """F104: `2>&1 | head -1`."""
    far, near = pipe
    os.close(far)
    made = LogPipe(near)
    made.setFormatter(LineFormatter(tracebacks=False))
    for _ in range(10):
        made.handle(record())
    made.close()
    assert made.dropped == 0
    assert not made._thread.is_alive()


def test_lines_can_be_diverted_and_brought_back(pipe: tuple[int, int]) -> None:
    far, near = pipe
    made = LogPipe(near)
    made.setFormatter(LineFormatter(tracebacks=False))
    taken: list[tuple[str, int]] = []
    arrived = threading.Event()

    def take(line: str, level: int) -> None:
        taken.append((line, level))
        arrived.set()

    made.divert(take)
    made.handle(record("to the view", level=logging.WARNING))
    assert arrived.wait(10)
    made.divert(None)
    made.handle(record("to the pipe"))
    made.close()
    assert [(line[-11:], level) for line, level in taken] == [("to the view", logging.WARNING)]
    assert os.read(far, 1_000).endswith(b"to the pipe\n")


def _read_all(fd: int, into: bytearray) -> None:
    while data := os.read(fd, 65_536):
        into += data
