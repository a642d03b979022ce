"""Names to classes. What every registered class must be is in test_registry_conformance.py."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from engine import registry
from engine.errors import LongwatchError
from engine.registry import BUILT_IN, RegistryError, names, resolve


class Package:
    name = "some-package"


def install(monkeypatch: pytest.MonkeyPatch, **points: str) -> list[str]:
    """Make entry points known; returns the list of groups that were asked for."""
    asked: list[str] = []

    def entry_points(*, group: str) -> list[EntryPoint]:
        asked.append(group)
        found = [EntryPoint(name, target, group) for name, target in points.items()]
        for point in found:
            vars(point)["dist"] = Package()
        return found

    monkeypatch.setattr(registry, "entry_points", entry_points)
    return asked


def test_a_built_in_is_found_by_name() -> None:
    assert resolve("projector", "events").__name__ == "EventCounter"
    assert "host" in names("probe")


@pytest.mark.parametrize("kind", ["probe", "sink", "projector"])
def test_every_kind_has_names_and_its_own_group(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = install(monkeypatch, extra="collections:OrderedDict")
    assert names(kind) == [*BUILT_IN[kind], "extra"]  # type: ignore[index, arg-type]
    assert asked == [f"longwatch.{kind}s"]


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(RegistryError, match='there is no probe of type "hots"') as refused:
        resolve("probe", "hots")
    assert refused.value.hint == 'did you mean "host"?'
    assert isinstance(refused.value, LongwatchError)
    with pytest.raises(RegistryError) as refused:
        resolve("probe", "zzzz")
    assert refused.value.hint.startswith("known: host, http")


def test_a_third_party_comes_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    from collections import OrderedDict

    install(monkeypatch, extra="collections:OrderedDict")
    assert resolve("probe", "extra") is OrderedDict


def test_a_built_in_cannot_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, host="collections:OrderedDict")
    assert resolve("probe", "host").__module__ == "probes.host"
    assert names("probe").count("host") == 1


@pytest.mark.parametrize("target", ["no_such_module_xyz:Thing", "collections:NoSuchThing"])
def test_a_broken_plugin_hurts_only_who_names_it(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, broken=target)
    assert "broken" in names("probe")
    assert resolve("probe", "http").__module__ == "probes.http"
    with pytest.raises(RegistryError, match='probe "broken" of some-package can\'t be loaded') as refused:
        resolve("probe", "broken")
    assert refused.value.hint == "mend or remove some-package"


@pytest.mark.parametrize("file", ["probes.py", "probes/__init__.py"])
def test_a_package_of_the_current_folder_that_hides_ours_is_named(file: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text('print("this must not run")\n')
    root = Path(registry.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "engine", "check"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert f"{path} hides the package of that name that belongs to longwatch" in done.stdout
    assert "(run `longwatch` instead of `python -m engine`, or start it in another folder)" in done.stdout
    assert "this must not run" not in done.stdout


def test_an_empty_folder_of_that_name_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "probes").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert resolve("probe", "host").__module__ == "probes.host"
