"""Two ways from a scrape to a webhook, told the same story: our engine, and Prometheus with Alertmanager."""

import tempfile
from pathlib import Path

from benchmarks import alertmanager, process, prometheus
from benchmarks.loopback import serving
from benchmarks.punctual.stage import FOR_S, GROUPS, TARGETS, Stage, rule_expr

__all__ = ["ours", "theirs"]


def ours(folder: Path, seconds: float) -> Stage:
    """What one engine told within some seconds, its state in a folder."""
    stage = Stage()
    with serving(stage.metrics, stage.answered) as port:
        url = f"http://127.0.0.1:{port}"
        tables = [
            f'[probe.t{target}]\ntype = "scrape"\nurl = "{url}/t/{target}"\ninterval = "1s"\n'
            for target in range(TARGETS)
        ]
        tables += [f"[rule.High{group}]\nexpr = '{rule_expr(group)}'\nfor = \"{FOR_S}s\"\n" for group in range(GROUPS)]
        tables.append(f'[sink.hook]\ntype = "webhook"\nurl = "{url}/hook"\n')
        with process.running(folder, "".join(tables)):
            stage.play(seconds)
    return stage


def theirs(seconds: float) -> Stage:
    """What Prometheus and Alertmanager told within some seconds: all intervals 1 s, no wait before a message."""
    stage = Stage()
    with serving(stage.metrics, stage.answered) as port, tempfile.TemporaryDirectory(prefix="longwatch-") as name:
        jobs = [
            {"job_name": f"t{target}", "metrics_path": f"/t/{target}", "static_configs": [_static(port)]}
            for target in range(TARGETS)
        ]
        groups = [{"name": f"g{group}", "interval": "1s", "rules": [_rule(group)]} for group in range(GROUPS)]
        with alertmanager.running(Path(name), f"http://127.0.0.1:{port}/hook") as told:
            config = {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "scrape_configs": jobs,
                "alerting": {"alertmanagers": [{"static_configs": [_static(told)]}]},
            }
            with prometheus.running(config=config, groups=groups):
                stage.play(seconds)
    return stage


def _static(port: int) -> dict[str, list[str]]:
    return {"targets": [f"127.0.0.1:{port}"]}


def _rule(group: int) -> dict[str, str]:
    return {"alert": f"High{group}", "expr": rule_expr(group), "for": f"{FOR_S}s"}
