"""The labels of alerts in a column: first, and whole if it can be, what tells the alerts of one rule apart.

Pure functions. How they are written is decided for the alerts of a rule together, so that they can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeAlias

from rich.cells import cell_len

from engine.status import AlertStatus
from engine.view.cells import literal

__all__ = ["columns", "values"]

_FLAPPING = "flapping "
_Way: TypeAlias = Callable[[Sequence[Mapping[str, str]], Sequence[str]], list[str]]


def columns(alerts: Sequence[AlertStatus], cells: int) -> list[str]:
    """The text for each alert, in order; what does not fit into `cells` is still to be cut.

    Names and values if what differs fits; else the values alone; else without the beginning that they share.
    """
    own = [{name: value for name, value in alert.shown_labels.items() if name != "alertname"} for alert in alerts]
    everywhere = set.intersection(*(set(one.items()) for one in own)) if len(own) > 1 else set()
    by_rule: dict[str, list[int]] = {}
    for at, alert in enumerate(alerts):
        by_rule.setdefault(alert.rule, []).append(at)
    texts = [""] * len(alerts)
    for places in by_rule.values():
        room = cells - len(_FLAPPING) * any(alerts[at].flapping for at in places)
        made = _texts([own[at] for at in places], {name for name, _ in everywhere}, room, (_named, _bare))
        for at, text in zip(places, made, strict=True):
            texts[at] = _FLAPPING * alerts[at].flapping + text
    return texts


def values(labels: Sequence[Mapping[str, str]], cells: int) -> list[str]:
    """The values alone of the labels of one metric's series, in order, each still to be cut to `cells`."""
    return _texts(labels, frozenset(), cells, (_bare,))


def _texts(
    labels: Sequence[Mapping[str, str]],
    everywhere: AbstractSet[str],
    cells: int,
    ways: Sequence[_Way],
) -> list[str]:
    """Of what belongs together: in the first of the ways in which what differs fits, else without its common beginning.

    What is everywhere comes last."""
    names = sorted({name for one in labels for name in one})
    differ = [name for name in names if len({one.get(name) for one in labels}) > 1]
    # The severity is the rule's own most often, and not what the alert is about.
    same = sorted((name == "severity", name in everywhere, name) for name in names if name not in differ)
    order = [*differ, *(name for _, _, name in same)]
    first = max(len(differ), 1)
    made = ((write, write(labels, order[:first])) for write in ways)
    fitting = ((write, heads) for write, heads in made if all(cell_len(head) <= cells for head in heads))
    write, heads = next(fitting, (_short, _short(labels, order[:first])))
    tails = (_named if write is _named else _bare)(labels, order[first:])
    return [f"{head} {tail}".strip() for head, tail in zip(heads, tails, strict=True)]


def _named(labels: Sequence[Mapping[str, str]], names: Sequence[str]) -> list[str]:
    return [literal(" ".join(f"{name}={one[name]}" for name in names if name in one)) for one in labels]


def _bare(labels: Sequence[Mapping[str, str]], names: Sequence[str]) -> list[str]:
    return [literal(" ".join(one[name] for name in names if name in one)) for one in labels]


def _short(labels: Sequence[Mapping[str, str]], names: Sequence[str]) -> list[str]:
    shared = {name: _shared([one[name] for one in labels if name in one]) for name in names}
    return [
        literal(" ".join("…" * (shared[name] > 0) + one[name][shared[name] :] for name in names if name in one))
        for one in labels
    ]


def _shared(values: Sequence[str]) -> int:
    """How many characters all values begin with, up to the end of a word: the `1` of `a-1` and `a-12` stays."""
    if len(set(values)) < 2:
        return 0
    first, last = min(values), max(values)  # what these share, all do
    size = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    end = next((at for at in range(size, 0, -1) if not first[at - 1].isalnum()), 0)
    return end if end > 1 else 0
