"""Annotation templates: sandboxed Jinja with `$labels`, `$value` and `$externalLabels`.

Operators write Go-like templates, `{{ $labels.instance }} is at {{ $value }}`; one substitution makes them
Jinja. Everything that can be refused is refused when a template is compiled, so that no alert finds out.
Rendering never raises and is capped: an alert with an ugly text beats no alert.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.text import clean

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["Template", "compile_template"]

TEMPLATE_CHARS_MAX = 16_384
TEXT_CHARS_MAX = 4_096
_VARIABLES = ("labels", "value", "externalLabels")
_VARIABLE = re.compile(r"\$([a-zA-Z_][a-zA-Z0-9_]*)")
_BLOCK = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)


class Template:
    """A compiled template; `text` is what the operator wrote."""

    __slots__ = ("_render", "text")

    def __init__(self, text: str, render: Any) -> None:
        self.text = text
        self._render = render

    def render(self, labels: Mapping[str, str], value: float, external_labels: Mapping[str, str]) -> str:
        """Return the text for one alert, at most `TEXT_CHARS_MAX` characters, without control characters."""
        if self._render is None:
            return clean(self.text, TEXT_CHARS_MAX)
        try:
            text = self._render(labels=labels, value=value, externalLabels=external_labels)
        except Exception as error:  # noqa: BLE001  # whatever a template does, the alert goes out
            text = f"{self.text} [template failed: {type(error).__name__}]"
        return clean(text, TEXT_CHARS_MAX)


def compile_template(text: str) -> Template:
    """Compile a template.

    Raises:
        ValueError: With what is wrong: syntax, an unknown variable, filter or function, or its length.
    """
    if len(text) > TEMPLATE_CHARS_MAX:
        raise ValueError(f"a template has at most {TEMPLATE_CHARS_MAX} characters, not {len(text)}")
    if "{{" not in text and "{%" not in text:
        return Template(text, None)
    from jinja2 import TemplateError, meta

    environment = _environment()
    try:
        source = _BLOCK.sub(_to_jinja, text)
        unknown = meta.find_undeclared_variables(environment.parse(source)) - set(_VARIABLES)
        if unknown:
            raise ValueError(f'"{min(unknown)}" is not known in a template; it has ${", $".join(_VARIABLES)}')
        return Template(text, environment.from_string(source).render)
    except TemplateError as error:
        raise ValueError(f"not a template: {clean(str(error), 200)}") from error


def _to_jinja(block: re.Match[str]) -> str:
    def name(match: re.Match[str]) -> str:
        if match[1] not in _VARIABLES:
            raise ValueError(f'"${match[1]}" is not known in a template; it has ${", $".join(_VARIABLES)}')
        return match[1]

    return _VARIABLE.sub(name, block.group())


@functools.cache
def _environment() -> Environment:
    from jinja2 import Undefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    # A label that is absent renders as nothing, as in Prometheus; `range` and the like are not offered,
    # since a template is for words and an endless one would hold the core.
    environment = ImmutableSandboxedEnvironment(autoescape=False, undefined=Undefined)
    environment.globals.clear()
    environment.finalize = lambda value: _number(value) if isinstance(value, float) else value
    return environment


def _number(value: float) -> str:
    """A float as Go prints it: shortest form, no trailing `.0`."""
    return f"{int(value)}" if value.is_integer() and abs(value) < 1e21 else repr(value)
