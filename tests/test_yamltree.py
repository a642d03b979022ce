"""YAML with places, and its bounds (F76)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.yamltree import YAML_BYTES_MAX, Mapping, Node, Scalar, Sequence, YamlError, parse_yaml


def plain(node: Node | None) -> object:
    match node:
        case Mapping():
            return {key.text: plain(value) for key, value in node.pairs}
        case Sequence():
            return [plain(item) for item in node.items]
        case Scalar():
            return node.text
    return None


def test_nodes_know_their_place() -> None:
    tree = parse_yaml(b"a:\n  - b: |\n      two\n      lines\n    c: 'x'\n").root
    assert isinstance(tree, Mapping)
    ((key, items),) = tree.pairs
    assert (key.line, key.column) == (1, 1)
    assert isinstance(items, Sequence)
    (item,) = items.items
    assert isinstance(item, Mapping)
    assert (item.line, item.column) == (2, 5)
    assert [(k.text, k.line, v.line, v.column) for k, v in item.pairs] == [("b", 2, 2, 8), ("c", 5, 5, 8)]
    assert plain(tree) == {"a": [{"b": "two\nlines\n", "c": "x"}]}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("yes", "str"),
        ("true", "bool"),
        ("~", "null"),
        ("''", "str"),
        ("'1'", "str"),
        ("1", "int"),
        ("0x1F", "int"),
        ("1.5", "float"),
        ("1e3", "float"),
        (".inf", "float"),
        (".nan", "float"),
        ("5m", "str"),
        ("2020-01-01", "str"),
    ],
)
def test_scalars_stay_as_written(text: str, kind: str) -> None:
    tree = parse_yaml(f"a: {text}".encode()).root
    assert isinstance(tree, Mapping)
    value = tree.pairs[0][1]
    assert isinstance(value, Scalar)
    assert (value.text, value.kind) == (text.strip("'"), kind)


def test_nothing_is_nothing() -> None:
    assert parse_yaml(b"").root is None
    assert parse_yaml(b"# a comment\n").root is None
    assert plain(parse_yaml(b"---\n").root) == ""


def test_anchors_and_merges() -> None:
    """As operators use them: a rule is another one with another threshold."""
    tree = parse_yaml(b"- &a {x: 1, y: 2}\n- <<: *a\n  y: 3\n- <<: [*a, {z: 4}]\n- *a\n").root
    assert plain(tree) == [
        {"x": "1", "y": "2"},
        {"y": "3", "x": "1"},
        {"x": "1", "y": "2", "z": "4"},
        {"x": "1", "y": "2"},
    ]


BOMB = b"a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 9)
)


@pytest.mark.parametrize(
    ("data", "line", "says"),
    [
        (b"a: 1\nb: 2\na: 3\n", 3, 'mapping key "a" already defined at line 1'),
        (b"a: [1\nb: 2\n", 2, "not YAML: "),
        (b"a: b: c\n", 1, "not YAML: mapping values are not allowed"),
        (b"\ta: 1\n", 1, "not YAML: "),
        (b"a: \xff\n", 1, "not UTF-8: byte 0xff"),
        (b"x\na: \x01\n", 2, "not YAML: a control character"),
        (b"a: *nope\n", 1, "nope"),
        (b"? [1]\n: 2\n", 1, "a key is a text"),
        (
            b"a: !!python/object:os.system {}\n",
            1,
            'the tag "tag:yaml.org,2002:python/object:os.system" is not supported',
        ),
        (b"a: !x 1\n", 1, 'the tag "!x" is not supported'),
        (b"<<: 1\n", 1, "map merge requires map"),
        (b"[" * 100 + b"]" * 100, 1, "nested more than 30 deep"),
        (b"[" * 200_000, 1, "nested more than 30 deep"),
        (BOMB, 0, "more than 1,000,000 values, aliases written out"),
        (b"a: &a 1\nb: [" + b"*a," * 10_001 + b"]\n", 2, "more than 10,000 aliases"),
        (b"a: &a [*a]\n", 1, "a"),
        (b"#" * (YAML_BYTES_MAX + 1), 0, "it is larger than 16 MiB"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_refused_with_its_line(data: bytes, line: int, says: str) -> None:
    with pytest.raises(YamlError) as refused:
        parse_yaml(data)
    assert says in str(refused.value)
    if line:
        assert refused.value.line == line


@given(st.binary(max_size=60) | st.text("ab:-[]{}&*<!|>'\"\n #?,%@`~1 ", max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        tree = parse_yaml(data).root
    except YamlError:
        return
    assert isinstance(plain(tree), dict | list | str | None)


def test_what_follows_the_first_document_is_not_read() -> None:
    root, next_line = parse_yaml(b"---\na: 1\n---\n{nothing that: is: yaml\n")
    assert (plain(root), next_line) == ({"a": "1"}, 3)
    assert parse_yaml(b"a: 1\n...\n").next_line == 0
    assert parse_yaml(b"---\n---\na: 1\n").root == parse_yaml(b"---\n").root
