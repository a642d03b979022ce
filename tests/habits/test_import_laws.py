"""Who may import whom (CONTRIBUTING.md, "The laws"; the contracts are in pyproject.toml).

import-linter follows chains but knows only what is forbidden. The tests on syntax trees below know what is
allowed, so that a module added tomorrow is closed until somebody opens it here.
"""

import subprocess
import sys

import pytest

from tests.habits.source import ROOT, Source, imports, parse, sources

# What the core may use: values of the engine, arrays, structs, the parser, and those parts of the standard
# library that neither read the world nor change it.
CORE_MAY_IMPORT = {
    # engine
    "engine.core",
    "engine.codec",
    "engine.durations",
    "engine.errors",
    "engine.events",
    "engine.ports",
    "engine.series",
    "engine.status",
    "engine.text",
    # third parties
    "msgspec",
    "numpy",
    "promql_parser",
    "re2",  # the extra: matching, as the standard `re`, and nothing else
    # standard library
    "__future__",
    "abc",
    "array",
    "bisect",
    "calendar",
    "collections",
    "contextlib",
    "copy",
    "dataclasses",
    "datetime",  # arithmetic on dates; reading the clock through it is banned in test_banned.py
    "difflib",
    "enum",
    "fractions",
    "functools",
    "graphlib",
    "hashlib",
    "heapq",
    "itertools",
    "json",
    "math",
    "operator",
    "re",
    "statistics",
    "string",
    "struct",
    "types",
    "typing",
    "weakref",
    "zlib",
    "zoneinfo",
}

# What a probe or a sink may see of the engine; the same list is in pyproject.toml, for import-linter.
LEAF_MAY_IMPORT = {
    "engine.codec",
    "engine.durations",
    "engine.errors",
    "engine.events",
    "engine.ports",
    "engine.resolver",
    "engine.secrets",
    "engine.series",
    "engine.templates.bodies",
    "engine.telling",
    "engine.text",
}

# Values import nothing of the engine but values.
VALUES = {
    "engine.codec",
    "engine.durations",
    "engine.errors",
    "engine.events",
    "engine.series",
    "engine.telling",
    "engine.text",
}


def allowed(module: str, among: set[str]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in among)


def core_breaches(source: Source) -> list[str]:
    return [f"{source.path}:{line}: {name}" for line, name in imports(source) if not allowed(name, CORE_MAY_IMPORT)]


def leaf_breaches(source: Source) -> list[str]:
    return [
        f"{source.path}:{line}: {name}"
        for line, name in imports(source)
        if name.startswith(".")
        or (name.partition(".")[0] == "engine" and not allowed(name, LEAF_MAY_IMPORT))
        or (name.partition(".")[0] in {"probes", "sinks"} and name.partition(".")[0] != source.module.partition(".")[0])
    ]


def test_import_linter_contracts_hold() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command as main; main()",
            "--no-cache",
            "--no-logo",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_core_imports_only_what_is_pure() -> None:
    assert [breach for source in sources("engine/core") for breach in core_breaches(source)] == []


def test_values_import_only_values() -> None:
    breaches = [
        f"{source.path}:{line}: {name}"
        for source in sources("engine")
        if source.module in VALUES
        for line, name in imports(source)
        if name.partition(".")[0] == "engine" and not allowed(name, VALUES)
    ]
    assert breaches == []


def test_engine_names_no_probe_and_no_sink_in_an_import() -> None:
    breaches = [
        f"{source.path}:{line}: {name}"
        for source in sources("engine")
        for line, name in imports(source)
        if name.partition(".")[0] in {"probes", "sinks"}
    ]
    assert breaches == []


def test_leaves_import_only_values_and_seams() -> None:
    assert [breach for source in sources("probes", "sinks") for breach in leaf_breaches(source)] == []


@pytest.mark.parametrize(
    "code",
    [
        "import time",
        "from os import environ",
        "import engine.runtime.pipeline",
        "from engine import clock",
        "import random",
    ],
)
def test_the_core_rule_sees_a_breach(code: str) -> None:
    assert core_breaches(parse(code, "engine/core/x.py"))


@pytest.mark.parametrize(
    "code",
    [
        "import numpy as np",
        "from engine.events import Sample",
        "if TYPE_CHECKING:\n    import asyncio",
        "from engine.core import store",
    ],
)
def test_the_core_rule_lets_pass(code: str) -> None:
    assert core_breaches(parse(code, "engine/core/x.py")) == []


@pytest.mark.parametrize(
    "code",
    [
        "from engine.core import store",
        "import engine",
        "from engine import Engine",
        "import sinks.webhook",
        "from . import http",
    ],
)
def test_the_leaf_rule_sees_a_breach(code: str) -> None:
    assert leaf_breaches(parse(code, "probes/x.py"))


@pytest.mark.parametrize(
    "code", ["import psutil", "from engine.ports import Probe", "from probes.http import HttpProbe"]
)
def test_the_leaf_rule_lets_pass(code: str) -> None:
    assert leaf_breaches(parse(code, "probes/x.py")) == []
