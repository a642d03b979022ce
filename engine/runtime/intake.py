"""What comes in from probes and hosts: checked, normalised, or refused with a reason. Pure.

Behind this line every event is what its type says: times are ints in a sane range, series are canonical
texts, values are float64, text is clean. Everything before it is foreign. Numbers that mean a float become one
(int, bool, Decimal, numpy's scalars); NaN and the infinities are values. Text is not a number.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec
import numpy as np

from engine.errors import ProbeError
from engine.events import (
    Blind,
    Deployment,
    DomainEvent,
    Event,
    Health,
    Sample,
    SampleBatch,
    SecurityViolation,
    TradeClosed,
)
from engine.series import series_text, split_series
from engine.text import clean

__all__ = ["EVENT_BYTES_MAX", "FUTURE_MS_MAX", "TIME_MS_MIN", "Intake", "Refused"]

FUTURE_MS_MAX: Final = 5_000
"""How far ahead of the engine's clock an event may be stamped: one value from next year would shut out all others."""
TIME_MS_MIN: Final = 946_684_800_000
"""2000-01-01T00:00:00Z. What is stamped before it was most likely stamped in seconds."""
EVENT_BYTES_MAX: Final = 65_536
"""A domain event's size in MessagePack."""
SERIES_CHARS_MAX: Final = 16_384
BLIND_MS_MAX: Final = 86_400_000
"""The longest span that a probe or a host may call blind: clocks stand still over it."""
SHAPES_MAX: Final = 256
SERIES_PER_TURN: Final = 200
"""How many new series a probe's output is checked for before the loop gets its turn."""
_INT_MAX: Final = 2**63 - 1
_INTERVAL_MS_MAX: Final = 366 * 86_400_000
_CAUSES = ("ended", "target_down")
_STATUSES = ("ok", "degraded", "failed")
_BUILT_IN = (TradeClosed, SecurityViolation, Deployment)


class Refused(ValueError):
    """An event is not what it should be. `reason` is a short code, for counting."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class Intake:
    """Checks events.

    Args:
        batch_samples_max: Samples one batch may have, and events one `collect` may return.
        series_max: How many series texts it remembers as good, so that each is parsed once; and how many the
            shapes of batches that it remembers may have together.
        event_types: The host's own event types.
    """

    def __init__(self, batch_samples_max: int, series_max: int, event_types: Iterable[type[DomainEvent]] = ()) -> None:
        self.batch_samples_max = batch_samples_max
        self.series_max = series_max
        self._good: set[str] = set()
        self._shapes: dict[int, tuple[str, ...]] = {}  # good shapes by identity; holding them keeps the identities true
        self._shapes_held = 0  # series in all of them
        self._decoders = {kind: msgspec.msgpack.Decoder(kind) for kind in (*_BUILT_IN, *event_types)}
        self._encoder = msgspec.msgpack.Encoder(enc_hook=_plain)

    def many(self, events: object, now_ms: int) -> tuple[list[Event], dict[str, int]]:
        """Check what a probe returned. Returns the good events, and how many were refused by reason.

        Raises:
            ProbeError: It is not a sequence of events at all, or far too long.
        """
        checking = self.checking(events, now_ms)
        while True:
            try:
                next(checking)
            except StopIteration as end:
                result: tuple[list[Event], dict[str, int]] = end.value
                return result

    def checking(self, events: object, now_ms: int) -> Generator[None, None, tuple[list[Event], dict[str, int]]]:
        """`many` in steps: a generator that yields after every `SERIES_PER_TURN` series or so."""
        if not isinstance(events, Sequence) or isinstance(events, str | bytes | bytearray):
            raise ProbeError("bad_output", f"collect returned {_kind(events)}, not a sequence of events")
        if len(events) > self.batch_samples_max:
            raise ProbeError(
                "bad_output",
                f"collect returned {len(events)} events; at most {self.batch_samples_max} are allowed",
            )
        good: list[Event] = []
        refused: dict[str, int] = {}
        for number, event in enumerate(events, 1):
            try:
                if type(event) is SampleBatch and type(event.series) is tuple:
                    yield from self._checking_series(event.series)
                good.append(self.one(event, now_ms))
            except Refused as why:
                refused[why.reason] = refused.get(why.reason, 0) + 1
            if number % SERIES_PER_TURN == 0:
                yield
        return good, refused

    def _checking_series(self, series: tuple[object, ...]) -> Generator[None, None, None]:
        """Get to know the series of a batch ahead of its check, which is quick then."""
        if self._shapes.get(id(series)) is series or len(series) > self.batch_samples_max:
            return
        for start in range(0, len(series), SERIES_PER_TURN):
            for text in series[start : start + SERIES_PER_TURN]:
                self._check_series(text)
            yield

    def one(self, event: object, now_ms: int) -> Event:
        """Return the event, normalised.

        Raises:
            Refused: With the reason `type`, `time`, `past`, `future`, `series`, `value`, `oversize` or `field`.
        """
        if not isinstance(event, Sample | SampleBatch | Health | Blind | DomainEvent):
            raise Refused("type", f"{_kind(event)} is not an event")
        time_ms = event.time_ms
        if type(time_ms) is not int:
            raise Refused("time", f"time_ms is {_kind(time_ms)}, not an int of milliseconds")
        earliest_ms = TIME_MS_MIN if now_ms >= TIME_MS_MIN else 0  # a machine whose clock was never set is watched, too
        if not earliest_ms <= time_ms <= now_ms + FUTURE_MS_MAX:
            reason = "time" if time_ms < 0 else "past" if time_ms < TIME_MS_MIN else "future"
            raise Refused(reason, f"time_ms is {time_ms} milliseconds since the epoch, and now is {now_ms}")
        if type(event) is Sample:
            return self._sample(event)
        if type(event) is SampleBatch:
            return self._batch(event)
        if type(event) is Health:
            return _health(event)
        if type(event) is Blind:
            return _blind(event, now_ms)
        if not isinstance(event, DomainEvent):
            raise Refused("type", f"{_kind(event)} is derived from an event that is not meant for it")
        return self._domain(event)

    def _sample(self, event: Sample) -> Sample:
        self._check_series(event.series)
        _check_common(event)
        if type(event.value) is float:
            return event
        return msgspec.structs.replace(event, value=_number(event.value))

    def _batch(self, event: SampleBatch) -> SampleBatch:
        values = event.values
        if type(event.series) is not tuple or not _is_column(values):
            raise Refused("value", "a batch is a tuple of series and a one-dimensional array")
        if len(event.series) != len(values):
            raise Refused("value", f"{len(event.series)} series but {len(values)} values")
        if len(values) > self.batch_samples_max:
            raise Refused("oversize", f"{len(values)} samples; at most {self.batch_samples_max} are allowed")
        _check_common(event)
        if self._shapes.get(id(event.series)) is not event.series:
            for text in event.series:
                self._check_series(text)
            if len(set(event.series)) != len(event.series):
                raise Refused("series", "a series is in the batch twice")
            self._remember(event.series)
        if type(values) is np.ndarray and values.dtype == np.float64:
            return event
        if values.dtype.kind not in "fiub":
            raise Refused("value", f"values of dtype {values.dtype} are not numbers")
        return msgspec.structs.replace(event, values=np.asarray(values, dtype=np.float64))

    def _remember(self, shape: tuple[str, ...]) -> None:
        if len(shape) > self.series_max:
            return
        while len(self._shapes) >= SHAPES_MAX or self._shapes_held + len(shape) > self.series_max:
            self._shapes_held -= len(self._shapes.pop(next(iter(self._shapes))))  # the oldest: known the longest
        self._shapes[id(shape)] = shape
        self._shapes_held += len(shape)

    def _check_series(self, text: object) -> None:
        if type(text) is not str:
            raise Refused("series", f"a series is text, not {_kind(text)}")
        if text in self._good:
            return
        if len(text) > SERIES_CHARS_MAX:
            raise Refused("series", f"a series of {len(text)} characters; at most {SERIES_CHARS_MAX} are allowed")
        try:
            canonical = series_text(*split_series(text))
        except ValueError as error:
            raise Refused("series", str(error)) from None
        if canonical != text:
            raise Refused("series", "not the canonical text of a series; use engine.series_text")
        if len(self._good) >= self.series_max:  # most are of series that are gone: begin anew
            self._good.clear()
        self._good.add(text)

    def _domain(self, event: DomainEvent) -> DomainEvent:
        decoder = self._decoders.get(type(event))
        if decoder is None:
            raise Refused("type", f"{type(event).__name__} was not registered: Engine(event_types=[...])")
        try:
            data = self._encoder.encode(_cleaned(event))
            if len(data) > EVENT_BYTES_MAX:
                raise Refused("oversize", f"an event of {len(data)} bytes; at most {EVENT_BYTES_MAX} are allowed")
            # There and back: checks every field against its type, and nothing of the host's is referred to afterwards.
            decoded: DomainEvent = decoder.decode(data)
            return decoded
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
            if isinstance(error, Refused):
                raise
            raise Refused("field", clean(f"{type(event).__name__}: {error}")) from None


def _check_common(event: Sample | SampleBatch) -> None:
    if type(event.interval_ms) is not int or not 0 <= event.interval_ms <= _INTERVAL_MS_MAX:
        raise Refused("field", "interval_ms is not a number of milliseconds")
    if event.stale not in _CAUSES:
        raise Refused("field", "stale is not a cause")


def _health(event: Health) -> Health:
    texts = (event.component, event.reason, event.message)
    if event.status not in _STATUSES or type(event.count) is not int or not all(type(text) is str for text in texts):
        raise Refused("field", "a health event with a field of the wrong type")
    if not 0 <= event.count <= _INT_MAX:
        raise Refused("field", "a count that is negative or beyond 64 bits")
    return Health(event.time_ms, clean(texts[0], 128), event.status, clean(texts[1], 64), clean(texts[2]), event.count)


def _blind(event: Blind, now_ms: int) -> Blind:
    texts = (event.scope, event.reason)
    if not all(type(text) is str for text in texts) or type(event.from_ms) is not int or type(event.to_ms) is not int:
        raise Refused("field", "a blind span with a field of the wrong type")
    if not 0 <= event.from_ms <= event.to_ms:
        raise Refused("time", "a blind span that ends before it begins")
    if event.to_ms > now_ms or event.to_ms - event.from_ms > BLIND_MS_MAX:
        raise Refused("time", "a blind span that ends in the future, or is longer than a day")
    return Blind(event.time_ms, event.from_ms, event.to_ms, clean(texts[0], SERIES_CHARS_MAX), clean(texts[1], 64))


def _number(value: object) -> float:
    if isinstance(value, bool | int | float | np.bool_ | np.integer | np.floating | Decimal):
        try:
            return float(value)
        except (OverflowError, ValueError):  # a huge int, a signalling NaN
            raise Refused("value", "a number no float64 can hold") from None
    raise Refused("value", f"a value is a number, not {_kind(value)}")


def _cleaned(event: DomainEvent) -> DomainEvent:
    changes = {}
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if type(value) is str and not (value.isascii() and value.isprintable() and len(value) <= 512):
            changes[name] = clean(value, EVENT_BYTES_MAX)
        elif type(value) is int and not -_INT_MAX - 1 <= value <= _INT_MAX:
            raise Refused("field", f"{type(event).__name__}.{name} is beyond 64 bits")
    return msgspec.structs.replace(event, **changes) if changes else event


def _plain(value: Any) -> Any:
    """msgspec's hook for what it does not know: a numpy scalar is its number."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, float):  # a subclass
        return float(value) if math.isfinite(value) else value + 0.0
    raise TypeError(f"a field holds {_kind(value)}, which is not plain data")


def _is_column(values: object) -> bool:
    return isinstance(values, np.ndarray) and values.ndim == 1


def _kind(value: object) -> str:
    return clean(type(value).__name__, 64)
