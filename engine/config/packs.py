"""Built-in rules, and the configuration used when there is none. Both are TOML, read by the same loader.

A pack may have places in its texts, written `@{name}`: what `[pack.NAME]` says goes there. The texts that are put in
come from the pack's own module, which makes them of what the operator wrote; here nothing is judged any more.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, NamedTuple

from engine.config.checks import named_tables
from engine.config.convert import Converter
from engine.config.document import Document, parse_document
from engine.config.kinds import fields_of
from engine.config.locate import KeyPath
from engine.config.pack_service import ServicePack, check_service, service_texts
from engine.config.report import quote
from engine.errors import nearest
from engine.ports import Options

__all__ = [
    "BUILT_IN_NAME",
    "BUILT_IN_TOML",
    "PACK_KEYS",
    "fill",
    "merge_rules",
    "pack_names",
    "pack_texts",
    "read_pack",
]

BUILT_IN_NAME: Final = "built-in configuration"
BUILT_IN_TOML: Final = """\
[engine]
packs = ["host"]

[probe.host]

[sink.console]
"""


class PackKeys(NamedTuple):
    """What `[pack.NAME]` can say.

    Args:
        options: Its keys.
        check: Reports values that have the right type and can't be used all the same.
        texts: What goes into the places of the pack, by their names; None if nothing does.
    """

    options: type[Options]
    check: Callable[[Mapping[str, Any], KeyPath, Converter], None]
    texts: Callable[[Any], Mapping[str, str | None]]


PACK_KEYS: Final[Mapping[str, PackKeys]] = {"service": PackKeys(ServicePack, check_service, service_texts)}
"""The packs that have a table of their own."""

_PLACE = re.compile(r"@\{(\w+)\}")


def pack_names() -> list[str]:
    """Every pack, in alphabetical order."""
    found = (item.name for item in (files("engine") / "packs").iterdir())
    return sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml"))


@functools.lru_cache(maxsize=16)
def read_pack(name: str) -> Document:
    """A pack of `pack_names`; its places are still open. It is parsed once, and must not be changed."""
    text = (files("engine") / "packs" / f"{name}.toml").read_text(encoding="utf-8")
    return parse_document(text, f'pack "{name}"', Path())


def merge_rules(packs: list[Document], own: dict[str, Any]) -> dict[str, Any]:
    """Return the rules of packs with the operator's keys over them, then the operator's other rules.

    A key replaces the pack's key as a whole: `labels` are not merged.
    """
    rules: dict[str, Any] = {name: rule for pack in packs for name, rule in pack.tree["rule"].items()}
    for name, rule in own.items():
        pack_rule = rules.get(name)
        rules[name] = pack_rule | rule if isinstance(pack_rule, dict) and isinstance(rule, dict) else rule
    return rules


def pack_texts(tables: Any, loaded: Iterable[str], converter: Converter) -> dict[str, Mapping[str, str | None]]:
    """Read the tables `[pack.NAME]`; what is wrong goes to the report.

    Args:
        loaded: The packs of `engine.packs`.

    Returns:
        The texts for the places of each pack that has some: with its defaults where its table is missing or wrong.
    """
    texts = {name: keys.texts(keys.options()) for name, keys in PACK_KEYS.items()}
    for name, table in named_tables("pack", tables, converter).items():
        path: KeyPath = ("pack", name)
        if name not in pack_names():
            hint = nearest(name, list(PACK_KEYS)) or f"known: {', '.join(PACK_KEYS)}"
            converter.report.error(path, f"there is no pack {quote(name)}", hint)
        elif name not in PACK_KEYS:
            converter.report.error(path, "this pack has no keys", "change its rules with [rule.NAME]")
        else:
            keys = PACK_KEYS[name]
            values = converter.table(fields_of(keys.options), table, path)
            problems = converter.report.count
            keys.check(values, path, converter)
            options = converter.build(keys.options, values, path)
            if options is not None and converter.report.count == problems:
                texts[name] = keys.texts(options)
            if name not in loaded:
                converter.report.warn(path, "the pack is not loaded", f'add packs = ["{name}"] to [engine]')
    return texts


def fill(pack: Document, texts: Mapping[str, str | None]) -> Document:
    """Put texts into the places of a pack. A dollar sign in them stands for itself: no variable is looked up. A key
    whose value has a place for which there is none is left out."""

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: new for key, item in value.items() if (new := filled(item)) is not None}
        if not isinstance(value, str):
            return value
        here = {name: texts[name] for name in _PLACE.findall(value)}
        if None in here.values():
            return None
        return _PLACE.sub(lambda place: (here[place[1]] or "").replace("$", "$$"), value)

    return pack._replace(tree=filled(pack.tree))
