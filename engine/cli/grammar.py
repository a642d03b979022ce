"""What the command line's grammar is made of: a parser with short errors, verbs, options that many of them have."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn, Protocol

__all__ = ["Parser", "Verbs", "set_option", "verb"]


class Verbs(Protocol):
    """What `add_subparsers` returns."""

    def add_parser(self, name: str, **options: Any) -> argparse.ArgumentParser:
        """Add one of that name."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the whole usage before it."""

    def error(self, message: str) -> NoReturn:
        """End with 2."""
        self.exit(2, f"{self.prog}: {message}; --help shows what there is\n")


def verb(verbs: Verbs, name: str, text: str, epilog: str = "") -> argparse.ArgumentParser:
    """Add a verb; `text` says in a few words what it does."""
    made = verbs.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=epilog, allow_abbrev=False
    )
    made.set_defaults(verb=name)
    return made


def set_option(parser: argparse.ArgumentParser) -> None:
    """Add `--set`."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="TABLE.NAME.KEY=VALUE",
        dest="overrides",
        help="override one key, e.g. probe.host.interval=1s; may be given many times",
    )
