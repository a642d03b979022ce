"""Exposition text to samples: Prometheus' text format and OpenMetrics, from a target nobody vouches for.

A series is parsed by prometheus_client's parser when it is first seen and recognised by its bytes from
then on; both formats write a series alike. Everything is capped before it is parsed, as that parser takes
quadratic time on hostile lines. It runs on a thread, must never be used by two at once, reads no clock but
the one it is handed, and never returns a part of an exposition: all of it, or a reason.
"""

from __future__ import annotations

import io
import math
import re
import zlib
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final, NamedTuple

from engine.series import LABELS_MAX, series_text

__all__ = ["LINE_BYTES_MAX", "Body", "Reader", "Reading", "Unreadable", "canonical_float"]

LINE_BYTES_MAX: Final = 64 * 1024
EXPORTED: Final = "exported_"

_GZIP = 31  # zlib's window bits for gzip and nothing else
_QUOTED = rb'"(?:[^"\\]++|\\.)*+"'
_QUOTED_TEXT = re.compile(_QUOTED)
# A name, then braces that end at the first one outside quotes. Possessive, so that nothing is tried twice.
_SERIES = re.compile(rb'(?:[^\s{"]++[ \t]*+)?(?:\{(?:[^"}]++|' + _QUOTED + rb")*+\})?")
# Type of a family -> the label of it whose values are numbers.
_NUMBER_LABELS = {b"histogram": "le", b"summary": "quantile"}


class Unreadable(Exception):
    """An exposition can't be taken. `reason` is a short code."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Body(NamedTuple):
    """An answer's body as it came; `openmetrics` if that is its format, else it is Prometheus' text."""

    data: bytes
    gzipped: bool = False
    openmetrics: bool = False


class Reading(NamedTuple):
    """What an exposition says.

    Args:
        series: Canonical texts, each once: the reserved ones, then those of the exposition. The same tuple
            as last time while it has the same series in the same order.
        values: One for each; those of the reserved series are 0 and for the caller to fill in.
        samples: Samples in the exposition.
        duplicates: How many of them name a series that was there already; the first is taken.
    """

    series: tuple[str, ...]
    values: list[float]
    samples: int
    duplicates: int


class Reader:
    """Reads the expositions of one target.

    Args:
        labels: The target's labels, for every series.
        honor_labels: In a conflict the exposition's label wins. Otherwise it is kept under another
            name, with `exported_` before it, as Prometheus does.
        reserved: Series that are the caller's own and can't come from the target.
        samples_max: Samples an exposition may have.
        bytes_max: Its size, unpacked.
    """

    def __init__(
        self,
        labels: Mapping[str, str],
        *,
        honor_labels: bool = False,
        reserved: tuple[str, ...] = (),
        samples_max: int,
        bytes_max: int,
    ) -> None:
        self._labels = {name: value for name, value in labels.items() if value}
        self._honor_labels = honor_labels
        self._reserved = reserved
        self._samples_max = samples_max
        self._bytes_max = bytes_max
        self._texts: dict[tuple[str, bytes], str] = {}  # of the last exposition, by bytes
        self._series: tuple[str, ...] = ()

    def read(self, body: Body, deadline_s: float, monotonic: Callable[[], float]) -> Reading:
        """Read one exposition.

        Args:
            body: The answer.
            deadline_s: When to give up, on the clock of `monotonic`.
            monotonic: The clock.

        Raises:
            Unreadable: `encoding`, `body_limit`, `line_limit`, `label_limit`, `sample_limit`,
                `parse_timeout`, or `format` for what is not an exposition.
        """
        data = _unpacked(body.data, self._bytes_max) if body.gzipped else body.data
        if len(data) > self._bytes_max:
            raise Unreadable("body_limit")
        try:
            data.isascii() or data.decode()
            return self._read(data, body.openmetrics, lambda: monotonic() > deadline_s)
        except ValueError:
            raise Unreadable("format") from None

    def _read(self, data: bytes, openmetrics: bool, is_over: Callable[[], bool]) -> Reading:
        """Raises `ValueError` for what is not an exposition."""
        values = dict.fromkeys(self._reserved, 0.0)
        texts: dict[tuple[str, bytes], str] = {}
        samples, number_label, ended = 0, "", False
        for raw in io.BytesIO(data):
            if is_over():
                self._texts = texts  # so that the next try gets further
                raise Unreadable("parse_timeout")
            if len(raw) > LINE_BYTES_MAX:
                raise Unreadable("line_limit")
            line = raw.strip(b" \t\r\n")
            if not line:
                continue
            # With \r alone for line ends, everything would hide behind a comment in the first line.
            if b"\r" in line or ended:
                raise ValueError("not an exposition")
            if line.startswith(b"#"):
                ended = openmetrics and line == b"# EOF"
                if line.split(None, 2)[1:2] == [b"TYPE"]:
                    number_label = _NUMBER_LABELS.get(line.split()[-1], "")
                continue
            samples += 1
            if samples > self._samples_max:
                raise Unreadable("sample_limit")
            written, value = _split(line, openmetrics)
            known = number_label, written
            text = texts[known] = self._texts.get(known) or self._text(written, number_label)
            values.setdefault(text, value)
        if openmetrics and not ended:
            raise ValueError("cut off")
        self._texts = texts
        if tuple(values) != self._series:
            self._series = tuple(values)
        duplicates = samples - (len(values) - len(self._reserved))
        return Reading(self._series, list(values.values()), samples, duplicates)

    def _text(self, written: bytes, number_label: str) -> str:
        """The canonical text of a series as it is written in an exposition."""
        if _QUOTED_TEXT.sub(b"", written).count(b"=") > LABELS_MAX:
            raise Unreadable("label_limit")
        name, labels = _parse(written.decode())
        if number_label in labels:
            labels[number_label] = canonical_float(labels[number_label])
        try:
            return series_text(name, self._with_own(labels))
        except ValueError:
            raise Unreadable("label_limit") from None

    def _with_own(self, exposed: dict[str, str]) -> dict[str, str]:
        if self._honor_labels:
            return self._labels | exposed
        free = {name: value for name, value in exposed.items() if value and name not in self._labels}
        labels = self._labels | free
        # Short names first, so that which of two gets a contested name does not depend on their order.
        for name in sorted((name for name in exposed if name in self._labels and exposed[name]), key=len):
            exported = EXPORTED + name
            while exported in labels:
                exported = EXPORTED + exported
            labels[exported] = exposed[name]
        return labels


def _unpacked(data: bytes, bytes_max: int) -> bytes:
    """Unpack gzip, one byte more than `bytes_max` at most: a bomb is as small as any other (M28)."""
    stream = zlib.decompressobj(_GZIP)
    try:
        unpacked = stream.decompress(data, bytes_max + 1)
    except zlib.error:
        raise Unreadable("encoding") from None
    if len(unpacked) <= bytes_max and (not stream.eof or stream.unused_data):
        raise Unreadable("encoding")
    return unpacked


def _split(line: bytes, openmetrics: bool) -> tuple[bytes, float]:
    """The series as written, and its value. Raises `ValueError`."""
    found = _SERIES.match(line)
    end = found.end() if found else 0
    value, *rest = line[end:].split() or [b""]
    if rest and not (openmetrics and rest[0] == b"#"):
        _number(rest[0])  # a time; which one does not matter here
        del rest[0]
    if not end or (rest and not (openmetrics and rest[0] == b"#")):
        raise ValueError("not a sample")
    return line[:end].rstrip(), _number(value)


def _number(word: bytes) -> float:
    if b"_" in word:  # Python's own way to write numbers
        raise ValueError("not a number")
    return float(word)


def _parse(written: str) -> tuple[str, dict[str, str]]:
    """The name and the labels of a series by prometheus_client. Raises `ValueError`."""
    from prometheus_client.parser import text_string_to_metric_families

    try:
        (family,) = text_string_to_metric_families(f"{written} 1")
        (sample,) = family.samples
    except Exception as error:  # noqa: BLE001  # fuzzing it has found IndexError (F83)
        raise ValueError(type(error).__name__) from None
    return sample.name, sample.labels


def canonical_float(text: str) -> str:
    """Return a number as Prometheus 3 writes it in the labels `le` and `quantile`: `1` becomes `1.0`.

    That is Go's shortest form with a dot in it: an exponent of two digits at least, below 1e-4 and from
    1e6 on. What is not a number is returned as it is.
    """
    try:
        value = _number(text.encode())
    except ValueError:
        return text
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    if value == 0:
        return "0.0"
    number = Decimal(repr(value)).normalize()
    exponent = number.adjusted()
    if -4 <= exponent < 6:
        plain = format(number, "f")
        return plain if "." in plain else plain + ".0"
    digits = "".join(map(str, number.as_tuple().digits))
    mantissa = f"{digits[0]}.{digits[1:]}" if len(digits) > 1 else digits
    return f"{'-' if value < 0 else ''}{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
