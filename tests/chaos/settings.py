"""The configuration of the engine that is killed: 50 alerts, three receivers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.chaos.model import GRID_WINDOW_MS, Rule
from tests.chaos.world import DEAD_HOST

__all__ = ["configuration", "rule_file"]


def configuration(folder: Path, rules: Iterable[Rule], ports: Mapping[str, int]) -> str:
    """The text of a `run.toml`."""
    return "\n".join(
        [
            f'[engine]\nname = "chaos"\nstate_dir = "{folder}/state"\nresolution = "100ms"\nrule_files = ["rules.yml"]',
            _probe("signals", "100ms", f"http://127.0.0.1:{ports['scraped']}/metrics"),
            # After a restart what was seen last counts for three intervals, in which a busy machine must have scraped.
            _probe("grid", "200ms", f"http://127.0.0.1:{ports['scraped']}/grid"),
            *(
                f'[rule.{rule.name}]\nexpr = "{rule.metric} > 0"\nfor = "{rule.for_ms}ms"'
                for rule in rules
                if not rule.grid
            ),
            *(_receiver(name, "127.0.0.1", ports[name], "2s") for name in ("good", "slow")),
            _receiver("dead", DEAD_HOST, ports["dead"], "20s"),
        ]
    )


def rule_file(rules: Iterable[Rule], *, interval_ms: int = 100, window_ms: int = GRID_WINDOW_MS) -> str:
    """The text of a Prometheus rule file."""
    texts = (
        f"      - alert: {rule.name}\n        for: {rule.for_ms}ms\n"
        f"        expr: max_over_time({rule.metric}[{window_ms}ms]) > 0\n"
        for rule in rules
        if rule.grid
    )
    return f"groups:\n  - name: chaos\n    interval: {interval_ms}ms\n    rules:\n" + "".join(texts)


def _probe(name: str, interval: str, url: str) -> str:
    return f'[probe.{name}]\ntype = "scrape"\ninterval = "{interval}"\nurl = "{url}"'


def _receiver(name: str, host: str, port: int, timeout: str) -> str:
    return f'[sink.{name}]\ntype = "webhook"\nbody = "json"\nurl = "http://{host}:{port}/"\ntimeout = "{timeout}"'
