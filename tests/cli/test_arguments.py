"""The command line's grammar."""

import argparse
from pathlib import Path

import pytest

from engine.cli import main
from engine.cli.arguments import duration, parse


@pytest.mark.parametrize(
    ("text", "ms"),
    [("24", 86_400_000), ("0.5", 1_800_000), ("10m", 600_000), ("1h30m", 5_400_000), ("250ms", 250)],
)
def test_a_bare_number_is_hours(text: str, ms: int) -> None:
    assert duration(text) == ms


@pytest.mark.parametrize("text", ["876001", "9999999", "9" * 400, "101y"])
def test_a_run_that_is_too_long_is_refused_with_the_longest(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"100 years"):
        duration(text)
    assert duration("876000") == 100 * 365 * 24 * 3_600_000


@pytest.mark.parametrize("text", ["", "0", "0s", "-1", "5x", "nan", "1e3", "ten", "10 m", "99999999999y"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"write one like|longer than"):
        duration(text)


def test_nothing_at_all_is_a_run_of_the_built_in_configuration() -> None:
    parsed = parse([])
    assert (parsed.verb, parsed.config, parsed.duration, parsed.overrides) == ("run", None, None, [])
    assert (parsed.live, parsed.memory, parsed.color) == (None, False, "auto")
    assert (parsed.log_format, parsed.log_level) == ("text", "info")


def test_every_flag_of_a_run() -> None:
    chosen = ["--config", "run.toml", "--duration", "10m", "--set", "probe.host.interval=1s", "--set", "a.b.c=-1"]
    how = ["--no-live", "--log-format", "json", "--log-level", "debug", "--memory", "--color", "never"]
    parsed = parse([*chosen, *how])
    assert parsed.config == Path("run.toml")
    assert parsed.duration == 600_000
    assert parsed.overrides == ["probe.host.interval=1s", "a.b.c=-1"]
    assert parsed.live is False
    assert parsed.memory is True
    assert (parsed.log_format, parsed.log_level, parsed.color) == ("json", "debug", "never")
    assert parse(["--live"]).live is True


def test_the_verbs() -> None:
    checked = parse(["check", "a.toml", "b.toml", "--strict", "--set", "engine.name=x"])
    assert (checked.verb, checked.files, checked.strict) == ("check", [Path("a.toml"), Path("b.toml")], True)
    assert checked.overrides == ["engine.name=x"]
    health = parse(["health", "--config", "run.toml", "--json"])
    assert (health.verb, health.config, health.json) == ("health", Path("run.toml"), True)
    tested = parse(["test", "a.yml", "b.yml"])
    assert (tested.verb, tested.files) == ("test", [Path("a.yml"), Path("b.yml")])
    asked = parse(["query", "up", "--range", "1h", "now", "--step", "15s", "--history", "h.db", "--json"])
    assert (asked.verb, asked.expr, asked.range, asked.step) == ("query", "up", ["1h", "now"], 15_000)
    assert (asked.at, asked.history, asked.config, asked.json) == (None, Path("h.db"), None, True)
    assert parse(["schema"]).verb == "schema"
    assert parse(["version"]).verb == parse(["--version"]).verb == "version"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--duration", "5x"], '"5x" is not a duration'),
        (["--duration", "0"], "longer than nothing"),
        (["--log-level", "loud"], "invalid choice"),
        (["--live", "--no-live"], "not allowed with"),
        (["chek"], "invalid choice"),
        (["run.toml"], "--config run.toml"),
        (["--conf=x"], "unrecognized arguments"),
        (["--set"], "expected one argument"),
        (["health", "--nope"], "unrecognized arguments"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_2(
    arguments: list[str], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert told in printed.err
    assert len(printed.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("verb", "says"),
    [
        ("check", "rule files of Prometheus (.yml, .yaml, .rules)"),
        ("test", "Exit codes: 0 all as expected, 1 something is not, 2 a file can't be used."),
        ("query", "An expression that begins with a minus comes last, after --."),
        ("schema", "Print the JSON schema of run.toml."),
        ("health", "Exit codes: 0 well, 1 not well"),
        ("version", "Print the version."),
    ],
)
def test_every_verb_says_what_it_does(verb: str, says: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert says in " ".join(capfd.readouterr().out.split())


def test_help_and_version_are_exit_0(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert main(["check", "--help"]) == 0
    assert main(["--version"]) == 0
    printed = capfd.readouterr().out
    assert "--duration" in printed
    assert printed.splitlines()[-1].startswith("longwatch ")
