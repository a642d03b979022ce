"""Longwatch: watches a Python service and its host, and says what has been wrong for long enough.

    from engine import Engine

    async with Engine.from_toml("run.toml") as engine:
        ...

Everything below is public and loaded at first use; `import engine` alone is light and starts nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.config.shape import Config
    from engine.errors import ConfigError, LongwatchError, ProbeError, RuleError, SinkError
    from engine.events import (
        STALE,
        Blind,
        Deployment,
        DomainEvent,
        Event,
        Health,
        Record,
        Sample,
        SampleBatch,
        SecurityViolation,
        TradeClosed,
        Transition,
    )
    from engine.ports import (
        Clock,
        Notification,
        Options,
        Probe,
        ProbeContext,
        Projector,
        Receiver,
        Recorder,
        Sink,
        SinkContext,
    )
    from engine.runtime.engine import Engine
    from engine.series import series_text, split_series
    from engine.status import AlertStatus, ChannelStatus, EngineStatus, ProbeStatus, SinkStatus

    __version__: str

_MODULES = {
    "engine.config.shape": ("Config",),
    "engine.errors": ("ConfigError", "LongwatchError", "ProbeError", "RuleError", "SinkError"),
    "engine.events": (
        "STALE",
        "Blind",
        "Deployment",
        "DomainEvent",
        "Event",
        "Health",
        "Record",
        "Sample",
        "SampleBatch",
        "SecurityViolation",
        "TradeClosed",
        "Transition",
    ),
    "engine.ports": (
        "Clock",
        "Notification",
        "Options",
        "Probe",
        "ProbeContext",
        "Projector",
        "Receiver",
        "Recorder",
        "Sink",
        "SinkContext",
    ),
    "engine.runtime.engine": ("Engine",),
    "engine.series": ("series_text", "split_series"),
    "engine.status": ("AlertStatus", "ChannelStatus", "EngineStatus", "ProbeStatus", "SinkStatus"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "STALE",
    "AlertStatus",
    "Blind",
    "ChannelStatus",
    "Clock",
    "Config",
    "ConfigError",
    "Deployment",
    "DomainEvent",
    "Engine",
    "EngineStatus",
    "Event",
    "Health",
    "LongwatchError",
    "Notification",
    "Options",
    "Probe",
    "ProbeContext",
    "ProbeError",
    "ProbeStatus",
    "Projector",
    "Receiver",
    "Record",
    "Recorder",
    "RuleError",
    "Sample",
    "SampleBatch",
    "SecurityViolation",
    "Sink",
    "SinkContext",
    "SinkError",
    "SinkStatus",
    "TradeClosed",
    "Transition",
    "__version__",
    "series_text",
    "split_series",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        return _version()
    if name not in _HOME:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("longwatch")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "0+unknown"
