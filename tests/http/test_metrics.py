"""`/metrics`: both formats, read back by the parsers of others; once a second; the same words as the docs."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from engine import Engine
from engine.config.shape import Config
from engine.http.help import HELP
from engine.http.metrics import FORMATS_MAX, Exposition
from engine.series import series_text, split_series
from engine.testing import VirtualClock, run_virtual
from tests.http.rig import ask, heartbeat, loop, table

DOCS = Path(__file__).resolve().parents[2] / "docs/metrics.md"
# Made by projectors, so in the rules' store alone and not among the engine's own figures.
PROJECTED = {"longwatch_events_total", "longwatch_component_up"}
OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"


class Still:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def now_ms(self) -> int:
        return int(self.now_s * 1000)

    def monotonic(self) -> float:
        return self.now_s


def rendered(exposition: Exposition, accept: str = "") -> tuple[bytes, str]:
    steps = exposition.rendering(accept)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            made: tuple[bytes, str] = end.value
            return made


async def scraped(running: Engine, **headers: str) -> tuple[str, str]:
    assert running.http_port is not None
    reply = await ask(running.http_port, "/metrics", "GET", b"", **headers)
    assert reply.status == 200
    return reply.body.decode(), reply.headers["content-type"]


def engine(clock: VirtualClock) -> Engine:
    return Engine(Config(http=table(), heartbeats=(heartbeat(),)), clock=clock)


def test_what_is_shown_is_what_the_engine_counts() -> None:
    async def main(clock: VirtualClock) -> None:
        running = engine(clock)
        async with running:
            await clock.sleep(20)
            counters = running.status().counters
            text, kind = await scraped(running)
            open_text, open_kind = await scraped(running, Accept=OPENMETRICS)
        assert kind == "text/plain; version=0.0.4; charset=utf-8"
        assert open_kind.startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
        assert open_text.endswith("# EOF\n")
        assert open_text.count("# EOF") == 1
        for families in (list(parse_text(text)), list(parse_openmetrics(open_text))):
            shown = {series_text(s.name, s.labels): s.value for family in families for s in family.samples}
            assert shown.keys() >= counters.keys()
            moving = {name for name in counters if "http" in name or "step" in name or "lag" in name}
            assert {name: shown[name] for name in counters.keys() - moving} == {
                name: value for name, value in counters.items() if name not in moving
            }
            assert all(family.documentation and family.type in ("counter", "gauge") for family in families)
            assert len({family.name for family in families}) == len(families), "each family once"
            assert shown['longwatch_heartbeat_calls_total{heartbeat="backup",kind="start"}'] == 0

    run_virtual(main)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing_to_say() -> None:
    async def main(clock: VirtualClock) -> str:
        running = engine(clock)
        async with running:
            await clock.sleep(20)
            assert running.http_port is not None
            await ask(running.http_port, "/heartbeat/backup")
            return (await scraped(running))[0]

    text = run_virtual(main)
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_is_made_once_a_second_and_format() -> None:
    clock, made = Still(), []

    def figures() -> dict[str, float]:
        made.append(clock.now_s)
        return {"longwatch_rules": float(len(made))}

    exposition = Exposition(figures, clock)
    assert rendered(exposition) == rendered(exposition)
    assert len(made) == 1
    rendered(exposition, OPENMETRICS)
    assert len(made) == 2
    clock.now_s += 1
    assert b"longwatch_rules 3.0" in rendered(exposition)[0]
    for number in range(100):
        rendered(exposition, f"application/openmetrics-text;version=1.0.{number}")
    assert len(made) == 2 + FORMATS_MAX


def test_a_thousand_scrapes_at_once_cost_one() -> None:
    async def main(clock: VirtualClock) -> None:
        running = engine(clock)
        async with running:
            await clock.sleep(1)
            first, _ = await scraped(running)
            with loop().hold():
                texts = [(await scraped(running))[0] for _ in range(20)]
            assert {first} == set(texts)

    run_virtual(main)


@pytest.mark.parametrize("accept", ["application/openmetrics-text;version=1.x", "text/plain;version=a.b.c", "\x7f;;=,"])
def test_an_accept_header_that_is_none_gets_the_plain_format(accept: str) -> None:
    text, kind = rendered(Exposition(lambda: {"longwatch_rules": 1.0}, Still()), accept)
    assert kind.startswith("text/plain; version=0.0.4")
    assert b"longwatch_rules 1.0" in text


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_labels_come_back_as_they_were(value: str) -> None:
    """F137: whatever is in a label stays in it."""
    figures = {series_text("longwatch_alerts", {"state": value}): 1.0}
    text = rendered(Exposition(lambda: figures, Still()))[0].decode()
    samples = [sample for family in parse_text(text) for sample in family.samples]
    assert [sample.labels for sample in samples] == [split_series(next(iter(figures)))[1]]


def test_every_documented_metric_has_its_help() -> None:
    """A metric added to docs/metrics.md is added to engine/http/help.py, and has the type that its name says."""
    rows = re.findall(r"^\| `(longwatch_\w+)` \| (\w+) \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    documented = {name: kind for name, kind in rows if name not in PROJECTED}
    assert set(HELP) == set(documented)
    assert {name for name, kind in documented.items() if (kind == "counter") != name.endswith("_total")} == set()


def test_no_help_is_left_to_the_reader() -> None:
    async def main(clock: VirtualClock) -> str:
        running = engine(clock)
        async with running:
            await clock.sleep(20)
            return (await scraped(running))[0]

    assert "See docs/metrics.md." not in run_virtual(main)
