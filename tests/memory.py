"""Where engines that are killed, or simulated, keep their files: in memory, where a sync costs nothing."""

import os
import shutil
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOM_BYTES = 48 * 1024 * 1024
"""A container has 64 MiB by default. A full one is a full disk, and tests of something else fail of it."""


def memory() -> Path | None:
    """A folder in memory; None if this machine has none with room."""
    if not os.access(MEMORY, os.W_OK) or shutil.disk_usage(MEMORY).free < ROOM_BYTES:
        return None
    return MEMORY
