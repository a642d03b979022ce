"""No test sleeps: time is jumped under the virtual clock, and a real process is waited for by its effect."""

import ast
from collections.abc import Iterator

import pytest

from tests.habits.source import Source, full_name, imported_names, parse, sources

SLEEPS = {"time.sleep", "asyncio.sleep", "anyio.sleep", "anyio.sleep_until", "anyio.sleep_forever"}

# File -> why a sleep stands there. A test of a real process polls with a deadline instead.
ALLOWED: dict[str, str] = {
    "tests/chaos/sim_receivers.py": "they are slow, and hang, in virtual time",
}


def sleeps(source: Source) -> Iterator[str]:
    """Each sleep of more than nothing; a bare `sleep(0)` only lets others run.

    Under the virtual-time loop a sleep costs nothing, so code that a test hands to `run_virtual` as a
    coroutine of its own is not told apart here: name the file in ALLOWED, with that as its reason.
    """
    names = imported_names(source.tree)
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call) or full_name(node.func, names) not in SLEEPS:
            continue
        if node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0:
            continue
        yield f"{source.path}:{node.lineno}: {ast.unparse(node)}"


def test_no_test_sleeps() -> None:
    found = [sleep for source in sources("tests") if source.path not in ALLOWED for sleep in sleeps(source)]
    assert found == []


def test_each_exception_is_still_needed() -> None:
    needed = {source.path for source in sources("tests") if any(sleeps(source))}
    assert set(ALLOWED) - needed == set()
    assert all(ALLOWED.values()), "an exception without a reason"


@pytest.mark.parametrize(
    "code",
    [
        "import time\ntime.sleep(1)",
        "from asyncio import sleep\nsleep(0.01)",
        "import anyio\nanyio.sleep(x)",
        "import asyncio as a\na.sleep(delay=1)",
    ],
)
def test_the_rule_sees_a_sleep(code: str) -> None:
    assert list(sleeps(parse(code)))


@pytest.mark.parametrize("code", ["import asyncio\nasyncio.sleep(0)", "clock.sleep(5)"])
def test_the_rule_lets_pass(code: str) -> None:
    assert list(sleeps(parse(code))) == []
