"""Lines of keys. The property at the end is the point: a located line holds its key, whatever the text."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.locate import KEY_PARTS_MAX, NESTING_MAX, KeyPath, Lines, TooDeepError, split_key

TEXT = '''\
# probe.fake = 1
[engine]
name = "x"   # [not.a.table]
"quoted key" = 1
'it''s' = 2
[probe.health]
url = """
[probe.fake]
key = 1
""""
headers.Accept = 'text/html'
headers.Age = 1
urls = [ "a",  # one
  "b", [1,
   2],
  { name = "n", deep.er = """
x""", last = 1 },
]
time = 1979-05-27 07:32:00
[[step]]
run = 1
[step.inner]
x = 1
[[step]]
run = 2
[step.inner]
x = 2
[a.b.c]
z = 1
[a]
y = 1
'''.replace("'it''s' = 2\n", "'it s' = 2\n")


def lines(text: str) -> dict[KeyPath, int]:
    return dict(Lines(text)._lines)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("engine",), 2),
        (("engine", "name"), 3),
        (("engine", "quoted key"), 4),
        (("engine", "it s"), 5),
        (("probe",), 6),
        (("probe", "health"), 6),
        (("probe", "health", "url"), 7),
        (("probe", "health", "headers"), 11),
        (("probe", "health", "headers", "Accept"), 11),
        (("probe", "health", "headers", "Age"), 12),
        (("probe", "health", "urls"), 13),
        (("probe", "health", "urls", 0), 13),
        (("probe", "health", "urls", 1), 14),
        (("probe", "health", "urls", 2, 1), 15),
        (("probe", "health", "urls", 3, "name"), 16),
        (("probe", "health", "urls", 3, "deep", "er"), 16),
        (("probe", "health", "urls", 3, "last"), 17),
        (("probe", "health", "time"), 19),
        (("step", 0, "run"), 21),
        (("step", 0, "inner", "x"), 23),
        (("step", 1), 24),
        (("step", 1, "inner", "x"), 27),
        (("a", "b", "c", "z"), 29),
        (("a",), 30),
        (("probe", "fake"), 0),
        (("engine", "nothing"), 0),
    ],
)
def test_each_sort_of_key_is_found(path: KeyPath, line: int) -> None:
    tomllib.loads(TEXT)
    assert Lines(TEXT).find(path) == line


def test_crlf_counts_as_one_line_end() -> None:
    assert lines("a = 1\r\nb = '''\r\n'''\r\nc = 1\r\n") == {("a",): 1, ("b",): 2, ("c",): 4}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "a",
        "a = ",
        "= 1",
        "[",
        "[a",
        "[[a]",
        "[]",
        'a = "',
        'a = """x',
        "a = [1",
        "a = {b = 1",
        "a = [1 2]",
        "a = 1 b = 2",
        '"\\q" = 1',
        "é = 1",
        "\x00",
        "a = 'x\n'",
        '""" = 1',
        "a = {b}",
        "a..b = 1",
    ],
)
def test_a_text_that_is_not_toml_gives_what_was_found_so_far(text: str) -> None:
    assert lines("ok = 1\n" + text)[("ok",)] == 1


def test_what_tomllib_would_choke_on_is_refused_first() -> None:
    """F145: a key of 300,000 parts takes tomllib hours, nesting of 3,000 overflows its stack."""
    with pytest.raises(TooDeepError, match=f"at most {KEY_PARTS_MAX} parts, not 300000") as many:
        Lines("x = 1\n" + ".".join("a" * 300_000) + " = 1")
    assert many.value.line == 2
    for opening in ("[", "{a="):
        with pytest.raises(TooDeepError, match=f"more than {NESTING_MAX} deep"):
            Lines("x = " + opening * 3_000)
    Lines(".".join("a" * KEY_PARTS_MAX) + " = " + "[" * NESTING_MAX + "]" * NESTING_MAX)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("engine.name", ["engine", "name"]),
        (' probe . "a b" . url ', ["probe", "a b", "url"]),
        ("a.'b.c'", ["a", "b.c"]),
        (r'a."\u0062\"x"', ["a", 'b"x']),
    ],
)
def test_a_dotted_key_is_split_as_toml_splits_it(text: str, parts: list[str]) -> None:
    assert split_key(text) == parts


@pytest.mark.parametrize("text", ["", "a.", ".a", "a b", "a.\n", 'a."b', 'a."\\q"', "a=", ".".join("a" * 17)])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        split_key(text)


# --- for any document -----------------------------------------------------------------------------

bare = st.text("abcXYZ019_-", min_size=1, max_size=4)
odd = st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="'"), min_size=1, max_size=4)
keys = bare | odd
leaf = st.sampled_from(
    ["1", "-0.5", "true", "'x = 1'", '"a # b"', '"""\n[no]\nk = 1\n"""', "'''\n'a' = 1'''", "07:32:00"]
)


def written(key: str) -> str:
    return key if all(c in "abcXYZ019_-" for c in key) else f"'{key}'"


@st.composite
def values(draw: st.DrawFn, depth: int = 2) -> str:
    if depth == 0 or draw(st.integers(0, 3)) > 0:
        return draw(leaf)
    if draw(st.booleans()):
        items = draw(st.lists(values(depth - 1), max_size=3))
        gap = draw(st.sampled_from(["", " ", "\n", " # [no]\n"]))
        return "[" + "".join(f"{gap}{item}{gap}," for item in items) + gap + "]"
    inner = draw(st.dictionaries(keys, values(depth - 1), max_size=3))
    return "{" + ", ".join(f"{written(key)} = {value}" for key, value in inner.items()) + "}"


@st.composite
def documents(draw: st.DrawFn) -> str:
    parts = [f"{written(key)} = {value}" for key, value in draw(st.dictionaries(keys, values(), max_size=3)).items()]
    for name in draw(st.lists(keys, max_size=4, unique=True)):
        head = f"[[{written(name)}]]" if draw(st.booleans()) else f"[ {written(name)} . {written(draw(keys))} ]"
        for _ in range(2 if head.startswith("[[") else 1):
            parts.append(draw(st.sampled_from(["", "# k = 1\n", "\n"])) + head)
            table = draw(st.dictionaries(keys, values(), max_size=3))
            parts.extend(f"{written(key)}{draw(st.sampled_from(['', ' ']))}= {value}" for key, value in table.items())
    return "\n".join(parts) + draw(st.sampled_from(["", "\n"]))


def paths(tree: Any, at: KeyPath = ()) -> list[KeyPath]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path for key, value in items for path in [(*at, key), *paths(value, (*at, key))]]


@given(documents())
def test_a_located_line_holds_its_key_and_every_key_is_located(text: str) -> None:
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError:  # a header that repeats a key
        return
    located = Lines(text)
    rows = text.split("\n")
    for path in paths(tree):
        line = located.find(path)
        assert 1 <= line <= len(rows), path
        if isinstance(path[-1], str):
            assert path[-1] in rows[line - 1], path
    assert set(located._lines) == set(paths(tree))


@given(st.text(st.sampled_from(list("[]{}=.,\"'\\#\n \r\tab1_-")), max_size=60))
def test_no_text_makes_it_raise(text: str) -> None:
    found = lines(text)
    assert all(1 <= line <= text.count("\n") + 1 for line in found.values())
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(found) == set(paths(tree))
