"""What can't be built is the operator's to mend, and named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import registry
from engine.config.load import load
from engine.config.shape import Config, EngineTable, ProbeConfig, RuleConfig, RuleTable, SinkConfig
from engine.durations import Duration
from engine.errors import ConfigError, LongwatchError, SinkError
from engine.events import DomainEvent, Health, Sample, SampleBatch
from engine.ports import Options, ProbeContext, SinkContext
from engine.registry import Kind
from engine.runtime.assembly import build_core, build_probes, build_sinks, compile_rules
from engine.runtime.supervisor import ProbeSpec
from engine.runtime.threads import ThreadPool
from engine.testing import ListProbe, RecordingSink, VirtualClock, run_virtual
from tests.runtime.rig import shared


class Order(DomainEvent, frozen=True, kw_only=True, tag="order"):
    pass


SECOND = Duration.parse("1s")


def probe(name: str, factory: Any) -> ProbeConfig:
    return ProbeConfig(
        name=name, type="fake", factory=factory, options=Options(), interval=SECOND, timeout=SECOND, labels={"a": "b"}
    )


def sink(name: str, factory: Any) -> SinkConfig:
    return SinkConfig(name=name, type="fake", factory=factory, options=Options())


def test_rules_that_do_not_compile_are_all_named_with_their_place() -> None:
    rules = (
        RuleConfig(name="A", table=RuleTable(expr="x >"), file="run.toml", line=7),
        RuleConfig(name="Good", table=RuleTable(expr="x > 1", annotations={"s": "{{ $value }}"})),
        RuleConfig(name="B", table=RuleTable(expr="nonsense(x)"), file="run.toml", line=9),
        RuleConfig(name="C", table=RuleTable(expr="x > 1", annotations={"s": "{{ if"}), file="run.toml", line=11),
    )
    with pytest.raises(ConfigError) as caught:
        compile_rules(Config(rules=rules))
    assert [(p.line, p.address) for p in caught.value.problems] == [
        (7, "rule.A"),
        (9, "rule.B"),
        (11, "rule.C.annotations"),
    ]
    assert [rule.name for rule in compile_rules(Config(rules=rules[1:2]))] == ["Good"]


def test_the_core_has_the_limits_and_the_projectors() -> None:
    core = build_core(Config(engine=EngineTable(series_max=7)), [Order])
    core.feed([Health(1, "probe.x", "failed", "timeout")])
    assert core.latest("longwatch_component_up") == {'longwatch_component_up{component="probe.x"}': 0.0}
    assert core.latest("longwatch_events_total") == {
        f'longwatch_events_total{{type="{tag}"}}': 0.0
        for tag in ("deployment", "order", "security_violation", "trade_closed")
    }
    core.feed([Sample(2, f"s{number}", 1.0) for number in range(10)])
    assert core.series_count == 7


def test_what_a_template_asks_for_is_kept_though_no_rule_reads_it(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("[engine]\nrule_files = ['rules.yml']\n", encoding="utf-8")
    rule = """{ alert: Down, expr: up == 0, annotations: { n: '{{ query "sum(build)" | first | value }}' } }"""
    (tmp_path / "rules.yml").write_text(f"groups: [{{ name: g, rules: [{rule}] }}]\n", encoding="utf-8")
    core = build_core(load(tmp_path / "run.toml"), [])
    core.feed([SampleBatch(59_000, ("up", 'build{v="1"}', 'build{v="2"}'), np.array([0.0, 3.0, 4.0]))])
    core.advance(60_000)
    assert [alert.annotations for alert in core.alerts()] == [{"n": "7"}]


def test_contexts_are_filled_and_calls_belong_to_their_owner() -> None:
    seen: dict[str, Any] = {}

    def make_probe(options: Options, context: ProbeContext) -> ListProbe:
        seen["probe"] = context
        return ListProbe([])

    def make_sink(options: Options, context: SinkContext) -> RecordingSink:
        seen["sink"] = context
        return RecordingSink()

    async def main(clock: VirtualClock) -> None:
        parts, pool = shared(clock), ThreadPool(1)
        pool.close()
        config = Config(
            engine=EngineTable(name="w", timezone="Europe/Berlin", external_labels={"env": "x"}),
            probes=(probe("p", make_probe),),
            sinks=(sink("s", make_sink),),
        )
        (runner,) = build_probes(config, [], parts, pool)
        assert runner.component == "probe.p"
        context = seen["probe"]
        assert (context.name, context.interval_ms, context.timeout_ms, context.labels) == (
            "p",
            1_000,
            1_000,
            {"a": "b"},
        )
        build_sinks(config, {}, parts, pool)
        context = seen["sink"]
        assert (context.name, context.engine_name, context.timezone) == ("s", "w", "Europe/Berlin")
        assert (context.state_dir, context.external_labels) == (None, {"env": "x"})
        with pytest.raises(SinkError) as caught:
            await context.call(lambda: None)
        assert (caught.value.reason, caught.value.retryable) == ("closed", True)

    run_virtual(main)


def test_a_class_that_refuses_is_named_without_its_words() -> None:
    def refuse(options: Options, context: object) -> None:
        raise ValueError("token")

    async def main(clock: VirtualClock) -> None:
        parts, pool = shared(clock), ThreadPool(1)
        with pytest.raises(ConfigError) as caught:
            build_probes(Config(probes=(probe("p", refuse),)), [], parts, pool)
        assert caught.value.problems[0].address == "probe.p"
        assert "token" not in str(caught.value)
        with pytest.raises(ConfigError) as caught:
            build_sinks(Config(sinks=(sink("s", refuse),)), {}, parts, pool)
        assert caught.value.problems[0].address == "sink.s"
        assert "token" not in str(caught.value)

    run_virtual(main)


def test_names_are_given_once() -> None:
    async def main(clock: VirtualClock) -> None:
        parts, pool = shared(clock), ThreadPool(1)
        config = Config(
            probes=(probe("p", lambda o, c: ListProbe([])),), sinks=(sink("s", lambda o, c: RecordingSink()),)
        )
        with pytest.raises(LongwatchError, match='probe "p"'):
            build_probes(config, [ProbeSpec("p", "x", 1, 1, ListProbe([]))], parts, pool)
        with pytest.raises(LongwatchError, match='sink "s"'):
            build_sinks(config, {"s": RecordingSink()}, parts, pool)

    run_virtual(main)


def test_projectors_are_those_of_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    class Doubling:
        def apply(self, event: DomainEvent | Health) -> SampleBatch | None:
            if isinstance(event, Health):
                return None
            return SampleBatch(event.time_ms, ("doubled",), np.array([2.0]))

        def initial(self, time_ms: int) -> list[SampleBatch]:
            return []

        def snapshot(self) -> bytes:
            return b""

        def restore(self, data: bytes) -> None: ...

    def broken() -> None:
        raise ValueError("token")

    third_party = {"doubling": Doubling}
    real = registry.resolve

    def resolve(kind: Kind, name: str) -> Any:
        return third_party[name] if name in third_party else real(kind, name)

    monkeypatch.setattr(registry, "names", lambda kind: [*registry.BUILT_IN[kind], *third_party])
    monkeypatch.setattr(registry, "resolve", resolve)
    core = build_core(Config(), [Order])
    core.feed([Order(time_ms=5)])
    assert core.latest("doubled") == {"doubled": 2.0}
    assert core.latest("longwatch_events_total")['longwatch_events_total{type="order"}'] == 1.0

    third_party["broken"] = broken  # type: ignore[assignment]
    with pytest.raises(ConfigError, match=r"projector\.broken") as caught:
        build_core(Config(), [])
    assert "token" not in str(caught.value)
