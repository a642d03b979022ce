"""Templates of run.toml that are not Go's: sandboxed Jinja with `$labels`, `$value` and `$externalLabels`.

One substitution makes `{{ $value | round(1) }}` Jinja. A template is for words: of Jinja it has what can neither run
long nor grow large, so there are no loops, no assignments, no calls and no attributes, and the filters are a list.
Everything that can be refused is refused when a template is compiled, so that no alert finds out.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from engine.text import clean

if TYPE_CHECKING:
    from jinja2 import Environment
    from jinja2.nodes import Node

__all__ = ["compile_jinja", "environment_of_words", "supported_nodes"]

Render = Callable[..., str]

REPLACED_CHARS_MAX = 8_192
DEPTH_MAX = 50
_VARIABLES = ("labels", "value", "externalLabels")
_VARIABLE = re.compile(r"\$([a-zA-Z_][a-zA-Z0-9_]*)")
_BLOCK = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)

_STRUCTURE = {"Template", "Output", "TemplateData", "If", "CondExpr", "Filter", "Test", "Keyword"}
_VALUES = {"Name", "Const", "Getattr", "Getitem", "Slice", "Concat"}
_OPERATORS = {"Compare", "Operand", "And", "Or", "Not", "Neg", "Pos", "Add", "Sub", "Mul", "Div", "FloorDiv", "Mod"}
_NODES = _STRUCTURE | _VALUES | _OPERATORS
_NAMES = {
    "For": "a loop",
    "Call": "a call",
    "Assign": "set",
    "AssignBlock": "set",
    "Pow": "**",
    "CallBlock": "call",
    "FilterBlock": "a filter block",
}
_FILTERS = (
    *("abs", "capitalize", "count", "d", "default", "e", "escape", "first", "float", "int", "last", "length"),
    *("lower", "string", "title", "trim", "truncate", "upper", "urlencode", "wordcount"),
)
_TESTS = ("defined", "eq", "none", "number", "string", "undefined")


def compile_jinja(text: str) -> Render:
    """Compile a template to a function of `labels`, `value` and `externalLabels`, which may raise anything.

    Raises:
        ValueError: With what is wrong: syntax, an unknown variable, filter or function, a construct that templates
            do not have.
    """
    from jinja2 import TemplateError

    environment = _environment()
    try:
        tree = environment.parse(_BLOCK.sub(_to_jinja, text))
        _check(tree, 0)
        return environment.from_string(tree).render
    except TemplateError as error:
        raise ValueError(f"not a template: {clean(error.message or type(error).__name__, 200)}") from error
    except RecursionError as error:
        raise ValueError(f"the template is nested more than {DEPTH_MAX} deep") from error


def _check(node: Node, depth: int) -> None:
    """Refuse what a template does not have."""
    if depth > DEPTH_MAX:
        raise ValueError(f"the template is nested more than {DEPTH_MAX} deep")
    kind = type(node).__name__
    if kind not in _NODES:
        what = _NAMES.get(kind, kind.lower())
        raise ValueError(f"{what} is not supported in a template; it has variables, filters, if and arithmetic")
    given: Any = node
    if kind == "Name" and given.name not in _VARIABLES:
        raise _unknown(given.name)
    if kind == "Getattr":
        _check_label(given.node, given.attr)
    elif kind == "Getitem" and type(given.arg).__name__ != "Slice":
        _check_label(given.node, getattr(given.arg, "value", None))
    for child in node.iter_child_nodes():
        _check(child, depth + 1)


def _check_label(owner: Any, label: object) -> None:
    """Labels are all that can be looked up: no attribute of any object, so no way out of the sandbox."""
    if getattr(owner, "name", "") not in ("labels", "externalLabels") or not isinstance(label, str):
        raise ValueError("only a label can be looked up, as in $labels.instance")
    if label.startswith("__"):
        raise ValueError(f'"{clean(label, 80)}" is not a label that an alert can have')


def _unknown(name: str) -> ValueError:
    return ValueError(f'"{clean(name, 80)}" is not known in a template; it has ${", $".join(_VARIABLES)}')


def _to_jinja(block: re.Match[str]) -> str:
    def name(match: re.Match[str]) -> str:
        if match[1] not in _VARIABLES:
            raise _unknown("$" + match[1])
        return match[1]

    return _VARIABLE.sub(name, block.group())


def supported_nodes() -> frozenset[str]:
    """The kinds of nodes that every template may have."""
    return frozenset(_NODES)


@functools.cache
def _environment() -> Environment:
    return environment_of_words(_label)


def _label(owner: Any, key: Any) -> Any:
    return owner[key] if isinstance(owner, Mapping) and key in owner else None


def environment_of_words(look_up: Callable[[Any, Any], Any]) -> Environment:
    """A sandbox with the filters, tests and operators that templates have.

    Args:
        look_up: Finds a key or an attribute of an object; None where there is none, which renders as nothing.
    """
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Words(ImmutableSandboxedEnvironment):
        """The second wall, behind the check of a template's tree: look-ups see data only, operators numbers only."""

        intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])  # these are not computed while compiling

        def getitem(self, obj: Any, argument: Any) -> Any:
            found = look_up(obj, argument)
            # absent renders as nothing, as in Prometheus
            return self.undefined(name=str(argument)) if found is None else found

        def getattr(self, obj: Any, attribute: str) -> Any:
            return self.getitem(obj, attribute)

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if not isinstance(left, int | float) or not isinstance(right, int | float):
                raise TypeError(f"{operator} is for numbers; text is joined by ~")
            return super().call_binop(context, operator, left, right)

    environment = Words(autoescape=False)
    environment.globals.clear()
    kept = {name: environment.filters[name] for name in _FILTERS}
    environment.filters = kept | {"replace": _replace, "round": _round}
    environment.tests = {name: environment.tests[name] for name in _TESTS}
    environment.finalize = lambda value: _number(value) if isinstance(value, float) else value
    return environment


def _replace(text: object, old: str, new: str) -> str:
    """`replace`, with a bound on what comes out."""
    given = str(text)
    if len(given) + given.count(old) * len(new) > REPLACED_CHARS_MAX:
        raise ValueError("the text grows too long")
    return given.replace(old, new)


def _round(value: float, digits: int = 0, method: str = "common") -> float:
    """Jinja's `round`, to at most 15 digits either way."""
    digits = max(-15, min(15, int(digits)))
    if method == "common":
        return round(float(value), digits)
    shift = 10.0**digits
    return {"ceil": math.ceil, "floor": math.floor}[method](float(value) * shift) / shift


def _number(value: float) -> str:
    """A float in its shortest form, without a trailing `.0`; NaN and the infinities as Prometheus spells them."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return f"{int(value)}" if value.is_integer() and abs(value) < 1e21 else repr(value)
