"""The JSON Schema: 2020-12, whole, described, and of one mind with the loader."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from engine.config import load_text, schema
from engine.config.shape import EngineTable, RuleTable
from engine.errors import ConfigError
from tests.config.bad_configs import BAD_CONFIGS, ENVIRON

ROOT = Path(__file__).resolve().parents[2]


def errors(value: Any, shape: dict[str, Any], root: dict[str, Any], at: str = "$") -> list[str]:
    """A validator of the words of JSON Schema that the schema uses, and of no others."""
    known = {"$schema", "$defs", "title", "description", "default", "examples"}
    found: list[str] = []
    for word, rule in shape.items():
        match word:
            case "$ref":
                found += errors(value, root["$defs"][rule.removeprefix("#/$defs/")], root, at)
            case "type":
                types = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}
                good = isinstance(value, types.get(rule, (int, float)))
                if not good or (isinstance(value, bool) and rule != "boolean"):
                    return [*found, f"{at}: not of type {rule}"]
            case "enum":
                found += [] if value in rule else [f"{at}: not in {rule}"]
            case "const":
                found += [] if value == rule else [f"{at}: not {rule}"]
            case "pattern":
                found += [] if re.search(rule, value) else [f"{at}: does not match"]
            case "minimum":
                found += [] if value >= rule else [f"{at}: below {rule}"]
            case "maximum":
                found += [] if value <= rule else [f"{at}: above {rule}"]
            case "exclusiveMinimum":
                found += [] if value > rule else [f"{at}: not above {rule}"]
            case "exclusiveMaximum":
                found += [] if value < rule else [f"{at}: not below {rule}"]
            case "minLength":
                found += [] if len(value) >= rule else [f"{at}: too short"]
            case "maxLength":
                found += [] if len(value) <= rule else [f"{at}: too long"]
            case "required":
                found += [f"{at}: {key} is missing" for key in rule if key not in value]
            case "items":
                found += [error for i, item in enumerate(value) for error in errors(item, rule, root, f"{at}[{i}]")]
            case "propertyNames":
                found += [error for key in value for error in errors(key, rule, root, f"{at}.{key}")]
            case "allOf":
                found += [error for one in rule for error in errors(value, one, root, at)]
            case "anyOf" | "oneOf":
                passed = [one for one in rule if not errors(value, one, root, at)]
                if not passed or (word == "oneOf" and len(passed) != 1):
                    found.append(f"{at}: {len(passed)} of {word}")
            case "if":
                then = shape.get("else", {}) if errors(value, rule, root, at) else shape.get("then", {})
                found += errors(value, then, root, at)
            case "not":
                found += [] if errors(value, rule, root, at) else [f"{at}: forbidden"]
            case "properties" | "patternProperties" | "additionalProperties" | "then" | "else":
                pass
            case _:
                assert word in known, f"unknown word {word}"
    if "additionalProperties" in shape and isinstance(value, dict):
        for key, item in value.items():
            fitting = [rule for pattern, rule in shape.get("patternProperties", {}).items() if re.search(pattern, key)]
            if key in shape.get("properties", {}):
                fitting.append(shape["properties"][key])
            if not fitting and shape["additionalProperties"] is False:
                found.append(f"{at}.{key}: not allowed")
            elif not fitting:
                fitting.append(shape["additionalProperties"])
            found += [error for rule in fitting for error in errors(item, rule, root, f"{at}.{key}")]
    return found


def complaints(text: str, shape: dict[str, Any]) -> list[str]:
    return errors(tomllib.loads(text), shape, shape)


def test_the_example_is_accepted() -> None:
    text = (ROOT / "examples/run.toml").read_text(encoding="utf-8")
    assert text.startswith("#:schema ")
    assert complaints(text, schema()) == []


def test_what_is_commented_out_in_the_example_is_good_too() -> None:
    """A key or table that a person uncomments must work."""
    text = (ROOT / "examples/run.toml").read_text(encoding="utf-8")
    live = re.sub(r"^# (?=\[|\w+ = )", "", text, flags=re.MULTILINE)
    assert live.count("\n[") > text.count("\n[")
    assert complaints(live, schema()) == []
    urls = dict.fromkeys(("OPS_URL", "HEARTBEAT_URL"), "http://127.0.0.1:9/")
    config = load_text(live, environ=urls | {"OPS_KEY": "whsec_" + "A" * 32})
    assert {probe.type for probe in config.probes} == {"host", "http"}
    assert {sink.type for sink in config.sinks} == {
        "alertmanager",
        "console",
        "heartbeat",
        "jsonl",
        "sqlite",
        "webhook",
    }


def test_every_type_has_its_options_and_every_key_of_ours_is_described() -> None:
    shape = schema()
    assert shape["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    definitions = shape["$defs"]
    assert {"engine", "rule", "probe.host", "probe.http", "sink.console", "sink.sqlite", "sink.webhook"} <= set(
        definitions
    )
    undescribed = [
        f"{name}.{key}"
        for name, table in definitions.items()
        for key, rule in table["properties"].items()
        if "description" not in rule
    ]
    assert undescribed == []
    assert set(definitions["engine"]["properties"]) == set(EngineTable.__struct_encode_fields__)
    assert set(definitions["rule"]["properties"]) == set(RuleTable.__struct_encode_fields__)
    assert definitions["rule"]["properties"]["for"]["default"] == "0s"
    assert definitions["probe.host"]["properties"]["interval"]["default"] == "5s"
    assert definitions["probe.http"]["properties"].keys() >= {"url", "url_file", "type", "labels"}
    probes = shape["properties"]["probe"]["patternProperties"]["^[A-Za-z_][A-Za-z0-9_-]*$"]["anyOf"]
    assert {"$ref": "#/$defs/probe.host"} in probes


@pytest.mark.usefixtures("demo_types")
def test_the_shape_of_each_sort_of_option() -> None:
    table = schema()["$defs"]["probe.demo"]
    options = table["properties"]
    assert options["url"] == {"type": "string", "description": "Where to look, and nowhere else."}
    assert options["method"] == {"enum": ["GET", "HEAD"], "description": "How to ask.", "default": "GET"}
    assert options["retries"] == {"type": "integer", "minimum": 0, "maximum": 10, "default": 2}
    assert options["ratio"] == {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1, "default": 0.5}
    assert (options["pause"]["type"], options["pause"]["default"]) == ("string", "2s")
    assert options["either"]["anyOf"] == [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}]
    assert options["limits"]["properties"]["body_bytes_max"]["description"] == "How much is read."
    assert options["headers"]["additionalProperties"]["type"] == "string"
    assert options["token_file"]["description"] == "File that holds `token`, in its place."
    assert table["allOf"] == [{"required": ["url"]}, {"not": {"required": ["token", "token_file"]}}]
    assert table["description"] == "Options of the demo probe."
    assert "probe.gone" not in schema()["$defs"], "a type that can't be loaded must not break the schema"


def test_a_rule_that_overrides_keys_of_a_packs_rule_needs_no_expression() -> None:
    shape = schema()
    assert complaints('[engine]\npacks = ["host"]\n[rule.HostCpuHigh]\nfor = "1h"\n', shape) == []
    assert "pack" in shape["$defs"]["rule"]["properties"]["expr"]["description"]


@pytest.mark.parametrize("text", ["5s", "1h30m", "250ms", "0", "${T}", "${N}s"])
def test_durations_that_fit(text: str) -> None:
    assert complaints(f"[rule.A]\nexpr = 'up'\nfor = '{text}'\n", schema()) == []


@pytest.mark.parametrize("text", ["5", "-5s", "", "5 s", "s", "1.5s"])
def test_durations_that_do_not(text: str) -> None:
    assert complaints(f"[rule.A]\nexpr = 'up'\nfor = '{text}'\n", schema()) == ["$.rule.A.for: does not match"]


BEYOND = {
    # What a schema can't know, or is not asked to: whether names exist, expressions compile, numbers are finite.
    *("timezone", "timezone_is_a_folder", "timezone_is_a_path", "unknown_pack", "rule_files", "empty_path"),
    *("label_name", "label_name_unusable", "label_name_too_long", "label_value_too_long", "too_many_labels"),
    *("engine_name_is_dots", "duration_out_of_bounds", "beyond_64_bits", "nan_for_whole_number"),
    # Whether a rule needs an expression depends on the packs.
    "rule_without_expr",
    "text_for_whole_number",
}


@pytest.mark.usefixtures("demo_types")
@pytest.mark.parametrize("case", BAD_CONFIGS, ids=lambda case: case.name)
def test_what_the_loader_takes_for_a_wrong_type_the_schema_does_too(case: Any) -> None:
    """For the messages that are about types and keys: what an editor can see at once."""
    typed = re.compile(r": (expected (?!a finite)|unknown key|unknown table|is missing|a key outside|must )")
    told = [line for line in case.problems if typed.search(line) and "${" not in line.partition(" (")[0]]
    by_bounds = any("ms, not" in line or "d, not" in line or "interval" in line for line in told)
    if not told or by_bounds or case.name in BEYOND - {"text_for_whole_number"} or "0s" in told[0]:
        return
    assert complaints(case.text, schema()) != []


def test_the_loader_and_the_schema_refuse_the_same_type() -> None:
    text = "[probe.host]\nnetwork = 'yes'\n"
    with pytest.raises(ConfigError):
        load_text(text, environ=ENVIRON)
    assert complaints(text, schema()) != []
