"""A whole engine and its neighbours: a real Alertmanager, and who verifies signatures."""

import asyncio
import base64
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from aiohttp import web
from standardwebhooks.webhooks import Webhook

from engine import Engine, Sample
from engine.config import load_text
from tests.probes.servers import free_port, site
from tests.sinks import debian_alertmanager as debian
from tests.sinks.hook import hooked

pytestmark = debian.needed

ROOT = Path(__file__).resolve().parents[2]
KEY = "whsec_" + base64.b64encode(bytes(range(32))).decode()
RULE = """
[rule.High]
expr = "m > 80"
for = "100ms"
on_missing = "hold"
labels = { severity = "critical" }
annotations = { summary = "m is {{ $value }}" }

[sink.am]
type = "alertmanager"
interval = "1s"
"""


def comparable(body: dict[str, Any]) -> dict[str, Any]:
    """A webhook body without what each says of itself, and with instants for texts: Go leaves out the zeros at the
    end of a fraction."""
    alerts = [
        alert | {name: datetime.fromisoformat(alert[name]) for name in ("startsAt", "endsAt")}
        for alert in body["alerts"]
    ]
    return {name: value for name, value in body.items() if name != "externalURL"} | {"alerts": alerts}


async def test_a_receiver_is_told_the_same_by_us_and_by_the_real_one(tmp_path: Path) -> None:
    """The sink's name is that of the Alertmanager's receiver."""
    async with (
        hooked() as (ours, to_ours),
        hooked() as (theirs, to_theirs),
        debian.running(tmp_path, to_theirs, free_port()) as url,
    ):
        hook = f'[sink.hook]\ntype = "webhook"\nurl = "{to_ours}"\nsecrets = ["{KEY}"]\n'
        async with Engine(load_text(f'{RULE}urls = ["{url}"]\n{hook}')) as engine:
            assert engine.emit(Sample(engine.now_ms(), 'm{instance="a\\"ü"}', 90.5, interval_ms=60_000))
            await ours.wait(lambda: len(ours.requests) == 1)
            await theirs.wait(lambda: len(theirs.requests) == 1)
            (listed,) = debian.query(url)
            (told,) = ours.bodies[0]["alerts"]
            assert (listed["labels"], listed["fingerprint"]) == (told["labels"], told["fingerprint"])
            assert listed["annotations"] == {"summary": "m is 90.5"}
            assert engine.emit(Sample(engine.now_ms(), 'm{instance="a\\"ü"}', 1.0, interval_ms=60_000))
            await ours.wait(lambda: len(ours.requests) == 2)
            await theirs.wait(lambda: len(theirs.requests) == 2)
            assert debian.query(url) == []
    assert [body["status"] for body in theirs.bodies] == ["firing", "resolved"]
    assert [comparable(body) for body in ours.bodies] == [comparable(body) for body in theirs.bodies]
    assert ours.bodies[0]["alerts"][0]["labels"] == {"alertname": "High", "instance": 'a"ü', "severity": "critical"}
    for request in ours.requests:
        Webhook(KEY).verify(request.body, dict(request.headers))  # raises if it is not ours


@asynccontextmanager
async def process(file: Path) -> AsyncIterator["subprocess.Popen[bytes]"]:
    """An engine in a process of its own; killed at the end of the block, if it runs still."""
    command = [sys.executable, "-m", "engine", "--config", str(file), "--no-live"]
    environ = {"PATH": os.environ["PATH"], "HOME": str(file.parent), "PYTHONPATH": str(ROOT)}
    with (file.parent / "said").open("ab") as said:
        started = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        yield started
    finally:
        started.kill()
        started.wait()


async def listed(url: str, met: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The alert High as `amtool` lists it, as soon as it meets a condition; at most 20 s."""
    async with asyncio.timeout(20):
        while True:
            for alert in debian.query(url):
                if alert["labels"]["alertname"] == "High" and met(alert):
                    return alert
            await asyncio.sleep(0)


async def test_no_flap_when_we_are_killed_and_when_it_restarts(tmp_path: Path) -> None:
    """F50. Nothing but the ledger knows the alert after the kill: until it resolves the target does not answer."""
    values: list[float | None] = [90.0]

    def metrics(_: web.Request) -> web.Response:
        return web.Response(status=503) if values[-1] is None else web.Response(text=f"m {values[-1]}\n")

    file, port = tmp_path / "run.toml", free_port()
    async with hooked() as (hook, to), site(metrics=metrics) as (target, _):
        probe = f'[probe.t]\ntype = "scrape"\nurl = "{target}metrics"\ninterval = "200ms"\n'
        head = f'[engine]\nstate_dir = "{tmp_path / "state"}"\n'
        file.write_text(f'{head}{RULE}urls = ["http://127.0.0.1:{port}"]\n{probe}', encoding="utf-8")
        async with AsyncExitStack() as until_the_end:
            async with debian.running(tmp_path, to, port) as url:
                async with process(file) as engine:
                    await hook.wait(lambda: hook.of("High") == ["firing"])
                    first = await listed(url, lambda _: True)
                    engine.kill()
                    engine.wait()
                values.append(None)
                engine = await until_the_end.enter_async_context(process(file))
                again = await listed(url, lambda alert: alert["updatedAt"] > first["updatedAt"])
                assert (again["fingerprint"], again["startsAt"]) == (first["fingerprint"], first["startsAt"])
            async with debian.running(tmp_path, to, port) as url:
                anew = await listed(url, lambda _: True)  # it keeps no alerts itself, so we have told it
                assert (anew["fingerprint"], anew["startsAt"]) == (first["fingerprint"], first["startsAt"])
                values.append(1.0)
                await hook.wait(lambda: hook.of("High")[-1] == "resolved")
                assert "High" not in [alert["labels"]["alertname"] for alert in debian.query(url)]
                engine.terminate()
                assert engine.wait(20) == 0
    assert hook.of("High") == ["firing", "resolved"]
