"""Where files are kept, over every environment a run can find."""

import os
import stat
from pathlib import Path

import pytest

from engine.cli.state import StateFolderError, open_to_others, prepare, state_folder

HOME = {"HOME": "/home/ada"}


@pytest.mark.parametrize(
    ("configured", "environ", "folder"),
    [
        (Path("/srv/x"), HOME | {"STATE_DIRECTORY": "/var/lib/y"}, "/srv/x"),
        (None, HOME | {"STATE_DIRECTORY": "/var/lib/y"}, "/var/lib/y"),
        (None, HOME | {"STATE_DIRECTORY": "/var/lib/y:/var/lib/z"}, "/var/lib/y"),
        (None, HOME | {"XDG_STATE_HOME": "/xdg"}, "/xdg/longwatch/trade-1"),
        (None, HOME | {"XDG_STATE_HOME": "relative"}, "/home/ada/.local/state/longwatch/trade-1"),
        (None, HOME, "/home/ada/.local/state/longwatch/trade-1"),
    ],
)
def test_the_first_that_is_known_is_taken(configured: Path | None, environ: dict[str, str], folder: str) -> None:
    assert state_folder("trade-1", configured, environ) == Path(folder)


@pytest.mark.parametrize("environ", [{}, {"HOME": ""}, {"HOME": "relative"}])
def test_without_a_home_the_remedy_is_named(environ: dict[str, str]) -> None:
    """F120."""
    with pytest.raises(StateFolderError, match="--memory"):
        state_folder("x", None, environ)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b"])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(StateFolderError, match=r"engine\.state_dir"):
        state_folder(name, None, HOME)


def test_the_folder_is_made_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    """F120: umask 000."""
    before = os.umask(0)
    try:
        folder = prepare(tmp_path / "a" / "b" / "c")
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list(folder.iterdir()) == []
    assert not open_to_others(folder)


def test_a_folder_that_is_there_is_left_as_it_is_and_told_about(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert prepare(tmp_path) == tmp_path
    assert open_to_others(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_folder_that_cannot_be_made_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateFolderError) as caught:
        prepare(tmp_path / "file" / "folder")
    assert "--memory" in str(caught.value)
    assert "Not a directory" in str(caught.value)
    assert "\n" not in str(caught.value)
