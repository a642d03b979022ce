"""One alert of an answer as lines for people: what it is and why, what comes next, what happened, how near it came."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from engine.core.explain import AlertView, LevelView
from engine.events import Facts
from engine.explain.answer import AlertAnswer, RuleAnswer
from engine.explain.tape import Change, Miss
from engine.explain.times import Times, length

__all__ = ["alert_lines", "state_word"]

MOMENTS_MAX: Final = 12
STALE_MAX: Final = 5
_STATES: Final = {"firing": "FIRING", "pending": "PENDING"}
_TOLD: Final = {"pending": "PENDING", "firing": "FIRING", "resolved": "RESOLVED", "cleared": "CLEARED", "lost": "LOST"}
_OVER: Final = frozenset({"resolved", "cleared", "lost"})


def state_word(alert: AlertAnswer) -> str:
    """Its state as people see it."""
    return _STATES.get(alert.now.state, "inactive")


def alert_lines(alert: AlertAnswer, rule: RuleAnswer, times: Times) -> Iterator[str]:
    """The lines of one alert."""
    now = alert.now
    labels = " ".join(f"{name}={text}" for name, text in sorted(now.labels.items()) if name != "alertname")
    severity = f" severity={now.severity}" if now.severity else ""
    yield f"{state_word(alert)} {labels}{severity}".rstrip()
    body = [*_standing(alert, rule, times), *_inputs(now, times), *_levels(now), *_next(alert, rule, times)]
    body += [*_near(alert, times), *_recorded(alert, rule, times)]
    yield from (f"  {line}" for line in body)
    moments = _moments(alert)
    if moments:
        left = alert.forgotten + len(moments) - MOMENTS_MAX
        yield "  what happened" + (f" ({left} earlier moments left out)" if left > 0 else "")
        for time_ms, changes in moments[-MOMENTS_MAX:]:
            yield f"    {times.of(time_ms)}  {_moment(changes, now, rule)}"


# -- what it is ------------------------------------------------------------------------------------------------


def _standing(alert: AlertAnswer, rule: RuleAnswer, times: Times) -> Iterator[str]:
    now = alert.now
    value = "" if math.isnan(now.value) else f"value {_number(now.value)}, "
    if now.condition == "unknown":
        lost_ms = next((one.time_ms for one in reversed(alert.changes) if one.what == "unknown"), now.unknown_ms)
        since = f" since {times.ago(lost_ms)}" if lost_ms and now.unknown_ms else ""
        clock = {"hold": "; its clocks stand", "count": "; its clocks run on", "fire": ""}.get(rule.on_missing, "")
        clock = clock if now.state != "inactive" else ""
        yield f"not known{since}: data is missing (on_missing = {rule.on_missing}){clock}"
    elif now.condition == "true":
        begun = f"{times.of(now.active_since_ms)}" if now.active_since_ms and now.state != "inactive" else ""
        since = f"; pending since {begun}" if _windowed(now) else f" since {begun}"
        yield f"{value}true{since if begun else ''}"
    elif now.condition == "ended":
        yield "not true: its series have ended"
    else:
        why = f": {_compared(now.value, now.levels[0])}" if now.levels[0].when and value else ""
        yield f"{'not firing' if now.state == 'inactive' else 'not true now'}{why or ', the expression has no value'}"
    if now.state == "firing":
        yield f"firing since {times.of(now.fired_ms)}" + ("" if now.keeping else f"; {_ending(now, rule)}")
    if now.facts is not None:
        yield _facts(now.facts)
    if now.lost_ms and now.state != "inactive":
        yield f"{length(now.lost_ms)} do not count: data was missing, or nobody could see"


def _facts(facts: Facts) -> str:
    """What was measured since it turned true."""
    numbers = f"peak {_number(facts.peak)}, mean {_number(facts.mean)} of {facts.samples} samples; "
    return f"{numbers if facts.samples else 'no sample; '}true for {length(facts.true_ms)}"


def _windowed(now: AlertView) -> bool:
    """Whether it needs a part of `for` only."""
    return any(level.need_ms != level.for_ms for level in now.levels)


def _compared(value: float, level: LevelView) -> str:
    return f"{_number(value)} is not {level.when}"


def _ending(now: AlertView, rule: RuleAnswer) -> str:
    """What ends an alert that fires."""
    ways = []
    for level in now.levels:
        if level.is_set:
            way = f"the value is {level.clear}" if level.clear else f"it is not {level.when}" if level.when else ""
            if level.need_ms != level.for_ms and not level.clear:
                way = f"it was true for less than {length(level.need_ms)} of the last {length(level.for_ms)}"
            ways.append((f"{level.severity}: " if level.severity else "") + (way or "the expression has no value"))
    keep = f", and {length(rule.keep_firing_for_ms)} later" if rule.keep_firing_for_ms else ""
    return f"it resolves when {'; '.join(ways) or 'its data is there again and not over the line'}{keep}"


def _inputs(now: AlertView, times: Times) -> Iterator[str]:
    for one in [one for one in now.inputs if one.state != "fresh"][:STALE_MAX]:
        last = f"last sample at {times.ago(one.time_ms)}"
        if one.state == "stale":
            yield f"stale: {one.series}, {last}, stale since {times.of(one.stale_ms)}"
        else:
            yield f"{one.state.replace('_', ' ')}: {one.series}, {last}"


def _levels(now: AlertView) -> Iterator[str]:
    """A line for each level of a rule that has them, or the one clock of others."""
    windowed = _windowed(now)
    if not windowed and not now.levels[0].severity:
        return
    width = max(len(level.severity) for level in now.levels)
    for level in now.levels:
        if windowed:
            text = f"true for {length(level.elapsed_ms)} of the last {length(level.for_ms)}, "
            text += "reached" if level.is_set else f"needs {length(level.need_ms)}"
        elif level.is_set:
            text = "reached"
        elif level.holds:
            text = f"true for {length(level.elapsed_ms)} of {length(level.for_ms)}"
        else:
            text = "not true"
        yield f"{level.severity:{width}} {level.when}: {text}".strip()


# -- what comes next -------------------------------------------------------------------------------------------


def _next(alert: AlertAnswer, rule: RuleAnswer, times: Times) -> Iterator[str]:
    now, silent = alert.now, alert.silent
    if now.keeping:
        yield f"the condition has ended; {length(now.kept_ms)} of keep_firing_for {length(rule.keep_firing_for_ms)}"
    if now.next is not None:
        verb = {"firing": "fires", "resolved": "resolves", "cleared": "is over", "lost": "ends as lost"}[now.next.kind]
        if now.next.reason == "lost":
            verb = "is given up as lost"
        elif now.state == now.next.kind == "firing":
            verb = f"becomes {now.next.severity}"
        clock = ""
        running = [level for level in now.levels if level.holds and not level.is_set]
        if now.state == "pending" and len(now.levels) == 1 and running and running[0].need_ms == running[0].for_ms:
            clock = f"{length(running[0].elapsed_ms)} of {length(running[0].for_ms)}; "
        stays = {"true": "stays true", "false": "stays false", "unknown": "stays unknown"}.get(
            now.condition, "stays so"
        )
        yield f"{clock}{verb} at {times.to(now.next.time_ms)}, if it {stays}"
        if silent is not None and silent.what == now.next.kind and silent.time_ms == now.next.time_ms:
            if now.condition != "unknown":
                yield "  even if no sample comes any more"
            return
    elif now.state == "inactive" and now.condition == "true" and rule.interval_ms:
        yield f"true by now; that is seen at {times.to(rule.instant_ms)}"
    elif now.state != "inactive" and now.condition == "unknown" and now.paused_ms:
        yield "it goes on where it stands when data comes"
    if silent is not None and now.state != "inactive" and now.condition != "unknown":
        yield _silence(silent, rule, times)


def _silence(silent: Change, rule: RuleAnswer, times: Times) -> str:
    at = times.to(silent.time_ms)
    if silent.what == "unknown":
        then = {
            "hold": f"; its clocks stand, lost after {length(rule.hold_max_ms)}",
            "count": "; its clocks run on",
            "fire": f"; it fires {length(rule.missing_for_ms)} later",
        }.get(rule.on_missing, "")
        return f"if no sample comes any more: unknown from {at}{then}"
    if silent.what in ("false", "left", "keeping"):
        return f"if no sample comes any more: false from {at} (on_missing = {rule.on_missing})"
    return f"if no sample comes any more: {_TOLD.get(silent.what, silent.what)} at {at} ({silent.reason})"


# -- what was --------------------------------------------------------------------------------------------------


def _near(alert: AlertAnswer, times: Times) -> Iterator[str]:
    miss, nearest = alert.miss, alert.nearest
    if miss is not None:
        yield f"nearest miss of the last day: {_missed(miss, alert.now, times)}"
    if nearest is not None and alert.now.state == "inactive":
        when = alert.now.levels[0].when
        line = f" ({when} is wanted)" if when else ""
        yield f"{nearest.word} value of the last day: {_number(nearest.value)} at {times.of(nearest.time_ms)}{line}"


def _missed(miss: Miss, now: AlertView, times: Times) -> str:
    spent = f"{miss.severity} true" if miss.severity else "true"
    spent += f" for {length(miss.elapsed_ms)} of"
    value = "" if math.isnan(miss.value) else _number(miss.value)
    window_ms = next((level.for_ms for level in now.levels if level.severity == miss.severity), miss.need_ms)
    if window_ms != miss.need_ms:  # parts of it may have been true long before
        told = f"{spent} the {length(window_ms)} until {times.of(miss.to_ms)}, of which it needs {length(miss.need_ms)}"
        return told + (f"; then it was {value}" if value else "")
    told = f"{spent} {length(miss.need_ms)}, from {times.of(miss.from_ms)} to {times.of(miss.to_ms)}"
    return told + (f", when it was {value}" if value else "")


def _recorded(alert: AlertAnswer, rule: RuleAnswer, times: Times) -> Iterator[str]:
    """Where the engine that ran said something else."""
    told = alert.told
    said = "inactive" if told is None else told.after
    if said == alert.now.state or (told is None and alert.now.state == "inactive"):
        return
    if told is None:
        if rule.recorded:
            yield "the engine itself recorded nothing of this alert: it did not run then, or had another rule"
        return
    yield (
        f"the engine itself said {told.kind} at {times.of(told.time_ms)} ({told.reason}), and nothing since: it was"
        " started anew, or the rule was changed"
    )


def _moments(alert: AlertAnswer) -> list[tuple[int, list[Change]]]:
    """What happened to an alert, by time: since it was last inactive, or in its last life."""
    changes = list(alert.changes)
    ends = [at for at, change in enumerate(changes) if change.what in _OVER]
    if alert.now.state != "inactive" and ends:
        changes = changes[ends[-1] + 1 :]
    elif len(ends) > 1:
        changes = changes[ends[-2] + 1 :]
    return [(time_ms, list(some)) for time_ms, some in groupby(changes, key=lambda change: change.time_ms)]


def _moment(changes: Sequence[Change], now: AlertView, rule: RuleAnswer) -> str:
    levels = {level.severity: level for level in now.levels}
    words: list[str] = []
    for change in changes:
        text = _change(change, levels, rule)
        if text:
            words.append(text)
    return _measured(changes) + ", ".join(words)


def _measured(changes: Sequence[Change]) -> str:
    """What was measured at a moment: by who turned true or false, else by what was told."""
    turned = next((change for change in changes if change.what in ("true", "false")), None)
    if turned is not None and math.isnan(turned.value):
        return "no value: " if turned.what == "false" else ""
    value = next((change.value for change in changes if not math.isnan(change.value)), math.nan)
    return "" if math.isnan(value) else f"{_number(value)}: "


def _change(change: Change, levels: dict[str, LevelView], rule: RuleAnswer) -> str:
    level, of = levels.get(change.severity), f" for {change.severity}" if change.severity else ""
    match change.what:
        case "true":
            runs = level is not None and level.for_ms == level.need_ms > 0
            return f"true{of}" + (f", its clock of {length(level.for_ms)} runs" if level is not None and runs else "")
        case "false":
            if level is None or not level.for_ms:
                return f"not true{of}"
            if level.need_ms != level.for_ms:
                return (
                    f"not true{of}, having been so for {length(change.elapsed_ms)} of the last {length(level.for_ms)}"
                )
            return f"not true{of} after {length(change.elapsed_ms)} of {length(level.for_ms)}"
        case "unknown":
            stands = {"hold": ", the clocks stand", "count": ", the clocks run on"}.get(rule.on_missing, "")
            return f"no data of {', '.join(change.series) or 'its series'}: unknown{stands}"
        case "known":
            return f"data again, after {length(change.elapsed_ms)}"
        case "blind":
            return f"nobody could see for {length(change.elapsed_ms)} ({change.reason}), which does not count"
        case "reached" | "left":
            return f"{change.severity} {change.what}" if change.severity else ""
        case "keeping":
            return f"keep_firing_for {length(rule.keep_firing_for_ms)} runs"
    severity = f" {change.severity}" if change.severity and change.what == "firing" else ""
    return f"{_TOLD[change.what]}{severity} ({change.reason})"


def _number(value: float) -> str:
    return f"{value:.6g}"
