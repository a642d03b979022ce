"""docs/blindness.md says what is there."""

import re
from pathlib import Path

from engine.config import load_text
from engine.dropped import DROPPED_SCOPES_MAX
from engine.runtime.blindness import DROPS_OVER_AFTER_MS, LAG_S_MIN, TURNS_EVERY_S
from engine.runtime.blindtime import ALERT, QUIET_MS, REASONS, RECORDED_MS_MAX
from engine.runtime.downtime import AWAY_MS_MAX
from engine.runtime.sentinel import EVERY_S, ROUNDS_MIN, SPACING_S, TIMEOUT_S
from engine.runtime.statefiles import HEARTBEAT_S, LIFE_FILE

PAGE = (Path(__file__).resolve().parents[2] / "docs/blindness.md").read_text(encoding="utf-8")


def test_each_reason_has_its_row() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == set(REASONS)


def test_the_example_is_a_configuration() -> None:
    (toml,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    config = load_text(toml)
    assert len(config.engine.sentinel) == 3
    assert [probe.remote for probe in config.probes] == [None, False]


def test_the_numbers_are_those_of_the_code() -> None:
    text = " ".join(PAGE.split())
    assert (LAG_S_MIN, LAG_S_MIN - TURNS_EVERY_S) == (1.0, 0.75)
    assert "what holds it for 0.75 s or less never" in text
    assert (DROPS_OVER_AFTER_MS, DROPPED_SCOPES_MAX) == (10_000, 16)
    assert "less than 10 s apart" in text
    assert "if there are more than 16" in text
    assert (EVERY_S, TIMEOUT_S, ROUNDS_MIN, SPACING_S) == (10.0, 2.0, 2, 1.0)
    assert "Every ten seconds one of them is asked" in text
    assert (QUIET_MS, RECORDED_MS_MAX) == (60_000, 60_000)
    assert "nothing was missed for a minute" in text
    assert (AWAY_MS_MAX, HEARTBEAT_S, LIFE_FILE) == (31 * 86_400_000, 2.0, "life.json")
    assert "at most 31 days" in text
    assert f"`{ALERT}`" in text
