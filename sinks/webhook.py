"""`webhook`: tells a receiver by HTTP, in Alertmanager's webhook format, in a form of our own, or by a template.

`render` makes the body and `deliver` makes one attempt to post it, with the headers and signatures of Standard
Webhooks; queues and retries are not here.
"""

from __future__ import annotations

from typing import ClassVar, Final, Literal

import msgspec

from engine.durations import Duration
from engine.ports import Notification, Options, SinkContext
from engine.secrets import Secret
from sinks._body_own import render as render_own
from sinks._body_template import TemplateBody
from sinks._body_v4 import render as render_v4
from sinks._guard import networks_of
from sinks._http import HttpClient, check_headers, check_timeout, check_url, wall_ms
from sinks._signing import keys_of, signed_headers

__all__ = ["WebhookOptions", "WebhookSink"]

_OURS: Final = frozenset({"content-type", "webhook-id", "webhook-timestamp", "webhook-signature"})
_JSON: Final = "application/json"


class WebhookOptions(Options, frozen=True, kw_only=True):
    """`[sink.NAME]` with `type = "webhook"`; described in docs/sinks.md.

    Args:
        url: Where to post.
        headers: More headers to send; their values are secrets.
        timeout: How long one attempt may take, 100 ms to 30 s.
        send_resolved: Whether to tell of resolved alerts, too.
        body: The form of the body.
        template: A template of the body, for `body = "template"`.
        content_type: What a template's text is.
        secrets: Keys to sign with, each as `whsec_` and base64; all of them sign, so that keys can be exchanged.
        allow_addresses: Addresses or networks to connect to although they are link-local, multicast or reserved.
    """

    url: Secret
    headers: dict[str, Secret] = {}
    timeout: Duration = msgspec.field(default_factory=lambda: Duration.parse("15s"))
    send_resolved: bool = True
    body: Literal["alertmanager", "json", "template"] = "alertmanager"
    template: str | None = None
    content_type: str = _JSON
    secrets: list[Secret] = []
    allow_addresses: list[str] = []

    def __post_init__(self) -> None:
        check_url("url", self.url)
        check_timeout(self.timeout)
        check_headers(self.headers, _OURS)
        check_headers({"Content-Type": Secret(self.content_type)}, ())
        keys_of(self.secrets)
        networks_of(self.allow_addresses)
        if (self.template is None) != (self.body != "template"):
            raise ValueError('`template` goes with `body = "template"`; give both or neither')
        if self.content_type != _JSON and self.body != "template":
            raise ValueError('`content_type` goes with `body = "template"`; the other forms are JSON')
        _template_of(self)


class WebhookSink:
    """A receiver that posts notifications to one URL.

    Attributes:
        send_resolved: Whether to be told of resolved alerts. A `lost` one is not resolved and always told.
        deliveries_max: How many messages it takes at a time, each about other alerts.
    """

    deliveries_max: ClassVar[int] = 4
    Options: ClassVar[type[WebhookOptions]] = WebhookOptions

    def __init__(self, options: WebhookOptions, context: SinkContext) -> None:
        self.send_resolved = options.send_resolved
        self._options = options
        self._clock = context.clock
        self._client = HttpClient(context, options.timeout, options.allow_addresses)
        self._keys = keys_of(options.secrets)
        self._template = _template_of(options)

    async def open(self) -> None:
        """Make the session. It connects to nothing yet."""
        await self._client.open()

    async def close(self) -> None:
        """Close the session."""
        await self._client.close()

    def render(self, notification: Notification) -> bytes:
        """Return the body in the form that was chosen; see docs/sinks.md for what is in it. Pure."""
        if self._template is not None:
            return self._template.render(notification)
        if self._options.body == "json":
            return render_own(notification)
        return render_v4(notification, with_ended=self.send_resolved)

    async def deliver(self, message_id: str, body: bytes) -> None:
        """Post a body once. `message_id` goes out as `webhook-id`, for the receiver to drop duplicates by; the time
        of the attempt as `webhook-timestamp`, and a signature for each key.

        Raises:
            SinkError: As `HttpClient.request` does.
        """
        headers = {name: value.reveal() for name, value in self._options.headers.items()}
        headers["Content-Type"] = self._options.content_type
        headers |= signed_headers(self._keys, message_id, wall_ms(self._clock) // 1000, body)
        await self._client.request("POST", self._options.url, headers, body)


def _template_of(options: WebhookOptions) -> TemplateBody | None:
    if options.template is None:
        return None
    kind = options.content_type.partition(";")[0].strip().lower()
    try:
        return TemplateBody(options.template, json=kind == _JSON or kind.endswith("+json"))
    except ValueError as error:
        raise ValueError(f"template: {error}") from None
