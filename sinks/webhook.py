"""`webhook`: tells a receiver by HTTP, in Alertmanager's webhook format, version 4.

`render` makes the body and `deliver` makes one attempt to post it; queues and retries are not here. What
a receiver answers is foreign: no redirect is followed, at most 64 KiB are read, and neither its words
nor the URL, which holds a token as often as not, get into an error.
"""

from __future__ import annotations

import asyncio
import email.utils
import errno
import math
import re
import ssl
from datetime import UTC
from importlib.metadata import PackageNotFoundError, version
from typing import ClassVar, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from engine.durations import Duration
from engine.errors import SinkError
from engine.ports import Notification, Options, SinkContext
from engine.resolver import PoolResolver
from engine.secrets import Secret
from sinks._alertmanager import render

__all__ = ["WebhookOptions", "WebhookSink", "retry_after_s"]

TIMEOUT_MS_MAX: Final = 30_000
CONNECT_TIMEOUT_S: Final = 5.0
RESPONSE_BYTES_MAX: Final = 64 * 1024
RESPONSE_TIMEOUT_S: Final = 1.0
"""How long an answer's body is read after its status is known; the body decides nothing."""
RETRY_AFTER_S_MIN: Final = 1.0
RETRY_AFTER_S_MAX: Final = 3600.0
CONNECTIONS_MAX: Final = 4

_OURS: Final = {"content-length", "content-type", "transfer-encoding", "webhook-id"}
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_FIELD_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]{0,8000}")
# Worth another try although the client is blamed: time-out, too early, too many, and what an operator can mend.
_RETRIED_4XX: Final = {401, 403, 404, 408, 425, 429}


class WebhookOptions(Options, frozen=True, kw_only=True):
    """`[sink.NAME]` with `type = "webhook"`; described in docs/sinks.md.

    Args:
        url: Where to post.
        headers: More headers to send; their values are secrets.
        timeout: How long one attempt may take, 100 ms to 30 s.
        send_resolved: Whether to tell of resolved alerts, too.
    """

    url: Secret
    headers: dict[str, Secret] = {}
    timeout: Duration = msgspec.field(default_factory=lambda: Duration.parse("15s"))
    send_resolved: bool = True

    def __post_init__(self) -> None:
        if not _is_http_url(self.url.reveal()):
            raise ValueError(
                "url: not an http:// or https:// URL with a host and, if any, a port from 1 to 65535; "
                "write it like https://ops.example.org/hook"
            )
        if not 100 <= self.timeout <= TIMEOUT_MS_MAX:
            raise ValueError('`timeout` is between "100ms" and "30s"')
        for name, value in self.headers.items():
            if not _TOKEN.fullmatch(name) or not _FIELD_VALUE.fullmatch(value.reveal()):
                raise ValueError(f"`headers`: {name[:40]!r} or its value has characters a header can't have")
            if name.lower() in _OURS:
                raise ValueError(f"`headers`: {name} is set by the sink itself")


class WebhookSink:
    """A receiver that posts notifications to one URL.

    Attributes:
        send_resolved: Whether to be told of resolved alerts. A `lost` one is not resolved and always told.
    """

    Options: ClassVar[type[WebhookOptions]] = WebhookOptions

    def __init__(self, options: WebhookOptions, context: SinkContext) -> None:
        self.send_resolved = options.send_resolved
        self._options = options
        self._context = context
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the session. It connects to nothing yet."""
        if self._session is not None:
            return
        total_s = self._options.timeout.seconds
        connect_s = min(CONNECT_TIMEOUT_S, total_s)
        self._session = aiohttp.ClientSession(
            # A connection of its own for each POST: one that was kept may be half dead, and then nobody
            # knows whether the body arrived (F43, F44). Notifications are rare enough.
            connector=aiohttp.TCPConnector(
                resolver=PoolResolver(self._context.call), limit=CONNECTIONS_MAX, force_close=True
            ),
            timeout=aiohttp.ClientTimeout(total=total_s, connect=connect_s, sock_connect=connect_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            # The body is thrown away, so nothing need be unpacked: a bomb stays as small as it was sent (F37).
            auto_decompress=False,
            headers={"User-Agent": f"longwatch/{_version()}", "Accept-Encoding": "identity"},
        )

    async def close(self) -> None:
        """Close the session."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def render(self, notification: Notification) -> bytes:
        """Return Alertmanager's webhook body, version 4; see docs/sinks.md for what is in it. Pure."""
        return render(notification, with_ended=self.send_resolved)

    async def deliver(self, message_id: str, body: bytes) -> None:
        """Post a body once. `message_id` goes out as `webhook-id`, for the receiver to drop duplicates by.

        Raises:
            SinkError: Reasons `http_<status>`, `redirect`, `timeout`, `dns`, `refused`, `unreachable`,
                `connect`, `tls_certificate`, `tls`, `disconnected`, `bad_response`, `closed`. Not retryable
                are 4xx other than 401, 403, 404, 408, 425 and 429.
        """
        if self._session is None:
            raise SinkError("closed", "the sink is not open", retryable=True)
        headers = {name: value.reveal() for name, value in self._options.headers.items()}
        headers |= {"Content-Type": "application/json", "webhook-id": message_id}
        try:
            async with self._session.post(
                self._options.url.reveal(), data=body, headers=headers, allow_redirects=False
            ) as response:
                failure = self._judge(response.status, response.headers.get("Retry-After", ""))
                await _read_some(response.content)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            # The raise is outside of this block: aiohttp's errors carry the URL, and a chained
            # traceback would print it (M31).
            failure = self._failure(*_reason(error))
        if failure is not None:
            raise failure

    def _judge(self, status: int, retry_after: str) -> SinkError | None:
        if 200 <= status < 300:
            return None
        if 300 <= status < 400:
            return self._failure("redirect", f"answered {status}; redirects are not followed")
        wait_s = (
            retry_after_s(retry_after, self._context.clock.now_ms()) if status in (408, 429) or status >= 500 else 0
        )
        retryable = status >= 500 or status < 200 or status in _RETRIED_4XX
        return self._failure(f"http_{status}", f"answered {status}", retryable, wait_s)

    def _failure(self, reason: str, text: str, retryable: bool = True, wait_s: float = 0.0) -> SinkError:
        message = f"{self._options.url.origin}: {text}"
        return SinkError(reason, message, retryable=retryable, retry_after_s=wait_s)


async def _read_some(content: aiohttp.StreamReader) -> None:
    """Take what little a receiver has to say, so that it is not cut off in the middle. The status has decided."""
    left = RESPONSE_BYTES_MAX
    try:
        async with asyncio.timeout(RESPONSE_TIMEOUT_S):
            while left > 0 and (chunk := await content.read(left)):
                left -= len(chunk)
    except (aiohttp.ClientError, OSError, TimeoutError):
        pass  # a 2xx is a success even if the rest never comes (F38)


def retry_after_s(value: str, now_ms: int) -> float:
    """Seconds that a Retry-After header asks for, clamped to an hour; 0 if it makes no sense (F32).

    Args:
        value: The header: a number of seconds or an HTTP date (RFC 9110, 10.2.3).
        now_ms: Wall time, milliseconds since the epoch.
    """
    value = value.strip()
    if not value or len(value) > 64:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = email.utils.parsedate_to_datetime(value)
            seconds = max(0.0, date.replace(tzinfo=date.tzinfo or UTC).timestamp() - now_ms / 1000)
        except (ValueError, TypeError, IndexError, OverflowError):
            return 0.0
    if math.isnan(seconds) or seconds < 0:
        return 0.0
    return min(max(seconds, RETRY_AFTER_S_MIN), RETRY_AFTER_S_MAX)


_REFUSED: Final = {errno.ECONNREFUSED: "refused", errno.ENETUNREACH: "unreachable", errno.EHOSTUNREACH: "unreachable"}


def _reason(error: Exception) -> tuple[str, str]:
    """(reason code, words) of a failed attempt. Nothing of the error's own text gets in."""
    match error:
        case TimeoutError():
            return "timeout", "no answer in time"
        case aiohttp.ClientConnectorCertificateError() | ssl.SSLCertVerificationError():
            return "tls_certificate", "its certificate is not valid for it"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return "tls", "no TLS connection"
        case aiohttp.ClientConnectorDNSError():
            return "dns", "its name can't be resolved"
        case aiohttp.ClientConnectorError():
            reason = _REFUSED.get(error.os_error.errno or 0, "connect")
            return reason, {"refused": "connection refused", "unreachable": "no route to it"}.get(
                reason, "no connection"
            )
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | OSError():
            return "disconnected", "the connection broke before an answer"
    return "bad_response", "what it answered is not HTTP"


def _is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _version() -> str:
    try:
        return version("longwatch")
    except PackageNotFoundError:
        return "unknown"
