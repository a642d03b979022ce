"""`outbox [list | replay ID ... | drop ID ...]`: messages that wait for their receivers, and those that nobody took."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from engine.cli.asking import EXIT_DONE, EXIT_NOT_DONE, age_words, columns, from_ledger, with_engine
from engine.cli.output import Output
from engine.cli.status import outbox_lines
from engine.clock import SystemClock
from engine.durations import format_ms
from engine.runtime.commands.client import NoAnswer, NotRunning, ask
from engine.runtime.commands.reading import listed
from engine.runtime.commands.wire import (
    DropResult,
    Entry,
    IdsArguments,
    ListArguments,
    ListResult,
    OutboxState,
    ReplayResult,
)

__all__ = ["run_outbox"]

ASK_S: Final = 35.0
_OVERTAKEN: Final = "stays dead: its receiver was told something newer of alerts in it; of the others it is told anew"
_MISSING: Final = "nothing to do: there is no such message, or it waits already"


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What `outbox list --json` prints. `running`: whether an engine has answered; else it is read from its file."""

    running: bool
    reason: str
    totals: tuple[OutboxState, ...]
    messages: tuple[Entry, ...]


def run_outbox(arguments: argparse.Namespace) -> int:
    """List, replay or drop.

    Returns:
        0 done; 1 not, or not all of it: without a running engine nothing is replayed or dropped; 2 the configuration
        can't be used.
    """
    act = {"list": _list, "replay": _replay, "drop": _drop}[arguments.action]
    return with_engine(arguments, lambda folder: act(folder, arguments, Output()))


def _list(folder: Path, arguments: argparse.Namespace, output: Output) -> int:
    wanted = ListArguments(limit=arguments.limit, receiver=arguments.receiver)
    reason = ""
    try:
        found = msgspec.json.decode(ask(folder, "outbox.list", wanted, timeout_s=ASK_S), type=ListResult)
    except (NotRunning, NoAnswer) as error:
        reason = str(error)
        found = from_ledger(folder, lambda connection: listed(connection, wanted.limit, wanted.receiver))
    if arguments.json:
        listing = Listing(running=not reason, reason=reason, totals=found.totals, messages=found.messages)
        output.raw(msgspec.json.encode(listing).decode() + "\n")
        return EXIT_DONE
    if reason:
        output.line(f"{reason}; this is read from its state.db, and nothing is sent meanwhile")
    for line in _listing_lines(found, wanted, SystemClock().now_ms()):
        output.line(line)
    return EXIT_DONE


def _listing_lines(found: ListResult, wanted: ListArguments, now_ms: int) -> list[str]:
    lines = outbox_lines(found.totals, now_ms)
    if not lines:
        return ["the outbox is empty: everything that was to be told has been"]
    if not found.messages:
        return [*lines, f"nothing for {wanted.receiver}"]
    head = ("ID", "RECEIVER", "STATE", "TRIES", "AGE", "SAYS", "REASON")
    lines += ["", *columns([head, *(_cells(entry, now_ms) for entry in found.messages)])]
    matching = sum(each.messages for each in found.totals if wanted.receiver in ("", each.receiver))
    if (rest := matching - len(found.messages)) > 0:
        lines.append(f"and {rest} more; --limit and --receiver show others")
    return lines


def _cells(entry: Entry, now_ms: int) -> tuple[str, ...]:
    reason = entry.reason
    if entry.status == "waiting" and entry.next_try_ms > now_ms:
        soon = f"next try in {format_ms(-(-(entry.next_try_ms - now_ms) // 1000) * 1000)}"
        reason = f"{reason}, {soon}" if reason else soon
    says = ", ".join(f"{count} {kind}" for kind, count in sorted(entry.about.items()))
    age = age_words(now_ms, entry.created_ms)
    return (str(entry.id), entry.receiver, entry.status, str(entry.attempts), age, says, reason)


def _replay(folder: Path, arguments: argparse.Namespace, output: Output) -> int:
    raw = _changed(folder, "outbox.replay", arguments.ids)
    result = msgspec.json.decode(raw, type=ReplayResult)
    if arguments.json:
        output.raw(bytes(raw).decode() + "\n")
    else:
        words = [(result.waiting, "waits again"), (result.superseded, _OVERTAKEN), (result.missing, _MISSING)]
        for ids, text in words:
            for number in ids:
                output.line(f"{number}: {text}")
    return EXIT_NOT_DONE if result.superseded or result.missing else EXIT_DONE


def _drop(folder: Path, arguments: argparse.Namespace, output: Output) -> int:
    raw = _changed(folder, "outbox.drop", arguments.ids)
    result = msgspec.json.decode(raw, type=DropResult)
    if arguments.json:
        output.raw(bytes(raw).decode() + "\n")
    else:
        for number in result.dropped:
            output.line(f"{number}: dropped")
        for number in result.missing:
            output.line(f"{number}: there is no such message")
    return EXIT_NOT_DONE if result.missing else EXIT_DONE


def _changed(folder: Path, command: str, ids: Sequence[int]) -> msgspec.Raw:
    """Raises `NotRunning`: nothing is kept for later, so that nothing happens that nobody expects any more."""
    try:
        return ask(folder, command, IdsArguments(ids=tuple(dict.fromkeys(ids))), timeout_s=ASK_S)
    except NotRunning as error:
        raise NotRunning(f"{error}; this needs a running engine, nothing was done") from None
