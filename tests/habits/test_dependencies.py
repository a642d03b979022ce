"""Every dependency is declared, locked and has its reason."""

import re
import sys
import tomllib
from importlib.metadata import packages_distributions

from tests.habits.source import PRODUCT, ROOT, imports, sources

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def distribution(requirement: str) -> str:
    """The normalised name at the front of a requirement."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None
    return normal(match[0])


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# Declared, but not imported by anything yet -> what it is there for.
NOT_YET: dict[str, str] = {}

# What an extra for users brings, by the name it is imported under: it need not be installed.
EXTRAS = {"re2": "google-re2"}

RUN_TIME = {distribution(line) for line in PROJECT["dependencies"]}
ALL = RUN_TIME | {distribution(line) for extra in PROJECT["optional-dependencies"].values() for line in extra}


def test_every_dependency_has_its_reason() -> None:
    page = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    reasons = {normal(name) for name in re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)}
    assert ALL - reasons == set()
    assert reasons - ALL == set(), "has a reason but is not a dependency"


def test_every_dependency_is_locked() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    locked = {distribution(line) for line in lines if line and not line.startswith("#")}
    assert ALL - locked == set()
    assert [line for line in lines if line and not line.startswith("#") and "==" not in line] == []


def test_the_product_imports_only_what_it_declares() -> None:
    owners = packages_distributions()
    undeclared = [
        f"{source.path}:{line}: {name}"
        for source in sources(*PRODUCT)
        for line, name in imports(source)
        if (root := name.partition(".")[0]) not in {*PRODUCT, "", *EXTRAS, *sys.stdlib_module_names}
        and not RUN_TIME & {normal(owner) for owner in owners.get(root, ())}
    ]
    assert undeclared == []


def test_what_an_extra_brings_is_declared_there() -> None:
    extras = PROJECT["optional-dependencies"]
    assert all(distribution(extras[name][0]) == package for name, package in EXTRAS.items())
    imported = {name.partition(".")[0] for source in sources(*PRODUCT) for _, name in imports(source)}
    assert EXTRAS.keys() <= imported


def test_every_declared_dependency_is_imported() -> None:
    owners = packages_distributions()
    used = {
        normal(owner)
        for source in sources(*PRODUCT)
        for _, name in imports(source)
        for owner in owners.get(name.partition(".")[0], ())
    }
    assert RUN_TIME - used == set(NOT_YET)
