"""Debian's Prometheus on loopback, as a benchmark's neighbour: the same series, and how long it says it took.

Samples go into its head block by remote write, which is its best case: all in memory, nothing to be scraped
meanwhile. Times are its own: `evalTotalTime` of a query, `evaluationTime` of rules. Nothing of HTTP or JSON counts.
"""

import http.client
import json
import shutil
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.loopback import free_port
from engine.series import split_series

__all__ = ["Prometheus", "alert_states", "installed", "running", "version"]

START_S_MAX = 30.0
SERIES_PER_WRITE = 250
LABEL_NAME = "__name__"

Labels = tuple[tuple[str, str], ...]


def installed() -> bool:
    """Whether the server and its tool are on the path."""
    return shutil.which("prometheus") is not None and shutil.which("promtool") is not None


def version() -> str:
    """What the server says it is."""
    if not installed():
        return "not installed"
    done = subprocess.run(["prometheus", "--version"], capture_output=True, text=True, check=False)
    return ((done.stdout + done.stderr).split() or ["", "", "?"])[2]


class Prometheus:
    """A running server.

    Args:
        port: Where it listens, on loopback.
        rules: The file that its configuration reads rules from.
    """

    def __init__(self, port: int, rules: Path) -> None:
        self._port = port
        self._rules = rules

    def write(self, series: Sequence[str], times_ms: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Write samples.

        Args:
            times_ms: Shape (k,), of every series.
            values: Shape (len(series), k).
        """
        for start in range(0, len(series), SERIES_PER_WRITE):
            part = slice(start, start + SERIES_PER_WRITE)
            body = _snappy(_write_request(series[part], times_ms, values[part]))
            headers = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}
            headers["X-Prometheus-Remote-Write-Version"] = "0.1.0"
            _ask(self._port, "POST", "/api/v1/write", body, headers)

    def query(self, expr: str, at_ms: int) -> tuple[dict[Labels, float], float]:
        """(the vector by labels, milliseconds of evaluation)."""
        asked = urllib.parse.urlencode({"query": expr, "time": at_ms / 1000, "stats": "all"})
        data = self._get(f"/api/v1/query?{asked}")
        found = {tuple(sorted(item["metric"].items())): float(item["value"][1]) for item in data["result"]}
        return found, data["stats"]["timings"]["evalTotalTime"] * 1e3

    def rules(self, groups: Mapping[str, Sequence[str]], seconds: float) -> dict[str, float]:
        """Let groups of alerting rules be evaluated every second for a while; the fastest evaluation of each, in ms."""
        written = {name: _group(name, exprs) for name, exprs in groups.items()}
        self._rules.write_text(json.dumps({"groups": list(written.values())}), encoding="utf-8")
        _ask(self._port, "POST", "/-/reload")
        best = dict.fromkeys(groups, float("inf"))
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for group in self._get("/api/v1/rules")["groups"]:
                # A group that was not evaluated yet says 0; one that saw no sample has no alert.
                if group["evaluationTime"] and all(rule.get("alerts") for rule in group["rules"]):
                    best[group["name"]] = min(best[group["name"]], group["evaluationTime"] * 1e3)
            time.sleep(0.25)
        self._rules.write_text('{"groups": []}', encoding="utf-8")
        return best

    def _get(self, path: str) -> Any:
        return json.loads(_ask(self._port, "GET", path))["data"]


@contextmanager
def running(
    lookback: str = "10s", *, config: Mapping[str, Any] | None = None, groups: Sequence[Mapping[str, Any]] = ()
) -> Iterator[Prometheus]:
    """A server with an empty database, until the block is left.

    Args:
        config: What else its configuration says.
        groups: Its rules at the start.

    Raises:
        RuntimeError: It did not start.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="longwatch-prometheus-") as name:
        folder = Path(name)
        rules, file = folder / "rules.yml", folder / "prometheus.yml"
        rules.write_text(json.dumps({"groups": list(groups)}), encoding="utf-8")
        file.write_text(json.dumps({**(config or {}), "rule_files": [str(rules)]}), encoding="utf-8")
        command = ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}"]
        command += [f"--web.listen-address=127.0.0.1:{port}", f"--query.lookback-delta={lookback}"]
        command += ["--web.enable-remote-write-receiver", "--web.enable-lifecycle", "--log.level=error"]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait(server, port)
            yield Prometheus(port, rules)
        finally:
            server.terminate()
            server.wait(timeout=60)


def alert_states(
    expr: str,
    for_s: int,
    series: Sequence[str],
    columns: Sequence[NDArray[np.float64]],
    expected: Sequence[Mapping[str, str]],
) -> str:
    """Hold the states of alerts against promtool's: what it finds wrong, or nothing.

    Args:
        columns: Values of the series, one a second.
        expected: For each second the state of each alert, by the text of its series.
    """
    rows = zip(series, np.stack(columns, axis=1).tolist(), strict=True)
    given = [{"series": text, "values": " ".join(map(repr, values))} for text, values in rows]
    asked = [
        {"expr": "ALERTS", "eval_time": f"{second}s", "exp_samples": [_alerts(*item) for item in states.items()]}
        for second, states in enumerate(expected)
    ]
    test = {"interval": "1s", "input_series": given, "promql_expr_test": asked}
    with tempfile.TemporaryDirectory(prefix="longwatch-promtool-") as name:
        folder = Path(name)
        group = _group("g", [expr], for_s)
        (folder / "rules.yml").write_text(json.dumps({"groups": [group]}), encoding="utf-8")
        document = {"rule_files": ["rules.yml"], "evaluation_interval": "1s", "tests": [test]}
        (folder / "test.yml").write_text(json.dumps(document), encoding="utf-8")
        command = ["promtool", "test", "rules", str(folder / "test.yml")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stdout + done.stderr)[:2_000]


def _group(name: str, exprs: Sequence[str], for_s: int = 300) -> dict[str, Any]:
    rules = [{"alert": f"R{index}", "expr": expr, "for": f"{for_s}s"} for index, expr in enumerate(exprs)]
    return {"name": name, "interval": "1s", "rules": rules}


def _alerts(text: str, state: str) -> dict[str, Any]:
    _, labels = split_series(text)
    pairs = ",".join(f'{name}="{value}"' for name, value in {**labels, "alertname": "R0", "alertstate": state}.items())
    return {"labels": f"ALERTS{{{pairs}}}", "value": 1}


def _ask(port: int, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        data = answer.read()
    finally:
        connection.close()
    if answer.status >= 300:
        raise RuntimeError(f"prometheus answers {answer.status} to {path}: {data[:200]!r}")
    return data


def _wait(server: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + START_S_MAX
    while server.poll() is None and time.monotonic() < until:
        try:
            _ask(port, "GET", "/-/ready")
        except (OSError, RuntimeError):
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"prometheus did not start (exit code {server.poll()})")


# -- remote write, version 1: protobuf in a snappy block ---------------------------------------------------------


def _write_request(series: Sequence[str], times_ms: NDArray[np.int64], values: NDArray[np.float64]) -> bytes:
    samples = _samples(times_ms, values)
    parts = []
    for row, text in enumerate(series):
        metric, labels = split_series(text)
        pairs = sorted({LABEL_NAME: metric, **labels}.items())
        body = b"".join(_field(1, _field(1, name.encode()) + _field(2, value.encode())) for name, value in pairs)
        parts.append(_field(1, body + samples[row].tobytes()))
    return b"".join(parts)


def _samples(times_ms: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[Any]:
    """Samples as encoded fields of their series, all of one length: shape of `values`."""
    first = _varint(int(times_ms[0]))
    parts = [("head", "u1", (3,)), ("value", "<f8"), ("tag", "u1"), ("time", "u1", (len(first),))]
    fields = np.zeros(values.shape, dtype=np.dtype(parts))
    fields["head"] = (0x12, 9 + 1 + len(first), 0x09)
    fields["value"] = values
    fields["tag"] = 0x10
    fields["time"] = np.array([list(_varint(time_ms)) for time_ms in times_ms.tolist()], dtype=np.uint8)
    return fields


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)


def _snappy(data: bytes) -> bytes:
    """A block of one literal: valid, not smaller."""
    return _varint(len(data)) + b"\xfc" + (len(data) - 1).to_bytes(4, "little") + data
