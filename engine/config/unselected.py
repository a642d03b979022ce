"""Selectors of rules that ask for labels which nothing that the probes here measure has, for `check`.

It looks at what is known before anything is measured: labels that probes put on every series of theirs. Where a
target may say more, nothing is said. A service that embeds the engine emits series of its own: these are warnings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from engine.config.document import OVERRIDE_SOURCE
from engine.config.packs import PACK_KEYS
from engine.config.report import quote
from engine.config.shape import Config, ProbeConfig, RuleConfig
from engine.errors import Problem
from engine.ports import KnownLabels

if TYPE_CHECKING:
    from engine.core.promql.plan import Matcher, Selector

__all__ = ["OWN_PREFIX", "unselected"]

OWN_PREFIX = "longwatch_"
SHOWN_MAX = 3
_PACKS = {f'pack "{name}"': name for name in PACK_KEYS}
"""By the name of their text, the packs that the configuration says labels to."""


class _Miss(NamedTuple):
    """A matcher that no series of a metric satisfies, and what is there instead."""

    matcher: str
    instead: str


def unselected(
    config: Config, leaves_of: Callable[[RuleConfig], Sequence[Selector]], recorded: set[str]
) -> list[Problem]:
    """A warning for each such selector; for all of a pack with a table of its own, one for each matcher.

    Args:
        leaves_of: The selectors of a rule.
        recorded: Metrics that rules make; nothing is said about those, nor about the engine's own.
    """
    warnings: list[Problem] = []
    of_packs: dict[tuple[str, _Miss], list[str]] = {}
    for rule in config.rules:
        for leaf in leaves_of(rule):
            ours = leaf.metric in recorded or leaf.metric.startswith(OWN_PREFIX)
            miss = _miss(leaf, config.probes) if leaf.metric and not ours else None
            if miss is None:
                continue
            if rule.file in _PACKS:
                of_packs.setdefault((_PACKS[rule.file], miss), []).append(leaf.metric)
                continue
            line = 0 if rule.file == OVERRIDE_SOURCE else rule.line
            message = f"no probe here measures {quote(leaf.metric)} with {miss.matcher}"
            warnings.append(Problem(rule.file, line, f"rule.{rule.name}.expr", message, miss.instead))
    source = str(config.source or "run.toml")  # else it was given as text
    for (pack, miss), metrics in of_packs.items():
        names = ", ".join(quote(metric) for metric in dict.fromkeys(metrics))
        message = f"no probe here measures anything with {miss.matcher}: asked for by {names}"
        warnings.append(Problem(source, 0, f"pack.{pack}", message, miss.instead))
    return list(dict.fromkeys(warnings))


def _miss(leaf: Selector, probes: Sequence[ProbeConfig]) -> _Miss | None:
    """What of a selector no series can satisfy; None if one may, or if that is not known."""
    matchers = [matcher for matcher in leaf.matchers if matcher.label != "__name__"]
    refusing: list[tuple[ProbeConfig, Matcher, str]] = []
    for probe, known in _givers(leaf.metric, probes):
        refused = None if known is None else next(_refused(matchers, known), None)
        if refused is None:
            return None
        refusing.append((probe, refused, known.labels.get(refused.label, "") if known else ""))
    if not refusing:  # nothing measures the metric: that is told as such
        return None
    first = refusing[0][1]
    same = [(probe, value) for probe, matcher, value in refusing if matcher.label == first.label]
    shown = [
        f"probe.{probe.name} has {first.label}={quote(value)}" if value else f"probe.{probe.name} has no {first.label}"
        for probe, value in same[:SHOWN_MAX]
    ]
    more = f" and {len(same) - SHOWN_MAX} more" if len(same) > SHOWN_MAX else ""
    return _Miss(f"{first.label}{first.op}{quote(first.value)}", ", ".join(shown) + more)


def _givers(metric: str, probes: Sequence[ProbeConfig]) -> Iterator[tuple[ProbeConfig, KnownLabels | None]]:
    """The probes that may measure a metric, with what is known of its labels there."""
    for probe in probes:
        measured = getattr(probe.factory, "METRICS", None)
        if measured is not None and metric not in measured and not getattr(probe.factory, "METRICS_OPEN", False):
            continue
        known_labels = getattr(probe.factory, "known_labels", None)
        known = None
        if measured is not None and known_labels is not None:
            known = known_labels(metric, probe.options, probe.name, probe.labels)
        yield probe, known


def _refused(matchers: Sequence[Matcher], known: KnownLabels) -> Iterator[Matcher]:
    for matcher in matchers:
        if matcher.label in known.labels:
            if not matcher.matches(known.labels[matcher.label]):
                yield matcher
        elif known.complete and not matcher.matches(""):
            yield matcher
