"""What follows from one attempt to send: done, again at what time, slowly, never, or no more to this receiver. Pure.

Time and chance are arguments, and nothing here sends, stores or waits. A worker asks `decide` after each attempt, the
receiver's `Breaker` and `Bucket` before each. A message is never given up in silence: whatever is not retried says so
(`tell`).
"""

from __future__ import annotations

import math
import random
from typing import Final, Literal, NamedTuple, TypeAlias

from engine.runtime.contain import Failure

__all__ = [
    "AGE_S_MAX",
    "BAD_MESSAGE_TRIES",
    "RETRY_AFTER_S_MAX",
    "RETRY_AFTER_S_MIN",
    "SLOW_S",
    "TELL_AFTER_S",
    "WAIT_S_MAX",
    "WAIT_S_MIN",
    "Answer",
    "Breaker",
    "Bucket",
    "Verdict",
    "answer_of",
    "asked_s",
    "decide",
]

WAIT_S_BASE: Final = 1.0
WAIT_S_MIN: Final = 0.1
"""Full jitter may draw nothing at all; a loop without a pause would be no retry but an attack."""
WAIT_S_MAX: Final = 300.0
SLOW_S: Final = 300.0
"""What only a person can mend is tried about this often."""
TELL_AFTER_S: Final = 300.0
"""So long it may be wrong before somebody is told: a deployment of the receiver is no news."""
BAD_MESSAGE_TRIES: Final = 3
"""A message that the receiver calls bad is tried this often: some answer 400 while they start."""
AGE_S_MAX: Final = 72 * 3600.0
"""A message older than this is given up: Standard Webhooks retries for about three days, too."""
RETRY_AFTER_S_MIN: Final = 1.0
RETRY_AFTER_S_MAX: Final = 3600.0

Step: TypeAlias = Literal["done", "retry", "slow", "disable", "dead"]
_OPERATOR_STATUSES: Final = frozenset({401, 403, 404})
_OPERATOR_REASONS: Final = frozenset({"redirect", "forbidden_address", "tls_certificate"})
_BUSY_4XX: Final = frozenset({408, 425, 429})


class Answer(NamedTuple):
    """What came of one attempt.

    Args:
        reason: Empty if the message was taken; else a code (`http_503`, `timeout`).
        status: The HTTP status, 0 where there was none.
        retryable: Whether the sink thinks that the same bytes may succeed later.
        retry_after_s: What the receiver asked for; any float, see `asked_s`.
    """

    reason: str = ""
    status: int = 0
    retryable: bool = True
    retry_after_s: float = 0.0


class Verdict(NamedTuple):
    """What to do next.

    Args:
        step: `done`: it was taken. `retry`: again after `wait_s`. `slow`: the same, but a person must mend something
            first. `disable`: this receiver wants nothing any more; its messages are parked. `dead`: this message is
            given up, and kept for a person to read and to send again.
        wait_s: Seconds until the next attempt; 0 for steps without one.
        tell: Whether a person should hear of it now.
        receiver_failed: Whether it speaks against the receiver, and not only against this message.
    """

    step: Step
    wait_s: float = 0.0
    tell: bool = False
    receiver_failed: bool = False


def answer_of(failure: Failure | None) -> Answer:
    """What a call of a sink's `deliver` came to, as an answer. An exception of its own is worth another attempt."""
    if failure is None:
        return Answer()
    return Answer(failure.reason or "raised", *(failure.asked or ()))


def decide(answer: Answer, *, tries: int, age_s: float, rng: random.Random) -> Verdict:
    """What follows from an attempt (faults F31 to F36).

    Args:
        tries: How often this message was tried, this attempt included.
        age_s: Seconds since its first attempt.
        rng: For the jitter.
    """
    if not answer.reason:
        return Verdict("done")
    if answer.status == 410:
        return Verdict("disable", tell=True)
    if age_s >= AGE_S_MAX:
        return Verdict("dead", tell=True)
    asked = asked_s(answer.retry_after_s)
    if _needs_operator(answer):
        wait_s = max(asked, rng.uniform(SLOW_S / 2, SLOW_S))
        return Verdict("slow", wait_s, tell=age_s >= TELL_AFTER_S, receiver_failed=True)
    bad_message = 400 <= answer.status < 500 and answer.status not in _BUSY_4XX
    if bad_message and tries < BAD_MESSAGE_TRIES:
        return Verdict("retry", max(asked, jittered_s(tries, rng)))
    if bad_message or not answer.retryable:
        return Verdict("dead", tell=True)
    return Verdict("retry", max(asked, jittered_s(tries, rng)), tell=age_s >= TELL_AFTER_S, receiver_failed=True)


def _needs_operator(answer: Answer) -> bool:
    return answer.status in _OPERATOR_STATUSES or 300 <= answer.status < 400 or answer.reason in _OPERATOR_REASONS


def jittered_s(tries: int, rng: random.Random, max_s: float = WAIT_S_MAX) -> float:
    """Exponential back-off with full jitter: uniform between almost nothing and a bound that doubles with each try.

    Full jitter keeps those that failed together from returning together (Brooker, "Exponential Backoff And Jitter",
    AWS Architecture Blog, 2015).
    """
    bound = min(max_s, WAIT_S_BASE * 2.0 ** min(max(tries, 1) - 1, 32))
    return max(WAIT_S_MIN, rng.uniform(0.0, bound))


def asked_s(retry_after_s: float) -> float:
    """What a receiver asked for, within [RETRY_AFTER_S_MIN, RETRY_AFTER_S_MAX]; 0 if it did not ask, or made no
    sense (F32)."""
    if math.isnan(retry_after_s) or retry_after_s <= 0:
        return 0.0
    return min(max(retry_after_s, RETRY_AFTER_S_MIN), RETRY_AFTER_S_MAX)


class Breaker:
    """Keeps a dead receiver from being asked once for each message that waits for it.

    Closed while it works. After `failures_max` failures in a row it opens: nothing is sent for a while, then one
    message as a trial. If that is taken it closes, and everything that waits is due at once (F42); if not, it stays
    open for longer, up to `open_s_max`, or for as long as the receiver asked.

    Times are seconds of any clock that does not go back.
    """

    def __init__(self, failures_max: int = 5, open_s_max: float = 60.0) -> None:
        self._failures_max = failures_max
        self._open_s_max = open_s_max
        self._failures = 0
        self._until_s = 0.0
        self._trying = False

    @property
    def is_open(self) -> bool:
        """Whether the receiver counts as dead."""
        return self._failures >= self._failures_max

    def wait_s(self, now_s: float) -> float:
        """Seconds until something may be sent: 0 for now; infinite while a trial is under way."""
        if not self.is_open:
            return 0.0
        return math.inf if self._trying else max(0.0, self._until_s - now_s)

    def begin(self) -> None:
        """Something is being sent. While open, that is the one trial."""
        self._trying = self.is_open

    def worked(self) -> bool:
        """The receiver answered for itself. Returns whether it had been dead: then all that waits is due now."""
        healed = self.is_open
        self._failures, self._trying = 0, False
        return healed

    def failed(self, now_s: float, retry_after_s: float, rng: random.Random) -> None:
        """An attempt spoke against the receiver."""
        self._failures += 1
        self._trying = False
        beyond = self._failures - self._failures_max
        if beyond >= 0:
            pause_s = self._open_s_max * min(1.0, 2.0 ** min(beyond, 32) / 8) * rng.uniform(0.5, 1.0)
            self._until_s = now_s + max(asked_s(retry_after_s), pause_s)

    def abandoned(self) -> None:
        """An attempt ended without an answer, at a stop say: nothing is known, and the next may be the trial."""
        self._trying = False


class Bucket:
    """A receiver's rate limit: `burst` messages at once, then `per_s` a second.

    Times are seconds of any clock; one that goes back fills nothing.
    """

    def __init__(self, per_s: float, burst: int) -> None:
        if not (per_s > 0 and math.isfinite(per_s) and burst >= 1):
            raise ValueError(f"a rate of {per_s} a second with bursts of {burst} lets nothing through")
        self._per_s = per_s
        self._burst = float(burst)
        self._left = float(burst)
        self._at_s = -math.inf

    def wait_s(self, now_s: float) -> float:
        """Seconds until one more may be sent; 0 for now."""
        self._fill(now_s)
        return max(0.0, (1.0 - self._left) / self._per_s)

    def take(self, now_s: float) -> None:
        """One is sent, with or without leave."""
        self._fill(now_s)
        self._left = max(0.0, self._left - 1.0)

    def _fill(self, now_s: float) -> None:
        if now_s > self._at_s:
            passed_s = now_s - self._at_s
            self._left = min(self._burst, self._left + passed_s * self._per_s)
            self._at_s = now_s
