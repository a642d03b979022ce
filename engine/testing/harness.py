"""Rules over given events, without an engine around them: the same core, in event time, in milliseconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.config.shape import Config
from engine.core.evaluator import Core
from engine.core.groups import GridGroup
from engine.core.rules import RecordingRule, Rule
from engine.events import Event, Sample, SampleBatch, Transition
from engine.text import clean

__all__ = ["replay"]


SERIES_TOLD_MAX = 3
_DROPPED = "samples_dropped_total_"
_WORDS = {
    "old": "not newer than the last of its series",
    "duplicate": "twice in one batch",
    "malformed": "its series is not in canonical form, use engine.series_text; or its value is no number",
}


def replay(
    rules: str | Config | Sequence[Rule | RecordingRule],
    events: Iterable[Event],
    *,
    until_ms: int | None = None,
    strict: bool = True,
) -> list[Transition]:
    """Judge rules over events and return the transitions, ordered by time.

    Args:
        rules: The text of a run.toml, a loaded configuration, or compiled rules.
        events: Samples, batches and other events in the order in which they are to be seen.
        until_ms: How far time goes on after the events, milliseconds since the epoch: for what is due
            later. By default it ends with the latest event.
        strict: Whether samples that the core does not take are an error. An engine drops and counts them.

    Raises:
        ConfigError: The text is not a configuration, or a rule does not compile.
        ValueError: The core did not take some samples, for the reasons it names.
    """
    compiled, groups = _compiled(rules)
    core = Core(compiled, groups=groups)
    fed = list(events)
    end_ms = max((event.time_ms for event in fed), default=0)
    made = core.feed(fed) + core.advance(max(end_ms, until_ms or 0))
    if strict and (refused := _refused(core)):
        raise ValueError(_complaint(refused, compiled, fed))
    return sorted(made, key=lambda transition: transition.time_ms)


def _refused(core: Core) -> dict[str, int]:
    """How many samples a core did not take, by reason."""
    return {name.removeprefix(_DROPPED): n for name, n in core.counters().items() if name.startswith(_DROPPED) and n}


def _complaint(refused: dict[str, int], rules: Sequence[Rule | RecordingRule], events: Sequence[Event]) -> str:
    reasons = [f"{n} {reason}" + (f" ({_WORDS[reason]})" if reason in _WORDS else "") for reason, n in refused.items()]
    series = ", ".join(_refused_series(rules, events))
    return f"samples were refused: {', '.join(reasons)}; first: {series}; strict=False goes on without them"


def _refused_series(rules: Sequence[Rule | RecordingRule], events: Sequence[Event]) -> list[str]:
    """Which, found by feeding them one by one to a core of their own."""
    core, found, before = Core(rules), [], 0
    for sample in (one for event in events for one in _samples(event)):
        core.feed([sample])
        if (now := sum(_refused(core).values())) > before:
            before = now
            found.append(f"{clean(str(sample.series), 80)} at {sample.time_ms} ms")
            if len(found) == SERIES_TOLD_MAX:
                break
    return found


def _samples(event: Event) -> Iterable[Sample]:
    if isinstance(event, Sample):
        return [event]
    if isinstance(event, SampleBatch):
        pairs = zip(event.series, event.values, strict=False)
        return [Sample(event.time_ms, series, value, event.interval_ms, event.stale) for series, value in pairs]
    return []


def _compiled(
    rules: str | Config | Sequence[Rule | RecordingRule],
) -> tuple[Sequence[Rule | RecordingRule], Sequence[GridGroup]]:
    from engine.config.load import load_text
    from engine.runtime.assembly import compile_groups, compile_rules

    if isinstance(rules, str):
        rules = load_text(rules)
    return (compile_rules(rules), compile_groups(rules)) if isinstance(rules, Config) else (rules, ())
