"""What an address is, without asking anybody."""

import pytest

from engine.addresses import Endpoint, endpoint, is_remote
from engine.clock import SystemClock
from engine.config import load_text
from engine.errors import ConfigError
from engine.ports import Options
from engine.runtime.assembly import build_sentinel
from engine.secrets import Secret
from tests.runtime.rig import shared


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("tcp://192.0.2.1:443", Endpoint("192.0.2.1", 443)),
        ("tcp://[2001:db8::1]:53", Endpoint("2001:db8::1", 53)),
        ("tcp://10.0.0.1:65535", Endpoint("10.0.0.1", 65535)),
    ],
)
def test_an_endpoint_is_an_address_and_a_port(text: str, found: Endpoint) -> None:
    assert endpoint(text) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("192.0.2.1:443", "not an address with a port"),
        ("http://192.0.2.1:443", "not an address with a port"),
        ("tcp://192.0.2.1", "not an address with a port"),
        ("tcp://192.0.2.1:0", "not an address with a port"),
        ("tcp://192.0.2.1:65536", "not an address with a port"),
        ("tcp://192.0.2.1:443/x", "not an address with a port"),
        ("tcp://user@192.0.2.1:443", "not an address with a port"),
        ("tcp://[::1:443", "not an address with a port"),
        ("", "not an address with a port"),
        ("tcp://example.org:443", "must be an IP address"),
        ("tcp://127.0.0.1:443", "says nothing about the network"),
        ("tcp://[::1]:443", "says nothing about the network"),
        ("tcp://[::ffff:127.0.0.1]:443", "says nothing about the network"),
        ("tcp://0.0.0.0:443", "says nothing about the network"),
        ("tcp://224.0.0.1:443", "says nothing about the network"),
    ],
)
def test_what_is_none_is_refused_without_being_repeated(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        endpoint(text)
    assert not text or text not in str(caught.value)


class Urls(Options, frozen=True, kw_only=True):
    url: Secret = Secret("")
    other_urls: list[str] = []
    name: str = "http://192.0.2.1/"


@pytest.mark.parametrize(
    ("url", "remote"),
    [
        ("http://127.0.0.1:8080/health", False),
        ("http://127.9.9.9/", False),
        ("http://[::1]/", False),
        ("http://[::ffff:127.0.0.1]/", False),
        ("http://localhost:9100", False),
        ("http://LOCALHOST./", False),
        ("http://shop.localhost/", False),
        ("http://0.0.0.0:8080/", False),
        ("http://192.0.2.1/", True),
        ("http://10.1.2.3/", True),
        ("https://user:word@shop.example.org/x", True),
        ("http://[2001:db8::1]/", True),
        ("http://[broken/", False),
        ("", False),
    ],
)
def test_remote_is_what_is_not_loopback(url: str, remote: bool) -> None:
    assert is_remote(Urls(url=Secret(url))) is remote
    assert is_remote(Urls(other_urls=["http://localhost/", url])) is remote


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('["tcp://192.0.2.1:443"]', "2 to 8 addresses, not 1 (one alone could be down itself; take independent ones)"),
        (str([f"tcp://192.0.2.{n}:443" for n in range(1, 10)]), "2 to 8 addresses, not 9"),
        (
            '["tcp://192.0.2.1:443", "canary.example:80"]',
            'address 2: not an address with a port (write it like "tcp://192.0.2.1:443")',
        ),
        ('["tcp://192.0.2.1:443", "tcp://localhost:80"]', "address 2: must be an IP address"),
        ('"tcp://192.0.2.1:443"', "expected a list"),
        ("[1, 2]", "engine.sentinel"),
    ],
)
def test_sentinels_that_can_not_be_used_are_named(written: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(f"[engine]\nsentinel = {written}\n")
    text = str(caught.value)
    assert "engine.sentinel" in text
    assert said in text
    assert "canary" not in text


def test_sentinels_are_two_to_eight() -> None:
    assert load_text('[engine]\nsentinel = ["tcp://192.0.2.1:443", "tcp://192.0.2.2:443"]\n').engine.sentinel
    assert load_text("[engine]\nsentinel = []\n").engine.sentinel == []


@pytest.mark.parametrize(("key", "asked"), [("", True), ("remote = false\n", False), ("remote = true\n", True)])
def test_a_probe_can_say_itself_whether_it_is_remote(key: str, asked: bool) -> None:
    text = '[engine]\nsentinel = ["tcp://192.0.2.1:443", "tcp://192.0.2.2:443"]\n'
    text += f'[probe.shop]\ntype = "http"\nurl = "http://10.0.0.5/"\n{key}'

    sentinel = build_sentinel(load_text(text), shared(SystemClock()))
    assert (sentinel is not None) is asked
