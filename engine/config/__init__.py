"""Configuration: `run.toml` and what stands beside it, to frozen structs or to every problem at once."""

from __future__ import annotations

from engine.config.json_schema import schema
from engine.config.load import Examined, built_in, examine, load, load_text
from engine.config.shape import (
    Config,
    EngineTable,
    ProbeCommon,
    ProbeConfig,
    RuleConfig,
    RuleTable,
    SinkCommon,
    SinkConfig,
)

__all__ = [
    "Config",
    "EngineTable",
    "Examined",
    "ProbeCommon",
    "ProbeConfig",
    "RuleConfig",
    "RuleTable",
    "SinkCommon",
    "SinkConfig",
    "built_in",
    "examine",
    "load",
    "load_text",
    "schema",
]
