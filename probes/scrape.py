"""The `scrape` probe: reads the metrics that a target exposes, as Prometheus does.

A target that is down, too big or not understood is a measurement, `up 0`, and what it exposed before is
then unknown. Only an exposition that was read whole can say that a series has ended. It must never hand
over a part of an exposition, never show more of the URL than host and port, and never parse in the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, ClassVar, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec
import numpy as np

from engine.events import STALE, Event, Health, SampleBatch
from engine.ports import KnownLabels, Options, ProbeContext
from engine.secrets import Secret
from engine.series import series_text
from probes.asking import Asker, authority, budget_s, check_headers, check_url, failure
from probes.exposition import Body, Reader, Reading, Unreadable

__all__ = ["ScrapeOptions", "ScrapeProbe"]

METRICS_PATH: Final = "/metrics"
PARSE_S_MAX: Final = 2.0
"""How long reading one exposition may take on its thread."""
BODY_BYTES_MAX: Final = 8 * 1024 * 1024
SAMPLES_MAX: Final = 50_000
_CHUNK_BYTES = 64 * 1024

_OPENMETRICS = "application/openmetrics-text"
_TEXT = "text/plain"
_ACCEPT = f"{_OPENMETRICS};version=1.0.0;q=0.6,{_TEXT};version=0.0.4;q=0.5,*/*;q=0.1"
_ENCODINGS = {"": False, "identity": False, "gzip": True, "x-gzip": True}


class ScrapeOptions(Options, frozen=True, kw_only=True):
    """Options of `[probe.NAME]` with `type = "scrape"`.

    Args:
        url: What to scrape, `http://` or `https://`; without a path it is `/metrics`. Credentials and tokens
            in it are never shown.
        job: The label `job` of every series; without it, the table's name.
        instance: The label `instance`; without it, host and port of the URL.
        headers: Request headers.
        insecure_tls: Take any certificate.
        honor_labels: Where a label of the target and one of the exposition have the same name, keep the
            exposition's. Otherwise the target's, and the other as `exported_NAME`.
        samples_max: Samples an exposition may have. With more, the scrape has failed.
        body_bytes_max: Bytes an exposition may have, unpacked.
    """

    url: Secret
    job: str | None = None
    instance: str | None = None
    headers: dict[str, Secret] = {}
    insecure_tls: bool = False
    honor_labels: bool = False
    samples_max: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = SAMPLES_MAX
    body_bytes_max: Annotated[int, msgspec.Meta(ge=1024, le=1024 * 1024 * 1024)] = BODY_BYTES_MAX

    def __post_init__(self) -> None:
        check_url(self.url)
        check_headers(self.headers, self.url)


class ScrapeProbe:
    """Scrapes one target, on a new connection each time."""

    Options: ClassVar[type[ScrapeOptions]] = ScrapeOptions
    DEFAULT_INTERVAL: ClassVar[str] = "15s"
    DEFAULT_TIMEOUT: ClassVar[str] = "10s"
    METRICS: ClassVar[tuple[str, ...]] = (
        "scrape_duration_seconds",
        "scrape_samples_scraped",
        "scrape_failure_info",
        "up",
    )
    METRICS_OPEN: ClassVar[bool] = True

    @staticmethod
    def known_labels(metric: str, options: ScrapeOptions, name: str, labels: Mapping[str, str]) -> KnownLabels:
        """See `Probe`. With `honor_labels` what the target says of itself wins, so nothing is known of that."""
        url = urlsplit(options.url.reveal())
        job, instance = options.job or name, options.instance or authority(url)
        own = {"job": job, "instance": instance} | dict(labels)
        if metric in ScrapeProbe.METRICS:
            return KnownLabels(own, complete=metric != "scrape_failure_info")
        return KnownLabels({} if options.honor_labels else own)

    def __init__(self, options: ScrapeOptions, context: ProbeContext) -> None:
        url = urlsplit(options.url.reveal())
        if url.path in {"", "/"}:
            url = url._replace(path=METRICS_PATH)
        self._url = url.geturl()
        self._options = options
        self._context = context
        self._headers = {name: value.reveal() for name, value in options.headers.items()}
        self._budget_s = budget_s(context.timeout_ms)
        self._asker = Asker(
            context,
            options.insecure_tls,
            {
                "Accept": _ACCEPT,
                "Accept-Encoding": "gzip",
                # Exporters that ask others in turn give up in time by it.
                "X-Prometheus-Scrape-Timeout-Seconds": f"{self._budget_s:g}",
            },
        )
        self._labels = dict(self.known_labels("up", options, context.name, context.labels).labels)
        self._own = tuple(
            series_text(metric, self._labels) for metric in ("up", "scrape_duration_seconds", "scrape_samples_scraped")
        )
        self._reader = Reader(
            self._labels,
            honor_labels=options.honor_labels,
            reserved=self._own,
            samples_max=options.samples_max,
            bytes_max=options.body_bytes_max,
        )
        self._shape = _Shape()
        self._duplicates = 0

    async def open(self) -> None:
        """Create the session; nothing is asked yet."""
        await self._asker.open()

    async def collect(self) -> Sequence[Event]:
        """Scrape once and return one batch, and a health event when the number of duplicate series has changed.

        A batch longer than `samples_max` is handed over in pieces of that length.

        Raises:
            ProbeError: `no_resources`, `no_thread` or `busy`, if this machine lacks what it takes; `closed`,
                before `open`.
        """
        session, clock = self._asker.session, self._context.clock
        started_s = clock.monotonic()
        try:
            reading = await self._read(await self._ask(session), started_s)
        except Unreadable as refused:
            reason = refused.reason
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            reason = failure(error)
        else:
            own = [1.0, clock.monotonic() - started_s, float(reading.samples)]
            values = own + reading.values[len(own) :]
            now_ms = clock.now_ms()
            batch = self._batch(now_ms, reading.series, values, down=False)
            return [*batch, *self._health(now_ms, reading.duplicates)]
        series = (*self._own, series_text("scrape_failure_info", self._labels | {"reason": reason}))
        values = [0.0, clock.monotonic() - started_s, 0.0, 1.0]
        return [*self._batch(clock.now_ms(), series, values, down=True)]

    async def close(self) -> None:
        """Close the session and its connections."""
        await self._asker.close()

    async def _ask(self, session: aiohttp.ClientSession) -> Body:
        async with (
            asyncio.timeout(self._budget_s),
            session.get(self._url, headers=self._headers, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise Unreadable("redirect" if 300 <= response.status < 400 else "status")
            kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            encoding = response.headers.get("Content-Encoding", "").strip().lower()
            if kind not in {_TEXT, _OPENMETRICS}:
                raise Unreadable("content_type")
            if encoding not in _ENCODINGS:
                raise Unreadable("encoding")
            data = bytearray()
            while chunk := await response.content.read(_CHUNK_BYTES):
                data += chunk
                if len(data) > self._options.body_bytes_max:
                    raise Unreadable("body_limit")
            response.close()
            return Body(bytes(data), _ENCODINGS[encoding], kind == _OPENMETRICS)

    async def _read(self, body: Body, started_s: float) -> Reading:
        monotonic = self._context.clock.monotonic
        # Not past the time-out either: it would cancel the waiting here, and not the work on the thread.
        deadline_s = min(monotonic() + PARSE_S_MAX, started_s + self._budget_s)
        return await self._context.call(partial(self._reader.read, body, deadline_s, monotonic))

    def _batch(
        self, time_ms: int, series: tuple[str, ...], values: list[float], *, down: bool
    ) -> Iterator[SampleBatch]:
        """One batch, or pieces of at most `samples_max` if it and its markers have more."""
        whole = self._shape.batch(time_ms, series, values, self._context.interval_ms, down=down)
        size = max(self._options.samples_max, len(self._own) + 1)
        if len(whole.series) <= size:
            yield whole
            return
        for start in range(0, len(whole.series), size):
            part = slice(start, start + size)
            yield msgspec.structs.replace(whole, series=whole.series[part], values=whole.values[part])

    def _health(self, now_ms: int, duplicates: int) -> Iterator[Health]:
        if duplicates == self._duplicates:
            return
        self._duplicates = duplicates
        component = f"probe.{self._context.name}"
        if duplicates:
            message = f"{duplicates} samples of a scrape name a series that was there already; the first is taken"
            yield Health(now_ms, component, "degraded", "duplicate_series", message, duplicates)
        else:
            yield Health(now_ms, component, "ok", "recovered", "no series is there twice any more")


class _Shape:
    """Which series the target has, and what has become of those that it had."""

    def __init__(self) -> None:
        self._series: tuple[str, ...] = ()
        self._down = False
        self._unknown: list[str] = []  # had when it went down; the next whole exposition says which have ended

    def batch(
        self, time_ms: int, series: tuple[str, ...], values: list[float], interval_ms: int, *, down: bool
    ) -> SampleBatch:
        """Return the batch of one scrape, with a stale marker for each series that it does not have any more."""
        went_down = down and not self._down
        markers = () if series == self._series else self._change(series, down=down)
        numbers = np.array(values + [STALE] * len(markers), dtype=np.float64)
        # Adding nothing to a tuple gives the same object again, and the store knows it by identity.
        return SampleBatch(
            time_ms, self._series + markers, numbers, interval_ms, "target_down" if went_down else "ended"
        )

    def _change(self, series: tuple[str, ...], *, down: bool) -> tuple[str, ...]:
        present = set(series)
        gone = [text for text in self._series if text not in present]
        if not down:
            gone += [text for text in self._unknown if text not in present]
            self._unknown = []
        elif not self._down:
            self._unknown = gone
        self._series, self._down = series, down
        return tuple(gone)
