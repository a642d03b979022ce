"""Two sinks that would write one file."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config import load_text
from engine.errors import ConfigError

HINT = "(give one of them another path)"


def problems(text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_text(text, overrides=overrides)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(("type_name", "file"), [("jsonl", "notifications.jsonl"), ("sqlite", "history.db")])
def test_two_sinks_of_one_default_file_are_named_both(type_name: str, file: str) -> None:
    text = f'[sink.a]\ntype = "{type_name}"\n[sink.console]\n[sink.b]\ntype = "{type_name}"\n'
    assert problems(text) == [f"run.toml:4: sink.b.path: writes {file} in the state folder, as sink.a does {HINT}"]


def test_the_default_file_written_out_is_the_same_file(tmp_path: Path) -> None:
    text = f'[engine]\nstate_dir = "{tmp_path}"\n[sink.a]\ntype = "jsonl"\n[sink.b]\ntype = "jsonl"\n'
    text += f'path = "{tmp_path}/x/../notifications.jsonl"\n'
    assert problems(text) == [f"run.toml:7: sink.b.path: writes {tmp_path}/notifications.jsonl, as sink.a does {HINT}"]


def test_one_written_path_for_several(tmp_path: Path) -> None:
    text = "".join(f'[sink.{name}]\ntype = "jsonl"\npath = "{tmp_path}/x.jsonl"\n' for name in "abc")
    assert problems(text) == [
        f"run.toml:6: sink.b.path: writes {tmp_path}/x.jsonl, as sink.a does {HINT}",
        f"run.toml:9: sink.c.path: writes {tmp_path}/x.jsonl, as sink.a does {HINT}",
    ]


def test_a_path_is_relative_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = f'[sink.a]\ntype = "jsonl"\npath = "x.jsonl"\n[sink.b]\ntype = "jsonl"\npath = "{tmp_path}/x.jsonl"\n'
    assert problems(text) == [f"run.toml:6: sink.b.path: writes {tmp_path}/x.jsonl, as sink.a does {HINT}"]


def test_files_of_their_own_are_fine() -> None:
    text = '[sink.a]\ntype = "jsonl"\n[sink.b]\ntype = "jsonl"\npath = "b.jsonl"\n[sink.c]\ntype = "sqlite"\n'
    assert [sink.name for sink in load_text(text + "[sink.console]\n").sinks] == ["a", "b", "c", "console"]
