"""Own metrics come at once and then every 15 seconds, of the same figures as the status."""

from engine import Engine, SampleBatch
from engine.runtime.metrics import OWN_INTERVAL_MS
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
