"""A fault of the catalogue that the ledger, delivery, rules and clocks must stand has a test that is found by number.

`pytest -k f94` or `grep -rn F94 tests`: the number is in the test's name, in its docstring, or in the name of one of
its cases. What stands at the head of a file or a section does not count: it names no test.
"""

import ast
import re
from collections.abc import Iterator

from tests.habits.source import parse, sources

NUMBERS = [*range(1, 26), *range(30, 58), *range(71, 77), 79, *range(90, 98)]
"""There is no F26 to F29."""
_NUMBER = re.compile(r"(?:^|_)f(\d{2,3})(?=_|$)|\bF(\d{2,3})\b")


def numbers(tree: ast.Module) -> Iterator[int]:
    """Those of names and docstrings of tests, and of texts that begin with one: the names of cases."""
    for node in ast.walk(tree):
        texts: list[str] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            texts = [node.name, ast.get_docstring(node) or ""]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.match(r"F\d{2,3} ", node.value):
            texts = [node.value]
        for text in texts:
            yield from (int(one or other) for one, other in _NUMBER.findall(text))


def test_each_is_tested_by_number() -> None:
    tested = {number for source in sources("tests") for number in numbers(source.tree)}
    assert [f"F{number:02}" for number in NUMBERS if number not in tested] == []


def test_what_counts() -> None:
    text = (
        '"""About F71."""\n# F72\nCASES = {"F73 gone": 1}\ndef test_a_f74() -> None: ...\n'
        'def test_b() -> None:\n    """F75, F76: both."""\ndef f90() -> None:\n    """F91."""\n'
    )
    assert sorted(numbers(parse(text).tree)) == [73, 74, 75, 76]
