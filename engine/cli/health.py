"""The verb `health`: is the engine of this state folder well? Reads what the engine writes there every two
seconds.

It speaks to nobody, so that it works when the engine's loop does not. Exit code 0 or 1, with one line of
reason.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from engine.cli.load import folder_of
from engine.cli.output import Output
from engine.cli.state import StateFolderError
from engine.clock import SystemClock
from engine.durations import format_ms
from engine.errors import ConfigError
from engine.events import AlertState, HealthStatus
from engine.status import ChannelStatus, EngineStatus, LedgerState, ProbeStatus, SinkStatus, alert_counts
from engine.text import clean

__all__ = [
    "AlertHead",
    "StatusHead",
    "Verdict",
    "judge",
    "part_lines",
    "pid_lives",
    "read_status",
    "report",
    "run_health",
]

STATUS_FILE = "status.json"
HEARTBEAT_MAX_MS = 10_000
STATUS_BYTES_MAX = 64 * 1024 * 1024
"""Far more than an engine writes: ten thousand alerts with long labels make 16 MiB."""


class AlertHead(msgspec.Struct, frozen=True):
    """Of an alert, what `health` tells."""

    rule: str
    state: AlertState


class StatusHead(msgspec.Struct, frozen=True):
    """Of an `EngineStatus`, what `health` needs. Values are left out: JSON has no NaN, and one must not
    hide the rest.
    """

    name: str
    pid: int
    phase: str
    started_ms: int
    heartbeat_ms: int
    lag_ms: float | None = None
    probes: tuple[ProbeStatus, ...] = ()
    sinks: tuple[SinkStatus, ...] = ()
    alerts: tuple[AlertHead, ...] = ()
    channel: ChannelStatus = ChannelStatus()
    counters: dict[str, float | None] = {}
    ledger: LedgerState = LedgerState()

    @property
    def status(self) -> HealthStatus:
        """The worst of all parts."""
        return EngineStatus("", 0, "", 0, 0, probes=self.probes, sinks=self.sinks, ledger=self.ledger).status


class Verdict(msgspec.Struct, frozen=True):
    """What `health` says. `reason` is empty when the engine is well."""

    healthy: bool
    reason: str
    folder: str
    heartbeat_age_ms: int | None = None
    engine: StatusHead | None = None


def read_status(folder: Path) -> StatusHead | None:
    """The status in a state folder, or None where no engine has left one.

    Raises:
        ValueError: There is a file, but it is not a status.
        OSError: It can't be read.
    """
    try:
        with open(folder / STATUS_FILE, "rb") as file:
            data = file.read(STATUS_BYTES_MAX + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if len(data) > STATUS_BYTES_MAX:
        raise ValueError(f"it has more than {STATUS_BYTES_MAX >> 20} MiB, which is more than any engine writes")
    return msgspec.json.decode(data, type=StatusHead)


def pid_lives(pid: int) -> bool:
    """Whether there is a process of that number, whoever owns it."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def judge(folder: Path, now_ms: int, lives: Callable[[int], bool] = pid_lives) -> Verdict:
    """Decide. The heartbeat must be younger than `HEARTBEAT_MAX_MS`, the process there, and no part
    failed.
    """
    try:
        status = read_status(folder)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else clean(str(error), 200)
        return Verdict(False, f"{folder / STATUS_FILE} can't be read: {reason}", str(folder))
    if status is None or status.phase == "stopped" or not lives(status.pid):
        return Verdict(False, f"no engine is running for state folder {folder}", str(folder))
    age_ms = max(now_ms - status.heartbeat_ms, 0)
    reason = ""
    if age_ms >= HEARTBEAT_MAX_MS:
        reason = f"process {status.pid} gave its last sign of life {format_ms(age_ms // 1000 * 1000)} ago"
    elif status.status == "failed":
        failed = [part for part in _parts(status) if part.status == "failed"]
        reason = "; ".join(
            f"{part.name} ({part.type}) failed: {part.message or 'no reason given'}" for part in failed[:5]
        )
    return Verdict(not reason, reason, str(folder), age_ms, status)


def run_health(arguments: argparse.Namespace) -> int:
    """Find the state folder the way `run` does, judge, report, and return the exit code."""
    try:
        folder = folder_of(arguments.config, arguments.overrides)
    except ConfigError as error:
        for problem in error.problems:
            Output(2).line(str(problem))
        return 2
    except StateFolderError as error:
        Output(2).line(f"longwatch: {error}")
        return 2
    return report(judge(folder, SystemClock().now_ms()), Output(), as_json=arguments.json)


def report(verdict: Verdict, output: Output, *, as_json: bool) -> int:
    """Print the verdict and return the exit code."""
    if as_json:
        output.raw(msgspec.json.encode(verdict).decode() + "\n")
    else:
        for line in _lines(verdict):
            output.line(line)
    return 0 if verdict.healthy else 1


def _parts(status: StatusHead) -> list[ProbeStatus | SinkStatus]:
    return [*status.probes, *status.sinks]


def _lines(verdict: Verdict) -> list[str]:
    status = verdict.engine
    if status is None:
        return [verdict.reason]
    age = f"last sign of life {format_ms((verdict.heartbeat_age_ms or 0) // 1000 * 1000)} ago"
    lines = [f"{status.name}: {status.phase}, {status.status}, process {status.pid}, {age}", *part_lines(status)]
    return [*lines, f"not healthy: {verdict.reason}"] if verdict.reason else lines


def part_lines(status: StatusHead) -> list[str]:
    """A line for each probe and sink, for the queue, and for how many alerts there are."""
    lines = []
    for part in _parts(status):
        kind, message = "sink", part.message
        if isinstance(part, ProbeStatus):
            kind, message = "probe", message or "the target is down" * part.target_down
        lines.append(f"  {kind:<6}{part.name:<20} {part.type:<12} {part.status:<9} {message}".rstrip())
    if status.ledger.trouble:
        lines.append(f"  the ledger is kept in memory: {clean(status.ledger.trouble, 64)}")
    channel = status.channel
    queue = f"queue {channel.depth} of {channel.capacity}, {sum(channel.dropped.values())} dropped"
    lines.append(f"  {queue}; loop lag {status.lag_ms or 0:.1f} ms")
    firing, pending = alert_counts((alert.state for alert in status.alerts), status.counters)
    lines.append(f"  alerts: {firing} firing, {pending} pending")
    return lines
