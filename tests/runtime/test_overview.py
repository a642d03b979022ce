"""Own metrics come at once and then every 15 seconds, of the same figures as the status."""

from engine import Engine, Sample, SampleBatch
from engine.config import load_text
from engine.runtime.metrics import OWN_INTERVAL_MS
from engine.runtime.stepping import ALERTS_MAX
from engine.series import series_text
from engine.testing import START_MS, RecordingSink, VirtualClock, run_virtual


def test_own_metrics_are_sampled_on_time_and_agree_with_the_status() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = RecordingSink()
        async with Engine(clock=clock, sinks={"kept": sink}) as engine:
            await clock.sleep(61.5)
            status = engine.status()
        batches = [record for record in sink.records if isinstance(record, SampleBatch)]
        times = [batch.time_ms - START_MS for batch in batches]
        assert times == [-1, *(k * OWN_INTERVAL_MS for k in range(1, 5))], "at once, then every 15 s"
        assert set(batches[-1].series) == set(status.counters)
        assert all(batch.interval_ms == OWN_INTERVAL_MS for batch in batches)
        assert all(name.startswith("longwatch_") for name in status.counters)

    run_virtual(main)


def test_the_phase_follows_the_life() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = RecordingSink(hang=True)
        engine = Engine(clock=clock, sinks={"hung": sink})
        phases = [engine.status().phase]
        await engine.start()
        await clock.sleep(2)
        phases.append(engine.status().phase)
        engine.request_stop()
        await clock.sleep(2)
        phases.append(engine.status().phase)
        await engine.wait_stopped()
        phases.append(engine.status().phase)
        assert phases == ["starting", "running", "draining", "stopped"]

    run_virtual(main)


def test_a_status_lists_the_foremost_alerts_and_counts_them_all_f80() -> None:
    async def main(clock: VirtualClock) -> None:
        text = '[rule.Now]\nexpr = "x > 5"\n[rule.Later]\nexpr = "y > 5"\nfor = "1h"\n'
        async with Engine(load_text(text), clock=clock) as engine:
            await clock.sleep(1)
            for metric, count in (("y", 300), ("x", ALERTS_MAX - 10)):
                for number in range(count):
                    engine.emit(Sample(clock.now_ms() + number, series_text(metric, {"i": str(number)}), 9.0))
                await clock.sleep(1)
            status = engine.status()
            assert len(status.alerts) == ALERTS_MAX
            assert [alert.state for alert in status.alerts] == ["firing"] * (ALERTS_MAX - 10) + ["pending"] * 10
            since = [alert.active_since_ms for alert in status.alerts]
            assert since[:-10] == sorted(since[:-10])
            assert since[-10:] == sorted(since[-10:])
            assert max(since[-10:]) - min(since[-10:]) == 9, "the oldest ten of three hundred"
            assert status.counters['longwatch_alerts{state="firing"}'] == ALERTS_MAX - 10
            assert status.counters['longwatch_alerts{state="pending"}'] == 300
            assert len(engine.alerts()) == ALERTS_MAX - 10 + 300, "whoever asks for all gets all"

    run_virtual(main)
