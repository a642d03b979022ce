"""What each of the engine's own metrics means, in one line: the HELP of `/metrics`. Data.

docs/metrics.md says more; a test holds that the two name the same metrics. A name that ends in `_total` is a counter,
every other a gauge.
"""

from __future__ import annotations

from typing import Final

__all__ = ["HELP"]

HELP: Final = {
    # the queue between probes and rules
    "longwatch_channel_depth_samples": "Samples that wait for the rules now.",
    "longwatch_channel_capacity_samples": "Samples that may wait for the rules.",
    "longwatch_channel_peak_samples": "The most samples that ever waited for the rules.",
    "longwatch_channel_received_total": "Samples that were offered to the rules.",
    "longwatch_dropped_total": "Samples that were dropped before the rules, by reason.",
    "longwatch_emit_refused_total": "Events that the engine's emit refused, by reason.",
    # rules
    "longwatch_rules": "Rules that are judged.",
    "longwatch_series": "Series in the rules' store.",
    "longwatch_alerts": "Alerts now, by state.",
    "longwatch_transitions_total": "Changes of alert states.",
    "longwatch_samples_accepted_total": "Samples taken into the store.",
    "longwatch_samples_late_total": "Samples accepted, but stamped before the instant that was judged last.",
    "longwatch_samples_refilled_total": "Samples of the history that windows were refilled with at the start.",
    "longwatch_samples_dropped_total": "Samples that the store did not take, by reason.",
    "longwatch_series_evicted_total": "Dead series that were forgotten.",
    "longwatch_alerts_refused_total": "Alerts not made because of a limit.",
    "longwatch_alerts_not_restored_total": "Alerts of a snapshot that no rule, label set or level is left for.",
    "longwatch_alerts_begun_anew_total": "Pending alerts that a downtime of the engine ended.",
    "longwatch_resolved_forgotten_total": "Resolved alerts forgotten before their time, because a rule has too many.",
    "longwatch_flaps_forgotten_total": "Alerts whose last changes were forgotten, because too many changed.",
    "longwatch_instants_missed_total": "Evaluations of rule files' groups left out, because nobody could see then.",
    "longwatch_core_events_total": "Health and domain events taken.",
    "longwatch_core_errors_total": "Steps of the rules that failed: each is a bug.",
    # probes
    "longwatch_probe_up": "0 while the probe itself fails, not its target; else 1.",
    "longwatch_probe_collect_seconds": "How long the last measurement took.",
    "longwatch_probe_ticks_total": "Measurements begun.",
    "longwatch_probe_ticks_missed_total": "Measurements that could not begin in time.",
    "longwatch_probe_failures_total": "Measurements that failed.",
    "longwatch_probe_refused_total": "Events of the probe that were not valid, by reason.",
    # sinks
    "longwatch_sink_up": "0 while the sink fails or retries, else 1.",
    "longwatch_sink_queued": "Records and messages that wait for the sink.",
    "longwatch_sink_written_total": "Records written and messages delivered.",
    "longwatch_outbox_held": "Messages that wait for a person: dead letters, and those for a disabled receiver.",
    "longwatch_outbox_oldest_seconds": "For how long the oldest of the messages that wait for the sink has.",
    "longwatch_sink_retries_total": "Attempts that failed and were repeated.",
    "longwatch_sink_notices_total": "Things the sink had to tell that are not errors of a write.",
    "longwatch_sink_dropped_total": "Records and messages that the sink will never see, by reason.",
    # the ledger
    "longwatch_ledger_up": "0 while the ledger is kept in memory because its file can't be written, else 1.",
    "longwatch_ledger_degraded_total": "How often that began.",
    "longwatch_ledger_resets_total": "Damaged files that were replaced by a new one.",
    "longwatch_ledger_commits_total": "Groups of transactions that were committed.",
    "longwatch_ledger_busy_seconds": "For how long the commit that is under way has been; 0 if none is.",
    "longwatch_ledger_waiting": "Transactions that were handed over and are not under way yet.",
    "longwatch_ledger_refused_total": "Transitions and transactions that found no room.",
    "longwatch_ledger_log_bytes": "Size of the write-ahead log, at the last look.",
    "longwatch_ledger_transitions_dropped_total": "Transitions over the limit that were still needed.",
    "longwatch_ledger_told_dropped_total": "Alerts of which it was forgotten what a receiver was told: too many.",
    "longwatch_alerts_told_anew_total": "Alerts that a receiver should have been told of before, and was told then.",
    "longwatch_alert_ends_unknown_total": "Alerts that a receiver believes to fire, whose end can't be told any more.",
    "longwatch_alerts_unchecked_dropped_total": "Alerts forgotten before it was known whether receivers know them.",
    # the engine itself
    "longwatch_uptime_seconds": "Time since the start.",
    "longwatch_loop_lag_seconds": "How late the last turn of the event loop was.",
    "longwatch_loop_lag_max_seconds": "The latest that a turn of the event loop ever was.",
    "longwatch_steps_total": "Batches judged.",
    "longwatch_step_seconds_total": "Time from the begin to the end of these steps.",
    "longwatch_calls_hung": "Calls of probes and sinks that were cancelled and have not ended.",
    "longwatch_calls_abandoned_total": "Calls of probes and sinks that were ever left behind.",
    "longwatch_threads": "Threads of the pool.",
    "longwatch_thread_calls": "Blocking calls that wait or are under way.",
    "longwatch_status_write_failures_total": "Times that status.json could not be written.",
    # when the engine could not see
    "longwatch_blind_seconds_total": "Time in which the engine could not see, by reason.",
    "longwatch_sentinel_up": "0 while no sentinel answers, else 1.",
    "longwatch_measurements_withheld_total": "Measurements of remote probes that failed while no sentinel answered.",
    # the listener
    "longwatch_http_connections": "Connections to the listener now.",
    "longwatch_http_connections_refused_total": "Connections that were one too many.",
    "longwatch_http_requests_total": "Requests that were answered, by route and status.",
    "longwatch_heartbeat_calls_total": "Heartbeats taken, by kind.",
    "longwatch_heartbeat_last_success_timestamp_seconds": "When the last successful heartbeat came, since the epoch.",
    "longwatch_heartbeat_waiting_seconds": "Time since the start without a first heartbeat; 0 once one came.",
    "longwatch_heartbeat_refused_total": "Heartbeats that were refused, by reason.",
}
