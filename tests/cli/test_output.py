"""Lines on standard output, when the reader is gone or does not read (F104)."""

import os
import threading

from engine.cli import output
from engine.cli.output import Output


def test_a_line_is_one_line_without_control_characters() -> None:
    """F140."""
    far, near = os.pipe()
    Output(near).line("a\nb\x1b[31m\u2028c 漢")
    Output(near).line()
    os.close(near)
    assert os.read(far, 1_000).decode() == "a\\nb\\x1b[31m\\u2028c 漢\n\n"
    os.close(far)


def test_a_reader_that_left_is_no_error_now_or_later() -> None:
    """F104: `| head -1`. Afterwards the descriptor leads nowhere, so that nobody else finds it broken."""
    far, near = os.pipe()
    os.close(far)
    out = Output(near)
    out.line("first")
    out.line("second")
    assert out.closed
    assert os.write(near, b"a sink") == 6
    os.close(near)


def test_a_closed_descriptor_is_no_error() -> None:
    far, near = os.pipe()
    os.close(far)
    os.close(near)
    out = Output(near)
    out.line("x")
    assert out.closed
    os.close(near)  # it leads nowhere, but it is open


def test_a_full_pipe_that_nobody_reads_is_waited_for_once() -> None:
    far, near = os.pipe()
    os.set_blocking(near, False)
    try:
        while True:
            os.write(near, b"x" * 4_096)
    except BlockingIOError:
        os.set_blocking(near, True)
    out = Output(near)
    done = threading.Event()

    def lines() -> None:
        for _ in range(50):
            out.line("nobody reads this")
        done.set()

    thread = threading.Thread(target=lines, daemon=True)
    thread.start()
    assert done.wait(10 * output.STALL_MAX_MS / 1_000)
    thread.join()
    assert not out.closed
    os.close(near)
    os.close(far)
