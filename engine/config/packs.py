"""Built-in rules, and the configuration used when there is none. Both are TOML, read by the same loader."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from engine.config.document import Document, parse_document

__all__ = ["BUILT_IN_NAME", "BUILT_IN_TOML", "merge_rules", "pack_names", "read_pack"]

BUILT_IN_NAME: Final = "built-in configuration"
BUILT_IN_TOML: Final = """\
[engine]
packs = ["host"]

[probe.host]

[sink.console]
"""


def pack_names() -> list[str]:
    """Every pack, in alphabetical order."""
    found = (item.name for item in (files("engine") / "packs").iterdir())
    return sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml"))


def read_pack(name: str) -> Document:
    """Parse a pack of `pack_names`."""
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
