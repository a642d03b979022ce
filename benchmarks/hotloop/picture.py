"""The figures as a picture and as a table: `python -m benchmarks.hotloop.picture FIGURES.json`.

Reads what `python -m benchmarks evaluator --json FIGURES.json` wrote; writes docs/performance.svg and the table in
docs/performance.md between its two markers. Draws by hand: bars need no library.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

__all__ = ["main", "svg", "table", "with_table"]

DOCS = Path(__file__).parents[2] / "docs"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"

WIDTH, LEFT, RIGHT, BAR, GAP, TOP = 860, 260, 90, 18, 8, 34
OURS, OTHERS, TEXT, FAINT = "#2563a8", "#9aa5b1", "#1f2933", "#52606d"


def main(arguments: Sequence[str]) -> int:
    """Write both."""
    if len(arguments) != 1:
        print("usage: python -m benchmarks.hotloop.picture FIGURES.json", file=sys.stderr)
        return 2
    document = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    page = DOCS / "performance.md"
    text = with_table(page.read_text(encoding="utf-8"), table(document))
    (DOCS / "performance.svg").write_text(svg(document), encoding="utf-8")
    page.write_text(text, encoding="utf-8")
    return 0


def svg(document: Mapping[str, Any]) -> str:
    """Bars of the samples per second of each contestant, a block for each workload, the fastest first."""
    parts: list[str] = []
    y = TOP
    for kind in ("steady", "noisy"):
        rates = _rates(document, kind)
        if not rates:
            continue
        parts.append(_text(10, y, f"{kind} workload, million samples per second", TEXT, 15, bold=True))
        y += 14
        for name, rate in rates:
            parts += _bar(y, name, rate, rates[0][1])
            y += BAR + GAP
        y += TOP
    machine = document["machine"]
    under = f"CPython {machine['python']}, {machine['on']}; one process each, median of the rounds of one run"
    parts.append(_text(10, y - 10, under, FAINT, 12))
    size = f'width="{WIDTH}" height="{y + 6}" viewBox="0 0 {WIDTH} {y + 6}"'
    font = 'font-family="system-ui, sans-serif"'
    title = "<title>Samples per second through the hot loop</title>"
    ground = '<rect width="100%" height="100%" fill="#ffffff"/>'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>', title, ground, *parts, "</svg>", ""])


def table(document: Mapping[str, Any]) -> str:
    """Every row of the evaluator, in Markdown."""
    versions = {**document["machine"], **document.get("versions", {}).get("evaluator", {})}
    lines = [", ".join(f"{name} {version}" for name, version in versions.items()) + ".", ""]
    lines += ["| what | figure | target | met | note |", "|---|---:|---:|---|---|"]
    for row in _results(document):
        sign = ">=" if row["better"] == "higher" else "<="
        target = "" if row["limit"] is None else f"{sign} {row['limit']:g} {row['unit']}"
        met = "" if row["limit"] is None else "yes" if row["ok"] else "**no**"
        figure = "-" if row["value"] is None else f"{_number(row['value'])} {row['unit']}"
        lines.append("| " + " | ".join([row["name"].replace("|", "\\|"), figure, target, met, row["note"]]) + " |")
    return "\n".join(lines)


def with_table(page: str, made: str) -> str:
    """The page with another table. Raises `ValueError` without the markers."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{after}"


def _rates(document: Mapping[str, Any], kind: str) -> list[tuple[str, float]]:
    rates = [
        (row["name"].removeprefix(f"{kind}: "), row["value"])
        for row in _results(document)
        if row["name"].startswith(f"{kind}: ") and row["unit"] == "M samples/s" and row["value"] is not None
    ]
    return sorted(rates, key=lambda rate: -rate[1])


def _results(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [row for row in document["results"] if row["benchmark"] == "evaluator"]


def _bar(y: int, name: str, rate: float, longest: float) -> list[str]:
    width = max(1.0, (WIDTH - LEFT - RIGHT) * rate / longest)
    colour = OURS if name.startswith("longwatch") else OTHERS
    return [
        _text(LEFT - 8, y + BAR - 5, name, TEXT, 13, end=True),
        f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>',
        _text(LEFT + width + 6, y + BAR - 5, _number(rate), FAINT, 13),
    ]


def _text(x: float, y: float, text: str, colour: str, size: int, *, bold: bool = False, end: bool = False) -> str:
    more = (' font-weight="600"' if bold else "") + (' text-anchor="end"' if end else "")
    return f'<text x="{x:.1f}" y="{y}" font-size="{size}" fill="{colour}"{more}>{escape(text)}</text>'


def _number(value: float) -> str:
    """Three significant digits, with thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
