"""`check rules.yml`."""

import io
import shutil
import subprocess
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


def test_a_rule_that_is_there_twice_fails_as_promtool_has_it() -> None:
    """promtool says FAILED and ends with 0; it takes a flag to end otherwise, and so it does here."""
    text = "groups:\n- name: g\n  rules:\n  - {alert: A, expr: up}\n  - {alert: A, expr: up > 1, for: 1s}\n"
    code, lines = check(r_yml=text)
    assert (code, lines[-1]) == (0, "  FAILED: 1 duplicate rule, 1 warning")
    assert "the same alert with the same labels is on line 4" in lines[1]
    assert check(strict=True, r_yml=text)[0] == 2


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("twice", "groups:\n- name: g\n  rules:\n  - {alert: A, expr: up}\n  - {alert: A, expr: up > 1}\n"),
        ("two documents", f"{GOOD}---\ngroups: [nothing\n"),
        ("a long offset", GOOD.replace("expr: up", "expr: up offset 300y")),
        ("a shorter offset", GOOD.replace("expr: up", "expr: up offset -292y")),
    ],
)
def test_promtool_says_the_same(name: str, text: str) -> None:
    Path("r.yml").write_text(text)
    done = subprocess.run(["promtool", "check", "rules", "r.yml"], capture_output=True, text=True, check=False)
    code, lines = check(r_yml=text)
    assert (code == 0) == (done.returncode == 0), name
    assert ("FAILED" in lines[-1]) == ("FAILED" in done.stdout + done.stderr), name


def test_a_second_document_is_not_read_and_told() -> None:
    Path("r.yml").write_text(f"{GOOD}---\ngroups: [nothing\n")
    code, lines = check(r_yml=Path("r.yml").read_text())
    told = "a second document starts here, and neither Prometheus nor this engine reads it"
    hint = "write its groups above, or in a file of their own"
    line = GOOD.count("\n") + 1
    assert (code, lines[1:]) == (0, [f"warning: r.yml:{line}: {told} ({hint})", "  SUCCESS: 2 rules found, 1 warning"])
    code, lines = check(run_toml=f"[engine]\nrule_files = ['r.yml']\n{CONFIG}")
    assert (code, lines[0]) == (0, f"warning: run.toml:2: engine.rule_files: r.yml:{line}: {told} ({hint})")


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


def test_rules_are_held_against_the_configuration_beside_them() -> None:
    """How often it evaluates, whose PromQL it has, and what its own rule files record."""
    text = "groups:\n- name: g\n  rules:\n  - {alert: A, expr: c:d > 1, for: 30s}\n"
    own = "groups:\n- name: h\n  rules:\n  - {record: c:d, expr: up}\n"
    Path("own.yml").write_text(own)
    config = "[engine]\nrule_files = ['own.yml']\nevaluation_interval = '20s'\n" + CONFIG
    assert check(run_toml=config, r_yml=text)[1][-1] == "  SUCCESS: 1 rules found"
    assert "for 30s is shorter" in check(r_yml=text)[1][1]
    new = text.replace("c:d > 1", """'count_values("odd.label", c:d)'""")
    assert check(run_toml=config, r_yml=new)[0] == 0
    old = config.replace("[engine]", "[engine]\ncompat = 'prometheus2'")
    code, lines = check(run_toml=old, r_yml=new)
    assert code == 2
    assert "odd.label" in lines[2]


def test_rule_files_of_a_configuration_are_looked_at_with_it() -> None:
    Path("r.yml").write_text(GOOD.replace("host_cpu_percent", "host_cpu_percnt").replace("5m", "5s"))
    config = "[engine]\nrule_files = ['*.yml']\n[rule.Own]\nexpr = 'a:b > ALERTS'\n" + CONFIG
    where = 'warning: r.yml:4: group "g", rule 1, "A": '
    warnings = [
        f"{where}for 5s is shorter than the group's interval 1m (it fires at the second evaluation, after 1m)",
        f'{where}no probe here measures "host_cpu_percnt" (did you mean "host_cpu_percent"?)',
    ]
    assert check(run_toml=config) == (
        0,
        [*warnings, "run.toml: ok: 2 warnings: 1 probe, 3 rules (1 recording), 1 sink"],
    )
    assert check(strict=True, run_toml=config)[0] == 2
    code, lines = check(run_toml=config, r_yml=Path("r.yml").read_text())  # told once
    assert (code, lines[0]) == (0, "run.toml: ok: 1 probe, 3 rules (1 recording), 1 sink")
    assert lines[1:] == ["Checking r.yml", *warnings, "  SUCCESS: 2 rules found, 2 warnings"]


def test_overrides_without_a_configuration_are_refused() -> None:
    Path("r.yml").write_text(GOOD)
    stream = io.StringIO()
    assert run_check([Path("r.yml")], ["engine.name=x"], False, stream, {}) == 2
    assert stream.getvalue() == "--set: there is no configuration to override, rule files only\n"


@pytest.mark.parametrize("name", ["r.yml", "r.yaml", "r.rules", "r.rule"])
def test_names_of_rule_files(name: str) -> None:
    Path(name).write_text(GOOD)
    stream = io.StringIO()
    assert run_check([Path(name)], (), False, stream, {}) == 0
    assert stream.getvalue() == f"Checking {name}\n  SUCCESS: 2 rules found\n"


def test_wildcards_that_the_shell_left() -> None:
    for name in ("b.yml", "a.yml", "[x].yml"):
        Path(name).write_text(GOOD)
    stream = io.StringIO()
    assert run_check([Path("?.yml"), Path("[x].yml")], (), False, stream, {}) == 0
    assert [line for line in stream.getvalue().splitlines() if line.startswith("Checking")] == [
        "Checking a.yml",
        "Checking b.yml",
        "Checking [x].yml",
    ]
    assert run_check([Path("no*.yml")], (), False, stream, {}) == 2
    assert "no*.yml: can't read the rule file: there is no such file" in stream.getvalue()


def test_a_folder_is_no_rule_file() -> None:
    Path("rules").mkdir()
    stream = io.StringIO()
    assert run_check([Path("rules")], (), False, stream, {}) == 2
    hint = "(name its files, as in rules/*.yml)"
    assert f"rules: can't read the rule file: it is a directory {hint}\n  FAILED: 1 error" in stream.getvalue()


def test_a_file_of_tests_is_no_rule_file() -> None:
    code, lines = check(t_yml="rule_files: [r.yml]\nevaluation_interval: 1m\ntests: []\n")
    assert code == 2
    assert lines[1:] == [
        "t.yml:1: this is a file of tests, not of rules (run it with `test`)",
        "  FAILED: 1 error",
    ]


def test_rules_and_tests_in_one_file_are_still_a_wrong_field() -> None:
    assert "field tests not found" in check(r_yml=GOOD + "tests: []\n")[1][1]


SHARED = Path(__file__).parents[3] / "shared" / "data" / "rules"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the public rule files are not beside this repository: ../shared/data")
def test_public_rule_files_are_fine() -> None:
    stream = io.StringIO()
    assert run_check([SHARED / "*.y*ml"], (), True, stream, {}) == 0
    assert stream.getvalue().count("SUCCESS") == len([*SHARED.glob("*.y*ml")])


def test_a_missing_file() -> None:
    stream = io.StringIO()
    assert run_check([Path("no.yml")], (), False, stream, {}) == 2
    assert stream.getvalue().splitlines() == [
        "Checking no.yml",
        "no.yml: can't read the rule file: there is no such file",
        "  FAILED: 1 error",
    ]
