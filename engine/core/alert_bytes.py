"""One alert as bytes of its own: everything that it needs to go on exactly, for who writes down only what changed.

Beside the alerts each rule has a row of its own, under the empty text, with what all of them have in common. Of the
series that speak for an alert the row has the last sample as it was when the alert changed; what came since and changed
nothing is not worth a row, and is taken as having come.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias

import msgspec
import numpy as np

from engine.core.absence import Evidence, Sources, evidence_of, sources_of, speaking
from engine.core.alert_rows import Ints
from engine.core.book import AlertBook, Labelled
from engine.core.grid_alerts import GridAlerts
from engine.core.judge import Judge
from engine.core.makers import Makers
from engine.core.parts import Parts
from engine.core.projected import PROJECTORS, Projected
from engine.core.query_judge import QueryJudge
from engine.core.rules import RecordingRule
from engine.core.saved import save_levels, save_row
from engine.core.snapshot import keys_of
from engine.core.stored import INPUTS_MAX, VERSION, SavedAlert, SavedInput, SavedOwn, SavedSeen, Stored

__all__ = ["Changed", "Work", "Writer", "works_of"]

Changed: TypeAlias = tuple[str, str, bytes | None]
"""Key of the rule, labels as one text, what to keep; None if nothing is left to be kept."""
Work: TypeAlias = Judge | QueryJudge | GridAlerts


class _Place(NamedTuple):
    """A rule at work: its key, and where its alerts are."""

    key: str
    book: AlertBook
    number: int
    work: Work
    evidence: tuple[Evidence, ...]


_ENCODER: Final = msgspec.msgpack.Encoder()


def works_of(parts: Parts) -> Iterator[tuple[str, AlertBook, int, Work]]:
    """Every rule that has alerts: its key, its book and its number there, and who judges it."""
    keys = iter(keys_of(parts))
    for judge in parts.judges:
        yield next(keys), judge.book, judge.index if judge.book is parts.book else 0, judge
    for runner in parts.runners:
        for index in range(len(runner.group.rules)):
            key = next(keys)
            if index in runner.alerting:
                yield key, runner.alerting[index].book, 0, runner.alerting[index]


class Writer:
    """Turns what changed into rows.

    Args:
        parts: Whose alerts.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._makers = Makers(parts)
        self._projected = Projected(parts)
        self._places: dict[AlertBook, dict[int, _Place]] = {}
        recorded = list(_recorded_by(parts))
        sources = sources_of([*(each.rule for chain in parts.chains for each in chain.recorders), *recorded])
        for key, book, number, work in works_of(parts):
            place = _Place(key, book, number, work, _evidence(work, sources))
            self._places.setdefault(book, {})[number] = place
        self._named = {
            one.key: (book, number) for book, places in self._places.items() for number, one in places.items()
        }
        for book, places in self._places.items():
            book.changes.begin(book, places)

    def changed(self, limit: int) -> list[Changed]:
        """What changed since the last call, at most so many rows; the rest comes with the next."""
        made: list[Changed] = []
        for book, places in self._places.items():
            changes = book.changes
            for place in places.values():
                if not isinstance(place.work, GridAlerts) and (some := place.work.remembered()) is not None:
                    changes.remember(book, place.number, some)
            for number in list(changes.of_rule)[: limit - len(made)]:
                del changes.of_rule[number]
                made.append((places[number].key, "", self._own(places[number])))
            for row in changes.take(book, limit - len(made)).tolist():
                place = places[int(book.rows.rule[row])]
                text = book.text_at(place.number, int(book.rows.place[row]))
                changes.known[place.number, text] = int(book.rows.place[row])
                changes.over.pop((place.number, text), None)
                made.append((place.key, text, self._alert(place, row, text)))
            for number, text in changes.take_over(book, limit - len(made)):
                ring, seen = book.flaps.ring(number, text), self._seen(places[number], text)
                data = None if ring is None and seen is None else _ENCODER.encode(Stored(VERSION, ring=ring, seen=seen))
                made.append((places[number].key, text, data))
        for name, known in itertools.islice(self._projected.changed(), limit - len(made)):
            made.append((PROJECTORS, name, _ENCODER.encode(Stored(VERSION, projector=known))))
        return made

    def has(self, key: str, text: str) -> bool:
        """Whether a row of this name is of something that is here now, as far as that was told."""
        if key == PROJECTORS:
            return True
        at = self._named.get(key)
        return at is not None and (not text or (at[1], text) in at[0].changes.known)

    def _seen(self, place: _Place, text: str) -> SavedSeen | None:
        """What a rule remembers of a label set without an alert."""
        work, remembered = place.work, place.book.changes.remembered.get(place.number)
        at = remembered.place_of(text) if remembered is not None else None
        if at is None or isinstance(work, GridAlerts):
            return None
        slot, at_ms = int(place.book.slot_of.array[at]), self._parts.lander.watermark_ms
        labels = _labelled(work).labels_of(slot)
        fed = int(work.fed.array[slot]) if isinstance(work, Judge) else 0
        inputs = self._inputs(self._handles(place, slot, labels, at_ms))
        return SavedSeen(_expr(work), at_ms, tuple(sorted(labels.items())), fed, inputs)

    def _own(self, place: _Place) -> bytes:
        flaps = place.book.flaps
        expr, refused = _expr(place.work), place.book.refusals(place.number)
        rest = flaps.span_ms(place.number), flaps.skipped_ms, flaps.forgotten[place.number], self._parts.store.blind
        return _ENCODER.encode(Stored(VERSION, own=SavedOwn(expr, refused, *rest)))

    def _alert(self, place: _Place, row: int, text: str) -> bytes:
        book, work = place.book, place.work
        at = int(book.rows.place[row])
        slot = int(book.slot_of.array[at])
        columns, run, spans, stood = save_row(book, row)
        at_ms = self._parts.lander.watermark_ms
        saved = SavedAlert(
            expr=_expr(work),
            levels=save_levels(book.rules[place.number].levels),
            at_ms=at_ms,
            labels=tuple(sorted(_labelled(work).labels_of(slot).items())),
            told=int(book.codes.array[at]),
            value=float(_labelled(work).values_at(np.array([slot]), np.array([max(at_ms, 0)]))[0]),
            columns=columns,
            run=run,
            spans=spans,
            stood=stood,
            inputs=[],
        )
        labels: Mapping[str, str] = dict(saved.labels)
        if isinstance(work, Judge):
            saved.judged_ms, saved.complete = int(work.judged[at]), bool(work.complete.array[slot])
            saved.fed = int(work.fed.array[slot])
        elif isinstance(work, GridAlerts):
            saved.active, saved.withheld, saved.sample_labels, saved.texts = work.kept(slot)
            labels = saved.sample_labels
        saved.inputs = self._inputs(self._handles(place, slot, labels, at_ms))
        return _ENCODER.encode(Stored(VERSION, saved, book.flaps.ring(place.number, text)))

    def _handles(self, place: _Place, slot: int, labels: Mapping[str, str], at_ms: int) -> Ints:
        """The series that a label set rests on."""
        work = place.work
        if not isinstance(work, Judge):
            return self._speaking(place, labels, at_ms)
        leaves = range(len(work.plan.leaves))
        return np.concatenate([work.binding.handles(leaf, np.array([slot])) for leaf in leaves])

    def _speaking(self, place: _Place, labels: Mapping[str, str], at_ms: int) -> Ints:
        """The series that speak for a label set; all that are read, where none does."""
        recent = self._parts.recent
        own = {name: value for name, value in labels.items() if name != "__name__"}
        found = list(speaking(place.evidence, own, recent, at_ms))
        if not place.evidence:
            assert not isinstance(place.work, Judge)
            found = [recent.handles(leaf) for leaf in place.work.rule.plan.leaves]
        return np.concatenate([np.zeros(0, dtype=np.int64), *found])

    def _inputs(self, handles: Ints) -> list[SavedInput]:
        store = self._parts.store
        handles = np.unique(handles[handles >= 0])
        self._parts.tally.count("alert_inputs_left_out_total", max(0, len(handles) - INPUTS_MAX))
        handles = handles[:INPUTS_MAX]
        columns = [column.tolist() for column in store.of(handles)]
        texts = [store.table.text(handle) for handle in handles.tolist()]
        return list(map(SavedInput, texts, *columns, map(self._makers.of, texts)))


def _labelled(work: Work) -> Labelled:
    return work.conditions if isinstance(work, Judge) else work


def _expr(work: Work) -> str:
    return work.rule.plan.expr


def _evidence(work: Work, sources: Sources) -> tuple[Evidence, ...]:
    if isinstance(work, QueryJudge):
        return tuple(work.expression.evidence)
    return () if isinstance(work, Judge) else evidence_of(work.rule.plan, sources)


def _recorded_by(parts: Parts) -> Iterator[RecordingRule]:
    """The recording rules of groups, as those of continuous mode are."""
    for rule in (rule for runner in parts.runners for rule in runner.group.rules if rule.kind == "record"):
        labels = {name: template.text for name, template in rule.labels.items()}
        yield RecordingRule(name=rule.name, record=rule.name, plan=rule.plan, labels=labels)
