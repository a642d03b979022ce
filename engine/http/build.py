"""The listener put together, from what the engine is made of. Imports aiohttp: only for those who listen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from engine.config.shape import Config
from engine.http.health import Vitals
from engine.http.heartbeats import HeartbeatDesk
from engine.http.server import HttpServer
from engine.http.site import Sources, application
from engine.http.tally import Tally
from engine.runtime.contain import describe
from engine.runtime.delivery import SinkRunner
from engine.runtime.keeping import Keeper
from engine.runtime.stepping import Stepper
from engine.runtime.supervisor import ProbeRunner, Shared

__all__ = ["Listener"]

_COMPONENT: Final = "http"


class Listener:
    """The listener as the engine has it: a component to run, and figures of its own.

    Args:
        keeper: Has the ledger.
        phase: What the engine is doing, see `engine.status.EngineStatus`.
        figures: The engine's own metrics.

    Raises:
        ConfigError: Nothing can listen there.
        ValueError: The configuration has no `[http]`.
    """

    def __init__(
        self,
        config: Config,
        shared: Shared,
        stepper: Stepper,
        runners: Sequence[ProbeRunner | SinkRunner],
        keeper: Keeper,
        phase: Callable[[], str],
        figures: Callable[[], Mapping[str, float]],
    ) -> None:
        if config.http is None:
            raise ValueError("the configuration has no [http]")
        self._shared = shared
        self._failed = False

        def vitals(whole: bool) -> Vitals:
            components = [runner.status() for runner in runners] if whole else []
            now_s = shared.clock.monotonic()
            progress, trouble = shared.progress.read(), keeper.status().trouble
            return Vitals(config.engine.name, phase(), stepper.steps, progress, now_s, components, trouble)

        tally = Tally()
        self._desk = HeartbeatDesk(config.heartbeats, config.http.token, shared.clock, shared.channel.put_nowait)
        sources = Sources(shared.clock, vitals, figures, self._told)
        app = application(config.http, sources, self._desk, tally)
        self._server = HttpServer(config.http, app, tally, str(config.source or "the configuration"))
        self.port = self._server.port
        self.run = self._server.run
        self.close = self._server.close

    def figures(self) -> Mapping[str, float]:
        """Its own metrics, by canonical series text."""
        return {**self._server.tally.figures(), **self._desk.figures()}

    def _told(self, error: Exception | None) -> None:
        """An answer was an error of ours, or was none."""
        if error is None and not self._failed:
            return
        now_ms, reporter = self._shared.clock.now_ms(), self._shared.reporter
        self._failed = error is not None
        if error is None:
            self._shared.report(reporter.recovered(now_ms, _COMPONENT))
        else:
            message = describe(error).message
            self._shared.report(reporter.failed(now_ms, _COMPONENT, "raised", message, status="degraded"))
