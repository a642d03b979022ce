"""`schema`: the JSON Schema of run.toml, for editors."""

from __future__ import annotations

import json
from typing import TextIO

from engine.config import schema

__all__ = ["run_schema"]


def run_schema(stream: TextIO) -> int:
    """Print the schema of this installation, plugins included. Returns 0."""
    print(json.dumps(schema(), indent=2), file=stream)
    return 0
