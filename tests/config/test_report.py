"""Addresses, order and the cap."""

from pathlib import Path

import pytest

from engine.config.document import Override, Places, parse_document
from engine.config.locate import KeyPath
from engine.config.report import PROBLEMS_MAX, Report, address_of, quote


@pytest.mark.parametrize(
    ("path", "address"),
    [
        (("probe", "health", "url"), "probe.health.url"),
        (("probe", "a b", "urls", 2), 'probe."a b".urls[2]'),
        (("probe", "", "x.y"), 'probe.""."x.y"'),
        (("rule", "A\n\x1b[31m"), r'rule."A\n\x1b[31m"'),
        (("engine", "k" * 1_000_000), "engine." + "k" * 139 + "…"),
        ((), ""),
    ],
)
def test_addresses(path: KeyPath, address: str) -> None:
    assert address_of(path) == address


def test_values_are_cut_and_clean() -> None:
    assert quote("a\u2028b") == '"a\\u2028b"'
    assert len(quote("x" * 1000)) == 42


def test_file_order_whatever_the_order_of_finding() -> None:
    own = parse_document("[a]\nx = 1\ny = 2\n", "run.toml", Path())
    report = Report(Places([own], [Override(("b", "z"), 1)]))
    for path in (("b", "z"), ("a", "y"), ("a", "x"), ("a",), ("a", "x")):
        report.error(path, "m")
        report.warn(path, "w")
    expected = ["run.toml:1: a: m", "run.toml:2: a.x: m", "run.toml:2: a.x: m", "run.toml:3: a.y: m", "--set: b.z: m"]
    assert [str(problem) for problem in report.problems()] == expected
    assert [str(warning)[:-1] + "m" for warning in report.warnings()] == expected


def test_no_message_breaks_a_line() -> None:
    report = Report(Places([parse_document("", "run.toml", Path())], []))
    report.error(("a",), "x\ny", "\x1b[31m" * 1000)
    assert str(report.problems()[0]).startswith(r"run.toml: a: x\ny (\x1b[31m")
    assert len(str(report.problems()[0])) < 600


def test_more_than_the_cap_is_counted() -> None:
    report = Report(Places([parse_document("", "run.toml", Path())], []))
    for number in range(PROBLEMS_MAX + 3):
        assert report.is_full == (number >= PROBLEMS_MAX)
        report.error(("a",), "m")
    assert (len(report.problems()), report.left_out) == (PROBLEMS_MAX + 1, 3)
    assert report.problems()[-1].message == "3 more problems are not shown"
