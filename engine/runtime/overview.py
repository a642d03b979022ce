"""The engine as others see it: its status at one instant, and its own metrics, from the same figures. Reads only."""

from __future__ import annotations

import os
from collections.abc import Mapping

from engine.config.shape import Config
from engine.events import SampleBatch
from engine.ports import Clock
from engine.runtime.metrics import OWN_INTERVAL_MS, Figures, OwnBatches, own_metrics
from engine.runtime.pipeline import Parts
from engine.runtime.stepped import Published
from engine.status import EngineStatus, LedgerState

__all__ = ["Overview"]


class Overview:
    """Makes statuses and batches of own metrics.

    Args:
        config: What is watched.
        parts: What to look at.
        emit_refused: Events refused from `emit`, by reason; read anew each time.
    """

    def __init__(self, config: Config, clock: Clock, parts: Parts, emit_refused: Mapping[str, int]) -> None:
        self._config = config
        self._clock = clock
        self._parts = parts
        self._emit_refused = emit_refused
        self._started_ms = clock.now_ms()
        self._started_s = clock.monotonic()
        self._batches = OwnBatches()
        self._due_s = clock.monotonic()

    def status(self, phase: str) -> EngineStatus:
        """Everything, now."""
        parts, published = self._parts, self._parts.stepper.published()
        return EngineStatus(
            name=self._config.engine.name,
            pid=os.getpid(),
            phase=phase,
            started_ms=self._started_ms,
            heartbeat_ms=self._clock.now_ms(),
            lag_ms=parts.stepper.blindness.lag_s * 1000,
            series=published.series,
            rules=self._config.rule_count,
            probes=tuple(probe.status() for probe in parts.probes),
            sinks=tuple(sink.status() for sink in parts.sinks),
            alerts=tuple(published.alerts),
            channel=parts.shared.channel.statistics(),
            gauges=published.gauges,
            counters=own_metrics(self._figures(published)),
            ledger=self._ledger(),
        )

    def due_batch(self, now_ms: int) -> SampleBatch | None:
        """The engine's own metrics, if it is time for them."""
        now_s = self._clock.monotonic()
        if now_s < self._due_s:
            return None
        self._due_s = now_s + OWN_INTERVAL_MS / 1000
        return self._batches.batch(now_ms, own_metrics(self._figures(self._parts.stepper.published())))

    def _figures(self, published: Published) -> Figures:
        parts, stepper, containment = self._parts, self._parts.stepper, self._parts.shared.containment
        return Figures(
            channel=parts.shared.channel.statistics(),
            probes=[probe.status() for probe in parts.probes],
            sinks=[sink.status() for sink in parts.sinks],
            receivers={sink.spec.name for sink in parts.sinks if sink.messages is not None},
            now_ms=self._clock.now_ms(),
            alerts=published.alerts_by_state,
            refused={probe.spec.name: probe.refused for probe in parts.probes},
            lost={sink.spec.name: sink.desk.dropped for sink in parts.sinks},
            notices={sink.spec.name: sink.desk.notices for sink in parts.sinks},
            core=published.counters,
            emit_refused=self._emit_refused,
            blind=stepper.blindness.seconds,
            plain={
                **self._of_network(),
                **(parts.listener.figures() if parts.listener is not None else {}),
                **self._of_ledger(),
                "longwatch_uptime_seconds": self._clock.monotonic() - self._started_s,
                "longwatch_rules": self._config.rule_count,
                "longwatch_series": published.series,
                "longwatch_loop_lag_seconds": stepper.blindness.lag_s,
                "longwatch_loop_lag_max_seconds": stepper.blindness.lag_s_max,
                "longwatch_steps_total": stepper.steps,
                "longwatch_step_seconds_total": stepper.step_s,
                "longwatch_core_errors_total": stepper.errors,
                "longwatch_calls_hung": containment.abandoned,
                "longwatch_calls_abandoned_total": containment.abandoned_total,
                "longwatch_status_write_failures_total": parts.status_file.failures if parts.status_file else 0,
                "longwatch_threads": parts.pool.threads,
                "longwatch_thread_calls": parts.pool.busy,
            },
        )

    def _ledger(self) -> LedgerState:
        keeper = self._parts.keeper
        if not keeper.opened.is_set():
            return LedgerState("opening")
        status = keeper.status()
        return LedgerState(status.kept, status.trouble)

    def _of_ledger(self) -> dict[str, float]:
        status = self._parts.keeper.status()
        return {
            "longwatch_ledger_up": status.kept != "degraded",
            "longwatch_ledger_busy_seconds": status.busy_s,
            "longwatch_ledger_waiting": status.waiting,
            "longwatch_ledger_log_bytes": status.log_bytes,
            "longwatch_ledger_commits_total": status.groups_total,
            "longwatch_ledger_degraded_total": status.degraded_total,
            "longwatch_ledger_resets_total": status.resets_total,
            "longwatch_ledger_refused_total": status.refused_total,
            "longwatch_ledger_transitions_dropped_total": status.transitions_dropped_total,
            "longwatch_ledger_told_dropped_total": status.told_dropped_total,
            "longwatch_alerts_told_anew_total": self._parts.policy.anew_total,
            "longwatch_alert_ends_unknown_total": self._parts.policy.ends_unknown_total,
            "longwatch_alerts_unchecked_dropped_total": self._parts.policy.forgotten_total,
        }

    def _of_network(self) -> dict[str, float]:
        sentinel = self._parts.sentinel
        if sentinel is None:
            return {}
        return {
            "longwatch_sentinel_up": float(not sentinel.offline),
            "longwatch_measurements_withheld_total": sentinel.withheld,
        }
