"""Records as lines of text. Pure, but for the width of the terminal, which is given.

Everything foreign passes `clean` and is put together as rich `Text`, never as markup.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.events import Health, Transition
from engine.telling import local, transition_words
from engine.text import clean

__all__ = ["Line", "health_line", "plain", "styled", "transition_line"]

TEXT_CHARS_MAX: Final = 2_000
WIDTH_MIN: Final = 40
"""Below this a terminal is written to as if it were this wide, and folds lines itself."""
_TIME_CHARS: Final = 8
_WORD_CHARS: Final = 8

_STYLES: Final = {
    "PENDING": "yellow",
    "FIRING": "bold red",
    "RESOLVED": "green",
    "LOST": "bold magenta",
    "CLEARED": "dim",
    "OK": "green",
    "DEGRADED": "yellow",
    "FAILED": "red",
}


class Line(NamedTuple):
    """One line: `2026-11-23`, `12:03:10`, `FIRING`, `HighCpu`, and the rest of it."""

    day: str
    time: str
    word: str
    subject: str
    text: str


def transition_line(transition: Transition, zone: ZoneInfo) -> Line:
    """What happened to an alert."""
    day, time = local(transition.time_ms, zone)
    text = clean(transition_words(transition, zone), TEXT_CHARS_MAX)
    return Line(day, time, transition.kind.upper(), clean(transition.rule), text)


def health_line(health: Health, zone: ZoneInfo) -> Line:
    """How a part of the engine is."""
    day, time = local(health.time_ms, zone)
    text = clean(health.reason) + (f" x{health.count}" if health.count > 1 else "")
    if health.message:
        text += f": {clean(health.message)}"
    return Line(day, time, health.status.upper(), clean(health.component), text)


def plain(line: Line) -> str:
    """One physical line with its date, for files, pipes and `grep`."""
    return f"{line.day} {line.time} {line.word:<{_WORD_CHARS}} {line.subject} {line.text}".rstrip() + "\n"


def styled(lines: Iterable[Line], width: int) -> str:
    """Coloured, and each folded under its own text where it is wider than the terminal."""
    console = Console(
        file=io.StringIO(),
        width=max(width, WIDTH_MIN),
        force_terminal=True,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
    )
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=_TIME_CHARS, no_wrap=True)
    grid.add_column(width=_WORD_CHARS, no_wrap=True)
    grid.add_column(overflow="fold")
    for line in lines:
        text = Text.assemble((line.subject, "bold"), " ", line.text)
        grid.add_row(Text(line.time, style="dim"), Text(line.word, style=_STYLES.get(line.word, "")), text)
    with console.capture() as captured:
        console.print(grid)
    return "".join(row.rstrip() + "\n" for row in captured.get().splitlines())
