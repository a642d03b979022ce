"""`status`: how a running engine is now, by its own word; of one that does not run, what it left behind."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from engine.cli.asking import EXIT_DONE, EXIT_NOT_DONE, age_words, from_ledger, with_engine
from engine.cli.health import AlertHead, StatusHead, part_lines
from engine.cli.output import Output
from engine.clock import SystemClock
from engine.errors import LongwatchError
from engine.runtime.commands.client import NoAnswer, NotRunning, ask
from engine.runtime.commands.reading import totals
from engine.runtime.commands.wire import LedgerState, OutboxState, StatusArguments
from engine.runtime.downtime import LifeSign
from engine.telling import labels_words

__all__ = ["outbox_lines", "run_status"]

ASK_S: Final = 35.0
ALERTS_SHOWN: Final = 20
STATUS_FILE: Final = "status.json"
LIFE_FILE: Final = "life.json"
_FILE_BYTES_MAX: Final = 64 * 1024 * 1024


class FactsLine(msgspec.Struct, frozen=True):
    """Of `Facts`, what `status` tells; in JSON what is no number is null."""

    peak: float | None = None
    mean: float | None = None
    samples: int = 0


class AlertLine(AlertHead, frozen=True):
    """Of an alert, what `status` tells."""

    labels: dict[str, str] = {}
    active_since_ms: int = 0
    value: float | None = None
    severity: str = ""
    paused: bool = False
    facts: FactsLine | None = None


class StatusFull(StatusHead, frozen=True):
    """Of an `EngineStatus`, what `status` tells."""

    alerts: tuple[AlertLine, ...] = ()


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What `status --json` prints.

    Args:
        running: Whether an engine has answered.
        reason: Why not; empty if it has.
        age_ms: How old `engine` is: 0 if it is the engine's own answer.
        engine: As in `status.json`; null if nothing is known.
        ledger: Null if it is not known how the ledger is.
        outbox: Null if the outbox can't be read.
    """

    running: bool
    reason: str
    folder: str
    age_ms: int | None
    engine: msgspec.Raw | None
    ledger: LedgerState | None
    outbox: tuple[OutboxState, ...] | None


class _Answered(msgspec.Struct, frozen=True):
    engine: msgspec.Raw
    ledger: LedgerState | None
    outbox: tuple[OutboxState, ...] | None


def run_status(arguments: argparse.Namespace) -> int:
    """Ask, or read what was left; print it.

    Returns:
        0 if an engine has answered, 1 if none did, 2 if the configuration can't be used.
    """
    return with_engine(arguments, lambda folder: _status(folder, arguments))


def _status(folder: Path, arguments: argparse.Namespace) -> int:
    now_ms = SystemClock().now_ms()
    try:
        answer = msgspec.json.decode(ask(folder, "status", StatusArguments(), timeout_s=ASK_S), type=_Answered)
        told = Told(running=True, reason="", folder=str(folder), age_ms=0, **msgspec.structs.asdict(answer))
    except (NotRunning, NoAnswer) as error:
        told = _left_behind(folder, str(error), now_ms)
    output = Output()
    if arguments.json:
        output.raw(msgspec.json.encode(told).decode() + "\n")
    else:
        for line in _lines(told, _life(folder), now_ms):
            output.line(line)
    return EXIT_DONE if told.running else EXIT_NOT_DONE


def _left_behind(folder: Path, reason: str, now_ms: int) -> Told:
    engine, age_ms, outbox = None, None, None
    if data := _file(folder / STATUS_FILE):
        try:
            age_ms = max(now_ms - msgspec.json.decode(data, type=StatusHead).heartbeat_ms, 0)
            engine = msgspec.Raw(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass  # it says nothing
    try:
        outbox = from_ledger(folder, totals)
    except LongwatchError:
        pass  # what can't be read is not known
    return Told(
        running=False, reason=reason, folder=str(folder), age_ms=age_ms, engine=engine, ledger=None, outbox=outbox
    )


def _file(path: Path) -> bytes:
    """What is in a file, empty if it can't be read."""
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_BYTES_MAX + 1)
    except OSError:
        return b""
    return data if len(data) <= _FILE_BYTES_MAX else b""


def _life(folder: Path) -> LifeSign | None:
    try:
        return msgspec.json.decode(_file(folder / LIFE_FILE), type=LifeSign)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _lines(told: Told, life: LifeSign | None, now_ms: int) -> list[str]:
    lines = []
    engine = None if told.engine is None else msgspec.json.decode(told.engine, type=StatusFull)
    if not told.running:
        lines.append(told.reason)
        if life is not None and (life.stopped or engine is None):
            word = "the last one was stopped" if life.stopped else "the last sign of life of one was"
            lines.append(f"{word} {age_words(now_ms, life.time_ms)} ago")
        if engine is not None:
            lines.append(f"this is what it wrote last, {age_words(now_ms, engine.heartbeat_ms)} ago:")
    if engine is not None:
        where = f"process {engine.pid}" + ("" if told.running else ", as it was then")
        since = f"started {age_words(now_ms, engine.started_ms)} ago"
        lines += [f"{engine.name}: {engine.phase}, {engine.status}, {since}, {where}", *part_lines(engine)]
        lines += _alert_lines(engine.alerts, now_ms if told.running else engine.heartbeat_ms)
    if told.ledger is not None:
        lines.append(f"  ledger: {_ledger_words(told.ledger)}")
    if told.outbox is None:
        return [*lines, "  outbox: not known"] if told.running and told.ledger is not None else lines
    return [*lines, *(f"  outbox: {line}" for line in outbox_lines(told.outbox, now_ms) or ["nothing waits"])]


def _ledger_words(ledger: LedgerState) -> str:
    kept = {"disk": "on disk", "memory": "in memory"}.get(ledger.kept, f"DEGRADED, in memory ({ledger.trouble})")
    words = [kept]
    if ledger.waiting:
        words.append(f"{ledger.waiting} changes wait")
    if ledger.busy_s >= 1:
        words.append(f"the disk has been busy for {ledger.busy_s:.0f} s")
    if ledger.refused_total:
        words.append(f"{ledger.refused_total} found no room")
    return ", ".join(words)


def _alert_lines(alerts: Sequence[AlertLine], at_ms: int) -> list[str]:
    lines = []
    for alert in alerts[:ALERTS_SHOWN]:
        severity = {"severity": alert.severity} if alert.severity else {}
        labels = labels_words(alert.labels | severity, leave_out=("alertname",))
        facts = [f"for {age_words(at_ms, alert.active_since_ms)}"]
        facts += [] if alert.value is None else [f"value {alert.value:.6g}"]
        facts += _measured(alert.facts)
        facts += ["its clock stands: nothing is known"] if alert.paused else []
        words = " ".join(part for part in (alert.rule, labels) if part)
        lines.append(f"    {alert.state.upper():<8} {words}, {', '.join(facts)}")
    if rest := len(alerts) - ALERTS_SHOWN:
        lines += [f"    and {rest} more; --json has them"] if rest > 0 else []
    return lines


def _measured(facts: FactsLine | None) -> list[str]:
    if facts is None or facts.peak is None or facts.mean is None:
        return []
    return [f"peak {facts.peak:.6g}, mean {facts.mean:.6g} of {facts.samples} samples"]


def outbox_lines(states: Sequence[OutboxState], now_ms: int) -> list[str]:
    """A line for each receiver: how many messages in which state."""
    receivers = dict.fromkeys(state.receiver for state in states)
    lines = []
    for receiver in receivers:
        mine = [state for state in states if state.receiver == receiver]
        oldest = age_words(now_ms, min(state.oldest_ms for state in mine))
        counts = ", ".join(f"{state.messages} {state.status}" for state in mine)
        lines.append(f"{receiver}: {counts}, the oldest {oldest} old")
    return lines
