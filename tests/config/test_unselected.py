"""Warnings about labels that nothing has that is measured here."""

import pytest

from engine.config import load_text
from engine.config.cross import cross_check


def about_labels(text: str) -> list[str]:
    found = [str(warning) for warning in cross_check(load_text(text, environ={}))]
    return [warning for warning in found if " with " in warning]


SCRAPE = "[probe.app]\ntype = 'scrape'\nurl = 'http://127.0.0.1:9100'\n"
HEALTH = "[probe.health]\ntype = 'http'\nurl = 'http://127.0.0.1:8080'\nlabels = { service = 'trading' }\n"
PACK = "[engine]\npacks = ['service']\n[pack.service]\nlabels = { %s }\n"


def test_labels_of_a_pack_that_no_probe_gives() -> None:
    names = '"http_requests_total", "http_request_duration_seconds_bucket", "up"'
    assert about_labels(PACK % "job = 'shop'" + SCRAPE) == [
        (
            f'run.toml: pack.service: no probe here measures anything with job="shop": asked for by {names}, '
            '"probe_success" (probe.app has job="app")'
        )
    ]
    assert about_labels(PACK % "job = 'app'" + SCRAPE) == []
    assert about_labels(PACK % "service = 'trading'" + SCRAPE + HEALTH) == [
        (
            'run.toml: pack.service: no probe here measures anything with service="trading": asked for by "up" '
            "(probe.app has no service)"
        )
    ], "what the target exposes may have any label; up has those of its probe alone"
    assert about_labels(PACK % "service = 'trading'" + SCRAPE + "labels = { service = 'trading' }\n" + HEALTH) == []


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("up{job='app'} == 0", ""),
        ("up{job='ap'} == 0", 'with job="ap" (probe.app has job="app")'),
        ("up{job!='app'} == 0", 'with job!="app" (probe.app has job="app")'),
        ("up{job=~'a.*', pod=''} == 0", ""),
        ("up{pod='x'} == 0", 'with pod="x" (probe.app has no pod)'),
        ("orders{pod='x'} == 0", ""),
        ("orders{instance='x'} == 0", 'with instance="x" (probe.app has instance="127.0.0.1:9100")'),
        ("probe_success{probe='health'} == 0", ""),
        ("probe_success{probe='helth'} == 0", ""),  # the target of a scrape may expose it, too
        ("longwatch_anything{job='x'} == 0", ""),
        ("{job='x'} == 0", ""),
    ],
)
def test_labels_that_no_probe_gives(rule: str, told: str) -> None:
    found = about_labels(f'[rule.A]\nexpr = "{rule}"\n' + SCRAPE + HEALTH)
    assert [warning.partition(" measures ")[2].partition(" ")[2] for warning in found] == ([told] if told else [])


def test_what_a_target_says_of_itself_is_not_known() -> None:
    honoured = SCRAPE + "honor_labels = true\n"
    assert about_labels("[rule.A]\nexpr = \"orders{job='x'} > 1\"\n" + honoured) == []
    assert len(about_labels("[rule.A]\nexpr = \"up{job='x'} > 1\"\n" + honoured)) == 1


def test_labels_of_what_is_measured_by_one_kind_of_probe() -> None:
    rule = "[rule.A]\nexpr = \"probe_success{probe='helth'} == 0\"\n"
    assert about_labels(rule + HEALTH) == [
        (
            'run.toml:1: rule.A.expr: no probe here measures "probe_success" with probe="helth" '
            '(probe.health has probe="health")'
        )
    ]
    assert about_labels("[probe.host]\n[rule.A]\nexpr = \"host_cpu_percent{x='y'} > 1\"\n") == [], "it does not say"
