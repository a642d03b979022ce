"""The contest: every contestant in turn, round after round, and ratios within a round.

Each heat runs in a process of its own, one at a time. A round has one heat of each contestant, so that whatever
slows the machine down for a while slows all of them; a ratio is taken within its round, and the median over the rounds
is what counts. A heat whose transitions are not those of everybody else is an error, not a figure.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.harness import Row
from benchmarks.hotloop.contestants import CONTESTANTS, Contestant
from benchmarks.hotloop.workload import make

__all__ = ["Heat", "NotEqual", "compete", "contest_rows", "installed", "versions"]

ROOT = Path(__file__).parents[2]
HEAT_S_MAX = 300


class NotEqual(Exception):
    """A contestant made other transitions than the rest."""


class Heat(NamedTuple):
    """What came of one contestant in one round."""

    seconds: float
    transitions: int
    digest: str


def installed(contestant: Contestant) -> bool:
    """Whether it can take part here."""
    return not contestant.package or _version(contestant.package) is not None


def versions() -> dict[str, str]:
    """The versions of all peers."""
    packages = sorted({contestant.package for contestant in CONTESTANTS if contestant.package})
    return {package: _version(package) or "not installed" for package in packages}


def contest_rows(kind: str, *, instants: int, rounds: int) -> list[Row]:
    """Run a contest over a kind of workload and return its part of the table."""
    everybody = [one for one in CONTESTANTS if kind == "steady" or one.noisy]
    present = [one for one in everybody if installed(one)]
    heats = compete(present, kind, instants=instants, rounds=rounds)
    samples = make(kind, instants=instants).samples
    first = heats[present[0].name][0]
    rows = [Row(f"{kind}: transitions of {samples:,} samples", first.transitions, "transitions", note=first.digest)]
    for one in everybody:
        note = f"{one.events}; {one.drain}"
        if one not in present:
            rows.append(Row(f"{kind}: {one.name}", float("nan"), "M samples/s", note=f"{one.package} is not installed"))
            continue
        rate = samples / median(heat.seconds for heat in heats[one.name]) / 1e6
        rows.append(Row(f"{kind}: {one.name}", rate, "M samples/s", note=note))
    rivals = [one for one in present if not one.ours]
    fastest = min(rivals, key=lambda one: median(heat.seconds for heat in heats[one.name]))
    for one in present:
        goals = one.goals(kind)
        for other in rivals if one.ours else ():
            if other.name in goals or other is fastest:
                ratio, goal = _ratio(heats[other.name], heats[one.name]), goals.get(other.name)
                note = "the fastest of the others" if other is fastest else ""
                rows.append(Row(f"{kind}: {one.name} / {other.name}", ratio, "x", goal, "higher", note))
    return rows


def compete(present: Sequence[Contestant], kind: str, *, instants: int, rounds: int) -> dict[str, list[Heat]]:
    """The heats of each contestant, in the order of the rounds.

    Raises:
        NotEqual: The transitions of one are not those of the first.
    """
    heats: dict[str, list[Heat]] = {one.name: [] for one in present}
    for _ in range(rounds):
        for one in present:
            heat = _heat(one, kind, instants)
            heats[one.name].append(heat)
            first = heats[present[0].name][0]
            if heat[1:] != first[1:]:
                raise NotEqual(f"{one.name}: {heat[1:]}, {present[0].name}: {first[1:]}")
    return heats


def _ratio(theirs: Sequence[Heat], ours: Sequence[Heat]) -> float:
    return median(their.seconds / our.seconds for their, our in zip(theirs, ours, strict=True))


def _heat(contestant: Contestant, kind: str, instants: int) -> Heat:
    command = [sys.executable, "-m", "benchmarks.hotloop.heat", contestant.name, kind, str(instants)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HEAT_S_MAX, check=False)
    if done.returncode:
        raise RuntimeError(f"{contestant.name} failed:\n{done.stderr[-4_000:]}")
    return Heat(**json.loads(done.stdout))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
