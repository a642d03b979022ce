"""Whether a probe or a sink can be one, and if not, what it lacks, in a few words. Looks only, calls nothing.

For third parties' classes and ready-made objects: what is missing is said when it is named, not when it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any, Final, TypeGuard, get_args

from engine.ports import Receiver, RecordKind

__all__ = ["probe_faults", "receives", "sink_faults"]

_KINDS: Final = get_args(RecordKind)
_WANTS: Final = 'WANTS = frozenset({"transitions"})'


def probe_faults(thing: Any) -> list[str]:
    """What a class or an object lacks to be a `Probe`: each as `no collect()`."""
    return [f"no {name}()" for name in ("open", "collect", "close") if not callable(getattr(thing, name, None))]


def receives(sink: object) -> TypeGuard[Receiver]:
    """Whether a sink takes messages: it can, and does not say that it takes none."""
    return isinstance(sink, Receiver) and getattr(sink, "receives", True) is not False


def sink_faults(thing: Any) -> list[str]:
    """What a class or an object lacks to be a `Recorder`, a `Receiver` or `Periodic`: each as `no close()`."""
    return [*_sink_faults(lambda name: callable(getattr(thing, name, None)), getattr(thing, "WANTS", None))]


def _sink_faults(has: Callable[[str], bool], wants: object) -> Iterator[str]:
    for name in ("open", "close"):
        if not has(name):
            yield f"no {name}()"
    if not any(map(has, ("write", "render", "deliver", "tick"))):
        yield f"neither write() and {_WANTS}, to record, nor render() and deliver(), to tell people"
    if has("write"):
        if wants is None:
            yield f"write() but no WANTS, the kinds of records it takes, such as {_WANTS}"
        elif not isinstance(wants, AbstractSet) or not wants <= {*_KINDS}:
            yield f"a WANTS that is not a set of {', '.join(_KINDS)}"
    for name, other in (("render", "deliver"), ("deliver", "render")):
        if has(name) and not has(other):
            yield f"{name}() but no {other}()"
