"""What goes wrong in a simulated world besides what always does: each seed has one of these stories."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["STEADY", "STORIES", "Story", "story_of"]


class Story(NamedTuple):
    """What is different from the plain one.

    Args:
        clock: The wall clock is set, forward and back, while a process lives and while none does.
        refuses: One receiver answers 400 or 410 for a while, and what it refuses is left to a person.
        rule_file: Some rules are of a rule file.
        outbox_rows_max: Room for a receiver's messages, 0 for what there is by default.
        shut: The ledger's file is locked, or its disk full, at many a start.
        steady: No process ends before it is all over, so that what grows has time to.
    """

    name: str
    clock: bool = False
    refuses: bool = False
    rule_file: bool = False
    outbox_rows_max: int = 0
    shut: bool = False
    steady: bool = False


STORIES = {
    story.name: story
    for story in (
        Story("plain"),
        Story("clock", clock=True),
        Story("refused", refuses=True),
        Story("rule_file", rule_file=True),
        Story("full", outbox_rows_max=10),
        Story("shut", shut=True),
    )
}

STEADY = Story("steady", rule_file=True, steady=True)


def story_of(seed: int) -> Story:
    """Which one a seed has."""
    return list(STORIES.values())[seed % len(STORIES)]
