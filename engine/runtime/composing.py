"""Messages as they are stored and sent: rendered, with their id, their order and what they say. It stores nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Protocol, TypeAlias

import msgspec

from engine.events import Transition
from engine.ports import Notification, Receiver
from engine.runtime.contain import Failure, describe
from engine.runtime.desk import Desk
from engine.runtime.keeping import Keeper
from engine.runtime.ledger.values import Cover, Instant, NewMessage, fallback_id
from engine.runtime.notifications import grouped
from engine.runtime.retry import TELL_AFTER_S

__all__ = ["FALLBACK_S", "Composer", "Told"]

FALLBACK_S: Final = TELL_AFTER_S
"""So long a message may be on its way before another receiver is told in its place."""
Known: TypeAlias = Mapping[int, tuple[int, str]]


class Told(Protocol):
    """What policy needs of a receiver's worker (`outbox.OutboxWorker`)."""

    name: str
    receiver: Receiver
    send_resolved: bool
    desk: Desk
    standing: Notification | None

    @property
    def has_room(self) -> bool:
        """Whether its part of the outbox is not nearly full."""

    @property
    def fallback(self) -> Told | None:
        """Who is told what this one can't be."""

    def queued_more(self, messages: int) -> None:
        """So many messages more are in the outbox."""


class Composer:
    """Makes messages.

    Args:
        keeper: The ledger, for ids and limits.
        external_labels: Labels that identify this engine.
    """

    def __init__(self, keeper: Keeper, external_labels: Mapping[str, str]) -> None:
        self._keeper = keeper
        self._external_labels = external_labels
        self._unnumbered = 0
        self._unsayable: list[tuple[str, str]] = []

    def messages(
        self,
        worker: Told,
        transitions: Sequence[Transition],
        known: Known,
        last_seq: int,
        *,
        anew: bool = False,
    ) -> Iterator[list[NewMessage]]:
        """What one receiver is told of these: a generator of parts of the work, each with what it has made.

        Args:
            known: By the identity of each transition its number and the key of its alert.
            last_seq: The highest number that was decided on.
            anew: It should have been told before; these messages are others than those that it was not told by.
        """
        told = set[str]()
        try:
            for made in self._parts(worker, transitions, known, last_seq, anew=anew):
                told.update(cover.alert_key for message in made for cover in message.covers)
                yield made
        except Exception as error:  # noqa: BLE001  # our own bug: it may cost what it is about, and nothing else
            _tell_crash(worker, error)
            told.update(key for name, key in self._unsayable if name == worker.name)
            left = [one for one in transitions if known[id(one)][1] not in told]
            yield from self._one_by_one(worker, left, known, last_seq, anew=anew)

    def _one_by_one(
        self, worker: Told, transitions: Sequence[Transition], known: Known, last_seq: int, *, anew: bool
    ) -> Iterator[list[NewMessage]]:
        """What can't be made alone either is left to the reconcile, which calls with `anew`: then it is given up."""
        lost = 0
        for one in transitions:
            try:
                yield from list(self._parts(worker, [one], known, last_seq, anew=anew))
            except Exception as error:  # noqa: BLE001  # as above
                _tell_crash(worker, error)
                lost += 1
                if anew:
                    self._unsayable.append((worker.name, known[id(one)][1]))
        if anew:
            worker.desk.lose("crashed", lost)

    def _parts(
        self, worker: Told, transitions: Sequence[Transition], known: Known, last_seq: int, *, anew: bool
    ) -> Iterator[list[NewMessage]]:
        grouping = grouped(transitions, worker.name, self._external_labels, send_resolved=worker.send_resolved)
        for notification in grouping:
            yield [] if notification is None else self._message(worker, notification, known, last_seq, anew=anew)

    def standing(self, receiver: str, transitions: Sequence[Transition]) -> Notification | None:
        """All that stands at the start, for a receiver that keeps it; None if nothing does."""
        if not transitions:
            return None
        return Notification(
            receiver=receiver,
            group_key="{}:{}",
            group_labels={},
            transitions=tuple(transitions),
            external_labels=self._external_labels,
        )

    def take_unsayable(self) -> list[tuple[str, str]]:
        """Receiver and alert of what could not be made since the last call."""
        taken, self._unsayable = self._unsayable, []
        return taken

    def _message(
        self, worker: Told, notification: Notification, known: Known, last_seq: int, *, anew: bool
    ) -> list[NewMessage]:
        """The message, or nothing if it can't be made: then it is counted, and not tried again. A fallback's body is
        another one, so each may be there without the other."""
        body, fallback = self._body(worker, notification), worker.fallback
        instead = None
        if fallback is not None and _wants(fallback, notification):
            instead = self._body(fallback, msgspec.structs.replace(notification, receiver=fallback.name))
        if body is None:
            self._unsayable += [(worker.name, known[id(one)][1]) for one in notification.transitions]
        if body is None and instead is None:
            return []
        first, part = known[id(notification.transitions[0])][0], 0
        if anew or not first:  # no number tells it from others
            self._unnumbered += 1
            first, part = last_seq, self._unnumbered
        covers = []
        for one in notification.transitions:
            seq, key = known[id(one)]
            covers.append(Cover(key, one.kind, seq or last_seq))
        ledger, now_ms = self._keeper.ledger, worker.desk.shared.clock.now_ms()
        # A rule's alerts are told together, and each alert is of one rule: messages of one group one after the other
        # keep the order of each alert, which a finer key could not, since no two messages tell of the same ones.
        order_key = notification.group_key
        message_id = ledger.message_id(worker.name, first, part)
        message = NewMessage(worker.name, order_key, message_id, body or b"", tuple(covers), now_ms)
        made = [] if body is None else [message]
        if fallback is not None and instead is not None:
            made.append(self._in_its_place(fallback.name, message, instead, at_once=body is None))
        return made

    def _body(self, worker: Told, notification: Notification) -> bytes | None:
        """What is sent; None, told and counted, if the receiver can't make it or nobody could keep it."""
        body = _render(worker.receiver, worker.desk, notification)
        if body is not None and len(body) > (limit := self._keeper.ledger.limits.body_bytes_max):
            worker.desk.lose("oversize", 1)
            worker.desk.tell("oversize", f"a message of {len(body)} bytes is over {limit}")
            return None
        return body

    def _in_its_place(self, fallback: str, message: NewMessage, body: bytes, *, at_once: bool) -> NewMessage:
        """What another receiver is told after a while, unless the message has been taken by then."""
        now, wait_ms = self._keeper.now(), 0 if at_once else int(1000 * FALLBACK_S)
        return message._replace(
            receiver=fallback,
            order_key=f"{message.receiver}:{message.order_key}",
            message_id=fallback_id(message.message_id),
            body=body,
            not_before=Instant(now.wall_ms + wait_ms, now.boot_id, now.up_ms + wait_ms),
        )


def _wants(fallback: Told, notification: Notification) -> bool:
    """Whether a receiver is told of this in the place of another, which may be told of other things than itself."""
    return fallback.send_resolved or any(one.kind != "resolved" for one in notification.transitions)


def _tell_crash(worker: Told, error: Exception) -> None:
    worker.desk.tell("crashed", f"a message could not be made: {describe(error).message}")


def _render(receiver: Receiver, desk: Desk, notification: Notification) -> bytes | None:
    """A message's body, or None, told and counted, if the receiver can't make one."""
    try:
        body: object = receiver.render(notification)  # foreign: its type is a promise
    except BaseException as error:  # noqa: BLE001  # foreign code, called from our own task
        failure = describe(error)
    else:
        if isinstance(body, bytes):
            return body
        failure = Failure("bad_output", f"render returned {type(body).__name__}, not bytes")
    desk.lose("render", 1)
    desk.tell("render", f"a message could not be rendered: {failure.message}")
    return None
