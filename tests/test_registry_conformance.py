"""What everything in the registry must be: built in or installed beside it, a leaf is its protocol and documented.

That leaves import nothing they should not is in tests/habits/test_import_laws.py.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from engine.durations import Duration, parse_ms
from engine.ports import (
    History,
    Options,
    Periodic,
    Probe,
    ProbeContext,
    Projector,
    Receiver,
    Recorder,
    RecordKind,
    Resuming,
    Sink,
    SinkContext,
)
from engine.registry import BUILT_IN, Kind, names, resolve
from engine.secrets import Secret
from tests.probes.context import StillClock, call_here, context

KINDS: tuple[Kind, ...] = ("probe", "sink", "projector")
LEAVES = [(kind, name) for kind in KINDS for name in names(kind)]
CONFIGURED = [(kind, name) for kind, name in LEAVES if kind != "projector"]
PAGES = {"probe": "docs/probes.md", "sink": "docs/sinks.md", "projector": "docs/metrics.md"}
RECORD_KINDS = set(get_args(RecordKind))

# A value for each type an option may have, for those that have no default.
MINIMAL: dict[Any, Any] = {
    str: "x",
    int: 1,
    float: 1.0,
    bool: True,
    Duration: Duration(1_000),
    Secret: Secret("http://127.0.0.1:9/canary"),
    list[Secret]: [Secret("http://127.0.0.1:9/canary")],
    Path: Path("x"),
}


def page(kind: Kind) -> str:
    return (Path(__file__).parents[1] / PAGES[kind]).read_text(encoding="utf-8")


def section(kind: Kind, name: str) -> str:
    """The part of a page under the first heading with the name in it, down to the next of that level."""
    lines: list[str] = []
    level, fenced = 0, False
    for line in page(kind).splitlines():
        fenced ^= line.lstrip().startswith("```")
        depth = 0 if fenced else len(line) - len(line.lstrip("#"))
        if level and depth and depth <= level:
            break
        if not level and depth and re.search(rf"\b{name}\b", line, re.IGNORECASE):
            level = depth
        elif level:
            lines.append(line)
    return "\n".join(lines).strip()


def protocols(kind: Kind, leaf: type) -> Iterator[type]:
    """The protocols that a class has to be whole."""
    if kind == "probe":
        yield Probe
    elif kind == "projector":
        yield Projector
    else:
        yield Sink
        marks = {"write": Recorder, "deliver": Receiver, "samples": History, "tick": Periodic, "resume": Resuming}
        for mark, optional in marks.items():
            if hasattr(leaf, mark):
                yield optional


def methods(protocol: type) -> dict[str, Any]:
    return {
        name: value
        for base in reversed(protocol.__mro__)
        if getattr(base, "_is_protocol", False)
        for name, value in vars(base).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }


def class_variables(protocol: type) -> set[str]:
    return {name for name, hint in get_type_hints(protocol).items() if "ClassVar" in str(hint)}


@pytest.fixture(params=LEAVES, ids=lambda leaf: ".".join(leaf))
def leaf(request: pytest.FixtureRequest) -> tuple[Kind, str, type]:
    kind, name = request.param
    return kind, name, resolve(kind, name)


@pytest.fixture(params=CONFIGURED, ids=lambda leaf: ".".join(leaf))
def configured(request: pytest.FixtureRequest) -> tuple[Kind, str, type]:
    kind, name = request.param
    return kind, name, resolve(kind, name)


def options(leaf: Any) -> Options:
    """Its options with as little said as possible."""
    values = {}
    for field in msgspec.structs.fields(leaf.Options):
        if field.required:
            assert field.type in MINIMAL, f"{field.name}: no minimal value for {field.type}"
            values[field.name] = MINIMAL[field.type]
    made = leaf.Options(**values)
    assert isinstance(made, Options)
    return made


def instance(kind: Kind, name: str, leaf: Any, folder: Path) -> Any:
    given: ProbeContext | SinkContext
    if kind == "probe":
        given = context(name)
    else:
        given = SinkContext(
            name=name,
            engine_name="conformance",
            clock=StillClock(),
            state_dir=folder,
            timezone="UTC",
            external_labels={},
            call=call_here,
        )
    return leaf(options(leaf), given)


# --- every leaf -----------------------------------------------------------------------------------


def test_every_kind_has_leaves() -> None:
    assert {kind for kind, _ in LEAVES} == set(KINDS)
    assert len({*LEAVES}) == len(LEAVES)


def test_it_has_the_methods_of_its_protocol(leaf: tuple[Kind, str, type]) -> None:
    kind, _, found = leaf
    for protocol in protocols(kind, found):
        for name, wanted in methods(protocol).items():
            method = getattr(found, name, None)
            assert callable(method), f"{protocol.__name__}.{name} is missing"
            wants = list(inspect.signature(wanted).parameters)
            has = inspect.signature(method).parameters
            assert list(has)[: len(wants)] == wants, f"{name}{inspect.signature(method)}"
            extra = list(has.values())[len(wants) :]
            assert all(one.default is not one.empty for one in extra), f"{name} asks for more than the protocol"
            asynchronous = inspect.iscoroutinefunction(wanted)
            assert inspect.iscoroutinefunction(method) == asynchronous, f"{name}: async or not"


def test_it_says_what_it_is(leaf: tuple[Kind, str, type]) -> None:
    _, _, found = leaf
    assert (found.__doc__ or "").strip(), "no docstring"
    assert (inspect.getmodule(found).__doc__ or "").strip(), "its module has no docstring"


def test_it_is_in_the_docs(leaf: tuple[Kind, str, type]) -> None:
    kind, name, _ = leaf
    if name not in BUILT_IN[kind]:
        pytest.skip("documented by its own package")
    if kind == "projector":
        assert f"`{name}`" in page(kind), f"{PAGES[kind]} does not name `{name}`"
    else:
        assert section(kind, name), f"{PAGES[kind]} has no heading with {name} in it"


# --- probes and sinks -----------------------------------------------------------------------------


def test_its_options_are_a_frozen_struct_that_takes_no_unknown_key(configured: tuple[Kind, str, type]) -> None:
    _, _, found = configured
    struct: Any = found.Options  # type: ignore[attr-defined]
    assert issubclass(struct, Options)
    assert struct.__struct_config__.frozen
    assert struct.__struct_config__.forbid_unknown_fields
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"no_such_option": 1, **_as_written(found)}, struct, dec_hook=lambda _, value: Secret(value))


def _as_written(leaf: Any) -> dict[str, Any]:
    return {
        field.encode_name: "http://127.0.0.1:9/" if field.type is Secret else MINIMAL[field.type]
        for field in msgspec.structs.fields(leaf.Options)
        if field.required
    }


def test_each_option_is_in_its_section(configured: tuple[Kind, str, type]) -> None:
    kind, name, found = configured
    if name not in BUILT_IN[kind]:
        pytest.skip("documented by its own package")
    text = section(kind, name)
    fields = found.Options.__struct_encode_fields__  # type: ignore[attr-defined]
    assert [field for field in fields if f"`{field}`" not in text] == []


def test_an_instance_is_its_protocol(configured: tuple[Kind, str, type], tmp_path: Path) -> None:
    kind, name, found = configured
    made = instance(kind, name, found, tmp_path)
    for protocol in protocols(kind, found):
        assert isinstance(made, protocol)
        for variable in class_variables(protocol):
            assert hasattr(found, variable), f"{variable} belongs on the class"


def test_making_it_touches_nothing(configured: tuple[Kind, str, type], tmp_path: Path) -> None:
    """Files and sessions are for `open`: a config that is only checked leaves no trace. There is no loop here, too."""
    kind, name, found = configured
    instance(kind, name, found, tmp_path)
    assert list(tmp_path.iterdir()) == []


async def test_closing_what_was_never_opened_is_nothing(configured: tuple[Kind, str, type], tmp_path: Path) -> None:
    kind, name, found = configured
    made = instance(kind, name, found, tmp_path)
    assert await made.close() is None
    assert await made.close() is None
    assert list(tmp_path.iterdir()) == []


def test_it_shows_no_secret(configured: tuple[Kind, str, type], tmp_path: Path) -> None:
    kind, name, found = configured
    made = instance(kind, name, found, tmp_path)
    assert "canary" not in repr(made) + str(made) + repr(options(found))


# --- one kind -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", names("probe"))
def test_a_probe_has_an_interval_and_a_shorter_time_out(name: str) -> None:
    found = resolve("probe", name)
    assert 0 < parse_ms(found.DEFAULT_TIMEOUT) <= parse_ms(found.DEFAULT_INTERVAL)


@pytest.mark.parametrize("name", BUILT_IN["probe"])
def test_a_probe_names_its_metrics_and_documents_each(name: str) -> None:
    metrics = resolve("probe", name).METRICS
    text = section("probe", name)
    assert metrics
    assert len(set(metrics)) == len(metrics)
    assert [metric for metric in metrics if f"`{metric}" not in text] == []
    # And the page has none that is gone: every `prefix_...` in it is one of them.
    prefix = metrics[0].partition("_")[0]
    assert set(re.findall(rf"`({prefix}_[a-z0-9_]+)[`{{]", text)) <= set(metrics)


@pytest.mark.parametrize("name", names("sink"))
def test_a_sink_records_tells_or_acts_by_the_clock(name: str) -> None:
    found = resolve("sink", name)
    kinds = set(protocols("sink", found)) - {Sink}
    assert kinds & {Recorder, Receiver, Periodic}, "it does nothing"
    if Recorder in kinds:
        assert isinstance(found.WANTS, frozenset)
        assert found.WANTS
        assert found.WANTS <= RECORD_KINDS
