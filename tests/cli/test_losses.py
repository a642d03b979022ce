"""What was not kept is told by kind; "nothing dropped" is said of nothing else."""

import msgspec
import pytest

from engine.cli.losses import losses
from engine.runtime.metrics import Figures, own_metrics
from engine.status import ChannelStatus, EngineStatus, ProbeStatus, SinkStatus

QUIET = Figures(
    channel=ChannelStatus(),
    probes=[ProbeStatus("host", "host", 5_000), ProbeStatus("health", "http", 5_000)],
    sinks=[SinkStatus("ops", "webhook")],
    alerts={},
    notices={},
    refused={},
    lost={},
    core={"samples_accepted_total": 900, "samples_late_total": 3, "transitions_total": 7},
    emit_refused={},
    plain={"longwatch_uptime_seconds": 60.0},
)


def status(figures: Figures) -> EngineStatus:
    """As the engine makes it: the counters are its own metrics."""
    sinks = tuple(figures.sinks)
    return EngineStatus("x", 1, "stopped", 0, 0, sinks=sinks, channel=figures.channel, counters=own_metrics(figures))


def test_nothing_is_nothing() -> None:
    assert losses(status(QUIET)) == []
    assert losses(EngineStatus("x", 1, "starting", 0, 0)) == []


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"channel": ChannelStatus(dropped={"full": 3})}, "3 samples dropped before the rules (full)"),
        (
            {"core": {"samples_dropped_total_series_limit": 40, "samples_dropped_total_old": 2}},
            "42 samples not taken by the rules (series_limit 40, old 2)",
        ),
        ({"core": {"alerts_refused_total": 5}}, "5 alerts not made"),
        ({"emit_refused": {"value": 1}}, "1 event refused from emit (value)"),
        (
            {"refused": {"host": {"series": 2}, "health": {"series": 1, "time": 1}}},
            "4 events refused from probes (series 3, time 1)",
        ),
        (
            {"sinks": [SinkStatus("ops", "webhook", dropped=4)], "lost": {"ops": {"http_503": 4}}},
            "4 records or messages lost by sink ops (http_503)",
        ),
        ({"sinks": [SinkStatus("out", "console", dropped=1)]}, "1 record or message lost by sink out"),
        (
            {"blind": {"suspend": 28_800.0, "loop_lag": 3.25, "dropped": 0.0, "downtime": 99.0}},
            "not seen: suspend 8h, loop_lag 3s250ms",
        ),
        (
            {"blind": {"suspend": 1.0, "loop_lag": 2.0, "dropped": 3.0, "offline": 4.0}},
            "not seen: offline 4s, dropped 3s, loop_lag 2s, ...",
        ),
    ],
)
def test_each_kind_of_loss_has_its_line(changes: dict[str, object], line: str) -> None:
    assert losses(status(QUIET._replace(**changes))) == [line]  # type: ignore[arg-type]


def test_all_of_them_together_in_one_order() -> None:
    figures = QUIET._replace(
        channel=ChannelStatus(dropped={"full": 1, "displaced": 2, "oversize": 3, "reserve": 4}),
        core={"samples_dropped_total_old": 1},
        emit_refused={"type": 2},
        sinks=[SinkStatus("a", "sqlite", dropped=1), SinkStatus("b", "webhook", dropped=2)],
        lost={"a": {"queue_full": 1}, "b": {"shutdown": 1, "http_400": 1}},
    )
    assert losses(status(figures)) == [
        "10 samples dropped before the rules (reserve 4, oversize 3, displaced 2, ...)",
        "1 sample not taken by the rules (old)",
        "2 events refused from emit (type)",
        "1 record or message lost by sink a (queue_full)",
        "2 records or messages lost by sink b (http_400 1, shutdown 1)",
    ]


def test_every_counter_of_drops_and_refusals_is_told() -> None:
    """A counter that is added later, and named as the others are, must not be forgotten at the end of a run."""
    core = dict.fromkeys(("alerts_refused_total", "samples_dropped_total_old", "events_dropped_total_x"), 1)
    figures = QUIET._replace(
        channel=ChannelStatus(dropped={"full": 1}),
        core=core,
        emit_refused={"type": 1},
        refused={"host": {"type": 1}},
        lost={"ops": {"full": 1}},
    )
    made = status(figures)
    named = [name for name in made.counters if "dropped" in name or "refused" in name]
    assert len(named) == 6
    for name in named:
        alone = msgspec.structs.replace(made, counters={name: 1.0})
        assert len(losses(alone)) == 1, name
