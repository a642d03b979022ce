"""`[http]` and `[heartbeat.NAME]`: what is read, and what is said about what can't be."""

import pytest

from engine.config import load_text
from engine.config.cross import cross_check
from engine.config.http_tables import HEARTBEATS_MAX, HttpTable
from engine.durations import Duration
from engine.errors import ConfigError

TOKEN = "canary-0123456789abcdef"


def problems(text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_text(f"{text}\n[sink.console]\n", environ=environ)
    return [str(problem) for problem in caught.value.problems]


def test_without_a_table_nothing_is_to_listen() -> None:
    assert load_text("[sink.console]\n", environ={}).http is None


def test_an_empty_table_listens_on_this_machine_alone() -> None:
    http = load_text("[http]\n[sink.console]\n", environ={}).http
    assert http == HttpTable()
    assert (http.address, http.port, http.token) == ("127.0.0.1", 9797, None)


def test_everything_is_read() -> None:
    text = """
[http]
address = "0.0.0.0"
port = 8080
allowed_hosts = ["watch.example.org", "10.0.0.7", "fe80::1", "under_score", "trailing."]
token = "${T}"
connections_max = 10
[heartbeat.backup]
every = "1d"
token = "${T}"
labels = { team = "db" }
[sink.console]
"""
    config = load_text(text, environ={"T": TOKEN})
    assert config.http is not None
    assert config.http.token is not None
    assert config.http.token.reveal() == TOKEN
    (beat,) = config.heartbeats
    assert (beat.name, beat.table.every, beat.table.labels) == ("backup", Duration.parse("1d"), {"team": "db"})
    assert TOKEN not in repr(config)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            '[http]\naddress = "localhost"',
            'run.toml:2: http.address: not an IP address (write "127.0.0.1" for this machine alone)',
        ),
        (
            '[http]\naddress = "0.0.0.0"',
            "run.toml:2: http.address: other machines can reach it and no token is set (set http.token, or ",
        ),
        ("[http]\nport = 70000", "run.toml:2: http.port: must be at most 65535, not 70000"),
        (
            '[http]\nallowed_hosts = ["a.example", "b.example:80"]',
            'run.toml:2: http.allowed_hosts: entry 2 is not a host (write it like "watch.example.org")',
        ),
        ("[http]\nconnections_max = 0", "run.toml:2: http.connections_max: must be at least 1, not 0"),
        ("[http]\nlisten = 1", "run.toml:2: http.listen: unknown key"),
        ("http = 1", "run.toml:1: http: expected a table [http]"),
        ("[[http]]", "run.toml:1: http: expected a table [http]"),
        (
            '[heartbeat.backup]\nevery = "1h"',
            "run.toml:1: heartbeat: nothing listens for heartbeats (add [http])",
        ),
        ("[http]\n[heartbeat.a]", "run.toml:2: heartbeat.a.every: is missing"),
        ('[http]\n[heartbeat.a]\nevery = "10ms"', "run.toml:3: heartbeat.a.every: must be at least 1s"),
        (
            '[http]\n[heartbeat.a]\nevery = "1h"\nlabels = { heartbeat = "b" }',
            "run.toml:4: heartbeat.a.labels: the label heartbeat is the heartbeat's name (use another label)",
        ),
        ('[http]\n[heartbeat.a]\nevery = "1h"\nlabels = { "a-b" = "b" }', "run.toml:4: heartbeat.a.labels"),
    ],
)
def test_what_can_not_be_is_named_with_its_key(text: str, told: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith(told)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1"])
def test_a_loopback_address_needs_no_token(address: str) -> None:
    assert HttpTable(address=address).token is None


def test_who_knows_better_may_listen_without_a_token() -> None:
    assert HttpTable(address="::", insecure_bind=True).insecure_bind


@pytest.mark.parametrize("token", ["short-canary", "canary with spaces in it", "canary-ümläut-0123456789", "x" * 600])
def test_a_token_that_is_none_is_not_shown(token: str) -> None:
    for text in ('[http]\ntoken = "${T}"', '[http]\n[heartbeat.a]\nevery = "1h"\ntoken = "${T}"'):
        (problem,) = problems(text, T=token)
        assert "token: not a token: 16 to 512 letters" in problem
        assert token not in problem


def test_there_are_only_so_many_heartbeats() -> None:
    tables = "\n".join(f'[heartbeat.a{number}]\nevery = "1h"' for number in range(HEARTBEATS_MAX + 1))
    assert problems(f"[http]\n{tables}") == [f"run.toml:2: heartbeat: at most {HEARTBEATS_MAX} heartbeats, not 101"]


def test_check_knows_what_heartbeats_measure() -> None:
    text = """
[http]
[heartbeat.backup]
every = "1d"
[probe.host]
[rule.A]
expr = "heartbeat_up == 0"
[rule.B]
expr = "heartbeat_upp == 0"
[sink.console]
"""
    (warning,) = cross_check(load_text(text, environ={}))
    assert str(warning) == (
        'run.toml:8: rule.B.expr: no probe here measures "heartbeat_upp" (did you mean "heartbeat_up"?)'
    )
