"""What tests/conftest.py promises: mocked HTTP works with this aiohttp, and what is left behind is noticed."""

import re
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from aioresponses import aioresponses

from tests.habits.source import ROOT

URL = "http://monitored.invalid/health"


@pytest.mark.parametrize("size", [0, 10, 64 * 1024, 300_000])
async def test_a_mocked_body_can_be_read_whole(size: int) -> None:
    with aioresponses() as mocked:
        mocked.get(URL, status=503, body=b"x" * size, headers={"Retry-After": "7"})
        async with aiohttp.ClientSession() as session, session.get(URL) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "7")
            assert len(await answer.read()) == size


async def test_a_mocked_body_can_be_read_in_pieces() -> None:
    with aioresponses() as mocked:
        mocked.get(URL, body=b"x" * 100_000)
        async with aiohttp.ClientSession() as session, session.get(URL) as answer:
            pieces = [piece async for piece in answer.content.iter_chunked(1_024)]
    assert sum(map(len, pieces)) == 100_000


async def test_a_mocked_failure_is_raised() -> None:
    with aioresponses() as mocked:
        mocked.get(URL, exception=aiohttp.ServerDisconnectedError())
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ServerDisconnectedError):
                await session.get(URL)


LEAKY = """
import asyncio
import sqlite3

async def test_leaves_a_task():
    leaky.append(asyncio.create_task(asyncio.Event().wait(), name="forgotten"))

async def test_ends_its_task():
    await asyncio.create_task(asyncio.sleep(0))

async def test_cancels_its_task_without_waiting():
    task = asyncio.create_task(asyncio.Event().wait())
    await asyncio.sleep(0)
    task.cancel()

def test_has_no_loop():
    pass

async def test_leaves_a_connection():
    await asyncio.to_thread(lambda: sqlite3.connect("forsaken.db", uri=True))

def test_commits_and_does_not_close():
    with sqlite3.connect("half_closed.db"):
        pass

def test_closes_its_connection():
    sqlite3.connect(":memory:").close()

leaky = []
"""


def test_what_is_left_behind_fails_its_test(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_bytes((ROOT / "tests/conftest.py").read_bytes())
    (tmp_path / "test_leaky.py").write_text(LEAKY)
    command = ["-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run(
        [sys.executable, *command, "-p", "no:cacheprovider"],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        cwd=tmp_path,
    )
    assert "7 passed, 3 errors" in done.stdout, done.stdout + done.stderr
    for test, left in (
        ("test_leaves_a_task", "forgotten"),
        ("test_leaves_a_connection", "forsaken.db"),
        ("test_commits_and_does_not_close", "half_closed.db"),
    ):
        assert re.search(rf"^ERROR .*::{test}( - .*)?$", done.stdout, re.MULTILINE)
        assert left in done.stdout
