"""The grammar of the verbs that ask a running engine: `health`, `status`, `outbox`, `drill`, `backup`."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Final

from engine.cli.grammar import Verbs, set_option, verb
from engine.durations import Duration

__all__ = ["engine_verbs", "with_action"]

_HOLD_MAX: Final = Duration.parse("10m")
_ID_MAX: Final = 2**63 - 1
_OUTBOX_CODES: Final = "Exit codes: 0 done; 1 not, or not all of it; 2 the configuration can't be used."


def with_action(arguments: list[str]) -> list[str]:
    """The command line with the action that `outbox` has where none is named, which is `list`."""
    if arguments[:1] != ["outbox"] or (arguments[1:] and not arguments[1].startswith("-")):
        return arguments
    return arguments if arguments[1:2] in (["-h"], ["--help"]) else ["outbox", "list", *arguments[1:]]


def engine_verbs(verbs: Verbs) -> None:
    """Add them."""
    codes = "Exit codes: 0 well, 1 not well, 2 the configuration can't be used."
    _reach_options(verb(verbs, "health", "say whether a running engine is well", codes))
    codes = "Exit codes: 0 it runs, 1 it does not or does not answer, 2 the configuration can't be used."
    _reach_options(verb(verbs, "status", "show how a running engine is, or what one that does not run has left", codes))
    _outbox(verb(verbs, "outbox", "list messages that wait or that nobody took, send them again, drop them"))
    codes = "Exit codes: 0 every receiver took it; 1 one did not, or no engine runs; 2 there is no such receiver."
    drill = verb(verbs, "drill", "send a marked test alert through the receivers of a running engine", codes)
    drill.add_argument("--sink", default="", metavar="NAME", help="this receiver alone; default: all")
    hold = "from firing to resolved, at most 10m; default: 0s"
    drill.add_argument("--hold", type=_hold, default=Duration(0), metavar="TIME", help=hold)
    _reach_options(drill)
    codes = "Exit codes: 0 it is there, whole and on disk; 1 not; 2 the configuration can't be used."
    backup = verb(verbs, "backup", "copy state.db into a new file; also while no engine runs", codes)
    backup.add_argument("path", type=Path, metavar="PATH", help="the new file, or a folder for it")
    _reach_options(backup)


def _outbox(outbox: argparse.ArgumentParser) -> None:
    actions = outbox.add_subparsers(metavar="ACTION", title="actions; without one: list", dest="action", required=True)
    listing = _action(actions, "list", "list them; also while no engine runs")
    listing.add_argument("--limit", type=_limit, default=50, metavar="N", help="at most so many, to 1000; default: 50")
    listing.add_argument("--receiver", default="", metavar="NAME", help="of this receiver alone")
    for name, text in (
        ("replay", "let dead and parked messages wait again, as if never tried; needs a running engine"),
        ("drop", "delete messages, whatever their state; needs a running engine"),
    ):
        ids = _action(actions, name, text)
        ids.add_argument("ids", nargs="+", type=_message_id, metavar="ID", help="a message's number in the list")


def _action(actions: Verbs, name: str, text: str) -> argparse.ArgumentParser:
    made = actions.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=_OUTBOX_CODES, allow_abbrev=False
    )
    _reach_options(made)
    return made


def _reach_options(parser: argparse.ArgumentParser) -> None:
    """Which engine, and how to print what it says."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="the configuration the engine was started with")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    set_option(parser)


def _message_id(text: str) -> int:
    return _number(text, _ID_MAX)


def _limit(text: str) -> int:
    return _number(text, 1_000)


def _number(text: str, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", text) or not 1 <= int(text) <= most:
        raise argparse.ArgumentTypeError(f'"{text[:30]}" is not a number from 1 to {most}')
    return int(text)


def _hold(text: str) -> Duration:
    try:
        hold = Duration.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if hold > _HOLD_MAX:
        raise argparse.ArgumentTypeError(f"a drill is held for at most {_HOLD_MAX}")
    return hold
