"""Snapshots: everything a core knows as bytes, versioned and checked, and back.

Each part says itself what of it is kept; what can be made again from that (shapes, layouts, partial sums, steps of
subqueries) is left out. Rules are found again by their keys, which do not depend on their expressions. Columns are
little-endian bytes, label sets and series are written once. A snapshot that was taken back gives the same snapshot.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import msgspec

from engine.core import judge_saved
from engine.core.chains import Chain
from engine.core.grid import SavedGroup
from engine.core.groups import group_keys, rule_keys
from engine.core.judge import Judge
from engine.core.judge_saved import SavedPointwise
from engine.core.parts import Parts
from engine.core.query_judge import QueryJudge, SavedWhole
from engine.core.recent import SavedRecent
from engine.core.recording import Recorder, SavedRecorder
from engine.core.tally import SavedTally
from engine.errors import StateError
from engine.events import Transition

__all__ = ["VERSION", "keys_of", "put", "recorders_of", "take"]

VERSION: Final = 5
SavedRule: TypeAlias = SavedPointwise | SavedWhole


class _Envelope(msgspec.Struct):
    """What is around a snapshot of any version."""

    version: int
    check: int = 0
    body: bytes = b""


class _Snapshot(msgspec.Struct):
    """Everything a core knows, as it is written; rules and groups by key."""

    begun: bool
    time_begun: bool
    watermark_ms: int
    restarted_ms: int
    blind: list[int]
    tally: SavedTally
    series: list[str]
    columns: dict[str, bytes]
    recent: SavedRecent
    rules: dict[str, SavedRule]
    recorders: dict[str, SavedRecorder]
    groups: dict[str, SavedGroup]
    resolved: dict[str, list[Transition]]
    projectors: list[bytes]


def take(parts: Parts) -> bytes:
    """Everything that a core of these parts knows."""
    settled = {index: chain.settled_ms for index, chain in parts.chain_of.items()}
    keys, groups = keys_of(parts), [runner.group for runner in parts.runners]
    of_groups = iter(rule_keys(groups))
    saved = _Snapshot(
        begun=parts.begun,
        time_begun=parts.time_begun,
        watermark_ms=parts.lander.watermark_ms,
        restarted_ms=parts.store.restarted_ms,
        blind=parts.store.blind,
        tally=parts.tally.saved(),
        series=parts.store.table.texts(),
        columns=parts.store.columns(),
        recent=parts.recent.saved(),
        rules={
            key: judge_saved.save(judge) if isinstance(judge, Judge) else judge.saved(settled[judge.index])
            for key, judge in zip(keys, parts.judges, strict=False)
        },
        recorders={key: one.saved(settled[one.index]) for key, one in recorders_of(parts.chains)},
        groups={
            key: runner.saved(parts.instants.saved(index), [next(of_groups) for _ in runner.group.rules])
            for index, (key, runner) in enumerate(zip(group_keys(groups), parts.runners, strict=True))
        },
        resolved={key: kept for rule, key in enumerate(keys) if (kept := parts.resolved.saved(rule))},
        projectors=[projector.snapshot() for projector in parts.projectors],
    )
    body = msgspec.msgpack.encode(saved)
    return msgspec.msgpack.encode(_Envelope(VERSION, zlib.crc32(body), body))


def put(parts: Parts, data: bytes) -> None:
    """Take back what `take` gave, into new parts.

    Raises:
        StateError: It is not a snapshot, is damaged, or is of another version.
    """
    try:
        envelope = msgspec.msgpack.decode(data, type=_Envelope)
        if envelope.version != VERSION:
            raise StateError(f"a snapshot of version {envelope.version} can't be restored by this one")
        if zlib.crc32(envelope.body) != envelope.check:
            raise StateError("a damaged snapshot: its checksum does not match")
        saved = msgspec.msgpack.decode(envelope.body, type=_Snapshot)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StateError(f"not a snapshot: {error}") from error
    if len(saved.projectors) != len(parts.projectors):
        counts = f"{len(saved.projectors)} projectors, this engine {len(parts.projectors)}"
        raise StateError(f"a snapshot has {counts}: it can't be restored by this one")
    try:
        _put(parts, saved)
    except (ValueError, OverflowError, LookupError) as error:
        raise StateError(f"a damaged snapshot: {error}") from error


def _put(parts: Parts, saved: _Snapshot) -> None:
    store = parts.store
    store.table.series_max = max(store.table.series_max, len(saved.series))
    store.blind = saved.blind
    store.refill(saved.series, saved.columns)
    for book in (parts.book, *(judge.book for chain in parts.chains for judge in chain.judges)):
        book.rows.blind = list(saved.blind)
    store.restarted_ms = saved.restarted_ms
    parts.layouts.refill()
    parts.recent.load(saved.recent)
    parts.begun, parts.time_begun = saved.begun, saved.time_begun
    parts.lander.watermark_ms = saved.watermark_ms
    parts.tally.load(saved.tally)
    for projector, state in zip(parts.projectors, saved.projectors, strict=True):
        projector.restore(state)
    keys = keys_of(parts)
    unplaced = 0
    for key, judge in zip(keys, parts.judges, strict=False):
        unplaced += _put_rule(parts, judge, saved.rules.get(key), saved.series)
    parts.layouts.renew_inputs()
    for key, recorder in recorders_of(parts.chains):
        _put_recorder(parts, recorder, saved.recorders.get(key))
    unplaced += _put_groups(parts, saved.groups)
    for rule, key in enumerate(keys):
        parts.resolved.load(rule, saved.resolved.get(key, []))
    parts.tally.count("alerts_not_restored_total", unplaced)


def _put_rule(parts: Parts, judge: Judge | QueryJudge, saved: SavedRule | None, texts: Sequence[str]) -> int:
    """Take back what is kept of an alerting rule; return how many alerts have no place."""
    swept_ms = parts.lander.watermark_ms
    if isinstance(judge, Judge):
        if isinstance(saved, SavedPointwise) and saved.expr == judge.plan.expr:
            return judge_saved.load(judge, saved, texts)
        parts.layouts.tell(judge)
        if saved is not None:
            swept_ms = saved.swept_ms if isinstance(saved, SavedPointwise) else swept_ms
            return judge_saved.adopt(judge, saved.alerts, saved.label_sets(texts), swept_ms)
        judge_saved.begin_late(judge, swept_ms)
        return 0
    if isinstance(saved, SavedWhole):
        chain = parts.chain_of[judge.index]
        chain.settled_ms = max(chain.settled_ms, saved.settled_ms)
        if saved.expr == judge.rule.plan.expr:
            return judge.load(saved)
    if parts.time_begun:
        judge.expression.refresh(swept_ms + 1)
    return 0 if saved is None else judge.adopt(saved.alerts, saved.label_sets(texts))


def _put_recorder(parts: Parts, recorder: Recorder, saved: SavedRecorder | None) -> None:
    if saved is not None:
        chain = parts.chain_of[recorder.index]
        chain.settled_ms = max(chain.settled_ms, saved.settled_ms)
        recorder.load(saved)
    if parts.time_begun and (saved is None or saved.expr != recorder.rule.plan.expr):
        recorder.expression.refresh(parts.lander.watermark_ms + 1)


def _put_groups(parts: Parts, saved: dict[str, SavedGroup]) -> int:
    """Take back what is kept of groups; return how many alerts have no place."""
    groups = [runner.group for runner in parts.runners]
    kept = [saved.get(key) for key in group_keys(groups)]
    if parts.time_begun:
        parts.instants.load([one.instants if one is not None else None for one in kept], parts.lander.watermark_ms)
    keys = iter(rule_keys(groups))
    unplaced = 0
    for runner, one in zip(parts.runners, kept, strict=True):
        own = [next(keys) for _ in runner.group.rules]
        unplaced += runner.load(one, own) if one is not None else 0
    return unplaced


def keys_of(parts: Parts) -> list[str]:
    """The keys of all rules that have alerts, by their numbers; of groups, those of their recording rules, too."""
    return [*_numbered(judge.rule.key for judge in parts.judges), *rule_keys([one.group for one in parts.runners])]


def recorders_of(chains: Iterable[Chain]) -> list[tuple[str, Recorder]]:
    """The recording rules of chains, in order, with their keys."""
    recorders = sorted((one for chain in chains for one in chain.recorders), key=lambda one: one.index)
    return list(zip(_numbered(one.rule.key for one in recorders), recorders, strict=True))


def _numbered(keys: Iterable[str]) -> list[str]:
    """Keys, each with its ordinal among equals."""
    seen: dict[str, int] = {}
    made = []
    for key in keys:
        ordinal = seen[key] = seen.get(key, -1) + 1
        made.append(f"{key}{ordinal}")  # a key is a JSON array, and ends where that ends
    return made
