"""One HTTP request to a receiver, and what it says when that fails. Queues and retries are not here.

What a receiver answers is foreign: no redirect is followed, at most 64 KiB are read and nothing is unpacked, and
neither its words nor the URL, which holds a token as often as not, get into an error. Addresses that no receiver has
any business at are refused (`Guard`), whatever name leads there.
"""

from __future__ import annotations

import asyncio
import email.utils
import errno
import math
import re
import ssl
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from engine.durations import Duration
from engine.errors import SinkError
from engine.ports import Clock, SinkContext, WallClock
from engine.resolver import PoolResolver
from engine.secrets import Secret
from sinks._guard import ForbiddenAddress, Guard, networks_of

__all__ = ["HttpClient", "check_headers", "check_timeout", "check_url", "is_http_url", "retry_after_s", "wall_ms"]

TIMEOUT_MS_MAX: Final = 30_000
CONNECT_TIMEOUT_S: Final = 5.0
RESPONSE_BYTES_MAX: Final = 64 * 1024
RESPONSE_TIMEOUT_S: Final = 1.0
"""How long an answer's body is read after its status is known; the body decides nothing."""
RETRY_AFTER_S_MIN: Final = 1.0
RETRY_AFTER_S_MAX: Final = 3600.0
CONNECTIONS_MAX: Final = 4

_FRAMING: Final = frozenset({"content-length", "transfer-encoding"})
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_FIELD_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]{0,8000}")
# Worth another try although the client is blamed: time-out, too early, too many, and what an operator can mend.
_RETRIED_4XX: Final = {401, 403, 404, 408, 425, 429}


class HttpClient:
    """Makes requests for one sink.

    Args:
        context: The sink's.
        timeout: How long one request may take.
        allow_addresses: Networks that the guard lets pass.
    """

    def __init__(self, context: SinkContext, timeout: Duration, allow_addresses: Sequence[str]) -> None:
        self._context = context
        self._timeout = timeout
        self._guard = Guard(networks_of(allow_addresses))
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the session. It connects to nothing yet."""
        if self._session is not None:
            return
        total_s = self._timeout.seconds
        connect_s = min(CONNECT_TIMEOUT_S, total_s)
        self._session = aiohttp.ClientSession(
            # A connection of its own for each request: one that was kept may be half dead, and then nobody
            # knows whether the body arrived (F43, F44). Notifications are rare enough.
            connector=aiohttp.TCPConnector(
                resolver=PoolResolver(self._context.call),
                limit=CONNECTIONS_MAX,
                force_close=True,
                socket_factory=self._guard,
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

    async def request(
        self, method: str, url: Secret, headers: Mapping[str, str], body: bytes | None = None, *, path: str = ""
    ) -> None:
        """Make one request; return if the answer is a 2xx.

        Args:
            path: Added to the URL's own.

        Raises:
            SinkError: Reasons `http_<status>`, `redirect`, `timeout`, `dns`, `refused`, `unreachable`,
                `forbidden_address`, `connect`, `tls_certificate`, `tls`, `disconnected`, `bad_response`, `closed`. Not
                retryable are 4xx other than 401, 403, 404, 408, 425 and 429.
        """
        if self._session is None:
            raise SinkError("closed", "the sink is not open", retryable=True)
        try:
            async with self._session.request(
                method, url.reveal() + path, data=body, headers=headers, allow_redirects=False
            ) as response:
                failure = self._judge(url, response.status, response.headers.get("Retry-After", ""))
                await _read_some(response.content)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            # The raise is outside of this block: aiohttp's errors carry the URL, and a chained
            # traceback would print it (M31).
            reason, words = _reason(error)
            failure = SinkError(reason, f"{url.origin}: {words}", retryable=True)
        if failure is not None:
            raise failure

    def _judge(self, url: Secret, status: int, retry_after: str) -> SinkError | None:
        if 200 <= status < 300:
            return None
        if 300 <= status < 400:
            message = f"{url.origin}: answered {status}; redirects are not followed"
            return SinkError("redirect", message, retryable=True, status=status)
        asks = status in (408, 429) or status >= 500
        wait_s = retry_after_s(retry_after, wall_ms(self._context.clock)) if asks else 0.0
        retryable = status >= 500 or status < 200 or status in _RETRIED_4XX
        message = f"{url.origin}: answered {status}"
        return SinkError(f"http_{status}", message, retryable=retryable, retry_after_s=wait_s, status=status)


def wall_ms(clock: Clock) -> int:
    """What others hold against their own clocks. Event time runs ahead of the wall clock after that was set back."""
    return clock.wall_now_ms() if isinstance(clock, WallClock) else clock.now_ms()


def check_url(key: str, url: Secret) -> None:
    """Raises `ValueError` about the option `key` if it is no URL to send to; the message does not show it."""
    if not is_http_url(url.reveal()):
        raise ValueError(
            f"{key}: not an http:// or https:// URL with a host and, if any, a port from 1 to 65535; "
            "write it like https://ops.example.org/hook"
        )


def check_timeout(timeout: Duration) -> None:
    """Raises `ValueError` if one request may take longer than makes sense."""
    if not 100 <= timeout <= TIMEOUT_MS_MAX:
        raise ValueError('`timeout` is between "100ms" and "30s"')


def check_headers(headers: Mapping[str, Secret], own: Collection[str]) -> None:
    """Raises `ValueError` if a header can't be one (F143), or is one of the sink's `own` (in lower case)."""
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or not _FIELD_VALUE.fullmatch(value.reveal()):
            raise ValueError(f"`headers`: {name[:40]!r} or its value has characters a header can't have")
        if name.lower() in _FRAMING or name.lower() in own:
            raise ValueError(f"`headers`: {name} is set by the sink itself")


def is_http_url(text: str) -> bool:
    """Whether it is a URL with a host that can be sent to."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


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
_WORDS: Final = {"refused": "connection refused", "unreachable": "no route to it", "connect": "no connection"}


def _reason(error: Exception) -> tuple[str, str]:
    """(reason code, words) of a failed request. Nothing of the error's own text gets in."""
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
            cause: Any = error.os_error
            if isinstance(cause, ForbiddenAddress):
                return "forbidden_address", "it leads to an address that is not allowed; see allow_addresses"
            reason = _REFUSED.get(cause.errno or 0, "connect")
            return reason, _WORDS[reason]
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | OSError():
            return "disconnected", "the connection broke before an answer"
    return "bad_response", "what it answered is not HTTP"


def _version() -> str:
    try:
        return version("longwatch")
    except PackageNotFoundError:
        return "unknown"
