"""The `alertmanager` sink against servers on loopback that keep what they are told, refuse it, hang or are away."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from engine.durations import Duration
from engine.errors import SinkError
from engine.events import Transition
from engine.ports import Notification, Periodic, Receiver, Resuming
from engine.secrets import Secret
from engine.series import fingerprint
from sinks import _alert_table as table_module
from sinks._alert_table import AlertTable, decode, encode
from sinks.alertmanager import AlertmanagerOptions, AlertmanagerSink
from tests.sinks.context import NOW_MS, StillClock, context, transition

CANARY = "c4n4ry"


class FakeAlertmanager:
    """Takes what is posted; says what it was told to say first."""

    def __init__(self, bad: str = "", hangs: bool = False) -> None:
        self.posts: list[list[dict[str, Any]]] = []
        self.statuses: list[int] = []
        self.bad = bad
        self.hangs = hangs
        self.seen: list[web.Request] = []

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.seen.append(request)
        if self.hangs:
            await asyncio.Event().wait()
        if self.statuses:
            return web.Response(status=self.statuses.pop(0))
        if any(alert["labels"]["alertname"] == self.bad for alert in body):
            return web.Response(status=400, text='"bad"')
        self.posts.append(body)
        return web.Response()

    @property
    def firing(self) -> dict[str, str]:
        """alertname -> endsAt, as of the last POST of each label set."""
        latest = {alert["labels"]["alertname"]: alert["endsAt"] for post in self.posts for alert in post}
        return dict(sorted(latest.items()))


@asynccontextmanager
async def serving(*fakes: FakeAlertmanager) -> AsyncIterator[list[str]]:
    servers = []
    for fake in fakes:
        app = web.Application()
        app.router.add_post("/api/v2/alerts", fake.handle)
        app.router.add_post("/am/api/v2/alerts", fake.handle)
        servers.append(TestServer(app))
    try:
        for server in servers:
            await server.start_server(shutdown_timeout=0)
        yield [str(server.make_url("/")).rstrip("/") for server in servers]
    finally:
        for server in servers:
            await server.close()


def told(*transitions: Transition, **more: Any) -> Notification:
    return Notification(receiver="am", group_key="k", group_labels={}, transitions=transitions, **more)


def firing(name: str = "A", time_ms: int = NOW_MS, **more: Any) -> Transition:
    return transition("firing", time_ms, {"alertname": name}, **more)


def resolved(name: str = "A", time_ms: int = NOW_MS, **more: Any) -> Transition:
    return transition("resolved", time_ms, {"alertname": name}, **more)


@asynccontextmanager
async def opened(
    *urls: str, clock: StillClock | None = None, timeout_ms: int = 5_000, **options: Any
) -> AsyncIterator[AlertmanagerSink]:
    made = AlertmanagerOptions(urls=[Secret(url) for url in urls], timeout=Duration(timeout_ms), **options)
    sink = AlertmanagerSink(made, context(clock=clock))
    await sink.open()
    try:
        yield sink
    finally:
        await sink.close()


async def tell(sink: AlertmanagerSink, *transitions: Transition, **more: Any) -> None:
    await sink.deliver("evt_1", sink.render(told(*transitions, **more)))


async def test_it_is_a_receiver_that_ticks_and_resumes() -> None:
    sink = AlertmanagerSink(AlertmanagerOptions(urls=[Secret("http://x")]), context())
    assert isinstance(sink, Receiver)
    assert isinstance(sink, Periodic)
    assert isinstance(sink, Resuming)
    assert sink.interval_s == 60.0
    with pytest.raises(SinkError, match="not open"):
        await tell(sink, firing())


async def test_what_is_posted_is_alertmanagers_api() -> None:
    fake, clock = FakeAlertmanager(), StillClock()
    clock.wall_ms = NOW_MS + 500
    labels = {"alertname": "HighCpu", "instance": "a", "severity": "critical"}
    async with serving(fake) as (url,), opened(url + "/am/", clock=clock, headers={"X-A": Secret("b")}) as sink:
        await tell(
            sink, transition("firing", NOW_MS + 45, annotations={"summary": "hot"}), external_labels={"env": "x"}
        )
    assert fake.posts == [
        [
            {
                "labels": labels | {"env": "x"},
                "annotations": {"summary": "hot"},
                "startsAt": "2027-01-15T08:00:00.045Z",
                "endsAt": "2027-01-15T08:04:00.500Z",
            }
        ]
    ]
    assert fake.seen[0].headers["X-A"] == "b"
    assert fake.seen[0].content_type == "application/json"


async def test_what_fires_is_posted_again_and_what_ended_for_15_minutes_f50() -> None:
    fake, clock = FakeAlertmanager(), StillClock()
    async with serving(fake) as (url,), opened(url, clock=clock) as sink:
        await tell(sink, firing("A"), firing("B"))
        clock.pass_s(60)
        await tell(sink, resolved("B", NOW_MS + 60_000, fired_ms=NOW_MS))
        fake.posts.clear()
        for _ in range(16):
            await sink.tick({})
            clock.pass_s(60)
    assert [sorted(alert["labels"]["alertname"] for alert in post) for post in fake.posts] == [["A", "B"]] * 16
    ends = {alert["labels"]["alertname"]: alert["endsAt"] for alert in fake.posts[15]}
    assert ends == {"A": "2027-01-15T08:20:00.000Z", "B": "2027-01-15T08:01:00.000Z"}
    fake.posts.clear()
    async with serving(fake) as (url,), opened(url, clock=clock) as sink:
        await sink.tick({})
    assert fake.posts == [], "nothing stands: nothing is posted"


async def test_after_a_restart_everything_that_stands_is_posted_at_once_f50() -> None:
    fake = FakeAlertmanager()
    async with serving(fake) as (url,), opened(url) as sink:
        sink.resume(
            told(firing("A", NOW_MS - 3_600_000), resolved("B", NOW_MS - 60_000), resolved("C", NOW_MS - 10**6))
        )
        await sink.tick({})
    assert set(fake.firing) == {"A", "B"}, "C ended too long ago"
    assert fake.posts[0][0]["startsAt"] == "2027-01-15T07:00:00.000Z"


async def test_after_a_restart_a_lost_alert_is_posted_for_the_rest_of_its_day() -> None:
    fake = FakeAlertmanager()
    day_ms = table_module.LOST_KEPT_MS
    async with serving(fake) as (url,), opened(url) as sink:
        lost = [transition("lost", NOW_MS - ago_ms, {"alertname": f"L{ago_ms}"}) for ago_ms in (1, day_ms + 1)]
        sink.resume(told(*lost))
        await asyncio.sleep(0)
        await sink.tick({})
    assert {alert["labels"]["alertname"] for post in fake.posts for alert in post} == {"L1"}
    assert fake.posts[0][0]["annotations"]["longwatch_reason"] == "lost: no data; state unknown"


async def test_after_a_restart_everything_is_posted_however_much_stands() -> None:
    fake, text = FakeAlertmanager(), "x" * 1_000
    async with serving(fake) as (url,), opened(url) as sink:
        sink.resume(told(*(firing(f"A{number}", annotations={"summary": text}) for number in range(1_000))))
        await sink.tick({})
    assert len(fake.firing) == 1_000


async def test_a_change_of_severity_is_old_end_and_new_start_in_one_post(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the batch would be full between them."""
    monkeypatch.setattr("sinks._alertmanager_target.BATCH_ALERTS_MAX", 3)
    fake = FakeAlertmanager()
    labels = {"alertname": "A"}
    async with serving(fake) as (url,), opened(url) as sink:
        await tell(sink, transition("firing", NOW_MS, labels, severity="warning"))
        up = transition(
            "level", NOW_MS + 1_000, labels, severity="critical", severity_before="warning", fired_ms=NOW_MS
        )
        fake.posts.clear()
        await tell(sink, firing("x"), firing("y"), up)
        assert [len(post) for post in fake.posts] == [2, 2]
        old, new = fake.posts[-1]
        assert (old["labels"]["severity"], new["labels"]["severity"]) == ("warning", "critical")
        assert old["endsAt"] == "2027-01-15T08:00:01.000Z"
        assert new["endsAt"] == "2027-01-15T08:04:00.000Z"
        assert old["startsAt"] == new["startsAt"] == "2027-01-15T08:00:00.000Z"
        assert old["annotations"]["longwatch_reason"] == "level: the alert goes on with severity critical"
        down = transition(
            "level", NOW_MS + 2_000, labels, severity="warning", severity_before="critical", fired_ms=NOW_MS
        )
        await tell(sink, down)
        assert [alert["labels"]["severity"] for alert in fake.posts[-1]] == ["critical", "warning"]


def away(stack: contextlib.ExitStack) -> str:
    """Where nobody listens."""
    free = stack.enter_context(socket.socket())
    free.bind(("127.0.0.1", 0))
    return f"http://127.0.0.1:{free.getsockname()[1]}"


async def test_one_that_hangs_or_is_away_does_not_delay_the_others_f30_f42() -> None:
    hung, good = FakeAlertmanager(hangs=True), FakeAlertmanager()
    with contextlib.ExitStack() as stack:
        async with serving(hung, good) as (first, last), opened(first, away(stack), last, timeout_ms=30_000) as sink:
            async with asyncio.timeout(15):
                for name in "ABC":
                    await tell(sink, firing(name))
    assert set(good.firing) == {"A", "B", "C"}
    assert hung.posts == []


async def test_who_was_away_is_told_everything_and_that_he_was_is_said() -> None:
    hung, good = FakeAlertmanager(hangs=True), FakeAlertmanager()
    with contextlib.ExitStack() as stack:
        async with serving(hung, good) as (first, last), opened(first, away(stack), last, timeout_ms=150) as sink:
            await tell(sink, firing("A"))
            with pytest.raises(SinkError, match="2 of 3 Alertmanagers could not be told") as caught:
                await sink.tick({})
            assert (caught.value.reason, caught.value.retryable) == ("timeout", True)
            await tell(sink, firing("B"))
            hung.hangs = False
            with pytest.raises(SinkError, match="1 of 3"):
                await sink.tick({})
    assert set(hung.firing) == {"A", "B"}


async def test_when_none_takes_it_the_message_is_tried_again_and_nothing_is_forgotten() -> None:
    fake = FakeAlertmanager()
    fake.statuses = [503]
    async with serving(fake) as (url,), opened(url) as sink:
        with pytest.raises(SinkError, match="answered 503") as caught:
            await tell(sink, firing("A"))
        assert (caught.value.reason, caught.value.retryable, caught.value.status) == ("http_503", True, 503)
        await tell(sink, firing("B"))
        assert set(fake.firing) == {"A", "B"}


async def test_a_message_that_comes_again_takes_nothing_back_f02() -> None:
    fake = FakeAlertmanager()
    async with serving(fake) as (url,), opened(url) as sink:
        first = sink.render(told(firing("A")))
        await sink.deliver("evt_1", first)
        await tell(sink, resolved("A", NOW_MS + 1_000, fired_ms=NOW_MS))
        await sink.deliver("evt_1", first)
        await sink.tick({})
        assert fake.firing == {"A": "2027-01-15T08:00:01.000Z"}


async def test_one_bad_alert_costs_no_other_f51() -> None:
    fake = FakeAlertmanager(bad="bad")
    names = [f"a{n}" for n in range(20)]
    async with serving(fake) as (url,), opened(url) as sink:
        batch = [firing(name) for name in (*names[:7], "bad", *names[7:])]
        with pytest.raises(SinkError, match="called 1 of 21 alerts bad") as caught:
            await tell(sink, *batch)
        assert (caught.value.status, caught.value.retryable) == (400, False)
        assert set(fake.firing) == set(names)
        asked = len(fake.seen)
        await sink.tick({})
        assert len(fake.seen) == asked + 1, "it is not asked about again"
        await tell(sink, firing("fine"))
        fake.bad = ""
        await tell(sink, resolved("bad", NOW_MS + 1))
        assert "bad" in fake.firing, "once it has changed, it is"


async def test_a_lost_alert_is_marked_and_not_called_resolved_for_a_day() -> None:
    fake, clock = FakeAlertmanager(), StillClock()
    async with serving(fake) as (url,), opened(url, clock=clock) as sink:
        await tell(sink, transition("lost", NOW_MS, {"alertname": "A"}, fired_ms=NOW_MS - 1))
        clock.pass_s(23 * 3_600)
        await sink.tick({})
        (alert,) = fake.posts[-1]
        assert alert["endsAt"] == "2027-01-16T07:04:00.000Z"
        assert alert["annotations"]["longwatch_reason"] == "lost: no data; state unknown"
        fake.posts.clear()
        clock.pass_s(3_700)
        await sink.tick({})
        assert fake.posts == []


async def test_a_stop_in_the_middle_leaves_nothing_behind_f56() -> None:
    fake = FakeAlertmanager(hangs=True)
    async with serving(fake) as (url,), opened(url) as sink:
        task = asyncio.create_task(tell(sink, firing("A")))
        while not fake.seen:
            await asyncio.sleep(0)
        await sink.close()
        with pytest.raises(SinkError, match="closed"):
            await task


async def test_no_error_shows_a_url_f144() -> None:
    fake = FakeAlertmanager()
    fake.statuses = [500, 500]
    async with serving(fake) as (url,), opened(url.replace("//", f"//{CANARY}:{CANARY}@")) as sink:
        for attempt in (tell(sink, firing("A")), sink.tick({})):
            with pytest.raises(SinkError) as caught:
                await attempt
            assert CANARY not in str(caught.value) + repr(caught.value)


# --- the table ------------------------------------------------------------------------------------------


def test_the_rendered_form_is_pure_and_reads_back() -> None:
    notification = told(firing("A", annotations={"s": "\ud800"}), resolved("B"), external_labels={"env": "x"})
    body = encode(notification)
    assert encode(notification) == body
    one, two = decode(body)
    assert one.identity == fingerprint(one.labels) == fingerprint({"alertname": "A", "env": "x"})
    assert (one.ended, two.ended) == (False, True)
    with pytest.raises(ValueError, match="array"):
        decode(b"{}")


def test_it_is_bounded_and_what_has_ended_makes_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "ALERTS_MAX", 3)
    table = AlertTable(240_000)
    table.apply(decode(encode(told(firing("A"), resolved("B"), firing("C")))), NOW_MS)
    table.apply(decode(encode(told(firing("D")))), NOW_MS)
    names = [alert["labels"]["alertname"] for alert in json.loads(table.payload(table.identities, NOW_MS))]
    assert names == ["A", "C", "D"]
    with pytest.raises(SinkError, match="1 more were left out"):
        table.apply(decode(encode(told(firing("E")))), NOW_MS)
    assert len(table) == 3
    table.apply(decode(encode(told(resolved("A", NOW_MS + 1), firing("E", NOW_MS + 1)))), NOW_MS)
    assert len(table) == 3


def test_a_huge_alert_is_cut_and_still_told_f57() -> None:
    labels = {"alertname": "A"} | {f"l{n}": "x" * 10_000 for n in range(100)}
    (one,) = decode(encode(told(transition("firing", NOW_MS, labels))))
    assert one.labels["alertname"] == "A"
    assert len(encode(told(transition("firing", NOW_MS, labels)))) < 512 * 1024


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://x/api/v2/alerts", "/api/v2/alerts"),
        ("http://x:9093/am/api/v2/alerts/", "/api/v2/alerts"),
        ("http://x/api/v1/alerts", "/api/v1/alerts"),
        ("http://x/api/v2/", "/api/v2"),
    ],
)
def test_a_url_that_has_the_api_already_says_what_to_leave_out(url: str, path: str) -> None:
    """It would be asked for twice, and every post would be a 404."""
    with pytest.raises(ValueError, match="urls") as caught:
        AlertmanagerOptions(urls=[Secret(url)])
    assert str(caught.value) == f"urls: without {path} at its end; write it like http://127.0.0.1:9093"


def test_a_path_in_front_of_the_api_is_fine() -> None:
    assert AlertmanagerOptions(urls=[Secret("http://x/alertmanager/api/")])


@pytest.mark.parametrize(
    "urls", [[], ["http://x"] * 17, ["ftp://x"], ["http://x/?a=b"], ["http://x/#a"], ["nonsense-" + CANARY]]
)
def test_urls_that_are_none_are_refused_without_being_shown(urls: list[str]) -> None:
    with pytest.raises(ValueError, match="urls") as caught:
        AlertmanagerOptions(urls=[Secret(url) for url in urls])
    assert CANARY not in str(caught.value)


async def test_an_address_that_no_receiver_is_at_is_refused_f54() -> None:
    async with opened("http://169.254.169.254") as sink:
        with pytest.raises(SinkError) as caught:
            await tell(sink, firing("A"))
    assert caught.value.reason == "forbidden_address"
