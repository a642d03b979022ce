"""The verdict over a simulated run, beside the model's: by what was measured, and by what is left in the ledger."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.chaos.model import BLIND, Alert, Entry, entries_of
from tests.chaos.reference import Ending, Sample, disagreement
from tests.chaos.sim_world import World

__all__ = ["judged"]


def judged(world: World, file: Path) -> Iterator[str]:
    """Everything that is wrong.

    Args:
        file: The ledger, when everything was told.
    """
    connection = sqlite3.connect(file)
    left = connection.execute("SELECT receiver, status, body FROM outbox ORDER BY id").fetchall()
    connection.close()
    given_up: dict[str, list[Entry]] = {receiver: [] for receiver in world.model.excused}
    for receiver, status, body in left:
        if status != "waiting" and receiver in given_up:
            given_up[receiver] += entries_of(body)
        else:
            yield f"in the outbox: {receiver} {status} {body[:200]!r}"
    yield from _disagreements(world)
    blind = [entry for entry in world.model.alerts[BLIND].told["good"] if entry.event == "firing"]
    if len(blind) > world.causes + 1 or (world.crashes and not blind):
        yield f"{BLIND} has fired {len(blind)} times for {world.causes} causes"
    for receiver, entries in given_up.items():
        for alert in world.model.alerts.values():
            mine = [entry for entry in entries if entry.alert == alert.name]
            judge = _behind if world.story.outbox_rows_max else _unaccounted
            yield from judge(receiver, alert, mine)


def _disagreements(world: World) -> Iterator[str]:
    """Where what was told is not what the rules say over what was measured. Rules of a rule file are the model's."""
    for name, alert in world.model.alerts.items():
        if alert.rule.grid or alert.is_own:
            continue
        happened = (each if isinstance(each, Ending) else Sample(each[0], each[1][name]) for each in world.happened)
        if fault := disagreement(alert.rule.for_ms, happened, alert.told["good"], world.moments):
            yield f"{name}: {fault}"


def _unaccounted(receiver: str, alert: Alert, given_up: Sequence[Entry]) -> Iterator[str]:
    """I1 where messages are given up: each was taken, or waits for a person, and what was taken came in order."""
    good, told = alert.told["good"], alert.told[receiver]
    yield from _disorder(receiver, alert)
    if lost := [entry for entry in good if entry not in told and entry not in given_up]:
        yield f"{receiver}: lost, and left to nobody: {lost[:2]}"
    if phantoms := [entry for entry in (*told, *given_up) if entry not in good]:
        yield f"{receiver}: phantom: {phantoms[:2]}"


def _behind(receiver: str, alert: Alert, _: Sequence[Entry]) -> Iterator[str]:
    """Where there was no room for everything: nobody knows another state in the end than the one it is in, and what was
    taken came in order."""
    good, told = alert.told["good"], alert.told[receiver]
    yield from _disorder(receiver, alert)
    if phantoms := [entry for entry in told if entry not in good]:
        yield f"{receiver}: phantom: {phantoms[:2]}"
    states = [entries[-1].event if entries else "resolved" for entries in (told, good)]
    if states[0] != states[1]:
        yield f"{receiver}: was told {told[-1:]} last, and not {good[-1:]}"


def _disorder(receiver: str, alert: Alert) -> Iterator[str]:
    good = alert.told["good"]
    places = [good.index(entry) for entry in alert.told[receiver] if entry in good]
    if places != sorted(places):
        yield f"{receiver}: {alert.name} is out of order"
