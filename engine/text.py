"""Text from outside, made safe once, where it comes in.

Names of processes, label values and error texts come from hosts we do not control. Invalid UTF-8,
control characters and escape sequences break JSON encoders, SQLite and terminals (faults F75, F117,
F139, F140), so everything that enters passes `clean`; each output still escapes for its own syntax.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["clean"]

# C0, DEL, C1, line and paragraph separators, bidirectional overrides: all of them move a cursor,
# forge a log line or reorder what a person reads.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


# Normalising makes of at most 4 characters one, so `4 * max_chars + 4` of them are enough to know of a cut.
def clean(text: str, max_chars: int = 512) -> str:
    """Return `text` as valid, NFC-normalised Unicode without control characters, at most `max_chars` long.

    Control characters become a visible escape (`\\x1b`, `\\n`), lone surrogates too. A cut is marked
    with `…` and counts towards `max_chars`.
    """
    if text.isascii() and text.isprintable():
        safe = text
    else:
        valid = text[: 4 * max_chars + 4].encode("utf-8", "backslashreplace").decode("utf-8")
        safe = _CONTROL.sub(lambda m: m.group().encode("unicode_escape").decode("ascii"), valid)
        safe = unicodedata.normalize("NFC", safe)
    return safe if len(safe) <= max_chars else safe[: max_chars - 1] + "…"
