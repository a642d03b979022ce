"""The examples of docs/embedding.md run as they stand."""

import ast
import asyncio
import re
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from engine.clock import SystemClock
from engine.config.load import load_text
from engine.config.shape import Config, RuleConfig, RuleTable
from engine.testing import FunctionProbe, RecordingSink

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "embedding.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def compiled(code: str, names: dict[str, Any]) -> Callable[[], Awaitable[dict[str, Any]]]:
    """The example as the body of an async function."""
    tree = ast.parse("async def example():\n" + textwrap.indent(code, "    ") + "\n    return locals()")
    exec(compile(tree, "docs/embedding.md", "exec"), names)
    function: Callable[[], Awaitable[dict[str, Any]]] = names["example"]
    return function


def test_the_first_example_is_five_lines() -> None:
    lines = [line for line in EXAMPLES[0].splitlines() if line.strip()]
    assert len(lines) <= 5
    assert len(EXAMPLES) == 4


async def test_the_first_example_watches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run.toml").write_text(
        "[rule.Loss]\nexpr = 'longwatch_events_total{type=\"trade_closed\"} > 0'\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    served = []

    async def serve() -> None:
        served.append(1)

    result = await compiled(EXAMPLES[0], {"now_ms": SystemClock().now_ms, "serve": serve})()
    assert served == [1]
    assert result["engine"].status().phase == "stopped"
    assert [(a.rule, a.state) for a in result["engine"].alerts()] == [("Loss", "firing")]


async def test_own_events_and_own_parts() -> None:
    result = await compiled(EXAMPLES[1], {"config": Config()})()
    kind, engine = result["OrderRejected"], result["engine"]
    async with engine:
        assert engine.emit(kind(time_ms=SystemClock().now_ms(), venue="X"))
    names = {
        "config": Config(),
        "Engine": type(engine),
        "MySink": RecordingSink,
        "OrderProbe": lambda: FunctionProbe(list),
    }
    result = await compiled(EXAMPLES[2], names)()
    async with result["engine"] as engine:
        await asyncio.sleep(0)
        assert [probe.name for probe in engine.status().probes] == ["orders"]


def test_the_test_example_under_virtual_time() -> None:
    config = Config(rules=(RuleConfig(name="Hot", table=RuleTable(expr="cpu > 90")),))
    code = EXAMPLES[3].replace("run_virtual(main)", "kinds = run_virtual(main)")
    names: dict[str, Any] = {"config": config}
    exec(compile(code, "docs/embedding.md", "exec"), names)
    assert names["kinds"] == ["firing"]


def test_the_toml_of_the_metrics_page_is_a_rule() -> None:
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    (toml,) = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert [rule.name for rule in load_text(toml).rules] == ["SamplesLost"]
