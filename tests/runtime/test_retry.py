"""What follows from an attempt: the table of faults F31 to F36, and its limits for any answer whatever."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import SinkError
from engine.runtime.contain import Failure
from engine.runtime.retry import (
    AGE_S_MAX,
    BAD_MESSAGE_TRIES,
    RETRY_AFTER_S_MAX,
    RETRY_AFTER_S_MIN,
    SLOW_S,
    TELL_AFTER_S,
    WAIT_S_MAX,
    WAIT_S_MIN,
    Answer,
    Breaker,
    Bucket,
    Verdict,
    answer_of,
    asked_s,
    decide,
    jittered_s,
)

SECONDS = st.floats(min_value=0, max_value=1e7)
ANSWERS = st.builds(
    Answer,
    st.sampled_from(["", "timeout", "refused", "redirect", "tls_certificate", "forbidden_address", "http_500"]),
    st.sampled_from([0, 200, 204, 301, 302, 307, 308, 400, 401, 403, 404, 408, 410, 413, 422, 425, 429, 500, 503, 599]),
    st.booleans(),
    st.floats(allow_nan=True, allow_infinity=True),
)


def verdict(status: int = 0, reason: str = "", *, tries: int = 1, age_s: float = 0.0, **more: object) -> Verdict:
    fields: dict[str, object] = {"reason": reason or f"http_{status}", "status": status} | more
    return decide(Answer(**fields), tries=tries, age_s=age_s, rng=random.Random(1))  # type: ignore[arg-type]


# --- the table --------------------------------------------------------------------------------------


def test_what_was_taken_is_done() -> None:
    assert decide(Answer(), tries=1, age_s=0.0, rng=random.Random(1)) == Verdict("done")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_a_busy_receiver_is_asked_again_f31(status: int) -> None:
    first, later = verdict(status), verdict(status, tries=50, age_s=3_600)
    assert (first.step, first.receiver_failed, first.tell) == ("retry", True, False)
    assert (later.step, later.tell) == ("retry", True)
    assert WAIT_S_MIN <= first.wait_s <= 1.0
    assert WAIT_S_MIN <= later.wait_s <= WAIT_S_MAX


@pytest.mark.parametrize(
    "reason", ["timeout", "dns", "refused", "unreachable", "connect", "tls", "disconnected", "raised"]
)
def test_a_network_error_is_like_a_busy_receiver_f30_f39_f41_f42(reason: str) -> None:
    assert verdict(0, reason).step == "retry"
    assert verdict(0, reason).receiver_failed


@pytest.mark.parametrize("asked", [1.0, 7.5, 3_600.0])
def test_retry_after_is_waited_for_f32(asked: float) -> None:
    assert verdict(429, retry_after_s=asked).wait_s >= asked
    assert verdict(503, retry_after_s=asked, tries=1).wait_s <= max(asked, 1.0)


@pytest.mark.parametrize("status", [400, 405, 413, 422, 451])
def test_a_message_that_is_called_bad_is_dead_after_three_tries_f33(status: int) -> None:
    steps = [verdict(status, tries=tries, retryable=False).step for tries in range(1, BAD_MESSAGE_TRIES + 1)]
    assert steps == ["retry", "retry", "dead"]
    assert verdict(status, tries=BAD_MESSAGE_TRIES).tell
    assert not verdict(status).receiver_failed, "the receiver is alive: its other messages go on"


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_an_operator_can_mend_is_tried_slowly_and_told_after_five_minutes_f34(status: int) -> None:
    first, later = verdict(status), verdict(status, tries=1_000, age_s=TELL_AFTER_S)
    assert (first.step, first.tell) == ("slow", False)
    assert (later.step, later.tell) == ("slow", True)
    assert SLOW_S / 2 <= first.wait_s <= SLOW_S


def test_gone_disables_the_receiver_f35() -> None:
    assert verdict(410, retryable=False) == Verdict("disable", tell=True)
    assert verdict(410, age_s=AGE_S_MAX).step == "disable"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_a_failure_that_an_operator_can_mend_f36(status: int) -> None:
    assert verdict(status, "redirect").step == "slow"


@pytest.mark.parametrize("reason", ["forbidden_address", "tls_certificate"])
def test_so_is_an_address_or_a_certificate_that_is_refused_f40_f54(reason: str) -> None:
    assert verdict(0, reason).step == "slow"


def test_what_a_sink_calls_hopeless_is_dead_at_once() -> None:
    assert verdict(0, "no_path", retryable=False) == Verdict("dead", tell=True)


@pytest.mark.parametrize("status", [0, 401, 503])
def test_nothing_is_tried_for_ever(status: int) -> None:
    assert verdict(status, "x", age_s=AGE_S_MAX) == Verdict("dead", tell=True)
    assert verdict(status, "x", age_s=AGE_S_MAX - 1).step != "dead"


@given(ANSWERS, st.integers(1, 10_000), SECONDS, st.integers())
def test_every_answer_has_one_next_step_within_the_limits(answer: Answer, tries: int, age_s: float, seed: int) -> None:
    """F31 to F36: never a wait without end, never a step in silence that ends a message."""
    step, wait_s, tell, receiver_failed = decide(answer, tries=tries, age_s=age_s, rng=random.Random(seed))
    if step in ("retry", "slow"):
        assert WAIT_S_MIN <= wait_s <= max(WAIT_S_MAX, RETRY_AFTER_S_MAX)
        assert wait_s >= asked_s(answer.retry_after_s)
        assert answer.reason
    else:
        assert wait_s == 0.0
        assert not receiver_failed
    assert tell or step not in ("dead", "disable")
    assert (step == "done") == (not answer.reason)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_what_is_asked_for_is_clamped_f32(seconds: float) -> None:
    asked = asked_s(seconds)
    assert asked == 0.0 or RETRY_AFTER_S_MIN <= asked <= RETRY_AFTER_S_MAX
    assert (asked == 0.0) == (math.isnan(seconds) or seconds <= 0)


def test_jitter_is_full_and_its_bound_doubles_to_five_minutes_f31() -> None:
    rng = random.Random(2)
    for tries, bound in [(1, 1.0), (2, 2.0), (5, 16.0), (9, 256.0), (10, 300.0), (10_000, 300.0)]:
        drawn = sorted(jittered_s(tries, rng) for _ in range(400))
        assert drawn[0] >= WAIT_S_MIN
        assert bound * 0.95 < drawn[-1] <= bound
        assert drawn[0] < bound * 0.12, "the whole span is used, from almost nothing"


def test_a_failure_of_a_call_becomes_an_answer() -> None:
    error = SinkError("http_429", "x", retryable=True, retry_after_s=7.0, status=429)
    assert answer_of(None) == Answer()
    assert answer_of(Failure("http_429", "x", error)) == Answer("http_429", 429, True, 7.0)
    assert answer_of(Failure("timeout", "no answer")) == Answer("timeout")
    assert answer_of(Failure("", "", ValueError())).reason == "raised"


# --- the breaker --------------------------------------------------------------------------------------


def opened(now_s: float = 0.0, retry_after_s: float = 0.0) -> Breaker:
    breaker, rng = Breaker(), random.Random(3)
    for _ in range(5):
        assert breaker.wait_s(now_s) == 0.0
        breaker.failed(now_s, retry_after_s, rng)
    return breaker


def test_five_failures_in_a_row_open_it_and_one_success_between_does_not_count() -> None:
    breaker, rng = Breaker(), random.Random(3)
    for _ in range(3):
        for _ in range(4):
            breaker.failed(0.0, 0.0, rng)
        assert not breaker.worked()
    assert not breaker.is_open
    assert opened().is_open


def test_while_open_there_is_one_trial_at_a_time_and_a_success_frees_everything_f42() -> None:
    breaker = opened()
    wait_s = breaker.wait_s(0.0)
    assert 0 < wait_s <= 60
    assert breaker.wait_s(wait_s / 2) == pytest.approx(wait_s / 2)
    assert breaker.wait_s(wait_s) == 0.0
    breaker.begin()
    assert breaker.wait_s(wait_s) == math.inf
    assert breaker.worked(), "all that waits is due"
    assert breaker.wait_s(wait_s) == 0.0
    assert not breaker.worked()


def test_a_trial_that_ended_without_an_answer_leaves_room_for_another_f56() -> None:
    breaker = opened()
    breaker.begin()
    breaker.abandoned()
    assert breaker.wait_s(1e6) == 0.0


def test_what_the_receiver_asked_for_keeps_it_open_f32() -> None:
    assert opened(100.0, 1_800.0).wait_s(100.0) == 1_800.0
    assert opened(100.0, 1e9).wait_s(100.0) == RETRY_AFTER_S_MAX


@given(st.lists(st.tuples(st.floats(0, 1_000), st.floats(allow_nan=True), st.booleans()), max_size=60), st.integers())
def test_an_open_breaker_asks_at_least_once_a_minute_or_as_was_asked(
    steps: list[tuple[float, float, bool]], seed: int
) -> None:
    """F42: six hours of failures, and the first trial after they end comes within a minute."""
    breaker, rng, now_s = Breaker(), random.Random(seed), 0.0
    for passed_s, asked, works in steps:
        now_s += passed_s
        wait_s = breaker.wait_s(now_s)
        assert 0.0 <= wait_s <= RETRY_AFTER_S_MAX
        if wait_s == 0.0:
            breaker.begin()
            if works:
                breaker.worked()
            else:
                breaker.failed(now_s, asked, rng)
                assert breaker.wait_s(now_s) <= max(60.0, asked_s(asked))


# --- the rate limit -------------------------------------------------------------------------------------


@given(
    st.floats(0.01, 100),
    st.integers(1, 50),
    st.lists(st.floats(0, 30), min_size=1, max_size=100),
)
def test_no_span_has_more_than_its_share_f46(per_s: float, burst: int, gaps: list[float]) -> None:
    bucket, now_s, sent = Bucket(per_s, burst), 0.0, []
    for gap in gaps:
        now_s += gap
        if bucket.wait_s(now_s) == 0.0:
            bucket.take(now_s)
            sent.append(now_s)
    for first in range(len(sent)):
        for last in range(first, len(sent)):
            assert last - first + 1 <= burst + per_s * (sent[last] - sent[first]) + 1e-6


def test_who_waits_as_long_as_it_says_may_send() -> None:
    bucket, now_s = Bucket(0.5, 2), 10.0
    for _ in range(2):
        assert bucket.wait_s(now_s) == 0.0
        bucket.take(now_s)
    assert bucket.wait_s(now_s) == pytest.approx(2.0)
    assert bucket.wait_s(now_s - 5.0) == pytest.approx(2.0), "a clock that goes back fills nothing"
    assert bucket.wait_s(now_s + 2.0) == 0.0
    bucket.take(now_s)
    assert bucket.wait_s(now_s) <= 4.0, "what was taken without leave is not owed for ever"


@pytest.mark.parametrize(("per_s", "burst"), [(0.0, 1), (-1.0, 1), (math.nan, 1), (math.inf, 1), (1.0, 0)])
def test_a_limit_that_lets_nothing_through_is_refused(per_s: float, burst: int) -> None:
    with pytest.raises(ValueError, match="lets nothing through"):
        Bucket(per_s, burst)
