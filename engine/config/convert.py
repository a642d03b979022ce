"""One TOML table to one struct, field by field, so that every error is found and not only the first.

The types come from `msgspec.inspect`, the messages are written here: each says what was expected in a
person's words and shows what was there, unless that is a secret or came from the environment.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import msgspec.inspect as mi

from engine.config.environment import Expanded, ExpandError, expand, read_secret
from engine.config.kinds import INT64_MAX, Fields, Node, fields_of, fits, is_secret, unwrap
from engine.config.locate import KeyPath
from engine.config.report import Report
from engine.config.wording import but_not, example, known_words, nearest_word, shown, sort_of, suggestion, words_for
from engine.durations import Duration, format_ms, parse_ms
from engine.errors import nearest
from engine.secrets import Secret
from engine.text import clean

__all__ = ["BAD", "Converter"]

S = TypeVar("S", bound=msgspec.Struct)


class _Bad:
    """Stands for a value that could not be converted; its problem is in the report."""


BAD: Final = _Bad()
_ABOUT = re.compile(r"(\w+): |`(\w+)`")


class Converter:
    """Converts tables.

    Args:
        report: Where problems go.
        environ: For `${NAME}`.
        folder: For `<key>_file`.

    `literal_secrets` collects the addresses and texts of secrets that stand in the configuration itself.
    """

    def __init__(self, report: Report, environ: Mapping[str, str], folder: Path) -> None:
        self.report = report
        self.literal_secrets: list[tuple[KeyPath, str]] = []
        self.from_environment: set[KeyPath] = set()
        self._environ = environ
        self._good_items: dict[KeyPath, dict[str, Any]] = {}
        self._folder = folder
        self._by_class: dict[type[Any], Callable[[Expanded, KeyPath, Node], Any]] = {
            Duration: self._duration,
            Secret: self._secret,
            Path: self._path,
        }

    def table(
        self,
        fields: Fields,
        table: Mapping[str, Any],
        path: KeyPath,
        hints: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Convert the keys of `table`; what is wrong goes to the report.

        Args:
            hints: For unknown keys that deserve more than the nearest name, and for keys that are missing.

        Returns:
            Values by attribute name. A key that was not given is left out, one that is wrong is `BAD`.
        """
        values: dict[str, Any] = {}
        for key, value in table.items():
            field = fields.get(key)
            secret = fields.get(key.removesuffix("_file")) if key.endswith("_file") else None
            if field is not None:
                values[field.name] = self.value(field.type, value, (*path, key))
            elif secret is not None and is_secret(secret):
                if secret.encode_name in table:
                    self.report.error((*path, key), f"{secret.encode_name} is given, too", "keep one of them")
                else:
                    values[secret.name] = self._secret_file(value, (*path, key))
            elif self.report.is_full:
                self.report.error((*path, key), "unknown key")
            else:
                hint = (hints or {}).get(key) or nearest(key, list(fields)) or known_words(fields)
                self.report.error((*path, key), "unknown key", hint)
        for key, field in fields.items():
            if field.required and field.name not in values:
                values[field.name] = BAD
                message = f"is missing; expected {words_for(field.type)}"
                self.report.error((*path, key), message, example(field) or (hints or {}).get(key, ""))
        return values

    def build(self, struct: type[S], values: Mapping[str, Any], path: KeyPath) -> S | None:
        """Construct a struct from converted values, or report why not; `BAD` values were reported already."""
        if any(value is BAD for value in values.values()):
            return None
        try:
            return struct(**values)
        except (ValueError, TypeError) as error:  # from its __post_init__
            self._refused(struct, str(error), path)
            return None

    def items(self, path: KeyPath) -> dict[str, Any]:
        """What could be converted of the table of labels or annotations at `path`, though some could not."""
        return self._good_items.get(path, {})

    def text(self, value: Any, path: KeyPath) -> Any:
        """Convert a string, references and all, or return `BAD`."""
        return self.value(mi.StrType(), value, path)

    def value(self, kind: mi.Type, value: Any, path: KeyPath) -> Any:
        """Convert one value, or report it and return `BAD`."""
        node = unwrap(kind)
        match node.type:
            case mi.UnionType():
                return self._union(node.type, value, path)
            case mi.ListType() | mi.VarTupleType() | mi.SetType() | mi.FrozenSetType():
                return self._list(node.type, value, path)
            case mi.DictType():
                return self._dict(node.type, value, path)
            case mi.StructType():
                if not isinstance(value, dict):
                    return self._wrong(kind, value, path)
                values = self.table(fields_of(node.type.cls), value, path)
                return self.build(node.type.cls, values, path) or BAD
            case mi.BoolType():
                return value if isinstance(value, bool) else self._wrong(kind, value, path)
            case mi.IntType():
                good = isinstance(value, int) and not isinstance(value, bool)
                return self._number(node.type, value, path) if good else self._wrong(kind, value, path)
            case mi.FloatType():
                good = isinstance(value, int | float) and not isinstance(value, bool)
                return self._number(node.type, value, path) if good else self._wrong(kind, value, path)
            case _:
                return self._scalar(node, value, path)

    def _scalar(self, node: Node, value: Any, path: KeyPath) -> Any:
        """What is written as a string, and literals."""
        if isinstance(node.type, mi.LiteralType) and not isinstance(value, str):
            good = any(type(value) is type(word) and value == word for word in node.type.values)
            return value if good else self._wrong(node.type, value, path)
        if not isinstance(value, str):
            return self._wrong(node.type, value, path)
        secret = isinstance(node.type, mi.CustomType) and node.type.cls is Secret
        try:
            expanded = expand(value, self._environ)
        except ExpandError as error:
            in_file = f" or use {path[-1]}_file" if error.unset and secret and len(path) == 3 else ""
            self.report.error(path, str(error), error.hint + in_file)
            return BAD
        if expanded.names and not secret:  # what checks a secret knows not to show it
            self.from_environment.add(path)
        match node.type:
            case mi.LiteralType(values=words):
                return expanded.text if expanded.text in words else self._wrong(node.type, expanded, path)
            case mi.StrType():
                return self._string(node.type, expanded, path)
            case mi.CustomType(cls=cls) if cls in self._by_class:
                return self._by_class[cls](expanded, path, node)
            case _:
                self.report.error(path, "is of a type that can't be configured", "this is a fault of its author's")
                return BAD

    def _string(self, kind: mi.StrType, value: Expanded, path: KeyPath) -> Any:
        low, high = kind.min_length or 0, kind.max_length
        if len(value.text) < low:
            message = "must not be empty" if low == 1 else f"must have at least {low} characters"
        elif high is not None and len(value.text) > high:
            message = f"must have at most {high} characters, not {len(value.text)}"
        elif kind.pattern is not None and not re.search(kind.pattern, value.text):
            message = f"expected text that matches {kind.pattern}, got {shown(value)}"
        else:
            return value.text
        self.report.error(path, message)
        return BAD

    def _duration(self, value: Expanded, path: KeyPath, node: Node) -> Any:
        try:
            duration = Duration(parse_ms(value.text))
        except ValueError as error:
            if value.names:
                return self._wrong(node.type, value, path)
            message, _, hint = clean(str(error), 200).partition("; ")
            self.report.error(path, message, hint)
            return BAD
        low, high = node.extra.get("min_ms", 0), node.extra.get("max_ms")
        if duration < low:
            self.report.error(path, f"must be at least {format_ms(low)}" + but_not(value))
        elif high is not None and duration > high:
            self.report.error(path, f"must be at most {format_ms(high)}" + but_not(value))
        else:
            return duration
        return BAD

    def _secret(self, value: Expanded, path: KeyPath, node: Node) -> Any:
        if not value.text:
            named = f" (the environment variable {value.names[0]} is)" if value.names else ""
            self.report.error(path, f"a secret must not be empty{named}")
            return BAD
        if not value.names:
            self.literal_secrets.append((path, value.text))
        return Secret(value.text)

    def _secret_file(self, value: Any, path: KeyPath) -> Any:
        file = self.value(mi.CustomType(Path), value, path)
        if file is BAD:
            return BAD
        try:
            return Secret(read_secret(self._folder / file))
        except ValueError as error:
            self.report.error(path, f"can't read the secret's file: {error}")
            return BAD

    def _path(self, value: Expanded, path: KeyPath, node: Node) -> Any:
        if not value.text or "\0" in value.text:
            return self._wrong(node.type, value, path)
        try:
            return Path(value.text).expanduser()
        except RuntimeError:
            self.report.error(path, "there is no home folder to put in for ~", "write the whole path")
            return BAD

    def _number(self, kind: mi.IntType | mi.FloatType, value: Any, path: KeyPath) -> Any:
        if isinstance(kind, mi.FloatType) and isinstance(value, int) and abs(value) <= INT64_MAX:
            value = float(value)
        if isinstance(value, float) and not math.isfinite(value):
            self.report.error(path, f"expected a finite number, got {value}")
            return BAD
        if abs(value) > INT64_MAX:
            return self._wrong(kind, value, path)
        bounds = (
            (kind.ge is not None and value < kind.ge, "at least", kind.ge),
            (kind.gt is not None and value <= kind.gt, "more than", kind.gt),
            (kind.le is not None and value > kind.le, "at most", kind.le),
            (kind.lt is not None and value >= kind.lt, "less than", kind.lt),
        )
        for outside, words, bound in bounds:
            if outside:
                self.report.error(path, f"must be {words} {bound}, not {value}")
                return BAD
        return value

    def _list(self, kind: Any, value: Any, path: KeyPath) -> Any:
        if not isinstance(value, list):
            hint = "write [...] around it" if isinstance(value, str | int | float) else ""
            return self._wrong(kind, value, path, hint)
        items = [self.value(kind.item_type, item, (*path, index)) for index, item in enumerate(value)]
        if any(item is BAD for item in items):
            return BAD
        return {mi.ListType: list, mi.VarTupleType: tuple, mi.SetType: set}.get(type(kind), frozenset)(items)

    def _dict(self, kind: mi.DictType, value: Any, path: KeyPath) -> Any:
        if not isinstance(value, dict):
            return self._wrong(kind, value, path)
        items = {key: self.value(kind.value_type, item, (*path, key)) for key, item in value.items()}
        good = {key: item for key, item in items.items() if item is not BAD}
        self._good_items[path] = good
        return good if len(good) == len(items) else BAD

    def _union(self, kind: mi.UnionType, value: Any, path: KeyPath) -> Any:
        types = [one for one in kind.types if not isinstance(one, mi.NoneType)]
        fitting = [one for one in types if fits(one, value)]
        if len(types) == 1 or fitting:
            return self.value((fitting or types)[0], value, path)
        return self._wrong(kind, value, path)

    def _wrong(self, kind: mi.Type, value: Any, path: KeyPath, hint: str = "") -> Any:
        node = unwrap(kind)
        secret = isinstance(node.type, mi.CustomType) and node.type.cls is Secret
        if isinstance(node.type, mi.LiteralType) and isinstance(value, Expanded) and not value.names:
            hint = nearest_word(value.text, node.type.values)
        elif not secret:
            hint = hint or suggestion(node.type, value)
        got = sort_of(value) if secret else shown(value)
        self.report.error(path, f"expected {words_for(kind)}, got {got}", hint)
        return BAD

    def _refused(self, struct: type[msgspec.Struct], message: str, path: KeyPath) -> None:
        """A struct's own check failed. One that starts with `key: ` or a key in backticks is about it."""
        about = _ABOUT.match(message)
        if about and (key := about[1] or about[2]) in fields_of(struct):
            path, message = (*path, key), message[about.end() :] if about[1] else message
        if any(known[: len(path)] == path for known in self.from_environment):
            self.report.error(path, "the value from the environment is not valid here")
        else:
            message, _, hint = clean(message, 300).partition("; ")
            self.report.error(path, message, hint)
