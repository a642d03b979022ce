"""promtool's notation of series."""

import math
import struct

import pytest

from engine.core.promql.notation import VALUES_MAX, NotationError, parse_labels, parse_values
from engine.events import STALE_BITS


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", []),
        ("1 2.5 -3 +4 1e3 .5 5.", [1.0, 2.5, -3.0, 4.0, 1000.0, 0.5, 5.0]),
        ("1x3", [1.0, 1.0, 1.0, 1.0]),
        ("0+10x3", [0.0, 10.0, 20.0, 30.0]),
        ("-2+4x3", [-2.0, 2.0, 6.0, 10.0]),
        ("1-2x4", [1.0, -1.0, -3.0, -5.0, -7.0]),
        ("5-0.5x1", [5.0, 4.5]),
        ("1+2x0", [1.0]),
        ("0x2", [0.0, 0.0, 0.0]),
        ("1e2+1e1x1", [100.0, 110.0]),
        ("_ 1 _x3 2", [None, 1.0, None, None, None, 2.0]),
        ("Inf -inf +Inf", [math.inf, -math.inf, math.inf]),
        ("0.1+0.1x2", [0.1, 0.2, 0.1 + 0.1 + 0.1]),
        ("_x0", []),
    ],
)
def test_values(text: str, values: list[float | None]) -> None:
    assert parse_values(text) == values


def test_a_stale_marker_is_not_just_any_nan() -> None:
    stale, nan, again, last = parse_values("stale NaN stalex1")
    assert all(value is not None for value in (stale, nan, again, last))
    bits = [struct.unpack("<Q", struct.pack("<d", value))[0] for value in (stale, nan, again, last)]
    assert [bit == STALE_BITS for bit in bits] == [True, False, True, True]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1 x", '"x" is not a value'),
        ("1+2", "is not a value"),
        ("1x", "is not a value"),
        ("__", "is not a value"),
        ("{{schema:0 sum:1}}", "native histogram"),
        ("{{sum:1}}+{{sum:2}}x3", "native histogram"),
        ("1x99999999999999", "at most"),
        (f"_x{VALUES_MAX} _", "at most"),
    ],
)
def test_values_that_are_refused(text: str, says: str) -> None:
    with pytest.raises(NotationError, match=says):
        parse_values(text)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("up", {"__name__": "up"}),
        ("{}", {}),
        ("up{}", {"__name__": "up"}),
        (' a:b { x = "1" , y="2" , } ', {"__name__": "a:b", "x": "1", "y": "2"}),
        ("m{x='it\\'s \"so\"'}", {"__name__": "m", "x": 'it\'s "so"'}),
        (r'm{x="a\\b\n\t\"\x41\u00e9\101"}', {"__name__": "m", "x": 'a\\b\n\t"AéA'}),
        ("m{x=`a\\b`}", {"__name__": "m", "x": "a\\b"}),
        ('{"http.requests", "x.y"="z"}', {"__name__": "http.requests", "x.y": "z"}),
        ('{__name__="m", x="1"}', {"__name__": "m", "x": "1"}),
        ('m{x=""}', {"__name__": "m"}),
        ('m{x="},{"}', {"__name__": "m", "x": "},{"}),
    ],
)
def test_labels(text: str, labels: dict[str, str]) -> None:
    assert parse_labels(text) == labels


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "m{",
        'm{x="1"',
        'm{x="1" y="2"}',
        "m{x}",
        "m{x=1}",
        'm{x="1",x="2"}',
        "m n",
        'm{"n"}',
        "9m",
        'm{x="1"} z',
    ],
)
def test_labels_that_are_refused(text: str) -> None:
    with pytest.raises(NotationError):
        parse_labels(text)
