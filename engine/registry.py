"""Names to classes: built-ins by dotted string, third parties by entry point. Data, not behaviour.

Nothing is imported before it is asked for, so `import engine` stays small and a broken plugin hurts
only those who name it.
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeAlias

from engine.errors import LongwatchError, nearest
from engine.text import clean

__all__ = ["BUILT_IN", "RegistryError", "names", "resolve"]

_PACKAGES = Path(__file__).resolve().parents[1]
"""Where `engine`, `probes` and `sinks` are, side by side."""
_BESIDE_US = ("probes", "sinks")

Kind: TypeAlias = Literal["probe", "sink", "projector"]

BUILT_IN: dict[Kind, dict[str, str]] = {
    "probe": {
        "host": "probes.host:HostProbe",
        "http": "probes.http:HttpProbe",
        "scrape": "probes.scrape:ScrapeProbe",
    },
    "sink": {
        "alertmanager": "sinks.alertmanager:AlertmanagerSink",
        "console": "sinks.console:ConsoleSink",
        "heartbeat": "sinks.heartbeat:HeartbeatSink",
        "jsonl": "sinks.jsonl:JsonlSink",
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
        RegistryError: The name is unknown, or importing the class failed; built-ins can't be replaced. Or another
            package of the name of ours is found before it.
    """
    if dotted := BUILT_IN[kind].get(name):
        module, _, attribute = dotted.partition(":")
        if hiding := _hiding(module.partition(".")[0]):
            raise RegistryError(
                f'{kind} "{name}" can\'t be loaded: {hiding} hides the package of that name that belongs to longwatch',
                "run `longwatch` instead of `python -m engine`, or start it in another folder",
            )
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


def _hiding(package: str) -> str:
    """The file that is imported in place of a package of ours, such as a `probes.py` in the current folder."""
    if package not in _BESIDE_US:
        return ""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return ""
    found = Path(spec.origin).resolve()
    return "" if found.is_relative_to(_PACKAGES / package) else clean(str(found))


def _points(kind: Kind) -> list[Any]:
    return [point for point in entry_points(group=f"longwatch.{kind}s") if point.name not in BUILT_IN[kind]]
