"""The engine's own metrics: plain figures under `longwatch_*` names, described in docs/metrics.md. Pure.

They are fed to the core like any other sample, so that a rule can watch the watch, and shown in
`EngineStatus.counters`. There is no metrics library and no global registry behind them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from engine.events import SampleBatch
from engine.series import series_text
from engine.status import ChannelStatus, ProbeStatus, SinkStatus

__all__ = ["OWN_INTERVAL_MS", "Figures", "OwnBatches", "own_metrics"]

OWN_INTERVAL_MS: Final = 15_000
"""How often the engine's own metrics are sampled."""

# Names that the core counts under, and the metrics they are told as; these exist from the start.
_CORE: Final = {
    "samples_accepted_total": "longwatch_samples_accepted_total",
    "samples_late_total": "longwatch_samples_late_total",
    "samples_refilled_total": "longwatch_samples_refilled_total",
    "series_evicted_total": "longwatch_series_evicted_total",
    "transitions_total": "longwatch_transitions_total",
    "events_total": "longwatch_core_events_total",
    "alerts_refused_total": "longwatch_alerts_refused_total",
    "alerts_not_restored_total": "longwatch_alerts_not_restored_total",
    "alerts_begun_anew_total": "longwatch_alerts_begun_anew_total",
    "resolved_forgotten_total": "longwatch_resolved_forgotten_total",
    "flaps_forgotten_total": "longwatch_flaps_forgotten_total",
    "instants_missed_total": "longwatch_instants_missed_total",
}
_CORE_DROPPED: Final = "samples_dropped_total_"


class Figures(NamedTuple):
    """What the metrics are made of, all taken at one instant.

    Args:
        alerts: How many there are in each state.
        refused: Events refused from each probe, by reason.
        lost: What each sink lost, by reason.
        notices: What each sink told beside its errors.
        core: The core's counters.
        plain: Further metrics by name, which have no labels.
        blind: Blind time in seconds, by reason.
        receivers: Names of the sinks that take messages.
        now_ms: Event time.
        emit_refused: Events refused from `emit`, by reason.
    """

    channel: ChannelStatus
    probes: Sequence[ProbeStatus]
    sinks: Sequence[SinkStatus]
    alerts: Mapping[str, int]
    refused: Mapping[str, Mapping[str, int]]
    lost: Mapping[str, Mapping[str, int]]
    notices: Mapping[str, int]
    core: Mapping[str, int]
    emit_refused: Mapping[str, int]
    plain: Mapping[str, float]
    blind: Mapping[str, float] = {}  # never written to
    receivers: Collection[str] = ()
    now_ms: int = 0


def own_metrics(figures: Figures) -> dict[str, float]:
    """Return every own metric by the canonical text of its series."""
    values: dict[str, float] = dict(figures.plain)
    channel = figures.channel
    values["longwatch_channel_depth_samples"] = channel.depth
    values["longwatch_channel_capacity_samples"] = channel.capacity
    values["longwatch_channel_peak_samples"] = channel.peak
    values["longwatch_channel_received_total"] = channel.received
    for reason, count in channel.dropped.items():
        values[series_text("longwatch_dropped_total", {"reason": reason})] = count
    for reason, seconds in figures.blind.items():
        values[series_text("longwatch_blind_seconds_total", {"reason": reason})] = seconds
    for reason, count in figures.emit_refused.items():
        values[series_text("longwatch_emit_refused_total", {"reason": reason})] = count
    for state in ("pending", "firing"):
        values[series_text("longwatch_alerts", {"state": state})] = figures.alerts.get(state, 0)
    for name, metric in _CORE.items():
        values[metric] = figures.core.get(name, 0)
    for name, count in figures.core.items():
        if name.startswith(_CORE_DROPPED):
            reason = name.removeprefix(_CORE_DROPPED)
            values[series_text("longwatch_samples_dropped_total", {"reason": reason})] = count
    values.update(_of_probes(figures))
    values.update(_of_sinks(figures))
    return {series: float(value) for series, value in values.items()}


def _of_probes(figures: Figures) -> Iterable[tuple[str, float]]:
    for probe in figures.probes:
        label = {"probe": probe.name}
        yield series_text("longwatch_probe_up", label), probe.status != "failed"
        yield series_text("longwatch_probe_collect_seconds", label), probe.duration_ms / 1000
        yield series_text("longwatch_probe_ticks_total", label), probe.ticks
        yield series_text("longwatch_probe_ticks_missed_total", label), probe.ticks_missed
        yield series_text("longwatch_probe_failures_total", label), probe.failures_total
        for reason, count in figures.refused.get(probe.name, {}).items():
            yield series_text("longwatch_probe_refused_total", {**label, "reason": reason}), count


def _of_sinks(figures: Figures) -> Iterable[tuple[str, float]]:
    for sink in figures.sinks:
        label = {"sink": sink.name}
        yield series_text("longwatch_sink_up", label), sink.status == "ok"
        yield series_text("longwatch_sink_queued", label), sink.queued
        yield series_text("longwatch_sink_written_total", label), sink.written
        yield series_text("longwatch_sink_retries_total", label), sink.retries
        yield series_text("longwatch_sink_notices_total", label), figures.notices.get(sink.name, 0)
        if sink.name in figures.receivers:
            oldest_s = (figures.now_ms - sink.oldest_ms) / 1000 if sink.oldest_ms else 0.0
            yield series_text("longwatch_outbox_held", label), sink.held
            yield series_text("longwatch_outbox_oldest_seconds", label), max(0.0, oldest_s)
        for reason, count in figures.lost.get(sink.name, {}).items():
            yield series_text("longwatch_sink_dropped_total", {**label, "reason": reason}), count


class OwnBatches:
    """Makes batches of own metrics; the tuple of series stays the same object while the shape does."""

    def __init__(self) -> None:
        self._series: tuple[str, ...] = ()

    def batch(self, time_ms: int, values: Mapping[str, float]) -> SampleBatch:
        """One batch of everything in `values`, by canonical series text."""
        if self._series != (series := tuple(values)):
            self._series = series
        return SampleBatch(time_ms, self._series, np.array(list(values.values()), dtype=np.float64), OWN_INTERVAL_MS)
