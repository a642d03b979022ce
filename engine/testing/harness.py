"""Rules over given events, without an engine around them: the same core, in event time, in milliseconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.config.shape import Config
from engine.core.evaluator import Core
from engine.core.rules import Rule
from engine.events import Event, Transition

__all__ = ["replay"]


def replay(
    rules: str | Config | Sequence[Rule], events: Iterable[Event], *, until_ms: int | None = None
) -> list[Transition]:
    """Judge rules over events and return the transitions, ordered by time.

    Args:
        rules: The text of a run.toml, a loaded configuration, or compiled rules.
        events: Samples, batches and other events in the order in which they are to be seen.
        until_ms: How far time goes on after the events, milliseconds since the epoch: for what is due
            later. By default it ends with the latest event.

    Raises:
        ConfigError: The text is not a configuration, or a rule does not compile.
    """
    compiled = _compiled(rules)
    core = Core(compiled)
    fed = list(events)
    end_ms = max((event.time_ms for event in fed), default=0)
    made = core.feed(fed) + core.advance(max(end_ms, until_ms or 0))
    order = {rule.name: index for index, rule in reversed(list(enumerate(compiled)))}
    return sorted(made, key=lambda made_: (made_.time_ms, order[made_.rule]))


def _compiled(rules: str | Config | Sequence[Rule]) -> Sequence[Rule]:
    from engine.config.load import load_text
    from engine.runtime.assembly import compile_rules

    if isinstance(rules, str):
        rules = load_text(rules)
    return compile_rules(rules) if isinstance(rules, Config) else rules
