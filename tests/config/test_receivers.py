"""Fallbacks and rate limits of sinks: what is taken over, and what can't be meant."""

import pytest

from engine.config import load_text
from engine.errors import ConfigError

OPS = '[sink.ops]\ntype = "webhook"\nurl = "http://127.0.0.1:1/"\n'
LOG = '[sink.log]\ntype = "jsonl"\n'


def test_a_sink_has_its_fallback_and_its_limit() -> None:
    ops, log = load_text(OPS + 'fallback = "log"\nmessages_per_minute = 30\n' + LOG).sinks
    assert (ops.fallback, ops.messages_per_minute) == ("log", 30)
    assert (log.fallback, log.messages_per_minute) == (None, None)


def test_a_console_that_takes_messages_may_be_a_fallback() -> None:
    ops, _ = load_text(OPS + 'fallback = "console"\n[sink.console]\nmessages = true\n').sinks
    assert ops.fallback == "console"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OPS + 'fallback = "ops"\n' + LOG, "expected the name of another sink that takes messages"),
        (OPS + 'fallback = "lgo"\n' + LOG, 'did you mean "log"'),
        (OPS + 'fallback = "x"\n', "there is no other"),
        (OPS + 'fallback = "sqlite"\n[sink.sqlite]\n' + LOG, "known: log"),
        (OPS + 'fallback = "log"\n' + LOG + 'fallback = "ops"\n', "a fallback has none of its own"),
        (OPS + "messages_per_minute = 0\n", "must be at least 1"),
        (OPS + 'fallback = "console"\n[sink.console]\n' + LOG, "known: log"),
        ("[sink.console]\nmessages_per_minute = 6\n", "leave it out, or set messages = true"),
    ],
)
def test_what_can_not_be_meant_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(text)
    assert message in str(caught.value)
