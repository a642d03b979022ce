"""Things this code base does without, and where the exceptions are.

ruff knows some of these rules, too. Here each has a reason, sees through aliases, and cannot be silenced by a
`noqa`: an exception is an entry in the tables below.
"""

import ast
from collections.abc import Iterator
from fnmatch import fnmatch

import pytest

from tests.habits.source import PRODUCT, Source, full_name, imported_names, parse, run_time_nodes, sources

# Name -> (why not, files where it may stand).
BANNED_NAMES: dict[str, tuple[str, tuple[str, ...]]] = {
    "asyncio.wait_for": ("can lose a cancellation or a result; use asyncio.timeout or anyio.fail_after", ()),
    "asyncio.to_thread": ("uses the host's default executor; use a limiter of the engine's own", ()),
    "pickle": ("data from outside must not be able to run code; use msgspec", ()),
    "marshal": ("data from outside must not be able to run code; use msgspec", ()),
    "shelve": ("data from outside must not be able to run code; use msgspec", ()),
    "os.system": ("starts a shell", ()),
    "os.popen": ("starts a shell", ()),
    "asyncio.create_subprocess_shell": ("starts a shell", ()),
    "time.time": ("the wall clock is read in engine/clock.py only", ("engine/clock.py",)),
    "time.time_ns": ("the wall clock is read in engine/clock.py only", ("engine/clock.py",)),
    "datetime.datetime.now": ("the wall clock is read in engine/clock.py only", ("engine/clock.py",)),
    "datetime.datetime.utcnow": ("the wall clock is read in engine/clock.py only", ("engine/clock.py",)),
    "datetime.datetime.today": ("the wall clock is read in engine/clock.py only", ("engine/clock.py",)),
    "datetime.date.today": ("the wall clock is read in engine/clock.py only", ("engine/clock.py",)),
}

# Built-in function -> (why not, files where it may be called).
BANNED_CALLS: dict[str, tuple[str, tuple[str, ...]]] = {
    "eval": ("runs code", ()),
    "exec": ("runs code", ()),
    "print": (
        "an embedded engine does not print",
        ("engine/cli/*", "engine/__main__.py", "sinks/console.py"),
    ),
}

# The only loader of YAML that builds plain values.
YAML_LOADERS = {
    "yaml.load",
    "yaml.load_all",
    "yaml.full_load",
    "yaml.full_load_all",
    "yaml.unsafe_load",
    "yaml.unsafe_load_all",
}
SAFE_YAML = {"SafeLoader", "CSafeLoader"}

SQL_METHODS = {"execute", "executemany", "executescript", "execute_fetchall", "execute_insert"}

# "file:function" where SQL may be put together -> why nothing from outside can get into it. It is for what
# SQL can't bind: a PRAGMA's number, a table's name.
BUILT_SQL: dict[str, str] = {}


def breaches(source: Source) -> Iterator[str]:
    """Each banned thing in a file, as `path:line: what, and why not`."""
    names = imported_names(source.tree)
    may_build_sql = {
        id(node)
        for function in ast.walk(source.tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        and f"{source.path}:{function.name}" in BUILT_SQL
        for node in ast.walk(function)
    }
    for node in run_time_nodes(source.tree):
        for what in _breaches_of(node, source.path, names):
            yield f"{source.path}:{getattr(node, 'lineno', 0)}: {what}"
        if id(node) not in may_build_sql and isinstance(node, ast.Call) and (method := _built_sql(node)):
            yield f"{source.path}:{node.lineno}: {method}() of text put together at run time: bind parameters"


def _breaches_of(node: ast.AST, path: str, names: dict[str, str]) -> Iterator[str]:
    match node:
        case ast.ExceptHandler(type=None):
            yield "`except:` catches what it must not; name the exceptions"
        case ast.Import():
            for alias in node.names:
                yield from _banned_name(alias.name, path)
        case ast.ImportFrom(module=str(module)):
            for alias in node.names:
                yield from _banned_name(module, path)
                yield from _banned_name(f"{module}.{alias.name}", path)
        case ast.Attribute():
            yield from _banned_name(full_name(node, names), path)
        case ast.Call():
            yield from _banned_call(node, path, names)


def _banned_name(name: str, path: str) -> Iterator[str]:
    if name in BANNED_NAMES:
        why, files = BANNED_NAMES[name]
        if not any(fnmatch(path, pattern) for pattern in files):
            yield f"{name}: {why}"


def _banned_call(call: ast.Call, path: str, names: dict[str, str]) -> Iterator[str]:
    name = full_name(call.func, names)
    if name in BANNED_CALLS:
        why, files = BANNED_CALLS[name]
        if not any(fnmatch(path, pattern) for pattern in files):
            yield f"{name}(): {why}"
    if name in YAML_LOADERS and not _is_safe_yaml(call, names):
        yield f"{name}(): builds any object; use yaml.safe_load or a loader derived from SafeLoader"
    for keyword in call.keywords:
        if keyword.arg == "shell" and not (isinstance(keyword.value, ast.Constant) and not keyword.value.value):
            yield "shell=True: hand over a list of arguments"
    method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    first = call.args[0] if call.args else None
    if method == "run_in_executor" and isinstance(first, ast.Constant) and first.value is None:
        yield "run_in_executor(None, ...): is the host's executor; use a limiter of the engine's own"


def _built_sql(call: ast.Call) -> str:
    """The name of the method that is handed built SQL, or nothing."""
    method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    return method if method in SQL_METHODS and call.args and _is_built_text(call.args[0]) else ""


def _is_safe_yaml(call: ast.Call, names: dict[str, str]) -> bool:
    loaders = call.args[1:2] + [keyword.value for keyword in call.keywords if keyword.arg == "Loader"]
    return any(full_name(loader, names).rpartition(".")[2] in SAFE_YAML for loader in loaders)


def _is_built_text(node: ast.expr) -> bool:
    """An f-string with a hole in it, `%`, `+` or `.format()` on text."""
    match node:
        case ast.JoinedStr():
            return any(isinstance(part, ast.FormattedValue) for part in node.values)
        case ast.BinOp(op=ast.Mod() | ast.Add()):
            return True
        case ast.Call(func=ast.Attribute(attr="format" | "join")):
            return True
    return False


def test_each_sql_exception_is_still_there() -> None:
    functions = {
        f"{source.path}:{node.name}"
        for source in sources(*PRODUCT)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert set(BUILT_SQL) - functions == set()


def test_the_product_has_none_of_them() -> None:
    assert [breach for source in sources(*PRODUCT) for breach in breaches(source)] == []


@pytest.mark.parametrize(
    "code",
    [
        "import asyncio\nasyncio.wait_for(x, 1)",
        "from asyncio import wait_for",
        "import asyncio as aio\nf = aio.to_thread",
        "loop.run_in_executor(None, f)",
        "import pickle",
        "from pickle import loads",
        "eval('1')",
        "exec('1')",
        "import yaml\nyaml.load(text, Loader=yaml.Loader)",
        "from yaml import unsafe_load\nunsafe_load(text)",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "try:\n    f()\nexcept:\n    pass",
        "db.execute(f'SELECT {x}')",
        "db.executemany('INSERT INTO %s' % table, rows)",
        "await_ = db.execute('SELECT ' + x)",
        "db.executescript('{}'.format(x))",
        "import time\ntime.time()",
        "from time import time_ns",
        "import datetime\ndatetime.datetime.now()",
        "from datetime import datetime as dt\ndt.now()",
        "from datetime import date\ndate.today()",
        "print('x')",
    ],
)
def test_each_rule_sees_its_breach(code: str) -> None:
    assert list(breaches(parse(code)))


@pytest.mark.parametrize(
    ("code", "path"),
    [
        ("import time\ntime.time_ns()", "engine/clock.py"),
        ("import time\ntime.monotonic()", "engine/example.py"),
        ("print('x')", "engine/cli/run.py"),
        ("print('x')", "sinks/console.py"),
        ("console.print('x')", "engine/view/live.py"),
        ("db.execute('SELECT ?', (x,))", "sinks/sqlite.py"),
        ("db.execute(f'SELECT 1')", "sinks/sqlite.py"),
        ("import yaml\nyaml.safe_load(text)", "engine/config/rules.py"),
        ("import yaml\nyaml.load(text, Loader=yaml.CSafeLoader)", "engine/config/rules.py"),
        ("loop.run_in_executor(pool, f)", "engine/example.py"),
        ("import subprocess\nsubprocess.run(['ls'], shell=False)", "engine/example.py"),
        ("try:\n    f()\nexcept Exception:\n    pass", "engine/example.py"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pickle", "engine/example.py"),
    ],
)
def test_what_is_meant_passes(code: str, path: str) -> None:
    assert list(breaches(parse(code, path))) == []
