"""What is printed at the start and at the end: one screen, without secrets."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest

from engine.cli.banner import COLUMNS, LINES_MAX, Plan, banner, kept, summary, target
from engine.config import Config, load, load_text
from engine.ports import Options
from engine.secrets import Secret

T_MS = 1_700_000_000_000

STORY = """
[engine]
name = "trade-1"
timezone = "Europe/Berlin"
[probe.host]
[probe.health]
type = "http"
url = "http://ada:s3cret@127.0.0.1:8080/path-t0ken?k=t0ken"
interval = "30s"
[rule.HighCpu]
expr = "host_cpu_percent > 90"
for = "5m"
[rule.Down]
expr = "probe_success == 0"
[sink.console]
[sink.history]
type = "sqlite"
[sink.ops]
type = "webhook"
url = "https://hooks.example/t0ken"
"""


def plan(text: str = STORY, *, folder: Path | None = Path("/var/lib/x"), ends_ms: int = 0, **more: object) -> Plan:
    config: Config = load_text(text)
    warnings: Sequence[str] = more.get("warnings", ())  # type: ignore[assignment]
    return Plan(
        version="1.2.3",
        config=config,
        folder=folder,
        starts_ms=T_MS,
        ends_ms=ends_ms,
        zone=ZoneInfo(config.engine.timezone),
        warnings=warnings,
    )


def test_it_reads_like_this() -> None:
    """F24: SQLite's version among it."""
    assert banner(plan(ends_ms=T_MS + 86_400_000, warnings=["one key is odd"])) == [
        'longwatch 1.2.3: "trade-1" from the built-in configuration',
        "",
        "  probes   host               every 5s",
        "           health (http)      every 30s    http://127.0.0.1:8080",
        "  rules    2: HighCpu for 5m, Down",
        "  sinks    console",
        "           history (sqlite)   keeps raw 7d, rollups 400d, at most 2048 MB",
        "           ops (webhook)      https://hooks.example",
        f"  files    /var/lib/x (SQLite {sqlite3.sqlite_version})",
        "  ends     2023-11-15 23:13:20, after 1d; times are Europe/Berlin",
        "  to stop  Ctrl-C or SIGTERM, within 20s; a second one stops at once",
        "  warning  one key is odd",
    ]


def test_no_secret_is_in_it() -> None:
    """F144."""
    told = "\n".join([*banner(plan()), *summary(plan(), T_MS, 0, [])])
    assert "s3cret" not in told
    assert "t0ken" not in told


def test_a_run_without_an_end_in_memory_and_without_rules() -> None:
    told = "\n".join(banner(plan("[probe.host]\n", folder=None)))
    assert "none: everything is kept in memory" in told
    assert "when it is stopped; times are UTC" in told
    assert "none: nothing will be judged" in told


def test_it_is_one_screen_whatever_the_configuration() -> None:
    probes = "".join(f'[probe.p{at}]\ntype = "host"\n' for at in range(300))
    rules = "".join(f'[rule.ARuleWithARatherLongName{at}]\nexpr = "x > {at}"\nfor = "5m"\n' for at in range(300))
    sinks = "".join(f'[sink.s{at}]\ntype = "console"\n' for at in range(300))
    lines = banner(plan(probes + rules + sinks, warnings=["word " * 100] * 50))
    assert len(lines) <= LINES_MAX
    assert all(len(line) <= COLUMNS for line in lines)
    told = "\n".join(lines)
    assert "and 296 more probes" in told
    assert "and 296 more sinks" in told
    assert "more warnings" in told
    assert "  rules    300: ARuleWithARatherLongName0 for 5m," in told
    (more,) = [line for line in lines if line.endswith(" more") and "and 2" in line]
    named = told.count("ARuleWith")
    assert more.endswith(f"and {300 - named} more")


@pytest.mark.parametrize("count", range(1, 14))
def test_rules_are_all_named_while_they_fit(count: int) -> None:
    rules = "".join(f'[rule.Rule{at}]\nexpr = "x > {at}"\nfor = "5m"\n' for at in range(count))
    told = "\n".join(banner(plan(rules)))
    assert told.count("for 5m") == count
    assert "more" not in told


def test_hostile_text_of_the_configuration_is_literal() -> None:
    """F139."""
    lines = banner(plan(warnings=["a\x1b[31m\nb"]))
    assert lines[-1] == "  warning  a\\x1b[31m\\nb"


class Other(Options, frozen=True):
    """Options of somebody else's probe."""

    base_url: Secret = Secret("https://a.example:8443/x?token=y")
    urls: list[str] = []


class Filed(Options, frozen=True):
    """Options with a path."""

    path: Path | None = Path("/srv/history.db")
    keep_days: int = 7


def test_targets_are_found_by_what_options_are() -> None:
    assert target(Other()) == "https://a.example:8443"
    assert target(Filed()) == "/srv/history.db"
    assert target(Options()) == ""
    assert kept(Filed()) == "keeps days 7"
    assert kept(Options()) == ""


@pytest.mark.parametrize(
    ("made", "where"),
    [
        (plan(), "in /var/lib/x"),
        (plan(folder=None), "not kept, the run was in memory"),
        (plan("[sink.console]\n"), "not kept, no sink records it"),
        (plan('[sink.sqlite]\npath = "/srv/h.db"\n', folder=None), "/srv/h.db"),
    ],
)
def test_the_end_says_where_the_history_is(made: Plan, where: str) -> None:
    assert summary(made, T_MS + 90_500, 1, ["3 samples dropped before the rules (full)"]) == [
        "longwatch ran for 1m30s: 1 transition, not everything was kept:",
        "  3 samples dropped before the rules (full)",
        f"history: {where}",
    ]


def test_the_end_of_a_quiet_run() -> None:
    assert summary(plan(), T_MS - 5, 0, [])[0] == "longwatch ran for 0s: 0 transitions, nothing dropped"


def test_the_end_is_short_however_much_was_lost() -> None:
    lines = summary(plan(), T_MS, 0, [f"{at} records or messages lost by sink {'s' * 90}" for at in range(100)])
    assert len(lines) == 10
    assert lines[-2] == "  and 93 more kinds of loss"
    assert all(len(line) <= COLUMNS for line in lines)


def test_how_long_a_stop_may_take_is_what_is_configured() -> None:
    made = plan('[engine]\nshutdown_timeout = "7500ms"\n[probe.host]\n')
    assert "  to stop  Ctrl-C or SIGTERM, within 7s500ms; a second one stops at once" in banner(made)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"a.yml": ["g"]}, "2 in 1 group of 1 rule file"),
        ({"a.yml": ["g", "h"]}, "4 in 2 groups of 1 rule file"),
        ({"a.yml": ["g"], "b.yml": ["g"]}, "4 in 2 groups of 2 rule files"),
        ({"a.yml": []}, "0 in 0 groups of 1 rule file"),
    ],
)
def test_rule_files_are_counted(tmp_path: Path, files: dict[str, list[str]], says: str) -> None:
    for name, groups in files.items():
        rules = "rules: [{record: a, expr: b}, {alert: C, expr: a > 1}]"
        text = "groups:\n" + "".join(f"- {{name: {group}, {rules}}}\n" for group in groups)
        (tmp_path / name).write_text(text, encoding="utf-8")
    path = tmp_path / "run.toml"
    path.write_text('[engine]\nrule_files = ["*.yml"]\n[sink.console]\n', encoding="utf-8")
    config = load(path)
    assert config.rule_count == 2 * sum(map(len, files.values()))
    made = msgspec.structs.replace(plan(), config=config)
    assert f"  rules    {says}" in banner(made)


def test_alerts_come_before_what_is_recorded() -> None:
    text = "".join(f'[rule.r{at}]\nrecord = "service:a_series_of_some_length_{at}"\nexpr = "x"\n' for at in range(12))
    lines = banner(plan(text + '[rule.Down]\nexpr = "up == 0"\nfor = "1m"\n[rule.High]\nexpr = "x > 1"\n'))
    at = lines.index("  rules    2: Down for 1m, High")
    assert lines[at + 1] == "           12 recording rules"
    assert "  rules    12 recording rules" in banner(plan(text))


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("[http]", "  listens  http://127.0.0.1:9797"),
        ('[http]\naddress = "::1"\nport = 80', "  listens  http://[::1]:80"),
        ("[http]\nport = 0", "  listens  http://127.0.0.1, at any free port"),
        ("", ""),
    ],
)
def test_where_it_listens(table: str, says: str) -> None:
    lines = [line for line in banner(plan(f"{table}\n[sink.console]\n")) if line.startswith("  listens")]
    assert lines == [says] * bool(says)
