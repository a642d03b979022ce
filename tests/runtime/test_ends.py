"""Ends that were lost on their way to a receiver: it hears them all the same, once, and of nothing that fires (A1)."""

import asyncio
import functools
import math
from pathlib import Path

import msgspec
import pytest

from engine.errors import SinkError
from engine.events import Transition
from engine.runtime.ends import LOST_AFTER_S
from engine.runtime.ledger.operator import replay
from engine.runtime.ledger.sending import standing
from engine.runtime.ledger.values import Cover, Limits
from engine.status import AlertStatus
from engine.testing import VirtualClock, run_virtual
from tests.runtime.rig import firing, health_of, resolved
from tests.runtime.test_delivery import Rig
from tests.runtime.test_redelivery import Receiver, kill, told

ALERT = AlertStatus("A", {"alertname": "A"}, "firing", 1_000, 500, 0, 9.0, fired_ms=1_500)
FULL = Limits(outbox_rows_max=10)


class Quiet(Receiver):
    send_resolved = False


def news(sink: Receiver, rule: str = "A") -> list[str]:
    return [kind for name, kind in told(sink.delivered) if name == rule]


def last_of(sink: Receiver) -> Transition:
    """The last thing that was told, whole."""
    one = msgspec.json.decode(sink.delivered[-1][1])["transitions"][-1]
    return msgspec.convert({**one, "value": math.nan if one["value"] is None else one["value"]}, Transition)


async def overflow(rig: Rig, sink: Receiver, clock: VirtualClock) -> None:
    """A fires and that is told; then its receiver is down, A resolves, and thirty others fire and resolve."""
    rig.offer(msgspec.structs.replace(firing("A"), fired_ms=1, annotations={"summary": "hot"}))
    await clock.sleep(1)
    assert news(sink) == ["firing"]
    sink.down = True
    rig.offer(msgspec.structs.replace(resolved("A", 5_000), fired_ms=1, value=0.25))
    for number in range(30):
        rig.offer(firing(f"R{number}"))
        rig.offer(resolved(f"R{number}"))
        await clock.sleep(1)
    assert rig.runner.status().queued <= 10
    known = await rig.keeper.ledger.call(functools.partial(standing, receiver="s"), writes=False)
    assert known[resolved("A").fingerprint].kind == "firing", "the end was dropped"


def test_an_end_that_a_full_outbox_had_no_room_for_is_told_when_there_is() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver()
        rig = Rig(clock, sink, limits=FULL)
        await overflow(rig, sink, clock)
        await clock.sleep(300)
        sink.down = False
        await clock.sleep(1_200)
        assert news(sink) == ["firing", "resolved"]
        end = last_of(sink)
        assert (end.rule, end.time_ms, end.value) == ("A", 5_000, 0.25), "as it was, not as it is noticed"
        await clock.sleep(3_600)
        assert news(sink) == ["firing", "resolved"]
        await rig.finish()

    run_virtual(main)


def test_an_end_that_was_lost_before_a_kill_is_told_by_the_next_start(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver()
        rig = Rig(clock, sink, path=tmp_path / "state.db", limits=FULL)
        await overflow(rig, sink, clock)
        await clock.sleep(300)  # what is not needed any more is pruned
        await kill(rig)
        sink.down = False
        rig = Rig(clock, sink, path=tmp_path / "state.db")
        rig.policy.stand([])
        await clock.sleep(1_200)
        assert news(sink) == ["firing", "resolved"]
        assert last_of(sink).time_ms == 5_000
        await rig.finish()

    run_virtual(main)


async def believing(clock: VirtualClock, path: Path, *alerts: Transition) -> Receiver:
    """A ledger of a receiver that was told of alerts, of whose ends the ledger has nothing."""
    sink = Receiver()
    rig = Rig(clock, sink, path=path)
    rig.offer(*alerts)
    await clock.sleep(1)
    await kill(rig)
    return sink


def test_what_fires_or_is_ending_is_not_ended_and_what_does_not_fire_is(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        path = tmp_path / "state.db"
        sink = await believing(clock, path, firing("A"), firing("B", severity="page"), firing("C"))
        rig = Rig(clock, sink, path=path)
        rig.policy.stand([ALERT], [resolved("C")])
        await clock.sleep(300)  # its end has not been handed over yet
        assert (news(sink, "A"), news(sink, "C")) == (["firing"], ["firing"])
        assert news(sink, "B") == ["firing", "resolved"]
        end = last_of(sink)
        assert (end.labels, end.reason) == ({"alertname": "B", "severity": "page"}, "ended")
        assert math.isnan(end.value)
        rig.offer(resolved("C"))
        await clock.sleep(300)
        assert news(sink, "C") == ["firing", "resolved"]
        await rig.finish()

    run_virtual(main)


def test_where_alerts_were_lost_with_the_ledger_what_does_not_fire_again_is_lost_not_resolved(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        path = tmp_path / "state.db"
        sink = await believing(clock, path, firing("A"), firing("B"))
        rig = Rig(clock, sink, path=path)
        rig.policy.stand([], whole=False)
        await clock.sleep(LOST_AFTER_S - 120)
        assert (news(sink, "A"), news(sink, "B")) == (["firing"], ["firing"]), "they may fire again"
        rig.offer(firing("A"))
        await clock.sleep(300)
        assert news(sink, "A") == ["firing", "firing"]
        assert news(sink, "B") == ["firing", "lost"]
        await clock.sleep(3_600)
        assert len(sink.delivered) == 4
        await rig.finish()

    run_virtual(main)


def test_where_nothing_says_any_more_what_it_was_it_is_counted_once(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        path = tmp_path / "state.db"
        sink = await believing(clock, path, firing("A"))
        rig = Rig(clock, sink, path=path)
        await rig.keeper.opened.wait()
        await rig.keeper.ledger.call(lambda connection: connection.execute("DELETE FROM transition").rowcount)
        rig.policy.stand([])
        await clock.sleep(120)
        assert rig.policy.ends_unknown_total == 1
        assert ("sink.s", "failed", "end_unknown") in await health_of(rig.parts)
        rig.policy.book.doubt("s")
        await clock.sleep(120)
        assert (rig.policy.ends_unknown_total, news(sink)) == (1, ["firing"])
        await rig.finish()

    run_virtual(main)


def test_who_is_not_told_of_resolves_does_not_believe_for_ever() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Quiet()
        rig = Rig(clock, sink)
        rig.offer(firing("A"), firing("B"))
        await clock.sleep(1)
        rig.offer(resolved("A"))
        await clock.sleep(120)
        known = await rig.keeper.ledger.call(functools.partial(standing, receiver="s"), writes=False)
        assert {key: cover.kind for key, cover in known.items()} == {
            firing("A").fingerprint: "resolved",
            firing("B").fingerprint: "firing",
        }
        assert [kind for _, kind in told(sink.delivered)] == ["firing", "firing"]
        await rig.finish()

    run_virtual(main)


def test_an_end_that_is_a_dead_letter_is_a_persons() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver([None] + [SinkError("http_400", "bad", retryable=False, status=400)] * 3)
        rig = Rig(clock, sink)
        rig.offer(firing("A"))
        await clock.sleep(1)
        rig.offer(resolved("A"))
        await clock.sleep(60)
        rig.policy.book.doubt("s")
        await clock.sleep(300)
        assert news(sink) == ["firing"]
        assert (await rig.keeper.ledger.call(functools.partial(replay, ids=[2]))).waiting == (2,)
        await clock.sleep(60)
        assert news(sink) == ["firing", "resolved"]
        await rig.finish()

    run_virtual(main)


@pytest.mark.parametrize("firsts", [1, 3])
def test_many_ends_are_told_a_part_at_a_time(tmp_path: Path, firsts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(clock: VirtualClock) -> None:
        monkeypatch.setattr("engine.runtime.ends.ENDS_MAX", firsts)
        path = tmp_path / "state.db"
        sink = await believing(clock, path, *(firing(f"R{number}") for number in range(4)))
        rig = Rig(clock, sink, path=path)
        rig.policy.stand([])
        await clock.sleep(30)
        assert sum(kind == "resolved" for _, kind in told(sink.delivered)) == firsts
        await clock.sleep(300)
        assert sum(kind == "resolved" for _, kind in told(sink.delivered)) == 4
        await rig.finish()

    run_virtual(main)


def test_what_a_level_change_that_is_a_dead_letter_says_keeps_no_end_back(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        path = tmp_path / "state.db"
        bad = SinkError("http_400", "bad", retryable=False, status=400)
        sink = Receiver([None, bad, bad, bad])
        rig = Rig(clock, sink, path=path)
        rig.offer(firing("A"))
        await clock.sleep(1)
        rig.offer(msgspec.structs.replace(firing("A"), before="firing", severity="page", severity_before="warning"))
        await clock.sleep(60)
        await kill(rig)
        rig = Rig(clock, sink, path=path)
        rig.policy.stand([])
        await clock.sleep(60)
        assert news(sink) == ["firing", "resolved"]
        await rig.finish()

    run_virtual(main)


def test_a_kill_while_it_compares_changes_nothing(tmp_path: Path) -> None:
    """It is compared again by the next start."""

    async def main(clock: VirtualClock) -> None:
        path = tmp_path / "state.db"
        sink = await believing(clock, path, firing("A"))
        for turns in range(3, 12):
            rig = Rig(clock, sink, path=path)
            rig.policy.stand([])
            for _ in range(turns):
                await asyncio.sleep(0)
            await kill(rig)
        rig = Rig(clock, sink, path=path)
        rig.policy.stand([])
        await clock.sleep(60)
        assert news(sink)[:2] == ["firing", "resolved"]
        assert len(set(sink.delivered)) == 2, "again with the same id only"
        known = await rig.keeper.ledger.call(functools.partial(standing, receiver="s"), writes=False)
        assert known == {firing("A").fingerprint: Cover(firing("A").fingerprint, "resolved", 1)}
        await rig.finish()

    run_virtual(main)
