"""The terminal's thread, over real pseudo-terminals: clean on leaving, alive when the terminal is not."""

import errno
import fcntl
import os
import pty
import struct
import termios
import threading
from collections.abc import Callable, Iterator

import pytest
from rich.text import Text

from engine.clock import SystemClock
from engine.status import EngineStatus
from engine.view.live import Facts, show
from engine.view.recent import RecentLines
from engine.view.terminal import RESTORE, Terminal, TerminalFile, restore
from tests.view.story import scene, status

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"


class Screen:
    """The far end of a pseudo-terminal."""

    def __init__(self, columns: int, rows: int) -> None:
        self.far, self.near = pty.openpty()
        self.seen = b""
        self.resize(columns, rows)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.near, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read_until(self, mark: bytes) -> bytes:
        """Everything that was written since the last call, up to and with a mark."""
        while mark not in self.seen:
            self.seen += os.read(self.far, 65_536)
        end = self.seen.index(mark) + len(mark)
        taken, self.seen = self.seen[:end], self.seen[end:]
        return taken

    def hang_up(self) -> None:
        os.close(self.far)
        self.far = -1

    def close(self) -> None:
        for fd in (self.far, self.near):
            if fd >= 0:
                os.close(fd)


@pytest.fixture
def screen() -> Iterator[Screen]:
    made = Screen(40, 4)
    yield made
    made.close()


def sized(width: int, height: int) -> Text:
    return Text(f"<{width}x{height}>")


def test_frames_are_shown_on_a_screen_of_their_own_and_the_terminal_is_left_clean(screen: Screen) -> None:
    terminal = Terminal(TerminalFile(screen.near, "utf-8"), color=True)
    terminal.start()
    terminal.offer(sized)
    first = screen.read_until(b"<40x4>")
    assert ENTER in first
    assert HIDE in first
    assert terminal.close(10.0)
    assert SHOW in screen.read_until(LEAVE)
    assert terminal.error is None


def test_a_resized_terminal_gets_the_next_frame_in_its_new_size(screen: Screen) -> None:
    """F105."""
    terminal = Terminal(TerminalFile(screen.near, "utf-8"), color=True)
    terminal.start()
    for columns, rows in [(40, 4), (100, 30), (1, 1), (12, 2)]:
        screen.resize(columns, rows)
        terminal.offer(sized)
        screen.read_until(f"<{columns}x{rows}>"[:columns].encode())
    assert terminal.close(10.0)
    assert terminal.error is None


def test_a_terminal_without_a_size_is_taken_for_80x24(screen: Screen) -> None:
    screen.resize(0, 0)
    assert TerminalFile(screen.near, "utf-8").size() == (80, 24)


def test_a_frame_that_fails_ends_the_view_and_leaves_the_terminal_clean(screen: Screen) -> None:
    terminal = Terminal(TerminalFile(screen.near, "utf-8"), color=True)

    def broken(width: int, height: int) -> Text:
        raise ZeroDivisionError("no such frame")

    terminal.start()
    terminal.offer(broken)
    screen.read_until(LEAVE)
    assert terminal.close(10.0)
    assert isinstance(terminal.error, ZeroDivisionError)
    assert not terminal.alive


def test_a_terminal_that_hung_up_ends_the_view(screen: Screen) -> None:
    """F104: writing to it fails, and that is all."""
    terminal = Terminal(TerminalFile(screen.near, "utf-8"), color=True)
    terminal.start()
    terminal.offer(sized)
    screen.read_until(b"<40x4>")
    screen.hang_up()
    terminal.offer(sized)
    assert terminal.close(10.0)
    assert isinstance(terminal.error, OSError)
    assert terminal.error.errno == errno.EIO


def test_a_stopped_terminal_stops_nobody(screen: Screen) -> None:
    """Ctrl-S: the write hangs, frames are dropped, and closing gives up after its time."""
    screen.resize(500, 200)
    terminal = Terminal(TerminalFile(screen.near, "utf-8"), color=True)
    terminal.start()
    terminal.offer(lambda width, height: Text("x" * width * height))  # more than a pty holds
    screen.read_until(b"x")
    for _ in range(100):
        terminal.offer(sized)
    assert terminal.close(0.05) is False
    assert terminal.alive
    reader = threading.Thread(target=screen.read_until, args=(LEAVE,))
    reader.start()
    reader.join()
    assert terminal.close(10.0)


def test_a_terminal_that_knows_no_unicode_gets_ascii() -> None:
    far, near = os.pipe()
    file = TerminalFile(near, "ascii")
    file.write("─ █░ … 漢 é")
    file.flush()
    os.close(near)
    assert os.read(far, 100) == b"- #. ~ ? ?"
    os.close(far)


def fill(fd: int) -> None:
    while True:
        os.write(fd, b"x" * 4096)


def test_restore_does_not_wait(screen: Screen) -> None:
    restore(screen.near)
    assert screen.read_until(LEAVE) == RESTORE
    far, near = os.pipe()
    os.set_blocking(near, False)
    with pytest.raises(BlockingIOError):
        fill(near)
    os.set_blocking(near, True)
    restore(near)  # full: nothing is written, and it returns
    os.close(far)
    restore(near)  # nobody is there
    os.close(near)


# --- the driver -----------------------------------------------------------------------------------


async def drive(screen: Screen, source: Callable[[], EngineStatus]) -> Terminal:
    terminal = Terminal(TerminalFile(screen.near, "utf-8"), color=False)
    facts = Facts(zone=scene().zone, files="/somewhere")
    await show(source, terminal, RecentLines(scene().zone), facts, SystemClock())
    return terminal


async def test_a_status_that_fails_ends_the_view_with_one_line(
    screen: Screen, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> EngineStatus:
        raise RuntimeError("no status")

    terminal = await drive(screen, broken)
    assert not terminal.alive
    assert [record.getMessage() for record in caplog.records] == ["the live view is off: RuntimeError: no status"]


async def test_a_terminal_that_hung_up_ends_the_driver_with_one_line(
    screen: Screen, caplog: pytest.LogCaptureFixture
) -> None:
    def gone() -> EngineStatus:
        if screen.far >= 0:
            screen.hang_up()
        return status()

    terminal = await drive(screen, gone)
    assert not terminal.alive
    (record,) = caplog.records
    assert "the live view is off: OSError" in record.getMessage()
