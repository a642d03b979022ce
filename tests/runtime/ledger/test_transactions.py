"""Each transaction, on its own, over a real file."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from engine.runtime.ledger.errors import LedgerError
from engine.runtime.ledger.operator import Outbox, align, drop, list_outbox, put_meta, replay, summary
from engine.runtime.ledger.pruning import prune
from engine.runtime.ledger.sending import next_due_ms, standing
from engine.runtime.ledger.store import Store
from engine.runtime.ledger.transactions import decide, record
from engine.runtime.ledger.values import Cover, Decision, Instant, Limits, NewMessage, NewTransition, Settlement, Step
from tests.runtime.ledger.rig import (
    LIMITS,
    NOW,
    NOW_MS,
    alert,
    message,
    open_store,
    put,
    queue,
    read_after,
    read_back,
    run,
    sendable,
    settled,
    transition,
)


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Both places have the same tables and the same transactions."""
    opened, _ = open_store(tmp_path / "state.db" if request.param == "disk" else None)
    yield opened
    opened.close()


def ids(store: Store, receiver: str = "ops") -> list[str]:
    return [found.message_id for found in sendable(store, receiver)]


def test_t1_numbers_transitions_and_keeps_the_last_row_of_each_alert(store: Store) -> None:
    assert put(store, [transition("a"), transition("b")], [alert("x", b"1"), alert("y", b"2")]) == [1, 2]
    assert put(store, [transition("c")], [alert("x", b"3"), alert("y", None)]) == [3]
    found = read_back(store)
    assert found.alerts == [alert("x", b"3")]
    assert found.last_seq == 3
    stored = read_after(store, 1)
    assert [(each.seq, each.body) for each in stored] == [(2, b"b"), (3, b"c")]


def test_a_number_is_never_given_twice(store: Store) -> None:
    put(store, [transition()] * 5)
    queue(store, cursor="policy", seq=5)
    assert run(store, partial(prune, limits=LIMITS, now_ms=NOW_MS))[0] == (5, 0, 0)
    assert put(store, [transition()]) == [6]


def test_counters_are_totals(store: Store) -> None:
    for _ in range(2):
        run(store, partial(record, step=Step(counters={"transitions": 7})))
    assert read_back(store).counters == {"transitions": 7}


def test_one_row_that_cannot_be_stored_takes_no_other_with_it(store: Store) -> None:
    bad = transition()._replace(kind="\udcff")
    (recorded,) = run(
        store, partial(record, step=Step([transition("a"), bad, transition("b")], [alert("x"), alert("\udcff")]))
    )
    assert (recorded.refused, recorded.seqs[1]) == (2, 0)
    stored = read_after(store)
    assert [each.body for each in stored] == [b"a", b"b"]
    assert [recorded.seqs[0], recorded.seqs[2]] == [each.seq for each in stored]
    assert read_back(store).alerts == [alert("x")]


def test_a_job_that_fails_is_undone_alone(store: Store) -> None:
    def half(connection: object) -> None:
        record(connection, Step([transition("half")]))  # type: ignore[arg-type]
        raise ValueError("no")

    first, second, third = run(
        store,
        partial(record, step=Step([transition("a")])),
        half,
        partial(record, step=Step([transition("b")])),
    )
    assert isinstance(second, LedgerError)
    assert second.reason == "bad_record"
    stored = read_after(store)
    assert [each.body for each in stored] == [b"a", b"b"]
    assert (list(first.seqs), list(third.seqs)) == ([stored[0].seq], [stored[1].seq])


def test_t2_queues_and_moves_the_cursor_and_is_void_the_second_time(store: Store) -> None:
    assert queue(store, message("a"), cursor="policy", seq=4).queued == 1
    again = queue(store, message("b"), cursor="policy", seq=4)
    assert (again.void, again.queued) == (True, 0)
    assert queue(store, message("c", order_key="h"), cursor="policy", seq=5).queued == 1
    assert ids(store) == ["evt_a", "evt_c"]
    assert read_back(store).cursors == {"policy": 5}


def test_a_message_id_is_queued_once(store: Store) -> None:
    queue(store, message("a"))
    assert queue(store, message("a")).queued == 0
    assert len(sendable(store)) == 1


def test_one_message_of_an_order_key_at_a_time_and_in_order(store: Store) -> None:
    queue(store, message("a1", order_key="a"), message("b1", order_key="b"), message("a2", order_key="a"))
    queue(store, message("other", receiver="dead"))
    assert ids(store) == ["evt_a1", "evt_b1"]
    first = sendable(store)[0]
    assert settled(store, Settlement(first.id, "retry", "timeout", Instant(NOW_MS + 5_000))) == 1
    assert ids(store) == ["evt_b1"], "the second of an order key does not overtake the first"
    assert settled(store, Settlement(sendable(store)[0].id, "done")) == 1
    assert ids(store) == []
    later = sendable(store, now=Instant(NOW_MS + 5_000))
    assert [(found.message_id, found.attempts) for found in later] == [("evt_a1", 1)]
    settled(store, Settlement(later[0].id, "dead", "http_400"))
    assert ids(store) == ["evt_a2"], "a dead message does not hold up the next"


def test_f25_a_time_to_try_again_holds_within_its_boot_and_survives_a_clock_that_was_set(store: Store) -> None:
    queue(store, message("a"))
    (found,) = sendable(store)
    settled(store, Settlement(found.id, "retry", "timeout", Instant(NOW_MS + 10_000, "boot-1", 1_010_000)))
    ask = partial(next_due_ms, receiver="ops", limits=LIMITS)
    assert run(store, partial(ask, now=NOW), writes=False) == [10_000]
    set_forward = Instant(NOW_MS + 10**9, "boot-1", 1_001_000)
    assert sendable(store, now=set_forward) == [], "the wall clock of the same boot says nothing"
    assert len(sendable(store, now=Instant(0, "boot-1", 1_010_000))) == 1
    assert sendable(store, now=Instant(NOW_MS + 9_000, "boot-2", 5)) == []
    assert len(sendable(store, now=Instant(NOW_MS + 10_000, "boot-2", 5))) == 1
    assert len(sendable(store, now=Instant(0, "boot-2", 5))) == 1, "a clock at 1970 is no reason to wait for decades"
    assert run(store, partial(ask, now=Instant(0)), writes=False) == [0]
    assert run(store, partial(ask, receiver="nobody", now=NOW), writes=False) == [None]


def test_settling_twice_or_what_is_gone_does_nothing(store: Store) -> None:
    queue(store, message("a"))
    (found,) = sendable(store)
    assert settled(store, Settlement(found.id, "done"), Settlement(found.id, "done")) == 1
    assert settled(store, Settlement(found.id, "retry"), Settlement(99, "dead")) == 0


def test_the_reconcile_sees_what_a_receiver_will_know(store: Store) -> None:
    queue(store, message("a", order_key="a", seq=1), message("b", order_key="b", seq=2))
    first, second = sendable(store)
    settled(store, Settlement(first.id, "done"), Settlement(second.id, "dead", "http_400"))
    cover = Cover("a", "resolved", 3)
    queue(store, NewMessage("ops", "a", "evt_c", b"c", (cover,), NOW_MS))
    assert run(store, partial(standing, receiver="ops"), writes=False)[0] == {"a": cover}
    old = NewMessage("ops", "a", "evt_d", b"d", (Cover("a", "firing", 2),), NOW_MS)
    queue(store, old)
    assert run(store, partial(standing, receiver="ops"), writes=False)[0] == {"a": cover}, "the newest news counts"


def test_past_its_limits_the_outbox_gives_up_the_dead_first_and_then_the_oldest(store: Store) -> None:
    limits = Limits(outbox_rows_max=3, outbox_bytes_max=1_000, body_bytes_max=600)

    def put_in(*names: str, size: int = 1) -> dict[str, int]:
        messages = [message(name, order_key=name, body=b"x" * size) for name in names]
        found: dict[str, int] = run(store, partial(decide, decision=Decision("", 0, messages), limits=limits))[
            0
        ].overflowed
        return found

    assert put_in("a", "b", "c") == {}
    settled(store, Settlement(sendable(store)[1].id, "dead", "http_400"))
    assert put_in("d") == {"ops": 1}
    assert ids(store) == ["evt_a", "evt_c", "evt_d"]
    assert put_in("e") == {"ops": 1}
    assert ids(store) == ["evt_c", "evt_d", "evt_e"]
    assert put_in("f", size=600) == {"ops": 1}
    assert put_in("g", size=600) == {"ops": 3}, "bytes count, too"
    assert ids(store) == ["evt_g"]
    (refused,) = run(store, partial(decide, decision=Decision("", 0, [message("h", body=b"x" * 601)]), limits=limits))
    assert refused.reason == "bad_record"


def test_f47_what_newer_news_supersedes_goes_before_anything_else(store: Store) -> None:
    limits = Limits(outbox_rows_max=4)

    def put_in(name: str, *covers: Cover) -> int:
        messages = [NewMessage("ops", "g", f"evt_{name}", b"x", covers, NOW_MS)]
        dropped: dict[str, int] = run(store, partial(decide, decision=Decision("", 0, messages), limits=limits))[
            0
        ].overflowed
        return dropped.get("ops", 0)

    def left() -> list[str]:
        return [each.message_id for each in run(store, partial(list_outbox, after_id=0, limit=9), writes=False)[0]]

    put_in("dead", Cover("d", "firing", 1))
    settled(store, Settlement(sendable(store)[0].id, "dead", "http_400"))
    put_in("oldest", Cover("a", "firing", 2))
    put_in("both", Cover("b", "firing", 3), Cover("c", "firing", 3))
    put_in("half", Cover("b", "resolved", 4))
    assert put_in("rest", Cover("c", "resolved", 5)) == 1
    assert left() == ["evt_dead", "evt_oldest", "evt_half", "evt_rest"]
    assert put_in("new", Cover("e", "firing", 6)) == 1
    assert put_in("last", Cover("f", "firing", 7)) == 1
    assert left() == ["evt_half", "evt_rest", "evt_new", "evt_last"], "then as ever"


def test_what_was_taken_while_its_message_was_dropped_is_known_to_be_told(store: Store) -> None:
    queue(store, message("a"))
    (found,) = sendable(store)
    run(store, lambda connection: connection.execute("DELETE FROM outbox").rowcount)
    assert settled(store, Settlement(found.id, "done", receiver="ops", covers=found.covers)) == 0
    assert run(store, partial(standing, receiver="ops"), writes=False)[0] == {"g": found.covers[0]}


def test_messages_without_a_receiver_are_parked_and_wait_again_when_it_is_back(store: Store) -> None:
    queue(store, message("a"), message("b", receiver="gone"))
    assert run(store, partial(align, receivers={"ops"})) == [(1, 0)]
    assert ids(store, "gone") == []
    assert run(store, partial(align, receivers={"ops", "gone"})) == [(0, 1)]
    assert ids(store, "gone") == ["evt_b"]


def test_a_person_lists_replays_and_drops(store: Store) -> None:
    queue(store, message("a", order_key="a", seq=1), message("b", order_key="b", seq=2), message("c", order_key="c"))
    first, second, third = sendable(store)
    settled(store, Settlement(first.id, "dead", "http_400"), Settlement(second.id, "parked", "http_410"))
    found = run(store, partial(list_outbox, after_id=0, limit=10), writes=False)[0]
    assert [(each.status, each.reason) for each in found] == [
        ("dead", "http_400"),
        ("parked", "http_410"),
        ("waiting", ""),
    ]
    assert Outbox("ops", "parked", 1, 1, NOW_MS) in run(store, summary, writes=False)[0]
    newer = NewMessage("ops", "a", "evt_a2", b"a2", (Cover("a", "resolved", 9),), NOW_MS)
    queue(store, newer)
    settled(store, Settlement(sendable(store)[-1].id, "done"))
    replayed = run(store, partial(replay, ids=[first.id, second.id, third.id, 99]))[0]
    assert replayed == ((second.id,), (first.id,), (third.id, 99)), "an old firing must not follow the resolved"
    assert ids(store) == ["evt_b", "evt_c"]
    assert run(store, partial(drop, ids=[first.id, 99], now_ms=NOW_MS)) == [1]
    assert [each.message_id for each in run(store, partial(list_outbox, after_id=0, limit=10))[0]] == ["evt_b", "evt_c"]


def test_what_is_overtaken_in_part_is_not_replayed_and_its_rest_counts_as_untold(store: Store) -> None:
    both = (Cover("a", "firing", 1), Cover("b", "firing", 2))
    queue(store, NewMessage("ops", "g", "evt_both", b"both", both, NOW_MS))
    (first,) = sendable(store)
    settled(store, Settlement(first.id, "dead", "http_400"))
    known = partial(standing, receiver="ops", held=True)
    assert set(run(store, known, writes=False)[0]) == {"a", "b"}
    over = Cover("a", "resolved", 9)
    queue(store, NewMessage("ops", "g", "evt_over", b"over", (over,), NOW_MS))
    settled(store, Settlement(sendable(store)[0].id, "done"))
    assert run(store, partial(replay, ids=[first.id])) == [((), (first.id,), ())]
    assert run(store, known, writes=False)[0] == {"a": over}, "the reconcile tells the rest"


def test_what_is_replayed_does_not_go_beside_newer_news_that_may_be_under_way(store: Store) -> None:
    queue(store, message("old", seq=1), message("beside", order_key="h", seq=2))
    old, beside = sendable(store)
    settled(store, Settlement(old.id, "dead", "http_400"), Settlement(beside.id, "dead", "http_400"))
    queue(store, message("new", seq=3), NewMessage("ops", "h", "evt_other", b"x", (Cover("z", "firing", 4),), NOW_MS))
    assert run(store, partial(replay, ids=[old.id, beside.id])) == [((beside.id,), (old.id,), ())]


def test_what_was_overtaken_in_part_tells_nothing_when_it_is_dropped(store: Store) -> None:
    both = (Cover("a", "firing", 1), Cover("b", "firing", 2))
    queue(store, NewMessage("ops", "g", "evt_both", b"both", both, NOW_MS), message("over", order_key="a", seq=9))
    first, over = sendable(store)
    settled(store, Settlement(first.id, "dead", "http_400"), Settlement(over.id, "done"))
    run(store, partial(replay, ids=[first.id]), partial(drop, ids=[first.id], now_ms=NOW_MS))
    assert set(run(store, partial(standing, receiver="ops"), writes=False)[0]) == {"a"}


def test_a_damaged_message_can_be_dropped(store: Store) -> None:
    queue(store, message("a"))
    (found,) = sendable(store)
    run(store, lambda connection: connection.execute("UPDATE outbox SET covers = x'ff00'").rowcount)
    assert run(store, partial(drop, ids=[found.id], now_ms=NOW_MS)) == [1]


def test_f23_pruning_is_bounded_and_leaves_what_a_cursor_has_not_passed(store: Store) -> None:
    put(store, [transition()] * 1_200)
    queue(store, cursor="policy", seq=1_100)
    queue(store, cursor="history", seq=700)
    prune_now = partial(prune, limits=LIMITS, now_ms=NOW_MS)
    assert [run(store, prune_now)[0] for _ in range(3)] == [(500, 0, 0), (200, 0, 0), (0, 0, 0)]
    left = read_after(store)
    assert (len(left), left[0].seq) == (500, 701)
    assert run(store, partial(prune, limits=Limits(transitions_max=450), now_ms=NOW_MS)) == [(50, 50, 0)]


def test_what_receivers_were_told_of_ended_alerts_is_forgotten_in_time(store: Store) -> None:
    ended = NewMessage("ops", "a", "evt_a", b"a", (Cover("a", "resolved", 1), Cover("b", "firing", 1)), NOW_MS)
    queue(store, ended)
    settled(store, Settlement(sendable(store)[0].id, "done"))
    assert run(store, partial(prune, limits=LIMITS, now_ms=NOW_MS + LIMITS.delivered_keep_ms)) == [(0, 0, 0)]
    assert run(store, partial(prune, limits=LIMITS, now_ms=NOW_MS + LIMITS.delivered_keep_ms + 1)) == [(1, 0, 0)]
    assert set(run(store, partial(standing, receiver="ops"), writes=False)[0]) == {"b"}


def test_what_is_remembered_of_receivers_is_bounded_and_what_is_gone_is_counted(store: Store) -> None:
    for number, (receiver, kind) in enumerate([("ops", "firing"), ("ops", "resolved"), ("gone", "firing")] * 3, 1):
        cover = Cover(f"k{number}", kind, number)
        queue(store, NewMessage(receiver, "g", f"evt_{number}", b"x", (cover,), NOW_MS))
        settled(store, Settlement(sendable(store, receiver)[0].id, "done"), now_ms=NOW_MS + number)
    few = Limits(delivered_rows_max=7)
    assert run(store, partial(prune, limits=few, now_ms=NOW_MS)) == [(2, 0, 2)]
    assert set(run(store, partial(standing, receiver="ops"))[0]) == {"k1", "k4", "k7", "k8"}, "the ended go first"
    later_ms = NOW_MS + 10 + LIMITS.delivered_keep_ms
    assert run(store, partial(prune, limits=LIMITS, now_ms=later_ms)) == [(1, 0, 0)]
    assert run(store, partial(prune, limits=LIMITS, now_ms=later_ms, receivers=["ops"])) == [(3, 0, 0)]
    assert run(store, partial(standing, receiver="gone"))[0] == {}
    assert set(run(store, partial(standing, receiver="ops"))[0]) == {"k1", "k4", "k7"}, "who is told remembers"


def test_transitions_are_kept_until_who_was_told_of_the_firing_is_told_the_end(store: Store) -> None:
    def of(key: str, kind: str) -> NewTransition:
        return NewTransition(NOW_MS, "rule", key, kind, b"x")

    put(store, [of("a", "pending"), of("a", "firing"), of("b", "firing"), of("a", "resolved"), of("c", "lost")])
    queue(store, cursor="policy", seq=5)
    told = (Cover("a", "firing", 2), Cover("c", "lost", 5))
    queue(store, NewMessage("ops", "g", "evt_1", b"x", told, NOW_MS))
    settled(store, Settlement(sendable(store)[0].id, "done"))
    run(store, partial(prune, limits=LIMITS, now_ms=NOW_MS))
    assert [each.seq for each in read_after(store)] == [2, 4, 5]
    run(store, partial(prune, limits=Limits(transitions_max=1), now_ms=NOW_MS))
    assert [each.seq for each in read_after(store)] == [2, 5], "past the limit what names the alert, and no more"
    queue(store, NewMessage("ops", "g", "evt_2", b"x", (Cover("a", "resolved", 4),), NOW_MS))
    settled(store, Settlement(sendable(store)[0].id, "done"))
    run(store, partial(prune, limits=LIMITS, now_ms=NOW_MS))
    assert [each.seq for each in read_after(store)] == [5]


def test_meta_is_kept(store: Store) -> None:
    run(store, partial(put_meta, values={"boot_id": "b", "clean": "0"}))
    run(store, partial(put_meta, values={"clean": "1"}))
    meta = read_back(store).meta
    assert (meta["boot_id"], meta["clean"]) == ("b", "1")
