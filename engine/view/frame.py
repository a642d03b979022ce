"""One frame of the view: which parts are shown in how many rows, and the rows as a rich renderable.

`frame` is pure. It returns exactly `height` rows of exactly `width` cells, whatever the status holds; a
part that does not fit says how much is missing, and below a certain size parts are left out, the alerts
last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.style import Style

from engine.status import EngineStatus
from engine.view.alerts import alerts
from engine.view.cells import fit
from engine.view.panels import Line, Scene, Section, footer, header, metrics, recent, targets

__all__ = ["STYLES", "Frame", "frame"]

STYLES = {
    "": Style(),
    "title": Style(bold=True),
    "strong": Style(bold=True),
    "dim": Style(dim=True),
    "ok": Style(color="green"),
    "warn": Style(color="yellow"),
    "bad": Style(color="red", bold=True),
    "rule": Style(color="cyan", dim=True),
    "badge_ok": Style(color="black", bgcolor="green", bold=True),
    "badge_warn": Style(color="black", bgcolor="yellow", bold=True),
    "badge_bad": Style(color="white", bgcolor="red", bold=True),
}
"""Colour only repeats what a word says, so that nothing is lost without it."""

_FOOTER_FROM_ROWS = 14
"""In a lower terminal the rows of the footer go to the parts above it."""
_TURNS = (2, 1, 1, 1)
"""Rows that alerts, targets, metrics and recent lines are given in turn, until all have enough."""


class Frame:
    """Rows of styled text. Prints as they are: no markup, no emoji codes, no wrapping."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for line in self.lines:
            for text, style in line:
                yield Segment(text, STYLES[style])
            yield Segment.line()

    @property
    def plain(self) -> list[str]:
        """The text of each row."""
        return ["".join(text for text, _ in line) for line in self.lines]


def frame(status: EngineStatus, scene: Scene, width: int, height: int) -> Frame:
    """Lay out one frame.

    Args:
        status: What the engine says.
        scene: What only the view knows, and the time.
        width, height: Of the terminal, in cells; anything from 1 x 1.
    """
    sections = [alerts(status, scene), targets(status, scene), metrics(status, width), recent(scene)]
    foot = footer(status, scene, width) if height >= _FOOTER_FROM_ROWS else []
    lines: list[Line] = [header(status, scene, width)]
    for section, rows in zip(sections, _share_rows(sections, height - 1 - len(foot)), strict=True):
        if rows:
            lines.append(_title(section, rows, width))
            lines += section.rows(rows, width)
    blank = max(height - len(lines) - len(foot), 0)
    lines += [[] for _ in range(blank)]
    return Frame([_exactly(line, width) for line in [*lines, *foot][:height]])


def _share_rows(sections: Sequence[Section], budget: int) -> list[int]:
    """Rows for each section beside its title; 0 leaves the section out. Earlier sections are served first."""
    given = [0] * len(sections)
    for at in range(len(sections)):
        if budget >= 2:
            given[at] = 1
            budget -= 2
    while budget > 0:
        before = budget
        for at, section in enumerate(sections):
            if given[at]:
                more = min(_TURNS[at], section.total - given[at], budget)
                given[at] += max(more, 0)
                budget -= max(more, 0)
        if budget == before:
            break
    return given


def _title(section: Section, rows: int, width: int) -> Line:
    hidden = section.total + section.left_out - rows
    left = f"─ {section.title} "
    end = f" and {hidden} more ─" if hidden > 0 and section.title != "recent" else "─"
    if len(left) + len(end) > width:
        end = f"+{hidden}"
    return [(left + "─" * (width - len(left) - len(end)) + end, "rule")]


def _exactly(line: Line, width: int) -> Line:
    """Cut or pad a row to the terminal's width. A cut is marked: half a number must not look like a number."""
    kept: Line = []
    for text, style in line:
        cells = len(text) if text.isascii() else cell_len(text)
        if cells >= width:
            whole = cells == width or cell_len(text.rstrip()) <= width
            kept.append((set_cell_size(text, width) if whole else fit(text, width), style))
            return kept
        kept.append((text, style))
        width -= cells
    kept.append((" " * width, ""))
    return kept
