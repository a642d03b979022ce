"""Names to classes: built-ins by dotted string, third parties by entry point. Data, not behaviour.

Nothing is imported before it is asked for, so `import engine` stays small and a broken plugin hurts
only those who name it.
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import Any, Literal, TypeAlias

from engine.errors import LongwatchError, nearest

__all__ = ["BUILT_IN", "RegistryError", "names", "resolve"]

Kind: TypeAlias = Literal["probe", "sink", "projector"]

BUILT_IN: dict[Kind, dict[str, str]] = {
    "probe": {
        "host": "probes.host:HostProbe",
        "http": "probes.http:HttpProbe",
    },
    "sink": {
        "console": "sinks.console:ConsoleSink",
        "sqlite": "sinks.sqlite:SqliteSink",
        "webhook": "sinks.webhook:WebhookSink",
    },
    "projector": {
        "health": "engine.core.projectors:HealthProjector",
        "events": "engine.core.projectors:EventCounter",
    },
}


class RegistryError(LongwatchError):
    """A name is unknown, or what stands behind it can't be loaded. `hint` says what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(message)


def names(kind: Kind) -> list[str]:
    """Every name known for a kind, built-ins first. Entry points are listed, not loaded."""
    return [*BUILT_IN[kind], *(point.name for point in _points(kind))]


def resolve(kind: Kind, name: str) -> Any:
    """Return the class registered as `name`.

    Raises:
        RegistryError: The name is unknown, or importing the class failed; built-ins can't be replaced.
    """
    if dotted := BUILT_IN[kind].get(name):
        module, _, attribute = dotted.partition(":")
        return getattr(importlib.import_module(module), attribute)
    for point in _points(kind):
        if point.name == name:
            try:
                return point.load()
            except Exception as error:
                owner = point.dist.name if point.dist else "an installed package"
                raise RegistryError(
                    f'{kind} "{name}" of {owner} can\'t be loaded: {type(error).__name__}: {error}',
                    f"mend or remove {owner}",
                ) from error
    known = names(kind)
    raise RegistryError(
        f'there is no {kind} of type "{name}"',
        nearest(name, known) or f"known: {', '.join(known)}",
    )


def _points(kind: Kind) -> list[Any]:
    return [point for point in entry_points(group=f"longwatch.{kind}s") if point.name not in BUILT_IN[kind]]
