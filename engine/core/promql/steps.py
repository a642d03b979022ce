"""What subqueries found at their steps, kept for the next evaluation, which asks at nearly the same ones.

Steps are multiples of the step's length, whatever the instant of evaluation, so a subquery that is evaluated again
has one new step or none. What was found at the others is taken from here as long as it would be found again: no
sample landed at or before the step meanwhile, and the selectors select the same series. What looks at other times
than back from the step (`@`, a negative offset) is never kept. Must never change a result: without it everything is
just evaluated at every step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np

from engine.core.promql.labels import Codes, Shape
from engine.core.promql.matrix import Matrix
from engine.core.promql.plan import Compat, RangeSelector, Selector, Subquery, walk
from engine.core.promql.vector import EvaluationError

__all__ = ["CELLS_MAX", "Basis", "Budget", "Run", "Steps", "Subject"]

CELLS_MAX = 4_000_000  # values at steps, of all subqueries of a source: 36 MB
SUBJECTS_MAX = 1_000


class Budget:
    """At how many instants one query may still be evaluated, those of subqueries included."""

    def __init__(self, instants_max: int) -> None:
        self.left = instants_max
        self._instants_max = instants_max

    def spend(self, instants: int) -> None:
        """Count instants.

        Raises:
            EvaluationError: They are too many.
        """
        self.left -= instants
        if self.left < 0:
            raise EvaluationError(f"the expression would be evaluated at more than {self._instants_max:,} instants")


class Basis(NamedTuple):
    """What the answer to a selector depends on beside the samples up to the instant.

    Args:
        shape: The series it selects.
        ages: How long a sample of each counts for an instant selector, in milliseconds. None where a sample that lands
            never changes that for those before it.
    """

    shape: Shape
    ages: Codes | None = None

    def holds(self, now: Basis) -> bool:
        """Whether nothing has changed."""
        if self.shape is not now.shape or self.ages is None or now.ages is None:
            return self.shape is now.shape and self.ages is now.ages
        return np.array_equal(self.ages, now.ages)


class Subject(NamedTuple):
    """A subquery whose steps may be kept.

    Args:
        key: The same for subqueries that are the same but for their place in an expression.
        instant, ranged: The selectors below it, and those of ranges.
        metrics: Whose samples they read; an empty name is any.
    """

    key: str
    instant: tuple[Selector, ...]
    ranged: tuple[Selector, ...]
    metrics: frozenset[str]


class Run(NamedTuple):
    """What an operand gave at successive steps.

    Args:
        matrix: A column for each.
        costs: At how many instants the subqueries within were evaluated for each.
        settled: All were of the matrix's shape, and no label set could be there twice, at one step or at two.
    """

    matrix: Matrix
    costs: Codes
    settled: bool


class _Kept(NamedTuple):
    """What a subquery found at successive steps.

    Args:
        subject: The subquery.
        basis: Of its selectors, in their order.
        first_ms: The first of the steps.
        step_ms: From one to the next.
        matrix, costs: As of a run.
    """

    subject: Subject
    basis: tuple[Basis, ...]
    first_ms: int
    step_ms: int
    matrix: Matrix
    costs: Codes

    @property
    def last_ms(self) -> int:
        """The last step."""
        return self.first_ms + self.step_ms * (len(self.costs) - 1)

    @property
    def cells(self) -> int:
        """Its weight in memory."""
        return (len(self.matrix.shape) + 1) * len(self.costs)

    def part(self, start: int, end: int) -> _Kept:
        """The steps from one index to another."""
        shape, values, present = self.matrix
        matrix = Matrix(shape, values[:, start:end], present[:, start:end])
        return self._replace(first_ms=self.first_ms + self.step_ms * start, matrix=matrix, costs=self.costs[start:end])

    def followed_by(self, later: Run) -> _Kept:
        """With further steps, of the same shape."""
        values = np.concatenate([self.matrix.values, later.matrix.values], axis=1)
        present = np.concatenate([self.matrix.present, later.matrix.present], axis=1)
        costs = np.concatenate([self.costs, later.costs])
        return self._replace(matrix=Matrix(self.matrix.shape, values, present), costs=costs)


class Steps:
    """The steps of the subqueries that are evaluated over one source. The source says what has landed.

    Args:
        cells_max: How many values it keeps; then what was used least lately is forgotten.
    """

    def __init__(self, cells_max: int = CELLS_MAX) -> None:
        self._cells_max = cells_max
        self._cells = 0
        self._subjects: dict[tuple[int, int], tuple[Subquery, Subject | None]] = {}
        self._kept: dict[str, _Kept] = {}
        self._readers: dict[str, dict[str, None]] = {}
        self._newest_ms: dict[str, int] = {}  # by metric, no step is kept that is later

    @property
    def cells(self) -> int:
        """How many values are kept."""
        return self._cells

    def subject(self, node: Subquery, default_step_ms: int, compat: Compat) -> Subject | None:
        """What a subquery is kept under, or None if what it finds may change with samples after the step."""
        known = self._subjects.get((id(node), default_step_ms))
        if known is None:
            if len(self._subjects) >= SUBJECTS_MAX:
                self._subjects.clear()
            # The node is kept, too, so that its identity stays its own.
            known = node, _subject(node, default_step_ms, compat)
            self._subjects[id(node), default_step_ms] = known
        return known[1]

    def clear(self) -> None:
        """Forget everything: the shapes of the source are no longer worth anything."""
        self._kept.clear()
        self._readers.clear()
        self._newest_ms.clear()
        self._cells = 0

    def run(
        self,
        subject: Subject,
        basis: tuple[Basis, ...],
        times_ms: Codes,
        step_ms: int,
        evaluate: Callable[[Codes], Run],
        budget: Budget,
    ) -> Matrix:
        """What a subquery finds at each of its steps.

        Args:
            basis: Of its selectors, in their order.
            times_ms: The steps, at least one.
            evaluate: Evaluates the operand at some of them, at the cost of the budget.
            budget: Pays for what is known as if it were evaluated, so that its end does not depend on that.
        """
        left, first_ms = budget.left, int(times_ms[0])
        known = self._recall(subject, basis, first_ms, len(times_ms))
        if known is not None:
            budget.spend(int(known.costs.sum()))
            if len(known.costs) < len(times_ms):
                later = evaluate(times_ms[len(known.costs) :])
                same = later.settled and later.matrix.shape is known.matrix.shape
                known = known.followed_by(later) if same else None
            if known is not None:
                self._keep(known)
                return known.matrix
            budget.left = left
        found = evaluate(times_ms)
        if found.settled:
            self._keep(_Kept(subject, basis, first_ms, step_ms, found.matrix, found.costs))
        return found.matrix

    def landed(self, metric: str, time_ms: int) -> None:
        """Samples of a metric came: what was found at their time and after it is no longer true."""
        for name in (metric, ""):
            if time_ms <= self._newest_ms.get(name, time_ms - 1):
                for key in list(self._readers[name]):
                    self._cut(self._kept[key], time_ms)
                if name in self._newest_ms:
                    self._newest_ms[name] = time_ms - 1

    def _recall(self, subject: Subject, basis: tuple[Basis, ...], first_ms: int, count: int) -> _Kept | None:
        """What is known at `count` steps from the first on: of the first ones of them, at least one."""
        kept = self._kept.get(subject.key)
        if kept is None:
            return None
        start = (first_ms - kept.first_ms) // kept.step_ms
        if not 0 <= start < len(kept.costs):
            return None
        if not all(before.holds(now) for before, now in zip(kept.basis, basis, strict=True)):
            return None
        return kept.part(start, start + count)

    def _keep(self, found: _Kept) -> None:
        """Keep what was found instead of what is kept."""
        key = found.subject.key
        self._forget(key)
        if found.cells > self._cells_max:
            return
        while self._cells + found.cells > self._cells_max:
            self._forget(next(iter(self._kept)))
        # It is handed out again and again: whoever changed it would change what others see.
        found.matrix.values.flags.writeable = found.matrix.present.flags.writeable = False
        self._kept[key] = found
        self._cells += found.cells
        for metric in found.subject.metrics:
            self._readers.setdefault(metric, {})[key] = None
            self._newest_ms[metric] = max(self._newest_ms.get(metric, found.last_ms), found.last_ms)

    def _cut(self, kept: _Kept, time_ms: int) -> None:
        if kept.last_ms < time_ms:
            return
        count = -((kept.first_ms - time_ms) // kept.step_ms)
        if count <= 0:
            self._forget(kept.subject.key)
            return
        shorter = self._kept[kept.subject.key] = kept.part(0, count)
        self._cells -= kept.cells - shorter.cells

    def _forget(self, key: str) -> None:
        kept = self._kept.pop(key, None)
        if kept is None:
            return
        self._cells -= kept.cells
        for metric in kept.subject.metrics:
            del self._readers[metric][key]
            if not self._readers[metric]:
                del self._readers[metric], self._newest_ms[metric]


def _subject(node: Subquery, default_step_ms: int, compat: Compat) -> Subject | None:
    below = list(walk(node.operand))
    if any(isinstance(one, Selector | Subquery) and (one.at is not None or one.offset_ms < 0) for one in below):
        return None
    selectors = [one for one in below if isinstance(one, Selector)]
    ranged = tuple(one.selector for one in below if isinstance(one, RangeSelector))
    instant = tuple(one for one in selectors if not any(one is other for other in ranged))
    metrics = frozenset(one.metric for one in selectors)
    key = repr((_unnumbered(node), default_step_ms, compat))  # by its text, in which -0 is not 0
    return Subject(key, instant, ranged, metrics)


def _unnumbered(part: Any) -> Any:
    """A tree in which it makes no difference how many selectors of the expression come before."""
    if isinstance(part, tuple):
        return tuple(_unnumbered(one) for one in part)
    if isinstance(part, Selector):
        return msgspec.structs.replace(part, leaf=0)
    if isinstance(part, msgspec.Struct):
        return type(part)(**{name: _unnumbered(getattr(part, name)) for name in part.__struct_fields__})
    return part
