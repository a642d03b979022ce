"""PromQL text to the parser's tree, within limits, and with errors that say where reading stopped.

Everything here guards the parser: it recurses in native code, gives bare messages, and reads a few things
otherwise than Prometheus does.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any

import promql_parser as ast

from engine.core.promql.plan import Compat

__all__ = [
    "ANY_INFO",
    "DEPTH_MAX",
    "EXPR_CHARS_MAX",
    "LEAVES_MAX",
    "OPERATORS_MAX",
    "PromQLError",
    "bare",
    "parse",
    "pattern_of",
]

EXPR_CHARS_MAX = 16_384
LEAVES_MAX = 62  # which selectors fed a label set is remembered as bits of an int64
DEPTH_MAX = 100
HIDDEN = "__re2:"  # before a regular expression in hexadecimal digits
ANY_INFO = "__any_info_series__"  # a label that no series has: a matcher that is not the writer's
READ_CHARS_MAX = 1_000  # a mistake is looked for with one attempt to parse per character
OPERATORS_MAX = 1_000  # the parser recurses and would overflow its stack, killing the process, at some thousands

# Strings and comments, in one pass: a quote in a comment opens no string.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|`[^`]*`|#[^\n]*')
_OPERATOR = re.compile(r"[-+*/%^<>=!({\[]|\b(?:and|or|unless|atan2)\b", re.IGNORECASE)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|[0-7]{3}|.)", re.DOTALL)
_GROUPED_DIGITS = re.compile(
    r"(?<![\w:.])(?:0[xX](?:_?[0-9a-fA-F])+"
    r"|(?:[0-9](?:_?[0-9])*)?\.?[0-9](?:_?[0-9])*(?:[eE][-+]?[0-9](?:_?[0-9])*)?)(?![\w:])"
)
_INFO = re.compile(r"\binfo\s*\(")
_SECOND = re.compile(r",\s*\{(?=\s*(\})?)")
_PATTERN_FOLLOWS = re.compile(r"[=!]~\s*\Z")
_HOLT_WINTERS = re.compile(r"\bholt_winters(?=\s*\()")


class PromQLError(ValueError):
    """An expression does not parse or is not supported. `hint` says what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(message)


def bare(expr: str) -> str:
    """The expression without its strings and comments."""
    return _QUOTED.sub("", expr)


def parse(expr: str, *, compat: Compat = "prometheus3") -> Any:
    """The parser's tree of an expression.

    Raises:
        PromQLError: It does not parse, or is too large.
    """
    if len(expr) > EXPR_CHARS_MAX:
        raise PromQLError(f"an expression has at most {EXPR_CHARS_MAX} characters, not {len(expr)}")
    if len(_OPERATOR.findall(bare(expr))) > OPERATORS_MAX:
        raise PromQLError(f"the expression has more than {OPERATORS_MAX:,} operators and brackets")
    expr = _readable(expr, compat)
    try:
        with contextlib.suppress(ValueError):
            return ast.parse(expr)
        return ast.parse(_with_any_info(_hidden(expr)))
    except ValueError as error:
        hint = ""
        if _HOLT_WINTERS.search(bare(expr)):
            hint = "Prometheus 3 calls holt_winters double_exponential_smoothing"
        raise PromQLError(f"could not parse expression: {_where(expr, str(error))}", hint) from error


def _readable(expr: str, compat: Compat) -> str:
    """The same expression without what Prometheus reads and the parser does not."""
    pieces, end = [], 0
    for quoted in _QUOTED.finditer(expr):
        pieces += [_rewritten(expr[end : quoted.start()], compat), _string(quoted.group())]
        end = quoted.end()
    return "".join([*pieces, _rewritten(expr[end:], compat)])


def _rewritten(code: str, compat: Compat) -> str:
    """Code outside of strings: `1_000` for the parser, and the function that got another name since Prometheus 2."""
    if compat == "prometheus2":
        return _HOLT_WINTERS.sub("double_exponential_smoothing", code)
    return _GROUPED_DIGITS.sub(lambda number: number.group().replace("_", ""), code)


def _string(quoted: str) -> str:
    """A string or comment: one in backticks, whose backslashes the parser takes for escapes, in quotation marks.

    Raises:
        PromQLError: It has a byte of 128 or more, where the parser would put the character of that number.
    """
    if quoted[0] == "`":
        inside = quoted[1:-1].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{inside}"'
    for escape in _ESCAPE.findall(quoted) if quoted[0] != "#" else ():
        if len(escape) == 3 and (int(escape[1:], 16) if escape[0] == "x" else int(escape, 8)) > 127:
            raise PromQLError(
                f"the string {quoted[:40]} has \\{escape}, a single byte that is no character",
                "write the character itself",
            )
    return quoted


def _hidden(expr: str) -> str:
    """The same with regular expressions in a writing that the parser, which has another idea of them, lets pass."""
    pieces, end = [], 0
    for quoted in _QUOTED.finditer(expr):
        before, text = expr[end : quoted.start()], quoted.group()
        if _PATTERN_FOLLOWS.search(before) and text[0] != "#":
            written: Any = ast.parse(text)
            text = f'"{HIDDEN}{written.val.encode().hex()}"'
        pieces += [before, text]
        end = quoted.end()
    return "".join([*pieces, expr[end:]])


def pattern_of(value: str) -> str:
    """The regular expression of a matcher of a parsed expression."""
    return bytes.fromhex(value[len(HIDDEN) :]).decode() if value.startswith(HIDDEN) else value


def _with_any_info(expr: str) -> str:
    """The same with a further matcher in the second argument of each `info()`, which may select by nothing that the
    parser takes for a selection: `info(x, {version=~".*"})`."""
    code = _QUOTED.sub(lambda quoted: " " * len(quoted.group()), expr)
    places = []
    for call in _INFO.finditer(code):
        depth = 0
        for at in range(call.end(), len(code)):
            depth += (code[at] in "([{") - (code[at] in ")]}")
            second = _SECOND.match(code, at) if not depth else None
            if second is not None:
                places.append((second.end(), f'{ANY_INFO}!=""{"" if second[1] else ","}'))
            if second is not None or depth < 0:
                break
    for at, text in sorted(places, reverse=True):
        expr = f"{expr[:at]}{text}{expr[at:]}"
    return expr


def _where(expr: str, message: str) -> str:
    """The parser's message; for its bare ones, how far the expression could be read."""
    if message != "invalid promql query":
        return message
    if len(expr) > READ_CHARS_MAX:
        return message
    with contextlib.suppress(ValueError):
        ast.parse(f"{expr} a")
        return f'unexpected end after "{expr.strip()[-40:]}"'
    for end in range(len(expr), 0, -1):
        try:
            ast.parse(expr[:end])
        except ValueError:
            continue
        rest = expr[end:].strip()
        return f'unexpected end after "{expr[:end].strip()[-40:]}"' if not rest else f'unexpected "{rest[:40]}"'
    return f'can\'t read "{expr.strip()[:40]}"' if expr.strip() else "it is empty"
