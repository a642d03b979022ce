"""What was wanted beside what was got: for people, side by side. Decides nothing but which belongs to which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from engine.text import clean

__all__ = ["Item", "differences"]

SHOWN_MAX = 20
_PAIRED_MAX = 2_500
_COLUMN_CHARS = 44
_TEXT_CHARS_MAX = 2_000
_NONE = "-"


class Item(NamedTuple):
    """One alert or one sample: what of it is compared, as (name, text); the first ones say which it is."""

    fields: tuple[tuple[str, str], ...]


def differences(wanted: Sequence[Item], got: Sequence[Item]) -> Iterator[str]:
    """Lines that show what is not the same in both; none if all is. Their order does not matter."""
    missing = list((Counter(wanted) - Counter(got)).elements())
    extra = list((Counter(got) - Counter(wanted)).elements())
    pairs = list(_pairs(missing, extra))
    same = len(wanted) - len(missing)
    if same and pairs:
        yield f"as expected: {same}"
    for want, found in pairs[:SHOWN_MAX]:
        yield from _table(want, found)
    if len(pairs) > SHOWN_MAX:
        yield f"and {len(pairs) - SHOWN_MAX} more"


def _pairs(missing: list[Item], extra: list[Item]) -> Iterator[tuple[Item | None, Item | None]]:
    """Those that have most in common belong together."""
    if len(missing) * len(extra) <= _PAIRED_MAX:
        close = sorted(
            ((_likeness(want, found), -m, -e) for m, want in enumerate(missing) for e, found in enumerate(extra)),
            reverse=True,
        )
    else:
        close = [(1, -place, -place) for place in range(min(len(missing), len(extra)))]
    left, right = dict(enumerate(missing)), dict(enumerate(extra))
    for likeness, m, e in close:
        if likeness and -m in left and -e in right:
            yield left.pop(-m), right.pop(-e)
    yield from ((want, None) for want in left.values())
    yield from ((None, found) for found in right.values())


def _likeness(want: Item, found: Item) -> int:
    return len(set(want.fields) & set(found.fields))


def _table(want: Item | None, found: Item | None) -> Iterator[str]:
    if want is None or found is None:
        yield "expected, and not there:" if found is None else "there, and not expected:"
        fields = [(name, text) for item in (want, found) if item is not None for name, text in item.fields]
        width = max((len(name) for name, _ in fields), default=0)
        for name, text in fields:
            yield f"    {name:{width}}  {_shown(text)}"
        return
    texts = dict(want.fields), dict(found.fields)
    names = list(dict.fromkeys([*texts[0], *texts[1]]))
    width = max(len(name) for name in names)
    yield f"    {'':{width}}  {'expected':{_COLUMN_CHARS}}  got"
    for name in names:
        left, right = (_shown(side[name]) if name in side else _NONE for side in texts)
        mark = " " if texts[0].get(name) == texts[1].get(name) else "!"
        if mark == " " and max(len(left), len(right)) > _COLUMN_CHARS:
            yield f"  {mark} {name:{width}}  the same"
        elif max(len(left), len(right)) > _COLUMN_CHARS:
            yield f"  {mark} {name}"
            yield f"      {'expected':{width}}  {left}"
            yield f"      {'got':{width}}  {right}"
        else:
            yield f"  {mark} {name:{width}}  {left:{_COLUMN_CHARS}}  {right}"


def _shown(text: str) -> str:
    return clean(text, _TEXT_CHARS_MAX) or '""'
