"""The paths of the listener and what each answers. No path changes anything but a heartbeat's, and none shows the
configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from aiohttp import web
from aiohttp.typedefs import Handler

from engine.config.http_tables import HttpTable
from engine.http import health
from engine.http.guard import BODY_BYTES_MAX, Guard, Told, headers_of, plain
from engine.http.health import Verdict, Vitals
from engine.http.heartbeats import HeartbeatDesk, same_token
from engine.http.hosts import Hosts
from engine.http.metrics import Exposition
from engine.http.tally import Guesses, Tally
from engine.ports import Clock
from engine.runtime.turns import in_turns

__all__ = ["Sources", "application"]

_BEARER: Final = "bearer "
_ASK: Final = {"WWW-Authenticate": "Bearer"}
_LATER: Final = {"Retry-After": "1"}
_OWN_PAGES: Final = ("none", "same-origin")


class Sources(NamedTuple):
    """Where the answers come from.

    Args:
        vitals: How the engine is; with its components if true.
        figures: Its own metrics by canonical series text.
        told: See `Guard`.
    """

    clock: Clock
    vitals: Callable[[bool], Vitals]
    figures: Callable[[], Mapping[str, float]]
    told: Told


def application(table: HttpTable, sources: Sources, desk: HeartbeatDesk, tally: Tally) -> web.Application:
    """All of it, ready to be served."""
    site = _Site(table, sources, desk)
    guard = Guard(Hosts(table.allowed_hosts), tally, sources.told)
    app = web.Application(middlewares=[guard.middleware()], client_max_size=BODY_BYTES_MAX)
    for name, judge in (("live", health.live), ("ready", health.ready), ("startup", health.startup)):
        app.router.add_get(f"/health/{name}", site.health(judge))
    app.router.add_get("/metrics", site.metrics)
    for method in ("GET", "POST"):
        for path in ("/heartbeat/{name}", "/heartbeat/{name}/{word}"):
            app.router.add_route(method, path, site.heartbeat)
    return app


class _Site:
    def __init__(self, table: HttpTable, sources: Sources, desk: HeartbeatDesk) -> None:
        self._token = table.token
        self._sources = sources
        self._desk = desk
        self._guesses = Guesses()
        self._rendering = asyncio.Lock()
        self._exposition = Exposition(sources.figures, sources.clock)

    def health(self, judge: Callable[[Vitals], Verdict]) -> Handler:
        """An answer to one of the three questions: its status for everybody, its reasons for who may know them."""

        async def handle(request: web.Request) -> web.StreamResponse:
            whole = self._admits(request) == 0
            vitals = self._sources.vitals(whole)
            verdict = judge(vitals)
            headers = headers_of({"Content-Type": health.CONTENT_TYPE})
            body = verdict.body(vitals.name, whole=whole)
            return web.Response(status=verdict.status, body=body, headers=headers)

        return handle

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """The engine's own metrics."""
        if refused := self._admits(request):
            return self._refused(refused)
        accept = ",".join(request.headers.getall("Accept", []))
        async with self._rendering:  # so that many at once make it once
            body, content_type = await in_turns(self._exposition.rendering(accept))
        return web.Response(body=body, headers=headers_of({"Content-Type": content_type}))

    async def heartbeat(self, request: web.Request) -> web.StreamResponse:
        """A call of somebody's job."""
        if "Origin" in request.headers or request.headers.get("Sec-Fetch-Site", "none") not in _OWN_PAGES:
            return plain(403)  # a browser, sent here by a page that it was looking at
        if self._is_exhausted(request):
            return plain(429, _LATER)
        given = request.match_info
        answer = self._desk.call(given["name"], given.get("word", ""), _token_of(request))
        if answer.status == 401:
            self._note_guess(request)
        if answer.status != 200:
            return self._refused(answer.status)
        return web.Response(text=answer.word + "\n", headers=headers_of({}))

    def _admits(self, request: web.Request) -> int:
        """0 if the request brings the token, or none is asked for; else the status to refuse it with."""
        if self._token is None:
            return 0
        if self._is_exhausted(request):
            return 429
        if same_token(self._token, _token_of(request)):
            return 0
        self._note_guess(request)
        return 401

    def _note_guess(self, request: web.Request) -> None:
        """A token was wrong. To bring none is no guess: so do the health checks."""
        if _token_of(request):
            self._guesses.wrong(request.remote or "", self._sources.clock.monotonic())

    def _refused(self, status: int) -> web.Response:
        return plain(status, _ASK if status == 401 else _LATER if status in (429, 503) else None)

    def _is_exhausted(self, request: web.Request) -> bool:
        return self._guesses.exhausted(request.remote or "", self._sources.clock.monotonic())


def _token_of(request: web.Request) -> str:
    """What the request brings; empty for none."""
    given = request.headers.get("Authorization", "")
    return given[len(_BEARER) :].strip() if given[: len(_BEARER)].lower() == _BEARER else ""
