"""What every test has around it: hypothesis' profiles, guards against what is left behind, one repair.

No fixtures of the product live here: fakes and harnesses are in `engine.testing`, where users have them too.
"""

import asyncio
import inspect
import os
import sqlite3
import warnings
from collections.abc import AsyncIterator, Iterator
from functools import wraps
from typing import Any
from unittest.mock import Mock

import aiohttp
import aioresponses.core
import pytest
from hypothesis import HealthCheck, settings

# --- hypothesis -----------------------------------------------------------------------------------
# `ci` gives the same examples every time, so that a red build is a fact about the change. `deep` looks
# for new ones: HYPOTHESIS_PROFILE=deep make test. `brief` is for a second interpreter, on which the code is the same.
# A test with few examples takes a share of `max_examples`, so that `brief` holds for it, too.
# No deadline: a slow machine is not a bug.

settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("brief", max_examples=25, derandomize=True, deadline=None, print_blob=True)
settings.register_profile(
    "deep",
    max_examples=5_000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


# --- tasks left behind ----------------------------------------------------------------------------

# Passes of the loop a task is given to finish after its test: closing a transport takes one or two.
_LOOP_PASSES = 20


@pytest.fixture
async def no_task_left() -> AsyncIterator[None]:
    """Fail a test after which a task is still running in its loop.

    It is set up before the other fixtures and so torn down after them.
    """
    yield
    mine = asyncio.current_task()
    left: set[asyncio.Task[object]] = set()
    for _ in range(_LOOP_PASSES):
        left = {task for task in asyncio.all_tasks() if task is not mine}
        if not left:
            return
        await asyncio.sleep(0)
    names = sorted(f"{task.get_name()} in {task.get_coro()!r}" for task in left)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    pytest.fail("the test left tasks running:\n  " + "\n  ".join(names), pytrace=False)


@pytest.fixture(autouse=True)
def _guard_async_tests(request: pytest.FixtureRequest) -> None:
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("no_task_left")


# --- connections left open -------------------------------------------------------------------------
# Python 3.13 warns of a connection that nobody closed, but when it is collected: the test that fails is some later one.
# This says it on every Python, of the test that left it. What is held here is not collected before its test is over.

_connections: list[tuple[str, sqlite3.Connection]] = []
_connect = sqlite3.connect


@wraps(_connect)
def _connect_noted(*args: Any, **kwargs: Any) -> sqlite3.Connection:
    connection = _connect(*args, **kwargs)
    _connections.append((str(args[0] if args else kwargs["database"]), connection))
    return connection


sqlite3.connect = _connect_noted


def _is_open(connection: sqlite3.Connection) -> bool:
    try:
        _ = connection.in_transaction  # may be asked from any thread
    except sqlite3.ProgrammingError:
        return False
    return True


def _close_all() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it is told of once
        while _connections:
            try:
                _connections.pop()[1].close()
            except sqlite3.ProgrammingError:
                pass  # another thread's; it is gone all the same


@pytest.fixture(autouse=True)
def _no_connection_left() -> Iterator[None]:
    """Fail a test after which a connection to SQLite is still open."""
    _connections.clear()
    yield
    left = [name for name, connection in _connections if _is_open(connection)]
    if left:
        _close_all()
    _connections.clear()
    if left:
        pytest.fail("the test left connections open:\n  " + "\n  ".join(left), pytrace=False)


# --- aioresponses with aiohttp 3.14 and later -----------------------------------------------------
# aioresponses 0.7.9 builds a ClientResponse by hand. Since 3.14 that takes a keyword argument more,
# `stream_writer`, and a stream over 64 KiB asks its protocol for a parser that the stand-in protocol does
# not have: every mocked call would raise TypeError (aioresponses issue 289). aiohttp 3.14 is a security
# release, so it is not pinned back. Delete this when aioresponses can do it alone.

if "stream_writer" in inspect.signature(aiohttp.ClientResponse.__init__).parameters:

    class _Response(aiohttp.ClientResponse):
        def __init__(self, *args: object, **kwargs: object) -> None:
            if kwargs.get("stream_writer") is None:
                kwargs["stream_writer"] = Mock(name="stream_writer")
            super().__init__(*args, **kwargs)  # type: ignore[arg-type]

    _make_stream = aioresponses.core.stream_reader_factory

    def _stream_with_parser(*args: object, **kwargs: object) -> aiohttp.StreamReader:
        stream = _make_stream(*args, **kwargs)
        if getattr(stream._protocol, "_parser", stream) is None:
            nothing_more = ((), False, b"")
            stream._protocol._parser = Mock(**{"feed_data.return_value": nothing_more})
        return stream

    aioresponses.core.ClientResponse = _Response
    aioresponses.core.stream_reader_factory = _stream_with_parser
