"""What is in the wheel: three typed packages with their data, and nothing of the workshop."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.habits.source import PRODUCT, ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files in a wheel built from this tree."""
    out = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        # No isolation: the back end is a development dependency, so this test needs no network.
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = out.glob("longwatch-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_only_the_three_packages_are_in_it(names: set[str]) -> None:
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PRODUCT)


@pytest.mark.parametrize("package", PRODUCT)
def test_each_package_is_typed(names: set[str], package: str) -> None:
    assert f"{package}/py.typed" in names


def test_nothing_of_the_tree_is_missing(names: set[str]) -> None:
    tree = {
        path.relative_to(ROOT).as_posix()
        for package in PRODUCT
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    assert tree - names == set()


def test_licence_and_entry_point_are_in_it(names: set[str]) -> None:
    endings = {Path(name).name for name in names if ".dist-info/" in name}
    assert {"LICENSE", "entry_points.txt", "METADATA"} <= endings
