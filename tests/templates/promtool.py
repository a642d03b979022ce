"""What Prometheus makes of templates: promtool's unit tests run over generated rules."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from engine.templates.constants import quoted

PROMTOOL = shutil.which("promtool")
EXTERNAL_LABELS = {"env": "prod", "site": "north"}
EXTERNAL_URL = "http://prom.example/path"


class Case(NamedTuple):
    """A template, the value and the labels of the alert, and the text that comes of it."""

    template: str
    value: str = "1"
    labels: dict[str, str] = {}
    says: str = ""


def read_cases(path: Path) -> list[Case]:
    return [Case(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def labels_of(case: Case, number: int) -> dict[str, str]:
    """The labels `$labels` has."""
    return {"__name__": "m", "case": str(number), **case.labels}


def _series(case: Case, number: int) -> str:
    pairs = {"case": str(number), **case.labels}
    return "m{" + ",".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in pairs.items()) + "}"


def write_tests(folder: Path, cases: Sequence[Case]) -> Path:
    """A rule and an expected alert for each case."""
    rules = [
        {"alert": f"A{n}", "expr": f'm{{case="{n}"}}', "annotations": {"a": case.template}}
        for n, case in enumerate(cases)
    ]
    tests = {
        "rule_files": ["rules.json"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "external_labels": EXTERNAL_LABELS,
                "external_url": EXTERNAL_URL,
                "input_series": [{"series": _series(case, n), "values": case.value} for n, case in enumerate(cases)],
                "alert_rule_test": [
                    {
                        "eval_time": "0s",
                        "alertname": f"A{n}",
                        "exp_alerts": [
                            {"exp_labels": {"case": str(n), **case.labels}, "exp_annotations": {"a": case.says}}
                        ],
                    }
                    for n, case in enumerate(cases)
                ],
            }
        ],
    }
    (folder / "rules.json").write_text(json.dumps({"groups": [{"name": "g", "rules": rules}]}), encoding="utf-8")
    path = folder / "tests.json"
    path.write_text(json.dumps(tests), encoding="utf-8")
    return path


def run_promtool(folder: Path, cases: Sequence[Case]) -> dict[int, str]:
    """Return what promtool says otherwise than expected: number of the case -> its annotation."""
    assert PROMTOOL is not None
    command = [PROMTOOL, "test", "rules", write_tests(folder, cases).name]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    output = done.stdout + done.stderr
    if done.returncode == 0:
        return {}
    otherwise: dict[int, str] = {}
    for part in output.split("alertname: A")[1:]:
        number = int(part.split(",", 1)[0])
        got = part.split("got:[", 1)[1]
        marker = 'Annotations:{a="'
        if marker not in got:
            otherwise[number] = ""  # an empty annotation is none
            continue
        text = got.split(marker, 1)[1]
        text = text[: text.index('"}\n')]
        otherwise[number] = quoted(f'"{text}"', 0)
    assert otherwise, output
    return otherwise
