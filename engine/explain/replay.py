"""A question about a rule over a history: read what it needs, play it, and put the answer together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from engine.config.shape import Config
from engine.core.evaluator import Core
from engine.core.explain import AlertView, describe
from engine.core.seats import Key
from engine.events import Blind
from engine.explain.answer import Answer, RuleAnswer, answer_rule
from engine.explain.player import Player
from engine.explain.reading import Reader, blind_spans, metrics_of
from engine.explain.subject import SEVERITY, ExplainError, Subject, label_filter, subject_of
from engine.explain.tape import Change, Tape
from engine.explain.times import Times, length
from engine.ports import History, RunInfo
from engine.runtime.assembly import build_projectors, compile_groups, compile_rules
from engine.text import clean

__all__ = ["DAY_MS", "Question", "explain"]

DAY_MS: Final = 24 * 3_600_000
BACK_MS_MAX: Final = 31 * DAY_MS
LOOKBACK_MS: Final = 300_000
INPUTS_OF: Final = 200
NAMED_MAX: Final = 5


class Question(NamedTuple):
    """What is asked.

    Args:
        rule: Its name.
        labels: `name=value` texts that an alert must have.
        at_ms: When.
    """

    rule: str
    labels: Sequence[str]
    at_ms: int


async def explain(
    config: Config, history: History, question: Question, progress: Callable[[float], None] = lambda _part: None
) -> Answer:
    """Answer a question.

    Args:
        progress: Is told how far it is, from 0 to 1.

    Raises:
        ExplainError: There is no such rule or no such alert.
        ConfigError: A rule can't be compiled.
        SinkError: The history can't be read.
    """
    label_filter(question.labels)  # what is wrong with the question comes before what is wrong with the rules
    subject = subject_of(question.rule, compile_rules(config), compile_groups(config))
    labels, wanted = label_filter(question.labels, subject.severities)
    at_ms = question.at_ms
    start_ms = at_ms - min(DAY_MS + subject.back_ms + LOOKBACK_MS, BACK_MS_MAX)
    known = await history.metrics()
    there = {*known, *subject.records}
    facts = any(leaf.metric not in there for plan in subject.plans for leaf in plan.leaves)
    reader = Reader(history, metrics_of(subject.plans, known), facts=facts)
    blind = await blind_spans(history, start_ms, at_ms)
    player = Player(_core(config, subject, facts=facts), subject.name, wanted, at_ms - DAY_MS, blind)
    began_ms = min((run.started_ms for run in await history.runs()), default=start_ms)
    begun = False
    async for until_ms, events in reader.parts(start_ms, at_ms + 1):
        if not begun:  # what needs no sample is true as soon as time begins: not before anybody watched
            first_ms = min(began_ms, events[0].time_ms) if events else began_ms
            if begun := first_ms < until_ms:
                player.begin(max(start_ms, first_ms))
        if begun:
            player.play(events, min(until_ms, at_ms))
        progress((until_ms - start_ms) / (at_ms + 1 - start_ms))
    player.finish(at_ms)
    tapes = player.tapes
    views = [describe(tape.seat, at_ms, wanted, inputs_of=INPUTS_OF) for tape in tapes]
    if labels and not any(views):
        raise _no_such_alert(subject, labels, tapes, at_ms)
    told = await history.transitions(start_ms, at_ms + 1)
    rules = [
        answer_rule(tape, one, at_ms, source=source, metrics=known, records=subject.records, told=told)
        for tape, one, source in zip(tapes, views, _sources(config, question.rule), strict=True)
    ]
    times = Times(at_ms, ZoneInfo(config.engine.timezone))
    return Answer(
        rule=question.rule,
        at_ms=at_ms,
        from_ms=start_ms if reader.first_ms is None else max(start_ms, reader.first_ms),
        samples=reader.samples,
        rules=tuple(_with_silence(rules, views, player)),
        notes=(
            *_notes(times, await history.runs(), reader, tapes, start_ms, at_ms),
            *_blind_now(times, blind, at_ms),
            *_unrecorded(rules),
        ),
    )


def _core(config: Config, subject: Subject, *, facts: bool) -> Core:
    """The engine's core, with no more rules than the question needs."""
    limits = config.engine
    return Core(
        subject.rules,
        groups=subject.groups,
        series_max=limits.series_max,
        batch_samples_max=limits.series_max,
        alerts_per_rule_max=limits.alerts_per_rule_max,
        resolution_ms=int(limits.resolution),
        external_labels=limits.external_labels,
        compat=limits.compat,
        projectors=build_projectors(config, ()) if facts else (),
    )


def _with_silence(
    rules: Sequence[RuleAnswer], views: Sequence[Sequence[AlertView]], player: Player
) -> Iterator[RuleAnswer]:
    """The rules with what happens to their alerts if no sample comes any more. Last: the core goes on in time."""
    moving = any(one.state != "inactive" for its_views in views for one in its_views)
    silent: Sequence[Mapping[Key, Change]] = player.silence() if moving else [{} for _ in rules]
    for rule, changes in zip(rules, silent, strict=True):
        alerts = tuple(msgspec.structs.replace(one, silent=changes.get(one.now.key)) for one in rule.alerts)
        yield msgspec.structs.replace(rule, alerts=alerts)


def _sources(config: Config, name: str) -> Iterator[str]:
    """Where the alerting rules of a name are written, in the order of rules."""
    for rule in config.rules:
        if rule.name == name and rule.table.record is None:
            yield f"{rule.file}:{rule.line}" if rule.file else ""
    for file in config.rule_files:
        for group in file.groups:
            for one in group.rules:
                if one.kind == "alert" and one.name == name:
                    yield f"{file.path}:{one.line}, group {clean(group.name, 60)}"


def _no_such_alert(subject: Subject, labels: Mapping[str, str], tapes: Sequence[Tape], at_ms: int) -> ExplainError:
    rule, levels, severity = subject.name, subject.severities, labels.get(SEVERITY, "")
    if levels and severity and severity not in levels:
        known = ", ".join(levels)
        return ExplainError(f"{rule} has no level of severity {clean(severity, 60)}; its levels are {known}")
    asked = ", ".join(f"{name}={text}" for name, text in labels.items())
    there = sorted({one.key for tape in tapes for one in describe(tape.seat, at_ms, inputs_of=0)})
    if not there:
        return ExplainError(f"{rule} has no label sets at all then; ask without --labels why")
    names = {name for key in there for name, _ in key}
    strange = sorted(name for name in labels if name not in names)
    told = "; ".join(_named(key) for key in there[:NAMED_MAX])
    more = f" and {len(there) - NAMED_MAX} more" if len(there) > NAMED_MAX else ""
    why = f"no label {strange[0]}" if strange else f"no alert with {asked}"
    return ExplainError(f"{rule} has {clean(why, 200)}; there {'are' if there[1:] else 'is'} {told}{more}")


def _named(key: Key) -> str:
    return clean(" ".join(f"{name}={text}" for name, text in key if name != "alertname"), 200) or "one without labels"


def _blind_now(times: Times, blind: Iterable[Blind], at_ms: int) -> Iterator[str]:
    for span in blind:
        if span.to_ms >= at_ms:
            what = "everything" if span.scope == "*" else clean(span.scope, 80)
            yield f"nobody could see {what} since {times.of(span.from_ms)} ({span.reason or 'blind'}): clocks stand"


def _unrecorded(rules: Iterable[RuleAnswer]) -> Iterator[str]:
    if any(one.now.state != "inactive" and not rule.recorded for rule in rules for one in rule.alerts):
        yield "the engine itself recorded no transition of this rule in this time: it did not run then, or without it"


def _notes(
    times: Times, runs: Iterable[RunInfo], reader: Reader, tapes: Sequence[Tape], start_ms: int, at_ms: int
) -> Iterator[str]:
    """What limits the answer."""
    if reader.first_ms is None:
        yield f"the history has no sample of what the rule reads from {times.whole(start_ms)} on"
    elif reader.first_ms > start_ms + DAY_MS // 24:
        yield f"what the history has begins at {times.whole(reader.first_ms)}: what was before is not known"
    if reader.means_until_ms:
        yield f"until {times.whole(reader.means_until_ms)} there are 1-minute means alone: nothing of then is exact"
    if reader.guessed:
        word = "series is" if len(reader.guessed) == 1 else "series are"
        yield (
            f"the intervals of {len(reader.guessed)} {word} not stored, and taken from the distance of their samples: "
            "when they went stale may be wrong"
        )
    begun = sorted(run.started_ms for run in runs if (reader.first_ms or at_ms) < run.started_ms <= at_ms)
    if begun:
        last = f"{len(begun)} times, last" if begun[1:] else "once,"
        yield (
            f"the engine was started anew {last} at {times.of(begun[-1])}; this is played across it, as if alerts had "
            "been kept"
        )
    if left := sum(tape.alerts_left_out for tape in tapes):
        yield f"{left} changes of alerts beyond the first {len(tapes[0].changes)} were not noted; ask with --labels"
    if at_ms - start_ms >= BACK_MS_MAX:
        yield f"no more than {length(BACK_MS_MAX)} were read"
