import asyncio
import errno
import gzip
import logging
import os
import shutil
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aioresponses import aioresponses

from engine import Engine
from engine.clock import SystemClock
from engine.config import load_text
from engine.config.cross import cross_check
from engine.errors import ProbeError
from engine.events import STALE_BITS, Event, Health, Record, SampleBatch, Transition
from engine.secrets import Secret
from engine.series import split_series
from engine.testing import RecordingSink
from probes.scrape import BODY_BYTES_MAX, SAMPLES_MAX, ScrapeOptions, ScrapeProbe
from tests.probes.context import StillClock, by_series, context
from tests.probes.servers import Handler, dripping, free_port, saying, serving, silent, site

OWN = ("up", "scrape_duration_seconds", "scrape_samples_scraped")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
NODE_EXPORTER = "prometheus-node-exporter"


class Seen(msgspec.Struct):
    """One scrape, read back from its batch."""

    up: float = -1.0
    samples: float = -1.0
    duration_s: float = -1.0
    failure: str = ""
    labels: dict[str, str] = {}
    values: dict[str, float] = {}  # of the target's own, by their text without job and instance
    stale: dict[str, str] = {}  # the same of those with a stale marker -> its cause


def seen(*events: Event) -> Seen:
    found = Seen()
    for batch in events:
        assert isinstance(batch, SampleBatch)
        for series, value in by_series(batch).items():
            name, labels = split_series(series)
            if name == "up":
                found.up, found.labels = value, labels
            elif name == "scrape_samples_scraped":
                found.samples = value
            elif name == "scrape_duration_seconds":
                found.duration_s = value
            elif struct.pack("<d", value) == struct.pack("<Q", STALE_BITS):
                found.stale[_short(name, labels)] = batch.stale
            elif name == "scrape_failure_info":
                assert (value, found.failure) == (1.0, "")
                found.failure = labels["reason"]
            else:
                found.values[_short(name, labels)] = value
    return found


def _short(name: str, labels: dict[str, str]) -> str:
    rest = ",".join(f"{label}={value}" for label, value in labels.items() if label not in {"job", "instance"})
    return f"{name}{{{rest}}}" if rest else name


@asynccontextmanager
async def scraping(url: str, *, timeout_ms: int = 5_000, clock: Any = None, labels: Any = None, **options: Any) -> Any:
    """An open probe of a URL. `call` stands in for the engine's threads."""
    more = {"call": options.pop("call")} if "call" in options else {}
    given = context("it", timeout_ms=timeout_ms, clock=clock or SystemClock(), **more, **(labels or {}))
    probe = ScrapeProbe(ScrapeOptions(url=Secret(url), **options), given)
    await probe.open()
    try:
        yield probe
    finally:
        await probe.close()


async def scrape(probe: ScrapeProbe) -> Seen:
    return seen(*[event for event in await probe.collect() if isinstance(event, SampleBatch)])


async def scrape_once(url: str, **options: Any) -> Seen:
    async with scraping(url, **options) as probe:
        return await scrape(probe)


class Target:
    """A target whose text a test changes; `text` None is an error of its own."""

    def __init__(self, text: str | None = "") -> None:
        self.text = text
        self.requests: list[web.Request] = []
        self.url = ""
        self.headers: dict[str, str] = {}

    def answer(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        if self.text is None:
            return web.Response(status=500)
        return web.Response(
            body=self.text.encode(), headers={"Content-Type": "text/plain; version=0.0.4"} | self.headers
        )


@asynccontextmanager
async def target(text: str | None = "") -> AsyncIterator[Target]:
    made = Target(text)
    async with site(metrics=made.answer) as (url, _):
        made.url = url.rstrip("/")
        yield made


def answering(body: bytes, *headers: str, content_type: str = "text/plain; version=0.0.4") -> Handler:
    head = [f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *headers]
    return saying("\r\n".join(["HTTP/1.1 200 OK", *head, "", ""]).encode() + body)


async def scrape_answer(handler: Handler, **options: Any) -> Seen:
    async with serving(handler) as host:
        return await scrape_once(f"http://{host}/metrics", **options)


# --- a good scrape --------------------------------------------------------------------------------


async def test_a_scrape() -> None:
    async with target('# TYPE a counter\na{b="c"} 5\na{b="d"} 6 1395066363000\n') as at:
        found = await scrape_once(at.url, labels={"env": "prod"})
    assert (found.up, found.samples, found.failure) == (1.0, 2.0, "")
    assert 0 < found.duration_s < 5
    assert found.labels == {"job": "it", "instance": at.url.removeprefix("http://"), "env": "prod"}
    assert found.values == {"a{b=c,env=prod}": 5.0, "a{b=d,env=prod}": 6.0}
    (request,) = at.requests
    assert str(request.rel_url) == "/metrics"
    assert request.headers["User-Agent"] == "longwatch"
    assert request.headers["Accept-Encoding"] == "gzip"
    assert request.headers["X-Prometheus-Scrape-Timeout-Seconds"] == "4.75"
    assert request.headers["Accept"].startswith("application/openmetrics-text;version=1.0.0;q=0.6,text/plain;")


async def test_one_batch_stamped_when_all_is_done() -> None:
    clock = StillClock()

    def answer(_: web.Request) -> web.Response:
        clock.wall_ms += 1_500
        clock.monotonic_s += 1.5
        return web.Response(text="a 1\n")

    async with site(metrics=answer) as (url, _), scraping(url, clock=clock) as probe:
        (batch,) = await probe.collect()
    assert isinstance(batch, SampleBatch)
    assert (batch.time_ms, batch.interval_ms) == (clock.wall_ms, 5_000)
    assert [split_series(series)[0] for series in batch.series] == [*OWN, "a"]
    assert batch.values.tolist() == [1.0, 1.5, 1.0, 1.0]


@pytest.mark.parametrize(
    ("path", "asked"), [("", "/metrics"), ("/", "/metrics"), ("/?a=1", "/metrics?a=1"), ("/x/y?a=1", "/x/y?a=1")]
)
async def test_the_path(path: str, asked: str) -> None:
    async with target("a 1\n") as at, site(**{"metrics": at.answer, "x/y": at.answer}) as (url, requests):
        assert (await scrape_once(url.rstrip("/") + path)).up == 1.0
    assert [str(request.rel_url) for request in requests] == [asked]


async def test_job_and_instance_are_given() -> None:
    async with target('a{job="x"} 1\n') as at:
        assert (await scrape_once(at.url, job="node", instance="db1")).labels == {"job": "node", "instance": "db1"}
        assert (await scrape_once(at.url, labels={"instance": "db2"})).labels["instance"] == "db2"
        assert (await scrape_once(at.url)).values == {"a{exported_job=x}": 1.0}
        async with scraping(at.url, honor_labels=True) as probe:
            (batch,) = await probe.collect()
            assert split_series(batch.series[-1])[1]["job"] == "x"
            assert split_series(batch.series[0])[1]["job"] == "it", "the probe's own are not the target's to name"


async def test_headers_and_credentials_are_sent() -> None:
    async with target("a 1\n") as at:
        url = at.url.replace("http://", "http://user:pw@")
        found = await scrape_once(url, headers={"X-Key": Secret("k1"), "accept": Secret("text/plain")})
    assert "user" not in found.labels["instance"]
    assert at.requests[0].headers["X-Key"] == "k1"
    assert at.requests[0].headers["Authorization"] == "Basic dXNlcjpwdw=="
    assert at.requests[0].headers.getall("Accept") == ["text/plain"]


async def test_openmetrics() -> None:
    async with target("a 1\n# EOF\n") as at:
        at.headers = {"Content-Type": "application/openmetrics-text; version=1.0.0; charset=utf-8"}
        assert (await scrape_once(at.url)).values == {"a": 1.0}
        at.text = "a 1\n"
        assert (await scrape_once(at.url)).failure == "format"


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP"])
async def test_gzip(encoding: str) -> None:
    found = await scrape_answer(answering(gzip.compress(b"a 1\n"), f"Content-Encoding: {encoding}"))
    assert (found.up, found.values) == (1.0, {"a": 1.0})


async def test_the_tuple_is_the_same_while_the_series_are() -> None:
    async with target("a 1\nb 2\n") as at, scraping(at.url) as probe:
        (first,) = await probe.collect()
        at.text = "a 5\nb 6\n"
        (second,) = await probe.collect()
        at.text = "a 5\n"
        (third,) = await probe.collect()
        (fourth,) = await probe.collect()
        (fifth,) = await probe.collect()
    assert first.series is second.series
    assert third.series == first.series, "b with its marker, last"
    assert fourth.series is fifth.series
    assert len(fourth.series) == len(OWN) + 1


# --- series that go and come back -----------------------------------------------------------------


async def test_a_series_that_is_gone_has_ended_once() -> None:
    async with target("a 1\nb 2\nc 3\n") as at, scraping(at.url) as probe:
        await scrape(probe)
        at.text = "a 1\n"
        gone = await scrape(probe)
        assert (gone.up, gone.values, gone.stale) == (1.0, {"a": 1.0}, {"b": "ended", "c": "ended"})
        assert (await scrape(probe)).stale == {}
        at.text = "a 1\nb 5\n"
        back = await scrape(probe)
        assert (back.values, back.stale) == ({"a": 1.0, "b": 5.0}, {})
        at.text = ""
        assert (await scrape(probe)).stale == {"a": "ended", "b": "ended"}


async def test_a_target_that_is_down_has_ended_nothing() -> None:
    async with target("a 1\nb 2\n") as at, scraping(at.url) as probe:
        await scrape(probe)
        at.text = None
        down = await scrape(probe)
        assert (down.up, down.samples, down.failure) == (0.0, 0.0, "status")
        assert (down.values, down.stale) == ({}, {"a": "target_down", "b": "target_down"})
        again = await scrape(probe)
        assert (again.up, again.failure, again.stale) == (0.0, "status", {})
        at.text = "a 5\nc 6\n"
        back = await scrape(probe)
        assert (back.up, back.values) == (1.0, {"a": 5.0, "c": 6.0})
        assert back.stale == {"b": "ended", "scrape_failure_info{reason=status}": "ended"}, "now it is known"
        assert (await scrape(probe)).stale == {}
        at.text = "a 5\n"
        assert (await scrape(probe)).stale == {"c": "ended"}, "and b is not told of again"


async def test_another_reason_ends_the_one_before_and_nothing_else() -> None:
    async with target("a 1\n") as at, scraping(at.url) as probe:
        await scrape(probe)
        at.text = None
        await scrape(probe)
        at.text = "not an exposition"
        other = await scrape(probe)
        assert (other.failure, other.stale) == ("format", {"scrape_failure_info{reason=status}": "ended"})
        at.text = "a 1\n"
        back = await scrape(probe)
        assert (back.values, back.stale) == ({"a": 1.0}, {"scrape_failure_info{reason=format}": "ended"})


async def test_what_went_with_the_target_is_remembered_over_a_restart_of_the_probe() -> None:
    async with target("a 1\n") as at, scraping(at.url) as probe:
        await scrape(probe)
        at.text = None
        await scrape(probe)
        await probe.close()
        with pytest.raises(ProbeError, match="not open"):
            await probe.collect()
        await probe.open()
        at.text = ""
        assert (await scrape(probe)).stale == {"a": "ended", "scrape_failure_info{reason=status}": "ended"}


async def test_a_marker_has_prometheus_bits() -> None:
    async with target("a NaN\nb 1\n") as at, scraping(at.url) as probe:
        (first,) = await probe.collect()
        at.text = "a NaN\n"
        (second,) = await probe.collect()
    assert STALE_BITS not in first.values.view("u8").tolist()
    assert second.values.view("u8").tolist().count(STALE_BITS) == 1
    assert second.values.view("u8").tolist()[-1] == STALE_BITS
    assert split_series(second.series[-1])[0] == "b"


# --- duplicates -----------------------------------------------------------------------------------


async def test_duplicates_are_told_when_their_number_changes() -> None:
    async with target() as at, scraping(at.url) as probe:
        told = []
        for text in ("a 1\na 2\na 3\n", "a 1\na 2\na 3\n", "a 1\na 2\n", None, "a 1\na 2\n", "a 1\n", "a 1\n"):
            at.text = text
            batch, *health = await probe.collect()
            assert text is None or seen(batch).values == {"a": 1.0}
            told.append([(e.component, e.status, e.reason, e.count) for e in health if isinstance(e, Health)])
    assert told == [
        [("probe.it", "degraded", "duplicate_series", 2)],
        [],
        [("probe.it", "degraded", "duplicate_series", 1)],
        [],
        [],
        [("probe.it", "ok", "recovered", 1)],
        [],
    ]


async def test_a_target_can_not_say_whether_it_is_up() -> None:
    async with target("up 0\nscrape_samples_scraped 9\n") as at, scraping(at.url) as probe:
        batch, health = await probe.collect()
    assert isinstance(health, Health)
    assert (health.status, health.count) == ("degraded", 2)
    found = seen(batch)
    assert (found.up, found.samples, found.values) == (1.0, 2.0, {})


# --- limits ---------------------------------------------------------------------------------------


async def test_too_many_samples_are_a_failure_and_never_a_part() -> None:
    async with target("a 1\nb 1\nc 1\n") as at, scraping(at.url, samples_max=3) as probe:
        assert (await scrape(probe)).up == 1.0
        at.text = "a 1\nb 1\nc 1\nd 1\n"
        found = await scrape(probe)
    assert (found.up, found.failure, found.values) == (0.0, "sample_limit", {})
    assert set(found.stale.values()) == {"target_down"}


async def test_no_batch_is_longer_than_the_limit() -> None:
    """The engine's own limit on a batch has the same default: one sample more and it would refuse all of it."""
    async with target("".join(f"a{n} 1\n" for n in range(10))) as at, scraping(at.url, samples_max=10) as probe:
        first = await probe.collect()
        at.text = "".join(f"b{n} 1\n" for n in range(10))
        second = await probe.collect()
    assert [len(batch.series) for batch in first] == [10, 3]
    assert [len(batch.series) for batch in second] == [10, 10, 3]
    assert len({batch.time_ms for batch in second}) == 1
    found = seen(*second)
    assert found.values.keys() == {f"b{n}" for n in range(10)}
    assert found.stale == {f"a{n}": "ended" for n in range(10)}
    assert found.up == 1.0


def test_the_defaults_fit_the_engines() -> None:
    limits = load_text("").engine
    assert limits.batch_samples_max >= SAMPLES_MAX
    assert limits.queue_samples_max >= 2 * SAMPLES_MAX
    assert BODY_BYTES_MAX == 8 * 1024 * 1024


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (b"a 1\n#" + b"x" * 10_000_000, [], "body_limit"),
        (b"a 1\n#" + b"x" * 70_000, [], "line_limit"),
        (b"a{" + b",".join(b'b%d="1"' % n for n in range(100_000)) + b"} 1\n", [], "line_limit"),
        (b"a{" + b",".join(b'b%d="1"' % n for n in range(1_000)) + b"} 1\n", [], "label_limit"),
        (b"".join(b"a%d 1\n" % n for n in range(50_001)), [], "sample_limit"),
        (gzip.compress(bytes(100_000_000), 1), ["Content-Encoding: gzip"], "body_limit"),
        (gzip.compress(b"a 1\n")[:-3], ["Content-Encoding: gzip"], "encoding"),
        (b"a 1\n", ["Content-Encoding: gzip"], "encoding"),
        (b"a 1\n", ["Content-Encoding: br"], "encoding"),
        (b"a 1\n", ["Content-Encoding: gzip, gzip"], "encoding"),
        (b'a{b="\xff"} 1\n', [], "format"),
        (b"#\rTYPE\r\x1d\r%", [], "format"),
        (b"<html>a 1</html>", [], "format"),
    ],
    ids=range(13),
)
async def test_f83_malicious_expositions(body: bytes, headers: list[str], reason: str) -> None:
    # Time stands still, so that on a busy machine the limit that is meant comes first.
    found = await scrape_answer(answering(body, *headers), clock=StillClock())
    assert (found.up, found.failure, found.samples, found.values) == (0.0, reason, 0.0, {})


async def test_f83_a_body_without_end() -> None:
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while True:
            writer.write(b"#" * 65_536)
            sent += 65_536
            await writer.drain()

    assert (await scrape_answer(endless, body_bytes_max=100_000)).failure == "body_limit"
    assert sent < 50_000_000, "most of this is in the kernel's buffers"


@pytest.mark.parametrize(
    ("content_type", "up"),
    [
        ("text/plain", 1.0),
        ("text/plain; version=0.0.4; charset=utf-8", 1.0),
        ("TEXT/Plain;version=1.0.0", 1.0),
        ("application/openmetrics-text;version=0.0.1", 0.0),
        ("text/html; charset=utf-8", 0.0),
        ("application/json", 0.0),
        ("application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily", 0.0),
        ("text/plainer", 0.0),
        ("", 0.0),
    ],
)
async def test_f84_the_content_type(content_type: str, up: float) -> None:
    """As in Prometheus 3: without one, or with one that is no exposition's, nobody knows what it is."""
    found = await scrape_answer(answering(b"a 1\n", content_type=content_type))
    assert found.up == up
    assert found.failure == ("" if up else "format" if "openmetrics" in content_type else "content_type")


async def test_f84_no_content_type_at_all() -> None:
    found = await scrape_answer(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na 1\n"))
    assert (found.up, found.failure) == (0.0, "content_type")


# --- targets that are down ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "reason"), [(204, "status"), (206, "status"), (302, "redirect"), (404, "status"), (503, "status")]
)
async def test_f84_a_status_other_than_200(status: int, reason: str) -> None:
    async with site(metrics=lambda _: web.Response(status=status, headers={"Location": "/"})) as (url, requests):
        found = await scrape_once(url)
    assert (found.up, found.failure) == (0.0, reason)
    assert len(requests) == 1


async def test_refused() -> None:
    found = await scrape_once(f"http://127.0.0.1:{free_port()}/metrics")
    assert (found.up, found.failure, found.samples) == (0.0, "refused", 0.0)


async def test_f84_a_target_that_never_answers() -> None:
    async with serving(silent) as host, scraping(f"http://{host}/", timeout_ms=200) as probe:
        found = [await scrape(probe) for _ in range(3)]
    assert [(one.up, one.failure) for one in found] == [(0.0, "timeout")] * 3
    assert min(one.duration_s for one in found) < 0.2, "the runner's own time-out would have come first"


async def test_f84_a_target_that_drips() -> None:
    drip = dripping(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\n", b"#")
    found = await scrape_answer(drip, timeout_ms=200)
    assert (found.up, found.failure) == (0.0, "timeout")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "disconnected"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\na 1\n", "broken_off"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n4\r\na 1\n\r\n",
            "broken_off",
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "bad_answer"),
    ],
    ids=range(4),
)
async def test_f38_half_an_answer_is_not_an_answer(answer: bytes, reason: str) -> None:
    found = await scrape_answer(saying(answer))
    assert (found.up, found.failure, found.values) == (0.0, reason, {})


async def test_f83_the_deadline_of_reading() -> None:
    """The clock goes on by a second each time that it is looked at."""

    class Hasty(StillClock):
        def monotonic(self) -> float:
            self.monotonic_s += 1.0
            return self.monotonic_s

    async with target("a 1\nb 1\nc 1\nd 1\n") as at, scraping(at.url, clock=Hasty(), timeout_ms=60_000) as probe:
        found = await scrape(probe)
    assert (found.up, found.failure) == (0.0, "parse_timeout")


# --- what is not the target's fault ---------------------------------------------------------------


@pytest.mark.parametrize("reason", ["busy", "no_thread"])
async def test_no_thread_for_reading_says_nothing_of_the_target(reason: str) -> None:
    async def call(_: Callable[[], Any]) -> Any:
        raise ProbeError(reason, "none")

    async with target("a 1\n") as at, scraping(at.url, call=call) as probe:
        with pytest.raises(ProbeError) as caught:
            await probe.collect()
    assert caught.value.reason == reason


async def test_f106_out_of_descriptors_is_the_probes_failure() -> None:
    key: Any = aiohttp.client_reqrep.ConnectionKey("127.0.0.1", 1, False, True, None, None, None)
    error = aiohttp.ClientConnectorError(key, OSError(errno.EMFILE, "too many open files"))
    with aioresponses() as fake:
        fake.get("http://127.0.0.1:1/metrics", exception=error)
        async with scraping("http://127.0.0.1:1/") as probe:
            with pytest.raises(ProbeError, match="EMFILE") as caught:
                await probe.collect()
    assert caught.value.reason == "no_resources"


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"url": Secret("ftp://CANARY/")},
            "url: must start with http:// or https://; write it like http://127.0.0.1:8080/health",
        ),
        ({"headers": {"X Key": Secret("CANARY")}}, "headers: 'X Key' is not a name that HTTP allows"),
        ({"headers": {"X-Key": Secret("CANARY\n")}}, "headers: the value of X-Key has a control character in it"),
    ],
)
def test_options_that_can_not_be_right(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^(url|headers): ") as caught:
        ScrapeOptions(**{"url": Secret("http://h/"), **options})
    assert str(caught.value) == message


@pytest.mark.parametrize("key", ["samples_max", "body_bytes_max"])
def test_a_limit_is_not_zero(key: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=key):
        msgspec.convert({"url": "http://h/", key: 0}, ScrapeOptions, dec_hook=lambda _, text: Secret(text))


@pytest.mark.parametrize("handler", [silent, saying(b"CANARY\r\n\r\n"), answering(b"CANARY!\n"), answering(b"a 1\n")])
async def test_f144_secrets_are_nowhere_to_be_seen(handler: Handler, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    headers = {"Authorization": Secret("Bearer CANARY1")}
    async with serving(handler) as host:
        url = f"http://{host}/CANARY2?key=CANARY3"
        async with scraping(url, timeout_ms=200, headers=headers) as probe:
            (batch,) = await probe.collect()
            shown = [repr(probe._options), repr(probe), *batch.series, caplog.text]
    assert "CANARY" not in "".join(shown)


async def test_tls(self_signed: ssl.SSLContext) -> None:
    async with serving(answering(b"a 1\n"), ssl=self_signed) as host:
        assert (await scrape_once(f"https://{host}/")).failure == "tls"
        assert (await scrape_once(f"https://{host}/", insecure_tls=True)).values == {"a": 1.0}


def test_any_metric_of_a_rule_may_be_the_targets() -> None:
    host, rule = "[probe.host]\n", "[rule.R]\nexpr = 'node_load1 > 1'\n"
    assert len(cross_check(load_text(host + rule))) == 1
    assert cross_check(load_text(host + '[probe.scrape]\nurl = "http://127.0.0.1:9100"\n' + rule)) == ()


# --- through a whole engine -----------------------------------------------------------------------


class Watched(RecordingSink):
    """A sink that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._written = asyncio.Event()

    async def write(self, records: Any) -> None:
        await super().write(records)
        self._written.set()

    async def until(self, found: Callable[[list[Record]], bool]) -> None:
        async with asyncio.timeout(30):
            while not found(self.records):
                self._written.clear()
                await self._written.wait()

    def told(self, rule: str) -> list[tuple[str, str]]:
        return [(r.kind, r.reason) for r in self.records if isinstance(r, Transition) and r.rule == rule]


class Server:
    """A real listener on one port, that dies and comes back."""

    def __init__(self) -> None:
        self.port = free_port()
        self.text = ""
        self._server: asyncio.Server | None = None

    async def up(self) -> None:
        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await answering(self.text.encode())(reader, writer)
            except (ConnectionError, EOFError):
                pass
            writer.close()

        self._server = await asyncio.start_server(handler, "127.0.0.1", self.port)

    async def die(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None


async def test_a_dead_target_fires_and_holds_and_a_vanished_series_resolves() -> None:
    server, sink = Server(), Watched()
    text = f"""
[probe.node]
type = "scrape"
url = "http://127.0.0.1:{server.port}"
interval = "100ms"
[rule.Down]
expr = "up{{job='node'}} == 0"
[rule.Hot]
expr = "temperature > 90"
"""
    server.text = 'temperature{room="a"} 95\ntemperature{room="b"} 96\ntemperature{room="c"} 20\n'
    await server.up()
    try:
        async with Engine(load_text(text), sinks={"kept": sink}) as engine:
            await sink.until(lambda _: sink.told("Hot").count(("firing", "condition")) == 2)
            server.text = 'temperature{room="b"} 96\ntemperature{room="c"} 20\n'
            await sink.until(lambda _: ("resolved", "ended") in sink.told("Hot"))
            ended = [t.labels["room"] for t in sink.transitions if t.reason == "ended"]
            await server.die()
            await sink.until(lambda _: ("firing", "condition") in sink.told("Down"))
            before = len(sink.told("Hot"))
            downs = len(batches(sink))
            await sink.until(lambda _: len(batches(sink)) >= downs + 5)
            assert len(sink.told("Hot")) == before, "room b is held: nobody knows"
            server.text = 'temperature{room="c"} 20\n'
            await server.up()
            await sink.until(lambda _: sink.told("Hot").count(("resolved", "ended")) == 2)
            await sink.until(lambda _: sink.told("Down")[-1] == ("resolved", "recovered"))
            counters = engine.status().counters
    finally:
        await server.die()
    assert ended == ["a"]
    assert [t.labels["room"] for t in sink.transitions if t.reason == "ended"] == ["a", "b"]
    assert counters['longwatch_probe_up{probe="node"}'] == 1, "a target that is down is a measurement"
    assert [r for r in sink.records if isinstance(r, Health)] == []


def batches(sink: RecordingSink) -> list[SampleBatch]:
    return [record for record in sink.records if isinstance(record, SampleBatch)]


# --- a real exporter ------------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.skipif(shutil.which(NODE_EXPORTER) is None, reason=f"{NODE_EXPORTER} is not installed")
async def test_a_real_node_exporter() -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        NODE_EXPORTER,
        f"--web.listen-address=127.0.0.1:{port}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"]},
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(30):
            while b"Listening on" not in (line := await process.stderr.readline()):
                assert line, "it ended"
        async with scraping(f"http://127.0.0.1:{port}", timeout_ms=20_000, job="node") as probe:
            first, second = await scrape(probe), await scrape(probe)
    finally:
        process.kill()
        await process.communicate()
    for found in (first, second):
        assert (found.up, found.failure) == (1.0, "")
        assert found.samples == len(found.values) > 200
        assert found.values["node_boot_time_seconds"] > 1e9
        assert found.values["node_cpu_seconds_total{cpu=0,mode=idle}"] > 0
        assert {"node_uname_info", "node_exporter_build_info"} <= {name.partition("{")[0] for name in found.values}
    assert {name for name in second.values if name.startswith("node_load")} == {
        "node_load1",
        "node_load5",
        "node_load15",
    }


@pytest.mark.parametrize("honor_labels", [False, True])
async def test_labels_are_known_before_anything_is_measured(honor_labels: bool) -> None:
    """What `check` says of selectors is what the series have."""
    async with target('x{job="other",pod="p"} 1\n') as at:
        options = ScrapeOptions(url=Secret(at.url), honor_labels=honor_labels)
        async with scraping(at.url, honor_labels=honor_labels, labels={"zone": "b"}) as probe:
            (batch,) = [event for event in await probe.collect() if isinstance(event, SampleBatch)]
    for series in batch.series:
        metric, labels = split_series(series)
        known = ScrapeProbe.known_labels(metric, options, "it", {"zone": "b"})
        assert known.labels.items() <= labels.items()
        assert not known.complete or known.labels == labels
