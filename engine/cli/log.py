"""The log of a standalone run: one record is one line on standard error, as text or JSON.

Only the command line configures logging; an embedded engine leaves it to its host. The loop hands a record
to a bounded queue and goes on; a thread writes. A pipe that nobody reads costs lines, which are counted and
told, and never time (F104). The same message in a storm is let through a few times a minute (F118), and no
text can begin a line of its own (F140).
"""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

import orjson

from engine.text import clean

__all__ = ["JsonFormatter", "LineFormatter", "LogPipe", "RateLimit", "configure"]

QUEUE_LINES_MAX = 10_000
LINE_CHARS_MAX = 4_000
STORM_LINES_MAX = 10
STORM_WINDOW_S = 60.0
STORM_KEYS_MAX = 1_000
CLOSE_TIMEOUT_S = 1.0

LEVELS = ("debug", "info", "warning", "error")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "suppressed"}


def configure(
    form: Literal["text", "json"], level: str, *, fd: int = 2, queue_lines_max: int = QUEUE_LINES_MAX
) -> LogPipe:
    """Send the log of this process to a descriptor; `LogPipe.close` undoes it."""
    pipe = LogPipe(fd, queue_lines_max=queue_lines_max)
    formatter = JsonFormatter() if form == "json" else LineFormatter(tracebacks=level == "debug")
    pipe.setFormatter(formatter)
    pipe.addFilter(RateLimit())
    root = logging.getLogger()
    root.addHandler(pipe)
    root.setLevel(level.upper())
    if level != "debug":  # asyncio's own debug and info lines are about its insides
        logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.captureWarnings(True)
    return pipe


class LineFormatter(logging.Formatter):
    """`2026-11-23T07:25:01.123Z WARNING engine.sinks: text [OSError: text] key=value`.

    Args:
        tracebacks: Append the traceback, each of its lines indented, so that none looks like a record.
    """

    def __init__(self, *, tracebacks: bool) -> None:
        super().__init__()
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        text = f"{_time(record)} {record.levelname} {record.name}: {_message(record)}"
        text = clean(text + "".join(f" {key}={value}" for key, value in _extra(record).items()), LINE_CHARS_MAX)
        if self._tracebacks and record.exc_info:
            trace = self.formatException(record.exc_info).splitlines()
            text += "".join(f"\n    | {clean(line, LINE_CHARS_MAX)}" for line in trace)
        return text


class JsonFormatter(logging.Formatter):
    """One JSON object on one line: `time`, `level`, `logger`, `message`, `error`, and the extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        fields: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": clean(record.name),
            "message": clean(_message(record), LINE_CHARS_MAX),
        }
        if record.exc_info:
            fields["error"] = clean(self.formatException(record.exc_info), 4 * LINE_CHARS_MAX)
        for key, value in _extra(record).items():
            fields.setdefault(clean(key), value if isinstance(value, bool | int | float) else clean(str(value)))
        return orjson.dumps(fields, default=str, option=orjson.OPT_PASSTHROUGH_SUBCLASS).decode()


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except (TypeError, ValueError):  # arguments that do not fit their format must not lose the line
        text = f"{record.msg} {record.args}"
    if record.exc_info and record.exc_info[1] is not None:
        text += f" [{type(record.exc_info[1]).__name__}: {record.exc_info[1]}]"
    left_out = getattr(record, "suppressed", 0)
    return f"{text} ({left_out} more like it were left out)" if left_out else text


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


class RateLimit(logging.Filter):
    """Lets a message through `STORM_LINES_MAX` times in `STORM_WINDOW_S`; then the first of the next window
    says how many were left out. Messages are told apart by logger, level and text before its arguments.
    """

    def __init__(self, lines_max: int = STORM_LINES_MAX, window_s: float = STORM_WINDOW_S) -> None:
        super().__init__()
        self._lines_max = lines_max
        self._window_s = window_s
        self._seen: OrderedDict[tuple[str, int, str], tuple[float, int]] = OrderedDict()
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide about one record, by its own time."""
        key = (record.name, record.levelno, str(record.msg)[:200])
        with self._lock:
            since, count = self._seen.pop(key, (record.created, 0))
            if not since <= record.created < since + self._window_s:
                record.suppressed = max(count - self._lines_max, 0)
                since, count = record.created, 0
            self._seen[key] = (since, count + 1)
            if len(self._seen) > STORM_KEYS_MAX:
                self._seen.popitem(last=False)
            return count < self._lines_max


class LogPipe(logging.Handler):
    """Formats in the caller, writes in a thread.

    Args:
        fd: Where to write; it is never closed here.
        queue_lines_max: Lines that may wait; what comes on top is dropped and counted in `dropped`.
    """

    def __init__(self, fd: int, *, queue_lines_max: int = QUEUE_LINES_MAX) -> None:
        super().__init__()
        self._fd = fd
        self._lines_max = queue_lines_max
        self._lines: deque[tuple[str, int]] = deque()
        self._wake = threading.Condition()
        self._diverted: Callable[[str, int], None] | None = None
        self._closing = False
        self._broken = False
        self._untold = 0
        self.dropped = 0
        self._thread = threading.Thread(target=self._write_all, name="longwatch-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one record, or count it as dropped. Never waits for the writing, never raises."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001  # a record nobody can format must not hurt who logged it
            line = ""
        with self._wake:
            if not line or len(self._lines) >= self._lines_max:
                self.dropped += 1
                self._untold += 1
            else:
                self._lines.append((line, record.levelno))
                self._wake.notify()

    def divert(self, take: Callable[[str, int], None] | None) -> None:
        """Hand lines to `take(line, level)` from now on, while the view has the terminal; None writes again."""
        self._diverted = take

    def close(self) -> None:
        """Write what is queued, for at most `CLOSE_TIMEOUT_S`, and undo `configure`. Safe to call twice."""
        root = logging.getLogger()
        if self in root.handlers:
            root.removeHandler(self)
            logging.captureWarnings(False)
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(CLOSE_TIMEOUT_S)
        self._broken = True
        super().close()

    def _write_all(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._lines or self._closing)
                if not self._lines:
                    return
                line, level = self._lines.popleft()
                untold, self._untold = self._untold, 0
            self._hand_on(line, level)
            if untold:
                told = "%d log lines were dropped: they came faster than they could be written"
                record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, told, (untold,), None)
                self._hand_on(self.format(record), logging.WARNING)

    def _hand_on(self, line: str, level: int) -> None:
        take = self._diverted
        if take is not None:
            take(line, level)
        elif not self._broken:
            self._write(line)

    def _write(self, line: str) -> None:
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except BlockingIOError:
            self.dropped += 1
        except OSError:  # nobody is there to read it any more; the engine goes on
            self._broken = True
