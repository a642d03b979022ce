"""What the listener counts: answers, connections, guesses at tokens. Every label has a bounded set of values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from engine.series import series_text

__all__ = ["GUESSES_MAX", "GUESS_SPAN_S", "Guesses", "Tally"]

GUESSES_MAX: Final = 10
"""Wrong tokens from one address in `GUESS_SPAN_S`; then it is not even listened to for the rest of the span."""
GUESS_SPAN_S: Final = 60.0
ADDRESSES_MAX: Final = 256


class Tally:
    """Counts since the start."""

    def __init__(self) -> None:
        self.connections = 0
        self.connections_refused = 0
        self._answers: dict[tuple[str, int], int] = {}

    def answered(self, route: str, code: int) -> None:
        """One request was answered. `route` is one of ours, `other` for what is none."""
        self._answers[route, code] = self._answers.get((route, code), 0) + 1

    def figures(self) -> Mapping[str, float]:
        """As metrics, by canonical series text."""
        found: dict[str, float] = {
            "longwatch_http_connections": self.connections,
            "longwatch_http_connections_refused_total": self.connections_refused,
        }
        for (route, code), count in self._answers.items():
            found[series_text("longwatch_http_requests_total", {"route": route, "code": str(code)})] = count
        return found


class Guesses:
    """Keeps who gave wrong tokens lately, so that nobody can try many."""

    def __init__(self) -> None:
        self._wrong: dict[str, tuple[float, int]] = {}

    def exhausted(self, address: str, now_s: float) -> bool:
        """Whether the address has had its share."""
        since_s, count = self._wrong.get(address, (now_s, 0))
        return count >= GUESSES_MAX and now_s - since_s < GUESS_SPAN_S

    def wrong(self, address: str, now_s: float) -> None:
        """The address gave a wrong token, or none."""
        since_s, count = self._wrong.pop(address, (now_s, 0))
        if now_s - since_s >= GUESS_SPAN_S:
            since_s, count = now_s, 0
        if len(self._wrong) >= ADDRESSES_MAX:
            del self._wrong[next(iter(self._wrong))]  # who was wrong longest ago
        self._wrong[address] = since_s, count + 1
