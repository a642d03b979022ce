"""`jsonl`: appends each notification to a file, one line of JSON each, for people with `jq` and for log shippers.

A line is a message: its id, and what our own form of a notification says. When a message counts as delivered, its line
is on the disk (`fsync`). Nothing is ever changed in the file but its end.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Final

import msgspec

from engine.errors import SinkError
from engine.ports import Notification, Options, SinkContext
from sinks._body_own import render
from sinks._jsonl_file import LineFile

__all__ = ["JsonlOptions", "JsonlSink"]

FILE_NAME: Final = "notifications.jsonl"


class JsonlOptions(Options, frozen=True, kw_only=True):
    """`[sink.NAME]` with `type = "jsonl"`; described in docs/sinks.md.

    Args:
        path: The file; by default `notifications.jsonl` in the state folder.
        rotate_mb: A file that would grow larger than this, in MiB, is rotated first.
        keep: How many older files are kept.
        fsync: Whether each line is on the disk before its message counts as delivered.
        send_resolved: Whether resolved alerts are told, too.
    """

    path: Path | None = None
    rotate_mb: Annotated[int, msgspec.Meta(ge=1, le=1_048_576)] = 64
    keep: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 5
    fsync: bool = True
    send_resolved: bool = True


class JsonlSink:
    """A receiver that is a file.

    Attributes:
        send_resolved: Whether to be told of resolved alerts.
    """

    Options: ClassVar[type[JsonlOptions]] = JsonlOptions
    FILE_NAME: ClassVar[str] = FILE_NAME

    def __init__(self, options: JsonlOptions, context: SinkContext) -> None:
        self.send_resolved = options.send_resolved
        self._call = context.call
        path = options.path or (context.state_dir / self.FILE_NAME if context.state_dir is not None else None)
        size_max = options.rotate_mb * 2**20
        self._file = None if path is None else LineFile(path, size_max, options.keep, sync=options.fsync)

    async def open(self) -> None:
        """Create the file, if it is not there.

        Raises:
            SinkError: `no_path`, not retryable: no folder is known. Else as `LineFile.append`.
        """
        file = self._known()
        await self._call(file.prepare)

    async def close(self) -> None:
        """Nothing to release: the file is open only while a line is written."""

    def render(self, notification: Notification) -> bytes:
        """Return the notification in our own form; see docs/sinks.md. Pure."""
        return render(notification)

    async def deliver(self, message_id: str, body: bytes) -> None:
        """Append one line. After a crash a message may come again, with the same id.

        Raises:
            SinkError: As `open` does.
        """
        file = self._known()
        line = b'{"id":' + msgspec.json.encode(message_id) + b',"message":' + body + b"}\n"
        await self._call(lambda: file.append(line))

    def _known(self) -> LineFile:
        if self._file is None:
            raise SinkError("no_path", "there is no state folder; set path", retryable=False)
        return self._file
