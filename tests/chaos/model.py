"""What the engine must tell, and what it has told: the model that a receiver's log is judged by. No I/O.

The engine is not asked: the model knows what was measured, when the process lived, and what reached each receiver. Of
an alert that is *told*, its signal turns only when the first receiver has heard of the last turn, so exactly one
message must come of each turn. A *free* one turns when it likes: what is told of it must alternate, and be the same
everywhere. A *blip* is never true for long enough, and nothing may be told of it.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple

__all__ = ["GRID_WINDOW_MS", "RECEIVERS", "Alert", "Entry", "Model", "Rule", "entries_of"]

RECEIVERS = ("good", "slow", "dead")
"""One that answers at once, one that takes its time, one that does not answer most of the time."""
Kind = Literal["told", "free", "blip", "own"]
BLIND = "LongwatchBlind"
OWN = (BLIND, "LongwatchStorageDegraded")
"""What the engine says of itself. It must alternate, be told to everybody, and be over in the end."""
ROUNDING_MS = 1
"""What a time in event time and one of ours may differ by, both being cut to a millisecond."""
TURNS_MS: Mapping[Kind, tuple[int, int]] = {"told": (200, 200), "free": (900, 900), "blip": (5_000, 0)}
"""How long a signal stays 0, and how long 1, at most; at least half of that. A blip is seen once, and then not for so
long that the engine must have seen its end, also if some scrapes fail."""
GRID_WINDOW_MS = 2_000
"""How far rules of a rule file look back, and so how long an end takes: one scrape that fails must not be one."""


class Rule(NamedTuple):
    """A rule, and how many alerts it has."""

    name: str
    kind: Kind
    for_ms: int
    alerts: int = 4
    grid: bool = False

    @property
    def metric(self) -> str:
        return f"signal_{self.name}"


RULES = (
    *(Rule(f"t{number}", "told", for_ms) for number, for_ms in enumerate((0, 0, 100, 100, 200, 200, 300, 400))),
    *(Rule(f"f{number}", "free", for_ms) for number, for_ms in enumerate((0, 100, 200, 300))),
    *(Rule(f"g{number}", "told", for_ms, 2, grid=True) for number, for_ms in enumerate((0, 300))),
    Rule("b0", "blip", 1_000),
)


class Entry(NamedTuple):
    """One alert in one message, in event time."""

    alert: str
    event: str
    time_ms: int
    active_ms: int


class Alert:
    """One alert: its signal, and what each receiver was told of it, duplicates left out."""

    def __init__(self, name: str, rule: Rule) -> None:
        self.name = name
        self.rule = rule
        self.value = 0
        self.turns = 0
        self.served = True
        self.served_ms = 0.0
        self.turn_at_ms = 0.0
        self.told: dict[str, list[Entry]] = {receiver: [] for receiver in RECEIVERS}

    @property
    def is_own(self) -> bool:
        """Whether it is the engine's, and there is no signal."""
        return self.rule.kind == "own"

    @property
    def settled(self) -> bool:
        """Whether everything that must be told was told to everybody."""
        good, *others = (self.told[receiver] for receiver in RECEIVERS)
        if self.rule.kind == "told" and len(good) != self.turns:
            return False
        state = good[-1].event if good else "resolved"
        return state == ("firing" if self.value else "resolved") and all(other == good for other in others)


class Model:
    """Times are of the wall clock, in milliseconds, as those of the engine are.

    Args:
        rng: Decides when signals turn.
        turns_ms: As `TURNS_MS`.
        late_ms_max: How long a message to `good` may take in a life that goes on; for ever unless somebody asks,
            because nobody knows how busy the machine is.
        grid_ms: How far rules of a rule file look back, and from one instant to the next: as late as that they may be.
    """

    def __init__(
        self,
        rng: random.Random,
        rules: tuple[Rule, ...] = RULES,
        turns_ms: Mapping[Kind, tuple[int, int]] = TURNS_MS,
        late_ms_max: float = math.inf,
        grid_ms: int = GRID_WINDOW_MS,
    ) -> None:
        self.rules = rules
        self.clock_is_set = False
        """Whether times are no measure of anything: then neither their order is judged, nor what lies between."""
        self.excused: frozenset[str] = frozenset()
        """Receivers that need not be told everything: who excuses them has to judge that."""
        self._grid_ms = grid_ms
        self._turns_ms = turns_ms
        self.late_ms_max = late_ms_max
        self.alerts = {
            f"{rule.name}-{n}": Alert(f"{rule.name}-{n}", rule) for rule in rules for n in range(rule.alerts)
        }
        self.alerts |= {name: Alert(name, Rule(name, "own", 0)) for name in OWN}
        self.faults: list[str] = []
        self.duplicates = 0
        self.entries = 0
        self.turning = True
        self._rng = rng
        self._bodies: dict[tuple[str, str], bytes] = {}
        self._down: list[tuple[float, float]] = []
        self._died_ms: float | None = None
        self._life_ms = float("inf")
        self._begins = False

    # --- the engine's lives ---------------------------------------------------------------------------

    def born(self, now_ms: float) -> None:
        """A process is about to be started."""
        if self._died_ms is not None:
            self._down.append((self._died_ms, now_ms))
            self._died_ms = None
        self._begins = True

    def stops(self, now_ms: float) -> None:
        """The process is asked to stop, or to be killed: what is not told yet may come in the next life."""
        for alert in self.alerts.values():
            if len(alert.told["good"]) < alert.turns:
                self._check_late(alert, now_ms)
        self._life_ms = float("inf")

    def died(self, now_ms: float) -> None:
        """The process is known to be gone."""
        self._died_ms = now_ms

    # --- what is measured -------------------------------------------------------------------------------

    def exposition(self, now_ms: float, *, grid: bool = False) -> str:
        """What a scrape at this moment shows of signals for rules of one kind."""
        return "".join(f"{series} {value}\n" for series, value in self.signals(now_ms, grid=grid).items())

    def signals(self, now_ms: float, *, grid: bool = False) -> dict[str, int]:
        """What is measured at this moment, by series. Signals turn here."""
        measured = [alert for alert in self.alerts.values() if alert.rule.grid == grid and not alert.is_own]
        if self._begins:
            self._life_ms, self._begins = now_ms, False
        if self.turning:
            self._turn(measured, now_ms)
        for alert in measured:
            if not alert.served:
                alert.served, alert.served_ms = True, now_ms
        return {f'{alert.rule.metric}{{alert="{alert.name}"}}': alert.value for alert in measured}

    def calm(self) -> None:
        """Let nothing turn any more; what is free or a blip goes back to 0."""
        self.turning = False
        for alert in self.alerts.values():
            if alert.rule.kind != "told" and alert.value:
                alert.value, alert.served = 0, False

    def _turn(self, measured: Iterable[Alert], now_ms: float) -> None:
        for alert in measured:
            kind = alert.rule.kind
            ready = alert.served and now_ms >= alert.turn_at_ms
            if kind == "told":
                ready = ready and len(alert.told["good"]) >= alert.turns
            if not ready:
                continue
            alert.value, alert.served = 1 - alert.value, False
            alert.turns += 1
            longest_ms = self._turns_ms[kind][alert.value]
            alert.turn_at_ms = now_ms + self._rng.uniform(longest_ms / 2, longest_ms)

    # --- what is told ---------------------------------------------------------------------------------------

    def receive(self, receiver: str, message_id: str, body: bytes, now_ms: float) -> None:
        """A receiver was sent this."""
        before = self._bodies.get((receiver, message_id))
        if before is not None and before != body:
            self.faults.append(f"{receiver}: another body under the id {message_id}")
            return
        try:
            entries = list(entries_of(body))
        except (ValueError, KeyError, TypeError) as error:
            self.faults.append(f"{receiver}: {message_id} can't be read: {error!r}")
            return
        self._bodies[receiver, message_id] = body
        for entry in entries:
            alert = self.alerts.get(entry.alert)
            if alert is None:
                self.faults.append(f"{receiver}: phantom: there is no {entry.alert}")
            elif before is not None:
                self._repeated(receiver, alert, entry)
            else:
                self._first(receiver, alert, entry, now_ms)

    def _repeated(self, receiver: str, alert: Alert, entry: Entry) -> None:
        self.duplicates += 1
        if alert.told[receiver][-1] != entry:
            self.faults.append(f"{receiver}: {entry} again after {alert.told[receiver][-1]}")

    def _first(self, receiver: str, alert: Alert, entry: Entry, now_ms: float) -> None:
        told = alert.told[receiver]
        self.entries += 1
        if entry in told:
            self.faults.append(f"{receiver}: {entry} again under another id")
            return
        wanted = "resolved" if told and told[-1].event == "firing" else "firing"
        if entry.event != wanted and receiver not in self.excused:
            self.faults.append(f"{receiver}: lost or out of order: {entry} after {told[-1:]}")
        elif told and entry.time_ms < told[-1].time_ms and not self.clock_is_set:
            self.faults.append(f"{receiver}: {entry} after {told[-1]}")
        told.append(entry)
        if alert.rule.kind == "blip" or (alert.rule.kind == "told" and len(told) > alert.turns):
            self.faults.append(f"{receiver}: phantom: {entry}")
        if entry.event == "firing" and not (self.clock_is_set or alert.is_own):
            self._check_for(receiver, alert, entry)
        if receiver == "good":
            self._check_late(alert, now_ms)

    def _check_for(self, receiver: str, alert: Alert, entry: Entry) -> None:
        """The time in which no process lived does not count."""
        seen_ms = entry.time_ms - entry.active_ms
        for begin_ms, end_ms in self._down:
            seen_ms -= max(0.0, min(end_ms, entry.time_ms) - max(begin_ms, entry.active_ms))
        if seen_ms + 2 * ROUNDING_MS < alert.rule.for_ms:
            self.faults.append(f"{receiver}: phantom: {entry} after {seen_ms:.0f} of {alert.rule.for_ms} ms")

    def _check_late(self, alert: Alert, now_ms: float) -> None:
        """The last turn is told now, or not yet: in one life nothing waits longer, whatever the others do."""
        if alert.rule.kind != "told" or not alert.served:
            return
        waits_ms = alert.rule.for_ms * alert.value + self._grid_ms * alert.rule.grid
        due_ms = max(alert.served_ms, self._life_ms) + waits_ms
        if now_ms - due_ms > self.late_ms_max:
            self.faults.append(f"good: late: turn {alert.turns} of {alert.name} by {now_ms - due_ms:.0f} ms")

    # --- the verdict ------------------------------------------------------------------------------------------

    @property
    def settled(self) -> bool:
        """Whether everything was told to everybody."""
        return all(alert.settled or alert.is_own for alert in self.alerts.values())

    def verdict(self) -> list[str]:
        """Everything that is wrong, when all was sent."""
        return [*self.faults, *(fault for alert in self.alerts.values() for fault in self._missing(alert))]

    def _missing(self, alert: Alert) -> Iterator[str]:
        receivers = [receiver for receiver in RECEIVERS if receiver not in self.excused]
        return iter(()) if alert.settled else _missing(alert, receivers)


def _missing(alert: Alert, receivers: Iterable[str]) -> Iterator[str]:
    good = alert.told["good"]
    if alert.rule.kind == "told" and len(good) < alert.turns:
        yield f"lost: turn {len(good) + 1} of {alert.name} came to no one or not to good"
    for receiver in receivers:
        told = alert.told[receiver]
        if told != good:
            at = next(
                (n for n, (a, b) in enumerate(zip(told, good, strict=False)) if a != b), min(len(told), len(good))
            )
            yield f"{receiver}: of {alert.name} {len(told)} of {len(good)} entries, another one from {at + 1} on"
    state = good[-1].event if good else "resolved"
    if state != ("firing" if alert.value else "resolved"):
        yield f"lost: {alert.name} is {alert.value}, and last told was {state}"


def entries_of(body: bytes) -> Iterator[Entry]:
    """What a message says. Raises `ValueError`, `KeyError` and `TypeError`."""
    document: dict[str, Any] = json.loads(body)
    if document["data"]["truncated"]:
        raise ValueError("entries are left out")
    for alert in document["data"]["alerts"]:
        name = alert["labels"].get("alert") or alert["labels"]["alertname"]
        times = (datetime.fromisoformat(alert[time]).timestamp() for time in ("time", "active_since"))
        yield Entry(name, alert["event"], *(round(1000 * time_s) for time_s in times))
