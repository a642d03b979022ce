"""Label matchers: the parser's into frozen ones, with regular expressions that mean what RE2 means."""

from __future__ import annotations

from typing import Any

from engine.core.promql.parse import PromQLError, pattern_of
from engine.core.promql.plan import Compat, Matcher
from engine.core.promql.regex import Regex, RegexError
from engine.series import LABEL_VALUE_CHARS_MAX
from engine.text import clean

__all__ = ["compile_matcher"]


def compile_matcher(matcher: Any, *, compat: Compat = "prometheus3") -> Matcher:
    """One of the parser's matchers.

    Raises:
        PromQLError: Its regular expression is not valid, or needs RE2 where that is not installed.
    """
    op = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}[str(matcher.op).rsplit(".", 1)[-1]]
    if op in ("=", "!="):
        return Matcher(matcher.name, op, matcher.value, None, clean(matcher.value, LABEL_VALUE_CHARS_MAX))  # type: ignore[arg-type]
    try:
        pattern = Regex(pattern_of(matcher.value), dot_all=compat == "prometheus3")
    except RegexError as error:
        raise PromQLError(f"the regular expression {error}", error.hint) from error
    return Matcher(matcher.name, op, pattern.pattern, pattern)  # type: ignore[arg-type]
