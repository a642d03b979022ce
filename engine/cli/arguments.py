"""The command line's grammar. Imports nothing heavy: `--help` and a wrong flag must answer at once."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from engine.cli.engine_arguments import engine_verbs, with_action
from engine.cli.grammar import Parser, set_option, verb
from engine.durations import Duration, parse_ms

__all__ = ["duration", "parse"]

_HOUR_MS = 3_600_000
_HOURS = re.compile(r"[0-9]+(\.[0-9]{1,3})?")
_LONGEST = Duration.parse("100y")


def duration(text: str) -> Duration:
    """Read the value of `--duration`: a bare number is hours, anything else a duration such as `10m`.

    Raises:
        argparse.ArgumentTypeError: It is neither, or nothing.
    """
    if _HOURS.fullmatch(text):
        length = Duration(round(min(float(text), 1e9) * _HOUR_MS))
        if length > _LONGEST:
            hours = _LONGEST // _HOUR_MS
            raise argparse.ArgumentTypeError(f"a run takes at most {hours} hours, which is 100 years, not {text[:20]}")
    else:
        try:
            length = Duration(parse_ms(text))
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{error}, or hours like 24") from None
    if length <= 0:
        raise argparse.ArgumentTypeError(
            "a run takes from 1ms to 100y, longer than nothing; leave --duration out to run until stopped"
        )
    return length


def _step(text: str) -> Duration:
    try:
        step = Duration.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if step <= 0:
        raise argparse.ArgumentTypeError("a step is longer than nothing")
    return step


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line; `verb` is `run` where there is none. Exits with 2 on a wrong one, as argparse
    does.
    """
    parser = _parser()
    if arguments and arguments[0].endswith(".toml"):
        parser.error(f"there is no verb {arguments[0]!r}; to watch with it: --config {arguments[0]}")
    return parser.parse_args(with_action(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="longwatch",
        usage="longwatch [--config FILE] [--duration TIME] [OPTION ...]\n       longwatch VERB ...",
        description="Watches a Python service and its host, and says what has been wrong for long enough. "
        "Without a verb it watches; without --config it watches this host with built-in rules.",
        epilog="Exit codes: 0 done, 1 internal error, 2 usage or configuration, 75 a clean stop took too long, "
        "130 second interrupt.",
        allow_abbrev=False,
    )
    parser.set_defaults(verb="run")
    _run_options(parser)
    parser.add_argument("--version", action="store_const", const="version", dest="verb", help="print the version")
    verbs = parser.add_subparsers(metavar="VERB", title="verbs", prog=parser.prog)
    check = verb(
        verbs,
        "check",
        "say everything that is wrong with a configuration, or with rule files",
        "Rule files named beside a run.toml are held against it. Exit codes: 0 all can be used, 2 not.",
    )
    check.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="run.toml, or rule files of Prometheus (.yml, .yaml, .rules); none: the built-in configuration",
    )
    check.add_argument("--strict", action="store_true", help="treat warnings as errors")
    set_option(check)
    tests = verb(
        verbs,
        "test",
        "run unit tests of rules, promtool's files",
        "Exit codes: 0 all as expected, 1 something is not, 2 a file can't be used.",
    )
    tests.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="YAML with tests, which names its rule files"
    )
    _query_options(
        verb(
            verbs,
            "query",
            "answer a PromQL expression from the history",
            "Exit codes: 0 answered, if only with nothing; 2 the expression, the time or the history can't be used. "
            "An expression that begins with a minus comes last, after --.",
        )
    )
    _explain_options(
        verb(
            verbs,
            "explain",
            "say why a rule fires or does not, and when it will",
            "Exit codes: 0 answered; 2 the rule, the labels, the time, the configuration or the history can't be used.",
        )
    )
    verb(verbs, "schema", "print the JSON schema of run.toml")
    engine_verbs(verbs)
    verb(verbs, "version", "print the version")
    return parser


def _query_options(query: argparse.ArgumentParser) -> None:
    query.add_argument("expr", metavar="EXPR", help="PromQL")
    when = query.add_mutually_exclusive_group()
    when.add_argument("--at", metavar="TIME", help="2026-01-31T12:00:00Z, seconds, or 5m for 5m ago; default: now")
    when.add_argument("--range", nargs=2, metavar=("START", "END"), help="each step from START to END")
    query.add_argument("--step", type=_step, metavar="TIME", help="of a range; default: a hundredth of it")
    where = query.add_mutually_exclusive_group()
    where.add_argument("--history", type=Path, metavar="FILE", help="the history.db to read")
    where.add_argument("--config", type=Path, metavar="FILE", help="the configuration whose history to read")
    set_option(query)
    query.add_argument("--json", action="store_true", help="print the JSON of Prometheus' API")


def _explain_options(explain: argparse.ArgumentParser) -> None:
    explain.add_argument("rule", metavar="RULE", help="the name of an alerting rule, of run.toml or of a rule file")
    explain.add_argument(
        "--labels",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="the alerts with these labels alone, e.g. instance=a",
    )
    explain.add_argument("--at", metavar="TIME", help="2026-01-31T12:00:00Z, seconds, or 5m for 5m ago; default: now")
    explain.add_argument("--config", type=Path, metavar="FILE", help="run.toml; without it the built-in configuration")
    explain.add_argument("--history", type=Path, metavar="FILE", help="the history.db to read; default: its own")
    set_option(explain)
    explain.add_argument("--json", action="store_true", help="print one JSON object")


def _run_options(run: argparse.ArgumentParser) -> None:
    run.add_argument("--config", type=Path, metavar="FILE", help="run.toml; without it the built-in configuration")
    run.add_argument("--duration", type=duration, metavar="TIME", help="stop after 10m, 1h30m, or 24 (hours)")
    set_option(run)
    run.add_argument("--memory", action="store_true", help="keep everything in memory and write no file")
    live = run.add_mutually_exclusive_group()
    live.add_argument("--live", dest="live", action="store_true", default=None, help="the live view, or say why not")
    live.add_argument("--no-live", dest="live", action="store_false", help="plain lines, also in a terminal")
    run.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="default: auto")
    run.add_argument("--log-format", choices=("text", "json"), default="text", help="default: text")
    run.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info", help="default: info")
