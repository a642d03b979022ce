"""What tells alerts apart is what is seen of their labels, in any width."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from engine.status import AlertStatus
from engine.view.cells import fit
from engine.view.frame import frame
from engine.view.labels import columns
from tests.view.story import alert, scene, status


def of_rule(rule: str, *labels: dict[str, str]) -> list[AlertStatus]:
    return [alert(rule, labels={"alertname": rule, **one}) for one in labels]


SHOP = {"cluster": "production-eu-west-1", "env": "production", "job": "shop", "severity": "warning"}
HOSTS = of_rule("Slow", *({**SHOP, "instance": f"10.20.30.{at}:9100"} for at in (8, 12, 112)))


@pytest.mark.parametrize(
    ("cells", "starts"),
    [
        (200, ["instance=10.20.30.8:9100 cluster=", "instance=10.20.30.12:9100 cl", "instance=10.20.30.112:9100 cl"]),
        (26, ["instance=10.20.30.8:9100 ", "instance=10.20.30.12:9100", "instance=10.20.30.112:9100"]),
        (20, ["10.20.30.8:9100 prod", "10.20.30.12:9100 pro", "10.20.30.112:9100 pr"]),
        (10, ["…8:9100 ", "…12:9100 ", "…112:9100 "]),
    ],
)
def test_what_differs_comes_first_and_is_written_alike(cells: int, starts: list[str]) -> None:
    for text, start in zip(columns(HOSTS, cells), starts, strict=True):
        assert text.startswith(start)


def test_what_all_that_is_shown_have_in_common_comes_last() -> None:
    """One alert of each rule: within a rule nothing differs, between them something does."""
    disk = {"cluster": "eu", "severity": "warning", "device": "sda", "job": "shop"}
    net = {"cluster": "eu", "severity": "critical", "device": "eth0", "job": "shop"}
    assert columns([*of_rule("Disk", disk), *of_rule("Net", net)], 100) == [
        "device=sda cluster=eu job=shop severity=warning",
        "device=eth0 cluster=eu job=shop severity=critical",
    ]


def test_a_label_that_only_some_have_tells_apart_too() -> None:
    some = of_rule("Slow", {"a": "x", "path": "/pay"}, {"a": "x"})
    assert columns(some, 100) == ["path=/pay a=x", "a=x"]


def test_an_alert_alone_shows_its_value_where_there_is_no_room_for_the_name() -> None:
    (text,) = columns(of_rule("Slow", {"instance": "10.20.30.8:9100", "job": "shop"}), 18)
    assert text == "10.20.30.8:9100 shop"


def test_the_word_flapping_has_its_room() -> None:
    both = [alert("Slow", labels={"instance": f"10.20.30.{at}:9100"}, flapping=at == 1) for at in (1, 2)]
    assert columns(both, 26) == ["flapping 10.20.30.1:9100", "10.20.30.2:9100"]


def test_labels_are_literal() -> None:
    assert columns(of_rule("X", {"b": "2", "a": "\x1b"}), 80) == ["a=\\x1b b=2"]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (130, 40), (60, 20)])
def test_no_two_rows_of_a_rule_look_the_same(width: int, height: int) -> None:
    rows = frame(status(alerts=tuple(HOSTS)), scene(), width, height).plain
    assert len({row for row in rows if row.startswith("FIRING")}) == len(HOSTS)


def test_metrics_are_told_apart_too() -> None:
    depth = {f'queue_depth{{cluster="production-eu",job="shop",pod="web-production-{at}"}}': at for at in (1, 2)}
    text = "\n".join(frame(status(gauges={"host_load1": 1.0, **depth}), scene(), 80, 24).plain)
    assert "queue_depth web-production-1" in text
    assert "queue_depth web-production-2" in text


names = st.sampled_from(["a", "instance", "job", "severity"])
values = st.text(alphabet="ab1./é漢", max_size=12)


@given(st.lists(st.dictionaries(names, values, max_size=4), min_size=1, max_size=5), st.integers(-5, 60))
def test_nothing_is_lost_where_there_is_room(labels: list[dict[str, str]], cells: int) -> None:
    alerts = of_rule("R", *labels)
    assert all(cell_len(fit(text, cells)) == max(cells, 0) for text in columns(alerts, cells))
    for text, one in zip(columns(alerts, 10_000), labels, strict=True):
        assert sorted(text.split()) == sorted(f"{name}={value}" for name, value in one.items())
