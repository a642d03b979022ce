"""Good configurations, and what the whole of one shows: overrides, packs, secrets, order."""

from pathlib import Path

import pytest

from engine.config import Config, RuleConfig, built_in, examine, load, load_text
from engine.config.report import PROBLEMS_MAX
from engine.durations import Duration
from engine.errors import ConfigError
from engine.events import Sample
from engine.secrets import Secret
from engine.testing import START_MS, replay
from tests.config.leaves import DemoOptions, DemoProbe, Limits, PlainProbe, PushOptions, PushSink, ScreenSink

pytestmark = pytest.mark.usefixtures("demo_types")

ROOT = Path(__file__).resolve().parents[2]
SINK = "[sink.screen]\n"


def problems(text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_text(text, overrides=overrides, environ={})
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return [str(problem) for problem in caught.value.problems]


def rule(config: Config, name: str) -> RuleConfig:
    return next(rule for rule in config.rules if rule.name == name)


def test_everything_that_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n")
    (tmp_path / "run.toml").write_text(
        """
[engine]
name = "trade-1"
timezone = "Europe/Berlin"
external_labels = { env = "prod" }
state_dir = "/var/lib/x"
resolution = "500ms"
series_max = 10
queue_policy = "block"

[probe.health]
type = "demo"
interval = "1m"
timeout = "7s"
labels = { service = "trading" }
url = "http://${HOST}:80/$$x"
method = "HEAD"
retries = 0
ratio = 0.25
verify = false
pause = "1m"
file = "a/b"
either = [1, 2]
limits.body_bytes_max = 5
token_file = "token"
headers = { A = "literal", B = "${HOST}" }
[probe.plain]

[rule.Down]
expr = "demo_value == 0"
for = "1h30m"
keep_firing_for = "5m"
on_missing = "count"
hold_max = "1d"
labels = { severity = "critical" }
[rule.Down.annotations]
summary = "{{ $labels.x }} is ${HOST} at {{ $value }}"

[sink.ops]
type = "push"
url = "${URL}"
[sink.screen]
"""
    )
    file = tmp_path / "run.toml"
    file.chmod(0o600)
    config = load(file, environ={"HOST": "h1", "URL": "https://hooks.example/t0ken"})

    assert config.source == file
    assert config.warnings == ()
    engine = config.engine
    assert (engine.name, engine.timezone, engine.external_labels) == ("trade-1", "Europe/Berlin", {"env": "prod"})
    assert (engine.state_dir, engine.resolution, engine.series_max) == (Path("/var/lib/x"), 500, 10)
    assert (engine.queue_policy, engine.shutdown_timeout, engine.packs) == ("block", Duration(20_000), [])
    health, plain = config.probes
    assert (health.name, health.type, health.factory) == ("health", "demo", DemoProbe)
    assert (health.interval, health.timeout, health.labels) == (60_000, 7_000, {"service": "trading"})
    assert health.options == DemoOptions(
        url="http://h1:80/$x",
        method="HEAD",
        retries=0,
        ratio=0.25,
        verify=False,
        pause=Duration(60_000),
        file=Path("a/b"),
        either=[1, 2],
        limits=Limits(body_bytes_max=5),
        token=Secret("from-file"),
        headers={"A": Secret("literal"), "B": Secret("h1")},
    )
    assert isinstance(health.options, DemoOptions)
    assert isinstance(health.options.pause, Duration)
    assert (plain.name, plain.factory, plain.interval, plain.timeout) == ("plain", PlainProbe, 5_000, 5_000)
    (down,) = config.rules
    assert (down.name, down.file, down.line) == ("Down", str(file), 29)
    assert (down.table.for_, down.table.keep_firing_for) == (5_400_000, 300_000)
    assert (down.table.on_missing, down.table.hold_max) == ("count", 86_400_000)
    assert down.table.annotations == {"summary": "{{ $labels.x }} is h1 at {{ $value }}"}
    ops, screen = config.sinks
    assert (ops.name, ops.type, ops.factory, screen.factory) == ("ops", "push", PushSink, ScreenSink)
    assert isinstance(ops.options, PushOptions)
    assert ops.options.url.reveal() == "https://hooks.example/t0ken"


def test_an_empty_configuration_is_one() -> None:
    config = load_text("")
    assert (config.probes, config.rules, config.sinks, config.source) == ((), (), (), None)
    assert config.engine.name == "longwatch"
    assert [str(warning) for warning in config.warnings] == [
        "run.toml: sink: no sink: nothing is recorded and nobody is told (add [sink.console])"
    ]


def test_defaults_of_a_type_fit_its_interval() -> None:
    """A type's own time-out yields to a shorter interval; one the operator wrote does not."""
    (probe,) = load_text("[probe.plain]\ninterval = '1s'\n" + SINK).probes
    assert (probe.interval, probe.timeout) == (1_000, 1_000)
    (probe,) = load_text("[probe.plain]\ninterval = '1h'\n" + SINK).probes
    assert (probe.interval, probe.timeout) == (3_600_000, 20_000)


@pytest.mark.parametrize("interval", ["100ms", "1d", "24h"])
def test_the_longest_and_the_shortest_interval(interval: str) -> None:
    (probe,) = load_text(f"[probe.plain]\ninterval = '{interval}'\n").probes
    assert str(probe.interval) == ("1d" if interval == "24h" else interval)


@pytest.mark.parametrize("name", ["a", "_", "A9_-z", "x" * 64])
def test_names(name: str) -> None:
    config = load_text(f"[probe.{name}]\ntype='plain'\n[rule.{name}]\nexpr='up'\n[sink.{name}]\ntype='screen'\n")
    assert {config.probes[0].name, config.rules[0].name, config.sinks[0].name} == {name}


def test_many_problems_are_capped_and_counted() -> None:
    found = problems("[engine]\n" + "".join(f"k{n} = 1\n" for n in range(PROBLEMS_MAX + 7)))
    assert len(found) == PROBLEMS_MAX + 1
    assert found[-1] == "run.toml: 7 more problems are not shown"


def test_a_module_that_is_broken_is_one_problem() -> None:
    assert problems("[probe.gone]\n[probe.plain]\nx = 1\n") == [
        (
            'run.toml:1: probe.gone: probe type "gone" can\'t be loaded: '
            "there is no module no_such_module_here (install it)"
        ),
        "run.toml:3: probe.plain.x: unknown key (known: type, interval, timeout, labels, remote)",
    ]


# --- --set ----------------------------------------------------------------------------------------


def test_overrides_change_add_and_create() -> None:
    text = "[engine]\nname = 'a'\n[probe.plain]\ninterval = '1m'\n"
    config = load_text(
        text,
        overrides=[
            "engine.name=b",
            "engine.name=c",  # the last one counts
            "probe.plain.interval=1s",
            "probe.second.type=plain",
            "rule.A.expr=up == 0",
            "rule.A.labels={severity = 'x'}",
            "sink.screen.type=screen",
        ],
    )
    assert config.engine.name == "c"
    assert [(probe.name, str(probe.interval)) for probe in config.probes] == [("plain", "1s"), ("second", "5s")]
    assert rule(config, "A").table.labels == {"severity": "x"}
    assert (rule(config, "A").file, rule(config, "A").line) == ("--set", 0)
    assert config.warnings == ()


def test_overrides_may_use_variables_and_are_literal_text() -> None:
    config = load_text("", overrides=["engine.name=${N}"], environ={"N": "from-env"})
    assert config.engine.name == "from-env"


def test_problems_of_overrides_come_last_in_their_order() -> None:
    found = problems(
        "[engine]\nnmae = 1\n",
        "sink.x.type=scren",
        "nonsense",
        "probe.demo.url=http://h/",
        "probe.demo.ratio=5",
        "prob.x.y=1",
    )
    assert found == [
        'run.toml:2: engine.nmae: unknown key (did you mean "name"?)',
        '--set: prob: unknown table (did you mean "probe"?)',
        "--set: probe.demo.ratio: must be less than 1, not 5.0",
        '--set: sink.x.type: there is no sink of type "scren" (did you mean "screen"?)',
        (
            "--set: nonsense: not the address of a key"
            " (write --set table.name.key=value, such as --set probe.host.interval=1s)"
        ),
    ]


def test_a_missing_key_of_a_table_made_by_an_override_is_the_overrides() -> None:
    assert problems("", "probe.demo.retries=1") == ["--set: probe.demo.url: is missing; expected text"]


def test_an_override_through_a_value_is_refused() -> None:
    assert problems("[engine]\nname = 'a'\n", "engine.name.x=1") == ["--set: engine.name: expected text, got a table"]


# --- packs ----------------------------------------------------------------------------------------


def test_a_pack_and_single_keys_over_it() -> None:
    config = load_text(
        """
[engine]
packs = ["host"]
[rule.Mine]
expr = "up == 0"
[rule.HostCpuHigh]
for = "1m"
labels = { severity = "page", team = "a" }
"""
    )
    assert [rule.name for rule in config.rules] == ["HostCpuHigh", "HostMemoryHigh", "HostDiskHigh", "Mine"]
    changed = rule(config, "HostCpuHigh")
    assert (changed.table.expr, str(changed.table.for_)) == ("host_cpu_percent > 90", "1m")
    assert changed.table.labels == {"severity": "page", "team": "a"}
    assert (changed.file, changed.line) == ("run.toml", 6)
    assert rule(config, "HostDiskHigh").file == 'pack "host"'


def test_a_pack_is_loaded_once_and_by_variable() -> None:
    config = load_text("[engine]\npacks = ['host', '${P}']\n", environ={"P": "host"})
    assert len(config.rules) == 3
    assert config.engine.packs == ["host", "host"]


def test_a_pack_rule_changed_by_an_override() -> None:
    config = load_text("[engine]\npacks = ['host']\n", overrides=["rule.HostCpuHigh.for=10s"])
    assert str(rule(config, "HostCpuHigh").table.for_) == "10s"
    assert problems("[engine]\npacks = ['host']\n", "rule.HostCpuHigh.for=10") == [
        '--set: rule.HostCpuHigh.for: expected a duration such as "5m", got 10 (write "10s", "10m" or "10h")'
    ]


# --- secrets --------------------------------------------------------------------------------------

CANARY = "canary-5f3a9c1b7d"


@pytest.mark.parametrize(
    "text",
    [
        "[sink.push]\nurl = '${S}'\nsize = 'x'\n",
        "[sink.push]\nurl = ['${S}']\n",
        "[sink.push]\nurl_file = '${S}'\n",
        f"[sink.push]\nurl = ['{CANARY}']\n",
        f"[sink.push]\nurl = {{ a = '{CANARY}' }}\n",
        f"[sink.push]\nurl = '{CANARY}'\nurl_file = 'x'\n",
        f"[sink.push]\nurll = '{CANARY}'\n",
        f"[sink.push]\nurl = '{CANARY}\n",
        f"[sink.push]\nurl = {CANARY}\n",
        f"[sink.push]\nurl = '{CANARY}'\nurl = 'x'\n",
        "[probe.demo]\nurl = '${S}'\n",
        "[probe.demo]\nurl = 'x'\ntoken = '${S}'\n",
        "[probe.demo]\nurl = '${S}'\nmethod = '${S}'\ncode = '${S}'\npause = '${S}'\nratio = '${S}'\n",
        '[probe.demo]\nurl = "x"\nfile = "${S}\\u0000"\n',
        "[probe.demo]\nurl = 'http://h/'\ninterval = '${S}'\ntype = '${S}'\n",
        "[probe.x]\ntype = '${S}'\n",
        "[engine]\nname = '${S} '\ntimezone = '${S}'\npacks = ['${S}']\nqueue_policy = '${S}'\nrule_files = ['${S}']\n",
        "[engine]\nexternal_labels = { '${S}' = '${S}' }\n",
        "[rule.A]\nexpr = '${S} >'\nannotations = { a = '{{ ${S} }}' }\non_missing = '${S}'\nfor = '${S}'\n",
    ],
)
def test_no_secret_in_any_problem(text: str, tmp_path: Path) -> None:
    """F144: values of the environment and literal secrets, in every place that complains."""
    file = tmp_path / "run.toml"
    file.write_text(text)
    file.chmod(0o644)
    config, found, warnings = examine(file, environ={"S": CANARY})
    assert config is None
    assert found
    assert CANARY not in repr((found, warnings))
    assert CANARY not in str(ConfigError(found))


def test_no_secret_in_a_configuration_or_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    (tmp_path / "s").write_text(CANARY)
    file.write_text(
        f"""
[probe.demo]
url = "http://h/"
token = "{CANARY}"
headers = {{ Authorization = "{CANARY}", Accept = "text/html" }}
[sink.push]
url = "${{S}}"
[sink.second]
type = "push"
url_file = "s"
[sink.third]
type = "push"
url = "https://hooks.example/x?token={CANARY}"
"""
    )
    file.chmod(0o644)
    config = load(file, environ={"S": CANARY})
    assert CANARY not in repr(config)
    advice = "a secret in a file that every user of this machine can read "
    advice += '(chmod o-r the file, or write {} = "${{NAME}}")'
    assert [str(warning) for warning in config.warnings] == [
        f"{file}:4: probe.demo.token: {advice.format('token')}",
        f"{file}:5: probe.demo.headers.Authorization: {advice.format('Authorization')}",
        f"{file}:13: sink.third.url: {advice.format('url')}",
    ]
    file.chmod(0o640)
    assert load(file, environ={"S": CANARY}).warnings == ()


@pytest.mark.parametrize(
    ("url", "telling"),
    [
        ("http://127.0.0.1:9093/", False),
        ("http://127.0.0.1:9093/api/v2/alerts", False),
        ("https://user:pw@host/", True),
        ("https://host/?k=v", True),
        ("https://hooks.example/services/T0/B0/abcdefghijklmnop", True),
        ("hunter2", True),
        ("https://[", True),
    ],
)
def test_a_url_without_a_token_is_no_secret(tmp_path: Path, url: str, telling: bool) -> None:
    """F147."""
    file = tmp_path / "run.toml"
    file.write_text(f"[sink.push]\nurl = '{url}'\n")
    file.chmod(0o644)
    assert bool(load(file, environ={}).warnings) == telling


# --- the one for no file --------------------------------------------------------------------------


def test_the_example_and_the_built_in_one_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real types."""
    monkeypatch.undo()
    config = load(ROOT / "examples/run.toml", environ={})
    assert config.warnings == ()
    assert [probe.name for probe in config.probes] == ["host"]
    assert len(config.rules) == 3
    assert {sink.type for sink in config.sinks} == {"console", "sqlite"}

    config = built_in(["probe.host.interval=1s"])
    assert config.source is None
    assert [(probe.name, str(probe.interval)) for probe in config.probes] == [("host", "1s")]
    assert [sink.type for sink in config.sinks] == ["console"]
    told = [
        (rule.name, rule.table.expr, str(rule.table.for_), rule.table.labels["severity"], set(rule.table.annotations))
        for rule in config.rules
    ]
    texts = {"summary", "description"}
    assert told == [
        ("HostCpuHigh", "host_cpu_percent > 90", "5m", "critical", texts),
        ("HostMemoryHigh", "host_memory_percent > 95", "5m", "critical", texts),
        ("HostDiskHigh", "host_disk_percent > 90", "10m", "warning", texts),
    ]


def test_a_problem_in_the_built_in_one_is_the_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with pytest.raises(ConfigError, match=r"^--set: probe.host.interval: must be at least 100ms, not 1ms$"):
        built_in(["probe.host.interval=1ms"])


RULE_FILE = """\
groups:
  - name: host
    interval: 15s
    rules:
      - record: host:cpu:avg1m
        expr: avg_over_time(host_cpu_percent[1m])
      - alert: HighCpu
        expr: host:cpu:avg1m > 90
        for: 1m
        labels: {severity: critical}
        annotations: {summary: "CPU at {{ $value | humanize }} %"}
"""


def test_rule_files_are_read_and_judged_on_their_grid(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules/host.yml").write_text(RULE_FILE, encoding="utf-8")
    path = tmp_path / "run.toml"
    path.write_text('[engine]\nrule_files = ["rules/*.yml"]\n[sink.screen]\n', encoding="utf-8")
    config = load(path)
    assert [group.name for file in config.rule_files for group in file.groups] == ["host"]
    busy = [Sample(START_MS + s * 1_000, "host_cpu_percent", 99.5, 5_000) for s in range(0, 300, 5)]
    # Instants are multiples of 15 s; the record of an instant is seen by the alert of the same instant.
    told = [(t.kind, t.time_ms - START_MS, t.value) for t in replay(config, busy)]
    assert told == [("pending", 0, 99.5), ("firing", 60_000, 99.5)]
    assert replay(config, busy)[1].annotations == {"summary": "CPU at 99.5 %"}


def test_a_pattern_that_matches_no_rule_file(tmp_path: Path) -> None:
    """The files may come later, so it is no error; most likely it is misspelt, so it is told."""
    (tmp_path / "a.yml").write_text("groups: []\n", encoding="utf-8")
    path = tmp_path / "run.toml"
    path.write_text('[engine]\nrule_files = ["*.yml", "rulez/*.yml"]\n[sink.screen]\n', encoding="utf-8")
    config = load(path)
    assert [str(warning) for warning in config.warnings] == [
        f"{path}:2: engine.rule_files[1]: no file matches, so no rules are read from there"
    ]


def test_everything_wrong_with_rule_files_is_said_beside_the_rest(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(RULE_FILE.replace("avg_over_time(", "avg_over_time((").replace("1m\n", "1x\n"))
    path = tmp_path / "run.toml"
    path.write_text('[engine]\nrule_files = ["rules.yml"]\n[rule.X]\nexpr = "a >"\n[sink.screen]\n', encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path)
    said = [str(problem) for problem in caught.value.problems]
    assert any("run.toml:4: rule.X.expr" in line for line in said)
    assert any("rules.yml:6" in line and "could not parse expression" in line for line in said)
    assert any("rules.yml" in line and '"1x"' in line for line in said)
