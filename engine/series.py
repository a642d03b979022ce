"""Series: their canonical text, and the table that turns text into a small integer handle.

A series is written as Prometheus writes it, labels sorted by name: `up{instance="a",job="node"}`. That
text is the identity everywhere outside the core: on the wire, in history, in logs. It is an ordinary
`str`, so its hash is computed once and a probe that keeps its texts pays one dict look-up per sample,
or none when it sends the same tuple of texts again. Inside the core a series is its handle.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from engine.text import clean

__all__ = ["SeriesError", "SeriesTable", "fingerprint", "labels_of", "metric_of", "series_text", "split_series"]

LABEL_NAME_CHARS_MAX = 128
LABEL_VALUE_CHARS_MAX = 1024
LABELS_MAX = 64
TEXTS_PER_CHUNK = 10_000

_PLAIN_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_PLAIN_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_ESCAPE = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_UNESCAPE = {"\\": "\\", '"': '"', "n": "\n"}
_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_PAIR = re.compile(rf"(?:([a-zA-Z_][a-zA-Z0-9_]*)|{_QUOTED})={_QUOTED}(,(?!$)|\}}$)")
_QUOTED_METRIC = re.compile(rf"{_QUOTED}(,(?!$)|\}}$)")


class SeriesError(ValueError):
    """There is no series with this name or these labels. The words are ours, and hold none of theirs."""


def series_text(name: str, labels: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> str:
    """Return the canonical text of a series.

    Args:
        name: The metric name. Names beyond Prometheus' classic alphabet are quoted inside the braces.
        labels: Label names and values; empty values are left out, as in Prometheus they equal absence.

    Raises:
        SeriesError: An empty or overlong name, a reserved label, or more than `LABELS_MAX` labels.
    """
    name = _name(name, "a metric name")
    plain = _PLAIN_METRIC.fullmatch(name) is not None
    if not labels and plain:
        return name
    # Cleaned before they are sorted, so that a text is in order by what it says.
    pairs = {
        _name(label, "a label name"): clean(value, LABEL_VALUE_CHARS_MAX)
        for label, value in dict(labels).items()
        if value
    }
    if len(pairs) > LABELS_MAX:
        raise SeriesError(f"{len(pairs)} labels; at most {LABELS_MAX} are allowed")
    if "__name__" in pairs:
        raise SeriesError("the metric name is not a label here; pass it as the name")
    parts = [f'{_label_name(label)}="{value.translate(_ESCAPE)}"' for label, value in sorted(pairs.items())]
    if not plain:
        return "{" + ",".join([_quoted(name), *parts]) + "}"
    return f"{name}{{{','.join(parts)}}}" if parts else name


def _name(name: str, what: str) -> str:
    """A name, clean. A length that is too long only because of what cleaning adds is too long, too."""
    name = clean(name)
    if not name or len(name) > LABEL_NAME_CHARS_MAX:
        raise SeriesError(f"{what} has 1 to {LABEL_NAME_CHARS_MAX} characters, not {len(name)}")
    return name


def _label_name(label: str) -> str:
    return label if _PLAIN_LABEL.fullmatch(label) else _quoted(label)


def _quoted(name: str) -> str:
    return f'"{name.translate(_ESCAPE)}"'


def split_series(text: str) -> tuple[str, dict[str, str]]:
    """Return (metric name, labels) of a canonical text.

    Raises:
        ValueError: The text is not in the form that `series_text` writes.
    """
    brace = text.find("{")
    if brace < 0:
        if not _PLAIN_METRIC.fullmatch(text):
            raise ValueError(f"not a series: {clean(text, 80)}")
        return text, {}
    name, labels, at, done = text[:brace], {}, brace + 1, False
    if not name:
        head = _QUOTED_METRIC.match(text, at)
        if head is None:
            raise ValueError(f"not a series: {clean(text, 80)}")
        name, at = _unescape(head[1]), head.end()
        done = at == len(text)
    elif not _PLAIN_METRIC.fullmatch(name):
        raise ValueError(f"not a series: {clean(text, 80)}")
    while not done:
        pair = _PAIR.match(text, at)
        if pair is None:
            raise ValueError(f"not a series: {clean(text, 80)}")
        labels[pair[1] or _unescape(pair[2])] = _unescape(pair[3])
        at = pair.end()
        done = at == len(text)
    return name, labels


def labels_of(text: str) -> dict[str, str]:
    """The labels of a canonical text that `split_series` has read before: what is plain is not looked at again."""
    parts = text[text.find("{") + 1 :].split('"')
    # Without escapes and quoted names every other part is a value, and the others are `name=`, `,name=` and the brace.
    names = parts[:-1:2]
    if "\\" in text or not names or "" in names or "," in names:
        return split_series(text)[1]
    return {name[name[0] == "," : -1]: value for name, value in zip(names, parts[1::2], strict=True)}


def metric_of(text: str) -> str:
    """The metric name of a canonical text, as `split_series` gives it, without reading the labels."""
    return text.partition("{")[0] or split_series(text)[0]


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    return re.sub(r"\\(.)", lambda m: _UNESCAPE.get(m[1], m[0]), text)


def fingerprint(labels: Mapping[str, str]) -> str:
    """Return Alertmanager's fingerprint of a label set: 16 hex digits.

    64-bit FNV-1a over the names in order, each followed by 0xff, its value and 0xff
    (prometheus/common, model/signature.go).
    """
    digest = 14695981039346656037
    for name in sorted(labels):
        for byte in name.encode() + b"\xff" + labels[name].encode() + b"\xff":
            digest = ((digest ^ byte) * 1099511628211) & 0xFFFFFFFFFFFFFFFF
    return f"{digest:016x}"


class SeriesTable:
    """Texts to handles: 0, 1, 2, ... in order of first sight. Handles change when series are forgotten, and only then:
    all of them at once, in the same order.

    Args:
        series_max: How many series it takes; `intern` returns -1 beyond that and the caller counts it.
    """

    __slots__ = ("_handles", "_texts", "series_max")

    def __init__(self, series_max: int) -> None:
        self.series_max = series_max
        self._handles: dict[str, int] = {}
        self._texts: list[str] = []

    def __len__(self) -> int:
        return len(self._texts)

    def intern(self, text: str) -> int:
        """Return the handle of `text`, giving it one at first sight; -1 when the table is full."""
        handle = self._handles.get(text)
        if handle is None:
            if len(self._texts) >= self.series_max:
                return -1
            handle = len(self._texts)
            self._handles[text] = handle
            self._texts.append(text)
        return handle

    def fill(self, texts: Sequence[str]) -> None:
        """Take the texts of another table, which were checked there, into an empty one, whatever its limit.

        Raises:
            ValueError: It is not empty, or a text is there twice.
        """
        handles = dict(zip(texts, range(len(texts)), strict=True))
        if self._texts or len(handles) < len(texts):
            raise ValueError("a series is there twice")
        self._texts, self._handles = list(texts), handles

    def find(self, text: str) -> int:
        """Return the handle of `text`, or -1 if it was never seen."""
        return self._handles.get(text, -1)

    def find_all(self, texts: Sequence[str]) -> NDArray[np.int64] | None:
        """The handles of texts; None if one of them was never seen."""
        try:
            return np.fromiter(map(self._handles.__getitem__, texts), np.int64, len(texts))
        except KeyError:
            return None

    def text(self, handle: int) -> str:
        """The canonical text behind a handle."""
        return self._texts[handle]

    def texts(self) -> list[str]:
        """All texts, in handle order (a copy)."""
        return list(self._texts)

    def compacting(self, keep: Sequence[bool]) -> Generator[None, None, Callable[[], None]]:
        """Prepare to forget series, in steps; what is returned does it at once.

        Args:
            keep: By handle, which series stay.
        """
        texts = list(compress(self._texts, keep))
        handles: dict[str, int] = {}
        for at in range(0, len(texts), TEXTS_PER_CHUNK):
            part = texts[at : at + TEXTS_PER_CHUNK]
            handles.update(zip(part, range(at, at + len(part)), strict=True))
            yield

        def commit() -> None:
            self._texts, self._handles = texts, handles

        return commit
