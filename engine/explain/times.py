"""Times and lengths of time as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Final

from engine.durations import format_ms

__all__ = ["Times", "length"]

_MS_MAX: Final = 253_402_200_000_000  # before the end of the year 9999 in any time zone
_COARSE_MS: Final = 10_000


def length(ms: int) -> str:
    """A length of time; of one that is longer than ten seconds, whole seconds."""
    return format_ms(ms - ms % 1000 if ms >= _COARSE_MS else ms)


class Times:
    """Writes times of an answer.

    Args:
        at_ms: What is asked about: times of that day need no date.
        zone: Of all times.
    """

    def __init__(self, at_ms: int, zone: tzinfo) -> None:
        self._zone = zone
        self._at_ms = at_ms
        self._day = self._local(at_ms).date()

    def of(self, time_ms: int) -> str:
        """A time, with its date if that is another one, and to the millisecond where it is not a whole second."""
        local = self._local(time_ms)
        text = f"{local:%H:%M:%S}" + (f".{time_ms % 1000:03d}" if time_ms % 1000 else "")
        return text if local.date() == self._day else f"{local:%Y-%m-%d} {text}"

    def whole(self, time_ms: int) -> str:
        """A time with its date and zone."""
        local = self._local(time_ms)
        return f"{local:%Y-%m-%d %H:%M:%S}" + (f".{time_ms % 1000:03d}" if time_ms % 1000 else "") + f" {local:%Z}"

    def to(self, time_ms: int) -> str:
        """A time to come, and how long until then."""
        return f"{self.of(time_ms)}, in {length(time_ms - self._at_ms)}"

    def ago(self, time_ms: int) -> str:
        """A time that was, and how long ago."""
        return f"{self.of(time_ms)}, {length(self._at_ms - time_ms)} ago"

    def _local(self, time_ms: int) -> datetime:
        return datetime.fromtimestamp(min(max(time_ms, 0), _MS_MAX) // 1000, UTC).astimezone(self._zone)
