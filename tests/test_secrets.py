"""A secret shows only to who asks for it by name (fault F144)."""

import json
import logging
import pprint
import traceback

import msgspec
import pytest

from engine.secrets import Secret

CANARY = "canary-7f3a"


@pytest.mark.parametrize(
    "shown",
    [
        str,
        repr,
        ascii,
        lambda s: f"{s!r:>20}",
        lambda s: f"{s}",
        lambda s: repr([s, {"k": s}, (s,)]),
        lambda s: pprint.pformat({"k": s}),
        lambda s: logging.LogRecord("n", 10, "p", 1, "%s", (s,), None).getMessage(),
        lambda s: "".join(traceback.format_exception_only(ValueError(s))),
    ],
)
def test_no_way_of_printing_shows_it(shown: object) -> None:
    text = shown(Secret(CANARY))  # type: ignore[operator]
    assert CANARY not in text
    assert "***" in text


def test_no_encoder_writes_it() -> None:
    with pytest.raises(TypeError):
        json.dumps(Secret(CANARY))
    for encode in (msgspec.json.encode, msgspec.msgpack.encode, msgspec.to_builtins):
        with pytest.raises(TypeError) as refused:
            encode(Secret(CANARY))
        assert CANARY not in str(refused.value)
    assert not hasattr(Secret(CANARY), "__dict__")


def test_whoever_reveals_it_has_it() -> None:
    assert Secret(CANARY).reveal() == CANARY


def test_equality_is_by_text_and_only_among_secrets() -> None:
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert hash(Secret("a")) != hash("a")


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        (f"https://hooks.example/{CANARY}?token={CANARY}#{CANARY}", "https://hooks.example"),
        (f"https://user:{CANARY}@hooks.example:8443/x", "https://hooks.example:8443"),
        (f"http://[::1]:9093/{CANARY}", "http://[::1]:9093"),
        (f"http://host:99999/{CANARY}", "http://host"),
        (f"http://host:port/{CANARY}", "http://host"),
        (CANARY, "***"),
        (f"mailto:{CANARY}", "***"),
        (f"https:///{CANARY}", "***"),
        (f"http://[{CANARY}", "***"),
        (f"http://[::1{CANARY}/", "***"),
        ("", "***"),
    ],
)
def test_of_a_url_only_the_origin_is_shown(url: str, origin: str) -> None:
    assert Secret(url).origin == origin
