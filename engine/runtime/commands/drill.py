"""A drill: an alert that is marked as one, sent through receivers now, and what each of them answered.

It goes straight through `render` and `deliver`, as every message does, but through no outbox: it is tried once, and
nothing of it is kept. It must not be taken for the real thing: the alert's name, a label and its text say what it is.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from engine.conformance import receives
from engine.errors import nearest
from engine.events import Transition
from engine.ports import Notification, Receiver
from engine.runtime.commands.server import Emit
from engine.runtime.commands.wire import CommandRefused, DrillArguments, DrillResult, DrillRow
from engine.runtime.contain import describe
from engine.runtime.delivery import SinkRunner
from engine.runtime.ledger.values import message_id
from engine.runtime.notifications import group
from engine.runtime.supervisor import Shared

__all__ = ["DRILL_TIMEOUT_S", "Driller"]

ALERT_NAME: Final = "LongwatchDrill"
DELIVER_TIMEOUT_S: Final = 30.0
DRILL_TIMEOUT_S: Final = 120.0
"""Beside the time that was asked for between the two messages: both deliveries of a receiver that hangs, and more."""


class Driller:
    """Makes drills, one at a time.

    Args:
        engine: The watch's name, for the text.
        external_labels: Labels that identify this engine, as in every notification.
    """

    def __init__(
        self, sinks: Sequence[SinkRunner], shared: Shared, engine: str, external_labels: Mapping[str, str]
    ) -> None:
        self._sinks = [runner for runner in sinks if receives(runner.spec.sink)]
        self._shared = shared
        self._engine = engine
        self._external_labels = external_labels
        self._under_way = False

    async def run(self, arguments: DrillArguments, emit: Emit) -> DrillResult:
        """Drill the receivers side by side; each message is a row. Raises `CommandRefused`."""
        if self._under_way:
            raise CommandRefused("busy", "a drill is under way already")
        chosen = self._chosen(arguments.sink)
        if any(runner.desk.draining for runner in chosen):
            raise CommandRefused("stopping", "the engine is stopping: nothing was sent")
        self._under_way = True
        try:
            async with asyncio.TaskGroup() as group_:
                drills = [group_.create_task(self._drill(runner, arguments.hold_ms, emit)) for runner in chosen]
        finally:
            self._under_way = False
        return DrillResult(sum(each.result() for each in drills), len(drills))

    def _chosen(self, name: str) -> list[SinkRunner]:
        names = [runner.spec.name for runner in self._sinks]
        if not names:
            raise CommandRefused("no_receiver", "there is no sink that tells people: nothing to drill")
        if name and name not in names:
            hint = nearest(name, names) or f"there is {', '.join(names)}"
            raise CommandRefused("usage", f'there is no receiver "{name}"; {hint}')
        return [runner for runner in self._sinks if name in ("", runner.spec.name)]

    async def _drill(self, runner: SinkRunner, hold_ms: int, emit: Emit) -> bool:
        """Both messages to one receiver; whether it took them."""
        token, begun_ms = secrets.token_hex(16), self._shared.clock.now_ms()
        first = await self._send(runner, _firing(self._engine, runner.spec.name, begun_ms), token)
        if hold_ms:
            await emit(first)
        try:
            last = await self._end(runner, first, begun_ms, hold_ms, token)
        except asyncio.CancelledError:
            if first.outcome != "skipped":
                words = "a drill was cut off: it may have been told of a drill's alert, and not of its end"
                runner.desk.tell("drill_cut", words, status="degraded")
            raise
        rows = [row for row in (first if not hold_ms else None, last) if row is not None]
        for row in rows:  # at once, so that rows of one receiver stand together
            await emit(row)
        return first.outcome == "delivered" and last is not None and last.outcome in ("delivered", "not_wanted")

    async def _end(
        self, runner: SinkRunner, first: DrillRow, begun_ms: int, hold_ms: int, token: str
    ) -> DrillRow | None:
        """The second message; None if there was no first one."""
        if first.outcome == "skipped":
            return None
        if not getattr(runner.spec.sink, "send_resolved", True):
            return _row(runner, "resolved", "not_wanted", message="it is not told of resolved alerts (send_resolved)")
        if first.outcome == "delivered":  # else it may have taken it all the same: the end is told in any case, and now
            await self._hold(runner, hold_ms)
        end = _resolved(self._engine, runner.spec.name, begun_ms, self._shared.clock.now_ms())
        return await self._send(runner, end, token)

    async def _hold(self, runner: SinkRunner, hold_ms: int) -> None:
        """Wait, but no longer than until the stop: who was told that it fires is told the end, too."""
        if not runner.desk.draining:
            await runner.desk.pause(hold_ms / 1000)

    async def _send(self, runner: SinkRunner, transition: Transition, token: str) -> DrillRow:
        what: Literal["firing", "resolved"] = "firing" if transition.after == "firing" else "resolved"
        receiver, name = runner.spec.sink, runner.spec.name
        assert isinstance(receiver, Receiver)
        if not runner.desk.is_open:
            words = runner.desk.message or "it has not been opened yet"
            return _row(runner, what, "skipped", reason="not_open", message=words)
        clock, owner = self._shared.clock, f"{runner.desk.component} drill"
        if self._shared.containment.is_hung(owner):
            return _row(runner, what, "skipped", reason="hung", message="the call of an earlier drill has not ended")
        try:
            (notification,) = group([transition], name, self._external_labels)
            body = _rendered(receiver, notification)
        except Exception as error:  # noqa: BLE001  # foreign code, called from our own task
            words = f"it could not be rendered: {describe(error).message}"
            return _row(runner, what, "skipped", reason="render", message=words)
        number = message_id(token, name, what == "resolved")
        begun_s = clock.monotonic()
        outcome = await self._shared.containment.call(owner, lambda: receiver.deliver(number, body), DELIVER_TIMEOUT_S)
        ms = (clock.monotonic() - begun_s) * 1000
        failure = outcome.failure
        if failure is None:
            return _row(runner, what, "delivered", ms=ms)
        status = 0 if failure.asked is None else failure.asked.status
        return _row(runner, what, "failed", ms=ms, status=status, reason=failure.reason, message=failure.message)


def _rendered(receiver: Receiver, notification: Notification) -> bytes:
    body: object = receiver.render(notification)  # foreign: its type is a promise
    if not isinstance(body, bytes):
        raise TypeError(f"render returned {type(body).__name__}, not bytes")
    return body


def _row(
    runner: SinkRunner,
    what: Literal["firing", "resolved"],
    outcome: Literal["delivered", "failed", "skipped", "not_wanted"],
    *,
    ms: float = 0.0,
    status: int = 0,
    reason: str = "",
    message: str = "",
) -> DrillRow:
    return DrillRow(runner.spec.name, runner.spec.type, what, outcome, round(ms, 3), status, reason, message)


def _firing(engine: str, receiver: str, time_ms: int) -> Transition:
    return Transition(
        time_ms,
        ALERT_NAME,
        {"alertname": ALERT_NAME, "drill": "true", "severity": "info"},
        "pending",
        "firing",
        "held",
        1.0,
        time_ms,
        annotations={
            "summary": f"DRILL: {engine} tries how it reaches {receiver}. Nothing is wrong.",
            "description": "This alert was sent by hand, with `longwatch drill`, and ends by itself.",
        },
        fired_ms=time_ms,
    )


def _resolved(engine: str, receiver: str, begun_ms: int, now_ms: int) -> Transition:
    begun = _firing(engine, receiver, begun_ms)
    return Transition(
        max(now_ms, begun_ms + 1),
        ALERT_NAME,
        begun.labels,
        "firing",
        "inactive",
        "recovered",
        0.0,
        begun_ms,
        annotations=begun.annotations,
        fired_ms=begun_ms,
    )
