import gzip
import math
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from engine.events import STALE_BITS
from engine.series import LABEL_NAME_CHARS_MAX, LABEL_VALUE_CHARS_MAX, LABELS_MAX, series_text, split_series
from probes.exposition import LINE_BYTES_MAX, Body, Reader, Reading, Unreadable, canonical_float

CORPUS = Path(__file__).parents[3] / "shared" / "data" / "exposition"
BYTES_MAX = 8 * 1024 * 1024


def reader(labels: dict[str, str] | None = None, **options: Any) -> Reader:
    return Reader(labels or {}, **{"samples_max": 50_000, "bytes_max": BYTES_MAX, **options})


def still() -> float:
    return 0.0


def read(text: str | bytes, of: Reader | None = None, **how: bool) -> Reading:
    data = text.encode() if isinstance(text, str) else text
    return (of or reader()).read(Body(data, **how), 1.0, still)


def samples(text: str | bytes, of: Reader | None = None, **how: bool) -> dict[str, float]:
    reading = read(text, of, **how)
    return dict(zip(reading.series, reading.values, strict=True))


def refusal(text: str | bytes, of: Reader | None = None, **how: bool) -> str:
    with pytest.raises(Unreadable) as caught:
        read(text, of, **how)
    return caught.value.reason


# --- what others wrote ----------------------------------------------------------------------------


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of expositions (../shared/data/exposition) is not here")
def test_real_expositions_are_read_as_prometheus_client_reads_them() -> None:
    files = [path for path in CORPUS.rglob("*") if path.suffix in {".txt", ".out", ".prom"}]
    assert len(files) > 5
    for path in files:
        openmetrics = ".om." in path.name
        parse: Callable[[str], Any] = (
            openmetrics_parser.text_string_to_metric_families if openmetrics else text_string_to_metric_families
        )
        text = path.read_text(encoding="utf-8")
        alone = [sample for family in parse(text) for sample in family.samples]
        of = reader()
        for _ in range(2):  # once by that parser, once by what is remembered of it
            reading = read(text, of, openmetrics=openmetrics)
            assert (reading.samples, reading.duplicates) == (len(alone), 0), path.name
            for series, value, sample in zip(reading.series, reading.values, alone, strict=True):
                name, labels = split_series(series)
                # That parser gives counters the ending that OpenMetrics wants; the name that was exposed counts.
                assert name in {sample.name, sample.name.removesuffix("_total")}, path.name
                assert f"{name}" in text
                assert value == sample.value or (math.isnan(value) and math.isnan(sample.value))
                assert labels.keys() == {label for label, text in sample.labels.items() if text}


def test_a_counter_keeps_its_name() -> None:
    assert samples("# TYPE a counter\na 1\n# TYPE b_total counter\nb_total 2\n") == {"a": 1.0, "b_total": 2.0}


@pytest.mark.parametrize(
    ("line", "series", "value"),
    [
        ("a 1", "a", 1.0),
        ("a\t 1 \t", "a", 1.0),
        ("  a 1", "a", 1.0),
        ("a 1\r", "a", 1.0),
        ("a 1 1395066363000", "a", 1.0),
        ("a 1 -1", "a", 1.0),
        ("a{} 1", "a", 1.0),
        ('a {b="c", } 1', 'a{b="c"}', 1.0),
        ('a{ b = "c" , d="e" } 1', 'a{b="c",d="e"}', 1.0),
        ('a{z="1",b="2"} 1', 'a{b="2",z="1"}', 1.0),
        ('a{b=""} 1', "a", 1.0),
        ('a{b="}"} 1', 'a{b="}"}', 1.0),
        ('a{b="} 7 # {"} 1', 'a{b="} 7 # {"}', 1.0),
        (r'a{b="\\\"\n"} 1', r'a{b="\\\"\\n"}', 1.0),
        ('a{b="ä\u2028"} 1', r'a{b="ä\\u2028"}', 1.0),
        ('{"my.metric",b="c"} 1', '{"my.metric",b="c"}', 1.0),
        ('a{"my.label"="c"} 1', 'a{"my.label"="c"}', 1.0),
        ("a +Inf", "a", math.inf),
        ("a -Inf", "a", -math.inf),
        ("a 1e3", "a", 1000.0),
        ("a 0.1", "a", 0.1),
        ("a 9007199254740993", "a", 9007199254740992.0),
        (f"a {'9' * 5000}", "a", math.inf),
    ],
)
def test_a_sample(line: str, series: str, value: float) -> None:
    assert samples(line) == {series: value}
    assert samples(f"# HELP a b\n\n{line}\n\n") == {series: value}


def test_not_a_number_is_a_value_and_no_stale_marker() -> None:
    (value,) = read("a NaN").values
    assert math.isnan(value)
    assert struct.pack("<d", value) != struct.pack("<Q", STALE_BITS)


@pytest.mark.parametrize(
    "line",
    [
        b"a",
        b"nan",
        b"a b",
        b"a 1 2 3",
        b"a 1 x",
        b"a 1_0",
        b"a 0x1p-2",
        "a ١".encode(),
        b"1a 1",
        b"a-b 1",
        b"a} 1",
        b"a# 1",
        b"a,b 1",
        b'a{b="c" 1',
        b'a{b="c} 1',
        b"a{b=c} 1",
        b'a{b="c"}',
        b'a{b="c",b="d"} 1',
        b'a{b="c"d="e"} 1',
        b'a{b="c"} 1 # {t="x"} 0.5',
        b'{b="c"} 1',
        b'a{__name__="b"} 1',
        b'a{"x y"} 1',
        b"<html><body>1</body></html>",
        b"\x00\x01\x02",
        b"a 1\rb 2\rc 3",
        b"#\rTYPE\r\x1d\r%",
        b'a{b="\xff"} 1',
        b"# HELP a \xff",
        b"\xff\xfea 1",
    ],
    ids=range(30),
)
def test_f83_what_is_not_a_sample_fails_the_whole(line: bytes) -> None:
    """F83, M27: one of these made prometheus_client raise IndexError. Nothing of the exposition is taken."""
    assert refusal(line) == "format"
    assert refusal(b"good 1\n" + line + b"\n") == "format"


pieces = st.sampled_from(
    [
        b"a",
        b"b_total",
        b'{b="',
        b"{",
        b"}",
        b'"',
        b",",
        b"=",
        b" ",
        b"\t",
        b"\n",
        b"\r",
        b"\\",
        b"# TYPE ",
        b"#",
        b"1",
        b"NaN",
    ]
)
nearly = st.lists(pieces, max_size=30).map(b"".join)


@given(st.one_of(st.binary(max_size=200), nearly), st.booleans())
def test_f83_whatever_comes_it_is_read_or_refused(data: bytes, openmetrics: bool) -> None:
    series: tuple[str, ...] = ()
    reason = "format"
    try:
        series = read(data, openmetrics=openmetrics).series
    except Unreadable as refused:
        reason = refused.reason
    assert reason in {"format", "label_limit"}
    assert len(set(series)) == len(series)
    assert [series_text(*split_series(text)) for text in series] == list(series)


def test_openmetrics() -> None:
    text = (
        "# TYPE a counter\n# UNIT a seconds\n"
        'a_total{b="c"} 17.0 1520879607.789 # {trace_id="} 3"} 0.67 1520879607.7\n'
        'a_created{b="c"} 1.5 # {} 1\n'
        "# EOF\n"
    )
    of = reader()
    for _ in range(2):
        assert samples(text, of, openmetrics=True) == {'a_total{b="c"}': 17.0, 'a_created{b="c"}': 1.5}
    assert refusal(text.replace("# EOF", ""), openmetrics=True) == "format", "it was cut off"
    assert refusal(text + "a 1\n", openmetrics=True) == "format"
    assert samples("# EOF\na 1\n") == {"a": 1.0}, "which is a comment in the text format"


# --- numbers in labels ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("1", "1.0"),
        ("1.0", "1.0"),
        ("0", "0.0"),
        ("-1", "-1.0"),
        ("0.5", "0.5"),
        ("0.10", "0.1"),
        (".25", "0.25"),
        ("100000", "100000.0"),
        ("123456.5", "123456.5"),
        ("1e6", "1e+06"),
        ("1000000", "1e+06"),
        ("1234567", "1.234567e+06"),
        ("10000000000", "1e+10"),
        ("2.5e100", "2.5e+100"),
        ("0.0001", "0.0001"),
        ("0.00001", "1e-05"),
        ("-0.000025", "-2.5e-05"),
        ("+Inf", "+Inf"),
        ("Inf", "+Inf"),
        ("-Inf", "-Inf"),
        ("NaN", "NaN"),
        ("", ""),
        ("big", "big"),
        ("1_0", "1_0"),
        ("ä", "ä"),
    ],
)
def test_a_number_in_a_label_is_written_as_prometheus_3_does(written: str, canonical: str) -> None:
    assert canonical_float(written) == canonical


@given(st.floats(allow_nan=False))
def test_no_number_changes_by_it(value: float) -> None:
    assert float(canonical_float(repr(value))) == value
    assert canonical_float(canonical_float(repr(value))) == canonical_float(repr(value))


def test_only_histograms_and_summaries_have_numbers_in_labels() -> None:
    """As in Prometheus 3, the type that was declared last counts, until the next one is."""
    text = (
        '# TYPE h histogram\nh_bucket{le="1",quantile="1"} 1\nh_bucket{le="+Inf"} 2\n# HELP i x\ni{le="2"} 3\n'
        '# TYPE s summary\ns{quantile="1",le="1"} 4\n'
        '# TYPE\tg\tgauge\ng{le="1",quantile="1"} 5\nh_bucket{le="1",quantile="1"} 6\n'
        '# TYPE t\thistogram\nt_bucket{le="5"} 7\n'
    )
    assert list(samples(text)) == [
        'h_bucket{le="1.0",quantile="1"}',
        'h_bucket{le="+Inf"}',
        'i{le="2.0"}',
        's{le="1",quantile="1.0"}',
        'g{le="1",quantile="1"}',
        'h_bucket{le="1",quantile="1"}',
        't_bucket{le="5.0"}',
    ]


def test_a_line_under_another_type_is_another_series() -> None:
    of = reader()
    assert list(samples('# TYPE a histogram\na{le="1"} 1\n', of)) == ['a{le="1.0"}']
    assert list(samples('# TYPE a gauge\na{le="1"} 1\n', of)) == ['a{le="1"}']


# --- the target's labels --------------------------------------------------------------------------

TARGET = {"job": "node", "instance": "h:1"}


@pytest.mark.parametrize(
    ("exposed", "kept", "honored"),
    [
        ("", 'instance="h:1",job="node"', 'instance="h:1",job="node"'),
        ('b="c"', 'b="c",instance="h:1",job="node"', 'b="c",instance="h:1",job="node"'),
        ('job="x"', 'exported_job="x",instance="h:1",job="node"', 'instance="h:1",job="x"'),
        ('job="node"', 'exported_job="node",instance="h:1",job="node"', 'instance="h:1",job="node"'),
        ('job=""', 'instance="h:1",job="node"', 'instance="h:1"'),
        (
            'job="x",exported_job="y"',
            'exported_exported_job="x",exported_job="y",instance="h:1",job="node"',
            'exported_job="y",instance="h:1",job="x"',
        ),
    ],
)
def test_labels_that_target_and_exposition_both_have(exposed: str, kept: str, honored: str) -> None:
    assert list(samples(f"a{{{exposed}}} 1", reader(TARGET))) == [f"a{{{kept}}}"]
    assert list(samples(f"a{{{exposed}}} 1", reader(TARGET, honor_labels=True))) == [f"a{{{honored}}}"]


def test_a_contested_name_goes_to_the_shorter_label() -> None:
    target = {"x": "t", "exported_x": "u"}
    for exposed in ('x="1",exported_x="2"', 'exported_x="2",x="1"'):
        assert list(samples(f"a{{{exposed}}} 1", reader(target))) == [
            'a{exported_exported_exported_x="2",exported_exported_x="1",exported_x="u",x="t"}'
        ]


# --- what stays the same, and what is there twice -------------------------------------------------


def test_the_tuple_is_the_same_while_the_series_are() -> None:
    of = reader(TARGET, reserved=("up",))
    first, second = read("a 1\nb 2\n", of), read("# again\na 3\nb 4\n", of)
    assert second.series is first.series
    assert second.values == [0.0, 3.0, 4.0]
    third = read("a 3\n", of)
    assert third.series == first.series[:2]
    assert third.series[1] is first.series[1], "a text is made once"
    assert read("a 3\n", of).series is third.series


def test_the_first_of_two_is_taken_and_the_second_counted() -> None:
    assert read('a{b="c"} 1\na{b="d"} 5\na{ b="c" } 2\na{b="c"} 3\n') == Reading(
        ('a{b="c"}', 'a{b="d"}'), [1.0, 5.0], 4, 2
    )


def test_the_reserved_can_not_come_from_the_target() -> None:
    assert read("up 0\na 1\n", reader(reserved=("up",))) == Reading(("up", "a"), [0.0, 1.0], 2, 1)


def test_two_values_that_are_one_once_cut_are_a_duplicate() -> None:
    long = "x" * LABEL_VALUE_CHARS_MAX
    assert read(f'a{{b="{long}1"}} 1\na{{b="{long}2"}} 2\n').duplicates == 1


# --- limits ---------------------------------------------------------------------------------------


def test_f83_samples() -> None:
    text = "".join(f"a{number} 1\n" for number in range(10))
    assert read(text, reader(samples_max=10)).samples == 10
    assert refusal(text + "b 1\n", reader(samples_max=10)) == "sample_limit"
    assert refusal("a 1\n" * 11, reader(samples_max=10)) == "sample_limit", "the same one again counts, too"


def test_f83_a_million_series() -> None:
    assert refusal(b"".join(b"a%d 1\n" % number for number in range(60_000))) == "sample_limit"


@pytest.mark.parametrize("start", [b"a 1\n#", b'a{b="', b""])
def test_f83_a_line_of_ten_megabytes(start: bytes) -> None:
    line = start + b"x" * 10_000_000
    assert refusal(line) == "body_limit"
    assert refusal(line, reader(bytes_max=20_000_000)) == "line_limit"


def test_f83_a_line_at_its_limit() -> None:
    head, tail = b'a{b="', b'"} 1\n'
    line = head + b"x" * (LINE_BYTES_MAX - len(head) - len(tail)) + tail
    assert read(line).samples == 1
    assert refusal(line.replace(b"x", b"xx", 1)) == "line_limit"


def test_f83_labels() -> None:
    def line(count: int) -> str:
        return "a{" + ",".join(f'b{number}="{{=}}"' for number in range(count)) + "} 1"

    assert read(line(LABELS_MAX)).samples == 1
    assert refusal(line(LABELS_MAX + 1)) == "label_limit"
    assert refusal(line(LABELS_MAX), reader(TARGET)) == "label_limit", "the target's own count"
    assert refusal(line(5_000)) == "label_limit"
    assert refusal(line(100_000)) == "line_limit"
    assert read("a" * LABEL_NAME_CHARS_MAX + " 1").samples == 1
    assert refusal("a" * (LABEL_NAME_CHARS_MAX + 1) + " 1") == "label_limit"


def test_f83_m28_a_gzip_bomb() -> None:
    bomb = gzip.compress(bytes(200_000_000), compresslevel=1)
    of = reader(bytes_max=1_000_000)
    tracemalloc.start()
    try:
        assert refusal(bomb, of, gzipped=True) == "body_limit"
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_gzip_at_its_limit() -> None:
    text = b"#" + b"x" * 99 + b"\n"
    packed = gzip.compress(text * 100)
    assert read(packed, reader(bytes_max=101 * 100), gzipped=True).samples == 0
    assert refusal(packed, reader(bytes_max=101 * 100 - 1), gzipped=True) == "body_limit"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"a 1\n",
        gzip.compress(b"a 1\n")[:-1],
        gzip.compress(b"a 1\n") + b"x",
        gzip.compress(b"a 1\n") * 2,
        gzip.compress(b"a 1\n")[:-8] + bytes(8),
    ],
    ids=["nothing", "plain text", "cut off", "more behind it", "twice", "wrong checksum"],
)
def test_what_is_not_whole_gzip(data: bytes) -> None:
    assert refusal(data, gzipped=True) == "encoding"


def test_f83_the_deadline() -> None:
    """Each look at the clock takes a second; the next try goes on from what the first has learnt."""
    now = 0.0

    def monotonic() -> float:
        nonlocal now
        now += 1.0
        return now

    of = reader()
    body = Body(b"a 1\nb 2\nc 3\n")
    with pytest.raises(Unreadable) as caught:
        of.read(body, 2.0, monotonic)
    assert caught.value.reason == "parse_timeout"
    assert len(of._texts) == 2
    assert read(body.data, of).values == [1.0, 2.0, 3.0]


def test_m27_hostile_lines_end_at_the_deadline() -> None:
    """Lines within every limit on which the parser is slow: 120 of them would take half a minute."""
    lines = b"".join(b'a{b%d="' % number + b'\\"' * 32_000 + b'"} 1\n' for number in range(120))
    looks = 0

    def monotonic() -> float:
        nonlocal looks
        looks += 1
        return float(looks)

    with pytest.raises(Unreadable, match="parse_timeout"):
        reader().read(Body(lines), 3.0, monotonic)
    assert looks == 4, "the clock is looked at for each line"


def test_m27_what_is_remembered_is_what_was_there_last() -> None:
    of = reader()
    for number in range(5):
        read(f"a{number} 1\nb 1\n", of)
    assert len(of._texts) == 2
    assert refusal("b 1\nc\n", of) == "format"
    assert len(of._texts) == 2
