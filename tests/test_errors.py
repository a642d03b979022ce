"""Errors: messages that read alike and say who must act."""

import pytest

from engine.errors import (
    ConfigError,
    LongwatchError,
    ProbeError,
    Problem,
    RuleError,
    SinkError,
    StateError,
    nearest,
)


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (
            Problem("run.toml", 3, "probe.x.url", "is missing", "write one"),
            "run.toml:3: probe.x.url: is missing (write one)",
        ),
        (Problem("run.toml", 3, "probe.x.url", "is missing"), "run.toml:3: probe.x.url: is missing"),
        (Problem("--set", 0, "a.b", "no such key"), "--set: a.b: no such key"),
        (Problem("run.toml", 0, "", "can't be read"), "run.toml: can't be read"),
    ],
)
def test_a_problem_names_file_line_and_address(problem: Problem, text: str) -> None:
    assert str(problem) == text


def test_a_config_error_tells_everything_at_once_in_order() -> None:
    problems = [Problem("b", 1, "", "first"), Problem("a", 2, "x", "second")]
    error = ConfigError(iter(problems))
    assert error.problems == tuple(problems)
    assert str(error) == "b:1: first\na:2: x: second"


def test_a_rule_error_names_the_rule() -> None:
    error = RuleError("HighCpu", "rate() is not supported", "use a gauge")
    assert (error.rule, error.message, error.hint) == ("HighCpu", "rate() is not supported", "use a gauge")
    assert str(error) == 'rule "HighCpu": rate() is not supported (use a gauge)'
    assert str(RuleError("R", "no")) == 'rule "R": no'


def test_reason_codes_are_kept() -> None:
    probe = ProbeError("timeout", "no answer in 5s")
    sink = SinkError("http_503", "answered 503", retryable=True, retry_after_s=7.0)
    assert (probe.reason, str(probe)) == ("timeout", "no answer in 5s")
    assert (sink.reason, sink.retryable, sink.retry_after_s, str(sink)) == ("http_503", True, 7.0, "answered 503")
    assert SinkError("refused", "", retryable=False).retry_after_s == 0.0


@pytest.mark.parametrize(
    "error",
    [
        ConfigError([]),
        RuleError("R", "m"),
        ProbeError("r", "m"),
        SinkError("r", "m", retryable=False),
        StateError("m"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_one_base_catches_all(error: Exception) -> None:
    assert isinstance(error, LongwatchError)


def test_nearest_helps_or_is_silent() -> None:
    assert nearest("intervl", ["url", "interval"]) == 'did you mean "interval"?'
    assert nearest("zzz", ["url", "interval"]) == ""
    assert nearest("url", []) == ""
