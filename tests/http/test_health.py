"""The three questions: what each state of the engine answers, and what it must not depend on."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from engine import Engine
from engine.config import load_text
from engine.config.http_tables import HttpTable
from engine.config.shape import Config, EngineTable
from engine.errors import ConfigError
from engine.events import Sample
from engine.http.health import Vitals, live, ready, startup
from engine.ports import Progress
from engine.runtime.keeping import LEDGER_FILE
from engine.status import ProbeStatus, SinkStatus
from engine.testing import FunctionProbe, HangingProbe, RecordingSink, VirtualClock, run_virtual
from tests.http.rig import Reply, ask, bearer, secret, serving, table

FINE = {"core": Progress(100.0, 30.0), "probes": Progress(95.0, 30.0), "ledger": Progress(99.0, 60.0)}
WELL = Vitals("trade-1", "running", 3, FINE, 101.0)


def unkept(seconds: float) -> Vitals:
    return WELL._replace(progress={**FINE, "disk": Progress(WELL.now_s - seconds, 60.0)}, trouble="disk_full")


def stuck(part: str) -> Vitals:
    return WELL._replace(progress={**FINE, part: Progress(100.0 - 61.5, 60.0)})


@pytest.mark.parametrize(
    ("vitals", "statuses"),
    [
        (WELL, (200, 200, 200)),
        (WELL._replace(phase="starting", steps=0), (200, 503, 503)),
        (stuck("core")._replace(phase="starting", steps=0), (200, 503, 503)),
        (stuck("core")._replace(steps=0), (200, 503, 503)),
        (unkept(60.0), (200, 200, 200)),
        (unkept(60.1), (200, 503, 200)),
        (WELL._replace(steps=0), (200, 503, 503)),
        (WELL._replace(phase="draining"), (200, 503, 200)),
        (WELL._replace(phase="stopped"), (200, 503, 200)),
        (stuck("core"), (503, 503, 200)),
        (stuck("core")._replace(phase="draining"), (200, 503, 200)),
        (stuck("probes"), (200, 503, 200)),
        (stuck("ledger"), (200, 503, 200)),
        (WELL._replace(progress={"core": FINE["core"]}), (200, 200, 200)),
    ],
)
def test_live_ready_startup(vitals: Vitals, statuses: tuple[int, int, int]) -> None:
    assert (live(vitals).status, ready(vitals).status, startup(vitals).status) == statuses


def test_the_reasons_are_named() -> None:
    assert live(stuck("core")).reason == "core got nowhere for 62 s"
    assert ready(stuck("ledger")).reason == "ledger got nowhere for 62 s"
    assert ready(stuck("probes")._replace(phase="draining")).reason == (
        "the engine is draining; probes got nowhere for 62 s"
    )
    assert startup(WELL._replace(steps=0)).reason == "nothing has been judged yet"


def test_what_is_kept_in_memory_alone_is_a_warning_first() -> None:
    verdict = ready(unkept(10.0))
    assert (verdict.status, verdict.word, verdict.checks["ledger:kept"][0]["output"]) == (200, "warn", "disk_full")
    assert ready(unkept(75.0)).reason == ("alerts and messages are kept in memory alone for 75 s: disk_full")


def test_a_part_at_its_limit_is_not_stuck() -> None:
    vitals = WELL._replace(progress={"core": Progress(71.0, 30.0)})
    assert live(vitals).well
    assert not live(vitals._replace(now_s=101.01)).well


def test_a_component_that_fails_is_told_and_nothing_more() -> None:
    """Whoever takes the alarm out of service because a receiver is down gets no alarm at all."""
    parts = (ProbeStatus("host", "host", 5_000), SinkStatus("ops", "webhook", "failed", "no answer"))
    verdict = ready(WELL._replace(components=parts))
    assert (verdict.status, verdict.word) == (200, "warn")
    assert verdict.checks["probe.host:status"] == [{"componentType": "component", "status": "pass"}]
    assert verdict.checks["sink.ops:status"] == [
        {"componentType": "component", "status": "fail", "output": "no answer"}
    ]


def test_the_body_says_more_to_who_may_know() -> None:
    verdict = ready(stuck("ledger"))
    assert json.loads(verdict.body("trade-1", whole=False)) == {"status": "fail"}
    whole = json.loads(verdict.body("trade-1", whole=True))
    assert (whole["serviceId"], whole["output"]) == ("trade-1", "ledger got nowhere for 62 s")
    assert whole["checks"]["ledger:age"] == [
        {"componentType": "system", "observedValue": 62.5, "observedUnit": "s", "status": "fail"}
    ]


def test_over_the_wire() -> None:
    async def main(clock: VirtualClock) -> None:
        async with serving(clock, table(token=secret())) as rig:
            rig.vitals = stuck("core")
            reply = await rig.ask("/health/live", **bearer())
            assert (reply.status, reply.headers["content-type"]) == (503, "application/health+json")
            assert json.loads(reply.body)["output"] == "core got nowhere for 62 s"
            head = await rig.ask("/health/live", "HEAD")
            assert (head.status, head.body) == (503, b"")

    run_virtual(main)


# --- of a whole engine ----------------------------------------------------------------------------


async def states(engine: Engine) -> tuple[int, int, int]:
    assert engine.http_port is not None
    replies = [(await ask(engine.http_port, f"/health/{name}")).status for name in ("live", "ready", "startup")]
    return replies[0], replies[1], replies[2]


def config(**settings: Any) -> Config:
    return Config(engine=EngineTable(**settings), http=table())


def test_a_running_engine_is_well_and_one_that_stops_is_not_ready() -> None:
    async def main(clock: VirtualClock) -> None:
        answers: list[tuple[int, int, int]] = []

        class Slow(RecordingSink):
            async def close(self) -> None: ...

            async def write(self, records: Any) -> None:
                if stopping:
                    answers.append(await states(engine))
                await super().write(records)

        stopping: list[bool] = []
        engine = Engine(config(), clock=clock, sinks={"slow": Slow()})
        async with engine:
            await clock.sleep(5)
            assert await states(engine) == (200, 200, 200)
            stopping.append(True)
            engine.emit(Sample(clock.now_ms(), "x", 1.0))
        assert answers
        assert answers[-1] == (200, 503, 200), "the listener stops last, and says so until then"

    run_virtual(main)


def test_probes_that_all_hang_are_a_matter_of_ready() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = Engine(config(), clock=clock)
        probe = HangingProbe(stubborn=True)
        engine.add_probe("slow", probe, "20s", "1s")
        async with engine:
            await clock.sleep(200)
            assert await states(engine) == (200, 503, 200)
            probe.release()
            await clock.sleep(40)
            assert await states(engine) == (200, 200, 200)

    run_virtual(main)


def test_a_target_that_is_down_and_a_probe_that_fails_are_nobody_elses_matter() -> None:
    async def main(clock: VirtualClock) -> None:
        def fails() -> Any:
            raise RuntimeError("no")

        engine = Engine(config(), clock=clock)
        engine.add_probe("bad", FunctionProbe(fails), "5s")
        async with engine:
            await clock.sleep(300)
            assert await states(engine) == (200, 200, 200)
            assert engine.http_port is not None
            reply: Reply = await ask(engine.http_port, "/health/ready")
            told = json.loads(reply.body)
            assert (told["status"], told["checks"]["probe.bad:status"][0]["status"]) == ("warn", "fail")

    run_virtual(main)


async def told(engine: Engine) -> Any:
    assert engine.http_port is not None
    reply = await ask(engine.http_port, "/health/ready")
    return reply.status, json.loads(reply.body)


def test_a_ledger_that_can_not_be_opened_is_a_matter_of_ready_after_a_minute(tmp_path: Path) -> None:
    (tmp_path / LEDGER_FILE).mkdir()

    async def main(clock: VirtualClock) -> None:
        engine = Engine(config(state_dir=tmp_path), clock=clock)
        async with engine:
            await clock.sleep(5)
            status, body = await told(engine)
            assert (status, body["status"], body["checks"]["ledger:age"][0]["status"]) == (200, "warn", "pass")
            assert "ledger:kept" in body["checks"]
            await clock.sleep(70)
            status, body = await told(engine)
            assert (status, body["status"]) == (503, "fail")
            assert body["output"].startswith("alerts and messages are kept in memory alone for 75 s: ")
            assert str(tmp_path) not in body["output"]
            assert (await states(engine)) == (200, 503, 200)
            (tmp_path / LEDGER_FILE).rmdir()
            await clock.sleep(300)
            assert (await told(engine))[1]["status"] == "pass"

    run_virtual(main)


async def test_an_engine_whose_port_is_taken_does_not_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        http = HttpTable(port=other.getsockname()[1])
        taken = Engine(Config(engine=EngineTable(state_dir=tmp_path), http=http))
        with pytest.raises(ConfigError, match="another program listens there"):
            await taken.start()
    async with Engine(Config(engine=EngineTable(state_dir=tmp_path), http=http)) as engine:
        assert engine.http_port == http.port, "the state folder is free, and so is the port"


def test_without_a_table_nothing_listens() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = Engine(load_text("[sink.console]\n", environ={}), clock=clock)
        async with engine:
            await clock.sleep(1)
            assert engine.http_port is None
            assert not [name for name in engine.status().counters if "http" in name]

    run_virtual(main)
