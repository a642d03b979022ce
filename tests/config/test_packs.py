"""`[pack.service]`: every key with a good value, a bad one, and one that would like to be more than a value."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import load_text, schema
from engine.config.environment import expand
from engine.config.pack_service import ServicePack, service_texts
from engine.config.packs import PACK_KEYS, fill, pack_names, read_pack
from engine.core.promql.parse import parse
from engine.errors import ConfigError

PACK = "[engine]\npacks = ['service']\n[sink.console]\n[pack.service]\n"
METRIC = "expected a metric, or one with matchers"


def problems(text: str, *overrides: str, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_text(text, overrides=overrides, environ=environ or {})
    return [str(problem) for problem in caught.value.problems]


def expressions(text: str, *overrides: str, environ: dict[str, str] | None = None) -> dict[str, str]:
    config = load_text(text, overrides=overrides, environ=environ or {})
    return {rule.name: rule.table.expr for rule in config.rules}


# --- what is good ---------------------------------------------------------------------------------


def test_the_defaults() -> None:
    config = load_text("[engine]\npacks = ['service']\n[sink.console]\n")
    assert config.warnings == ()
    found = {rule.name: rule.table.expr for rule in config.rules}
    recorded = "service:request_rate_by_status:rate5m"
    by_status = found["ServiceRequestRateByStatus"]
    assert by_status == "sum by (job, service, status, code) (rate(http_requests_total[5m]))"
    assert f'({recorded}{{status=~"5.."}} or {recorded}{{code=~"5.."}})' in found["ServiceErrors"]
    assert found["ServiceDown"] == "up == 0 or probe_success == 0"
    assert found["HighCpu"] == "avg_over_time(host_cpu_percent[1m])"
    noted = [set(rule.table.annotations) for rule in config.rules if rule.table.annotations]
    assert noted == [{"summary", "description"}] * 7, "nobody said where the pages are: no link that opens nothing"
    assert 'longwatch_events_total{type="security_violation"}' in found["ServiceViolations"]


def test_every_key_reaches_its_rules() -> None:
    found = expressions(
        PACK
        + """
requests = 'shop_requests_total{handler!="/metrics"}'
status_labels = ["outcome"]
errors = "error|timeout"
durations = "shop_seconds_bucket"
up = "shop_up"
liveness = 'probe_success{probe="health"}'
cpu = "node_cpu:percent"
memory = "shop_memory_percent"
disk = 'host_disk_percent{mountpoint=~"/|/data"}'
violations = "shop_violations_total"
labels = { service = "shop" }
by = ["service", "region"]
min_rate = 2
runbooks = "https://wiki.example.org/alerts/"
"""
    )
    requests = 'shop_requests_total{handler!="/metrics",service="shop"}'
    assert found["ServiceRequestRateByStatus"] == f"sum by (service, region, outcome) (rate({requests}[5m]))"
    assert found["ServiceErrors"] == (
        'sum by (service, region) (service:request_rate_by_status:rate5m{outcome=~"error|timeout"})'
        ' or 0 * sum by (service, region) (service:request_rate_by_status:rate5m{outcome!=""})'
    )
    assert found["ServiceDurations"] == 'sum by (service, region, le) (rate(shop_seconds_bucket{service="shop"}[5m]))'
    assert found["ServiceDown"] == 'shop_up{service="shop"} == 0 or probe_success{probe="health",service="shop"} == 0'
    assert found["HighCpu"] == "avg_over_time(node_cpu:percent[1m])"
    assert found["HighMemory"] == "shop_memory_percent"
    assert found["HighDiskUsage"] == 'host_disk_percent{mountpoint=~"/|/data"} > 70'
    assert found["ServiceViolations"].count("shop_violations_total") == 10
    assert found["HighErrorRate"].endswith("service:request_rate:rate5m >= 2.0")
    assert found["HighLatencyP95"].endswith("service:observations:rate5m >= 2.0")
    config = load_text(PACK + 'runbooks = "https://wiki.example.org/alerts/"\n')
    urls = {rule.table.annotations["runbook_url"] for rule in config.rules if rule.table.annotations}
    assert "https://wiki.example.org/alerts/HighCpu.md" in urls
    assert len(urls) == 7
    none = load_text(PACK + 'runbooks = ""\n')
    assert all("runbook_url" not in rule.table.annotations for rule in none.rules)


def test_overrides_on_the_command_line_and_from_the_environment() -> None:
    found = expressions(PACK, "pack.service.cpu=node_cpu_percent", "pack.service.min_rate=0")
    assert found["HighCpu"] == "avg_over_time(node_cpu_percent[1m])"
    assert found["HighErrorRate"].endswith(">= 0.0")
    assert expressions(PACK + 'up = "${UP}"\n', environ={"UP": "shop_up"})["ServiceDown"].startswith("shop_up == 0 or")


def test_a_rule_of_ones_own_still_wins() -> None:
    found = expressions(PACK + '[rule.HighDiskUsage]\nexpr = "host_disk_percent > 80"\n')
    assert found["HighDiskUsage"] == "host_disk_percent > 80"


@pytest.mark.parametrize(
    ("text", "selector"),
    [
        (" up ", "up"),
        ("a:b", "a:b"),
        ('{"http.requests"}', '{"http.requests"}'),
        ('{"http.requests","a.b"="c"}', '{"http.requests","a.b"="c"}'),
        ('{__name__="up",job="x"}', 'up{job="x"}'),
        ("offset", '{"offset"}'),
        ("""up{job='it"s', a=~`\\d`}""", 'up{job="it\\"s",a=~"\\\\d"}'),
        ("up # a comment", "up"),
    ],
)
def test_ways_to_name_a_metric(text: str, selector: str) -> None:
    assert service_texts(ServicePack(cpu=text))["cpu"] == selector


# --- what is not ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("requests = 'http requests'", f'requests: {METRIC} (write http_requests_total{{handler!="/metrics"}})'),
        ("requests = ''", f'requests: {METRIC} (write http_requests_total{{handler!="/metrics"}})'),
        ("requests = 3", 'requests: expected text, got 3 (write "3")'),
        ("cpu = 'a[5m]'", f"cpu: {METRIC} (write host_cpu_percent)"),
        ("cpu = 'a offset 5m'", f"cpu: {METRIC} (write host_cpu_percent)"),
        ("cpu = 'a @ 5'", f"cpu: {METRIC} (write host_cpu_percent)"),
        ("memory = 'a + b'", f"memory: {METRIC} (write host_memory_percent)"),
        ("memory = 'rate(a[5m])'", f"memory: {METRIC} (write host_memory_percent)"),
        ("up = '{job=\"x\"}'", f'up: {METRIC} (write up{{job="shop"}})'),
        ("up = '{__name__=~\"u.*\"}'", f'up: {METRIC} (write up{{job="shop"}})'),
        ('disk = \'a{b="c" or d="e"}\'', f'disk: {METRIC} (write host_disk_percent{{mountpoint="/"}})'),
        ("liveness = '1'", f"liveness: {METRIC} (write probe_success)"),
        ("violations = 'a{b=~\"(\"}'", 'violations: the regular expression "(" is not a regular expression: …'),
        (
            "violations = 'a{b=~\"(?=c)\"}'",
            'violations: the regular expression "(?=c)" is not a regular expression: RE2…',
        ),
        (
            "durations = 'http_request_duration_seconds'",
            (
                'durations: "http_request_duration_seconds" is not the buckets of a histogram'
                ' (write "http_request_duration_seconds_bucket")'
            ),
        ),
        ("errors = '5('", 'errors: the regular expression "5(" is not a regular expression: …'),
        ("errors = '.*'", 'errors: matches a request without a status, too (write one such as "5.." or "5..|429")'),
        ("errors = ''", 'errors: matches a request without a status, too (write one such as "5.." or "5..|429")'),
        ("errors = '\\Z'", 'errors: the regular expression "\\Z" is not a regular expression: RE2 has no "\\Z" …'),
        (f"errors = '{'5' * 501}'", "errors: a regular expression here has at most 500 characters, not 501"),
        ("status_labels = []", "status_labels: takes 1 to 4 labels, not 0"),
        ("status_labels = 'code'", 'status_labels: expected a list, got "code" (write [...] around it)'),
        ("by = ['a b']", 'by: "a b" is not the name of a label (a name has letters, digits and _)'),
        ("by = ['__name__']", 'by: "__name__" is not the name of a label (a name has letters, digits and _)'),
        ("by = ['le']", 'by: "le" tells the buckets of a histogram apart (leave it out)'),
        (f"by = {[f'l{n}' for n in range(17)]}", "by: takes 0 to 16 labels, not 17"),
        ("labels = { 'a-b' = 'c' }", "labels.a-b: not a label name (write a_b)"),
        (
            f"labels = {{ a = '{'x' * 995}' }}",
            "labels: are too long: written as matchers they have at most 1000 characters",
        ),
        ("min_rate = -1", "min_rate: must be at least 0, not -1.0"),
        ("min_rate = inf", "min_rate: expected a finite number, got inf"),
        (
            "runbooks = 'https://x/{{ $value }}'",
            'runbooks: not the address of a folder (write one such as "https://wiki.example.org/runbooks")',
        ),
        ("requets = 'a'", 'requets: unknown key (did you mean "requests"?)'),
    ],
)
def test_one_clear_error(line: str, problem: str) -> None:
    (told,) = problems(PACK + line + "\n")
    expected = f"run.toml:5: pack.service.{problem}"
    assert told.startswith(expected[:-1]) if expected.endswith("…") else told == expected


def test_everything_that_is_wrong_is_said_at_once() -> None:
    told = problems(PACK + "cpu = '1'\nmemory = '2'\nby = ['le']\nmin_rate = 'x'\n[rule.X]\nexpr = 'a >'\n")
    assert [line.split(": ")[1] for line in told] == [
        "pack.service.cpu",
        "pack.service.memory",
        "pack.service.by",
        "pack.service.min_rate",
        "rule.X.expr",
    ]


def test_what_the_environment_holds_is_not_shown() -> None:
    """F144."""
    told = problems(
        PACK + 'cpu = "${S}"\nerrors = "${S}"\nby = ["${S}"]\nlabels = { a = "${L}" }\n',
        environ={"S": "canary (", "L": "canary" * 200},
    )
    assert len(told) == 4
    assert "canary" not in "".join(told)


def test_tables_of_other_packs() -> None:
    assert problems("[pack.host]\n[sink.console]\n") == [
        "run.toml:1: pack.host: this pack has no keys (change its rules with [rule.NAME])"
    ]
    assert problems("[pack.servic]\n[sink.console]\n") == [
        'run.toml:1: pack.servic: there is no pack "servic" (did you mean "service"?)'
    ]
    assert problems("pack = 1\n[sink.console]\n") == ["run.toml:1: pack: expected tables [pack.NAME]"]
    warned = load_text("[pack.service]\n[sink.console]\n").warnings
    assert [str(one) for one in warned] == [
        'run.toml:1: pack.service: the pack is not loaded (add packs = ["service"] to [engine])'
    ]


# --- nothing breaks out of its place --------------------------------------------------------------

HOSTILE = st.text(max_size=40) | st.sampled_from(
    ['"} or vector(1) #', "\\", '\\"', "${HOME}", "$$", "@{by}", "{{ $value }}", "\n"]
)


@given(value=HOSTILE, path=HOSTILE)
@settings(max_examples=100, deadline=None)
def test_a_labels_value_stays_a_labels_value(value: str, path: str) -> None:
    """Quotes, backslashes, braces, line ends, dollar signs: they are matched, and nothing else happens."""
    options = ServicePack(
        labels={"team": value}, disk=f"host_disk_percent{{team={json.dumps(path, ensure_ascii=False)}}}"
    )
    texts = service_texts(options)
    for key, expected in (("requests", value), ("durations", value), ("up", value), ("disk", path)):
        assert [m.value for m in parse(texts[key]).matchers.matchers if m.name == "team"] == [expected]
    ours, plain = (fill(read_pack("service"), one).tree["rule"] for one in (texts, service_texts(ServicePack())))
    for name, rule in plain.items():
        expr = expand(ours[name]["expr"], {}).text  # as the loader reads it: no variable is asked for
        assert skeleton(parse(expr)) == skeleton(parse(rule["expr"]))


def skeleton(tree: Any) -> Any:
    """An expression's structure, without matchers of `team`."""
    if matchers := getattr(tree, "matchers", None):
        others = [(m.name, str(m.op), m.value) for m in matchers.matchers if m.name != "team"]
        return tree.name, others, bool(matchers.or_matchers), str(tree.offset)
    below = [getattr(tree, key, None) for key in ("op", "func", "lhs", "rhs", "expr", "vector_selector", "val")]
    parts = [
        part if part is None else str(getattr(part, "name", part)) if at < 2 else skeleton(part)
        for at, part in enumerate(below[:6])
    ]
    return type(tree).__name__, parts, below[6], [skeleton(one) for one in getattr(tree, "args", [])]


def test_every_place_has_a_text_and_every_text_a_place() -> None:
    for name in pack_names():
        text = (files("engine") / "packs" / f"{name}.toml").read_text(encoding="utf-8")
        places = set(re.findall(r"@\{(\w+)\}", "\n".join(line for line in text.splitlines() if line[:1] != "#")))
        keys = PACK_KEYS.get(name)
        assert places == (set(keys.texts(keys.options())) if keys else set())


def test_the_schema_knows_every_key() -> None:
    shape = schema()
    assert shape["properties"]["pack"]["properties"] == {"service": {"$ref": "#/$defs/pack.service"}}
    table = shape["$defs"]["pack.service"]
    assert set(table["properties"]) == set(ServicePack.__struct_encode_fields__)
    assert table["properties"]["by"]["default"] == ["job", "service"]
    assert table["additionalProperties"] is False
