"""The `jsonl` sink over real files: one line each, whole or not at all, and older files kept by number."""

import json
import os
import resource
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import SinkError
from engine.events import Transition
from engine.ports import Notification, Receiver, Recorder
from sinks._body_own import render
from sinks._jsonl_file import LineFile
from sinks.jsonl import JsonlOptions, JsonlSink
from tests.sinks.context import context, transition
from tests.sinks.test_body_v4 import TOLD


def told(*transitions: Transition) -> Notification:
    return Notification(receiver="log", group_key="k", group_labels={}, transitions=transitions)


async def opened(folder: Path, **options: Any) -> JsonlSink:
    sink = JsonlSink(JsonlOptions(**options), context(folder))
    await sink.open()
    return sink


async def test_each_message_is_a_line_with_its_id(tmp_path: Path) -> None:
    sink = await opened(tmp_path)
    assert isinstance(sink, Receiver)
    assert not isinstance(sink, Recorder)
    for number, kind in enumerate(("firing", "resolved")):
        await sink.deliver(f"evt_{number}", sink.render(told(transition(kind, annotations={"s": "a\nb\u2028"}))))
    lines = [json.loads(line) for line in (tmp_path / "notifications.jsonl").read_bytes().splitlines()]
    assert [line["id"] for line in lines] == ["evt_0", "evt_1"]
    assert lines[0]["message"] == json.loads(render(told(transition("firing", annotations={"s": "a\nb\u2028"}))))
    assert stat.S_IMODE((tmp_path / "notifications.jsonl").stat().st_mode) == 0o600


@given(st.lists(TOLD, min_size=1, max_size=3))
def test_no_text_makes_two_lines_of_one_f140(transitions: list[Transition]) -> None:
    assert b"\n" not in render(told(*transitions))


async def test_without_a_folder_it_says_what_to_write() -> None:
    sink = JsonlSink(JsonlOptions(), context(None))
    for call in (sink.open(), sink.deliver("x", b"{}")):
        with pytest.raises(SinkError, match="set path") as caught:
            await call
        assert (caught.value.reason, caught.value.retryable) == ("no_path", False)


async def test_a_file_that_was_moved_away_is_begun_again(tmp_path: Path) -> None:
    sink = await opened(tmp_path, path=tmp_path / "deep" / "er" / "a.jsonl", fsync=False)
    await sink.deliver("evt_1", b"{}")
    (tmp_path / "deep/er/a.jsonl").rename(tmp_path / "away")
    await sink.deliver("evt_2", b"{}")
    assert (tmp_path / "away").read_bytes() == b'{"id":"evt_1","message":{}}\n'
    assert (tmp_path / "deep/er/a.jsonl").read_bytes() == b'{"id":"evt_2","message":{}}\n'
    shutil.rmtree(tmp_path / "deep")
    await sink.deliver("evt_3", b"{}")
    assert (tmp_path / "deep/er/a.jsonl").read_bytes() == b'{"id":"evt_3","message":{}}\n'
    await sink.close()


# --- the file -----------------------------------------------------------------------------------------


def contents(path: Path) -> dict[str, bytes]:
    return {found.name: found.read_bytes() for found in sorted(path.parent.iterdir())}


@pytest.mark.parametrize("sync", [True, False])
def test_it_is_rotated_by_size_and_so_many_are_kept(tmp_path: Path, sync: bool) -> None:
    path = tmp_path / "a"
    file = LineFile(path, 10, 2, sync=sync)
    for letter in b"abcdefg":
        file.append(bytes([letter]) * 4 + b"\n")
    assert contents(path) == {"a": b"gggg\n", "a.1": b"eeee\nffff\n", "a.2": b"cccc\ndddd\n"}
    file.append(b"h" * 50 + b"\n")
    assert contents(path)["a"] == b"h" * 50 + b"\n", "too large alone: it has a file alone"
    file.append(b"i\n")
    assert contents(path)["a"] == b"i\n"


def test_none_may_be_kept(tmp_path: Path) -> None:
    file = LineFile(tmp_path / "a", 4, 0, sync=False)
    for line in (b"abc\n", b"def\n"):
        file.append(line)
    assert contents(tmp_path / "a") == {"a": b"def\n"}


def test_what_was_torn_before_does_not_run_into_the_next_line(tmp_path: Path) -> None:
    """A power cut in the middle of a line, or another writer."""
    path = tmp_path / "a"
    path.write_bytes(b'{"id":1}\n{"id":')
    LineFile(path, 1_000, 1, sync=True).append(b'{"id":2}\n')
    assert path.read_bytes() == b'{"id":1}\n{"id":\n{"id":2}\n'


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_line_that_does_not_fit_leaves_no_half_of_itself_f12(tmp_path: Path) -> None:
    path = tmp_path / "a"
    file = LineFile(path, 10**6, 1, sync=True)
    file.append(b"first\n")
    with no_file_larger_than(4_096), pytest.raises(SinkError) as caught:
        file.append(b"x" * 10_000 + b"\n")
    assert (caught.value.reason, caught.value.retryable) == ("disk_full", True)
    assert path.read_bytes() == b"first\n"
    file.append(b"second\n")
    assert path.read_bytes() == b"first\nsecond\n"


@pytest.mark.parametrize("kind", ["folder", "pipe", "below a file"])
def test_what_is_no_file_is_a_reason(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.touch()
        path = path / "b"
    file = LineFile(path, 1_000, 1, sync=False)
    for attempt in (file.prepare, lambda: file.append(b"x\n")):
        with pytest.raises(SinkError) as caught:
            attempt()
        assert (caught.value.reason, caught.value.retryable) == ("cant_open", True)
