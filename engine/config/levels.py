"""What `[rule.NAME]` says beside its expression: comparisons, levels, parts of time, missing data. Whether that makes
sense together, each problem at the key that has to change. It never decides what a rule does: that is the core's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.config.convert import BAD, Converter
from engine.config.locate import KeyPath
from engine.config.report import quote
from engine.config.shape import LevelTable, RuleTable
from engine.text import clean

if TYPE_CHECKING:
    from engine.core.conditions import Condition, Level
    from engine.core.rules import LevelTerms

__all__ = ["check_terms", "compares_nothing", "level_terms"]

_VAGUE = "not valid, with the values from the environment put in"


def level_terms(table: RuleTable) -> list[LevelTerms]:
    """The levels of a rule, as the core takes them."""
    from engine.core.rules import LevelTerms

    return [
        LevelTerms(
            severity=level.severity,
            when=level.when or "",
            clear=level.clear or "",
            for_ms=None if level.for_ is None else int(level.for_),
        )
        for level in table.levels
    ]


def compares_nothing(table: RuleTable) -> bool:
    """Whether there is a level, or the rule is one, that holds for any value its expression has."""
    return table.when is None and (not table.levels or any(level.when is None for level in table.levels))


def check_terms(values: Mapping[str, Any], inherent: Condition | None, path: KeyPath, converter: Converter) -> None:
    """Report what contradicts itself.

    Args:
        values: The converted keys of the rule.
        inherent: The comparison that its expression makes.
    """
    _check_missing(values, path, converter)
    levels = values.get("levels", [])
    if levels is BAD or values.get("for_") is BAD:
        return
    _check_of(values, levels, path, converter)
    if levels and "severity" in converter.items((*path, "labels")):
        message = "the label severity is that of the level and can't be set"
        converter.report.error((*path, "labels", "severity"), message, "leave it out of labels")
    if inherent is not None:
        given = [key for key in ("when", "clear", "levels") if values.get(key)]
        if given:
            message = f"the expression compares already, so the rule has no {', '.join(given)}"
            _tell((*path, "expr"), message, "leave the comparison out of expr and write it as when", converter)
        return
    _check_levels(values, levels, path, converter)


def _check_missing(values: Mapping[str, Any], path: KeyPath, converter: Converter) -> None:
    on_missing, missing_for, hold_max = (values.get(key) for key in ("on_missing", "missing_for", "hold_max"))
    if on_missing == "reset" and hold_max is not None and hold_max is not BAD:
        message = 'has no meaning with on_missing = "reset", which holds nothing'
        converter.report.error((*path, "hold_max"), message, "leave out hold_max, or on_missing")
    if missing_for is None or missing_for is BAD or on_missing is BAD:
        return
    at: KeyPath = (*path, "missing_for")
    if on_missing != "fire":
        message = f'has no meaning with on_missing = "{on_missing or "hold"}"'
        converter.report.error(at, message, 'write on_missing = "fire", or leave out missing_for')
        return
    longest = RuleTable(expr="").hold_max if hold_max is None else hold_max
    if longest is not BAD and missing_for >= longest:
        message = "is not shorter than hold_max, so the alert would be lost before it fires"
        converter.report.error(at, message, "shorten it, or raise hold_max")


def _check_of(values: Mapping[str, Any], levels: Sequence[LevelTable], path: KeyPath, converter: Converter) -> None:
    of = values.get("of", 1.0)
    if of is BAD or of == 1:
        return
    length = values.get("for_", 0)
    if not levels and not length:
        message = "is a part of for, and that is 0s"
        converter.report.error((*path, "of"), message, 'add for = "5m"')
    for number, level in enumerate(levels):
        if not (length if level.for_ is None else level.for_):
            message = f"is a part of for, and that of levels[{number}] is 0s"
            converter.report.error((*path, "of"), message, "give each level a for")


def _check_levels(values: Mapping[str, Any], levels: Sequence[LevelTable], path: KeyPath, converter: Converter) -> None:
    """Each level alone, then each against the one below it."""
    from engine.core.alerts import LEVELS_MAX

    if "levels" in values and not levels:
        converter.report.error(
            (*path, "levels"), "is empty", 'write levels = [{ severity = "warning", when = "> 80" }]'
        )
        return
    if len(levels) > LEVELS_MAX:
        converter.report.error((*path, "levels"), f"at most {LEVELS_MAX} levels, not {len(levels)}")
        return
    rule = {key: _condition(values.get(key), (*path, key), converter) for key in ("when", "clear")}
    made = [_level(level, number, values, rule, path, converter) for number, level in enumerate(levels)]
    if not levels:
        made = [_made("", path, path, rule["when"], rule["clear"], values.get("for_", 0), converter)]
    for number, level in enumerate(levels):
        if level.severity in [lower.severity for lower in levels[:number]]:
            at: KeyPath = (*path, "levels", number, "severity")
            hint = "give each level a word of its own"
            _tell(at, f"a level before it has the severity {quote(level.severity)}, too", hint, converter)
            return
    for name, key in (("when", "when"), ("for_", "for"), ("clear", "clear")):
        if name in values and levels and all(getattr(level, name) is not None for level in levels):
            message = f"has no effect: each level has its own {key}"
            converter.report.warn((*path, key), message, "write it in levels, which are replaced as a whole")
    for number in range(1, len(made)):
        _check_pair(made[number - 1], made[number], levels, number, path, converter)


def _level(
    level: LevelTable,
    number: int,
    values: Mapping[str, Any],
    rule: Mapping[str, Any],
    path: KeyPath,
    converter: Converter,
) -> Level | None:
    own: KeyPath = (*path, "levels", number)
    when = rule["when"] if level.when is None else _condition(level.when, (*own, "when"), converter)
    clear = rule["clear"] if level.clear is None else _condition(level.clear, (*own, "clear"), converter)
    for_ms = values.get("for_", 0) if level.for_ is None else level.for_
    return _made(level.severity, own, path if level.clear is None else own, when, clear, for_ms, converter)


def _made(
    severity: str, own: KeyPath, clears: KeyPath, when: Any, clear: Any, for_ms: int, converter: Converter
) -> Level | None:
    """A level that makes sense by itself; None if it was reported.

    Args:
        clears: Of the table that says when it is cleared.
    """
    from engine.core.conditions import Level, check_levels

    if when is BAD or clear is BAD:
        return None
    at: KeyPath = (*clears, "clear")
    if clear is not None and when is None:
        converter.report.error(at, "clears a level without a when", 'add when = "> 80"')
        return None
    level = Level(severity=severity, when=when, clear=clear, for_ms=int(for_ms))
    try:
        check_levels([level])
    except ValueError as error:
        sources = [(*own, "when"), (*own[:2], "when"), at]
        _tell(at, str(error), 'leave room between them, as in when = "> 80", clear = "< 75"', converter, sources)
        return None
    return level


def _check_pair(
    lower: Level | None,
    higher: Level | None,
    levels: Sequence[LevelTable],
    number: int,
    path: KeyPath,
    converter: Converter,
) -> None:
    from engine.core.conditions import check_levels

    if lower is None or higher is None:
        return
    own: KeyPath = (*path, "levels", number)
    at: KeyPath = own if levels[number].when is None else (*own, "when")
    sources: list[KeyPath] = [(*path, "when"), *((*path, "levels", n, "when") for n in (number - 1, number))]
    if higher.when is None and lower.when is not None:
        message = f'has no when, so it can hold where "{lower.severity}" ({lower.when}) does not'
        _tell(at, message, "give it a when, or the rule one", converter, sources)
        return
    try:
        check_levels([lower, higher])
    except ValueError as error:
        _tell(at, str(error), "", converter, sources)
        return
    if higher.when == lower.when and higher.for_ms <= lower.for_ms:
        message = f"is reached no later than {quote(lower.severity)}, which then nobody sees on the way up"
        converter.report.warn(own, message, "give it a longer for, or a stricter when")


def _condition(text: Any, path: KeyPath, converter: Converter) -> Any:
    """The condition, None where there is none, or `BAD`."""
    from engine.core.conditions import parse_condition

    if text is None or text is BAD:
        return text
    try:
        return parse_condition(text)
    except ValueError as error:
        _tell(path, str(error), 'write it like "> 80"' if "such as" not in str(error) else "", converter)
        return BAD


def _tell(path: KeyPath, message: str, hint: str, converter: Converter, sources: Sequence[KeyPath] = ()) -> None:
    """Report a message that may quote values: not if one of them is from the environment."""
    if not converter.from_environment.isdisjoint({path, *sources}):
        converter.report.error(path, _VAGUE)
        return
    if not hint:
        message, _, hint = message.partition("; ")
    converter.report.error(path, clean(message, 300), clean(hint, 200))
