"""Reading the configuration a verb was given, and where its files are. Here, so that verbs that ask an engine do not
import what `run` does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from engine.cli.state import state_folder
from engine.config import built_in, load
from engine.config.shape import Config, EngineTable

__all__ = ["folder_of", "load_config"]


def load_config(path: Path | None, overrides: Sequence[str]) -> Config:
    """Load a file, or the built-in configuration. Raises `ConfigError` with every problem."""
    if path is None:
        return built_in(overrides, os.environ)
    return load(path, overrides=overrides, environ=os.environ)


def folder_of(path: Path | None, overrides: Sequence[str]) -> Path:
    """The state folder of a run with that configuration, found as `run` finds it.

    Raises:
        ConfigError: The configuration can't be used.
        StateFolderError: There is no such folder.
    """
    table = EngineTable()  # of a run without a configuration; reading that would take longer than the answer
    if path is not None or overrides:
        table = load_config(path, overrides).engine
    return state_folder(table.name, table.state_dir, os.environ)
