"""Warnings about metrics that nobody measures."""

from pathlib import Path

import pytest

from engine.config import load, load_text
from engine.config.cross import cross_check

pytestmark = pytest.mark.usefixtures("demo_types")

PROBE = "[probe.demo]\nurl = 'http://h/'\n"


def warnings(text: str) -> list[str]:
    return [str(warning) for warning in cross_check(load_text(text, environ={}))]


def test_a_metric_that_no_probe_measures() -> None:
    assert warnings(PROBE + "[rule.A]\n# x\nexpr = 'demo_vlue > 1 and demo_total > 0 or zzz == 1'\n") == [
        'run.toml:3: rule.A.expr: no probe here measures "demo_vlue" (did you mean "demo_value"?)',
        'run.toml:3: rule.A.expr: no probe here measures "zzz"',
    ]


def test_a_rule_of_a_pack_without_its_probe() -> None:
    (first, *others) = warnings("[engine]\npacks = ['host']\n" + PROBE)
    assert first == 'pack "host":4: rule.HostCpuHigh.expr: no probe here measures "host_cpu_percent"'
    assert len(others) == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        PROBE + "[rule.A]\nexpr = 'demo_value > 1'\n",
        PROBE + "[rule.A]\nexpr = 'longwatch_anything > 1'\n",
        PROBE + "[probe.plain]\n[rule.A]\nexpr = 'anything > 1'\n",  # it does not say what it measures
    ],
)
def test_nothing_to_warn_of(text: str) -> None:
    assert warnings(text) == []


def test_a_series_that_nobody_records() -> None:
    """A rule over a recorded series, without the pack that records it."""
    rule = "[rule.A]\nexpr = 'service:error_ratio:rate5m > 0.5'\n"
    told = 'rule.A.expr: no probe here measures "service:error_ratio:rate5m"'
    assert [told in warning for warning in warnings(PROBE + rule)] == [True]
    assert not any(told in warning for warning in warnings("[engine]\npacks = ['service']\n" + PROBE + rule))


def test_a_rule_of_a_pack_over_a_series_that_is_no_longer_recorded() -> None:
    changed = "[rule.HighErrorRate]\nexpr = 'service:eror_ratio:rate5m'\n"
    told = warnings("[engine]\npacks = ['service']\n" + PROBE + changed)
    hint = '"service:eror_ratio:rate5m" (did you mean "service:error_ratio:rate5m"?)'
    assert any(warning.endswith(f"rule.HighErrorRate.expr: no probe here measures {hint}") for warning in told)


def test_metrics_that_rule_files_record(tmp_path: Path) -> None:
    text = "groups:\n- {name: g, rules: [{record: job:up, expr: demo_value}, {alert: A, expr: job:up > 1, for: 5s}]}\n"
    (tmp_path / "r.yml").write_text(text)
    path = tmp_path / "run.toml"
    head = "[engine]\nrule_files = ['r.yml']\nevaluation_interval = '5s'\n" + PROBE
    path.write_text(head + "[rule.B]\nexpr = 'job:up > 1 and ALERTS > 0'\n[rule.C]\nexpr = 'job:upp > 1'\n")
    (warning,) = cross_check(load(path, environ={}))
    assert str(warning).endswith('rule.C.expr: no probe here measures "job:upp" (did you mean "job:up"?)')
    path.write_text(head.replace("5s", "10s"))
    (warning,) = cross_check(load(path, environ={}))
    assert warning.file == str(tmp_path / "r.yml")
    assert "for 5s is shorter than the group's interval 10s" in warning.message


def test_without_any_probe_every_metric_is_unknown() -> None:
    assert warnings("[rule.A]\nexpr = 'up == 0'\n") == ['run.toml:1: rule.A.expr: no probe here measures "up"']


@pytest.mark.parametrize(
    ("expr", "warning"),
    [
        ("demo_value", "holds whenever there is a sample, whatever its value (compare it: ... > 0)"),
        ("(demo_value * 2)", "holds whenever there is a sample, whatever its value (compare it: ... > 0)"),
        (
            "demo_value > bool 1",
            (
                "holds whatever the comparison says: with `bool` its result is 0 or 1, and both are there "
                "(leave out `bool`)"
            ),
        ),
        ("(demo_value > 1)", ""),
        ("demo_value unless demo_total", ""),
        ("(demo_value > bool 1) == 1", ""),
    ],
)
def test_an_expression_that_is_no_condition(expr: str, warning: str) -> None:
    told = warnings(PROBE + f"[rule.A]\nexpr = '{expr}'\n")
    assert told == ([f"run.toml:3: rule.A.expr: {warning}"] if warning else [])
