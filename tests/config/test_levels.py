"""`when`, `levels`, `clear`, `of` and all of `on_missing` in run.toml: what loads, is judged, is warned of."""

from pathlib import Path

import pytest

from engine.config import load, load_text
from engine.config.cross import cross_check
from engine.core.conditions import Condition
from engine.core.evaluator import Core
from engine.core.rules import Rule
from engine.events import Sample, Transition
from engine.runtime.assembly import compile_rules
from engine.testing import START_MS, replay

HIGH_CPU = """\
[rule.HighCpu]
expr = "avg_over_time(host_cpu_percent[1m])"
levels = [ { severity = "warning",  when = "> 80", for = "10m", clear = "< 75" },
           { severity = "critical", when = "> 90", for = "5m" } ]
"""
DESIGNED = """\
[engine]
name = "trade-1"
timezone = "Europe/Berlin"
external_labels = { env = "prod" }
rule_files = ["rules/*.yml"]
packs = ["service"]
[probe.host]
interval = "5s"
[probe.health]
type = "http"
preset = "health"
url = "http://127.0.0.1:8080"
interval = "30s"
labels = { service = "trading" }
""" + (HIGH_CPU + '[sink.ops]\ntype = "webhook"\nurl = "${OPS_URL}"\n')


def compiled(text: str) -> Rule:
    (rule,) = compile_rules(load_text(text, environ={}))
    assert isinstance(rule, Rule)
    return rule


def test_a_whole_watch_with_levels_over_a_packs_rule_loads(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules/a.yml").write_text("groups: [{name: g, rules: [{alert: A, expr: up == 0}]}]\n")
    (tmp_path / "run.toml").write_text(DESIGNED)
    config = load(tmp_path / "run.toml", environ={"OPS_URL": "http://127.0.0.1:9/"})
    (rule,) = [rule for rule in compile_rules(config) if rule.name == "HighCpu"]
    assert isinstance(rule, Rule)
    assert [(one.severity, str(one.when), str(one.clear), one.for_ms) for one in rule.levels] == [
        ("warning", "> 80", "< 75", 600_000),
        ("critical", "> 90", "None", 300_000),
    ]
    assert set(rule.annotations) == {"summary", "description"}, "the pack's other keys stay"


def test_what_a_level_does_not_say_is_the_rules() -> None:
    rule = compiled(
        '[rule.R]\nexpr = "x"\nwhen = "> 1"\nclear = "< 0"\nfor = "1m"\n'
        'levels = [{ severity = "a" }, { severity = "b", for = "2m", clear = "<= -1" }]\n'
    )
    (low, high) = rule.levels
    assert (low.when, low.clear, low.for_ms) == (Condition(">", 1.0), Condition("<", 0.0), 60_000)
    assert (high.when, high.clear, high.for_ms) == (Condition(">", 1.0), Condition("<=", -1.0), 120_000)


def test_every_key_reaches_the_core() -> None:
    rule = compiled(
        '[rule.R]\nexpr = "x"\nwhen = "> 1"\nfor = "10s"\nof = 0.5\non_missing = "fire"\nmissing_for = "90s"\n'
    )
    assert (rule.of, rule.on_missing, rule.missing_for_ms) == (0.5, "fire", 90_000)


def test_what_a_downtime_does_is_said_for_all_rules_or_for_one() -> None:
    config = load_text(
        '[engine]\non_restart = "count"\noutage_tolerance = "5m"\n[rule.A]\nexpr = "x > 1"\n'
        '[rule.B]\nexpr = "x > 1"\non_restart = "reset"\noutage_tolerance = "0s"\n',
        environ={},
    )
    rules = [rule for rule in compile_rules(config) if isinstance(rule, Rule)]
    assert [(rule.on_restart, rule.outage_tolerance_ms) for rule in rules] == [("count", 300_000), ("reset", 0)]
    assert compiled('[rule.R]\nexpr = "x > 1"\non_missing = "count"\n').on_missing == "count"


def test_levels_on_the_command_line() -> None:
    config = load_text(
        "[sink.console]\n", overrides=["rule.R.expr=x", 'rule.R.levels=[{severity = "a", when = "> 1"}]'], environ={}
    )
    (rule,) = compile_rules(config)
    assert isinstance(rule, Rule)
    assert rule.levels[0].severity == "a"


def story(text: str, *values: float) -> list[Transition]:
    """One sample each 5 s."""
    samples = [Sample(START_MS + 5_000 * at, 'x{instance="a"}', value, 5_000) for at, value in enumerate(values)]
    return replay(text, samples)


def test_annotations_have_the_severity_that_is_reached() -> None:
    made = story(
        '[rule.R]\nexpr = "x"\nlevels = [{ severity = "low", when = "> 1" }, { severity = "high", when = "> 2" }]\n'
        "[rule.R.annotations]\ngo = '{{ $labels.severity }} of {{ $labels.instance | toUpper }}'\n"
        "jinja = '{% if $labels.severity == \"high\" %}now{% else %}soon{% endif %}'\n",
        1.5,
        2.5,
        0.5,
    )
    assert [(t.reason, t.severity_before, t.severity, t.annotations) for t in made] == [
        ("condition", "", "low", {"go": "low of A", "jinja": "soon"}),
        ("level", "low", "high", {"go": "high of A", "jinja": "now"}),
        ("recovered", "high", "high", {"go": "high of A", "jinja": "now"}),
    ]
    assert [t.labels for t in made] == [{"alertname": "R", "instance": "a"}] * 3, "no part of the identity"
    assert made[1].shown_labels == {"alertname": "R", "instance": "a", "severity": "high"}
    assert [t.changes_level for t in made] == [False, True, False]


def test_a_rule_without_levels_has_the_severity_of_its_labels() -> None:
    (fired,) = story(
        '[rule.R]\nexpr = "x > 1"\nlabels = { severity = "page" }\nannotations = { a = "{{ $labels.severity }}" }\n',
        2.0,
    )
    assert (fired.severity, fired.annotations, fired.shown_labels["severity"]) == ("", {"a": "page"}, "page")


PROBE = "[probe.host]\n"


@pytest.mark.parametrize(
    ("keys", "odd"),
    [
        ("", True),
        ('when = "> 80"', False),
        ('levels = [{ severity = "a", when = "> 80" }]', False),
        ('when = "> 80"\nlevels = [{ severity = "a" }]', False),
        ('levels = [{ severity = "a" }]', True),
        ('of = 0.5\nfor = "1m"', True),
    ],
)
def test_an_expression_is_no_condition_but_with_a_when(keys: str, odd: bool) -> None:
    told = cross_check(load_text(f'{PROBE}[rule.A]\nexpr = "host_cpu_percent"\n{keys}\n', environ={}))
    assert ["holds whenever there is a sample" in warning.message for warning in told] == [True] * odd


def test_a_level_that_nobody_would_see_is_warned_of() -> None:
    config = load_text(
        '[sink.console]\n[rule.A]\nexpr = "x"\nwhen = "> 80"\n'
        'levels = [{ severity = "a", for = "10m" }, { severity = "b", for = "5m" }]\n',
        environ={},
    )
    (warning,) = config.warnings
    assert str(warning).startswith('run.toml:5: rule.A.levels[1]: is reached no later than "a", which then nobody sees')
    assert warning.hint == "give it a longer for, or a stricter when"


def test_a_key_of_the_rule_that_every_level_overrides_is_warned_of() -> None:
    """Of a rule of a pack one would think that its `for` can be changed alone."""
    config = load_text('[engine]\npacks = ["service"]\n[sink.console]\n[rule.HighCpu]\nfor = "1h"\n', environ={})
    (warning,) = config.warnings
    assert str(warning).startswith("run.toml:5: rule.HighCpu.for: has no effect: each level has its own for (write")


@pytest.mark.parametrize(
    ("missing", "expected"),
    [("", []), ('on_missing = "fire"\nmissing_for = "1m"', [(75_001, "firing", "missing")])],
)
def test_a_series_that_falls_silent(missing: str, expected: list[tuple[int, str, str]]) -> None:
    samples = [Sample(START_MS, "x", 0.0, 5_000)]
    made = replay(f'[rule.R]\nexpr = "x > 1"\n{missing}\n', samples, until_ms=START_MS + 120_000)
    assert [(t.time_ms - START_MS, t.kind, t.reason) for t in made] == expected


def test_a_share_that_is_pending_on_what_was_true_says_how_much_of_it_there_is() -> None:
    """Its condition is false by now, so nothing runs; the deadline is when nothing true is left in its window."""
    core = Core(compile_rules(load_text('[rule.R]\nexpr = "x > 1"\nfor = "1m"\nof = 0.5\n', environ={})))
    core.feed([Sample(START_MS, "x", 2.0, 5_000), Sample(START_MS + 5_000, "x", 0.0, 5_000)])
    core.advance(START_MS + 9_000)
    (alert,) = core.alerts()
    assert (alert.state, alert.elapsed_ms, alert.for_ms) == ("pending", 5_000, 30_000)
    assert alert.due_ms == START_MS + 65_000
