"""Reading the configuration a verb was given. Here, so that `health` does not import what `run` does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from engine.config import built_in, load
from engine.config.shape import Config

__all__ = ["load_config"]


def load_config(path: Path | None, overrides: Sequence[str]) -> Config:
    """Load a file, or the built-in configuration. Raises `ConfigError` with every problem."""
    if path is None:
        return built_in(overrides, os.environ)
    return load(path, overrides=overrides, environ=os.environ)
