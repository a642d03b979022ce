"""One receiver's messages, sent from the outbox: in order, again until they are taken, and nobody else waits.

A message was rendered when it was decided; here the same bytes go out with the same id at each attempt. What follows
from an attempt `retry` says, and it is committed before the next message of the same order is looked at.
"""

from __future__ import annotations

import asyncio
import functools
import math
from typing import Final

from engine.ports import Notification, Periodic, Receiver, Resuming
from engine.runtime.contain import Outcome, describe
from engine.runtime.contain import settle as settle_tasks
from engine.runtime.desk import Desk
from engine.runtime.gate import Gate
from engine.runtime.keeping import Keeper
from engine.runtime.ledger.errors import LedgerError
from engine.runtime.ledger.group import Job
from engine.runtime.ledger.sending import Counts, Hasten, Look, look, settle
from engine.runtime.ledger.values import Instant, Message, Settlement
from engine.runtime.retry import WAIT_S_MAX, Answer, Bucket, Verdict, answer_of, decide

__all__ = ["DELIVER_TIMEOUT_S", "OutboxWorker"]

DELIVER_TIMEOUT_S: Final = 30.0
LOOK_S_MAX: Final = 30.0
"""So often it looks in any case: a person may have dropped or replayed something."""
LOOK_S_MIN: Final = 0.001
"""A rate limit may ask for less than a clock can show, and it would look again and again."""
LEDGER_PAUSE_S: Final = 1.0
LAST_TRIES: Final = 2
LAST_PAUSE_S: Final = 1.0
"""While the engine stops and nothing is on disk, a message is tried this often again, so long apart."""
GRACE_S: Final = 1.0
HANGS_S: Final = 2.0
"""While the engine stops and everything is on disk, no attempt is waited for longer than this after another ended."""
SENDS_MAX: Final = 16


class OutboxWorker:
    """Sends to one receiver.

    Args:
        receiver: Where to. Its attribute `deliveries_max`, 1 unless it has one, says how many messages of different
            order it takes at a time.
        desk: The sink's bookkeeping.
        name: The sink's name, told to it as its receiver name.
        keeper: The ledger.
        bucket: Its rate limit, if it has one.
    """

    def __init__(
        self, receiver: Receiver, desk: Desk, name: str, keeper: Keeper, *, bucket: Bucket | None = None
    ) -> None:
        self.receiver = receiver
        self.desk = desk
        self.name = name
        self.send_resolved = bool(getattr(receiver, "send_resolved", True))
        self.fallback: OutboxWorker | None = None
        """Who is told what this one can't be."""
        self.disabled = ""
        """Why nothing more is sent to it in this run; empty while it is."""
        self.standing: Notification | None = None
        """What stands since before the start, for a receiver that keeps what it was told."""
        self.dead_total = 0
        self.counts = Counts()
        self._keeper = keeper
        self._gate = Gate(bucket)
        self._ticks = isinstance(receiver, Periodic)
        self._sends_max = _sends_max(receiver)
        self._sending: dict[int, asyncio.Task[None]] = {}
        self._settlements: list[Settlement] = []
        self._last_tries: dict[int, int] = {}
        self._hasten: Hasten = "no"
        self._work = asyncio.Event()

    @property
    def queued(self) -> int:
        """Messages that wait or are being sent."""
        return self.counts.waiting

    @property
    def queue_max(self) -> int:
        """How many may wait."""
        return self._keeper.ledger.limits.outbox_rows_max

    @property
    def has_room(self) -> bool:
        """Whether its part of the outbox is not nearly full."""
        return self.counts.waiting + self.counts.held < 0.9 * self.queue_max

    def queued_more(self, messages: int) -> None:
        """So many messages more are in the outbox."""
        now_ms = self.desk.shared.clock.now_ms()
        oldest_ms = self.counts.oldest_ms or now_ms
        self.counts = self.counts._replace(waiting=self.counts.waiting + messages, oldest_ms=oldest_ms)
        self._work.set()

    def wake(self) -> None:
        """Look again: the drain has begun, or somebody has changed the outbox."""
        self._work.set()

    def enable(self) -> None:
        """Send to it again, although it had said that it wants nothing: a person asks for it."""
        self.disabled = ""
        self._work.set()

    def give_up(self) -> int:
        """How many messages were not delivered before the stop; once, so that they are counted once."""
        left, self.counts = self.counts.waiting, Counts()
        return left

    # --- the loop -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Send, until the drain has begun and nothing can be sent now."""
        await self._keeper.taken_back.wait()  # first what stands, then what is new
        if not await self.desk.opened():
            return
        self._resume()
        last = False
        try:
            while True:
                if self.desk.draining and not last:
                    last = True
                    if not self._keeper.durable:  # now or never
                        self._hasten = "all"
                        self._gate.now_or_never()
                found = await self._look()
                gate_s = self._start(found.messages) if found is not None else LEDGER_PAUSE_S
                if last and not self._sending and not self._settlements and self._is_through(found, gate_s):
                    return
                if last and self._sending and self._keeper.durable:
                    if not await self._news(HANGS_S):
                        return
                else:
                    await self._news(self._until_due_s(found, gate_s))
        finally:
            await self._leave()

    def _resume(self) -> None:
        standing, self.standing = self.standing, None
        if standing is None or not isinstance(self.receiver, Resuming):
            return
        try:
            self.receiver.resume(standing)
        except BaseException as error:  # noqa: BLE001  # foreign code, called from our own task
            self.desk.tell("resume", f"it could not take what stands: {describe(error).message}", status="degraded")

    async def _look(self) -> Look | None:
        """Settle what is finished and read what is due; None if the ledger can't say."""
        settlements, self._settlements = self._settlements, []
        hasten, self._hasten = self._hasten, "no"
        clock, ledger = self.desk.shared.clock, self._keeper.ledger
        job = functools.partial(
            look,
            receiver=self.name,
            settlements=settlements,
            now=self._keeper.now(),
            now_ms=clock.now_ms(),
            limits=ledger.limits,
            limit=self._sends_max - len(self._sending),
            busy=tuple(self._sending),
            hasten=hasten,
            park=self.disabled,
        )
        try:
            found = await ledger.call(job, writes=bool(settlements or hasten != "no" or self.disabled))
        except LedgerError as error:
            self._settlements = settlements + self._settlements
            self._hasten_more(hasten)
            self.desk.tell("ledger", f"the outbox can't be read: {error}", status="degraded")
            return None
        self.counts = found.counts
        if self.fallback is not None and any(one.outcome != "retry" for one in settlements):
            self.fallback.wake()
        return found

    def _hasten_more(self, hasten: Hasten) -> None:
        if self._hasten == "no" or hasten == "all":
            self._hasten = hasten

    def _start(self, messages: list[Message]) -> float:
        """Begin to send; returns in how many seconds the next may be, if its receiver has to be spared."""
        now_s, loop = self.desk.shared.clock.monotonic(), asyncio.get_running_loop()
        for message in messages:
            if (wait_s := self._gate.wait_s(now_s)) > 0:
                return wait_s
            self._gate.begin(now_s)
            sending = loop.create_task(self._send(message), name=f"longwatch {self.desk.component} message")
            self._sending[message.id] = sending
        return 0.0

    def _is_through(self, found: Look | None, gate_s: float) -> bool:
        """Whether nothing is worth waiting for before the stop."""
        if found is None or found.ahead_ms is None or self._keeper.durable:
            return True
        return gate_s > LAST_PAUSE_S or found.ahead_ms > 1000 * LAST_PAUSE_S

    def _until_due_s(self, found: Look | None, gate_s: float) -> float:
        if gate_s > 0:
            return min(LOOK_S_MAX, max(gate_s, LOOK_S_MIN))
        if found is not None and found.ahead_ms is not None and len(self._sending) < self._sends_max:
            return min(LOOK_S_MAX, max(found.ahead_ms / 1000, LOOK_S_MIN))
        return LOOK_S_MAX

    async def _news(self, wait_s: float) -> bool:
        """Wait until a message has ended or one is queued; False if nothing of the kind came in that time."""
        try:
            async with asyncio.timeout(wait_s):
                await self._work.wait()
        except TimeoutError:
            return False
        self._work.clear()
        return True

    async def _leave(self) -> None:
        """Cancel what is under way: nobody knows its outcome, so it stays in the outbox (F56)."""
        sending = list(self._sending.values())
        for task in sending:
            task.cancel()
        cancelled = await settle_tasks(sending, GRACE_S) if sending else 0
        self._sending.clear()
        if self._settlements:
            now_ms = self.desk.shared.clock.now_ms()
            self._keeper.ledger.submit(Job(functools.partial(settle, settlements=self._settlements, now_ms=now_ms)))
            self._settlements = []
        if cancelled:
            raise asyncio.CancelledError

    # --- one attempt ----------------------------------------------------------------------------------

    async def _send(self, message: Message) -> None:
        """Make one attempt, and note what follows from it. Whatever happens, the message's place is free again."""
        try:
            deliver = functools.partial(self.receiver.deliver, message.message_id, message.body)
            settlement = self._judge(message, await self.desk.call(deliver, DELIVER_TIMEOUT_S))
        except asyncio.CancelledError:
            self._gate.abandoned()
            raise
        except Exception as error:  # noqa: BLE001  # our own bug: this receiver must not be silent for ever because of it
            self._gate.abandoned()
            self.desk.tell("crashed", f"what came of a message could not be judged: {describe(error).message}")
            wait_s = min(WAIT_S_MAX, 2.0 ** min(message.attempts, 32))
            settlement = Settlement(message.id, "retry", "crashed", self._next_try(message, wait_s))
        finally:
            self._sending.pop(message.id, None)
            self._work.set()
        self._settlements.append(settlement)

    def _judge(self, message: Message, outcome: Outcome[None]) -> Settlement:
        """What follows from an attempt."""
        desk, answer, tries = self.desk, answer_of(outcome.failure), message.attempts + 1
        age_s = (desk.shared.clock.now_ms() - message.created_ms) / 1000 if message.attempts else 0.0
        verdict = decide(answer, tries=tries, age_s=age_s, rng=desk.shared.rng)
        self._hasten_more(self._gate.note(answer, verdict, desk.shared.clock.monotonic(), desk.shared.rng))
        text = "" if outcome.failure is None else outcome.failure.message
        return self._settlement(message, answer, verdict, text)

    def _settlement(self, message: Message, answer: Answer, verdict: Verdict, text: str) -> Settlement:
        desk = self.desk
        match verdict.step:
            case "done":
                desk.written += 1
                if not self._ticks:  # else its next tick says whether all is well, of all that it keeps told
                    desk.works()
                desk.take_notices(self.receiver)
                self._last_tries.pop(message.id, None)
                return Settlement(message.id, "done", receiver=message.receiver, covers=message.covers)
            case "dead":
                self.dead_total += 1
                desk.tell(answer.reason, f"a message was given up, see `outbox`: {text}")
                return Settlement(message.id, "dead", answer.reason)
            case "disable":
                self.disabled = answer.reason
                desk.tell(
                    answer.reason, f"the receiver wants nothing more, and is told nothing until a restart: {text}"
                )
                return Settlement(message.id, "parked", answer.reason)
        desk.retries += 1
        desk.tell(answer.reason, text, status="failed" if verdict.tell else "degraded")
        return Settlement(message.id, "retry", answer.reason, self._next_try(message, verdict.wait_s))

    def _next_try(self, message: Message, wait_s: float) -> Instant:
        if self.desk.draining and not self._keeper.durable:
            tries = self._last_tries.get(message.id, 0)
            self._last_tries[message.id] = tries + 1
            wait_s = min(wait_s, LAST_PAUSE_S) if tries < LAST_TRIES else wait_s + 2 * LAST_PAUSE_S
        now, wait_ms = self._keeper.now(), math.ceil(1000 * wait_s)
        return Instant(now.wall_ms + wait_ms, now.boot_id, now.up_ms + wait_ms)


def _sends_max(receiver: Receiver) -> int:
    wanted = getattr(receiver, "deliveries_max", 1)
    return min(max(wanted, 1), SENDS_MAX) if type(wanted) is int else 1
