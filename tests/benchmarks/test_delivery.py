"""The targets and the receiver of the delivery benchmark, under a clock that is moved, told by no engine."""

import json

import pytest

from benchmarks.punctual.pattern import HIGH, Pattern
from benchmarks.punctual.stage import FOR_S, TARGETS, Stage, group_of

SERIES = 200


class Scene:
    """A stage and its clock. All targets are scraped ten times a second."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.stage = Stage(lambda: self.now_s)
        self.shown = ""

    def go_on(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.now_s += 0.1
            self.shown = "".join(self.stage.metrics(f"/t/{target}").decode() for target in range(TARGETS))

    def tell(self, number: int, at_s: float, status: str = "firing") -> None:
        body = {"alerts": [{"labels": {"i": str(number)}, "status": status}]}
        self.stage.answered("/hook", json.dumps(body).encode(), at_s)


@pytest.fixture
def scene() -> Scene:
    scene = Scene()
    scene.go_on(1.0)
    scene.stage.begin()
    return scene


def first_breach() -> tuple[int, float]:
    """Which series breaches first, and when."""
    pattern = Pattern(SERIES, 2 * FOR_S)
    found = [(pattern.breach(number, 8.0), number) for number in range(SERIES)]
    begins = [(breach.begins_s, number) for breach, number in found if breach is not None]
    return min(begins)[1], min(begins)[0]


def test_a_delay_is_counted_from_when_the_breach_was_first_shown(scene: Scene) -> None:
    number, begins_s = first_breach()
    scene.go_on(begins_s + 0.1)
    assert f'm{{i="{number}",g="{group_of(number)}"}} {HIGH:g}\n' in scene.shown
    shown_s = scene.now_s
    scene.go_on(FOR_S)
    scene.tell(number, shown_s + FOR_S + 0.004)
    (told,) = scene.stage.told
    assert told.deadline_s == pytest.approx(0.004)
    assert told.breach_s == pytest.approx(0.004 + shown_s - 1_001.0 - begins_s)
    assert 0.004 <= told.breach_s < 0.104


def test_what_is_told_twice_or_early_or_not_at_all_is_counted(scene: Scene) -> None:
    number, begins_s = first_breach()
    scene.go_on(begins_s + 0.1)
    scene.tell(number, scene.now_s + FOR_S - 0.001)
    scene.tell(number, scene.now_s + FOR_S)
    scene.tell(number, scene.now_s + FOR_S, status="resolved")
    assert (scene.stage.early, scene.stage.again, scene.stage.missing) == (1, 1, 0)
    scene.go_on(FOR_S + 8)
    scene.stage.end()
    assert scene.stage.missing > 0
    scene.tell(number, scene.now_s + 1)
    assert scene.stage.again == 1  # after the end nothing counts


def test_each_breach_of_a_series_is_an_alert_of_its_own(scene: Scene) -> None:
    number, begins_s = first_breach()
    scene.go_on(begins_s + 0.1)
    scene.tell(number, scene.now_s + FOR_S)
    scene.go_on(1.0)
    line = f'm{{i="{number}",g="{group_of(number)}"}} {HIGH:g}\n'
    while line in scene.shown:
        scene.go_on(0.1)
    while line not in scene.shown:
        scene.go_on(0.1)
    scene.tell(number, scene.now_s + FOR_S + 0.5)
    assert scene.stage.again == 0
    assert [round(told.deadline_s, 3) for told in scene.stage.told] == [0.0, 0.5]
