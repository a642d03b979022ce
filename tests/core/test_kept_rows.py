"""Rows of alerts as earlier versions have written them: an update costs no alert."""

from __future__ import annotations

import msgspec
import pytest

from engine.core import kept_rows
from engine.core.evaluator import Core
from engine.core.kept_rows import UPGRADES, read_row
from engine.core.rules import compile_rule
from engine.core.stored import VERSION, SavedAlert, SavedInput, SavedOwn, SavedSeen, Stored
from engine.events import Sample

T0 = 1_767_225_600_000
# Written before it was kept what is measured of an alert: x{host="a"} = 9 every ten seconds from T0 to T0 + 30 s.
HOT_1 = bytes.fromhex(
    "9601dc0012a578203e20359193a0d920436f6e646974696f6e286f703d273e272c207468726573686f6c643d352e3029a44e6f6e65cf00"
    "00019b76db1d309192a4686f7374a161cd7e01cb40220000000000008fa46b656570d3c000000000000001a46c6f737400a67061757365"
    "64cf3fffffffffffffffa7756e6b6e6f776ecf3fffffffffffffffa46461726b00a66f70656e6564cf0000019b76daa800a66163746976"
    "65cf0000019b76daa800a5666972656400a773746570706564cf0000019b76daa800a4636f6465cd7e01a373657400a46b65707400a672"
    "6561736f6e00a5706861736501a56c6576656cff91cf0000019b76daa800909290909198ab787b686f73743d2261227dcf0000019b76db"
    "1d30cb4022000000000000ce000493e000d3c000000000000000d3c000000000000000a0ffc200c2c2808093ce01c16dc001c2c0c0c0"
)
WARM_1 = bytes.fromhex(
    "9601dc0012a578203e20319193a0d920436f6e646974696f6e286f703d273e272c207468726573686f6c643d312e3029a44e6f6e65cf00"
    "00019b76db1d309192a4686f7374a161cd7e01cb40220000000000008fa46b656570d3c000000000000001a46c6f737400a67061757365"
    "64cf3fffffffffffffffa7756e6b6e6f776ecf3fffffffffffffffa46461726b00a66f70656e6564cf0000019b76daa800a66163746976"
    "65cf0000019b76daa800a56669726564cf0000019b76daa800a773746570706564cf0000019b76daa800a4636f6465cd7e01a373657401"
    "a46b65707401a6726561736f6e00a5706861736502a56c6576656c0091cf0000019b76daa800909290909198ab787b686f73743d226122"
    "7dcf0000019b76db1d30cb4022000000000000ce000493e000d3c000000000000000d3c000000000000000a0ffc200c2c2808093ce01c1"
    "6dc001c2c0c0c0"
)
HOT, WARM = ('["Hot",[]]0', "alertname\0Hot\0host\0a"), ('["Warm",[]]0', "alertname\0Warm\0host\0a")


def core() -> Core:
    return Core([compile_rule("Hot", "x > 5", for_ms=60_000), compile_rule("Warm", "x > 1")])


def fed(one: Core, seconds: int, value: float) -> list[tuple[str, str, int]]:
    now_ms = T0 + 1_000 * seconds
    made = one.feed([Sample(now_ms, 'x{host="a"}', value)]) + one.advance(now_ms)
    return [(each.rule, each.kind, each.time_ms - T0) for each in made]


def test_alerts_of_version_1_go_on() -> None:
    one = core()
    assert one.take_alerts([(*HOT, HOT_1), (*WARM, WARM_1)], T0 + 30_000, T0 + 40_000) == []
    assert one.counters().get("alerts_not_restored_total", 0) == 0
    assert sorted((each.rule, each.state, each.active_since_ms - T0) for each in one.alerts()) == [
        ("Hot", "pending", 0),
        ("Warm", "firing", 0),
    ]
    assert [each for seconds in range(40, 80, 10) for each in fed(one, seconds, 9.0)] == [("Hot", "firing", 70_000)]
    assert sorted(fed(one, 80, 0.0)) == [("Hot", "resolved", 80_000), ("Warm", "resolved", 80_000)]


def test_what_it_has_made_of_them_is_read_again() -> None:
    one = core()
    one.take_alerts([(*HOT, HOT_1), (*WARM, WARM_1)], T0 + 30_000, T0 + 40_000)
    rows = [(key, text, data) for key, text, data in one.changed_alerts(100) if data is not None]
    assert {msgspec.msgpack.decode(data)[0] for _, _, data in rows} == {VERSION}
    again = core()
    again.take_alerts(rows, T0 + 40_000, T0 + 40_000)
    assert [(each.rule, each.state, each.fired_ms) for each in again.alerts()] == [
        ("Warm", "firing", T0),
        ("Hot", "pending", 0),
    ]


def test_versions_are_gone_through_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def renamed(plain: list[object]) -> list[object]:
        assert plain[0] == -1
        return [plain[0], *plain[2:]]

    monkeypatch.setattr(kept_rows, "UPGRADES", {-1: renamed, 0: lambda plain: plain, **UPGRADES})
    older = [-1, "what there was once", *msgspec.msgpack.decode(HOT_1)[1:]]
    assert read_row(msgspec.msgpack.encode(older)) == read_row(HOT_1)


@pytest.mark.parametrize(
    "data",
    [
        msgspec.msgpack.encode([VERSION + 1]),
        msgspec.msgpack.encode([0]),
        msgspec.msgpack.encode([1]) + b"x",
        msgspec.msgpack.encode([1, "no alert"]),
        msgspec.msgpack.encode([1, [0] * 7]),
        msgspec.msgpack.encode([1, [0] * 6 + [{}]]),
        msgspec.msgpack.encode([]),
        msgspec.msgpack.encode([[]]),
        msgspec.msgpack.encode({}),
        b"",
        b"\xc1",
    ],
)
def test_a_row_that_makes_no_sense_is_none(data: bytes) -> None:
    assert read_row(data) is None


def test_the_form_of_rows_is_that_of_their_version() -> None:
    """When this fails: a field at the end with a default goes into the list; for all else raise VERSION, and say in
    `UPGRADES` what makes rows of before such rows."""
    one = core()
    fed(one, 0, 9.0)
    one.changed_alerts(100)
    fed(one, 10, 0.0)
    fed(one, 20, 9.0)
    stored = [read_row(data) for _, _, data in one.changed_alerts(100) if data is not None]
    (columns, *_) = [each.alert.columns for each in stored if each is not None and each.alert is not None]
    assert VERSION == 2
    assert " ".join(sorted(columns)) == (
        "active born code dark fired held keep kept level lost opened paused peak_bits phase reason samples set since "
        "stepped total_bits unknown"
    )
    forms = {
        form.__name__: " ".join(form.__struct_fields__)
        for form in (Stored, SavedAlert, SavedInput, SavedOwn, SavedSeen)
    }
    assert forms == {
        "Stored": "version alert ring own seen projector",
        "SavedAlert": "expr levels at_ms labels told value columns run spans stood inputs judged_ms complete fed "
        "active withheld sample_labels texts",
        "SavedInput": "series last_ms value stale_after_ms mark blind_from_ms blind_to_ms maker",
        "SavedOwn": "expr refused span_ms skipped_ms forgotten blind",
        "SavedSeen": "expr at_ms labels fed inputs",
    }
