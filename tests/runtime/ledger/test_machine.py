"""Any order of steps, sends, faults, kills and restarts, against a small model: hypothesis drives the real store."""

import os
import shutil
import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from engine.runtime.ledger.errors import LedgerError
from engine.runtime.ledger.operator import align, drop, list_outbox, replay
from engine.runtime.ledger.pruning import prune
from engine.runtime.ledger.sending import standing
from engine.runtime.ledger.store import Store
from engine.runtime.ledger.values import AlertRow, Cover, Instant, Message, NewMessage, Settlement
from tests.runtime.ledger.rig import (
    LIMITS,
    NOW,
    NOW_MS,
    Switch,
    crash,
    io_error,
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

EXAMPLES = 2_000 if os.environ.get("LONGWATCH_CHAOS") else 25
RECEIVERS = ("a", "b")
KEYS = ("x", "y", "z")
names = st.sampled_from(["p", "q", "r"])
receivers = st.sampled_from(RECEIVERS)


class Model:
    """What must be in the ledger."""

    def __init__(self) -> None:
        self.alerts: dict[str, bytes] = {}
        self.transitions: dict[int, bytes] = {}
        self.last_seq = 0
        self.cursor = 0
        self.messages: dict[
            str, tuple[NewMessage, str, bool]
        ] = {}  # id: message, status, whether it waits for its time
        self.told: dict[tuple[str, str], Cover] = {}

    def heads(self, receiver: str) -> list[str]:
        """What can be sent: the first of each order key, unless its time has not come."""
        heads: dict[str, tuple[str, bool]] = {}
        for name, (message, status, later) in self.messages.items():
            if message.receiver == receiver and status == "waiting":
                heads.setdefault(message.order_key, (name, later))
        return [name for name, later in heads.values() if not later]


class Machine(RuleBasedStateMachine):
    """The rules."""

    has_cursor = False

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="longwatch-ledger-"))
        self.path = self.folder / "state.db"
        self.switch = Switch()
        self.model = Model()
        self.count = 0
        self.store: Store

    @initialize()
    def begin(self) -> None:
        self.store, _ = open_store(self.path, self.switch.factory())

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    # --- what the engine does -------------------------------------------------------------------------

    @rule(
        changes=st.dictionaries(names, st.one_of(st.none(), st.binary(max_size=5)), max_size=3), more=st.integers(0, 3)
    )
    def step(self, changes: dict[str, bytes | None], more: int) -> None:
        bodies = [f"t{self.count + number}" for number in range(more)]
        self.count += more
        seqs = put(
            self.store, [transition(body) for body in bodies], [AlertRow("rule", *each) for each in changes.items()]
        )
        assert seqs == sorted(set(seqs))
        assert all(seq > self.model.last_seq for seq in seqs), "a number is never given twice"
        self.model.transitions.update(zip(seqs, (body.encode() for body in bodies), strict=True))
        self.model.last_seq = max([self.model.last_seq, *seqs])
        for name, row in changes.items():
            self.model.alerts.pop(name, None)
            if row is not None:
                self.model.alerts[name] = row

    @rule(news=st.lists(st.tuples(receivers, st.sampled_from(KEYS)), max_size=3), ahead=st.integers(0, 2))
    def decide(self, news: list[tuple[str, str]], ahead: int) -> None:
        seq = min(self.model.cursor + ahead, self.model.last_seq)
        messages = []
        for receiver, key in news:
            self.count += 1
            cover = Cover(key, f"kind{self.count}", self.count)
            messages.append(NewMessage(receiver, key, f"evt_{self.count}", b"m%d" % self.count, (cover,), NOW_MS))
        decided = queue(self.store, *messages, cursor="policy", seq=seq)
        assert decided.void == (self.has_cursor and seq <= self.model.cursor)
        if not decided.void:
            self.has_cursor = True
            self.model.cursor = seq
            self.model.messages.update({message.message_id: (message, "waiting", False) for message in messages})

    @rule(receiver=receivers, outcome=st.sampled_from(["done", "retry", "dead", "parked"]))
    def send(self, receiver: str, outcome: str) -> None:
        for found in sendable(self.store, receiver)[:2]:
            message, _, _ = self.model.messages[found.message_id]
            assert (found.body, found.covers) == (message.body, message.covers)
            later = Instant(NOW_MS + 60_000, NOW.boot_id, NOW.up_ms + 60_000)
            assert settled(self.store, Settlement(found.id, outcome, "code", later)) == 1  # type: ignore[arg-type]
            if outcome == "done":
                del self.model.messages[found.message_id]
                self.note_told(message)
            elif outcome == "retry":
                self.model.messages[found.message_id] = (message, "waiting", True)
            else:
                self.model.messages[found.message_id] = (message, outcome, False)

    @rule(receiver=receivers)
    def time_passes(self, receiver: str) -> None:
        """What waits for its time is due."""
        for found in sendable(self.store, receiver, Instant(NOW_MS + 60_000, NOW.boot_id, NOW.up_ms + 60_000)):
            message, status, _ = self.model.messages[found.message_id]
            settled(self.store, Settlement(found.id, "retry", "again", Instant(0)))
            self.model.messages[found.message_id] = (message, status, False)

    @rule(configured=st.sets(receivers))
    def configure(self, configured: set[str]) -> None:
        """Only what was parked for want of a receiver waits again when it is back."""
        run(self.store, partial(align, receivers=configured))
        run(self.store, partial(align, receivers=set(RECEIVERS)))
        for name, (message, status, _) in self.model.messages.items():
            if message.receiver not in configured and status == "waiting":
                self.model.messages[name] = (message, status, False)

    @rule()
    def a_person_replays(self) -> None:
        held = run(self.store, partial(list_outbox, after_id=0, limit=1_000), writes=False)[0]
        replayed = run(self.store, partial(replay, ids=[each.id for each in held]))[0]
        for each in held:
            message, status, _ = self.model.messages[each.message_id]
            (cover,) = message.covers
            told = self.model.told.get((message.receiver, cover.alert_key))
            overtaken = told is not None and told.seq > cover.seq
            overtaken = overtaken or self.has_newer_first(held, each, message)
            if status == "waiting":
                assert each.id in replayed.missing
            elif overtaken:
                assert each.id in replayed.superseded
            else:
                assert each.id in replayed.waiting
                self.model.messages[each.message_id] = (message, "waiting", False)

    def note_told(self, message: NewMessage) -> None:
        (cover,) = message.covers
        told = self.model.told.get((message.receiver, cover.alert_key))
        if told is None or cover.seq >= told.seq:
            self.model.told[message.receiver, cover.alert_key] = cover

    def has_newer_first(self, held: list[Message], one: Message, its: NewMessage) -> bool:
        """Whether what is sent next of its order is newer news."""
        for each in held:
            other, status, _ = self.model.messages[each.message_id]
            if status == "waiting" and (other.receiver, other.order_key) == (its.receiver, its.order_key):
                return each.id > one.id
        return False

    @rule()
    def a_person_drops_the_dead(self) -> None:
        held = run(self.store, partial(list_outbox, after_id=0, limit=1_000), writes=False)[0]
        dead = [each for each in held if each.status == "dead"]
        assert run(self.store, partial(drop, ids=[each.id for each in dead], now_ms=NOW_MS)) == [len(dead)]
        for each in dead:
            message, _, _ = self.model.messages.pop(each.message_id)
            if each.reason != "superseded":
                self.note_told(message)

    @rule()
    def upkeep(self) -> None:
        self.store.upkeep()
        run(self.store, partial(prune, limits=LIMITS, now_ms=NOW_MS))

    # --- what happens to it -----------------------------------------------------------------------------

    @precondition(lambda self: not self.store.in_memory)
    @rule()
    def kill(self) -> None:
        self.switch.plan = self.switch.after = lambda _: None
        crash(self.store)
        self.store, _ = open_store(self.path, self.switch.factory())

    @rule()
    def stop_and_start(self) -> None:
        self.mend()
        assert self.store.close()
        self.store, _ = open_store(self.path, self.switch.factory())

    @rule(done=st.booleans())
    def the_next_commit_fails(self, done: bool) -> None:
        left = iter([True])

        def once(statement: str) -> BaseException | None:
            return io_error() if statement == "COMMIT" and next(left, False) else None

        if done:
            self.switch.after = once
        else:
            self.switch.plan = once

    @rule(done=st.booleans())
    def the_disk_fails(self, done: bool) -> None:
        def always(statement: str) -> BaseException | None:
            return io_error() if statement == "COMMIT" or (not done and "checkpoint" in statement) else None

        if done:
            self.switch.after = always
        else:
            self.switch.plan = always

    @rule()
    def mend(self) -> None:
        self.switch.plan = self.switch.after = lambda _: None
        assert self.store.heal()

    # --- what must hold -----------------------------------------------------------------------------------

    @invariant()
    def everything_is_as_in_the_model(self) -> None:
        if not hasattr(self, "store"):
            return
        found = read_back(self.store)
        if not self.store.in_memory:  # the core has its alerts itself; memory keeps those that changed
            assert {each.labels: each.row for each in found.alerts} == self.model.alerts
            stored = read_after(self.store)
            later = {each.seq: each.body for each in stored if each.seq > self.model.cursor}  # others may be pruned
            assert later == {seq: body for seq, body in self.model.transitions.items() if seq > self.model.cursor}
            assert all(self.model.transitions[each.seq] == each.body for each in stored)
        assert found.cursors == ({"policy": self.model.cursor} if self.has_cursor else {})
        held = run(self.store, partial(list_outbox, after_id=0, limit=10_000), writes=False)[0]
        assert [(each.message_id, each.status) for each in held] == [
            (name, status) for name, (_, status, _) in self.model.messages.items()
        ]
        for receiver in RECEIVERS:
            assert [each.message_id for each in sendable(self.store, receiver)] == self.model.heads(receiver)
            told = {key: cover for (to, key), cover in self.model.told.items() if to == receiver}
            for message, status, _ in self.model.messages.values():
                (cover,) = message.covers
                known = told.get(cover.alert_key)
                if message.receiver == receiver and status == "waiting" and (known is None or cover.seq >= known.seq):
                    told[cover.alert_key] = cover
            assert run(self.store, partial(standing, receiver=receiver), writes=False)[0] == told


def test_f01_f02_f13_any_order_of_work_and_faults() -> None:
    run_state_machine_as_test(Machine, settings=settings(max_examples=EXAMPLES, stateful_step_count=30))


class Careless(Machine):
    """The planted bug: what memory begins with is not what the file has come to."""

    @rule()
    def forgets(self) -> None:
        if not self.store.in_memory:
            self.store._sequences = {}
            self.store._degrade(LedgerError("io_error", "planted"))


def test_the_machine_finds_a_planted_bug() -> None:
    quick = settings(max_examples=200, stateful_step_count=30, phases=[Phase.generate], print_blob=False)
    with pytest.raises((AssertionError, ExceptionGroup)):
        run_state_machine_as_test(Careless, settings=quick)
