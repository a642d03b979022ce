"""Bodies by a template: tried when they are read, and never in the way of an alert."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.events import Transition
from engine.secrets import Secret
from sinks._body_parts import BODY_BYTES_MAX
from sinks._body_template import TemplateBody
from sinks.webhook import WebhookOptions, WebhookSink
from tests.sinks.context import context, transition
from tests.sinks.test_body_v4 import MAPS, TOLD, notification

SLACK = """
{"text": {{ ("[" ~ status | upper ~ ":" ~ alerts | length ~ "] " ~ group_labels.alertname) | tojson }},
 "lines": [
  {% for alert in alerts %}
    {{ (alert.event ~ " " ~ alert.labels.instance ~ ": " ~ alert.annotations.summary) | tojson }}
    {%- if not loop.last %},{% endif %}
  {% endfor %}
 ], "left_out": {{ truncated }} }
"""


def test_a_template_sees_what_our_own_form_says() -> None:
    told = [
        transition(labels={"alertname": "HighCpu", "instance": name}, annotations={"summary": 'it is "hot"\n'})
        for name in "ab"
    ]
    body = json.loads(TemplateBody(SLACK, json=True).render(notification(*told, truncated=3)))
    assert body == {
        "text": "[FIRING:2] HighCpu",
        "lines": ['firing a: it is "hot"\n', 'firing b: it is "hot"\n'],
        "left_out": 3,
    }


@given(st.lists(TOLD, min_size=1, max_size=3), MAPS)
def test_whatever_there_is_to_tell_it_stays_json(told: list[Transition], external: dict[str, str]) -> None:
    body = json.loads(TemplateBody(SLACK, json=True).render(notification(*told, external_labels=external)))
    assert len(body["lines"]) == len(told)


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{{ alerts", "unexpected"),
        ("{{ alertz }}", '"alertz" is not known; the message has alerts, '),
        ("{% for a in status %}{{ a }}{% endfor %}", "the template failed: TypeError"),
        ('{"a": "{{ alerts[0].annotations.summary }}"}', "does not give JSON for an example with quotes"),
        ("plain text", "does not give JSON"),
        ("{% set x = 1 %}", "set is not supported"),
        ("{{ 1 / 0 }}", "the template failed: ZeroDivisionError"),
        ("x" * 70_000, "at most 65536 characters"),
    ],
)
def test_what_is_wrong_with_it_is_said_when_it_is_read(template: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        WebhookOptions(url=Secret("http://x"), body="template", template=template)
    assert str(caught.value).startswith("template: ")


@pytest.mark.parametrize(
    "options",
    [{"body": "template"}, {"template": "{}"}, {"body": "json", "template": "{}"}, {"content_type": "text/plain"}],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^`(template|content_type)` goes with"):
        WebhookOptions(url=Secret("http://x"), **options)


def test_plain_text_is_a_choice_of_the_operator() -> None:
    options = WebhookOptions(
        url=Secret("http://x"), body="template", template="{{ status }}: {{ receiver }}", content_type="text/plain"
    )
    assert WebhookSink(options, context()).render(notification(transition())) == b"firing: ops"


def test_a_content_type_that_would_inject_is_refused_f143() -> None:
    with pytest.raises(ValueError, match="`headers`: 'Content-Type'"):
        WebhookOptions(url=Secret("http://x"), body="template", template="{}", content_type="a\r\nX-Evil: 1")


def test_a_template_that_fails_after_all_is_stood_in_for_by_our_own_form() -> None:
    """It passes with the examples, whose rule is called otherwise."""
    template = '{% if alerts[0].rule == "HighCpu" %}{{ 1 / 0 }}{% else %}{}{% endif %}'
    body = json.loads(TemplateBody(template, json=True).render(notification(transition())))
    assert body["note"] == "the template failed: ZeroDivisionError"
    assert body["data"]["alerts"][0]["labels"]["instance"] == "a"
    spoilt = '{% if alerts[0].rule == "HighCpu" %}no JSON{% else %}{}{% endif %}'
    assert json.loads(TemplateBody(spoilt, json=True).render(notification(transition())))["note"] == (
        "the template did not give JSON"
    )


def test_what_is_too_large_leaves_alerts_out_and_at_the_end_the_template_f57() -> None:
    told = [
        transition(labels={"alertname": "X", "instance": str(i)}, annotations={"summary": "y" * 16_000})
        for i in range(64)
    ]
    raw = TemplateBody(SLACK, json=True).render(notification(*told))
    body = json.loads(raw)
    assert BODY_BYTES_MAX / 3 < len(raw) <= BODY_BYTES_MAX
    assert len(body["lines"]) + body["left_out"] == 64
    huge = "[{% for a in alerts %}{% for name in a.annotations %}" + "{{ a.annotations[name] | tojson }}," * 40
    huge += "{% endfor %}{% endfor %}0]"
    alone = json.loads(TemplateBody(huge, json=True).render(notification(told[0])))
    assert alone["note"] == "the template's text is too long for one alert"
