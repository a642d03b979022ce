"""The write-ahead log of the ledger: checkpointed once a minute, cut when it is long, told of when a reader pins it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from engine.runtime.ledger.file import log_bytes
from engine.runtime.ledger.opening import checkpoint
from engine.runtime.ledger.values import Notice

__all__ = ["LOG_BYTES_TRUNCATE", "LOG_BYTES_WARN", "LogWatch"]

LOG_BYTES_TRUNCATE: Final = 16 * 1024 * 1024
LOG_BYTES_WARN: Final = 64 * 1024 * 1024


class LogWatch:
    """Keeps the log short.

    Args:
        name: The file's name, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._pinned = False
        self.size_bytes = 0
        """At the last look."""

    def look(self, connection: sqlite3.Connection, path: Path) -> list[Notice]:
        """Checkpoint; return what there is to tell. Raises as `checkpoint` does, and `OSError`."""
        size_bytes = log_bytes(path)
        done = checkpoint(connection, self._name, truncate=size_bytes > LOG_BYTES_TRUNCATE)
        before, self._pinned = self._pinned, not done and size_bytes > LOG_BYTES_WARN
        self.size_bytes = log_bytes(path)
        if not self._pinned or before:
            return []
        text = f"{self._name}-wal has {size_bytes // 2**20} MiB: some reader keeps a query open"
        return [Notice("degraded", "wal_pinned", text)]
