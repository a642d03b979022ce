"""Asking a URL, for the probes that do: what may be asked, the session, and what to call a failure.

It must never put more of a URL than host and port into a message, never use the loop's default
executor, and never call a target down for what this machine lacks.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

import aiohttp

from engine.errors import ProbeError
from engine.ports import ProbeContext
from engine.resolver import PoolResolver
from engine.secrets import Secret

__all__ = ["HEADERS_MAX", "HEADER_BYTES_MAX", "Asker", "authority", "budget_s", "check_headers", "check_url", "failure"]

HEADER_BYTES_MAX: Final = 8190
"""Longest status or header line of an answer."""
HEADERS_MAX: Final = 128
USER_AGENT: Final = "longwatch"

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# What frames the request is not the operator's to set: it would make one request look like two.
_FRAMING = frozenset({"connection", "content-length", "transfer-encoding", "upgrade"})
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
# Out of descriptors or memory: it is this machine that can't ask, and nothing is known of the target.
_OUR_OWN = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


def check_url(url: Secret) -> None:
    """Raise `ValueError` without any of the text in it: tokens may be anywhere in a URL."""
    text = url.reveal()
    if _CONTROL.search(text):
        raise ValueError("url: has a space or a control character in it; write a space as %20")
    if not text.lower().startswith(("http://", "https://")):
        raise ValueError("url: must start with http:// or https://; write it like http://127.0.0.1:8080/health")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
        if host and (":" in host or not host.strip("0123456789.")):
            ip_address(host)
        host.encode("idna")
    except ValueError:
        raise ValueError(
            "url: has a host or a port that can't be right; a port is 1 to 65535, a host a name or an address"
        ) from None
    if not host or port == 0:
        raise ValueError("url: has no host or no port; write it like http://127.0.0.1:8080/health")


def check_headers(headers: Mapping[str, Secret], url: Secret) -> None:
    """Raise `ValueError` if a header can't be sent beside the others, or to this URL; values are not shown."""
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"headers: {name[:80]!a} is not a name that HTTP allows")
        if name.lower() in _FRAMING:
            raise ValueError(f"headers: {name} can't be set, it belongs to the connection")
        if _CONTROL.search(value.reveal().replace(" ", "").replace("\t", "")):
            raise ValueError(f"headers: the value of {name} has a control character in it")
        if name.lower() == "authorization" and "@" in urlsplit(url.reveal()).netloc:
            raise ValueError(f"headers: {name} is given and the url has credentials, too; keep one of them")


def authority(url: SplitResult) -> str:
    """`host:port` with the port always there and nothing else of the URL."""
    host = url.hostname or ""
    return f"{f'[{host}]' if ':' in host else host}:{url.port or (443 if url.scheme == 'https' else 80)}"


def budget_s(timeout_ms: int) -> float:
    """How long asking may take, in seconds: less than the time-out by a twentieth, at least 50 ms.

    What is told is then "down" and not "the probe took too long".
    """
    return max(timeout_ms / 2, min(timeout_ms * 0.95, timeout_ms - 50)) / 1000


class Asker:
    """Holds the session of one probe between its `open` and its `close`.

    Args:
        context: Of the probe.
        insecure_tls: Take any certificate.
        headers: Sent with each request unless the request has another of the same name.
    """

    def __init__(self, context: ProbeContext, insecure_tls: bool, headers: Mapping[str, str]) -> None:
        self._context = context
        self._insecure_tls = insecure_tls
        self._headers = {"User-Agent": USER_AGENT, **headers}
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The session. Raises `ProbeError` with the reason `closed` before `open`."""
        if self._session is None:
            raise ProbeError("closed", "the probe is not open")
        return self._session

    async def open(self) -> None:
        """Create the session; nothing is asked yet."""
        await self.close()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                # A kept connection may be closed by the server just as it is used again, and the target
                # would look down (F44). A new one each time also measures what a new client meets.
                force_close=True,
                use_dns_cache=False,
                resolver=PoolResolver(self._context.call),
                ssl=not self._insecure_tls,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            # One limit over connecting, redirects and body is the probe's own. aiohttp's counts each request
            # on its own, and rounds up to whole seconds, past the time-out of a probe.
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            max_headers=HEADERS_MAX,
            headers=self._headers,
        )

    async def close(self) -> None:
        """Close the session and its connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def failure(error: Exception) -> str:
    """The reason code of what went wrong; foreign messages have the URL in them.

    Args:
        error: A `TimeoutError`, `aiohttp.ClientError`, `OSError` or `ValueError` from asking.

    Raises:
        ProbeError: `no_resources`, if it is this machine that is out of descriptors or memory.
    """
    if isinstance(error, OSError) and error.errno in _OUR_OWN:
        raise ProbeError("no_resources", f"can't ask: {errno.errorcode[error.errno]}") from None
    match error:
        case TimeoutError():
            return "timeout"
        case aiohttp.ClientConnectorDNSError():
            return "dns"
        case aiohttp.ClientSSLError():
            return "tls"
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            return "refused"
        case aiohttp.ClientConnectorError():
            return "unreachable"
        case aiohttp.ClientPayloadError():
            return "broken_off"
        case aiohttp.ServerDisconnectedError() | OSError():
            return "disconnected"
        case _:
            return "bad_answer"
