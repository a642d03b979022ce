"""What every request passes: who it asks for, how long it may take, what an answer says beside its body.

Nothing gets out of here but answers of ours: no traceback, no version of anything, no word of the request's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeAlias

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from engine.http.hosts import Hosts
from engine.http.tally import Tally

__all__ = ["BODY_BYTES_MAX", "REQUEST_TIMEOUT_S", "Guard", "Told", "headers_of", "plain"]

REQUEST_TIMEOUT_S: Final = 5.0
"""For reading a request's body, answering it and having the answer taken, together."""
BODY_BYTES_MAX: Final = 1_024
"""Of a request. None of ours says anything in it."""
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Server": "longwatch",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
GONE: Final = 499
"""Counted where nobody was there any more to answer, as nginx does."""
WORDS: Final = {
    400: "bad request",
    401: "a token is needed",
    403: "not from a page of somebody else's",
    404: "not found",
    405: "method not allowed",
    408: "the request took too long",
    413: "the request is too large",
    421: "unknown host: see http.allowed_hosts",
    429: "too many requests",
    500: "internal error",
    503: "unavailable: come back later",
}

Told: TypeAlias = Callable[[Exception | None], None]


def plain(status: int, headers: dict[str, str] | None = None) -> web.Response:
    """An answer without anything of the request's in it."""
    text = WORDS.get(status, "refused") + "\n"
    return web.Response(status=status, text=text, headers={**HEADERS, **(headers or {})})


def headers_of(more: dict[str, str]) -> dict[str, str]:
    """The headers of every answer, and some more."""
    return {**HEADERS, **more}


class Guard:
    """The one middleware.

    Args:
        hosts: The names that may be called.
        tally: Counts the answers.
        told: Is told of each error of a handler's, and with None of each answer that was none.
    """

    def __init__(self, hosts: Hosts, tally: Tally, told: Told) -> None:
        self._hosts = hosts
        self._tally = tally
        self._told = told

    def middleware(self) -> Middleware:
        """As aiohttp wants it."""

        @web.middleware
        async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._exchange(request, handler)

        return guarded

    async def _exchange(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        transport = request.transport
        if transport is None:
            return self._gone(request)
        transport.set_write_buffer_limits(0)  # so that to drain means that all has been taken
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                response = await self._answer(request, handler)
                writer = await response.prepare(request)
                await response.write_eof()
                if writer is not None:
                    await writer.drain()
        except TimeoutError:  # nobody takes the answer
            transport.abort()
            response = plain(408)
        except ConnectionError:
            return self._gone(request)
        self._tally.answered(_route_of(request), response.status)
        return response

    def _gone(self, request: web.Request) -> web.StreamResponse:
        """Who asked is not there any more: nothing that is returned reaches anybody."""
        self._tally.answered(_route_of(request), GONE)
        return _closing(plain(GONE))

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = self._refused(request)
        if refused:
            return _closing(plain(refused))
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S / 2):
                await request.read()
            response = await handler(request)
        except TimeoutError:
            return _closing(plain(408))
        except web.HTTPException as error:  # of aiohttp's own: no such path, another method, too large
            allow = error.headers.get("Allow")
            answer = plain(error.status, {"Allow": allow} if allow else None)
            return _closing(answer) if error.status == web.HTTPRequestEntityTooLarge.status_code else answer
        except (ConnectionError, web.RequestPayloadError):
            return _closing(plain(400))
        except Exception as error:  # noqa: BLE001  # our own bug, in one answer: the others go on
            self._told(error)
            return plain(500)
        self._told(None)
        return response

    def _refused(self, request: web.Request) -> int:
        """The status to refuse it with at once, or 0."""
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1 or not request.raw_path.startswith("/") or request.raw_path.startswith("//"):
            return 400
        sockname = request.get_extra_info("sockname")
        if not sockname or not self._hosts.allows(hosts[0], str(sockname[0])):
            return 421
        if (request.content_length or 0) > BODY_BYTES_MAX:
            return 413
        return 0


def _route_of(request: web.Request) -> str:
    """The path as far as it is ours, without what a request put into it."""
    resource = request.match_info.route.resource
    return "other" if resource is None else resource.canonical.partition("/{")[0]


def _closing(response: web.Response) -> web.Response:
    response.force_close()
    return response
