"""Heartbeats that come in: a job calls when it is done, and a rule notices when it does not. Pure, under a clock.

A call becomes samples on the common road, stamped when it came. They say that they are measured every so often, so
that they are stale when the call is overdue, and rules say what that means (`on_missing`). Nothing is made up here: no
call, no sample. Only names of the configuration are known, so series and memory are bounded by it.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from engine.config.http_tables import HeartbeatConfig
from engine.events import SampleBatch
from engine.ports import Clock
from engine.secrets import Secret
from engine.series import series_text

__all__ = ["HEARTBEAT_METRICS", "PINGS_PER_SECOND", "Answer", "HeartbeatDesk"]

UP: Final = "heartbeat_up"
RUNNING: Final = "heartbeat_running"
DURATION: Final = "heartbeat_duration_seconds"
EXIT_CODE: Final = "heartbeat_exit_code"
HEARTBEAT_METRICS: Final = (UP, RUNNING, DURATION, EXIT_CODE)
"""What calls are turned into; described in docs/http.md."""
PINGS_PER_SECOND: Final = 10
"""For each heartbeat; more are refused."""
EXIT_CODE_MAX: Final = 255
_INTERVALS: Final = 3
"""A series is stale after so many intervals, see docs/rules.md."""
_KINDS: Final = ("success", "fail", "start")
_REFUSALS: Final = ("unknown", "token", "rate", "full")


class Answer(NamedTuple):
    """What a call is answered: an HTTP status and a word."""

    status: int
    word: str


OK: Final = Answer(200, "ok")


class HeartbeatDesk:
    """Takes the calls.

    Args:
        heartbeats: Those that are known.
        token: What a call must bring where the heartbeat has no token of its own; None for nothing.
        put: Puts a batch on the common road; false if there is no room.
    """

    def __init__(
        self,
        heartbeats: Sequence[HeartbeatConfig],
        token: Secret | None,
        clock: Clock,
        put: Callable[[SampleBatch], bool],
    ) -> None:
        self._clock = clock
        self._put = put
        self._token = token
        self._beats = {beat.name: _Beat(beat) for beat in heartbeats}
        self._refused = dict.fromkeys(_REFUSALS, 0)
        self._started_s = clock.monotonic()

    def __len__(self) -> int:
        return len(self._beats)

    def call(self, name: str, word: str, token: str) -> Answer:
        """Take one call.

        Args:
            word: What stands behind the name: nothing, `start`, `fail` or an exit code.
            token: What the caller brings; empty for none.

        Returns:
            200; 404 for a name or word that is not known, 401 for a wrong token, 429 for too many, 503 where there is
            no room: the last two may be tried again.
        """
        beat = self._beats.get(name)
        code = _exit_code(word)
        if beat is None or (code is None and word not in ("", "start", "fail")):
            return self._refuse("unknown", 404)
        wanted = beat.config.table.token or self._token
        if wanted is not None and not same_token(wanted, token):
            return self._refuse("token", 401)
        if not beat.admits(self._clock.monotonic()):
            return self._refuse("rate", 429)
        kind = "start" if word == "start" else "fail" if word == "fail" or code else "success"
        if not self._put(beat.batch(kind, code, self._clock.now_ms())):
            return self._refuse("full", 503)
        beat.took(kind)
        return OK

    def figures(self) -> Mapping[str, float]:
        """The engine's own metrics about them, by canonical series text."""
        found: dict[str, float] = {}
        for reason, count in self._refused.items():
            found[series_text("longwatch_heartbeat_refused_total", {"reason": reason})] = count
        waiting_s = self._clock.monotonic() - self._started_s
        for beat in self._beats.values():
            found.update(zip(beat.calls_series, beat.taken.values(), strict=True))
            found[beat.waiting_series] = 0.0 if beat.heard else waiting_s
            if beat.success_ms:
                found[beat.success_series] = beat.success_ms / 1000
        return found

    def _refuse(self, reason: str, status: int) -> Answer:
        self._refused[reason] += 1
        return Answer(status, reason)


class _Beat:
    """One heartbeat: its series, and what came."""

    def __init__(self, config: HeartbeatConfig) -> None:
        self.config = config
        self.taken = dict.fromkeys(_KINDS, 0)
        self.success_ms = 0
        label = {"heartbeat": config.name}
        self.calls_series = [series_text("longwatch_heartbeat_calls_total", {**label, "kind": kind}) for kind in _KINDS]
        self.waiting_series = series_text("longwatch_heartbeat_waiting_seconds", label)
        self.success_series = series_text("longwatch_heartbeat_last_success_timestamp_seconds", label)
        self._series = {
            name: series_text(name, {**config.table.labels, "heartbeat": config.name}) for name in HEARTBEAT_METRICS
        }
        self._shapes: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._interval_ms = -(-int(config.table.every) // _INTERVALS)
        self._stamp_ms = 0
        self._started_ms: int | None = None
        self._second_s = 0.0
        self._in_second = 0

    @property
    def heard(self) -> bool:
        """Whether anything ever came."""
        return any(self.taken.values())

    def admits(self, now_s: float) -> bool:
        """Whether one more may come now; it is counted."""
        if now_s - self._second_s >= 1 or not self._in_second:
            self._second_s, self._in_second = now_s, 0
        self._in_second += 1
        return self._in_second <= PINGS_PER_SECOND

    def batch(self, kind: str, code: int | None, now_ms: int) -> SampleBatch:
        """The samples of one call. No two have the same stamp: the second would be dropped as a duplicate."""
        time_ms = self._stamp_ms = max(now_ms, self._stamp_ms + 1)
        if kind == "start":
            return self._made(time_ms, {RUNNING: 1.0})
        values = {UP: float(kind == "success"), RUNNING: 0.0}
        if self._started_ms is not None:
            values[DURATION] = (time_ms - self._started_ms) / 1000
        if code is not None:
            values[EXIT_CODE] = float(code)
        return self._made(time_ms, values)

    def took(self, kind: str) -> None:
        """The last batch is on its way."""
        self.taken[kind] += 1
        self._started_ms = self._stamp_ms if kind == "start" else None
        if kind == "success":
            self.success_ms = self._stamp_ms

    def _made(self, time_ms: int, values: Mapping[str, float]) -> SampleBatch:
        names = tuple(values)
        shape = self._shapes.setdefault(names, tuple(self._series[name] for name in names))
        return SampleBatch(time_ms, shape, np.array(list(values.values()), dtype=np.float64), self._interval_ms)


def same_token(wanted: Secret, given: str) -> bool:
    """Whether it is the token; how long that takes says nothing about it."""
    return hmac.compare_digest(wanted.reveal().encode(), given.encode("utf-8", "surrogateescape"))


def _exit_code(word: str) -> int | None:
    if not (word.isascii() and word.isdigit() and len(word) <= 3):
        return None
    return code if (code := int(word)) <= EXIT_CODE_MAX else None
