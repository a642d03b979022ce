"""`[pack.service]`: the names of a service's metrics, and the PromQL that stands for them in the pack's rules.

What an operator writes here is text that becomes part of expressions. Nothing of it is put in as it was written: a
selector is parsed and written anew from its parts, a label's value becomes a PromQL string. So no value can mean
more than its key says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from engine.config.checks import check_labels
from engine.config.convert import BAD, Converter
from engine.config.locate import KeyPath
from engine.config.report import quote
from engine.ports import Options

__all__ = ["ServicePack", "check_service", "service_texts"]

SELECTOR_CHARS_MAX: Final = 1_000
"""A pack's expression has up to ten selectors, and room for 16,384 characters."""
STATUS_LABELS_MAX: Final = 4
ERRORS_CHARS_MAX: Final = 500
GROUPING_MAX: Final = 16
RUNBOOKS_CHARS_MAX: Final = 500
BY_STATUS: Final = "service:request_rate_by_status:rate5m"
"""What the pack records of requests, with their status."""

_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]{0,127}")
_BASE = re.compile(r"(?:https?://)?[A-Za-z0-9._~:/?#@!&'()*+,;=%-]+")
# A metric may have the name of an operator, but then it can't stand alone.
_RESERVED = re.compile(
    "and|or|unless|atan2|by|without|on|ignoring|group_left|group_right|offset|bool|inf|nan", re.IGNORECASE
)


class ServicePack(Options, frozen=True, kw_only=True):
    """`[pack.service]`: the names of the service's metrics, for the rules of the pack `service`.

    Args:
        requests: Counter of the requests that were answered.
        status_labels: Labels of that counter that hold a request's status; a request that failed by one of them failed.
        errors: Regular expression of the statuses that are errors; it matches the whole value.
        durations: Buckets of the histogram of how long requests took, in seconds.
        up: 1 while a target of the service can be scraped, else 0.
        liveness: 1 while a check of the service succeeds, else 0.
        cpu: How busy the processors are, in percent.
        memory: How full the memory is, in percent.
        disk: How full each file system is, in percent.
        violations: Counter of security violations.
        labels: Labels that the series of requests, durations, up and liveness must have; none for any.
        by: Labels that tell services apart: what is worked out of requests is worked out for each.
        min_rate: Requests per second below which errors and durations are not judged.
        runbooks: Where the pages of the alerts are, for `runbook_url`: a URL or a folder; none if it is empty.
    """

    requests: str = "http_requests_total"
    status_labels: list[str] = msgspec.field(default_factory=lambda: ["status", "code"])
    errors: str = "5.."
    durations: str = "http_request_duration_seconds_bucket"
    up: str = "up"
    liveness: str = "probe_success"
    cpu: str = "host_cpu_percent"
    memory: str = "host_memory_percent"
    disk: str = "host_disk_percent"
    violations: str = 'longwatch_events_total{type="security_violation"}'
    labels: dict[str, str] = {}
    by: list[str] = msgspec.field(default_factory=lambda: ["job", "service"])
    min_rate: Annotated[float, Meta(ge=0)] = 0.1
    runbooks: str = ""


_SELECTORS: Final = ("requests", "durations", "up", "liveness", "cpu", "memory", "disk", "violations")
_LABELLED: Final = frozenset({"requests", "durations", "up", "liveness"})


class _RefusedError(ValueError):
    """A value can't be used. `hint` says what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(message)


class _Selector:
    """A metric and its matchers, taken apart."""

    def __init__(self, metric: str, matchers: Sequence[tuple[str, str, str]]) -> None:
        self.metric = metric
        self._matchers = tuple(matchers)

    def with_(self, *matchers: tuple[str, str, str]) -> _Selector:
        """The same with further matchers: (label, operator, value)."""
        return _Selector(self.metric, (*self._matchers, *matchers))

    def __str__(self) -> str:
        bare = _METRIC.fullmatch(self.metric) and not _RESERVED.fullmatch(self.metric)
        inside = [] if bare else [_string(self.metric)]
        inside += [f"{_name(label)}{op}{_string(value)}" for label, op, value in self._matchers]
        return (self.metric if bare else "") + (f"{{{','.join(inside)}}}" if inside else "")


def _string(text: str) -> str:
    """A PromQL string. Its escapes are Go's, and of those JSON uses some."""
    return json.dumps(text, ensure_ascii=False)


def _name(label: str) -> str:
    return label if _METRIC.fullmatch(label) and ":" not in label else _string(label)


def _selector(text: str, example: str) -> _Selector:
    """Read a metric's name, or a selector.

    Raises:
        _RefusedError: It is neither, or a regular expression in it can't be used.
    """
    from engine.core.promql.matchers import compile_matcher
    from engine.core.promql.parse import PromQLError, parse

    refused = _RefusedError("expected a metric, or one with matchers", f"write {example}")
    try:
        tree = parse(text) if len(text) <= SELECTOR_CHARS_MAX else None
    except PromQLError:
        raise refused from None
    matchers = getattr(tree, "matchers", None)
    if tree is None or matchers is None or matchers.or_matchers or tree.offset is not None or tree.at is not None:
        raise refused
    try:
        compiled = [compile_matcher(matcher) for matcher in matchers.matchers]
    except PromQLError as error:
        raise _RefusedError(str(error), error.hint) from None
    names = [m.value for m in compiled if m.label == "__name__" and m.op == "="]
    metric = tree.name or (names[0] if names else "")
    others = [(m.label, m.op, m.value) for m in compiled if m.label != "__name__"]
    if not metric or len(others) + len(names) != len(compiled) or len(names) > 1:
        raise refused
    return _Selector(metric, others)


def _check_errors(text: str) -> None:
    from engine.core.promql.regex import Regex, RegexError

    if len(text) > ERRORS_CHARS_MAX:
        raise _RefusedError(f"a regular expression here has at most {ERRORS_CHARS_MAX} characters, not {len(text)}")
    try:
        pattern = Regex(text)
    except RegexError as error:
        raise _RefusedError(f"the regular expression {error}", 'write one such as "5.." or "5..|429"') from None
    if pattern.matches(""):
        raise _RefusedError("matches a request without a status, too", 'write one such as "5.." or "5..|429"')


def _check_durations(text: str) -> None:
    metric = _selector(text, _EXAMPLES["durations"]).metric
    if "bucket" not in metric:
        raise _RefusedError(f"{quote(metric)} is not the buckets of a histogram", f"write {quote(metric + '_bucket')}")


def _check_names(names: Sequence[str], least: int, most: int) -> None:
    for name in names:
        if not _LABEL.fullmatch(name):
            raise _RefusedError(f"{quote(name)} is not the name of a label", "a name has letters, digits and _")
        if name == "le":
            raise _RefusedError('"le" tells the buckets of a histogram apart', "leave it out")
    if not least <= len(names) <= most:
        raise _RefusedError(f"takes {least} to {most} labels, not {len(names)}")


def _check_runbooks(base: str) -> None:
    if base and (len(base) > RUNBOOKS_CHARS_MAX or not _BASE.fullmatch(base)):
        raise _RefusedError("not the address of a folder", 'write one such as "https://wiki.example.org/runbooks"')


_DEFAULTS: Final = ServicePack()
_EXAMPLES: Final[Mapping[str, str]] = {key: getattr(_DEFAULTS, key) for key in _SELECTORS} | {
    "requests": 'http_requests_total{handler!="/metrics"}',
    "up": 'up{job="shop"}',
    "disk": 'host_disk_percent{mountpoint="/"}',
}
_CHECKS: Final[Mapping[str, Callable[[Any], object]]] = {
    **{key: partial(_selector, example=example) for key, example in _EXAMPLES.items()},
    "durations": _check_durations,
    "errors": _check_errors,
    "status_labels": partial(_check_names, least=1, most=STATUS_LABELS_MAX),
    "by": partial(_check_names, least=0, most=GROUPING_MAX),
    "runbooks": _check_runbooks,
}


def check_service(values: Mapping[str, Any], path: KeyPath, converter: Converter) -> None:
    """Report every value of `[pack.service]` that can't be put into an expression.

    Args:
        values: What could be converted, by key.
    """
    known = converter.report.count
    check_labels((*path, "labels"), converter)
    good_labels = converter.report.count == known
    for key, check in _CHECKS.items():
        value = values.get(key, BAD)
        if value is BAD:
            continue
        try:
            check(value)
        except _RefusedError as error:
            at = (*path, key)
            if any(known[: len(at)] == at for known in converter.from_environment):
                converter.report.error(at, "the value from the environment can't be used here", error.hint)
            else:
                converter.report.error(at, str(error), error.hint)
    labels = values.get("labels", BAD)
    if good_labels and labels is not BAD and len(_labelled(labels)) > SELECTOR_CHARS_MAX:
        message = f"are too long: written as matchers they have at most {SELECTOR_CHARS_MAX} characters"
        converter.report.error((*path, "labels"), message)


def _labelled(labels: Mapping[str, str]) -> str:
    return str(_Selector("", _matchers(labels)))


def _matchers(labels: Mapping[str, str]) -> list[tuple[str, str, str]]:
    return [(label, "=", value) for label, value in labels.items()]


def service_texts(options: ServicePack) -> dict[str, str | None]:
    """What stands in the rules of the pack for its placeholders, from options that `check_service` has seen; None
    where a key with that place is left out."""
    selectors = {key: _selector(getattr(options, key), _EXAMPLES[key]) for key in _SELECTORS}
    for key in _LABELLED:
        selectors[key] = selectors[key].with_(*_matchers(options.labels))
    by_status = _Selector(BY_STATUS, ())
    failed = [by_status.with_((label, "=~", options.errors)) for label in options.status_labels]
    judged = [by_status.with_((label, "!=", "")) for label in options.status_labels]
    return {key: str(selector) for key, selector in selectors.items()} | {
        "failed": " or ".join(map(str, failed)),
        "judged": " or ".join(map(str, judged)),
        "by": ", ".join(options.by),
        "by_status": ", ".join(dict.fromkeys([*options.by, *options.status_labels])),
        "by_le": ", ".join([*options.by, "le"]),
        "min_rate": repr(options.min_rate),
        "runbooks": options.runbooks.rstrip("/") or None,
    }
