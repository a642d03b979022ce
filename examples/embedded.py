"""Longwatch inside a service: the service's own loop, its own numbers, no second process.

    python examples/embedded.py

A toy trading service emits a sample for each order and an event for each closed trade. Two rules judge them:
one on the service's own latency, one on the count of security violations, which exists at 0 from the start. `emit`
is synchronous and never waits; without a state folder no file is written.
"""

from __future__ import annotations

import asyncio
import time

from engine import Engine, Sample, SecurityViolation, TradeClosed
from engine.config import load_text

CONFIG = """
[engine]
name = "trade-1"

[rule.SlowOrders]
expr = "order_latency_seconds > 0.5"
for = "500ms"
labels = { severity = "warning" }
annotations = { summary = "{{ $labels.venue }} answers in {{ $value }} s" }

[rule.SecurityViolation]
expr = 'longwatch_events_total{type="security_violation"} > 0'
labels = { severity = "critical" }

[sink.console]
pending = true
"""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def trade(engine: Engine) -> None:
    """A second and a half of business: the venue is slow for a while, and somebody uses an old token."""
    for order in range(15):
        latency_s = 0.9 if 3 <= order < 11 else 0.05
        engine.emit(Sample(now_ms(), 'order_latency_seconds{venue="X"}', latency_s, interval_ms=1_000))
        engine.emit(TradeClosed(time_ms=now_ms(), symbol="EURUSD", pnl=12.5))
        if order == 5:
            engine.emit(SecurityViolation(time_ms=now_ms(), kind="token_expired", source="10.0.0.7"))
        await asyncio.sleep(0.1)


async def main() -> None:
    async with Engine(load_text(CONFIG)) as engine:
        await trade(engine)
        firing = [alert.rule for alert in engine.alerts() if alert.state == "firing"]
    print(f"still firing at the end: {', '.join(firing) or 'nothing'}")


if __name__ == "__main__":
    asyncio.run(main())
