"""`record` in `[rule.NAME]`: what it takes, what it refuses, and who knows of it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from engine.cli.check import run_check
from engine.config import load_text
from engine.config.cross import cross_check
from engine.core.rules import RecordingRule, Rule
from engine.errors import ConfigError
from engine.events import Sample
from engine.runtime.assembly import compile_rules
from engine.testing import replay

pytestmark = pytest.mark.usefixtures("demo_types")

SINK = "[sink.screen]\n"
RATE = "[rule.Rate]\nrecord = 'service:request_rate'\nexpr = 'sum(rate(requests_total[5m]))'\n"


def problems(text: str, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_text(text, environ=environ or {})
    return [str(problem) for problem in caught.value.problems]


def test_a_recording_rule_and_a_rule_that_reads_it() -> None:
    config = load_text(
        RATE + "labels = { team = 'web' }\n[rule.Busy]\nexpr = 'service:request_rate > 10'\nfor = '1m'\n" + SINK
    )
    recording, alerting = compile_rules(config)
    assert isinstance(recording, RecordingRule)
    assert isinstance(alerting, Rule)
    assert (recording.name, recording.record, recording.labels) == ("Rate", "service:request_rate", {"team": "web"})


def test_it_is_replayed_like_any_rule() -> None:
    text = "[rule.Twice]\nrecord = 'twice'\nexpr = '2 * a'\n[rule.High]\nexpr = 'twice > 3'\n"
    made = replay(text, [Sample(1_000, "a", 1.0), Sample(2_000, "a", 2.0)])
    assert [(t.time_ms, t.rule, t.kind, t.value) for t in made] == [(2_000, "High", "firing", 4.0)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[rule.A]\nrecord = 'a:b'\nexpr = 'x'\nkeep_firing_for = '1m'\nfor = '5m'\n",
            (
                "run.toml:5: rule.A.for: a recording rule gives no alerts, so it has no for, keep_firing_for"
                " (leave out for, keep_firing_for; or leave out record, and it alerts)"
            ),
        ),
        (
            "[rule.A]\nrecord = 'a:b'\nexpr = 'x'\nannotations = { summary = '{{ oops' }\n",
            (
                "run.toml:4: rule.A.annotations: a recording rule gives no alerts, so it has no annotations"
                " (leave out annotations; or leave out record, and it alerts)"
            ),
        ),
        (
            "[rule.A]\nrecord = 'a-b'\nexpr = 'x'\n",
            (
                'run.toml:2: rule.A.record: "a-b" is not a metric name'
                ' (1 to 128 letters, digits, _ and :, as in "service:request_rate")'
            ),
        ),
        ("[rule.A]\nrecord = ''\nexpr = 'x'\n", 'run.toml:2: rule.A.record: "" is not a metric name (1 to 128'),
        (f"[rule.A]\nrecord = '{'a' * 129}'\nexpr = 'x'\n", "run.toml:2: rule.A.record: "),
        ("[rule.A]\nrecord = 5\nexpr = 'x'\n", "run.toml:2: rule.A.record: expected text, got 5"),
        ("[rule.A]\nrecord = 'a:b'\n", "run.toml:1: rule.A.expr: is missing"),
        ("[rule.A]\nrecord = 'a:b'\nexpr = 'x >'\n", "run.toml:3: rule.A.expr: could not parse"),
        ("[rule.A]\nrecord = 'a:b'\nexpr = '\"text\"'\n", "run.toml:3: rule.A.expr: the expression is a string"),
        (
            "[rule.A]\nrecord = 'a:b'\nexpr = 'x'\nlabels = { __a = 'b' }\n",
            "run.toml:4: rule.A.labels.__a: label names",
        ),
        (
            "[rule.A]\nrecord = 'a:b'\nexpr = 'rate(a:b[5m])'\n",
            'run.toml:3: rule.A.expr: it reads what it records itself, "a:b" (read what was measured instead',
        ),
        (
            "".join(f"[rule.{n.upper()}]\nrecord = '{n}'\nexpr = '{of}'\n" for n, of in ("ac", "ba", "cb")),
            "run.toml:3: rule.A.expr: recording rules feed each other in a cycle: A -> B -> C -> A (read what",
        ),
        (
            "[rule.A]\nrecord = 'a:b'\nexpr = 'count({job=\"x\"})'\n",
            'run.toml:3: rule.A.expr: it reads what it records itself, "a:b" (a selector without a metric name',
        ),
    ],
)
def test_what_is_refused(text: str, told: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith(told)


def test_a_name_from_the_environment_is_not_shown() -> None:
    (problem,) = problems("[rule.A]\nrecord = '${NAME}'\nexpr = 'x'\n", {"NAME": "secret-5f3a"})
    assert problem.startswith("run.toml:2: rule.A.record: not a metric name (1 to")


def test_check_knows_what_is_recorded_and_asks_no_condition_of_it() -> None:
    config = load_text(
        "[probe.demo]\nurl = 'http://h/'\n[rule.A]\nrecord = 'demo:twice'\nexpr = 'demo_value * 2'\n"
        "[rule.B]\nexpr = 'demo:twice > 1'\n[rule.C]\nexpr = 'demo:twise > 1'\n" + SINK,
        environ={},
    )
    assert [str(warning) for warning in cross_check(config)] == [
        'run.toml:8: rule.C.expr: no probe here measures "demo:twise" (did you mean "demo:twice"?)'
    ]


def test_what_a_recording_rule_reads_must_be_measured_too() -> None:
    config = load_text("[probe.demo]\nurl = 'http://h/'\n[rule.A]\nrecord = 'x:y'\nexpr = 'scalar(zzz)'\n" + SINK)
    assert [warning.message for warning in cross_check(config)] == ['no probe here measures "zzz"']


def test_check_says_how_many_there_are(tmp_path: Path) -> None:
    path, out = tmp_path / "run.toml", io.StringIO()
    path.write_text("[probe.plain]\n[rule.B]\nexpr = 'service:request_rate > 1'\n" + RATE + SINK)
    assert run_check([path], [], False, out, environ={}) == 0
    assert out.getvalue() == f"{path}: ok: 1 probe, 2 rules (1 recording), 1 sink\n"
