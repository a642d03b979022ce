"""A whole engine and its neighbours: a real Alertmanager, and who verifies signatures."""

import base64
from datetime import datetime
from pathlib import Path
from typing import Any

from standardwebhooks.webhooks import Webhook

from engine import Engine, Sample
from engine.config import load_text
from tests.probes.servers import free_port
from tests.sinks import debian_alertmanager as debian
from tests.sinks.hook import hooked

pytestmark = debian.needed

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
