"""What the health checks say (faults.md 6.7, as docs/http.md tells it). Pure: figures in, verdicts out.

*Live* must never depend on a database, a sink or a target: whoever asks it restarts the process, and an outage
elsewhere would then restart the alarm. It asks whether the loop turns, which the answer itself proves, and whether
rules are judged. All else that must get on is a matter of *ready*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from engine.ports import Progress
from engine.status import ProbeStatus, SinkStatus

__all__ = ["CONTENT_TYPE", "Verdict", "Vitals", "live", "ready", "startup"]

CONTENT_TYPE: Final = "application/health+json"
"""draft-inadarei-api-health-check-06; expired, and still what there is."""
EVALUATOR: Final = "core"
DISK: Final = "disk"
_WORDS: Final = {"ok": "pass", "degraded": "warn", "failed": "fail"}


class Vitals(NamedTuple):
    """The engine, as far as its health goes.

    Args:
        name: Of the engine.
        phase: `starting`, `running`, `draining` or `stopped`.
        steps: How often rules have been judged.
        progress: The parts that must get on: the evaluator `core`, and as far as there are any `probes`; `ledger`,
            which commits; `disk`, which has what is committed.
        now_s: The monotonic clock.
        components: Every probe and sink.
        trouble: Why what should be on disk is kept in memory alone, as a code; empty while it is on disk.
    """

    name: str
    phase: str
    steps: int
    progress: Mapping[str, Progress]
    now_s: float
    components: Sequence[ProbeStatus | SinkStatus] = ()
    trouble: str = ""


class Verdict(NamedTuple):
    """One answer.

    Args:
        well: Whether to answer 200; else 503.
        word: `pass`, `warn` or `fail`.
        reason: Why not, for people.
        checks: What was looked at.
    """

    well: bool
    word: str
    reason: str = ""
    checks: Mapping[str, Any] = {}  # never written to

    @property
    def status(self) -> int:
        """Of HTTP."""
        return 200 if self.well else 503

    def body(self, name: str, *, whole: bool) -> bytes:
        """As JSON; only the word unless `whole`."""
        told: dict[str, Any] = {"status": self.word}
        if whole:
            told["serviceId"] = name
            if self.reason:
                told["output"] = self.reason
            told["checks"] = self.checks
        return msgspec.json.encode(told)


def live(vitals: Vitals) -> Verdict:
    """Whether the process is worth keeping: rules are judged. A stop that is under way is no reason to kill it, nor is
    a start that a slow disk holds up: that is for `startup` to say."""
    evaluator = {part: made for part, made in vitals.progress.items() if part == EVALUATOR}
    judging = vitals.phase == "running" and vitals.steps > 0
    return _verdict(_stuck(evaluator, vitals.now_s) if judging else [], _ages(evaluator, vitals.now_s))


def startup(vitals: Vitals) -> Verdict:
    """Whether the first evaluation is done: then the configuration was valid and what is kept was opened."""
    done = vitals.steps > 0
    checks = {"core:steps": [{"componentType": "system", "observedValue": vitals.steps, "status": _word(done)}]}
    return _verdict([] if done else ["nothing has been judged yet"], checks)


def ready(vitals: Vitals) -> Verdict:
    """Whether it does what it is there for: started, not stopping, and every part gets on that must."""
    reasons = _stuck(vitals.progress, vitals.now_s, vitals.trouble)
    if vitals.phase != "running":
        reasons.insert(0, f"the engine is {vitals.phase}")
    elif not vitals.steps:
        reasons.insert(0, "nothing has been judged yet")
    checks = _ages(vitals.progress, vitals.now_s)
    if vitals.trouble:
        told = {"componentType": "datastore", "status": "warn", "output": vitals.trouble}
        checks["ledger:kept"] = [told]
    for part in vitals.components:
        kind = "probe" if isinstance(part, ProbeStatus) else "sink"
        told = {"componentType": "component", "status": _WORDS[part.status]}
        checks[f"{kind}.{part.name}:status"] = [{**told, "output": part.message} if part.message else told]
    verdict = _verdict(reasons, checks)
    if verdict.well and (vitals.trouble or any(part.status != "ok" for part in vitals.components)):
        return verdict._replace(word="warn")
    return verdict


def _verdict(reasons: Sequence[str], checks: Mapping[str, Any]) -> Verdict:
    return Verdict(not reasons, _word(not reasons), "; ".join(reasons), checks)


def _stuck(parts: Mapping[str, Progress], now_s: float, trouble: str = "") -> list[str]:
    ages_s = {name: now_s - part.last_s for name, part in sorted(parts.items()) if now_s - part.last_s > part.limit_s}
    return [
        f"alerts and messages are kept in memory alone for {age_s:.0f} s: {trouble}"
        if name == DISK
        else f"{name} got nowhere for {age_s:.0f} s"
        for name, age_s in ages_s.items()
    ]


def _ages(parts: Mapping[str, Progress], now_s: float) -> dict[str, Any]:
    return {
        f"{name}:age": [
            {
                "componentType": "system",
                "observedValue": round(now_s - part.last_s, 3),
                "observedUnit": "s",
                "status": _word(now_s - part.last_s <= part.limit_s),
            }
        ]
        for name, part in sorted(parts.items())
    }


def _word(good: bool) -> str:
    return "pass" if good else "fail"
