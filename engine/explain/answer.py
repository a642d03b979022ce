"""The answer to "why", as values: what `explain` prints as text or JSON, over a history or from a running engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from engine.core.explain import AlertView
from engine.core.promql.plan import Matcher, Plan, QueryPlan, Selector
from engine.core.seats import Key
from engine.events import Transition
from engine.explain.nearest import Extreme
from engine.explain.sources import MissingSource, missing_sources, near
from engine.explain.tape import Change, Miss, Tape

__all__ = ["AlertAnswer", "Answer", "LevelTerm", "RuleAnswer", "SelectorAnswer", "answer_rule"]


class AlertAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One label set.

    Args:
        now: What it is.
        silent: What happens first if no sample comes any more; None if nothing does, or nobody looked.
        changes: What happened to it, oldest first; `forgotten` older ones are left out.
        miss: The nearest miss of the last day.
        nearest: The value that came nearest to the threshold of the lowest level in the last day.
        told: The last transition that the engine recorded when it ran.
    """

    now: AlertView
    silent: Change | None = None
    changes: tuple[Change, ...] = ()
    forgotten: int = 0
    miss: Miss | None = None
    nearest: Extreme | None = None
    told: Transition | None = None


class SelectorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What an expression selects.

    Args:
        series: How many series there were in what was read.
        known: Whether the history has any series of that metric; it has none that rules record.
        recorded: Whether a rule records it.
        near: Names that it may have been meant to be, if it is not known.
        missing: What the rules behind it read that the history has no series of, if it is recorded and had no result.
    """

    text: str
    metric: str
    series: int
    known: bool
    recorded: bool
    near: tuple[str, ...] = ()
    missing: tuple[MissingSource, ...] = ()


class LevelTerm(msgspec.Struct, frozen=True, kw_only=True):
    """What a level of a rule asks."""

    severity: str
    when: str
    clear: str
    for_ms: int


class RuleAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One rule.

    Args:
        source: File and line, and the group.
        interval_ms: How often it is evaluated, in grid mode; 0 in continuous mode.
        instant_ms: When that is next.
        recorded: How many transitions the engine recorded of rules of this name.
        alerts: Those that were asked for, firing ones first.
        selectors: What it reads.
    """

    rule: str
    source: str
    expr: str
    mode: str
    levels: tuple[LevelTerm, ...]
    of: float
    keep_firing_for_ms: int
    on_missing: str
    missing_for_ms: int
    hold_max_ms: int
    interval_ms: int
    instant_ms: int
    recorded: int
    alerts: tuple[AlertAnswer, ...]
    selectors: tuple[SelectorAnswer, ...]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Why.

    Args:
        from_ms: From when on the history was read.
        samples: How many were.
        notes: What limits the answer, for people.
    """

    rule: str
    at_ms: int
    from_ms: int
    samples: int
    rules: tuple[RuleAnswer, ...]
    notes: tuple[str, ...] = ()


def answer_rule(
    tape: Tape,
    views: Sequence[AlertView],
    at_ms: int,
    *,
    source: str,
    metrics: Iterable[str],
    records: Mapping[str, Sequence[Plan | QueryPlan]],
    told: Sequence[Transition],
) -> RuleAnswer:
    """What there is to say of one rule; `silent` is left open.

    Args:
        views: Of its label sets, from `engine.core.explain.describe`.
        metrics: Of which the history has series.
        records: Which rules record, each with the plans of those that do.
        told: What the engine recorded, oldest first.
    """
    seat = tape.seat
    rule, group = seat.book.rules[seat.number], seat.group
    last = {tuple(sorted(one.labels.items())): one for one in told if one.rule == seat.name}
    metrics = set(metrics)
    names = metrics | set(records)
    return RuleAnswer(
        rule=seat.name,
        source=source,
        expr=seat.plan.expr,
        mode="continuous" if group is None else "grid",
        levels=tuple(
            LevelTerm(
                severity=level.severity,
                when="" if when is None else str(when),
                clear="" if level.clear is None else str(level.clear),
                for_ms=level.for_ms,
            )
            for level, when in zip(seat.levels, seat.conditions, strict=True)
        ),
        of=rule.of,
        keep_firing_for_ms=rule.keep_firing_for_ms,
        on_missing=rule.on_missing,
        missing_for_ms=rule.missing_for_ms,
        hold_max_ms=rule.hold_max_ms,
        interval_ms=0 if group is None else group.interval_ms,
        instant_ms=0 if group is None else seat.instant_from(at_ms + 1),
        recorded=sum(one.rule == seat.name for one in told),
        alerts=tuple(_alert(view, tape, last) for view in views),
        selectors=tuple(
            SelectorAnswer(
                text=selector_text(leaf),
                metric=leaf.metric,
                series=len(handles),
                known=not leaf.metric or leaf.metric in metrics,
                recorded=leaf.metric in records,
                near=near(leaf.metric, names),
                missing=missing_sources(leaf.metric, records, metrics)
                if leaf.metric in records and not len(handles)
                else (),
            )
            for leaf, handles in seat.selectors()
        ),
    )


def _alert(view: AlertView, tape: Tape, last: dict[Key, Transition]) -> AlertAnswer:
    key = view.key
    return AlertAnswer(
        now=view,
        changes=tuple(tape.changes.get(key, ())),
        forgotten=tape.forgotten.get(key, 0),
        miss=tape.misses.get(key),
        nearest=tape.nearest.of(key),
        told=last.get(key),
    )


def selector_text(leaf: Selector) -> str:
    """A selector as PromQL writes it."""
    matchers = ", ".join(_matcher(one) for one in leaf.matchers)
    return leaf.metric + (f"{{{matchers}}}" if matchers or not leaf.metric else "")


def _matcher(one: Matcher) -> str:
    text = msgspec.json.encode(one.value).decode()
    return f"{one.label}{one.op}{text}"
