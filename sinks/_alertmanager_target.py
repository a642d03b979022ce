"""One Alertmanager: what it has not taken yet, and the one task that posts it. Retries are whoever asks again.

It never waits for another Alertmanager. What could not be posted stays to be posted; what Alertmanager calls bad is
looked for by halving (F51) and left out until it changes, so that one bad alert costs no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from engine.errors import SinkError
from engine.ports import Clock
from engine.secrets import Secret
from sinks._alert_table import AlertTable
from sinks._http import HttpClient

__all__ = ["BATCH_ALERTS_MAX", "BATCH_BYTES_MAX", "Target"]

BATCH_ALERTS_MAX: Final = 256
BATCH_BYTES_MAX: Final = 512 * 1024
_BAD: Final = frozenset({400, 413, 422})


class Target:
    """Posts to one Alertmanager.

    Args:
        url: Of `/api/v2/alerts`.
        table: What there is to tell.
        client: Makes the requests.
    """

    def __init__(self, url: Secret, table: AlertTable, client: HttpClient, headers: Mapping[str, str], clock: Clock):
        self.url = url
        self._table = table
        self._client = client
        self._headers = {**headers, "Content-Type": "application/json"}
        self._clock = clock
        self._waiting: dict[str, None] = {}
        self._refused: dict[str, int] = {}
        self._round: asyncio.Future[SinkError | None] | None = None
        self._task: asyncio.Task[None] | None = None

    def mark(self, identities: Iterable[str]) -> None:
        """Note that these are to be posted."""
        self._waiting |= dict.fromkeys(identities)

    def mark_all(self) -> None:
        """Note that everything is to be posted, but for what was called bad and has not changed since."""
        table = self._table
        self._refused = {name: version for name, version in self._refused.items() if table.version(name) == version}
        self._waiting = {name: None for name in table.identities if name not in self._refused}

    def refuses(self, identity: str) -> bool:
        """Whether it called this label set bad, as it is now."""
        return self._refused.get(identity) == self._table.version(identity) != 0

    def post(self) -> asyncio.Future[SinkError | None]:
        """Post what waits, in a round that begins after this call; several calls before that share one.

        Returns:
            What came of it: None if everything was taken or called bad.
        """
        loop = asyncio.get_running_loop()
        if self._round is None:
            self._round = loop.create_future()
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._run(), name="longwatch alertmanager")
        return self._round

    def begin(self) -> None:
        """`post`, for who does not want to know."""
        _ = self.post()

    async def close(self) -> None:
        """End what is under way."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        if self._round is not None:
            self._round.cancel()

    async def _run(self) -> None:
        while (this := self._round) is not None:
            self._round = None
            try:
                failure = await self._post_waiting()
            except asyncio.CancelledError:
                this.cancel()
                raise
            except Exception as error:  # noqa: BLE001  # our own bug, which must not leave a round without an end
                failure = SinkError("raised", f"{self.url.origin}: {type(error).__name__}", retryable=True)
            if not this.done():
                this.set_result(failure)

    async def _post_waiting(self) -> SinkError | None:
        try:
            for batch in self._batches():
                await self._post(batch)
        except SinkError as failure:
            return failure
        return None

    def _batches(self) -> Iterator[list[str]]:
        """What waits, in parts; a pair is not torn."""
        table, batch, size, last = self._table, list[str](), 0, -1
        for identity in list(self._waiting):
            if identity not in table:
                del self._waiting[identity]
                continue
            pair, more = table.pair(identity), table.size(identity)
            if pair != last and batch and (len(batch) >= BATCH_ALERTS_MAX - 1 or size + more > BATCH_BYTES_MAX):
                yield batch
                batch, size = [], 0
            batch.append(identity)
            size, last = size + more, pair
        if batch:
            yield batch

    async def _post(self, batch: list[str]) -> None:
        versions = {identity: self._table.version(identity) for identity in batch}
        body = self._table.payload(batch, self._clock.now_ms())
        try:
            await self._client.request("POST", self.url, self._headers, body)
        except SinkError as failure:
            if failure.status not in _BAD:
                raise
            if len(batch) == 1:
                self._refused |= versions
                self._settle(versions)
                return
            await self._post(batch[: len(batch) // 2])
            await self._post(batch[len(batch) // 2 :])
            return
        self._settle(versions)

    def _settle(self, versions: Mapping[str, int]) -> None:
        """These need not be posted again unless they have changed meanwhile."""
        for identity, version in versions.items():
            if self._table.version(identity) == version:
                self._waiting.pop(identity, None)
