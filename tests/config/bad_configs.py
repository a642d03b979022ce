"""Bad configurations and exactly what is said about each. Where a line ends in `…`, other modules say the rest.

Faults F145 and F146. The types `demo`, `push` and others are those of `leaves.py`; the variables are in `ENVIRON`.
"""

# ruff: noqa: E501  # a message is one line

from typing import NamedTuple

ENVIRON = {
    "TOKEN": "canary-token-77",
    "EMPTY": "",
    "BYTES": "caf\udce9",  # how Python reads a byte that is not UTF-8
    "WORD": "canarywordvalue",
    "SHORT": "7ms",
    "SPACED": "canary word",
}
CANARIES = ("canary", "7ms", "hunter22")
"""In values of the environment and in literal secrets: never in any message."""


class Bad(NamedTuple):
    """A configuration that can't be used."""

    name: str
    text: str
    problems: tuple[str, ...]


def bad(name: str, text: str, *problems: str) -> Bad:
    return Bad(name, text, problems)


BAD_CONFIGS = [
    bad(
        "value_without_quotes",
        """\
[probe.demo]
url = "http://h/"
interval = 5s
""",
        'run.toml:3: not a TOML value, column 13 (text and durations are quoted: "5s")',
    ),
    bad(
        "key_written_twice",
        """\
[engine]
name = "a"
name = "b"
[sink.screen]
""",
        "run.toml:3: the key is written twice, column 11 (remove one)",
    ),
    bad(
        "table_written_twice",
        """\
[sink.screen]
[engine]
[sink.screen]
""",
        "run.toml:3: the table is written twice, column 13 (put its keys under one header)",
    ),
    bad(
        "table_after_its_dotted_keys",
        """\
probe.demo.url = "a"
[probe.demo]
""",
        "run.toml:2: the table is written twice, column 12 (put its keys under one header)",
    ),
    bad(
        "array_of_tables_over_table",
        """\
[sink.screen]
[[sink.screen]]
""",
        "run.toml:2: the key is written twice, column 14 (remove one)",
    ),
    bad(
        "text_not_closed",
        """\
[engine]
name = "a
[sink.screen]
""",
        "run.toml:2: the text has no closing quote, column 10",
    ),
    bad(
        "literal_text_not_closed",
        """\
[engine]
name = 'a
""",
        "run.toml:3: the text has no closing quote",
    ),
    bad(
        "multi_line_text_not_closed",
        '[engine]\nname = """a\n\n',
        "run.toml:4: the text has no closing quote",
    ),
    bad(
        "list_not_closed",
        """\
[engine]
packs = ["host"
""",
        "run.toml:3: the list has no closing ]",
    ),
    bad(
        "inline_table_over_lines",
        """\
[engine]
external_labels = { a = "b",
 c = "d" }
""",
        "run.toml:2: a key is expected, column 29 (an inline table stands on one line)",
    ),
    bad(
        "header_not_closed",
        """\
[engine
name = "a"
""",
        "run.toml:1: the header has no closing ], column 8",
    ),
    bad(
        "no_equals_sign",
        """\
[engine]
name "a"
""",
        "run.toml:2: a key is followed by = and a value, column 6",
    ),
    bad(
        "yaml",
        """\
engine:
  name: a
""",
        "run.toml:1: a key is followed by = and a value, column 7",
    ),
    bad(
        "json",
        """\
{"engine": {"name": "a"}}
""",
        "run.toml:1: neither a [table] nor key = value, column 1",
    ),
    bad(
        "bad_escape",
        '[engine]\nstate_dir = "C:\\dir"\n',
        "run.toml:2: not an escape sequence, column 18 (write \\\\ or put the text in single quotes)",
    ),
    bad(
        "control_character",
        '[engine]\nname = "a\x07b"\n',
        "run.toml:2: a control character, column 10 (write it as \\uXXXX in double quotes)",
    ),
    bad(
        "nul_byte",
        "\x00\x00\x00",
        "run.toml:1: neither a [table] nor key = value, column 1",
    ),
    bad(
        "lone_carriage_return",
        '[engine]\rname = "a"\r',
        'run.toml:1: not a TOML value, column 9 (text and durations are quoted: "5s")',
    ),
    bad(
        "deep_nesting",
        "[engine]\npacks = " + "[" * 40 + "]" * 40,
        "run.toml:2: values are nested more than 32 deep",
    ),
    bad(
        "key_of_many_parts",
        """\
[engine]
a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a = 1
""",
        "run.toml:2: a key has at most 16 parts, not 50",
    ),
    bad(
        "number_too_long",
        "[engine]\nseries_max = " + "9" * 5000 + "\n",
        "run.toml:2: a number has too many digits",
    ),
    bad(
        "half_written",
        '[engine]\nname = "a"\n[probe.demo]\nurl =',
        'run.toml:4: not a TOML value, column 6 (text and durations are quoted: "5s")',
    ),
    bad(
        "unknown_table",
        """\
[probes.demo]
url = "http://h/"
[sink.screen]
""",
        'run.toml:1: probes: unknown table (did you mean "probe"?)',
    ),
    bad(
        "unknown_table_far_from_any",
        """\
[zzz]
[sink.screen]
""",
        "run.toml:1: zzz: unknown table (tables are [engine], [probe.NAME], [pack.NAME], [rule.NAME], [sink.NAME], [http] and [heartbeat.NAME])",
    ),
    bad(
        "table_of_later",
        """\
[route]
[sink.screen]
""",
        "run.toml:1: route: unknown table (this version does not have it yet)",
    ),
    bad(
        "key_outside_tables",
        """\
name = "a"
foo = 1
[sink.screen]
""",
        "run.toml:1: name: a key outside of any table (put it under [engine])",
        "run.toml:2: foo: a key outside of any table (tables are [engine], [probe.NAME], [pack.NAME], [rule.NAME], [sink.NAME], [http] and [heartbeat.NAME])",
    ),
    bad(
        "engine_is_no_table",
        """\
engine = 5
[sink.screen]
""",
        "run.toml:1: engine: expected a table [engine]",
    ),
    bad(
        "probe_is_no_table",
        """\
probe = "demo"
[sink.screen]
""",
        "run.toml:1: probe: expected tables [probe.NAME]",
    ),
    bad(
        "probes_without_names",
        """\
[probe]
url = "http://h/"
[sink.screen]
""",
        "run.toml:2: probe.url: expected a table [probe.NAME]",
    ),
    bad(
        "probe_as_array_of_tables",
        """\
[[probe.demo]]
url = "http://h/"
[sink.screen]
""",
        "run.toml:1: probe.demo: expected a table [probe.NAME] (one pair of brackets, not two)",
    ),
    bad(
        "engine_unknown_key",
        """\
[engine]
nmae = "a"
[sink.screen]
""",
        'run.toml:2: engine.nmae: unknown key (did you mean "name"?)',
    ),
    bad(
        "engine_unknown_key_far_from_any",
        """\
[engine]
xyz = 1
[sink.screen]
""",
        "run.toml:2: engine.xyz: unknown key (known: name, timezone, external_labels, rule_files, packs, state_dir, resolution, queue_samples_max, queue_policy, series_max, batch_samples_max, alerts_per_rule_max, ...)",
    ),
    bad(
        "engine_name",
        """\
[engine]
name = "a b"
[sink.screen]
""",
        'run.toml:2: engine.name: "a b" is not a name (1 to 64 letters, digits, dots, _ and -)',
    ),
    bad(
        "engine_name_empty",
        """\
[engine]
name = ""
[sink.screen]
""",
        'run.toml:2: engine.name: "" is not a name (1 to 64 letters, digits, dots, _ and -)',
    ),
    bad(
        "engine_name_is_a_path",
        """\
[engine]
name = "../x"
[sink.screen]
""",
        'run.toml:2: engine.name: "../x" is not a name (1 to 64 letters, digits, dots, _ and -)',
    ),
    bad(
        "engine_name_is_dots",
        """\
[engine]
name = ".."
[sink.screen]
""",
        'run.toml:2: engine.name: ".." is not a name (1 to 64 letters, digits, dots, _ and -)',
    ),
    bad(
        "engine_name_is_a_number",
        """\
[engine]
name = 1
[sink.screen]
""",
        'run.toml:2: engine.name: expected text, got 1 (write "1")',
    ),
    bad(
        "timezone",
        """\
[engine]
timezone = "Europe/Berln"
[sink.screen]
""",
        'run.toml:2: engine.timezone: there is no time zone "Europe/Berln" (did you mean "Europe/Berlin"?)',
    ),
    bad(
        "timezone_is_a_folder",
        """\
[engine]
timezone = "Europe"
[sink.screen]
""",
        'run.toml:2: engine.timezone: there is no time zone "Europe" (did you mean "Europe/Rome"?)',
    ),
    bad(
        "timezone_is_a_path",
        """\
[engine]
timezone = "../../etc/passwd"
[sink.screen]
""",
        'run.toml:2: engine.timezone: there is no time zone "../../etc/passwd" (write a name such as "Europe/Berlin")',
    ),
    bad(
        "zero",
        """\
[engine]
queue_samples_max = 0
[sink.screen]
""",
        "run.toml:2: engine.queue_samples_max: must be at least 1, not 0",
    ),
    bad(
        "negative",
        """\
[engine]
series_max = -1
[sink.screen]
""",
        "run.toml:2: engine.series_max: must be at least 1, not -1",
    ),
    bad(
        "huge",
        """\
[engine]
probe_threads_max = 1000000
[sink.screen]
""",
        "run.toml:2: engine.probe_threads_max: must be at most 1000, not 1000000",
    ),
    bad(
        "beyond_64_bits",
        """\
[engine]
series_max = 0xffffffffffffffffffff
[sink.screen]
""",
        "run.toml:2: engine.series_max: expected a whole number, got a number beyond 64 bits",
    ),
    bad(
        "far_beyond_64_bits",
        "[engine]\nseries_max = 0x" + "f" * 5000 + "\n[sink.screen]\n",
        "run.toml:2: engine.series_max: expected a whole number, got a number beyond 64 bits",
    ),
    bad(
        "float_for_whole_number",
        """\
[engine]
series_max = 1.0
[sink.screen]
""",
        "run.toml:2: engine.series_max: expected a whole number, got 1.0",
    ),
    bad(
        "text_for_whole_number",
        """\
[engine]
series_max = "100"
[sink.screen]
""",
        'run.toml:2: engine.series_max: expected a whole number, got "100" (write it without quotes)',
    ),
    bad(
        "bool_for_whole_number",
        """\
[engine]
series_max = true
[sink.screen]
""",
        "run.toml:2: engine.series_max: expected a whole number, got true",
    ),
    bad(
        "nan_for_whole_number",
        """\
[engine]
series_max = nan
[sink.screen]
""",
        "run.toml:2: engine.series_max: expected a whole number, got nan",
    ),
    bad(
        "date_for_text",
        """\
[engine]
name = 2026-01-01
[sink.screen]
""",
        "run.toml:2: engine.name: expected text, got a date or time",
    ),
    bad(
        "not_one_of_the_words",
        """\
[engine]
queue_policy = "drop_old"
[sink.screen]
""",
        'run.toml:2: engine.queue_policy: expected "block", "drop_newest" or "drop_oldest", got "drop_old" (did you mean "drop_oldest"?)',
    ),
    bad(
        "number_for_a_word",
        """\
[engine]
queue_policy = 1
[sink.screen]
""",
        'run.toml:2: engine.queue_policy: expected "block", "drop_newest" or "drop_oldest", got 1',
    ),
    bad(
        "duration_out_of_bounds",
        """\
[engine]
resolution = "1ms"
slice = "1h"
[sink.screen]
""",
        "run.toml:2: engine.resolution: must be at least 100ms, not 1ms",
        "run.toml:3: engine.slice: must be at most 1s, not 1h",
    ),
    bad(
        "text_for_list",
        """\
[engine]
packs = "host"
[sink.screen]
""",
        'run.toml:2: engine.packs: expected a list, got "host" (write [...] around it)',
    ),
    bad(
        "unknown_pack",
        """\
[engine]
packs = ["hots", "host"]
[sink.screen]
""",
        'run.toml:2: engine.packs[0]: there is no pack "hots" (did you mean "host"?)',
    ),
    bad(
        "rule_files",
        """\
[engine]
rule_files = ["none.yml"]
[sink.screen]
""",
        "none.yml: there is no such rule file",
    ),
    bad(
        "label_name",
        """\
[engine]
external_labels = { "data-center" = "x" }
[sink.screen]
""",
        "run.toml:2: engine.external_labels.data-center: not a label name (write data_center)",
    ),
    bad(
        "label_name_reserved",
        """\
[engine.external_labels]
__name__ = "x"
[sink.screen]
""",
        "run.toml:2: engine.external_labels.__name__: label names that start with __ are reserved",
    ),
    bad(
        "label_name_unusable",
        """\
[engine.external_labels]
"é" = "x"
[sink.screen]
""",
        'run.toml:2: engine.external_labels."é": not a label name (a label name has letters, digits and _)',
    ),
    bad(
        "label_value_number",
        """\
[engine.external_labels]
port = 80
[sink.screen]
""",
        'run.toml:2: engine.external_labels.port: expected text, got 80 (write "80")',
    ),
    bad(
        "label_value_too_long",
        '[engine.external_labels]\na = "' + "x" * 1025 + '"\n[sink.screen]\n',
        "run.toml:2: engine.external_labels.a: has at most 1024 characters, not 1025",
    ),
    bad(
        "label_name_too_long",
        """\
[engine.external_labels]
xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx = "a"
[sink.screen]
""",
        "run.toml:2: engine.external_labels.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx: a label name has at most 128 characters",
    ),
    bad(
        "too_many_labels",
        "[engine.external_labels]\n" + "".join(f'l{i} = "a"\n' for i in range(65)) + "[sink.screen]\n",
        "run.toml:1: engine.external_labels: at most 64 labels, not 65",
    ),
    bad(
        "empty_path",
        """\
[engine]
state_dir = ""
[sink.screen]
""",
        'run.toml:2: engine.state_dir: expected a path, got ""',
    ),
    bad(
        "probe_unknown_key",
        """\
[probe.demo]
url = "http://h/"
metod = "GET"
[sink.screen]
""",
        'run.toml:3: probe.demo.metod: unknown key (did you mean "method"?)',
    ),
    bad(
        "probe_missing_key",
        """\
# nothing
[probe.demo]
[sink.screen]
""",
        "run.toml:2: probe.demo.url: is missing; expected text",
    ),
    bad(
        "probe_type_unknown",
        """\
[probe.x]
type = "dmo"
interval = "5"
[sink.screen]
""",
        'run.toml:2: probe.x.type: there is no probe of type "dmo" (did you mean "demo"?)',
        'run.toml:3: probe.x.interval: "5" has no unit (write "5s", "5m" or "5h")',
    ),
    bad(
        "probe_type_from_table_name",
        """\
[probe.health]
url = "http://h/"
[sink.screen]
""",
        'run.toml:1: probe.health: there is no probe of type "health" (add type = "...", known: demo, plain, clashing, hollow, odd, unreadable, gone, mute)',
    ),
    bad(
        "probe_type_empty",
        """\
[probe.x]
type = ""
[sink.screen]
""",
        'run.toml:2: probe.x.type: there is no probe of type "" (known: demo, plain, clashing, hollow, odd, unreadable, gone, mute)',
    ),
    bad(
        "probe_type_is_a_sink",
        """\
[probe.screen]
[sink.screen]
""",
        'run.toml:1: probe.screen: there is no probe of type "screen" (add type = "...", known: demo, plain, clashing, hollow, odd, unreadable, gone, mute)',
    ),
    bad(
        "probe_type_is_no_text",
        """\
[probe.x]
type = ["demo"]
[sink.screen]
""",
        "run.toml:2: probe.x.type: expected text, got a list",
    ),
    bad(
        "probe_type_without_code",
        """\
[probe.gone]
[sink.screen]
""",
        'run.toml:1: probe.gone: probe type "gone" can\'t be loaded: there is no module no_such_module_here (install it)',
    ),
    bad(
        "probe_type_without_options",
        """\
[probe.hollow]
[sink.screen]
""",
        'run.toml:1: probe.hollow: probe type "hollow" has no DEFAULT_INTERVAL and no DEFAULT_TIMEOUT and no Options of the type engine.ports.Options and no open() and no collect() and no close() (this is a fault of its author\'s)',
    ),
    bad(
        "probe_type_that_is_no_probe",
        """\
[sink.screen]
[probe.mute]
""",
        'run.toml:2: probe.mute: probe type "mute" has no collect() (this is a fault of its author\'s)',
    ),
    bad(
        "sink_type_that_is_no_sink",
        """\
[sink.x]
type = "idle"
""",
        'run.toml:2: sink.x.type: sink type "idle" has neither write() and WANTS = frozenset({"transitions"}), to record, nor render() and deliver(), to tell people (this is a fault of its author\'s)',
    ),
    bad(
        "sink_type_that_is_half_a_sink",
        """\
[sink.wantless]
""",
        'run.toml:1: sink.wantless: sink type "wantless" has write() but no WANTS, the kinds of records it takes, such as WANTS = frozenset({"transitions"}) and render() but no deliver() (this is a fault of its author\'s)',
    ),
    bad(
        "probe_type_with_unreadable_options",
        """\
[probe.unreadable]
[sink.screen]
""",
        'run.toml:1: probe.unreadable: probe type "unreadable" has no Options of the type engine.ports.Options (this is a fault of its author\'s)',
    ),
    bad(
        "probe_type_with_odd_option",
        """\
[probe.odd]
data = "x"
[sink.screen]
""",
        "run.toml:2: probe.odd.data: is of a type that can't be configured (this is a fault of its author's)",
    ),
    bad(
        "probe_type_redefines_a_key",
        """\
[probe.clashing]
[sink.screen]
""",
        'run.toml:1: probe.clashing: probe type "clashing" has an option interval, which every probe has already (this is a fault of its author\'s)',
    ),
    bad(
        "probe_name",
        """\
[probe."my probe"]
type = "demo"
[probe.9]
[probe.""]
[sink.screen]
""",
        'run.toml:1: probe."my probe": not a name (a name has letters, digits, _ and -, and starts with a letter or _)',
        "run.toml:3: probe.9: not a name (a name has letters, digits, _ and -, and starts with a letter or _)",
        'run.toml:4: probe."": not a name (a name has letters, digits, _ and -, and starts with a letter or _)',
    ),
    bad(
        "probe_name_too_long",
        """\
[probe.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]
[sink.screen]
""",
        "run.toml:1: probe.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: a name has at most 64 characters, not 65",
    ),
    bad(
        "duration_without_unit",
        """\
[probe.demo]
url = "http://h/"
interval = "5"
[sink.screen]
""",
        'run.toml:3: probe.demo.interval: "5" has no unit (write "5s", "5m" or "5h")',
    ),
    bad(
        "duration_as_number",
        """\
[probe.demo]
url = "http://h/"
interval = 5
[sink.screen]
""",
        'run.toml:3: probe.demo.interval: expected a duration such as "5m", got 5 (write "5s", "5m" or "5h")',
    ),
    bad(
        "duration_as_float",
        """\
[probe.demo]
url = "http://h/"
interval = 0.5
[sink.screen]
""",
        'run.toml:3: probe.demo.interval: expected a duration such as "5m", got 0.5',
    ),
    bad(
        "duration_wrong_unit",
        """\
[probe.demo]
url = "http://h/"
interval = "5 minutes"
[sink.screen]
""",
        'run.toml:3: probe.demo.interval: "5 minutes" is not a duration (write one like "15s", "5m" or "1h30m")',
    ),
    bad(
        "duration_wrong_order",
        """\
[probe.demo]
url = "http://h/"
interval = "1s5m"
[sink.screen]
""",
        'run.toml:3: probe.demo.interval: "1s5m" is not a duration (write one like "15s", "5m" or "1h30m")',
    ),
    bad(
        "duration_negative",
        """\
[probe.demo]
url = "http://h/"
interval = "-5s"
[sink.screen]
""",
        'run.toml:3: probe.demo.interval: "-5s" is not a duration (write one like "15s", "5m" or "1h30m")',
    ),
    bad(
        "duration_zero",
        """\
[probe.demo]
url = "http://h/"
interval = "0s"
[sink.screen]
""",
        "run.toml:3: probe.demo.interval: must be at least 100ms, not 0s",
    ),
    bad(
        "duration_empty",
        """\
[probe.demo]
url = "http://h/"
interval = ""
[sink.screen]
""",
        'run.toml:3: probe.demo.interval: "" is not a duration (write one like "15s", "5m" or "1h30m")',
    ),
    bad(
        "duration_huge",
        """\
[probe.demo]
url = "http://h/"
interval = "99999999999999999999d"
[sink.screen]
""",
        'run.toml:3: probe.demo.interval: "99999999999999999999d" is longer than 100 years',
    ),
    bad(
        "duration_too_long_here",
        """\
[probe.demo]
url = "http://h/"
interval = "2d"
[sink.screen]
""",
        "run.toml:3: probe.demo.interval: must be at most 1d, not 2d",
    ),
    bad(
        "timeout_longer_than_interval",
        """\
[probe.demo]
url = "http://h/"
interval = "5s"
timeout = "6s"
[sink.screen]
""",
        "run.toml:4: probe.demo.timeout: must not be longer than the interval of 5s (lower it or raise the interval)",
    ),
    bad(
        "timeout_longer_than_default_interval",
        """\
[probe.demo]
url = "http://h/"
timeout = "1m"
[sink.screen]
""",
        "run.toml:3: probe.demo.timeout: must not be longer than the interval of 30s (lower it or raise the interval)",
    ),
    bad(
        "word_in_wrong_case",
        """\
[probe.demo]
url = "http://h/"
method = "get"
[sink.screen]
""",
        'run.toml:3: probe.demo.method: expected "GET" or "HEAD", got "get" (did you mean "GET"?)',
    ),
    bad(
        "number_too_large",
        """\
[probe.demo]
url = "http://h/"
retries = 11
[sink.screen]
""",
        "run.toml:3: probe.demo.retries: must be at most 10, not 11",
    ),
    bad(
        "number_not_inside",
        """\
[probe.demo]
url = "http://h/"
ratio = 1
[sink.screen]
""",
        "run.toml:3: probe.demo.ratio: must be less than 1, not 1.0",
    ),
    bad(
        "nan",
        """\
[probe.demo]
url = "http://h/"
ratio = nan
[sink.screen]
""",
        "run.toml:3: probe.demo.ratio: expected a finite number, got nan",
    ),
    bad(
        "infinity",
        """\
[probe.demo]
url = "http://h/"
ratio = inf
[sink.screen]
""",
        "run.toml:3: probe.demo.ratio: expected a finite number, got inf",
    ),
    bad(
        "float_overflow",
        """\
[probe.demo]
url = "http://h/"
ratio = 1e400
[sink.screen]
""",
        "run.toml:3: probe.demo.ratio: expected a finite number, got inf",
    ),
    bad(
        "text_for_number",
        """\
[probe.demo]
url = "http://h/"
ratio = "0.5"
[sink.screen]
""",
        'run.toml:3: probe.demo.ratio: expected a number, got "0.5" (write it without quotes)',
    ),
    bad(
        "text_for_bool",
        """\
[probe.demo]
url = "http://h/"
verify = "true"
[sink.screen]
""",
        'run.toml:3: probe.demo.verify: expected true or false, got "true" (write it without quotes)',
    ),
    bad(
        "number_for_bool",
        """\
[probe.demo]
url = "http://h/"
verify = 1
[sink.screen]
""",
        "run.toml:3: probe.demo.verify: expected true or false, got 1",
    ),
    bad(
        "list_item",
        """\
[probe.demo]
url = "http://h/"
statuses = [200,
  "204",
  301.5]
[sink.screen]
""",
        'run.toml:4: probe.demo.statuses[1]: expected a whole number, got "204" (write it without quotes)',
        "run.toml:5: probe.demo.statuses[2]: expected a whole number, got 301.5",
    ),
    bad(
        "neither_of_two_types",
        """\
[probe.demo]
url = "http://h/"
either = "1"
[sink.screen]
""",
        'run.toml:3: probe.demo.either: expected a whole number or a list, got "1"',
    ),
    bad(
        "table_in_table",
        """\
[probe.demo]
url = "http://h/"
limits = { body_bytes_max = 0, bdy = 1 }
[sink.screen]
""",
        "run.toml:3: probe.demo.limits.body_bytes_max: must be at least 1, not 0",
        "run.toml:3: probe.demo.limits.bdy: unknown key (known: body_bytes_max)",
    ),
    bad(
        "table_in_table_no_table",
        """\
[probe.demo]
url = "http://h/"
limits = 5
[sink.screen]
""",
        "run.toml:3: probe.demo.limits: expected a table, got 5",
    ),
    bad(
        "pattern",
        """\
[probe.demo]
url = "http://h/"
code = "ABC"
[sink.screen]
""",
        'run.toml:3: probe.demo.code: expected text that matches ^[a-z]+$, got "ABC"',
    ),
    bad(
        "text_too_long",
        """\
[probe.demo]
url = "http://h/"
code = "abcdef"
[sink.screen]
""",
        "run.toml:3: probe.demo.code: must have at most 5 characters, not 6",
    ),
    bad(
        "text_empty",
        """\
[probe.demo]
url = "http://h/"
code = ""
[sink.screen]
""",
        "run.toml:3: probe.demo.code: must not be empty",
    ),
    bad(
        "struct_check_names_key",
        """\
[probe.demo]
url = "host"
[sink.screen]
""",
        "run.toml:2: probe.demo.url: host has no scheme (write one like http://127.0.0.1/)",
    ),
    bad(
        "struct_check_backticks",
        """\
[probe.demo]
url = "http://h/"
method = "HEAD"
statuses = [200]
[sink.screen]
""",
        "run.toml:4: probe.demo.statuses: `statuses` are of no use with HEAD",
    ),
    bad(
        "struct_check_table",
        """\
[probe.demo]
url = "http://h/"
retries = 7
[sink.screen]
""",
        "run.toml:1: probe.demo: seven is not liked here",
    ),
    bad(
        "secret_as_number",
        """\
[probe.demo]
url = "http://h/"
token = 12345678
[sink.screen]
""",
        "run.toml:3: probe.demo.token: expected text, got a number",
    ),
    bad(
        "secret_empty",
        """\
[probe.demo]
url = "http://h/"
token = ""
[sink.screen]
""",
        "run.toml:3: probe.demo.token: a secret must not be empty",
    ),
    bad(
        "secret_in_dict_as_list",
        """\
[probe.demo]
url = "http://h/"
headers = { Authorization = ["Bearer hunter22"] }
[sink.screen]
""",
        "run.toml:3: probe.demo.headers.Authorization: expected text, got a list",
    ),
    bad(
        "secret_twice",
        """\
[probe.demo]
url = "http://h/"
token = "hunter22"
token_file = "t"
[sink.screen]
""",
        "run.toml:4: probe.demo.token_file: token is given, too (keep one of them)",
    ),
    bad(
        "secret_file_missing",
        """\
[probe.demo]
url = "http://h/"
token_file = "no/such/file"
[sink.screen]
""",
        "run.toml:3: probe.demo.token_file: can't read the secret's file: there is no such file",
    ),
    bad(
        "file_for_no_secret",
        """\
[probe.demo]
url = "http://h/"
code_file = "x"
[sink.screen]
""",
        'run.toml:3: probe.demo.code_file: unknown key (did you mean "file"?)',
    ),
    bad(
        "variable_not_set",
        """\
[probe.demo]
url = "http://h/"
token = "${NOT_SET}"
[sink.screen]
""",
        "run.toml:3: probe.demo.token: the environment variable NOT_SET is not set (export NOT_SET=... or use token_file)",
    ),
    bad(
        "variable_misspelt",
        """\
[probe.demo]
url = "http://h/"
token = "${TOKN}"
[sink.screen]
""",
        'run.toml:3: probe.demo.token: the environment variable TOKN is not set (did you mean "TOKEN"? or use token_file)',
    ),
    bad(
        "variable_empty",
        """\
[probe.demo]
url = "http://h/"
token = "${EMPTY}"
[sink.screen]
""",
        "run.toml:3: probe.demo.token: a secret must not be empty (the environment variable EMPTY is)",
    ),
    bad(
        "variable_name",
        """\
[probe.demo]
url = "http://h/"
token = "${1x}"
[sink.screen]
""",
        "run.toml:3: probe.demo.token: ${ is not followed by a variable's name and } (write ${NAME}, or $${ for a literal ${)",
    ),
    bad(
        "variable_not_closed",
        """\
[probe.demo]
url = "http://h/"
token = "${TOKEN"
[sink.screen]
""",
        "run.toml:3: probe.demo.token: ${ is not followed by a variable's name and } (write ${NAME}, or $${ for a literal ${)",
    ),
    bad(
        "variable_not_utf8",
        """\
[probe.demo]
url = "http://h/"
token = "${BYTES}"
[sink.screen]
""",
        "run.toml:3: probe.demo.token: the environment variable BYTES is not valid UTF-8",
    ),
    bad(
        "variable_is_no_duration",
        """\
[probe.demo]
url = "http://h/"
interval = "${WORD}"
[sink.screen]
""",
        'run.toml:3: probe.demo.interval: expected a duration such as "5m", got the value of ${WORD}',
    ),
    bad(
        "variable_out_of_bounds",
        """\
[probe.demo]
url = "http://h/"
interval = "${SHORT}"
[sink.screen]
""",
        "run.toml:3: probe.demo.interval: must be at least 100ms",
    ),
    bad(
        "variable_is_no_word",
        """\
[probe.demo]
url = "http://h/"
method = "${WORD}"
[sink.screen]
""",
        'run.toml:3: probe.demo.method: expected "GET" or "HEAD", got the value of ${WORD}',
    ),
    bad(
        "variable_for_number",
        """\
[probe.demo]
url = "http://h/"
retries = "${SHORT}"
[sink.screen]
""",
        'run.toml:3: probe.demo.retries: expected a whole number, got "${SHORT}"',
    ),
    bad(
        "variable_refused_by_struct",
        """\
[probe.demo]
url = "${WORD}"
[sink.screen]
""",
        "run.toml:2: probe.demo.url: the value from the environment is not valid here",
    ),
    bad(
        "variable_is_no_type",
        """\
[probe.x]
type = "${WORD}"
[sink.screen]
""",
        "run.toml:2: probe.x.type: the value from the environment is no type of probe",
    ),
    bad(
        "variable_is_no_timezone",
        """\
[engine]
timezone = "${WORD}"
name = "${SPACED}"
packs = ["${WORD}"]
[sink.screen]
""",
        "run.toml:2: engine.timezone: the value from the environment is not a time zone",
        "run.toml:3: engine.name: not a name (1 to 64 letters, digits, dots, _ and -)",
        "run.toml:4: engine.packs[0]: there is no such pack (known: host, service)",
    ),
    bad(
        "rule_without_expr",
        """\
[rule.A]
for = "5m"
[sink.screen]
""",
        "run.toml:1: rule.A.expr: is missing; expected text",
    ),
    bad(
        "rule_not_promql",
        """\
[rule.A]
expr = "up >"
[sink.screen]
""",
        "run.toml:2: rule.A.expr: …",
    ),
    bad(
        "rule_refused_construct",
        """\
[rule.A]
expr = "histogram_count(x) > 1"
[sink.screen]
""",
        "run.toml:2: rule.A.expr: …",
    ),
    bad(
        "rule_expr_empty",
        """\
[rule.A]
expr = ""
[sink.screen]
""",
        "run.toml:2: rule.A.expr: …",
    ),
    bad(
        "rule_expr_number",
        """\
[rule.A]
expr = 5
[sink.screen]
""",
        'run.toml:2: rule.A.expr: expected text, got 5 (write "5")',
    ),
    bad(
        "rule_for_without_unit",
        """\
[rule.A]
expr = "up == 0"
for = "5"
[sink.screen]
""",
        'run.toml:3: rule.A.for: "5" has no unit (write "5s", "5m" or "5h")',
    ),
    bad(
        "rule_for_number",
        """\
[rule.A]
expr = "up == 0"
for = 300
[sink.screen]
""",
        'run.toml:3: rule.A.for: expected a duration such as "5m", got 300 (write "300s", "300m" or "300h")',
    ),
    bad(
        "rule_on_missing",
        """\
[rule.A]
expr = "up == 0"
on_missing = "hld"
[sink.screen]
""",
        'run.toml:3: rule.A.on_missing: expected "count", "fire", "hold" or "reset", got "hld" (did you mean "hold"?)',
    ),
    bad(
        "rule_hold_max_of_nothing",
        """\
[rule.A]
expr = "up == 0"
on_missing = "reset"
hold_max = "1h"
[rule.B]
expr = "up == 0"
on_missing = "count"
hold_max = "1h"
[sink.screen]
""",
        'run.toml:4: rule.A.hold_max: has no meaning with on_missing = "reset", which holds nothing (leave out hold_max, or on_missing)',
    ),
    bad(
        "rule_hold_max_zero",
        """\
[rule.A]
expr = "up == 0"
hold_max = "0s"
[sink.screen]
""",
        "run.toml:3: rule.A.hold_max: must be at least 1s, not 0s",
    ),
    bad(
        "rule_key_of_later",
        """\
[rule.A]
expr = "up == 0"
mode = "grid"
[sink.screen]
""",
        "run.toml:3: rule.A.mode: unknown key (leave it out: a rule of run.toml is judged at every sample; for one on a grid, write a rule file and name it in rule_files of [engine])",
    ),
    bad(
        "restart",
        """\
[engine]
on_restart = "stop"
outage_tolerance = "1x"
[rule.A]
expr = "up == 0"
on_restart = "counts"
outage_tolerance = 60
[sink.screen]
""",
        'run.toml:2: engine.on_restart: expected "count", "pause" or "reset", got "stop"',
        'run.toml:3: engine.outage_tolerance: "1x" is not a duration (write one like "15s", "5m" or "1h30m")',
        'run.toml:6: rule.A.on_restart: expected "count", "pause" or "reset", got "counts" (did you mean "count"?)',
        'run.toml:7: rule.A.outage_tolerance: expected a duration such as "5m", got 60 (write "60s", "60m" or "60h")',
    ),
    bad(
        "restart_of_a_recording_rule",
        """\
[rule.A]
expr = "cpu"
record = "a:cpu"
on_restart = "count"
[sink.screen]
""",
        "run.toml:4: rule.A.on_restart: a recording rule gives no alerts, so it has no on_restart (leave out on_restart; or leave out record, and it alerts)",
    ),
    bad(
        "rule_when_is_no_comparison",
        """\
[rule.A]
expr = "cpu"
when = "80"
clear = "below 75"
[rule.B]
expr = "cpu"
levels = [
  { severity = "warning", when = "> 80" },
  { severity = "critical", when = "> ninety", clear = "" },
]
[rule.C]
expr = "cpu"
when = 80
[sink.screen]
""",
        'run.toml:3: rule.A.when: "80" is not a comparison with a number, such as "> 80"',
        'run.toml:4: rule.A.clear: "below 75" is not a comparison with a number, such as "> 80"',
        'run.toml:9: rule.B.levels[1].when: "> ninety" is not a comparison with a number, such as "> 80"',
        'run.toml:9: rule.B.levels[1].clear: "" is not a comparison with a number, such as "> 80"',
        'run.toml:13: rule.C.when: expected text, got 80 (write "80")',
    ),
    bad(
        "rule_compares_twice",
        """\
[rule.A]
expr = "cpu > 90"
when = "> 80"
[rule.B]
expr = "90 < cpu"
clear = "< 75"
levels = [{ severity = "warning" }]
[sink.screen]
""",
        "run.toml:2: rule.A.expr: the expression compares already, so the rule has no when (leave the comparison out of expr and write it as when)",
        "run.toml:5: rule.B.expr: the expression compares already, so the rule has no clear, levels (leave the comparison out of expr and write it as when)",
    ),
    bad(
        "rule_levels_shape",
        """\
[rule.A]
expr = "cpu"
levels = []
[rule.B]
expr = "cpu"
levels = [{ when = "> 80", whne = "> 70" }, "critical", { severity = "", for = "5" }]
[rule.C]
expr = "cpu"
levels = { severity = "warning" }
[rule.D]
expr = "cpu"
when = "> 1"
levels = [{severity="a"},{severity="b"},{severity="c"},{severity="d"},{severity="e"},{severity="f"},{severity="g"},{severity="h"}]
[sink.screen]
""",
        'run.toml:3: rule.A.levels: is empty (write levels = [{ severity = "warning", when = "> 80" }])',
        'run.toml:6: rule.B.levels[0].whne: unknown key (did you mean "when"?)',
        'run.toml:6: rule.B.levels[0].severity: is missing; expected text (write severity = "warning")',
        'run.toml:6: rule.B.levels[1]: expected a table, got "critical"',
        "run.toml:6: rule.B.levels[2].severity: must not be empty",
        'run.toml:6: rule.B.levels[2].for: "5" has no unit (write "5s", "5m" or "5h")',
        "run.toml:9: rule.C.levels: expected a list, got a table",
        "run.toml:13: rule.D.levels: at most 7 levels, not 8",
    ),
    bad(
        "rule_levels_contradict",
        """\
[rule.A]
expr = "cpu"
levels = [
  { severity = "critical", when = "> 90" },
  { severity = "warning", when = "> 80" },
]
[rule.B]
expr = "cpu"
when = "> 80"
levels = [{ severity = "warning" }, { severity = "warning", for = "5m" }]
[rule.C]
expr = "cpu"
levels = [{ severity = "warning", when = "> 80", clear = "< 85" }]
[rule.D]
expr = "cpu"
clear = "< 85"
levels = [{ severity = "warning", when = "> 80" }, { severity = "critical" }]
[rule.E]
expr = "cpu"
clear = "< 75"
[rule.F]
expr = "cpu"
levels = [{ severity = "warning", when = "> 80" }, { severity = "critical" }]
[sink.screen]
""",
        'run.toml:5: rule.A.levels[1].when: "warning" (> 80) can hold where "critical" (> 90) does not (list levels lowest first)',
        'run.toml:10: rule.B.levels[1].severity: a level before it has the severity "warning", too (give each level a word of its own)',
        'run.toml:13: rule.C.levels[0].clear: clear "< 85" holds where when "> 80" does, so the level would flap (leave room between them, as in when = "> 80", clear = "< 75")',
        'run.toml:16: rule.D.clear: clear "< 85" holds where when "> 80" does, so the level would flap (leave room between them, as in when = "> 80", clear = "< 75")',
        'run.toml:16: rule.D.clear: clears a level without a when (add when = "> 80")',
        'run.toml:20: rule.E.clear: clears a level without a when (add when = "> 80")',
        'run.toml:23: rule.F.levels[1]: has no when, so it can hold where "warning" (> 80) does not (give it a when, or the rule one)',
    ),
    bad(
        "rule_levels_with_a_severity_of_their_own",
        """\
[rule.A]
expr = "cpu"
levels = [{ severity = "warning", when = "> 80" }]
labels = { severity = "critical", team = "web" }
[sink.screen]
""",
        "run.toml:4: rule.A.labels.severity: the label severity is that of the level and can't be set (leave it out of labels)",
    ),
    bad(
        "rule_of",
        """\
[rule.A]
expr = "cpu > 90"
for = "5m"
of = 90
[rule.B]
expr = "cpu > 90"
of = 0.9
[rule.C]
expr = "cpu > 90"
for = "5m"
of = 0
[rule.D]
expr = "cpu"
when = "> 80"
of = 0.9
levels = [{ severity = "warning" }, { severity = "critical", for = "5m" }]
[sink.screen]
""",
        "run.toml:4: rule.A.of: must be at most 1, not 90.0",
        'run.toml:7: rule.B.of: is a part of for, and that is 0s (add for = "5m")',
        "run.toml:11: rule.C.of: must be more than 0, not 0.0",
        "run.toml:15: rule.D.of: is a part of for, and that of levels[0] is 0s (give each level a for)",
    ),
    bad(
        "rule_missing_for",
        """\
[rule.A]
expr = "cpu > 90"
missing_for = "5m"
[rule.B]
expr = "cpu > 90"
on_missing = "count"
missing_for = "5m"
[rule.C]
expr = "cpu > 90"
on_missing = "fire"
missing_for = "2h"
hold_max = "1h"
[sink.screen]
""",
        'run.toml:3: rule.A.missing_for: has no meaning with on_missing = "hold" (write on_missing = "fire", or leave out missing_for)',
        'run.toml:7: rule.B.missing_for: has no meaning with on_missing = "count" (write on_missing = "fire", or leave out missing_for)',
        "run.toml:11: rule.C.missing_for: is not shorter than hold_max, so the alert would be lost before it fires (shorten it, or raise hold_max)",
    ),
    bad(
        "rule_levels_and_record",
        """\
[rule.A]
expr = "cpu"
record = "a:cpu"
when = "> 80"
of = 0.9
missing_for = "5m"
[sink.screen]
""",
        "run.toml:4: rule.A.when: a recording rule gives no alerts, so it has no when, of, missing_for (leave out when, of, missing_for; or leave out record, and it alerts)",
    ),
    bad(
        "rule_levels_from_the_environment",
        """\
[rule.A]
expr = "cpu"
when = "${WORD}"
[rule.B]
expr = "cpu"
clear = "< 1"
levels = [{ severity = "${SPACED}", when = "> ${WORD}" }, { severity = "${SPACED}", when = "> 2" }]
[sink.screen]
""",
        "run.toml:3: rule.A.when: not valid, with the values from the environment put in",
        "run.toml:7: rule.B.levels[0].when: not valid, with the values from the environment put in",
        "run.toml:7: rule.B.levels[1].severity: not valid, with the values from the environment put in",
    ),
    bad(
        "rule_key_misplaced",
        """\
[rule.A]
expr = "up == 0"
severity = "critical"
summary = "x"
query = "x"
[sink.screen]
""",
        'run.toml:3: rule.A.severity: unknown key (write labels = { severity = "..." })',
        'run.toml:4: rule.A.summary: unknown key (write annotations = { summary = "..." })',
        'run.toml:5: rule.A.query: unknown key (did you mean "expr"?)',
    ),
    bad(
        "rule_label_alertname",
        """\
[rule.A]
expr = "up == 0"
labels = { alertname = "B" }
[sink.screen]
""",
        "run.toml:3: rule.A.labels.alertname: alertname is the rule's name and can't be set (rename the table)",
    ),
    bad(
        "rule_label_number",
        """\
[rule.A]
expr = "up == 0"
labels = { tier = 1, ok = "x", "a.b" = "c" }
[sink.screen]
""",
        'run.toml:3: rule.A.labels.tier: expected text, got 1 (write "1")',
        'run.toml:3: rule.A.labels."a.b": not a label name (write a_b)',
    ),
    bad(
        "rule_template",
        """\
[rule.A]
expr = "up == 0"
[rule.A.annotations]
summary = "{{ $labls.x }}"
other = "{{ if }}"
[sink.screen]
""",
        "run.toml:4: rule.A.annotations.summary: …",
        "run.toml:5: rule.A.annotations.other: …",
    ),
    bad(
        "rule_template_too_long",
        '[rule.A]\nexpr = "up == 0"\n[rule.A.annotations]\nsummary = "' + "x" * 16385 + '"\n',
        "run.toml:4: rule.A.annotations.summary: has at most 16384 characters, not 16385",
    ),
    bad(
        "rule_from_variable",
        """\
[rule.A]
expr = "${WORD} >"
[rule.A.annotations]
a = "{{ ${WORD} | nope }}"
[sink.screen]
""",
        "run.toml:2: rule.A.expr: not an expression, with the values from the environment put in",
        "run.toml:4: rule.A.annotations.a: not a template, with the values from the environment put in",
    ),
    bad(
        "rule_pack_override",
        """\
[engine]
packs = ["host"]
[rule.HostCpuHigh]
fro = "1m"
expr = "host_cpu_percent >"
[sink.screen]
""",
        'run.toml:4: rule.HostCpuHigh.fro: unknown key (did you mean "for"?)',
        "run.toml:5: rule.HostCpuHigh.expr: …",
    ),
    bad(
        "sink_missing_secret",
        """\
[sink.push]
""",
        'run.toml:1: sink.push.url: is missing; expected text (write url = "${NAME}" or url_file = "path")',
    ),
    bad(
        "sink_type_unknown",
        """\
[sink.scren]
""",
        'run.toml:1: sink.scren: there is no sink of type "scren" (did you mean "screen"?)',
    ),
    bad(
        "sink_type_from_probe_key",
        """\
[sink.screen]
interval = "5s"
""",
        "run.toml:2: sink.screen.interval: unknown key (known: type, fallback, messages_per_minute)",
    ),
    bad(
        "messages_for_a_sink_that_takes_none",
        """\
[sink.screen]
fallback = "other"
messages_per_minute = 5
""",
        "run.toml:2: sink.screen.fallback: a screen sink takes no messages (leave it out)",
        "run.toml:3: sink.screen.messages_per_minute: a screen sink takes no messages (leave it out)",
    ),
    bad(
        "all_at_once_in_file_order",
        """\
[sink.push]
size = "5"
[engine]
name = "a b"
[rule.A]
for = 5
[probe.demo]
retries = -1

urll = "x"
[probes]
""",
        'run.toml:1: sink.push.url: is missing; expected text (write url = "${NAME}" or url_file = "path")',
        'run.toml:2: sink.push.size: expected a whole number, got "5" (write it without quotes)',
        'run.toml:4: engine.name: "a b" is not a name (1 to 64 letters, digits, dots, _ and -)',
        "run.toml:5: rule.A.expr: is missing; expected text",
        'run.toml:6: rule.A.for: expected a duration such as "5m", got 5 (write "5s", "5m" or "5h")',
        "run.toml:7: probe.demo.url: is missing; expected text",
        "run.toml:8: probe.demo.retries: must be at least 0, not -1",
        'run.toml:10: probe.demo.urll: unknown key (did you mean "url"?)',
        'run.toml:11: probes: unknown table (did you mean "probe"?)',
    ),
]
