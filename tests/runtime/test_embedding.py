"""The examples of docs/embedding.md run as they stand."""

import ast
import asyncio
import functools
import re
import sys
import textwrap
import tomllib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from engine import Engine
from engine.clock import SystemClock
from engine.config import schema
from engine.config.cross import cross_check
from engine.config.load import load_text
from engine.config.shape import Config, RuleConfig, RuleTable
from engine.testing import VirtualClock, VirtualLoop, run_virtual

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "embedding.md").read_text(encoding="utf-8")
ALL = re.findall(r"^```(python|toml)\n(?:# (\S+\.(?:py|toml))\n)?(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
EXAMPLES = [code for language, file, code in ALL if language == "python" and not file]
FILES = {file: code for _, file, code in ALL if file}


def compiled(code: str, names: dict[str, Any]) -> Callable[[], Awaitable[dict[str, Any]]]:
    """The example as the body of an async function."""
    tree = ast.parse("async def example():\n" + textwrap.indent(code, "    ") + "\n    return locals()")
    exec(compile(tree, "docs/embedding.md", "exec"), names)
    function: Callable[[], Awaitable[dict[str, Any]]] = names["example"]
    return function


def test_the_first_example_is_five_lines() -> None:
    lines = [line for line in EXAMPLES[0].splitlines() if line.strip()]
    assert len(lines) <= 5
    assert len(EXAMPLES) == 5


async def test_the_first_example_watches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run.toml").write_text(
        "[rule.Loss]\nexpr = 'longwatch_events_total{type=\"trade_closed\"} > 0'\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    served = []

    async def serve() -> None:
        served.append(1)

    result = await compiled(EXAMPLES[0], {"serve": serve})()
    assert served == [1]
    assert result["engine"].status().phase == "stopped"
    assert [(a.rule, a.state) for a in result["engine"].alerts()] == [("Loss", "firing")]


async def test_a_configuration_is_read_from_a_file_or_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run.toml").write_text("[sink.console]\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    result = await compiled(EXAMPLES[1], {})()
    assert [rule.name for rule in result["engine"].config.rules] == ["SlowOrders"]


@pytest.mark.parametrize("path", ["run.toml", Path("run.toml"), {}])
def test_a_path_is_no_configuration(path: Any) -> None:
    with pytest.raises(TypeError, match=rf"config is a {type(path).__name__}; .* Engine\.from_toml\(path\)"):
        Engine(path)


async def test_own_events_and_own_parts() -> None:
    result = await compiled(EXAMPLES[2], {"config": Config()})()
    kind, engine = result["OrderRejected"], result["engine"]
    async with engine:
        assert engine.emit(kind(time_ms=SystemClock().now_ms(), venue="X"))


def test_a_probe_that_is_any_object() -> None:
    async def main(clock: VirtualClock) -> None:
        names = {
            "config": Config(),
            "Engine": functools.partial(Engine, clock=clock),
        }
        result = await compiled(EXAMPLES[3], names)()
        async with result["engine"] as engine:
            await clock.sleep(5)
            (probe,) = engine.status().probes
            assert (probe.name, probe.interval_ms, probe.status, probe.failures_total) == ("orders", 1_000, "ok", 0)
            assert engine.status().counters["longwatch_samples_accepted_total"] > 3

    run_virtual(main)


def test_a_third_party_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Installed as pip would: the module, and beside it its metadata with the entry points."""
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    (tmp_path / "longwatch_orders.py").write_text(FILES["longwatch_orders.py"], encoding="utf-8")
    info = tmp_path / "longwatch_orders-0.1.0.dist-info"
    info.mkdir()
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(head, encoding="utf-8")
    points = [
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("".join(points), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    spool = tmp_path / "spool"
    spool.mkdir()
    (spool / "1").touch()
    (spool / "2").touch()
    config = load_text(FILES["run.toml"].replace("/var/spool/orders", str(spool)))
    assert cross_check(config) == ()
    options = schema()["$defs"]["probe.orders"]["properties"]
    assert options["limit"]["description"] == "How many are counted at most."

    async def main(clock: VirtualClock) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        async with Engine(config, clock=clock) as engine:
            for _ in range(8):
                await clock.sleep(1)
                with loop.hold():  # the probe counts on a real thread
                    while engine.status().counters["longwatch_thread_calls"]:
                        await asyncio.sleep(0)
            assert [probe.status for probe in engine.status().probes] == ["ok"]

    run_virtual(main)
    told = [record.getMessage() for record in caplog.records if record.name == "orders"]
    assert told == ["pending ManyOrders", "firing ManyOrders"]
    monkeypatch.delitem(sys.modules, "longwatch_orders")


def test_the_test_example_under_virtual_time() -> None:
    config = Config(rules=(RuleConfig(name="Hot", table=RuleTable(expr="cpu > 90")),))
    code = EXAMPLES[4].replace("run_virtual(main)", "kinds = run_virtual(main)")
    names: dict[str, Any] = {"config": config}
    exec(compile(code, "docs/embedding.md", "exec"), names)
    assert names["kinds"] == ["firing"]


def test_the_toml_of_the_metrics_page_is_a_rule() -> None:
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    (toml,) = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert [rule.name for rule in load_text(toml).rules] == ["SamplesLost"]
