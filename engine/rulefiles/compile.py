"""Rule files to the groups that the core evaluates: expressions to plans, labels and annotations to templates."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cache, partial

from engine.core.groups import GridGroup, GridRule
from engine.core.promql.plan import Compat, QueryPlan
from engine.core.promql.query_compile import compile_query
from engine.errors import ConfigError, Problem
from engine.rulefiles.shape import RuleDef, RuleFile, RuleGroup
from engine.templates import Template, compile_go_template
from engine.text import clean

__all__ = ["compiler", "grid_groups"]


def compiler(compat: Compat = "prometheus3") -> Callable[[str], QueryPlan]:
    """A `compile_query` that remembers: hand the same one to whoever checks expressions and to `grid_groups`."""
    return cache(partial(compile_query, compat=compat))


def grid_groups(
    files: Iterable[RuleFile],
    *,
    default_interval_ms: int,
    default_query_offset_ms: int = 0,
    compile_expr: Callable[[str], QueryPlan] = compile_query,
) -> list[GridGroup]:
    """Compile rule files, in their order.

    Args:
        default_interval_ms, default_query_offset_ms: Of groups that name none.
        compile_expr: From `compiler`.

    Raises:
        ConfigError: With every rule that can't be compiled.
    """
    problems: list[Problem] = []
    template = cache(compile_go_template)
    groups = [
        GridGroup(
            file=file.name or file.path,
            name=group.name,
            rules=tuple(
                made
                for rule in group.rules
                if (made := _rule(file, group, rule, compile_expr, template, problems)) is not None
            ),
            interval_ms=group.interval_ms or default_interval_ms,
            query_offset_ms=default_query_offset_ms if group.query_offset_ms is None else group.query_offset_ms,
            limit=group.limit,
        )
        for file in files
        for group in file.groups
    ]
    if problems:
        raise ConfigError(problems)
    return groups


def _rule(
    file: RuleFile,
    group: RuleGroup,
    rule: RuleDef,
    compile_expr: Callable[[str], QueryPlan],
    template: Callable[[str], Template],
    problems: list[Problem],
) -> GridRule | None:
    labels = group.labels_of(rule)
    try:
        return GridRule(
            kind=rule.kind,
            name=rule.name,
            plan=compile_expr(rule.expr),
            for_ms=rule.for_ms,
            keep_firing_for_ms=rule.keep_firing_for_ms,
            labels={
                name: template(text) if rule.kind == "alert" else Template(text, None) for name, text in labels.items()
            },
            annotations={name: template(text) for name, text in rule.annotations.items()},
        )
    except ValueError as error:
        address = f"group {_quoted(group.name)}, {rule.kind} {_quoted(rule.name)}"
        message, hint = clean(str(error), 500), getattr(error, "hint", "")
        problems.append(Problem(file.path, rule.line, address, message, hint))
        return None


def _quoted(text: str) -> str:
    return json.dumps(clean(text, 100), ensure_ascii=False)
