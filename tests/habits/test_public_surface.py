"""`engine.__all__` is the public surface: whole, lazy and light."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import engine

# What a service must not pay for when it only emits events.
HEAVY = {"aiohttp", "aiosqlite", "jinja2", "prometheus_client", "rich"}

# Sub-modules that are public by their own name, though `engine` does not re-export them.
PUBLIC_MODULES = {"errors", "events", "ports", "series", "testing"}


@pytest.mark.parametrize("name", engine.__all__)
def test_each_public_name_resolves(name: str) -> None:
    assert getattr(engine, name) is not None


def test_public_names_are_listed_once_and_are_public() -> None:
    assert len(engine.__all__) == len(set(engine.__all__))
    assert not [name for name in engine.__all__ if name.startswith("_") and name != "__version__"]


def test_dir_shows_every_public_name() -> None:
    assert set(engine.__all__) <= set(dir(engine))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        engine.no_such_name  # noqa: B018  # the access is the test


def test_nothing_else_is_public() -> None:
    """What a fresh `import engine` has without an underscore is in `__all__`, or is a sub-module."""
    report = _in_fresh_interpreter(
        "import engine, types; print(json.dumps([name for name, value in vars(engine).items()"
        " if not name.startswith('_') and not isinstance(value, types.ModuleType)]))"
    )
    assert set(report) - set(engine.__all__) - {"annotations", "TYPE_CHECKING"} == set()


def test_type_checkers_see_the_same_names_as_the_interpreter() -> None:
    """The lazy table and the imports under TYPE_CHECKING can drift apart; this is what notices."""
    tree = ast.parse(Path(engine.__file__).read_text(encoding="utf-8"))
    seen = {"__version__"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            seen |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            seen.add(node.name)
        elif isinstance(node, ast.Assign):
            seen |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            seen.add(node.target.id)
    assert set(engine.__all__) - seen == set()


@pytest.mark.parametrize("module", ["engine", *(f"engine.{name}" for name in sorted(PUBLIC_MODULES - {"testing"}))])
def test_import_is_light(module: str) -> None:
    loaded = _in_fresh_interpreter(f"import {module}; print(json.dumps(sorted(sys.modules)))")
    assert HEAVY & {name.partition(".")[0] for name in loaded} == set()


def _in_fresh_interpreter(code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import json, sys; " + code],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))
