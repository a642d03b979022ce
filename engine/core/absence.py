"""Why a label set is absent from an expression's result: it is false, its inputs have ended, or nobody knows.

Only the newest samples of what the expression reads can tell: one for most of it, two for `rate` and its like. What a
rule has recorded says nothing by itself: behind it stand the inputs of that rule, and they are asked. So a rule over a
recorded series says the same as one in which the recorded expression is written out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.core.alerts import Code
from engine.core.dependencies import selects
from engine.core.lineage import EVERY_LABEL, Kept, lineage
from engine.core.promql.functions import NEEDS_TWO
from engine.core.promql.labels import NAME, Shape
from engine.core.promql.plan import (
    Call,
    Matcher,
    Node,
    Plan,
    QueryPlan,
    RangeSelector,
    Selector,
    SetOperation,
    Subquery,
    children,
)
from engine.core.promql.vector import Bools
from engine.core.recent import Recent
from engine.core.rules import RecordingRule
from engine.core.store import STALE_AFTER_INTERVALS, Mark, Store

__all__ = ["Absence", "Evidence", "Inputs", "Sources", "evidence_of", "inputs_at", "rests_on", "sources_of", "speaking"]


class Evidence(NamedTuple):
    """Series that speak for label sets: those with the same labels, as far as both have them.

    Args:
        selector: Which series.
        kept: Labels that the label sets have from these series: where one is absent, it is absent in both.
        aside: Labels that are not compared: rules that record on the way have set them.
        asked: What selectors on the way ask of labels that the series may have.
        recorded: They are recorded by rules whose inputs are evidence of their own. That one ended says nothing; that
            one went stale says that its rule has had no value for long.
    """

    selector: Selector
    kept: Kept = EVERY_LABEL
    aside: frozenset[str] = frozenset()
    asked: tuple[Matcher, ...] = ()
    recorded: bool = False
    two_in_ms: int = 0
    """If it is not 0, a series says nothing, fresh or not, while a window of this length that should hold two samples
    does not: after a gap, say."""


Sources: TypeAlias = Sequence[tuple[RecordingRule, tuple[Evidence, ...]]]
"""Recording rules with the evidence for what they record."""


def sources_of(rules: Sequence[RecordingRule]) -> Sources:
    """The evidence for what rules record. Each must come after those that it reads."""
    sources: list[tuple[RecordingRule, tuple[Evidence, ...]]] = []
    for rule in rules:
        sources.append((rule, evidence_of(rule.plan, sources, rule.labels)))
    return sources


def evidence_of(plan: Plan | QueryPlan, sources: Sources, unknown: Collection[str] = ()) -> tuple[Evidence, ...]:
    """The series whose silence is no answer to an expression: not those of which absence is the meaning.

    Args:
        unknown: Labels that who asks about label sets does not know.
    """
    found: dict[object, Evidence] = {}
    kept = {leaf: labels.without(unknown) for leaf, labels in lineage(plan.root).items()}
    for leaf, two_in_ms in _speaking(plan.root):
        for one in _behind(leaf, kept[leaf.leaf], two_in_ms, sources):
            found[one.selector.metric, one.selector.matchers, one[1:]] = one
    return tuple(found.values())


def _behind(leaf: Selector, kept: Kept, two_in_ms: int | None, sources: Sources) -> Iterator[Evidence]:
    writers = [(rule, behind) for rule, behind in sources if selects(leaf, rule.record)]
    yield Evidence(leaf, kept, recorded=bool(writers and leaf.metric), two_in_ms=two_in_ms or 0)
    for rule, behind in writers:
        # A matcher that lets no label through, too, is about a label that the inputs may still have.
        asked = [matcher for matcher in leaf.matchers if matcher.label not in rule.labels and not matcher.matches("")]
        for one in behind:
            aside, matchers = one.aside.union(rule.labels), (*one.asked, *asked)
            asked_of_it = tuple(each for each in matchers if each.label not in one.aside)
            # What was recorded before the instant does not hang on the window that ends at it.
            window_ms = one.two_in_ms if two_in_ms == 0 else 0
            yield one._replace(kept=kept.meet(one.kept), aside=aside, asked=asked_of_it, two_in_ms=window_ms)


def _speaking(node: Node) -> Iterator[tuple[Selector, int | None]]:
    """Selectors, each with the window before the instant in which it needs two samples: 0 where the newest sample will
    do, None where it looks at other instants."""
    match node:
        case Selector():
            yield node, None if node.offset_ms or node.at is not None else 0
        case SetOperation(op="unless"):
            yield from _speaking(node.left)
        case Call(function="absent" | "absent_over_time"):
            return
        case Subquery():
            yield from ((leaf, None) for leaf, _ in _speaking(node.operand))
        case RangeSelector():
            yield node.selector, None
        case Call() if node.function in NEEDS_TWO:
            for child in children(node):
                if isinstance(child, RangeSelector) and not child.selector.offset_ms and child.selector.at is None:
                    yield child.selector, child.range_ms
                else:
                    yield from _speaking(child)
        case _:
            for child in children(node):
                yield from _speaking(child)


class Inputs(NamedTuple):
    """The series of one evidence at an instant: which may speak, what they say, and which were not seen since a
    restart."""

    evidence: Evidence
    shape: Shape
    speaks: Bools
    fresh: Bools
    ended: Bools
    unseen: Bools


class Absence:
    """Why label sets are absent from an expression at an instant.

    The series behind one selector speak for a label set as long as one of them is fresh. If all have ended, the label
    set has; if none is fresh otherwise, it is unknown.
    """

    def __init__(self, evidence: Sequence[Evidence], recent: Recent, store: Store, at_ms: int) -> None:
        self._inputs = [inputs_at(one, recent, store, at_ms) for one in evidence]
        self._all_fresh = all(bool((one.fresh | ~one.speaks).all()) for one in self._inputs)

    def of(self, labels: Mapping[str, str]) -> int:
        """`FALSE`, `ENDED` or `UNKNOWN`."""
        if self._all_fresh:
            return Code.FALSE
        unknown = ended = False
        for one in self._inputs:
            mine = one.speaks & _agreeing(one.shape, labels, one.evidence)
            if mine.any() and not one.fresh[mine].any():
                gone = bool(one.ended[mine].all())
                ended |= gone
                unknown |= not gone
        if ended:
            return Code.ENDED
        return Code.UNKNOWN if unknown else Code.FALSE

    def waits(self, labels: Mapping[str, str]) -> bool:
        """Whether a series that speaks for a label set was not seen since a restart."""
        return any(
            bool((one.unseen & one.speaks & _agreeing(one.shape, labels, one.evidence)).any())
            for one in self._inputs
            if one.unseen.any()
        )


def inputs_at(evidence: Evidence, recent: Recent, store: Store, at_ms: int) -> Inputs:
    """The series of one evidence at an instant."""
    cells = recent.cells(evidence.selector, at_ms)
    fresh = cells.vectors(cells.times + store.stale_after(cells.handles) >= at_ms)[0].present
    if evidence.two_in_ms:
        fresh &= ~_short(evidence, recent, store.stale_after(cells.handles), at_ms)
    marks = store.marks(cells.handles)
    speaks = _answering(cells.shape, evidence.asked)
    if evidence.recorded:
        speaks &= marks == Mark.LIVE
    unseen = fresh & store.unseen(cells.handles, at_ms)
    return Inputs(evidence, cells.shape, speaks, fresh, marks == Mark.ENDED, unseen)


def _short(evidence: Evidence, recent: Recent, stale_after: NDArray[np.int64], at_ms: int) -> Bools:
    """Series of which the window before an instant should hold two samples, and does not.

    Of those that come more seldom, and of those that never age, it says nothing that a sample is not there.
    """
    expected = stale_after <= evidence.two_in_ms * STALE_AFTER_INTERVALS // 2
    if not expected.any():
        return expected
    _, window = recent.window(evidence.selector, at_ms - evidence.two_in_ms, at_ms)
    return expected & (window.counts() < 2)


def speaking(
    evidence: Sequence[Evidence], labels: Mapping[str, str], recent: Recent, at_ms: int
) -> Iterator[NDArray[np.int64]]:
    """The series that speak for a label set, by evidence."""
    for one in evidence:
        cells = recent.cells(one.selector, at_ms)
        yield cells.handles[_answering(cells.shape, one.asked) & _agreeing(cells.shape, labels, one)]


def rests_on(
    evidence: Sequence[Evidence],
    label_sets: Sequence[Mapping[str, str]],
    handles: NDArray[np.int64],
    recent: Recent,
    at_ms: int,
) -> Bools:
    """Which label sets have, behind some selector, no other series that speak for them than these."""
    found = np.zeros(len(label_sets), dtype=np.bool_)
    for one in evidence:
        cells = recent.cells(one.selector, at_ms)
        inside = np.isin(cells.handles, handles)
        if not inside.any():
            continue
        speaks = _answering(cells.shape, one.asked)
        for at, labels in enumerate(label_sets):
            mine = speaks & _agreeing(cells.shape, labels, one)
            found[at] |= bool(mine.any() and inside[mine].all())
    return found


def _answering(shape: Shape, asked: Sequence[Matcher]) -> Bools:
    """Rows whose labels are as matchers ask, where they have them."""
    answers = np.ones(len(shape), dtype=np.bool_)
    for matcher in asked:
        codes, rows = np.unique(shape.column(matcher.label), return_inverse=True)
        good = [not code or matcher.matches(shape.interner.value(code)) for code in codes.tolist()]
        answers &= np.array(good, dtype=np.bool_)[rows]
    return answers


def _agreeing(shape: Shape, labels: Mapping[str, str], evidence: Evidence) -> Bools:
    """Rows whose labels are those of a label set; of labels that it does not have from them, as far as both have
    them."""
    agrees = np.ones(len(shape), dtype=np.bool_)
    for name in {*labels, *shape.columns} - evidence.aside - {NAME}:
        column, code = shape.column(name), shape.interner.code(labels.get(name, ""))
        if evidence.kept.has(name):
            agrees &= column == code
        elif code:
            agrees &= (column == code) | (column == 0)
    return agrees
