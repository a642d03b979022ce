"""Whether a receiver may be sent something now: its breaker, its rate limit, the time it asked for.

Pure: time and chance are arguments. It knows no message, and sends none.
"""

from __future__ import annotations

import random

from engine.runtime.ledger.sending import Hasten
from engine.runtime.retry import Answer, Breaker, Bucket, Verdict, asked_s

__all__ = ["Gate"]


class Gate:
    """What one receiver's attempts say of it. Times are seconds of any clock that does not go back.

    Args:
        bucket: Its rate limit, if it has one.
    """

    def __init__(self, bucket: Bucket | None) -> None:
        self._breaker = Breaker()
        self._bucket = bucket
        self._spared_until_s = 0.0
        self._unproven = True

    def wait_s(self, now_s: float) -> float:
        """Seconds until something may be sent: 0 for now; infinite while a trial is under way."""
        wait_s = max(self._breaker.wait_s(now_s), self._spared_until_s - now_s, 0.0)
        return wait_s if self._bucket is None else max(wait_s, self._bucket.wait_s(now_s))

    def begin(self, now_s: float) -> None:
        """Something is being sent."""
        self._breaker.begin()
        if self._bucket is not None:
            self._bucket.take(now_s)

    def abandoned(self) -> None:
        """An attempt ended without an answer."""
        self._breaker.abandoned()

    def now_or_never(self) -> None:
        """There is no later: what it asked for no longer counts."""
        self._spared_until_s = 0.0

    def note(self, answer: Answer, verdict: Verdict, now_s: float, rng: random.Random) -> Hasten:
        """What an attempt says of the receiver; returns what is due now because of it."""
        if verdict.receiver_failed:
            self._breaker.failed(now_s, answer.retry_after_s, rng)
            self._spared_until_s = max(self._spared_until_s, now_s + asked_s(answer.retry_after_s))
            return "no"
        done = verdict.step == "done"
        if not (done or 400 <= answer.status < 500):
            self._breaker.abandoned()
            return "no"
        # It answered for itself. The first message that is taken in a run tells nothing new to this breaker, but the
        # run before may have found the receiver dead.
        healed, first = self._breaker.worked(), done and self._unproven
        self._unproven = self._unproven and not done
        return "all" if healed else "unanswered" if first else "no"
