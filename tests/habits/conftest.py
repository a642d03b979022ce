"""What all tests of the habits share."""

from pathlib import Path

import pytest

from tests.habits.source import sources


def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """Let the syntax trees go after the last test of this folder: while they are alive each garbage collection of
    every later test takes a second."""
    if nextitem is None or nextitem.path.parent != Path(__file__).parent:
        sources.cache_clear()
