"""`check rules.yml`."""

import io
from pathlib import Path

import pytest

from engine.cli.check import run_check

GOOD = (
    "groups:\n- name: g\n  rules:\n  - {alert: A, expr: host_cpu_percent > 90, for: 5m}\n  - {record: a:b, expr: up}\n"
)
CONFIG = "[probe.host]\n[sink.console]\n"


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def check(strict: bool = False, **texts: str) -> tuple[int, list[str]]:
    paths = [Path(name.replace("_", ".")) for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text)
    stream = io.StringIO()
    code = run_check(paths, (), strict, stream, {})
    return code, stream.getvalue().splitlines()


def test_a_good_file() -> None:
    assert check(r_yml=GOOD) == (0, ["Checking r.yml", "  SUCCESS: 2 rules found"])


def test_every_error_and_the_next_file() -> None:
    bad = GOOD.replace("> 90", "> ").replace("for:", "fro:")
    assert check(a_yml=bad, b_yaml=GOOD) == (
        2,
        [
            "Checking a.yml",
            'a.yml:4: group "g", rule 1, "A": field fro not found (did you mean "for"?)',
            'a.yml:4: group "g", rule 1, "A": could not parse expression: unexpected end after "host_cpu_percent >"',
            "  FAILED: 2 errors",
            "Checking b.yaml",
            "  SUCCESS: 2 rules found",
        ],
    )


def test_warnings_are_errors_when_strict() -> None:
    text = GOOD.replace("5m", "5s")
    code, lines = check(r_yml=text)
    assert (code, lines[-1]) == (0, "  SUCCESS: 2 rules found, 1 warning")
    assert "for 5s is shorter than the group's interval 1m" in lines[1]
    code, lines = check(strict=True, r_yml=text)
    assert (code, lines[-1]) == (2, "  FAILED: 1 warning")


def test_rules_that_the_probes_beside_them_cannot_feed() -> None:
    text = GOOD.replace("host_cpu_percent", "host_cpu_percnt").replace("expr: up", "expr: c:d")
    other = "groups:\n- name: h\n  rules:\n  - {record: c:d, expr: up}\n"
    code, lines = check(run_toml=CONFIG, r_yml=text, s_yml=other)
    assert code == 0
    assert lines == [
        "run.toml: ok: 1 probe, 0 rules, 1 sink",
        "Checking r.yml",
        (
            'warning: r.yml:4: group "g", rule 1, "A": no probe here measures "host_cpu_percnt" '
            '(did you mean "host_cpu_percent"?)'
        ),
        "  SUCCESS: 2 rules found, 1 warning",
        "Checking s.yml",
        "  SUCCESS: 1 rules found",
    ]


def test_a_bad_configuration_beside_them_says_nothing_about_metrics() -> None:
    code, lines = check(run_toml="x = 1\n", r_yml=GOOD.replace("host_cpu_percent", "host_cpu_percnt"))
    assert code == 2
    assert lines[-2:] == ["Checking r.yml", "  SUCCESS: 2 rules found"]


def test_a_missing_file() -> None:
    stream = io.StringIO()
    assert run_check([Path("no.yml")], (), False, stream, {}) == 2
    assert stream.getvalue().splitlines() == [
        "Checking no.yml",
        "no.yml: can't read the rule file: there is no such file",
        "  FAILED: 1 error",
    ]
