"""The second net: what a receiver was not told is told, once, and nothing is told twice because of it (F47)."""

import asyncio
import functools
import json
import random
from pathlib import Path

import msgspec
import pytest

from engine.errors import SinkError
from engine.ports import Notification
from engine.runtime.decided import Book, Entry, Late, missing, transition_of
from engine.runtime.keeping import Committed
from engine.runtime.ledger.operator import drop, replay
from engine.runtime.ledger.values import Cover, Limits
from engine.status import AlertStatus
from engine.testing import RecordingSink, VirtualClock, run_virtual
from tests.runtime.rig import firing, health_of, resolved
from tests.runtime.test_delivery import Rig
from tests.runtime.test_redelivery import Receiver, kill, told

ALERT = AlertStatus("A", {"alertname": "A"}, "firing", 1_000, 500, 0, 9.0, fired_ms=1_500)


def test_what_a_full_outbox_had_no_room_for_is_told_when_there_is_f47() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver()
        sink.down = True
        rig = Rig(clock, sink, limits=Limits(outbox_rows_max=10))
        for number in range(30):
            rig.offer(firing(f"R{number}"))
            await clock.sleep(1)
        for number in range(5):
            rig.offer(resolved(f"R{number}"))
            await clock.sleep(1)
        assert rig.runner.status().queued == 10
        sink.down = False
        await clock.sleep(1_200)
        last = dict(told(sink.delivered))
        assert {rule for rule, kind in last.items() if kind == "firing"} == {f"R{n}" for n in range(5, 30)}
        assert {rule for rule, kind in last.items() if kind == "resolved"} == {f"R{n}" for n in range(5)}
        ids = [message_id for message_id, _ in sink.delivered]
        assert len(set(ids)) == len(ids)
        assert rig.policy.anew_total > 0
        count = len(sink.delivered)
        await clock.sleep(3_600)
        assert len(sink.delivered) == count, "and then it is quiet"
        await rig.finish()

    run_virtual(main)


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_told_twice_however_often_it_looks(seed: int) -> None:
    async def main(clock: VirtualClock) -> None:
        rng = random.Random(seed)
        sink = Receiver([SinkError("busy", "busy", retryable=True) if rng.random() < 0.3 else None for _ in range(99)])
        rig = Rig(clock, sink)
        expected: dict[str, list[str]] = {}

        async def look() -> None:
            while True:
                await rig.reconcile.check(rig.worker)
                for _ in range(rng.randrange(3)):
                    await asyncio.sleep(0)

        await clock.sleep(0.1)
        looking = asyncio.ensure_future(look())
        state: dict[str, bool] = {}
        for _ in range(60):
            rule = f"R{rng.randrange(4)}"
            state[rule] = not state.get(rule, False)
            rig.offer(firing(rule) if state[rule] else resolved(rule))
            expected.setdefault(rule, []).append("firing" if state[rule] else "resolved")
            for _ in range(rng.randrange(12)):
                await asyncio.sleep(0)
            if rng.random() < 0.2:
                looking.cancel()  # time stands while it looks
                await clock.sleep(rng.random())
                looking = asyncio.ensure_future(look())
        looking.cancel()
        await clock.sleep(600)
        got: dict[str, list[str]] = {}
        for rule, kind in told(sink.delivered):
            got.setdefault(rule, []).append(kind)
        assert got == expected
        assert rig.policy.anew_total == 0
        await rig.finish()

    run_virtual(main)


def test_a_dead_letter_is_a_persons_and_not_told_anew() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver([SinkError("http_400", "bad", retryable=False, status=400)] * 3)
        rig = Rig(clock, sink)
        rig.offer(firing("A"))
        await clock.sleep(600)
        assert (len(sink.attempts), sink.delivered) == (3, [])
        assert rig.worker.counts.held == 1
        await rig.finish()

    run_virtual(main)


def test_what_a_person_has_dropped_does_not_come_back(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver([SinkError("http_400", "bad", retryable=False, status=400)] * 3)
        rig = Rig(clock, sink, path=tmp_path / "state.db")
        rig.offer(firing("A"))
        await clock.sleep(60)
        assert rig.worker.counts.held == 1
        assert await rig.keeper.ledger.call(functools.partial(drop, ids=[1], now_ms=clock.now_ms())) == 1
        rig.policy.book.doubt("s")
        await clock.sleep(120)
        await kill(rig)
        again = Rig(clock, sink, path=tmp_path / "state.db")
        again.policy.stand([ALERT])
        await clock.sleep(120)
        assert sink.delivered == []
        again.offer(resolved("A"))
        await clock.sleep(1)
        assert told(sink.delivered) == [("A", "resolved")], "what comes is told"
        await again.finish()

    run_virtual(main)


def test_what_a_dead_letter_said_beside_what_was_overtaken_is_told_anew_when_it_is_replayed() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver([SinkError("http_400", "bad", retryable=False, status=400)] * 3)
        rig = Rig(clock, sink)
        rig.offer(firing("R", instance="a"), firing("R", instance="b"))
        await clock.sleep(60)
        rig.offer(resolved("R", instance="a"))
        await clock.sleep(60)
        assert told(sink.delivered) == [("R", "resolved")]
        done = await rig.keeper.ledger.call(functools.partial(replay, ids=[1]))
        assert done.superseded == (1,)
        rig.policy.book.doubt("s")
        await clock.sleep(120)
        assert told(sink.delivered) == [("R", "resolved"), ("R", "firing")]
        last = json.loads(sink.delivered[-1][1])
        assert [one["labels"]["instance"] for one in last["transitions"]] == ["b"]
        await rig.finish()

    run_virtual(main)


def test_what_fires_since_before_the_start_is_told_to_a_receiver_that_does_not_know(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        first, second = Receiver(), Receiver()
        rig = Rig(clock, first, name="old", path=tmp_path / "state.db")
        rig.offer(firing("A"))
        await clock.sleep(1)
        assert len(first.delivered) == 1
        await kill(rig)
        for name, sink, expected in (("old", first, 1), ("new", second, 1)):
            rig = Rig(clock, sink, name=name, path=tmp_path / "state.db")
            rig.policy.stand([ALERT])
            await clock.sleep(200)
            assert len(sink.delivered) == expected
            await rig.finish()
        assert told(second.delivered) == [("A", "firing")]

    run_virtual(main)


def test_a_receiver_that_keeps_what_it_was_told_is_given_what_stands_before_anything_else() -> None:
    class Keeping(Receiver):
        def __init__(self) -> None:
            super().__init__()
            self.stood: list[tuple[int, list[str]]] = []

        def resume(self, standing: object) -> None:
            names = [one.rule for one in standing.transitions]  # type: ignore[attr-defined]
            self.stood.append((len(self.attempts), names))

    async def main(clock: VirtualClock) -> None:
        sink = Keeping()
        rig = Rig(clock, sink)
        rig.policy.stand([ALERT, msgspec.structs.replace(ALERT, state="pending")])
        rig.offer(firing("B"))
        await clock.sleep(1)
        assert sink.stood == [(0, ["A"])]
        assert sorted(told(sink.delivered)) == [("A", "firing"), ("B", "firing")]
        await rig.finish()

    run_virtual(main)


def test_a_receiver_that_keeps_what_it_was_told_is_given_what_was_lost_too(tmp_path: Path) -> None:
    class Keeping(Receiver):
        stood: Notification | None = None

        def resume(self, standing: Notification) -> None:
            self.stood = standing

    async def main(clock: VirtualClock) -> None:
        sink = Keeping()
        rig = Rig(clock, sink, path=tmp_path / "state.db")
        lost = msgspec.structs.replace(resolved("L", 7_000), reason="lost")
        rig.offer(firing("A"), firing("L"), firing("M"))
        rig.offer(lost, msgspec.structs.replace(resolved("M"), reason="lost"))
        rig.offer(firing("M"))
        await clock.sleep(120)  # what is not needed any more is pruned
        await kill(rig)
        again = Rig(clock, sink, path=tmp_path / "state.db")
        await again.keeper.opened.wait()
        m = msgspec.structs.replace(ALERT, rule="M", labels={"alertname": "M"})
        again.policy.stand([ALERT, m])
        again.worker._resume()
        stood = sink.stood
        assert stood is not None
        assert [(one.rule, one.kind) for one in stood.transitions] == [("L", "lost"), ("A", "firing"), ("M", "firing")]
        assert stood.transitions[0].time_ms == 7_000
        assert stood.external_labels == {"env": "test"}, "else they are other alerts to it"
        await again.finish()

    run_virtual(main)


def test_a_render_that_fails_is_counted_once_and_not_each_minute() -> None:
    class Bad(RecordingSink):
        WANTS = frozenset()

        def render(self, notification: object) -> bytes:
            raise ValueError("no")

    async def main(clock: VirtualClock) -> None:
        rig = Rig(clock, Bad())
        rig.offer(firing("A"))
        await clock.sleep(600)
        assert rig.runner.desk.dropped == {"render": 1}
        await rig.finish()

    run_virtual(main)


def test_missing_compares_numbers_and_for_what_stands_what_it_is() -> None:
    entries = {"a": Entry(5, firing("A")), "b": Entry(7, resolved("B")), "c": Entry(0, firing("C"))}

    def lacks(told: dict[str, Cover], *, send_resolved: bool = True) -> set[str]:
        return {key for key, _, lack in missing(entries, told, send_resolved=send_resolved) if lack}

    assert lacks({}) == {"a", "b", "c"}
    assert lacks({}, send_resolved=False) == {"a", "c"}
    assert lacks({"a": Cover("a", "firing", 4), "b": Cover("b", "firing", 6), "c": Cover("c", "resolved", 9)}) == {
        "a",
        "b",
        "c",
    }
    assert lacks({"a": Cover("a", "firing", 5), "b": Cover("b", "x", 8), "c": Cover("c", "firing", 1)}) == set()


def test_the_book_is_bounded_and_knows_what_fires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.runtime.decided.ENTRIES_MAX", 3)
    book = Book(["r"])
    for number in range(5):
        book.note(f"k{number}", Entry(number + 1, firing(f"R{number}")))
    assert set(book.unchecked("r")) == {"k2", "k3", "k4"}
    assert book.forgotten_total == 4, "two that were to be checked, two that fire"
    for key, entry in book.unchecked("r").items():
        book.checked("r", key, entry)
    book.note("k3", Entry(9, resolved("R3")))
    book.checked("r", "k3", Entry(9, resolved("R3")))
    assert set(book.unchecked("r")) == {"k3"}, "only what is there now can be checked"
    book.doubt("r")
    assert set(book.unchecked("r")) == {"k2", "k3", "k4"}


def test_a_transition_of_what_stands_says_since_when() -> None:
    made = transition_of(ALERT)
    assert (made.kind, made.time_ms, made.fired_ms, made.active_since_ms) == ("firing", 1_500, 1_500, 1_000)


def test_what_waits_to_be_decided_is_bounded_and_what_is_over_is_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(clock: VirtualClock) -> None:
        monkeypatch.setattr("engine.runtime.deciding.TRANSITIONS_MAX", 2)
        sink = Receiver()
        rig = Rig(clock, sink)
        await clock.sleep(0.1)
        for rule in "ABCDE":
            rig.policy.take(Committed([0], [firing(rule).fingerprint], [firing(rule)]))
        await clock.sleep(1)
        assert told(sink.delivered) == [("A", "firing"), ("B", "firing")]
        assert ("ledger", "failed", "overflow") in await health_of(rig.parts)
        await clock.sleep(120)
        assert sorted(told(sink.delivered)) == [(rule, "firing") for rule in "ABCDE"]
        await rig.finish()

    run_virtual(main)


def test_what_came_last_holds_when_it_overtakes_what_waits_to_be_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(clock: VirtualClock) -> None:
        monkeypatch.setattr("engine.runtime.deciding.TRANSITIONS_MAX", 2)
        sink = Receiver()
        rig = Rig(clock, sink)
        await clock.sleep(0.1)
        begins = [firing("A"), firing("B")]
        rig.policy.take(Committed([1, 2], [one.fingerprint for one in begins], begins, 1))
        rig.policy.take(Committed([3], [begins[0].fingerprint], [resolved("A")], 2))  # no room for it any more
        await clock.sleep(120)
        assert sorted(told(sink.delivered)) == [("A", "firing"), ("A", "resolved"), ("B", "firing")]
        assert rig.policy.book.fires(begins[1].fingerprint)
        assert not rig.policy.book.fires(begins[0].fingerprint), "the older one has not come after it"
        await rig.finish()

    run_virtual(main)


def test_what_the_ledger_had_no_room_for_does_not_overtake_what_waits_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(clock: VirtualClock) -> None:
        monkeypatch.setattr("engine.runtime.ledger.ledger.TRANSITIONS_MAX", 1)
        sink = Receiver()
        rig = Rig(clock, sink)
        await clock.sleep(0.1)
        for one in (firing("First"), firing("A"), resolved("A"), firing("B")):  # one is under way, one waits
            await rig.keeper.record([one], 1)
        assert rig.keeper.refused_total == 2
        await clock.sleep(120)
        assert [kind for rule, kind in told(sink.delivered) if rule == "A"] == ["firing", "resolved"]
        assert ("B", "firing") in told(sink.delivered)
        await rig.finish()

    run_virtual(main)


def test_of_what_was_late_a_change_of_level_is_told_once() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver()
        rig = Rig(clock, sink)
        rig.offer(msgspec.structs.replace(firing("A"), severity="warning"))
        await clock.sleep(1)
        level = msgspec.structs.replace(firing("A"), before="firing", severity="critical", severity_before="warning")
        rig.policy.take(Committed([0], [level.fingerprint], [level], 2, late=True))
        await clock.sleep(600)
        assert told(sink.delivered) == [("A", "firing"), ("A", "firing")]
        await rig.finish()

    run_virtual(main)


def test_what_is_forgotten_of_receivers_for_want_of_room_is_counted() -> None:
    async def main(clock: VirtualClock) -> None:
        rig = Rig(clock, Receiver(), limits=Limits(delivered_rows_max=2))
        rig.offer(*(firing(f"R{number}") for number in range(5)))
        await clock.sleep(120)
        assert rig.keeper.status().told_dropped_total == 3
        assert rig.keeper.status().transitions_dropped_total == 0
        await rig.finish()

    run_virtual(main)


def test_what_is_late_is_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.runtime.decided.ENTRIES_MAX", 2)
    late = Late()
    for order, key in enumerate("abcb", 1):
        late.put(order, key, Entry(0, firing(key)))
    assert late.forgotten_total == 1
    assert "a" not in late
    assert [key for key, _ in late.take(4)] == ["c"]
    assert [key for key, _ in late.take()] == ["b"]
    assert late.take() == []
