"""Values as Go prints them: `%v` for what stands in a template, and `printf` with its verbs and flags.

After the documentation of Go's fmt and strconv; tests hold the results against Prometheus' own. What a verb can't print
is shown as Go shows it, `%!d(float64=1.5)`, so that a person sees it in the alert.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any, NamedTuple

from engine.templates.values import GoDuration, GoTime, Root, Sample, TemplateFailure, go_type

__all__ = ["CHARS_MAX", "sprint", "sprintf", "sprintln", "text_of"]

CHARS_MAX = 65_536
"""Of one value. Four times what a text may have in the end; more is no text for a person."""

WIDTH_MAX = 1_000
EXPONENT_FROM = 6
"""Go's `%v` writes a float from 1e6 on with an exponent: 1e+06."""

_VERB = re.compile(
    r"%([-+# 0]*)(?:\[(\d{1,4})\])?(\*|\d+)?(?:(\.)(?:\[(\d{1,4})\])?(\*|\d*))?(?:\[(\d{1,4})\])?(.)?", re.DOTALL
)
_INT_BASES = {"d": "d", "b": "b", "o": "o", "O": "o", "x": "x", "X": "X"}


class _Spec(NamedTuple):
    verb: str
    flags: str
    width: int | None
    precision: int | None


_PLAIN = _Spec("v", "", None, None)


def text_of(value: Any) -> str:
    """A value as `{{ value }}` prints it."""
    if type(value) is str:
        return value
    if value is None:
        return "<no value>"
    return _value(value, _PLAIN)


def sprint(values: tuple[Any, ...]) -> str:
    """`print`: a blank between two values neither of which is a text."""
    parts: list[str] = []
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            parts.append(" ")
        parts.append(_argument(value, _PLAIN))
    return "".join(parts)


def sprintln(values: tuple[Any, ...]) -> str:
    """`println`: a blank between all of them, and a line's end."""
    return " ".join(_argument(value, _PLAIN) for value in values) + "\n"


def sprintf(pattern: str, values: tuple[Any, ...]) -> str:
    """`printf`. Raises `TemplateFailure` if the text grows too long."""
    return _Format(pattern, values).run()


class _Format:
    """One `printf`: which argument is next, and what was written."""

    def __init__(self, pattern: str, values: tuple[Any, ...]) -> None:
        self._pattern = pattern
        self._values = values
        self._next = 0
        self._reordered = False
        self._parts: list[str] = []
        self._size = 0

    def run(self) -> str:
        at = 0
        for match in _VERB.finditer(self._pattern):
            self._put(self._pattern[at : match.start()])
            self._put(self._verb(match))
            at = match.end()
        self._put(self._pattern[at:])
        rest = self._values[self._next :]
        if rest and not self._reordered:
            extra = ", ".join("<nil>" if v is None else f"{go_type(v)}={_argument(v, _PLAIN)}" for v in rest)
            self._put(f"%!(EXTRA {extra})")
        return "".join(self._parts)

    def _put(self, text: str) -> None:
        self._size += len(text)
        if self._size > CHARS_MAX:
            raise TemplateFailure("error calling printf: the text grows too long")
        self._parts.append(text)

    def _verb(self, match: re.Match[str]) -> str:
        flags, width_index, width, point, precision_index, precision, index, verb = match.groups()
        notes: list[str] = []
        wide = self._size_of(width, width_index, "WIDTH", notes)
        if width is None and width_index is not None:
            index = index or width_index
        exact = self._size_of(precision or "0", precision_index, "PREC", notes) if point else None
        if wide is not None and wide < 0:
            flags, wide = flags + "-", -wide
        if exact is not None and exact < 0:
            exact = None
        if verb is None:
            return "".join(notes) + "%!(NOVERB)"
        if verb == "%":
            return "".join(notes) + "%"
        if not self._jump(index):
            return "".join(notes) + f"%!{verb}(BADINDEX)"
        if self._next >= len(self._values):
            return "".join(notes) + f"%!{verb}(MISSING)"
        value = self._values[self._next]
        self._next += 1
        flags = flags.replace("+", "") if verb == "v" else flags  # there it asks for the names of fields
        return "".join(notes) + _argument(value, _Spec(verb, flags, wide, exact))

    def _size_of(self, text: str | None, index: str | None, word: str, notes: list[str]) -> int | None:
        """A width or a precision; `*` takes it from the arguments."""
        if text is None:
            return None
        size: Any = text
        if text == "*":
            self._jump(index)
            size = self._values[self._next] if self._next < len(self._values) else None
            self._next += 1
            if type(size) is not int:
                notes.append(f"%!(BAD{word})")
                return None
        size = int(str(size)[:9])
        if abs(size) > WIDTH_MAX:
            notes.append(f"%!(BAD{word})")
            return None
        return int(size)

    def _jump(self, index: str | None) -> bool:
        if index is None:
            return True
        self._reordered = True
        if not 1 <= int(index) <= len(self._values):
            return False
        self._next = int(index) - 1
        return True


def _argument(value: Any, spec: _Spec) -> str:
    """One argument; a sample is handed around by pointer there, which shows as `&`."""
    if spec.verb == "T":
        return _pad(go_type(value), spec)
    if value is None:
        return _pad("<nil>", spec) if spec.verb == "v" else f"%!{spec.verb}(<nil>)"
    return ("&" if isinstance(value, Sample) else "") + _value(value, spec)


def _value(value: Any, spec: _Spec) -> str:
    match value:
        case bool():
            return _pad(str(value).lower(), spec) if spec.verb in "tv" else _bad(value, spec)
        case GoTime() | GoDuration():
            return _text(str(value), spec) if spec.verb in "vs" else _bad(value, spec)
        case str():
            return _text(value, spec)
        case int():
            return _whole(value, spec)
        case float():
            return _float(value, spec)
        case Sample() | Root():
            return "{" + " ".join(_value(field, spec) for field in value) + "}"
        case dict():
            pairs = (f"{_value(name, spec)}:{_argument(value[name], spec)}" for name in sorted(value))
            return f"map[{' '.join(pairs)}]"
        case list():
            return "[" + " ".join(_value(item, spec) for item in value) + "]"
    raise TemplateFailure(f"a value of type {go_type(value)} can't be printed")


def _bad(value: Any, spec: _Spec) -> str:
    shown = _value(value, spec._replace(verb="v"))  # flags and width stay
    return f"%!{spec.verb}({go_type(value).lstrip('*')}={shown})"


def _pad(text: str, spec: _Spec, zeros: bool = False, signed: bool = False) -> str:
    if spec.width is None or len(text) >= spec.width:
        return text
    if "-" in spec.flags:
        return text.ljust(spec.width)
    if zeros and "0" in spec.flags:
        sign = text[:1] if signed and text[:1] in "+- " else ""
        return sign + text[len(sign) :].rjust(spec.width - len(sign), "0")
    return text.rjust(spec.width)


# --- texts ------------------------------------------------------------------------------------------


def _text(text: str, spec: _Spec) -> str:
    shown = text if spec.precision is None else text[: spec.precision]
    match spec.verb:
        case "v" if "#" in spec.flags:
            shown = _quote(shown)
        case "v" | "s":
            pass
        case "q":
            raw = "#" in spec.flags and "`" not in shown and shown.isprintable()
            shown = f"`{shown}`" if raw else _quote(shown, ascii_only="+" in spec.flags)
        case "x" | "X":
            shown = text.encode()[: spec.precision].hex(*(" " if " " in spec.flags else ""))
            shown = shown.upper() if spec.verb == "X" else shown
        case _:
            return _bad(text, spec)
    return _pad(shown, spec, zeros=True)


_QUOTED = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def _quote(text: str, mark: str = '"', ascii_only: bool = False) -> str:
    parts = [mark]
    for character in text:
        if character in (mark, "\\"):
            parts.append("\\" + character)
        elif character in _QUOTED:
            parts.append(_QUOTED[character])
        elif character.isprintable() and (character.isascii() or not ascii_only):
            parts.append(character)
        elif ord(character) < 0x80:
            parts.append(f"\\x{ord(character):02x}")
        else:
            parts.append(f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}")
    return "".join([*parts, mark])


# --- numbers ----------------------------------------------------------------------------------------


def _whole(value: int, spec: _Spec) -> str:
    verb = "d" if spec.verb == "v" else spec.verb
    if verb in _INT_BASES:
        if spec.precision == 0 and value == 0:
            return " " * (spec.width or 0)
        digits = format(abs(value), _INT_BASES[verb]).rjust(spec.precision or 0, "0")
        if verb == "O" or "#" in spec.flags:
            digits = {"b": "0b", "o": "0", "O": "0o", "x": "0x", "X": "0X"}.get(verb, "") + digits
        sign = "-" if value < 0 else "+" if "+" in spec.flags else " " if " " in spec.flags else ""
        return _pad(sign + digits, spec, zeros=spec.precision is None, signed=True)
    if verb in "cqU":
        character = chr(value) if 0 <= value <= 0x10FFFF and not 0xD800 <= value <= 0xDFFF else "�"
        shown = {
            "c": character,
            "q": _quote(character, "'", "+" in spec.flags),
            "U": f"U+{value & 0xFFFFFFFFFFFFFFFF:04X}",
        }[verb]
        return _pad(shown, spec, zeros=True)
    return _bad(value, spec)


def _float(value: float, spec: _Spec) -> str:
    verb = {"v": "g", "F": "f"}.get(spec.verb, spec.verb)
    if verb not in "eEfgG":
        return _bad(value, spec)
    plus = "+" if "+" in spec.flags else ""
    if not math.isfinite(value):
        if math.isnan(value):
            shown = plus + "NaN" if plus or " " not in spec.flags else " NaN"
        else:
            shown = "-Inf" if value < 0 else " Inf" if " " in spec.flags and not plus else "+Inf"
        return _pad(shown, spec)
    if spec.precision is None and verb in "gG" and "#" not in spec.flags:
        shown = _shortest(abs(value), verb)
    else:
        precision = 6 if spec.precision is None else spec.precision
        shown = f"%{'#' if '#' in spec.flags else ''}.{precision}{verb}" % abs(value)
    negative = math.copysign(1.0, value) < 0
    sign = "-" if negative else plus or (" " if " " in spec.flags else "")
    return _pad(sign + shown, spec, zeros=True, signed=True)


def _shortest(value: float, verb: str) -> str:
    """The fewest digits that read back as `value`; with an exponent below 1e-4 and from 1e6 on."""
    if value == 0:
        return "0"
    _, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    text = "".join(map(str, digits))
    power = len(text) + int(exponent) - 1
    if power < -4 or power >= EXPONENT_FROM:
        fraction = f".{text[1:]}" if len(text) > 1 else ""
        letter = "e" if verb == "g" else "E"
        return f"{text[0]}{fraction}{letter}{'-' if power < 0 else '+'}{abs(power):02d}"
    if power < 0:
        return "0." + "0" * (-power - 1) + text
    whole, fraction = text[: power + 1].ljust(power + 1, "0"), text[power + 1 :]
    return f"{whole}.{fraction}" if fraction else whole
