"""`[probe.NAME]` and `[sink.NAME]`: which class, which of its keys, which of ours.

A class is imported when its name stands in the configuration, and not before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec.inspect as mi

from engine.config.checks import check_labels
from engine.config.convert import BAD, Converter
from engine.config.kinds import fields_of
from engine.config.locate import KeyPath
from engine.config.report import Report
from engine.config.shape import ProbeCommon, ProbeConfig, SinkCommon, SinkConfig
from engine.conformance import probe_faults, sink_faults
from engine.durations import Duration
from engine.errors import nearest
from engine.ports import Options
from engine.registry import RegistryError, names, resolve

__all__ = ["check_receivers", "options_of", "probe_config", "sink_config"]


_DEFAULTS = {"probe": ("DEFAULT_INTERVAL", "DEFAULT_TIMEOUT"), "sink": ()}


def probe_config(name: str, table: Mapping[str, Any], converter: Converter) -> ProbeConfig | None:
    """Read `[probe.NAME]`, or report why not."""
    path = ("probe", name)
    found = _leaf("probe", ProbeCommon, table, path, converter)
    common, options = found.common, found.options
    check_labels((*path, "labels"), converter)
    if found.cls is None or any(value is BAD for value in common.values()):
        return None
    interval = common.get("interval") or Duration.parse(found.cls.DEFAULT_INTERVAL)
    timeout = common.get("timeout") or min(Duration.parse(found.cls.DEFAULT_TIMEOUT), interval)
    if timeout > interval:
        told = f" of {interval}" if (*path, "interval") not in converter.from_environment else ""
        message = f"must not be longer than the interval{told}"
        converter.report.error((*path, "timeout"), message, "lower it or raise the interval")
        return None
    if options is None:
        return None
    return ProbeConfig(
        name=name,
        type=found.type,
        factory=found.cls,
        options=options,
        interval=interval,
        timeout=timeout,
        labels=common.get("labels", {}),
        remote=common.get("remote"),
    )


def sink_config(name: str, table: Mapping[str, Any], converter: Converter) -> SinkConfig | None:
    """Read `[sink.NAME]`, or report why not."""
    found = _leaf("sink", SinkCommon, table, ("sink", name), converter)
    if found.cls is None or found.options is None or any(value is BAD for value in found.common.values()):
        return None
    return SinkConfig(
        name=name,
        type=found.type,
        factory=found.cls,
        options=found.options,
        fallback=found.common.get("fallback"),
        messages_per_minute=found.common.get("messages_per_minute"),
    )


def check_receivers(sinks: Sequence[SinkConfig], report: Report) -> None:
    """Report what concerns messages at sinks that take none, and fallbacks that can't be one."""
    receivers = {sink.name: sink for sink in sinks if _takes_messages(sink)}
    for sink in sinks:
        for key, value in (("fallback", sink.fallback), ("messages_per_minute", sink.messages_per_minute)):
            if value is not None and sink.name not in receivers:
                report.error(("sink", sink.name, key), f"a {sink.type} sink takes no messages", _remedy(sink))
        if sink.fallback is None or sink.name not in receivers:
            continue
        path, others = ("sink", sink.name, "fallback"), sorted(set(receivers) - {sink.name})
        if sink.fallback not in others:
            hint = nearest(sink.fallback, others) or (f"known: {', '.join(others)}" if others else "there is no other")
            report.error(path, "expected the name of another sink that takes messages", hint)
        elif receivers[sink.fallback].fallback is not None:
            report.error(path, "this sink has a fallback itself", "a fallback has none of its own")


def _takes_messages(sink: SinkConfig) -> bool:
    return hasattr(sink.factory, "deliver") and bool(getattr(sink.options, "messages", True))


def _remedy(sink: SinkConfig) -> str:
    return "leave it out, or set messages = true" if hasattr(sink.factory, "deliver") else "leave it out"


class _Leaf:
    """What could be read of a table: `cls` and `options` are None where that was reported."""

    def __init__(self, type_name: str, cls: Any, common: dict[str, Any], options: Options | None) -> None:
        self.type = type_name
        self.cls = cls
        self.common = common
        self.options = options


def _leaf(
    kind: Literal["probe", "sink"],
    common: type[Options],
    table: Mapping[str, Any],
    path: tuple[str, str],
    converter: Converter,
) -> _Leaf:
    ours = fields_of(common)
    cls, type_name = _class(kind, table, path, converter)
    own = {key: value for key, value in table.items() if key in ours and key != "type"}
    if cls is None:  # its keys are not known, but ours can be checked
        return _Leaf(type_name, None, converter.table(_without_type(ours), own, path), None)
    theirs = fields_of(cls.Options)
    if clash := sorted(set(ours) & set(theirs)):
        message = f'{kind} type "{type_name}" has an option {clash[0]}, which every {kind} has already'
        converter.report.error(path, message, "this is a fault of its author's")
        return _Leaf(type_name, None, {}, None)
    values = converter.table(fields_of(common, cls.Options), table, path)
    options = {field.name: values[field.name] for field in theirs.values() if field.name in values}
    shared = {field.name: values[field.name] for field in ours.values() if field.name in values}
    return _Leaf(type_name, cls, shared, converter.build(cls.Options, options, path))


def options_of(cls: Any) -> type[Options] | None:
    """The options of a class, or None where it has none that can be read."""
    options = getattr(cls, "Options", None)
    if not (isinstance(options, type) and issubclass(options, Options)):
        return None
    try:
        fields_of(options)
    except (TypeError, NameError):  # an annotation that is no type, or not there at run time
        return None
    return options


def _without_type(fields: Mapping[str, mi.Field]) -> dict[str, mi.Field]:
    return {key: field for key, field in fields.items() if key != "type"}


def _class(
    kind: Literal["probe", "sink"], table: Mapping[str, Any], path: tuple[str, str], converter: Converter
) -> tuple[Any, str]:
    """The class behind a table and its type's name, or None where that was reported."""
    written = "type" in table
    at: KeyPath = (*path, "type") if written else path
    type_name = converter.text(table["type"], at) if written else path[1]
    if type_name is BAD:
        return None, ""
    if at in converter.from_environment and type_name not in names(kind):
        converter.report.error(at, f"the value from the environment is no type of {kind}")
        return None, ""
    try:
        cls = resolve(kind, type_name)
    except RegistryError as error:
        guess = error.hint.startswith("known:") and not written
        hint = f'add type = "...", {error.hint}' if guess else error.hint
        converter.report.error(at, str(error), hint)
        return None, type_name
    except ImportError as error:
        message = f'{kind} type "{type_name}" can\'t be loaded: there is no module {error.name}'
        converter.report.error(at, message, "install it")
        return None, type_name
    faults = [f"no {name}" for name in _DEFAULTS[kind] if not isinstance(getattr(cls, name, None), str)]
    if options_of(cls) is None:
        faults.append("no Options of the type engine.ports.Options")
    faults += probe_faults(cls) if kind == "probe" else sink_faults(cls)
    if faults:
        message = f'{kind} type "{type_name}" has {" and ".join(faults)}'
        converter.report.error(at, message, "this is a fault of its author's")
        return None, type_name
    return cls, type_name
