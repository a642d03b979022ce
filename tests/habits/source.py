"""The project's own source as syntax trees, for the tests that read it."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("engine", "probes", "sinks")


class Source(NamedTuple):
    """One file: its path from the root with forward slashes, and its tree."""

    path: str
    tree: ast.Module

    @property
    def module(self) -> str:
        """The dotted name it is imported by."""
        parts = self.path.removesuffix(".py").split("/")
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def sources(*folders: str) -> tuple[Source, ...]:
    """Every Python file under the folders, parsed."""
    return tuple(
        Source(path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"), str(path)))
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
    )


def parse(text: str, path: str = "engine/example.py") -> Source:
    """A piece of code as if it were a file of the project."""
    return Source(path, ast.parse(text))


def run_time_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node below `tree`, but not what stands under `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and dotted(child.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            for other in child.orelse:
                yield other
                yield from run_time_nodes(other)
            continue
        yield child
        yield from run_time_nodes(child)


def dotted(node: ast.AST) -> str:
    """`a.b.c` for a chain of names and attributes; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr}" if head else ""
    return ""


def imported_names(tree: ast.AST) -> dict[str, str]:
    """Local name -> what it stands for: `from time import time as now` gives now -> time.time."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    names[alias.asname] = alias.name
                else:
                    head = alias.name.partition(".")[0]
                    names[head] = head
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def imports(source: Source) -> Iterator[tuple[int, str]]:
    """(line, module) of each import that happens at run time; `from a import b` gives `a.b`."""
    for node in run_time_nodes(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                yield node.lineno, "." * node.level + base
            else:
                for alias in node.names:
                    yield node.lineno, f"{base}.{alias.name}"


def full_name(node: ast.AST, names: dict[str, str]) -> str:
    """The dotted name with its first part replaced by what it was imported as."""
    name = dotted(node)
    head, dot, rest = name.partition(".")
    return names.get(head, head) + dot + rest if name else ""
