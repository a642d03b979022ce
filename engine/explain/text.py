"""An answer as lines for people. Pure; what came from outside is made visible by who prints the lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import tzinfo
from typing import Final

from engine.explain.alert_text import alert_lines, state_word
from engine.explain.answer import AlertAnswer, Answer, LevelTerm, RuleAnswer, SelectorAnswer
from engine.explain.sources import MissingSource
from engine.explain.times import Times, length

__all__ = ["answer_lines"]

SHOWN_MAX: Final = 5
"""Label sets in full, where nobody asked for one by its labels; at most ten times as many otherwise."""
SELECTORS_MAX: Final = 10


def answer_lines(answer: Answer, zone: tzinfo, *, everything: bool = False) -> Iterator[str]:
    """The lines of an answer.

    Args:
        zone: Of all times.
        everything: Somebody asked for these label sets by their labels.
    """
    times = Times(answer.at_ms, zone)
    read = length(answer.at_ms - answer.from_ms)
    yield f"{answer.rule} at {times.whole(answer.at_ms)}, by {answer.samples} samples of {read} of history"
    for note in answer.notes:
        yield f"  note: {note}"
    shown = SHOWN_MAX * 10 if everything else SHOWN_MAX
    for rule in answer.rules:
        yield ""
        yield from _rule(rule, times, shown)


def _rule(rule: RuleAnswer, times: Times, shown: int) -> Iterator[str]:
    yield f"{rule.expr}{_terms(rule)}" + (f"  ({rule.source})" if rule.source else "")
    for level in rule.levels if rule.levels[0].severity or rule.levels[0].clear else ():
        yield f"  {_level(level, rule)}"
    if rule.interval_ms:
        instant = times.to(rule.instant_ms)
        yield f"  evaluated every {length(rule.interval_ms)}, next at {instant}; it looks at nothing in between"
    if not rule.alerts:
        yield from _nothing(rule.selectors)
        return
    first = sorted(rule.alerts, key=_interest)
    for alert in first[:shown]:
        yield ""
        yield from alert_lines(alert, rule, times)
    if rest := first[shown:]:
        counts = {word: sum(state_word(one) == word for one in rest) for word in ("FIRING", "PENDING", "inactive")}
        told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        yield ""
        yield f"and {len(rest)} more label sets ({told}); --labels NAME=VALUE asks about one"


def _interest(alert: AlertAnswer) -> tuple[int, float]:
    """Firing ones, then pending ones, then those that came nearest."""
    order = {"firing": 0, "pending": 1, "inactive": 2}
    near = alert.miss.elapsed_ms / alert.miss.need_ms if alert.miss is not None else 0.0
    return order[alert.now.state], -near


def _terms(rule: RuleAnswer) -> str:
    first, more = rule.levels[0], []
    if not first.severity and not first.clear:
        if first.when and not rule.expr.rstrip().endswith(first.when):
            more.append(f"when {first.when}")
        if first.for_ms:
            more.append(f"for {length(first.for_ms)}" + (f" of {rule.of:g}" if rule.of < 1 else ""))
    if rule.keep_firing_for_ms:
        more.append(f"keep_firing_for {length(rule.keep_firing_for_ms)}")
    if not rule.interval_ms:
        missing = f" after {length(rule.missing_for_ms)}" if rule.on_missing == "fire" else ""
        more.append(f"on_missing {rule.on_missing}{missing}")
    return "".join(f", {one}" for one in more)


def _level(level: LevelTerm, rule: RuleAnswer) -> str:
    parts = [level.severity or "firing", level.when and f"when {level.when}"]
    parts.append(f"for {length(level.for_ms)}" if level.for_ms else "at once")
    parts += [f"of {rule.of:g}" if rule.of < 1 else "", level.clear and f"clear {level.clear}"]
    return " ".join(part for part in parts if part)


def _nothing(selectors: Sequence[SelectorAnswer]) -> Iterator[str]:
    """Why there is no label set at all."""
    if all(one.series for one in selectors):
        yield "  there is data, but the expression has no value for any label set: nothing can be pending or fire"
    else:
        yield "  it never saw data in this time, so it can't fire:"
    for one in selectors[:SELECTORS_MAX]:
        if one.series:
            yield f"  {one.text}: {one.series} series"
        elif one.recorded:
            yield f"  {one.text}: recorded by a rule, which had no result" + "".join(map(_source, one.missing))
        elif one.known:
            yield f"  {one.text}: the history knows the metric, but has no sample of such a series in this time"
        else:
            yield f"  {one.text}: the history has no series {one.metric or one.text} at all{_meant(one.near)}"


def _source(missing: MissingSource) -> str:
    way = "".join(f"{record}, recorded by a rule that reads " for record in missing.through)
    return f"; it reads {way}{missing.metric}: the history has no series {missing.metric} at all{_meant(missing.near)}"


def _meant(names: Sequence[str]) -> str:
    return f"; did you mean {', '.join(names)}?" if names else ""
