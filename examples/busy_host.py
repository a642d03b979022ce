"""A whole watch in half a minute: this host gets busy, an alert fires, and resolves when it is calm again.

    python examples/busy_host.py [--for 10s] [--dir FOLDER]

It writes a run.toml into a folder, starts `python -m engine` on it, listens on loopback for the webhook,
keeps every core busy until the alert has fired, and then lets go. What was told is printed as it comes; at
the end the same story is read back from history.db with plain SQL. Exit code 0 if it went that way.

The line is 60 %, as long as the host is idle before. On one that is busy with something else the line is put
above that, or the alert would never resolve; exit code 77 if there is no room left above it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import signal
import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import psutil
from aiohttp import web

CONFIG = """\
[engine]
name = "busy-host"
state_dir = "{folder}"

[probe.host]
interval = "1s"

[rule.HighCpu]
expr = "host_cpu_percent > {threshold}"
for = "{duration}"
labels = {{ severity = "critical" }}
annotations = {{ summary = "CPU at {{{{ $value | round(1) }}}} %" }}

[sink.console]
pending = true

[sink.history]
type = "sqlite"

[sink.ops]
type = "webhook"
url = "${{OPS_URL}}"
"""
STORY_S_MAX = 150.0
CALM_S_MAX = 60.0
THRESHOLD_PERCENT = 60.0
MARGIN_PERCENT = 20.0
"""So far the line is above what the host does anyway."""
THRESHOLD_PERCENT_MAX = 95.0
TOO_BUSY_PERCENT = 85.0
LOOK_S = 3.0
EXIT_TOO_BUSY = 77
SQL = """
SELECT time, kind, reason, round(value, 1) AS value, time_ms, active_since_ms
FROM v_transitions WHERE rule = 'HighCpu' ORDER BY time_ms"""


def choose_threshold(idle_percent: float) -> float | None:
    """The line for an alert that must fire when all cores are busy and resolve when only the others are.

    Args:
        idle_percent: What the processor does without us.

    Returns:
        Percent, or None where there is no room between the two.
    """
    if idle_percent > TOO_BUSY_PERCENT:
        return None
    return min(max(THRESHOLD_PERCENT, round(idle_percent + MARGIN_PERCENT)), THRESHOLD_PERCENT_MAX)


def burn() -> None:
    """Keep one core busy until killed."""
    while True:
        sum(range(10_000))


@asynccontextmanager
async def receiver(bodies: asyncio.Queue[dict[str, Any]]) -> AsyncIterator[str]:
    """A webhook receiver on loopback; yields its URL."""

    async def take(request: web.Request) -> web.Response:
        bodies.put_nowait(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}/hook"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def engine(config: Path, url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m engine` on a configuration; asked to stop at the end, and waited for."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "engine", "--config", str(config), "--no-live"), env={**os.environ, "OPS_URL": url}
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        print(f"the engine ended with {await process.wait()}", flush=True)


@asynccontextmanager
async def load() -> AsyncIterator[None]:
    """Every core busy."""
    processes = [multiprocessing.Process(target=burn, daemon=True) for _ in range(os.cpu_count() or 1)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


async def told(bodies: asyncio.Queue[dict[str, Any]], status: str) -> dict[str, Any]:
    """The next message; it must say `status`."""
    body = await bodies.get()
    alert = body["alerts"][0]
    print(f"webhook: {body['status']} {alert['labels']} since {alert['startsAt']} {alert['annotations']}", flush=True)
    if body["status"] != status or len(body["alerts"]) != 1:
        raise SystemExit(f"expected one alert that is {status}")
    return body


async def calm(bodies: asyncio.Queue[dict[str, Any]], threshold: float) -> dict[str, Any]:
    """The resolve; it comes with the first measurement under the line, unless something else got busy meanwhile."""
    psutil.cpu_percent(None)  # from here on
    try:
        async with asyncio.timeout(CALM_S_MAX):
            return await told(bodies, "resolved")
    except TimeoutError:
        percent = psutil.cpu_percent(None)
        if percent <= threshold:
            raise
    print(f"something else keeps this host busy by now: {percent:.0f} % of its processors")
    raise SystemExit(EXIT_TOO_BUSY)


async def story(folder: Path, duration: str, threshold: float) -> None:
    """Play it through."""
    bodies: asyncio.Queue[dict[str, Any]] = asyncio.Queue(maxsize=100)
    config = folder / "run.toml"
    text = CONFIG.format(folder=folder / "state", duration=duration, threshold=f"{threshold:g}")
    config.write_text(text, encoding="utf-8")
    async with asyncio.timeout(STORY_S_MAX), receiver(bodies) as url, engine(config, url):
        async with load():
            firing = await told(bodies, "firing")
        resolved = await calm(bodies, threshold)
    if not bodies.empty():
        raise SystemExit("more was told than one firing and one resolve")
    print("history.db:")
    with closing(sqlite3.connect(folder / "state" / "history.db")) as database:
        database.row_factory = sqlite3.Row
        rows = [dict(row) for row in database.execute(SQL)]
    for row in rows:
        print(f"  {row['time']}  {row['kind']:<9} {row['reason']:<10} {row['value']}")
    print(json.dumps({"threshold": threshold, "transitions": rows, "firing": firing, "resolved": resolved}))


def main() -> None:
    """Read the arguments and tell the story."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--for", dest="duration", default="10s", help="how long it must be busy (10s)")
    parser.add_argument("--dir", type=Path, help="where to write; a temporary folder otherwise")
    options = parser.parse_args()
    idle_percent = psutil.cpu_percent(LOOK_S)
    threshold = choose_threshold(idle_percent)
    if threshold is None:
        print(f"this host is busy already: {idle_percent:.0f} % of its processors without this example")
        sys.exit(EXIT_TOO_BUSY)
    print(f"the line is {threshold:g} %; without this example the host is at {idle_percent:.0f} %", flush=True)
    with tempfile.TemporaryDirectory(prefix="longwatch-") as scratch:
        folder = options.dir or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        asyncio.run(story(folder, options.duration, threshold))


if __name__ == "__main__":
    main()
