"""Which names may be asked for (F130, M33)."""

import pytest

from engine.http.hosts import Hosts

HERE = "127.0.0.1"


@pytest.mark.parametrize(
    ("header", "local", "good"),
    [
        ("127.0.0.1", HERE, True),
        ("127.0.0.1:9797", HERE, True),
        ("localhost", HERE, True),
        ("LOCALHOST:80", HERE, True),
        ("localhost.", HERE, True),
        ("watch.example.org", HERE, True),
        ("WATCH.example.org.:9797", HERE, True),
        ("[::1]:9797", "::1", True),
        ("[0:0:0:0:0:0:0:1]", "::1", True),
        ("localhost", "::1", True),
        ("10.0.0.7:9797", "10.0.0.7", True),
        ("10.0.0.7", "::ffff:10.0.0.7", True),
        ("[fe80::1]", "fe80::1%eth0", True),
        ("evil.example", HERE, False),
        ("evil.example:9797", HERE, False),
        ("evil.example.", HERE, False),
        ("EVIL.EXAMPLE", HERE, False),
        ("watch.example.org.evil.example", HERE, False),
        ("evil-watch.example.org", HERE, False),
        ("localhost.evil.example", HERE, False),
        ("localhost", "10.0.0.7", False),
        ("127.0.0.1", "10.0.0.7", False),
        ("10.0.0.8", "10.0.0.7", False),
        ("", HERE, False),
        (" 127.0.0.1", HERE, False),
        ("127.0.0.1:x", HERE, False),
        ("127.0.0.1:80:80", HERE, False),
        ("127.0.0.1, evil.example", HERE, False),
        ("user@127.0.0.1", HERE, False),
        ("127.0.0.1/", HERE, False),
        ("[::1", "::1", False),
        ("[127.0.0.1]x", HERE, False),
        ("2130706433", HERE, False),
        ("0x7f.1", HERE, False),
    ],
)
def test_only_known_names_and_the_address_itself(header: str, local: str, good: bool) -> None:
    assert Hosts(["watch.example.org"]).allows(header, local) is good
