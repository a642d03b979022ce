"""Random PromQL over random series, for tests that ask a real server the same.

Series are scraped every 15 s with gaps, jitter, resets and values at the edge of floats; expressions are built from
the whole grammar and mostly have a value.
"""

import math
import random
from collections.abc import Callable

from engine.core.promql.memory import Series

START_MS = 1_700_000_000_000
SCRAPES = 60
INTERVAL_MS = 15_000

RANGE_FUNCTIONS = [
    "rate",
    "increase",
    "delta",
    "irate",
    "idelta",
    "changes",
    "resets",
    "deriv",
    "avg_over_time",
    "sum_over_time",
    "min_over_time",
    "max_over_time",
    "count_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "last_over_time",
    "present_over_time",
]
FUNCTIONS = [
    "abs",
    "ceil",
    "floor",
    "exp",
    "sqrt",
    "ln",
    "log2",
    "log10",
    "sgn",
    "round",
    "sort",
    "sort_desc",
    "timestamp",
    "absent",
    "hour",
    "minute",
    "day_of_week",
    "year",
    "cos",
    "deg",
]
ARITHMETIC = ["+", "-", "*", "/", "%", "^", "atan2"]
COMPARISON = [">", "<", ">=", "<=", "==", "!="]


def series(seed: int) -> list[Series]:
    """Some 30 series, in the order in which a server's blocks have them."""
    rng = random.Random(seed)
    found: list[Series] = []
    for metric in "abc":
        for job in "xy":
            for instance in "123":
                if rng.random() < 0.8:
                    zone = {"zone": rng.choice("pq")} if rng.random() < 0.4 else {}
                    labels = {"__name__": metric, "job": job, "instance": instance, **zone}
                    found.append((labels, *_samples(rng, rng.choice([_counter, _gauge, _odd, _constant]))))
    for job in "xy":
        for instance in "12":
            counts = [[float(rng.randint(0, 5)) for _ in range(4)] for _ in range(SCRAPES)]
            times = [START_MS + i * INTERVAL_MS for i in range(SCRAPES)]
            for bucket, le in enumerate(["0.1", "0.5", "1", "+Inf"]):
                total, values = 0.0, []
                for scrape in counts:
                    total += sum(scrape[: bucket + 1])
                    values.append(total)
                found.append(({"__name__": "h_bucket", "job": job, "instance": instance, "le": le}, times, values))
    for instance, team in (("1", "red"), ("2", "blue"), ("3", "red")):
        times = [START_MS + i * INTERVAL_MS for i in range(SCRAPES)]
        found.append(({"__name__": "info", "instance": instance, "team": team}, times, [1.0] * SCRAPES))
    return sorted(found, key=lambda row: sorted(row[0].items()))


def _samples(rng: random.Random, next_value: Callable[[random.Random, float], float]) -> tuple[list[int], list[float]]:
    times, values, value = [], [], rng.choice([0.0, 1.0, 100.0, 1e6])
    for scrape in range(SCRAPES):
        if rng.random() < 0.9:
            value = next_value(rng, value)
            times.append(START_MS + scrape * INTERVAL_MS + rng.choice([0, 0, 0, 7, -5]))
            values.append(value)
    return times, values


def _counter(rng: random.Random, value: float) -> float:
    return 0.0 if rng.random() < 0.05 else value + rng.choice([0.0, 1.0, 2.5, 10.0])


def _gauge(rng: random.Random, _: float) -> float:
    return round(rng.gauss(0, 10), 3)


def _odd(rng: random.Random, _: float) -> float:
    return rng.choice([math.nan, math.inf, -math.inf, 0.0, 1e-7, 3.0, 1e100])


def _constant(_: random.Random, value: float) -> float:
    return value


class Expressions:
    """Builds expressions; `rng` decides."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def _pick(self, *choices: str) -> str:
        return self._rng.choice(choices)

    def _duration(self) -> str:
        return self._pick("15s", "1m", "2m", "5m", "45s", "90s", "30s", "7m", "1m500ms")

    def _modifiers(self) -> str:
        offset = f" offset {self._pick('', '-')}{self._duration()}" if self._rng.random() < 0.12 else ""
        if self._rng.random() >= 0.1:
            return offset
        seconds = START_MS // 1000 + self._rng.randint(0, 900)
        return offset + self._pick(f" @ {seconds}", f" @ {seconds}.25", " @ start()", " @ end()")

    def _selector(self) -> str:
        if self._rng.random() < 0.08:
            return self._pick('{job="x",__name__=~"a|b"}', '{__name__=~"[ab]"}', '{instance="1",le=""}')
        matchers = ['job="x"', 'job!="x"', 'instance=~"1|2"', 'instance!~"1.*"', 'zone="p"', 'zone=""', 'job=~".+"']
        chosen = self._rng.sample(matchers, self._rng.choice([0, 0, 0, 1, 1, 2]))
        return self._pick("a", "b", "c", "a", "b", "h_bucket", "info", "nope") + "{" + ",".join(chosen) + "}"

    def _range(self, depth: int) -> str:
        if self._rng.random() < 0.75:
            return f"{self._selector()}[{self._duration()}]{self._modifiers()}"
        step = self._pick("", "15s", "30s", "1m", "10s", "7s")
        return f"({self.vector(depth - 1)})[{self._duration()}:{step}]{self._modifiers()}"

    def scalar(self, depth: int) -> str:
        if self._rng.random() < 0.7 or depth <= 0:
            return self._pick("1", "2", "0", "0.5", "-1", "NaN", "Inf", "3", "1e3", "100")
        left, right = self.scalar(depth - 1), self.scalar(depth - 1)
        return self._pick(
            f"scalar({self.vector(depth - 1)})",
            "time()",
            "pi()",
            f"({left} {self._rng.choice(ARITHMETIC)} {right})",
            f"({left} {self._rng.choice(COMPARISON)} bool {right})",
            f"-{left}",
        )

    def _matching(self, *, sets: bool) -> str:
        if self._rng.random() < 0.5:
            return ""
        labels = self._pick(
            "instance", "job", "job,instance", "instance,zone", "", "job,instance,zone", "le", "__name__"
        )
        matching = f" {self._pick('on', 'ignoring')}({labels})"
        if sets or self._rng.random() < 0.6:
            return matching
        included = [label for label in self._pick("", "zone", "team", "zone,team").split(",") if label not in labels]
        return f"{matching} {self._pick('group_left', 'group_right')}({','.join(included)})"

    def _aggregation(self, depth: int) -> str:
        plain = ["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"]
        op = self._pick(*plain, "topk", "bottomk", "quantile", "count_values")
        by = self._pick(
            "", " by (job)", " by (job,zone)", " without (instance)", " without ()", " by (__name__)", " by (le)"
        )
        parameter = {
            "topk": self._pick("1", "2", "3", "10", "0", "-1", "2.7") + ", ",
            "bottomk": self._pick("1", "2", "3") + ", ",
            "quantile": self._pick("0.5", "0", "1", "0.9", "-1", "2", "NaN") + ", ",
            "count_values": '"v", ',
        }.get(op, "")
        return f"{op}{by}({parameter}{self.vector(depth - 1)})"

    def _function(self, depth: int) -> str:
        inner, ranged, number = self.vector(depth - 1), self._range(depth), self.scalar(0)
        source, target = self._pick("job", "instance", "zone"), self._pick("job", "new", "zone")
        pattern, value = self._pick("(.*)", "x(.*)", "(.)"), self._pick("$1", "k-$1", "")
        return self._pick(
            f"quantile_over_time({number}, {ranged})",
            f"absent_over_time({ranged})",
            f"{self._rng.choice(FUNCTIONS)}({inner})",
            f"{self._rng.choice(FUNCTIONS)}({inner})",
            f"clamp({inner}, {number}, {self.scalar(0)})",
            f'label_replace({inner}, "{target}", "{value}", "{source}", "{pattern}")',
            f'label_join({inner}, "j", "-", "job", "instance")',
            f"histogram_quantile({number}, rate(h_bucket[{self._duration()}]))",
            f"histogram_quantile({number}, sum by (le,job) (h_bucket))",
            f"vector({self.scalar(depth - 1)})",
            f"-({inner})",
        )

    def vector(self, depth: int) -> str:
        """An expression of vector type."""
        kind = self._rng.random()
        if depth <= 0 or kind < 0.15:
            return self._selector() + self._modifiers()
        if kind < 0.35:
            return f"{self._rng.choice(RANGE_FUNCTIONS)}({self._range(depth)})"
        if kind < 0.58:
            return self._function(depth)
        if kind < 0.72:
            return self._aggregation(depth)
        op = self._rng.choice([*ARITHMETIC, *COMPARISON, "> bool", "== bool"])
        if kind < 0.82:
            sides = [self.vector(depth - 1), self.scalar(depth - 1)]
            self._rng.shuffle(sides)
            return f"({sides[0]} {op} {sides[1]})"
        sets = kind >= 0.93
        op = self._pick("and", "or", "unless") if sets else op
        return f"({self.vector(depth - 1)} {op}{self._matching(sets=sets)} {self.vector(depth - 1)})"
