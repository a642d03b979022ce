"""The `console` sink: what a person reads, and what happens when nobody does."""

import asyncio
import io
import os
import pty
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TextIO
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text

from engine import Engine, Sample
from engine.config import load_text
from engine.conformance import receives
from engine.errors import SinkError
from engine.events import Health, Record
from engine.ports import Notification, Recorder
from engine.text import clean
from engine.view.recent import RecentLines, recent_factory
from sinks import console as module
from sinks._console_lines import health_line, plain, styled, transition_line
from sinks.console import ConsoleOptions, ConsoleSink
from tests.sinks.context import NOW_MS, context, transition

UTC = ZoneInfo("UTC")
SICK = Health(NOW_MS, "probe.health", "degraded", "timeout", "no answer within 10s", 3)


@asynccontextmanager
async def opened(stream: TextIO | None, *, timezone: str = "UTC", **options: Any) -> AsyncIterator[ConsoleSink]:
    sink = ConsoleSink(ConsoleOptions(**options), context(timezone=timezone), stream)
    try:
        await sink.open()
        yield sink
    finally:
        await sink.close()


async def printed(records: Sequence[Record], **options: Any) -> list[str]:
    stream = io.StringIO()
    async with opened(stream, **options) as sink:
        await sink.write(records)
    return stream.getvalue().splitlines()


# --- what is printed --------------------------------------------------------------------------------


async def test_it_is_a_recorder() -> None:
    assert isinstance(ConsoleSink(ConsoleOptions(), context()), Recorder)
    assert {"transitions", "health"} == ConsoleSink.WANTS


async def test_one_plain_line_for_each_record() -> None:
    lines = await printed(
        [
            transition("firing", NOW_MS, value=97.2),
            transition("resolved", NOW_MS + 450_000, value=12.0),
            transition("resolved", NOW_MS + 450_000, reason="rule_removed"),
            transition("lost", NOW_MS + 86_100_000),
            SICK,
        ],
        timezone="Europe/Berlin",
    )
    labels = "HighCpu instance=a severity=critical"
    assert lines == [
        f"2027-01-15 09:00:00 FIRING   {labels} value=97.2 (true since 08:55:00)",
        f"2027-01-15 09:07:30 RESOLVED {labels} after 12m30s (recovered)",
        f"2027-01-15 09:07:30 RESOLVED {labels} after 12m30s (rule_removed)",
        f"2027-01-16 08:55:00 LOST     {labels} after 1d: no data, its state is not known",
        "2027-01-15 09:00:00 DEGRADED probe.health timeout x3: no answer within 10s",
    ]


async def test_a_change_of_severity_says_what_it_was() -> None:
    labels = {"alertname": "HighCpu", "instance": "a"}
    told: list[Record] = [
        transition("firing", NOW_MS, labels, value=82.0, severity="warning"),
        transition("level", NOW_MS, labels, value=95.0, severity="critical", severity_before="warning"),
        transition("resolved", NOW_MS, labels, severity="critical", severity_before="critical"),
    ]
    assert [line.partition(" HighCpu ")[2] for line in await printed(told)] == [
        "instance=a severity=warning value=82 (true since 07:55:00)",
        "instance=a severity=critical value=95 (was warning, true since 07:55:00)",
        "instance=a severity=critical after 5m (recovered)",
    ]


async def test_an_alert_that_goes_back_and_forth_says_so() -> None:
    told: list[Record] = [
        transition("firing", NOW_MS, value=82.0, flapping=True),
        transition("resolved", NOW_MS, flapping=True),
    ]
    fired, resolved = await printed(told)
    assert fired.endswith(" value=82 (true since 07:55:00, flapping)")
    assert resolved.endswith(" after 5m (recovered, flapping)")


async def test_pending_and_cleared_are_asked_for() -> None:
    records: list[Record] = [transition("pending", NOW_MS - 300_000, value=97.0), transition("cleared"), SICK]
    assert len(await printed(records)) == 1
    lines = await printed(records, pending=True, health=False)
    assert [line.split()[2] for line in lines] == ["PENDING", "CLEARED"]
    assert await printed(records, health=False) == []


async def test_a_start_on_another_day_has_its_date() -> None:
    (line,) = await printed([transition("firing", NOW_MS, since_ms=NOW_MS - 86_400_000)])
    assert line.endswith("(true since 2027-01-14 08:00:00)")


async def test_a_summary_is_added() -> None:
    (line,) = await printed([transition(annotations={"summary": "CPU at 97 %", "description": "long"})])
    assert line.endswith(": CPU at 97 %")


@pytest.mark.parametrize("time_ms", [-(2**62), 0, 2**62])
def test_times_out_of_range_do_not_break_a_line(time_ms: int) -> None:
    assert plain(transition_line(transition(time_ms=time_ms), ZoneInfo("Pacific/Kiritimati")))
    assert plain(health_line(Health(time_ms, "x", "ok", "y"), ZoneInfo("Pacific/Apia")))


NASTY = st.text(
    st.one_of(st.characters(), st.sampled_from("\x1b\n\r\x07[]:/\u2028\u202e\ud800\x9b")), min_size=1, max_size=30
)


@given(NASTY, NASTY)
def test_foreign_text_is_printed_literally(one: str, two: str) -> None:
    """F139, F140, M19: no escape sequence, no second line, no markup, no emoji."""
    told = transition(labels={"alertname": "x", one: two}, rule=two, annotations={"summary": one})
    sick = Health(NOW_MS, one, "failed", two, one)
    for line in (transition_line(told, UTC), health_line(sick, UTC)):
        text = plain(line)
        assert text.count("\n") == 1
        assert text.isprintable() or all(c.isprintable() or not c.isascii() for c in text[:-1])
        assert "\x1b" not in text
        assert clean(two) in text or '"' in two or "\\" in two
        shown = Text.from_ansi(styled([line], 10_000)).plain
        assert " ".join(shown.split()) == " ".join(f"{line.time} {line.word} {line.subject} {line.text}".split())


def test_markup_and_emoji_stay_what_they_are() -> None:
    """M19."""
    told = transition(labels={"alertname": "x", "disk": "[bold]/dev/sda1[/] :skull:"})
    assert 'disk="[bold]/dev/sda1[/] :skull:"' in Text.from_ansi(styled([transition_line(told, UTC)], 200)).plain


@pytest.mark.parametrize("width", [1, 40, 80, 200])
def test_a_terminal_gets_lines_that_fit(width: int) -> None:
    """F105: folded under their own text, never by the terminal."""
    told = transition(annotations={"summary": "a rather long sentence, " * 8}, labels={"path": "x" * 150})
    lines = Text.from_ansi(styled([transition_line(told, UTC), health_line(SICK, UTC)], width)).plain.splitlines()
    assert max(cell_len(line) for line in lines) <= max(width, 40)
    starts = [line for line in lines if not line.startswith(" " * 18)]
    assert len(starts) == 2
    assert starts[0].startswith("08:00:00 FIRING   HighCpu")


# --- terminals ----------------------------------------------------------------------------------------


async def on_a_terminal(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], records: list[Record]) -> str:
    for name in ("NO_COLOR", "TERM", "COLORTERM", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ours, theirs = pty.openpty()
    try:
        with open(theirs, "w", closefd=False) as stream:
            async with opened(stream) as sink:
                await sink.write(records)
        return os.read(ours, 65_536).decode().replace("\r\n", "\n")
    finally:
        os.close(ours)
        os.close(theirs)


async def test_a_terminal_gets_colour_and_the_day(monkeypatch: pytest.MonkeyPatch) -> None:
    text = await on_a_terminal(monkeypatch, {"TERM": "xterm-256color"}, [transition(), SICK])
    assert "\x1b[" in text
    lines = Text.from_ansi(text).plain.splitlines()
    assert lines[0] == "── 2027-01-15 UTC ──"
    assert lines[1].startswith("08:00:00 FIRING   HighCpu")


@pytest.mark.parametrize(
    "environment", [{"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}, {}], ids=["dumb", "no_color", "no_term"]
)
async def test_a_terminal_without_colour_gets_plain_lines(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    """F105."""
    text = await on_a_terminal(monkeypatch, environment, [transition()])
    assert text.startswith("2027-01-15 08:00:00 FIRING   HighCpu instance=a")
    assert "\x1b" not in text


# --- when nobody reads ----------------------------------------------------------------------------------


class Breaking(io.StringIO):
    """A stream that raises from the second write on."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error
        self.writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        if self.writes > 2:  # the first is the flush of what was there before
            raise self.error
        return super().write(text)


@pytest.mark.parametrize(
    "error",
    [BrokenPipeError(), OSError(5, "I/O"), ValueError("I/O operation on closed file"), SystemExit(1), RuntimeError()],
    ids=lambda error: type(error).__name__,
)
async def test_a_stream_that_breaks_stays_broken(error: BaseException) -> None:
    """F104, M20: rich answers a broken pipe by SystemExit."""
    stream = Breaking(error)
    async with opened(stream) as sink:
        await sink.write([transition()])
        with pytest.raises(SinkError, match="is gone") as caught:
            await sink.write([transition()])
        assert (caught.value.reason, caught.value.retryable) == ("closed", False)
        with pytest.raises(SinkError, match="nobody reads"):
            await sink.write([transition(), SICK])
        assert sink.dropped == 3
    assert stream.writes == 3, "it is not written to again"


async def test_a_closed_pipe_stays_closed() -> None:
    """F104."""
    reads, writes = os.pipe()
    os.close(reads)
    with open(writes, "w") as stream:
        async with opened(stream) as sink:
            with pytest.raises(SinkError) as caught:
                await sink.write([transition()])
            assert (caught.value.reason, caught.value.retryable) == ("closed", False)
            with pytest.raises(SinkError):
                await sink.write([transition()])


@pytest.mark.parametrize("stream", [None, "closed"])
async def test_without_a_stream_it_does_not_open(stream: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = io.StringIO()
    broken.close()
    monkeypatch.setattr(sys, "stdout", None if stream is None else broken)
    sink = ConsoleSink(ConsoleOptions(), context())
    with pytest.raises(SinkError) as caught:
        await sink.open()
    assert (caught.value.reason, caught.value.retryable) == ("closed", False)
    with pytest.raises(SinkError):
        await sink.write([transition()])
    await sink.close()


async def test_a_full_pipe_nobody_reads_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """F104: lines wait, then are dropped and counted, and the reader who comes back is told how many."""
    monkeypatch.setattr(module, "STALL_S", 0.02)
    monkeypatch.setattr(module, "CLOSE_TIMEOUT_S", 0.02)
    reads, writes = os.pipe()
    with open(writes, "w") as stream, open(reads, "rb", buffering=0) as reader:
        async with opened(stream) as sink:
            records = [transition(labels={"n": "x" * 400}) for _ in range(100)]
            for _ in range(30):
                await sink.write(records)
            assert sink.dropped > 0
            assert [reason for reason, _ in sink.take_notices()] == ["full"]
            dropped = sink.dropped
            assert sink._printer is not None
            os.set_blocking(reads, False)
            while not sink._printer.is_idle or reader.read(65_536):  # somebody reads again
                reader.read(65_536)
                await asyncio.sleep(0)
            await sink.write([SICK])
            os.set_blocking(reads, True)
            text = os.read(reads, 65_536).decode()
            assert text.startswith(f"({dropped} lines were dropped: nobody read them)\n2027-01-15")
            await sink.write([SICK])
            assert os.read(reads, 65_536).startswith(b"2027-01-15")
            assert sink.dropped == dropped


async def test_many_records_at_once_are_all_printed() -> None:
    """A storm is larger than the queue; a reader who keeps up loses none of it."""
    lines = await printed([transition(time_ms=NOW_MS + i) for i in range(5_000)])
    assert len(lines) == 5_000


async def test_closing_twice_and_reopening_leaves_no_thread() -> None:
    before = set(threading.enumerate())  # one of an earlier test may still be ending
    stream = io.StringIO()
    sink = ConsoleSink(ConsoleOptions(), context(), stream)
    for _ in range(3):
        await sink.open()
        await sink.open()
        await sink.write([SICK])
        await sink.close()
        await sink.close()
    for thread in threading.enumerate():
        if thread.name == "longwatch-console":
            thread.join(5)
    assert set(threading.enumerate()) <= before
    assert stream.getvalue().count("\n") == 3


PROGRAM = """
import asyncio, sys
from engine import Engine, Sample
from engine.config import load_text
from engine.conformance import receives
from engine.errors import SinkError
from sinks import console
from sinks.console import ConsoleOptions, ConsoleSink
from tests.sinks.context import context, transition

async def main():
    console.STALL_S = console.CLOSE_TIMEOUT_S = 0.05
    sink = ConsoleSink(ConsoleOptions(), context())
    await sink.open()
    for _ in range(40):
        try:
            await sink.write([transition(labels={"n": "x" * 400}) for _ in range(100)])
        except SinkError as error:
            print(error.reason, error.retryable, file=sys.stderr)
    await sink.close()
    print("done", file=sys.stderr)

asyncio.run(main())
"""


def program(stdout: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)],
        cwd=Path(__file__).resolve().parents[2],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.process
def test_head_ends_the_printing_and_not_the_program() -> None:
    """F104, M20: as with `| head -1`; and nothing is complained of at exit."""
    reads, writes = os.pipe()
    process = program(writes)
    os.close(writes)
    os.read(reads, 100)
    os.close(reads)
    _, errors = process.communicate(timeout=30)
    assert set(errors.splitlines()) == {"closed False", "done"}
    assert process.returncode == 0


@pytest.mark.process
def test_a_pipe_nobody_reads_does_not_hold_up_the_exit() -> None:
    """F104: the thread hangs in its write for ever; the interpreter ends all the same."""
    reads, writes = os.pipe()
    process = program(writes)
    os.close(writes)
    _, errors = process.communicate(timeout=30)
    os.close(reads)
    assert errors.splitlines() == ["done"]
    assert process.returncode == 0


async def test_the_live_view_says_the_same() -> None:
    labels = {"alertname": "HighCpu", "instance": "a b"}
    for kind in ("pending", "firing", "resolved", "lost", "cleared"):
        one = transition(kind, NOW_MS, labels, annotations={"summary": "hot"})
        (line,) = await printed([one], pending=True)
        kept = RecentLines(UTC)
        kept.add_record(one)
        ((text, _),) = kept.latest(1)
        assert text.split() == line.split()[1:]


# --- as a receiver ----------------------------------------------------------------------------------


def notification(*transitions: Any) -> Notification:
    return Notification(receiver="it", group_key="k", group_labels={}, transitions=transitions)


async def test_it_takes_messages_if_it_is_asked_to() -> None:
    assert not receives(ConsoleSink(ConsoleOptions(), context()))
    assert receives(ConsoleSink(ConsoleOptions(messages=True), context()))


async def test_a_message_is_the_lines_that_the_record_would_be() -> None:
    told = [transition("firing", NOW_MS, value=97.2), transition("resolved", NOW_MS + 450_000, value=12.0)]
    stream = io.StringIO()
    async with opened(stream, timezone="Europe/Berlin", messages=True, pending=True) as sink:
        body = sink.render(notification(*told))
        assert body == sink.render(notification(*told))
        await sink.write([transition("pending"), *told, SICK])
        await sink.deliver("evt_1", body)
    pending, sick, *lines = stream.getvalue().splitlines()
    assert (pending.split()[2], sick.split()[2]) == ("PENDING", "DEGRADED"), "the rest is the record's still"
    assert lines == await printed(told, timezone="Europe/Berlin")


async def test_a_message_that_nobody_reads_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLOSE_TIMEOUT_S", 0.02)
    reads, writes = os.pipe()
    with open(writes, "w") as stream, open(reads, "rb", buffering=0):
        async with opened(stream, messages=True) as sink:
            body = sink.render(notification(*(transition(labels={"n": "x" * 400}) for _ in range(100))))
            waiting = [asyncio.ensure_future(sink.deliver("evt_1", body)) for _ in range(40)]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_EXCEPTION)
            failures = [one.exception() for one in waiting if one.done()]
            assert {(error.reason, error.retryable) for error in failures if isinstance(error, SinkError)} == {
                ("full", True)
            }
            assert sink.dropped == 0
            for one in waiting:
                one.cancel()
            await asyncio.wait(waiting)


async def test_a_message_to_a_stream_that_is_gone_waits_for_another_run() -> None:
    reads, writes = os.pipe()
    os.close(reads)
    with open(writes, "w") as stream:
        async with opened(stream, messages=True) as sink:
            body = sink.render(notification(transition("firing")))
            for _ in range(2):
                with pytest.raises(SinkError) as caught:
                    await sink.deliver("evt_1", body)
                assert (caught.value.reason, caught.value.retryable) == ("closed", True)


async def test_the_live_view_takes_the_messages_in_its_place() -> None:
    lines = RecentLines(UTC)
    own = ConsoleSink(ConsoleOptions(messages=True), context())
    view = recent_factory(lines)(ConsoleOptions(messages=True), context())
    assert receives(view)
    assert not receives(recent_factory(lines)(ConsoleOptions(), context()))
    one = notification(transition("firing", NOW_MS, value=97.2))
    await view.deliver("evt_1", view.render(one))
    assert lines.latest(9) == [], "the record has shown it"
    await view.deliver("evt_2", own.render(one))
    ((text, _),) = lines.latest(9)
    assert text.startswith("2027-01-15 08:00:00 FIRING HighCpu instance=a")


async def test_a_message_of_another_sink_is_a_dead_letter() -> None:
    async with opened(io.StringIO(), messages=True) as sink:
        with pytest.raises(SinkError) as caught:
            await sink.deliver("evt_1", b'{"version": "4"}')
        assert (caught.value.reason, caught.value.retryable) == ("bad_message", False)


async def test_what_one_run_could_not_print_the_next_one_does(tmp_path: Path) -> None:
    config = f'[engine]\nstate_dir = "{tmp_path}"\n[rule.Hot]\nexpr = "x > 5"\n'
    reads, writes = os.pipe()
    os.close(reads)
    page = io.StringIO()
    with open(writes, "w") as gone:
        for stream, value in ((gone, 9.0), (page, 9.0), (page, 9.0)):
            sink = ConsoleSink(ConsoleOptions(messages=True, health=False), context(), stream)
            async with Engine(load_text(config), sinks={"page": sink}) as engine:
                async with asyncio.timeout(30):
                    while engine.status().phase == "starting":
                        await asyncio.sleep(0)
                    engine.emit(Sample(engine.now_ms(), "x", value))
                    while not (page.getvalue() or (stream is gone and engine.status().sinks[0].retries)):
                        await asyncio.sleep(0)
    (line,) = page.getvalue().splitlines()
    assert line.split()[2:5] == ["FIRING", "Hot", "value=9"]
