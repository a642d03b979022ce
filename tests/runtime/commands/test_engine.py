"""Commands to a whole engine: it listens while it runs and has a state folder, and a stop ends what is under way."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from engine import Engine, Sample
from engine.config.load import load_text
from engine.errors import ConfigError, SinkError
from engine.events import Health
from engine.runtime.commands.client import NoAnswer, NotRunning, ask
from engine.runtime.commands.wire import (
    SOCKET_FILE,
    DrillArguments,
    DrillResult,
    DrillRow,
    IdsArguments,
    ListArguments,
    ListResult,
    ReplayResult,
    StatusArguments,
)
from engine.testing import RecordingSink

T = TypeVar("T")


async def aside(function: Callable[[], T]) -> T:
    """Call something blocking on a thread, while the engine's loop turns."""
    with ThreadPoolExecutor(1) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, function)


def engine(folder: Path | None, sink: RecordingSink) -> Engine:
    state = "" if folder is None else f'state_dir = "{folder}"\n'
    rule = '[rule.High]\nexpr = "x > 5"\n'
    text = f'[engine]\nname = "trade-1"\nexternal_labels = {{ env = "prod" }}\nshutdown_timeout = "2s"\n{state}{rule}'
    return Engine(load_text(text), sinks={"ops": sink})


async def runs(engine: Engine) -> None:
    """Wait until its ledger is open; by then it listens, too."""
    while engine.status().phase == "starting":
        await asyncio.sleep(0)


status = partial(ask, command="status", arguments=StatusArguments(), timeout_s=20.0)


async def test_an_engine_takes_commands_while_it_runs(tmp_path: Path) -> None:
    sink = RecordingSink()
    async with engine(tmp_path, sink) as running:
        await runs(running)
        told = msgspec.json.decode(await aside(partial(status, tmp_path)))
        assert (told["engine"]["name"], told["engine"]["phase"]) == ("trade-1", "running")
        drill = partial(ask, tmp_path, "drill", DrillArguments(), timeout_s=20.0)
        assert msgspec.json.decode(await aside(drill), type=DrillResult) == DrillResult(1, 1)
    assert [each.external_labels for each in sink.notifications] == [{"env": "prod"}] * 2
    assert not (tmp_path / SOCKET_FILE).exists()
    with pytest.raises(NotRunning):
        status(tmp_path)


async def test_a_second_engine_does_not_disturb_the_first(tmp_path: Path) -> None:
    async with engine(tmp_path, RecordingSink()) as running:
        await runs(running)
        with pytest.raises(ConfigError, match="running with this state folder"):
            await engine(tmp_path, RecordingSink()).start()
        assert await aside(partial(status, tmp_path))


async def entries(folder: Path) -> list[tuple[int, str, str]]:
    raw = await aside(partial(ask, folder, "outbox.list", ListArguments(), timeout_s=20.0))
    return [(each.id, each.status, each.reason) for each in msgspec.json.decode(raw, type=ListResult).messages]


class Told(RecordingSink):
    """One that records nothing, so that its failures are those of deliveries."""

    WANTS = frozenset()


@pytest.mark.parametrize(("code", "state"), [(0, "dead"), (410, "parked")])
async def test_what_nobody_took_is_listed_replayed_and_delivered(tmp_path: Path, code: int, state: str) -> None:
    """Also to a receiver that had said that it wants nothing more (410)."""
    refusal = SinkError("refused_for_good", "no", retryable=False, status=code)
    sink = Told([refusal])
    async with engine(tmp_path, sink) as running:
        await runs(running)
        running.emit(Sample(running.now_ms(), "x", 10.0))
        while not (found := await entries(tmp_path)) or found[0][1] == "waiting":
            await asyncio.sleep(0)
        assert found == [(1, state, "refused_for_good")]
        replayed = partial(ask, tmp_path, "outbox.replay", IdsArguments(ids=(1,)), timeout_s=20.0)
        assert msgspec.json.decode(await aside(replayed), type=ReplayResult).waiting == (1,)
        while not sink.delivered:
            await asyncio.sleep(0)
        while await entries(tmp_path):
            await asyncio.sleep(0)
    assert sink.attempts == [sink.delivered[0]] * 2, "the same bytes under the same id"


async def test_without_a_state_folder_there_is_no_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with engine(None, RecordingSink()) as running:
        await runs(running)
        assert list(tmp_path.iterdir()) == []


async def stopped_while_drilled(running: Engine, folder: Path) -> tuple[list[DrillRow], msgspec.Raw | NoAnswer, float]:
    """Stop an engine while a drill of ten minutes is held; its rows, its answer, and how long the stop took."""
    await running.start()
    await runs(running)
    rows: list[DrillRow] = []
    loop, begun = asyncio.get_running_loop(), asyncio.Event()

    def on_row(row: msgspec.Raw) -> None:
        rows.append(msgspec.json.decode(row, type=DrillRow))
        loop.call_soon_threadsafe(begun.set)

    drill = partial(ask, folder, "drill", DrillArguments(hold_ms=600_000), timeout_s=700.0, on_row=on_row)
    with ThreadPoolExecutor(1) as pool:
        asked = loop.run_in_executor(pool, drill)
        await begun.wait()
        begun_s = loop.time()
        await running.stop()
        took_s = loop.time() - begun_s
        try:
            return rows, await asked, took_s
        except NoAnswer as error:
            return rows, error, took_s


async def test_a_stop_ends_a_drill_and_who_was_told_of_it_is_told_its_end(tmp_path: Path) -> None:
    sink = RecordingSink()
    rows, answer, took_s = await stopped_while_drilled(engine(tmp_path, sink), tmp_path)
    assert [(row.what, row.outcome) for row in rows] == [("firing", "delivered"), ("resolved", "delivered")]
    assert isinstance(answer, msgspec.Raw)
    assert msgspec.json.decode(answer, type=DrillResult) == DrillResult(1, 1)
    assert [one.transitions[0].after for one in sink.notifications] == ["firing", "inactive"]
    assert len(sink.delivered) == 2
    assert took_s < 2, "it does not wait for the time that was asked for"


async def test_a_receiver_that_hangs_at_the_end_of_a_drill_holds_no_stop_and_that_is_told(tmp_path: Path) -> None:
    class Hangs(RecordingSink):
        async def deliver(self, message_id: str, body: bytes) -> None:
            if self.delivered:
                await asyncio.Event().wait()
            await super().deliver(message_id, body)

    sink = Hangs()
    rows, answer, took_s = await stopped_while_drilled(engine(tmp_path, sink), tmp_path)
    assert [(row.what, row.outcome) for row in rows] == [("firing", "delivered")]
    assert isinstance(answer, NoAnswer)
    assert took_s < 4
    told = [record for record in sink.records if isinstance(record, Health) and record.reason == "drill_cut"]
    assert len(told) == 1
