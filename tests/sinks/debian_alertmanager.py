"""A real Alertmanager for tests, in the loop of the test; how it is started is the benchmarks'."""

import asyncio
import json
import subprocess
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.alertmanager import command, start_command

__all__ = ["needed", "query", "running"]

needed = [
    pytest.mark.process,
    pytest.mark.skipif(
        not command(),
        reason="prometheus-alertmanager and amtool can't be started here (package prometheus-alertmanager)",
    ),
]
"""The marks of tests that run one."""


@asynccontextmanager
async def running(folder: Path, hook: str, port: int) -> AsyncIterator[str]:
    """Run one in a folder of its own, until the end of the block; yields its URL. It keeps its log of notifications
    there, so a second one in the same folder is the first one restarted."""
    start = start_command(folder, hook, port, ["alertname"])
    process = await asyncio.create_subprocess_exec(*start, stdout=PIPE, stderr=STDOUT)
    assert process.stdout is not None
    reading = None
    try:
        async with asyncio.timeout(20):
            said = b""
            while b"Listening on" not in said:
                line = await process.stdout.readline()
                assert line, said.decode()
                said += line
        reading = asyncio.create_task(process.stdout.read())  # or it would stand still when the pipe is full
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        if reading is not None:
            await reading


def query(url: str) -> list[dict[str, Any]]:
    """What `amtool alert query` lists."""
    ask = ["amtool", "alert", "query", f"--alertmanager.url={url}", "--output=json"]
    done = subprocess.run(ask, capture_output=True, timeout=20, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found
