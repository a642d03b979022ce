"""Notifications in a form that the operator wrote as a template, over our own form's data. Pure.

Whatever a template does, the alert goes out: one that fails with what it is given, or makes no JSON of it, is stood in
for by our own form with a note. That this should not happen is tried when the template is read.
"""

from __future__ import annotations

import math
from typing import Any, Final

import orjson

from engine.events import Transition
from engine.ports import Notification
from engine.templates.bodies import TooLongError, compile_body
from sinks._body_own import document, entries
from sinks._body_own import render as render_own
from sinks._body_parts import BODY_BYTES_MAX, fitted

__all__ = ["TemplateBody"]

_TEXT: Final = 'a "quote", a back\\slash, a line\nbreak'
_MS: Final = 1_767_225_600_000


class TemplateBody:
    """Renders notifications by a template.

    Args:
        text: The template; its variables are those of our own form, `data` unfolded.
        json: Whether what it gives must be JSON.

    Raises:
        ValueError: With what is wrong with the template, found by reading it and by trying it.
    """

    def __init__(self, text: str, *, json: bool) -> None:
        self._json = json
        self._template = compile_body(text, _variables(document(_example("firing"), [], 0)))
        for example in (_example("firing"), _example("resolved"), _example("lost"), _example("severity")):
            self._try(example)

    def render(self, notification: Notification) -> bytes:
        """Return the body, at most `BODY_BYTES_MAX`; alerts beyond it are left out and counted in `truncated`."""

        def encode(alerts: list[dict[str, Any]], left_out: int) -> bytes:
            return self._encoded(notification, alerts, left_out)

        try:
            *_, body = fitted(entries(notification), notification.truncated, encode)
            if body:
                return body
            note = "the template's text is too long for one alert"
        except ValueError as error:
            note = str(error)
        return render_own(notification, note=note)

    def _encoded(self, notification: Notification, alerts: list[dict[str, Any]], left_out: int) -> bytes:
        try:
            text = self._template.render(_variables(document(notification, alerts, left_out)), BODY_BYTES_MAX)
        except TooLongError:
            return bytes(BODY_BYTES_MAX + 1)  # longer than fits, and nothing is known of how much
        body = text.encode("utf-8", "backslashreplace")
        if self._json and len(body) <= BODY_BYTES_MAX and not _is_json(body):
            raise ValueError("the template did not give JSON")
        return body

    def _try(self, example: Notification) -> None:
        text = self._template.render(_variables(document(example, entries(example), 0)), BODY_BYTES_MAX)
        if self._json and not _is_json(text.encode()):
            raise ValueError(
                "does not give JSON for an example with quotes and line breaks; "
                "write {{ x | tojson }} without quotes around it, or set another content_type"
            )


def _variables(body: dict[str, Any]) -> dict[str, Any]:
    return {"type": body["type"], "timestamp": body["timestamp"], **body["data"]}


def _is_json(body: bytes) -> bool:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


def _example(event: str) -> Notification:
    """A notification of two alerts with texts that break what is not escaped."""
    before, after = ("firing", "firing" if event == "severity" else "inactive")
    if event == "firing":
        before, after = "pending", "firing"
    labels = {"alertname": "Example", "instance": _TEXT, "severity": "warning"}
    told = [
        Transition(
            _MS,
            "Example",
            labels | {"n": str(number)},
            before,  # type: ignore[arg-type]
            after,  # type: ignore[arg-type]
            "lost" if event == "lost" else "held",
            value,
            _MS - 60_000,
            {"summary": _TEXT},
            _MS - 1_000,
            "critical" if event == "severity" else "",
            "warning" if event == "severity" else "",
        )
        for number, value in enumerate((97.25, math.nan))
    ]
    key, group = '{}:{alertname="Example"}', {"alertname": "Example"}
    return Notification(
        receiver="example", group_key=key, group_labels=group, transitions=tuple(told), external_labels={"env": _TEXT}
    )
