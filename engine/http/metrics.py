"""`/metrics`: the engine's own metrics in the formats of Prometheus and OpenMetrics, by prometheus_client. Reads only.

There is no global registry: what is shown is what the engine counts, turned into families for one answer, at most once
a second however often somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from engine.http.help import HELP
from engine.ports import Clock
from engine.series import split_series

__all__ = ["RENDER_EVERY_S", "Exposition"]

RENDER_EVERY_S: Final = 1.0
FORMATS_MAX: Final = 8
"""Formats that are kept for that second: a client words its wishes as it likes."""
ACCEPT_CHARS_MAX: Final = 1_024
_END: Final = b"# EOF\n"  # of OpenMetrics


class Exposition:
    """Renders figures.

    Args:
        figures: Every own metric by canonical series text.
    """

    def __init__(self, figures: Callable[[], Mapping[str, float]], clock: Clock) -> None:
        self._figures = figures
        self._clock = clock
        self._rendered: dict[str, bytes] = {}
        self._rendered_s = float("-inf")

    def rendering(self, accept: str) -> Generator[None, None, tuple[bytes, str]]:
        """Return the exposition and its content type, in the format that the header Accept asks for; in steps, one for
        each family."""
        now_s = self._clock.monotonic()
        if now_s - self._rendered_s >= RENDER_EVERY_S:
            self._rendered.clear()
            self._rendered_s = now_s
        encode, content_type = _encoder(accept)
        if content_type not in self._rendered and len(self._rendered) >= FORMATS_MAX:
            encode, content_type = _encoder("")
        if content_type not in self._rendered:
            parts = []
            for family in _families(self._figures()).values():
                parts.append(encode(family).removesuffix(_END))
                yield
            if encode(_Family()).endswith(_END):
                parts.append(_END)
            self._rendered[content_type] = b"".join(parts)
        return self._rendered[content_type], content_type


class _Family(CollectorRegistry):
    """One family, or none, as prometheus_client wants what it encodes."""

    def __init__(self, *metrics: Metric) -> None:
        super().__init__()
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics


def _encoder(accept: str) -> tuple[Callable[[_Family], bytes], str]:
    try:
        return choose_encoder(accept[:ACCEPT_CHARS_MAX])
    except (TypeError, ValueError):  # it asks for a version that is none
        return choose_encoder("")


def _families(figures: Mapping[str, float]) -> dict[str, _Family]:
    """Every family by name; its samples stand together, as the formats want it."""
    metrics: dict[str, Metric] = {}
    for series, value in figures.items():
        name, labels = split_series(series)
        if (metric := metrics.get(name)) is None:
            kind = "counter" if name.endswith("_total") else "gauge"
            help_text = HELP.get(name, "See docs/metrics.md.")
            metric = metrics[name] = Metric(name.removesuffix("_total"), help_text, kind)
        metric.add_sample(name, labels, value)
    return {name: _Family(metric) for name, metric in metrics.items()}
