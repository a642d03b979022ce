"""Where engines that are killed, or simulated, keep their files."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.memory import memory as memory_of_machine


def _in_memory(tmp_path: Path) -> Iterator[Path]:
    """What a failure leaves is kept."""
    room = memory_of_machine()
    if room is None:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="longwatch-chaos-", dir=room) as made:
        try:
            yield Path(made)
        finally:
            shutil.copytree(made, tmp_path / "left", ignore=shutil.ignore_patterns("*.ballast"))


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where a sync costs nothing."""
    yield from _in_memory(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The same, a kill being the same there; for chaos on disk."""
    if os.environ.get("LONGWATCH_CHAOS"):
        yield tmp_path
    else:
        yield from _in_memory(tmp_path)
