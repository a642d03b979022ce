"""The picture and the table of docs/performance.md are made from the figures of a run."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks.hotloop import picture

SVG = "{http://www.w3.org/2000/svg}"


def row(name: str, value: float | None, unit: str = "M samples/s", limit: float | None = None) -> dict[str, Any]:
    ok = limit is None or (value is not None and value >= limit)
    return {
        "benchmark": "evaluator", "name": name, "value": value, "unit": unit,
        "limit": limit, "better": "higher", "note": "", "ok": ok,
    }  # fmt: skip


DOCUMENT = {
    "machine": {"python": "3.11.7", "on": "Linux"},
    "versions": {"evaluator": {"bytewax": "0.21.1"}},
    "results": [
        row("steady: longwatch: single events", 4.0),
        row("steady: a <peer>", 0.5),
        row("steady: absent", None),
        row("noisy: longwatch: single events", 2.0),
        row("steady: longwatch: single events / a <peer>", 8.0, "x", 9.0),
        {**row("other", 1.0), "benchmark": "promql"},
    ],
}


def test_bars_are_as_long_as_the_rates() -> None:
    root = ET.fromstring(picture.svg(DOCUMENT))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert "a <peer>" in texts
    assert "absent" not in texts
    ground, ours, peer, noisy = root.iter(f"{SVG}rect")
    assert ground.get("width") == "100%"
    assert float(ours.attrib["width"]) == pytest.approx(8 * float(peer.attrib["width"]), rel=0.01)
    assert noisy.get("width") == ours.get("width")  # the longest of its own block
    assert max(float(rect.attrib["y"]) for rect in (ours, peer, noisy)) < float(root.attrib["height"])


def test_the_table_has_every_row_with_its_target_and_the_versions() -> None:
    made = picture.table(DOCUMENT)
    assert "bytewax 0.21.1" in made
    assert "| steady: absent | - |" in made
    assert "| steady: longwatch: single events / a <peer> | 8 x | >= 9 x | **no** |" in made
    assert "other" not in made


def test_the_table_takes_the_place_of_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture, "DOCS", tmp_path)
    page, figures = tmp_path / "performance.md", tmp_path / "figures.json"
    page.write_text("before\n<!-- figures -->\nold\n<!-- end of figures -->\nafter\n", encoding="utf-8")
    figures.write_text(json.dumps(DOCUMENT), encoding="utf-8")
    assert picture.main([str(figures)]) == 0
    first = page.read_text(encoding="utf-8")
    assert picture.main([str(figures)]) == 0
    assert page.read_text(encoding="utf-8") == first
    assert first.startswith("before\n")
    assert first.endswith("after\n")
    assert "old" not in first
    assert (tmp_path / "performance.svg").read_text(encoding="utf-8").startswith("<svg")


def test_a_page_without_its_markers_is_an_error() -> None:
    with pytest.raises(ValueError, match="figures"):
        picture.with_table("no markers here", "table")


def test_without_figures_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert picture.main([]) == 2
    assert "usage" in capsys.readouterr().err


def test_the_page_has_its_markers() -> None:
    page = (Path(picture.__file__).parents[2] / "docs/performance.md").read_text(encoding="utf-8")
    assert "| new |" in picture.with_table(page, "| new |")
