"""Rules tested like code: a day of samples, judged in milliseconds by the code that judges live.

    python examples/replay_rules.py

The second half shows what the rule would have said with a shorter `for`: the question one has before changing it.
"""

from __future__ import annotations

from datetime import UTC, datetime

from engine import Sample
from engine.testing import START_MS, replay

RULE = """
[rule.HighCpu]
expr = "host_cpu_percent > 90"
for = "{duration}"
"""
HOUR_MS = 3_600_000


def day() -> list[Sample]:
    """One host, every 15 s: a backup of three minutes at 02:00, an incident of twenty at 14:30."""
    samples = []
    for time_ms in range(START_MS, START_MS + 24 * HOUR_MS, 15_000):
        since_ms = time_ms - START_MS
        backup = 2 * HOUR_MS <= since_ms < 2 * HOUR_MS + 180_000
        incident = 14.5 * HOUR_MS <= since_ms < 14.5 * HOUR_MS + 1_200_000
        samples.append(Sample(time_ms, "host_cpu_percent", 97.0 if backup or incident else 23.0, 15_000))
    return samples


def main() -> None:
    for duration in ("5m", "1m"):
        print(f"for = {duration}")
        for transition in replay(RULE.format(duration=duration), day()):
            clock = datetime.fromtimestamp(transition.time_ms / 1000, UTC).strftime("%H:%M:%S")
            print(f"  {clock}  {transition.kind:<9} {transition.reason}")


if __name__ == "__main__":
    main()
