"""Policy's half of the ledger: from committed transitions to messages in the outbox (T2), rendered once and frozen.

Policy itself is `notifications`: one notification for each rule and step. Here is how far it has come: a cursor that is
committed together with the messages, from which the next start goes on. Nothing is sent here.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from engine.codec import EventCodec
from engine.events import Transition
from engine.runtime.composing import Composer, Told
from engine.runtime.contain import describe
from engine.runtime.decided import Book, Entry, Late, transition_of
from engine.runtime.keeping import TOLD, Committed, Keeper
from engine.runtime.ledger.group import Job
from engine.runtime.ledger.holding import Outcome
from engine.runtime.ledger.transactions import decide, transitions_after
from engine.runtime.ledger.values import Decision, NewMessage, StoredTransition
from engine.runtime.notifications import NOTIFICATION_ALERTS_MAX
from engine.status import AlertStatus

__all__ = ["CURSOR", "Policy"]

CURSOR: Final = "policy"
DECISION_TRANSITIONS_MAX: Final = 16 * NOTIFICATION_ALERTS_MAX
TRANSITIONS_MAX: Final = 100_000
"""So many wait to be decided on at most."""
DECISIONS_MAX: Final = 8
"""So many decisions wait for their commit at most; then deciding waits, too."""


class Policy:
    """Decides what each receiver is told.

    Args:
        keeper: The ledger. Its commits come here from now on.
        workers: Those of the receivers.
        external_labels: Labels that identify this engine.
    """

    def __init__(self, keeper: Keeper, workers: Sequence[Told], external_labels: Mapping[str, str]) -> None:
        fallbacks = {worker.fallback.name for worker in workers if worker.fallback is not None}
        self.workers = [worker for worker in workers if worker.name not in fallbacks]
        """Those that are told everything; who is another's fallback is told nothing else."""
        self.all = workers
        self._keeper = keeper
        self._composer = Composer(keeper, external_labels)
        some = fallbacks | {worker.name for worker in workers if not worker.send_resolved}
        self._told_of_some = frozenset(some)
        self.book = Book([worker.name for worker in self.workers], some)
        """What was decided, for the reconcile."""
        self.late = Late()
        """What could not be decided on in its turn, until it can be noted."""
        self.resumed = asyncio.Event()
        """Set once everything that the run before has left is decided."""
        self.anew_total = 0
        """Alerts that the reconcile has told."""
        self.ends_unknown_total = 0
        """Alerts whose end the reconcile could not tell."""
        self.whole = True
        """Whether every alert of the run before was taken back, so that what does not fire has ended."""
        self._inbox: deque[Committed] = deque()
        self._seq = 0
        self._kept_seq = 0
        self._waiting = 0
        self._in_flight = 0
        self._deciding = False
        self._draining = False
        self._work = asyncio.Event()
        keeper.follow(self.take)

    @property
    def seq(self) -> int:
        """The last transition that was decided on."""
        return self._seq

    def tells_all(self, worker: Told) -> bool:
        """Whether a receiver is told everything in its own name."""
        return worker.name not in self._told_of_some

    @property
    def forgotten_total(self) -> int:
        """Alerts of which too many waited to be compared with what receivers know."""
        return self.book.forgotten_total + self.late.forgotten_total

    def take(self, committed: Committed) -> None:
        """Decide on these next; never waits. If too many wait, because a disk hangs, the reconcile has to tell them."""
        full = self._waiting + len(committed.keys) > TRANSITIONS_MAX
        if full or committed.late:
            for seq, key, one in committed.each():
                if one.kind in TOLD:
                    self.late.put(committed.order, key, Entry(seq, one))
            if full:
                text = f"{len(committed.keys)} transitions are told later: too many wait"
                self._keeper.tell("overflow", text, failed=True, count=len(committed.keys))
            self._work.set()
            return
        self._waiting += len(committed.keys)
        self._inbox.append(committed)
        self._work.set()

    def drain(self) -> None:
        """Let `run` end as soon as everything is decided and committed."""
        self._draining = True
        self._work.set()

    @property
    def idle(self) -> bool:
        """Whether everything the core has decided is in the outbox."""
        busy = self._inbox or self._deciding or self._in_flight or self._keeper.untold
        return not busy and self.resumed.is_set()

    async def run(self) -> None:
        """Decide, for ever; once drained, until nothing is left to decide."""
        self._deciding = False
        await self._keeper.taken_back.wait()
        if not self.resumed.is_set():
            await self._resume()
            self.resumed.set()
        while not (self._draining and self.idle):
            while self._inbox:
                self._deciding = True
                committed = self._inbox.popleft()
                self._note_late(committed.order)
                try:
                    await self._decide_in_parts(committed)
                except Exception as error:  # noqa: BLE001  # our own bug, which must not leave out what it was about
                    self._leave_to_reconcile(committed, error)
                self._waiting -= len(committed.keys)
                self._deciding = False  # not after a cancellation: the cursor must not pass what was not decided
            if self.idle:
                self._note_late()
                if self._draining:
                    return
            self._work.clear()
            await self._work.wait()

    def _note_late(self, before: int | None = None) -> None:
        """What was late, and older than a decision of the core's, is for the reconcile now: all that is older still
        has been decided."""
        for key, entry in self.late.take(before):
            self.book.note(key, entry)

    async def _resume(self) -> None:
        """Go on where the run before was cut off: what is committed and not decided (T1 without its T2)."""
        restored, codec = self._keeper.restored, EventCodec()
        assert restored is not None
        self._seq = restored.cursors.get(CURSOR, 0)
        while True:
            read = functools.partial(transitions_after, seq=self._seq, limit=DECISION_TRANSITIONS_MAX)
            stored = [one for one in await self._keeper.ledger.call(read, writes=False) if one.seq <= restored.last_seq]
            if not stored:
                return
            batch = [(one, found) for one in stored if (found := self._decoded(codec, one)) is not None]
            seqs, keys = [one.seq for one, _ in batch], [one.fingerprint for one, _ in batch]
            await self._decide_in_parts(Committed(seqs, keys, [found for _, found in batch]))
            self._seq = max(self._seq, stored[-1].seq)

    def _decoded(self, codec: EventCodec, stored: StoredTransition) -> Transition | None:
        try:
            found = codec.from_msgpack(stored.body)
        except ValueError as error:
            self._keeper.tell("bad_record", f"transition {stored.seq} can't be read: {describe(error).message}")
            return None
        return found if isinstance(found, Transition) else None

    # --- T2 -------------------------------------------------------------------------------------------

    async def _decide_in_parts(self, committed: Committed) -> None:
        for start, end in _cuts(committed):
            await self._decide(committed.part(start, end))

    async def _decide(self, committed: Committed) -> None:
        """Render what these transitions ask to be told, and hand it to the ledger with the cursor."""
        seqs, transitions = committed.seqs, committed.transitions
        known = {id(one): (seq, key) for seq, key, one in committed.each()}
        self._seq = max([self._seq, *seqs])
        messages: list[NewMessage] = []
        entries = {key: Entry(seq or self._seq, one) for seq, key, one in committed.each() if one.kind in TOLD}
        for worker in self.workers:
            for made in self._composer.messages(worker, transitions, known, self._seq):
                messages += made
                await asyncio.sleep(0)
        for key, entry in entries.items():  # no turn of the loop before they are handed over: else they would lack
            self.book.note(key, entry)
        for receiver, key in self._composer.take_unsayable():
            self.book.give_up(receiver, key)
        if messages:
            self._submit(messages, cursor=any(seqs))
            while self._in_flight >= DECISIONS_MAX:
                self._work.clear()
                await self._work.wait()

    def _leave_to_reconcile(self, committed: Committed, error: Exception) -> None:
        count = len(committed.keys)
        for seq, key, one in committed.each():
            if one.kind in TOLD:
                self.book.note(key, Entry(seq or self._seq, one))
        text = f"{count} transitions are told later: {describe(error).message}"
        self._keeper.tell("crashed", text, failed=True, count=count)

    async def keep_up(self) -> None:
        """Note how far policy has come where nobody had to be told. Raises `LedgerError`."""
        if self.idle and self._seq > self._kept_seq:
            decision = Decision(CURSOR, self._seq)
            self._kept_seq = self._seq
            function = functools.partial(decide, decision=decision, limits=self._keeper.ledger.limits)
            await self._keeper.ledger.call(function)

    def tell_anew(self, worker: Told, entries: Mapping[str, Entry]) -> None:
        """Tell a receiver what it should know and does not, with ids of their own; no turn of the loop goes by."""
        known = {id(entry.transition): (entry.seq, key) for key, entry in entries.items()}
        transitions = [entry.transition for entry in entries.values()]
        last_seq = max(1, self._seq)
        for messages in self._composer.messages(worker, transitions, known, last_seq, anew=True):
            if messages:
                self._submit(messages, cursor=False)
        self.book.number(worker.name, entries, last_seq)
        for receiver, key in self._composer.take_unsayable():
            self.book.give_up(receiver, key)
        self.anew_total += len(entries)

    def stand(self, alerts: Iterable[AlertStatus], ended: Iterable[Transition] = (), *, whole: bool = True) -> None:
        """These fire since before the start. Receivers that keep what they were told are given it; the others are told
        of what the ledger does not know them to know.

        Args:
            ended: What ended with the start, and will be decided on.
            whole: Whether every alert of the run before was taken back.
        """
        self.whole = whole
        standing = [transition_of(alert) for alert in alerts if alert.state == "firing"]
        firing = {one.fingerprint: Entry(0, one) for one in standing}
        self.book.stand(firing, [one.fingerprint for one in ended])
        lost = self._lost(firing.keys())
        for worker in self.workers:
            worker.standing = self._composer.standing(worker.name, [*lost.get(worker.name, ()), *standing])

    def _lost(self, firing: Collection[str]) -> dict[str, list[Transition]]:
        """What each receiver was told to be lost, and what does not fire again."""
        found: dict[str, list[Transition]] = {}
        codec, restored = EventCodec(), self._keeper.restored
        for receiver, stored in () if restored is None else restored.lost:
            one = self._decoded(codec, stored) if stored.fingerprint not in firing else None
            if one is not None:
                found.setdefault(receiver, []).append(one)
        return found

    def _submit(self, messages: Sequence[NewMessage], *, cursor: bool) -> None:
        """Hand a decision over, and tell the workers once it is committed."""
        ledger = self._keeper.ledger
        decision = Decision(CURSOR if cursor else "", self._seq, messages)
        if cursor:
            self._kept_seq = self._seq
        function = functools.partial(decide, decision=decision, limits=ledger.limits)
        self._in_flight += 1
        if not ledger.submit(Job(function), functools.partial(self._committed, messages)):
            self._committed(messages, None)

    def _committed(self, messages: Sequence[NewMessage], outcome: Outcome | None) -> None:
        self._in_flight -= 1
        self._work.set()
        counts: dict[str, int] = {}
        for message in messages:
            counts[message.receiver] = counts.get(message.receiver, 0) + 1
        for worker in self.all:
            if not (count := counts.get(worker.name, 0)):
                continue
            if outcome is None or outcome.error is not None:
                self.book.doubt(worker.name)
                text = str(outcome.error) if outcome is not None else "too much waits for the ledger"
                worker.desk.tell(
                    "ledger", f"{count} messages could not be kept, and are made again: {text}", count=count
                )
                continue
            if outcome.value.void:  # the cursor was there already, which is a bug: the reconcile finds what is missing
                worker.desk.tell("void", f"{count} messages were taken for decided already", count=count)
                continue
            worker.queued_more(count)
            if dropped := outcome.value.overflowed.get(worker.name, 0):
                self.book.doubt(worker.name)
                worker.desk.lose("queue_full", dropped)
                text = "too many messages wait; those that newer ones supersede, else the oldest, were dropped"
                worker.desk.tell("message_lost", text, count=dropped)


def _cuts(committed: Committed) -> Iterator[tuple[int, int]]:
    """Where to cut, so that no part is too long and none tells two things of one alert: a body says of each alert
    what happened to it last."""
    start, seen = 0, set[str]()
    for number, (one, its_key) in enumerate(zip(committed.transitions, committed.keys, strict=True)):
        key = its_key if one.kind in TOLD else ""
        if key in seen or number - start >= DECISION_TRANSITIONS_MAX:
            yield start, number
            start, seen = number, set()
        if key:
            seen.add(key)
    if start < len(committed.keys):
        yield start, len(committed.keys)
