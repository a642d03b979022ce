"""Heartbeats that come in: what a call becomes, what is refused, and rules about those that do not come."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from engine import Engine
from engine.config import load_text
from engine.events import SampleBatch
from engine.http.heartbeats import HEARTBEAT_METRICS, PINGS_PER_SECOND, HeartbeatDesk
from engine.testing import START_MS, RecordingSink, VirtualClock, run_virtual
from tests.http.rig import ask, bearer, heartbeat, loop, secret, serving, table

SPAN_S = 360


class Desk:
    """One that keeps what it was called with."""

    def __init__(self, clock: VirtualClock, common: Any = None, **more: Any) -> None:
        self.batches: list[SampleBatch] = []
        self.room = True
        self.desk = HeartbeatDesk([heartbeat(**more)], common, clock, self._put)

    def _put(self, batch: SampleBatch) -> bool:
        self.batches += [batch] * self.room
        return self.room

    def call(self, word: str = "", name: str = "backup", token: str = "") -> int:
        return self.desk.call(name, word, token).status

    def values(self) -> dict[str, float]:
        batch = self.batches[-1]
        return dict(zip(batch.series, batch.values.tolist(), strict=True))


def run(check: Callable[[VirtualClock], Awaitable[None]]) -> None:
    async def main(clock: VirtualClock) -> None:
        await check(clock)

    run_virtual(main)


def test_a_call_is_a_batch_that_is_stale_when_the_next_one_is_due() -> None:
    async def check(clock: VirtualClock) -> None:
        desk = Desk(clock, every="6m", labels={"team": "db"})
        assert desk.call() == 200
        assert desk.values() == {
            'heartbeat_up{heartbeat="backup",team="db"}': 1.0,
            'heartbeat_running{heartbeat="backup",team="db"}': 0.0,
        }
        assert (desk.batches[0].time_ms, 3 * desk.batches[0].interval_ms) == (START_MS, SPAN_S * 1000)

    run(check)


@pytest.mark.parametrize(
    ("word", "up", "code"),
    [("", 1.0, None), ("0", 1.0, 0.0), ("fail", 0.0, None), ("1", 0.0, 1.0), ("255", 0.0, 255.0)],
)
def test_the_word_behind_the_name_says_how_it_went(word: str, up: float, code: float | None) -> None:
    async def check(clock: VirtualClock) -> None:
        desk = Desk(clock)
        assert desk.call(word) == 200
        assert desk.values()['heartbeat_up{heartbeat="backup"}'] == up
        assert desk.values().get('heartbeat_exit_code{heartbeat="backup"}') == code

    run(check)


def test_a_start_says_that_it_runs_and_the_end_how_long_it_did() -> None:
    async def check(clock: VirtualClock) -> None:
        desk = Desk(clock)
        desk.call("start")
        assert desk.values() == {'heartbeat_running{heartbeat="backup"}': 1.0}
        await clock.sleep(90)
        desk.call("3")
        assert desk.values() == {
            'heartbeat_up{heartbeat="backup"}': 0.0,
            'heartbeat_running{heartbeat="backup"}': 0.0,
            'heartbeat_duration_seconds{heartbeat="backup"}': 90.0,
            'heartbeat_exit_code{heartbeat="backup"}': 3.0,
        }
        desk.call()
        assert 'heartbeat_duration_seconds{heartbeat="backup"}' not in desk.values(), "that was of another run"
        made = {series.partition("{")[0] for batch in desk.batches for series in batch.series}
        assert made == set(HEARTBEAT_METRICS)

    run(check)


def test_two_calls_in_one_millisecond_are_two_samples() -> None:
    async def check(clock: VirtualClock) -> None:
        desk = Desk(clock)
        desk.call("start")
        desk.call()
        assert [batch.time_ms for batch in desk.batches] == [START_MS, START_MS + 1]

    run(check)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("other", ""),
        ("", ""),
        ("Backup", ""),
        ("backup", "256"),
        ("backup", "-1"),
        ("backup", "0001"),
        ("backup", "²"),
        ("backup", "stop"),
        ("backup\0", ""),
    ],
)
def test_what_is_not_known_is_refused_and_counted(name: str, word: str) -> None:
    async def check(clock: VirtualClock) -> None:
        desk = Desk(clock)
        assert desk.call(word, name) == 404
        assert desk.batches == []
        assert desk.desk.figures()['longwatch_heartbeat_refused_total{reason="unknown"}'] == 1

    run(check)


def test_one_token_of_its_own_or_else_that_of_all() -> None:
    async def check(clock: VirtualClock) -> None:
        own = Desk(clock, secret("a" * 20), token=secret("b" * 20))
        assert [own.call(token=token) for token in ("", "a" * 20, "b" * 20)] == [401, 401, 200]
        common = Desk(clock, secret("a" * 20))
        assert [common.call(token=token) for token in ("", "a" * 20, "b" * 20)] == [401, 200, 401]
        assert common.desk.figures()['longwatch_heartbeat_refused_total{reason="token"}'] == 2
        assert len(own.batches) == len(common.batches) == 1

    run(check)


def test_more_than_ten_a_second_are_refused() -> None:
    async def check(clock: VirtualClock) -> None:
        desk = Desk(clock)
        assert [desk.call() for _ in range(PINGS_PER_SECOND + 3)] == [200] * PINGS_PER_SECOND + [429] * 3
        await clock.sleep(1)
        assert desk.call() == 200
        assert desk.desk.figures()['longwatch_heartbeat_refused_total{reason="rate"}'] == 3

    run(check)


def test_a_call_for_which_there_is_no_room_was_none() -> None:
    async def check(clock: VirtualClock) -> None:
        desk = Desk(clock)
        desk.room = False
        assert desk.call() == 503
        figures = desk.desk.figures()
        assert figures['longwatch_heartbeat_refused_total{reason="full"}'] == 1
        assert figures['longwatch_heartbeat_calls_total{heartbeat="backup",kind="success"}'] == 0
        assert 'longwatch_heartbeat_last_success_timestamp_seconds{heartbeat="backup"}' not in figures

    run(check)


def test_a_start_for_which_there_is_no_room_begins_nothing() -> None:
    async def check(clock: VirtualClock) -> None:
        desk = Desk(clock)
        desk.room = False
        desk.call("start")
        desk.room = True
        await clock.sleep(5)
        desk.call()
        assert 'heartbeat_duration_seconds{heartbeat="backup"}' not in desk.values()

    run(check)


def test_how_long_the_first_one_is_waited_for() -> None:
    async def check(clock: VirtualClock) -> None:
        desk = Desk(clock)
        waiting = 'longwatch_heartbeat_waiting_seconds{heartbeat="backup"}'
        last = 'longwatch_heartbeat_last_success_timestamp_seconds{heartbeat="backup"}'
        await clock.sleep(40)
        assert desk.desk.figures()[waiting] == 40
        desk.call("fail")
        assert (desk.desk.figures()[waiting], last in desk.desk.figures()) == (0, False)
        desk.call()
        assert desk.desk.figures()[last] == (START_MS + 40_001) / 1000

    run(check)


# --- over the wire --------------------------------------------------------------------------------


def test_get_and_post_call_and_a_page_of_a_browser_does_not() -> None:
    async def main(clock: VirtualClock) -> None:
        async with serving(clock, table(token=secret())) as rig:
            assert (await rig.ask("/heartbeat/backup/start", "POST", **bearer())).body == b"ok\n"
            assert (await rig.ask("/heartbeat/backup/0", **bearer())).status == 200
            assert len(rig.batches) == 2
            for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}):
                assert (await rig.ask("/heartbeat/backup", "POST", **bearer(), **headers)).status == 403
                assert (await rig.ask("/heartbeat/backup", **bearer(), **headers)).status == 403
            assert len(rig.batches) == 2
            for path in ("/heartbeat/backup/", "/heartbeat/", "/heartbeat/backup/0/1", "/heartbeat/%62ackup/x"):
                assert (await rig.ask(path, **bearer())).status == 404
            rig.room = False
            reply = await rig.ask("/heartbeat/backup", **bearer())
            assert (reply.status, reply.headers["retry-after"]) == (503, "1")

    run_virtual(main)


# --- rules ----------------------------------------------------------------------------------------

RULES = """
[http]
port = 0
[heartbeat.backup]
every = "6m"
[rule.BackupMissing]
expr = "heartbeat_up == 0"
on_missing = "fire"
missing_for = "1m"
hold_max = "1h"
[rule.BackupNeverCame]
expr = "longwatch_heartbeat_waiting_seconds > 720"
[rule.BackupHangs]
expr = "heartbeat_running == 1"
for = "3m"
"""


def engine(clock: VirtualClock) -> tuple[Engine, RecordingSink]:
    sink = RecordingSink()
    return Engine(load_text(RULES, environ={}), clock=clock, sinks={"kept": sink}), sink


def told(sink: RecordingSink) -> list[tuple[str, str, str, float]]:
    """Rule, kind, reason and time (s since the start) of every transition of ours but those to pending."""
    found = [(t.rule, t.kind, t.reason, (t.time_ms - START_MS) / 1000) for t in sink.transitions]
    return [one for one in found if one[1] != "pending" and one[0].startswith("Backup")]


async def call(running: Engine, path: str) -> int:
    assert running.http_port is not None
    return (await ask(running.http_port, path)).status


def test_a_job_that_does_not_call_any_more_makes_a_rule_fire_at_the_exact_instant() -> None:
    async def main(clock: VirtualClock) -> None:
        running, sink = engine(clock)
        async with running:
            for number in range(3):
                await clock.sleep(SPAN_S * number + 100 - clock.monotonic())
                assert await call(running, "/heartbeat/backup") == 200
            await clock.sleep(2 * SPAN_S)
            late = 3 * SPAN_S + 100 + 60 + 0.001  # older than the span, and missing for a minute
            assert told(sink) == [("BackupMissing", "firing", "missing", late)]
            await call(running, "/heartbeat/backup")
            await clock.sleep(1)
        assert [one[:3] for one in told(sink)[1:]] == [("BackupMissing", "resolved", "recovered")]

    run_virtual(main)


def test_a_job_that_failed_or_hangs_or_never_came() -> None:
    async def main(clock: VirtualClock) -> None:
        running, sink = engine(clock)
        async with running:
            await clock.sleep(2 * SPAN_S + 60)
            assert [one[:2] for one in told(sink)] == [("BackupNeverCame", "firing")]
            await call(running, "/heartbeat/backup/start")
            await clock.sleep(180)
            await call(running, "/heartbeat/backup/3")
            await clock.sleep(60)
        assert [one[:2] for one in told(sink)[1:]] == [
            ("BackupNeverCame", "resolved"),
            ("BackupHangs", "firing"),
            ("BackupMissing", "firing"),
            ("BackupHangs", "resolved"),
        ]
        assert told(sink)[2][3] == 2 * SPAN_S + 60 + 180, "three minutes after the start, to the millisecond"

    run_virtual(main)


def test_while_the_machine_slept_nobody_could_call() -> None:
    async def main(clock: VirtualClock) -> None:
        running, sink = engine(clock)
        async with running:
            await call(running, "/heartbeat/backup")
            await clock.sleep(180)
            clock.suspend(50 * SPAN_S * 1000)
            await clock.sleep(180)
            assert told(sink) == []
            await call(running, "/heartbeat/backup")
            await clock.sleep(60)
        assert told(sink) == []

    run_virtual(main)


def test_the_engine_answers_until_it_has_stopped() -> None:
    async def main(clock: VirtualClock) -> None:
        running, _ = engine(clock)
        async with running:
            port = running.http_port
            assert port is not None
            assert (await ask(port, "/health/live")).status == 200
        with loop().hold(), pytest.raises(ConnectionRefusedError):
            await ask(port, "/health/live")
        again, _ = engine(clock)
        assert again.http_port is None

    run_virtual(main)
