"""Templates of annotations and labels: `{{ $labels.instance }} is at {{ $value | humanize }}`.

Two languages. Rule files have Go's, as Prometheus does: parsed here, by our own parser, and rendered to the same text.
Annotations in run.toml have that one, too, and what does not parse as Go is read as Jinja in a sandbox, so that
`{{ $value | round(1) }}` works there. Everything that can be refused is refused when a template is compiled. Rendering
is pure but for the query it is given, never raises, and is bounded: an alert with an ugly text beats no alert.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from engine.templates.functions import FUNCTIONS, REFUSED
from engine.templates.interpreter import SURROUNDINGS, FullError, Interpreter
from engine.templates.lexer import TemplateSyntaxError
from engine.templates.nodes import Constant, Statement, Variable
from engine.templates.parser import parse
from engine.templates.regexps import compile_pattern
from engine.templates.values import Query, Root, TemplateFailure
from engine.templates.walk import asked_of, commands_of, operands_of
from engine.text import clean

__all__ = ["TEMPLATE_CHARS_MAX", "TEXT_CHARS_MAX", "Query", "Template", "compile_go_template", "compile_template"]

TEMPLATE_CHARS_MAX = 16_384
TEXT_CHARS_MAX = 16_384

_VARIABLES = ("labels", "externalLabels", "externalURL", "value")
_KNOWN = frozenset({*FUNCTIONS, *SURROUNDINGS})
_OF_QUERIES = frozenset({"query", "first", "value", "label", "strvalue", "sortByLabel"})
_KEPT = str.maketrans("", "", "\n\t")
_Render = Callable[[Root, Query | None, int], str]


class Template:
    """A compiled template.

    Args:
        text: What the operator wrote.
        queries: It calls `query`, so that rendering needs one.
        asks: The expressions that it asks `query`, as far as they are written out.
    """

    __slots__ = ("_render", "asks", "queries", "text")

    def __init__(self, text: str, render: _Render | None, queries: bool = False, asks: tuple[str, ...] = ()) -> None:
        self.text = text
        self.queries = queries
        self.asks = asks
        self._render = render

    def render(
        self,
        labels: Mapping[str, str],
        value: float,
        external_labels: Mapping[str, str],
        *,
        external_url: str = "",
        query: Query | None = None,
        at_ms: int = 0,
    ) -> str:
        """Return the text for one alert, at most `TEXT_CHARS_MAX` characters.

        The template's own line ends and tabs stay; other control characters, and all of those in values, become visible
        escapes. A failure becomes part of the text.

        Args:
            labels: Those of the series, the metric name included (`__name__`).
            value: What the expression gave.
            external_labels: `$externalLabels`.
            external_url: `$externalURL`.
            query: Evaluates an expression at `at_ms`; raises `ValueError`.
            at_ms: The instant the rule was evaluated at.
        """
        if self._render is None:
            return _finished(self.text)
        root = Root(_cleaned(labels), _cleaned(external_labels), external_url, value)
        try:
            text = self._render(root, query, at_ms)
        except Exception as error:  # noqa: BLE001  # whatever a template does, the alert goes out
            text = f"{self.text} [template failed: {type(error).__name__}]"
        return _finished(text)


def compile_go_template(text: str, *, queries: bool = True) -> Template:
    """Compile a template of a rule file.

    Args:
        queries: Whether `query` is there, and what its results are handed to.

    Raises:
        ValueError: With line, column and what is wrong: syntax, an unknown function or variable, a form that is not
            supported, a regular expression that is read differently here, or its length.
    """
    _check_length(text)
    if "{{" not in text:
        return Template(text, None)
    return _compile_go(text, queries)[0]


def compile_template(text: str) -> Template:
    """Compile an annotation of run.toml: Go's template, or else sandboxed Jinja.

    What has `{%` or `{#` is Jinja. So is what asks for a field of a text or of a number: its message is better there.

    Raises:
        ValueError: With what is wrong, as Go and as Jinja.
    """
    _check_length(text)
    if "{%" in text or "{#" in text:
        return _compile_jinja(text)
    if "{{" not in text:
        return Template(text, None)
    try:
        template, tree = _compile_go(text, queries=False)
        if not _reads_past_labels(tree):
            return template
        go = "only a label can be looked up"
    except ValueError as error:
        go = str(error)
    try:
        return _compile_jinja(text)
    except ValueError as error:
        raise ValueError(f"{clean(go, 130)}; as Jinja: {clean(str(error), 150)}") from None


def _compile_go(text: str, queries: bool) -> tuple[Template, tuple[Statement, ...]]:
    absent = frozenset() if queries else _OF_QUERIES
    try:
        tree = parse(text, _KNOWN - absent, _VARIABLES, REFUSED | absent)
        uses_query = _check_calls(tree)
    except TemplateSyntaxError as error:
        raise ValueError(f"template: {_place(text, error.at)}: {error}") from None

    def render(root: Root, query: Query | None, at_ms: int) -> str:
        variables: dict[str, Any] = {
            "labels": root.Labels,
            "externalLabels": root.ExternalLabels,
            "externalURL": root.ExternalURL,
            "value": root.Value,
        }
        run = Interpreter(root, variables, TEXT_CHARS_MAX, query, at_ms)
        try:
            run.run(tree)
        except FullError:
            pass
        except TemplateFailure as failure:
            return f"<error expanding template: {_place(text, run.at)}: {failure}>"
        return "".join(run.parts)

    return Template(text, render, uses_query, tuple(dict.fromkeys(asked_of(tree)))), tree


def _compile_jinja(text: str) -> Template:
    from engine.templates.jinja import compile_jinja

    rendered = compile_jinja(text)
    return Template(
        text,
        lambda root, _query, _at_ms: rendered(labels=root.Labels, value=root.Value, externalLabels=root.ExternalLabels),
    )


def _check_length(text: str) -> None:
    if len(text) > TEMPLATE_CHARS_MAX:
        raise ValueError(f"a template has at most {TEMPLATE_CHARS_MAX} characters, not {len(text)}")


def _check_calls(tree: tuple[Statement, ...]) -> bool:
    """Compile the regular expressions that are written out. Returns whether `query` is called."""
    queries = False
    for name, command in commands_of(tree):
        queries |= name == "query"
        pattern = command.words[1] if name in ("match", "reReplaceAll") and len(command.words) > 1 else None
        if isinstance(pattern, Constant) and isinstance(pattern.value, str):
            try:
                compile_pattern(pattern.value)
            except TemplateFailure as failure:
                raise TemplateSyntaxError(str(failure), pattern.at) from None
    return queries


def _reads_past_labels(tree: tuple[Statement, ...]) -> bool:
    """Whether a field of a label's text or of the value is asked for, which can only fail."""
    deepest = {"labels": 1, "externalLabels": 1, "externalURL": 0, "value": 0}
    return any(
        len(operand.names) > deepest.get(operand.name, len(operand.names))
        for operand in operands_of(tree)
        if isinstance(operand, Variable)
    )


def _place(text: str, at: int) -> str:
    line_start = text.rfind("\n", 0, at) + 1
    return f"{text.count(chr(10), 0, at) + 1}:{at - line_start + 1}"


def _cleaned(labels: Mapping[str, str]) -> dict[str, str]:
    return {name: clean(value, TEXT_CHARS_MAX) for name, value in labels.items()}


def _finished(text: str) -> str:
    """Clean and cut; line ends and tabs stay, since only the template itself can have them."""
    if text.translate(_KEPT).isprintable() and text.isascii():
        return text if len(text) <= TEXT_CHARS_MAX else text[: TEXT_CHARS_MAX - 1] + "…"
    pieces = [piece for line in text[: TEXT_CHARS_MAX + 1].split("\n") for piece in _between_tabs(line)]
    whole = "".join(pieces)[:-1]
    return whole if len(whole) <= TEXT_CHARS_MAX else whole[: TEXT_CHARS_MAX - 1] + "…"


def _between_tabs(line: str) -> list[str]:
    return ["\t".join(clean(part, TEXT_CHARS_MAX + 1) for part in line.split("\t")), "\n"]
