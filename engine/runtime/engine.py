"""The public class: an engine inside somebody else's event loop, and out of their way.

It installs no signal handlers, prints nothing, configures no logging, keeps no global state, starts few threads, and
without a state folder writes no file. `emit` never waits and never raises.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio

from engine.channel import Channel
from engine.clock import SystemClock
from engine.codec import EventCodec
from engine.config.shape import Config
from engine.conformance import probe_faults, sink_faults
from engine.durations import Duration
from engine.errors import LongwatchError
from engine.events import DomainEvent, Event, SampleBatch
from engine.ports import Clock, Probe, Sink
from engine.runtime.assembly import (
    build_blindness,
    build_core,
    build_delivery,
    build_probes,
    build_sentinel,
    build_sinks,
)
from engine.runtime.commands.build import build_commands
from engine.runtime.contain import Containment, settle
from engine.runtime.intake import Intake, Refused
from engine.runtime.keyseries import key_metrics
from engine.runtime.listening import build_listener
from engine.runtime.overview import Overview
from engine.runtime.past import build_refiller
from engine.runtime.pipeline import Parts, Pipeline, deliver_to
from engine.runtime.progress import ProgressBook
from engine.runtime.report import Reporter
from engine.runtime.resuming import build_alerts, build_internal, took_back_all
from engine.runtime.statefiles import StateLock, StatusFile
from engine.runtime.stepping import Stepper
from engine.runtime.supervisor import ProbeSpec, Shared
from engine.runtime.threads import ThreadPool
from engine.runtime.waking import Waking
from engine.status import AlertStatus, EngineStatus

__all__ = ["Engine"]

EXIT_TIMEOUT_S = 5.0
"""How long leaving `async with` may take when the host's own code has raised."""
STOP_MARGIN_S = 5.0


class Engine:
    """One watch. It runs once; make a new one to run again.

    Args:
        config: What to watch, from `engine.config.load`; None is an empty one, to which a host adds.
        clock: Instead of the machine's clocks.
        event_types: The host's own event types, each a `DomainEvent` with a tag.
        probes: Ready-made probes by name, at their default interval; see `add_probe`.
        sinks: Ready-made sinks by name.
        rng: Instead of a random generator of its own; decides jitter.

    Raises:
        TypeError: `config` is no `Config`, or one of `event_types` no `DomainEvent` with a tag of its own.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        clock: Clock | None = None,
        event_types: Sequence[type[DomainEvent]] = (),
        probes: Mapping[str, Probe] | None = None,
        sinks: Mapping[str, Sink] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        if not isinstance(config, Config | None):
            raise TypeError(f"config is a {type(config).__name__}; a file is read by Engine.from_toml(path)")
        self.config = config if config is not None else Config()
        self._clock: Clock = clock if clock is not None else SystemClock()
        EventCodec(*event_types)  # refuses what could never be written
        self._event_types = tuple(event_types)
        self._rng = rng if rng is not None else random.Random()
        self._extra_probes: dict[str, ProbeSpec] = {}
        self._extra_sinks: dict[str, Sink] = {}
        self._parts: Parts | None = None
        self._pipeline: Pipeline | None = None
        self._root: asyncio.Task[None] | None = None
        self._lock: StateLock | None = None
        self._overview: Overview | None = None
        self._emit_refused: dict[str, int] = {}
        for name, probe in (probes or {}).items():
            self.add_probe(name, probe)
        for name, sink in (sinks or {}).items():
            self.add_sink(name, sink)

    @classmethod
    def from_toml(cls, path: str | Path, overrides: Sequence[str] = ()) -> Self:
        """An engine for a configuration file.

        Args:
            overrides: Each `table.name.key=value`, as with `--set`.

        Raises:
            ConfigError: With every problem in the file.
        """
        from engine.config.load import load

        return cls(load(Path(path), overrides=overrides, environ=os.environ))

    def add_probe(self, name: str, probe: Probe, interval: str | None = None, timeout: str | None = None) -> None:
        """Add a ready-made probe, before the start.

        Args:
            interval: Such as `"1s"`; otherwise the probe's `DEFAULT_INTERVAL`.
            timeout: Otherwise the probe's `DEFAULT_TIMEOUT`, or the interval; never longer than the interval.

        Raises:
            LongwatchError: The engine runs already, or the name is taken.
            ValueError: Not a duration, or none at all.
            TypeError: Not a probe; the message says what is missing.
        """
        self._check_new(name, self._extra_probes)
        if faults := probe_faults(probe):
            raise TypeError(f"probe {name}: {type(probe).__name__} has {' and '.join(faults)}")
        default: str | None = getattr(probe, "DEFAULT_INTERVAL", None)
        if interval is None and default is None:
            words = f'{type(probe).__name__} has no DEFAULT_INTERVAL: add_probe("{name}", probe, interval="5s")'
            raise ValueError(f"probe {name}: {words}")
        every = Duration.parse(interval or default or "")
        if every <= 0:
            raise ValueError("an interval must be longer than 0s")
        longest: str = timeout or getattr(probe, "DEFAULT_TIMEOUT", None) or str(every)
        limit = min(Duration.parse(longest), every)
        self._extra_probes[name] = ProbeSpec(name, type(probe).__name__, int(every), int(limit), probe)

    def add_sink(self, name: str, sink: Sink) -> None:
        """Add a ready-made sink, before the start. Raises `LongwatchError` and `TypeError` as `add_probe` does."""
        self._check_new(name, self._extra_sinks)
        if faults := sink_faults(sink):
            raise TypeError(f"sink {name}: {type(sink).__name__} has {' and '.join(faults)}")
        self._extra_sinks[name] = sink

    async def start(self) -> None:
        """Start everything in the running loop and return. A second call does nothing.

        Raises:
            ConfigError: Something can't be built, or another engine uses the state folder.
            LongwatchError: The engine has been stopped.
        """
        if self._root is not None:
            if self._root.done():
                raise LongwatchError("an engine runs once; make a new one to run again")
            return
        if self.config.engine.state_dir is not None:
            self._lock = StateLock(self.config.engine.state_dir)
            self._lock.acquire()
        try:
            self._parts = self._build()
            self._overview = Overview(self.config, self._clock, self._parts, self._emit_refused)
        except BaseException:
            self._release()
            raise
        self._pipeline = Pipeline(self._parts)
        self._root = asyncio.get_running_loop().create_task(self._pipeline.run(), name="longwatch")
        self._root.add_done_callback(self._ended)
        try:
            await asyncio.sleep(0)  # its first turn: from here on everything runs
        except asyncio.CancelledError:
            await self._finish(EXIT_TIMEOUT_S)
            raise

    async def stop(self) -> None:
        """Drain, flush, close and return; at most the shutdown time. Any number of calls, at any time, is one stop."""
        await self._finish(None)
        self._raise_if_broken()

    def request_stop(self) -> None:
        """Begin to stop and return at once; `wait_stopped` tells when it is done."""
        if self._pipeline is not None:
            self._pipeline.request_stop()

    async def wait_stopped(self) -> None:
        """Wait until the engine has stopped. Raises what went wrong inside, if the engine itself was broken."""
        if self._root is None:
            raise LongwatchError("the engine was not started")
        await asyncio.wait({self._root})
        self._raise_if_broken()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.stop()
        else:
            await self._finish(EXIT_TIMEOUT_S)

    def emit(self, event: Event) -> bool:
        """Hand over an event from the host's own code. Returns whether it was taken.

        Never waits and never raises: an event that is not valid, or for which there is no room, is counted. To be
        called in the engine's loop; from a thread use `loop.call_soon_threadsafe(engine.emit, event)`.
        """
        try:
            if self._parts is None:
                return self._refuse("not_running")
            shared = self._parts.shared
            return shared.channel.put_nowait(shared.intake.one(event, self._clock.now_ms()))
        except Refused as refused:
            return self._refuse(refused.reason)
        except Exception:  # noqa: BLE001  # a hostile object; the host's path must not feel it
            return self._refuse("type")

    def now_ms(self) -> int:
        """Event time, milliseconds since the epoch: what to stamp events with. Unlike the wall clock it never stands
        still or goes back."""
        return self._clock.now_ms()

    def alerts(self) -> tuple[AlertStatus, ...]:
        """Every pending and firing alert; `status` lists the foremost 200. While rules are being judged in slices the
        foremost as they were before."""
        return () if self._parts is None else tuple(self._parts.stepper.alerts())

    def status(self) -> EngineStatus:
        """How everything is now."""
        if self._overview is None:
            name, now_ms = self.config.engine.name, self._clock.now_ms()
            return EngineStatus(name, os.getpid(), "starting", now_ms, now_ms)
        return self._overview.status(self._phase())

    @property
    def http_port(self) -> int | None:
        """The port it listens at, the one that was found where `http.port` is 0; None where it does not listen."""
        listener = self._parts.listener if self._parts is not None else None
        return None if listener is None else listener.port

    def _phase(self) -> str:
        if self._root is not None and self._root.done():
            return "stopped"
        return "starting" if self._pipeline is None else self._pipeline.phase

    def _build(self) -> Parts:
        settings = self.config.engine
        pool = ThreadPool(settings.probe_threads_max)
        shared = Shared(
            clock=self._clock,
            channel=Channel(settings.queue_samples_max, settings.queue_policy),
            containment=Containment(),
            intake=Intake(settings.batch_samples_max, settings.series_max, self._event_types),
            reporter=Reporter(),
            rng=self._rng,
            progress=ProgressBook(),
            waking=Waking(),
        )
        sentinel, folder = build_sentinel(self.config, shared), settings.state_dir
        specs = build_sinks(self.config, self._extra_sinks, shared, pool)
        keeper, sinks, policy = build_delivery(self.config, specs, shared)
        core = build_core(self.config, self._event_types)
        blindness = build_blindness(self.config, shared, sentinel)
        internal = build_internal(self.config, keeper, blindness)
        alerts, resume = build_alerts(self.config, core, keeper, blindness, internal, pool)

        def stand() -> None:
            policy.stand(stepper.alerts(), stepper.ended, whole=not stepper.errors and took_back_all(core, keeper))
            keeper.taken_back.set()

        stepper = Stepper(
            core,
            shared,
            resolution_ms=int(settings.resolution),
            slice_s=settings.slice.seconds,
            key_metrics=key_metrics(self.config),
            own=self._own_batch,
            deliver=deliver_to(sinks),
            record=keeper.record,
            blindness=blindness,
            internal=internal,
            refiller=build_refiller(core, sinks, settings.refill_samples_max, pool),
            keeper=alerts,
            resume=resume,
            resumed=stand,
        )
        probes = build_probes(self.config, list(self._extra_probes.values()), shared, pool, sentinel)
        status_file = None
        if folder is not None and alerts is not None:
            status_file = StatusFile(folder, self.status, shared, pool, alerts.quiet)
        timeout_s = settings.shutdown_timeout.seconds
        listener = build_listener(self.config, shared, stepper, [*probes, *sinks], keeper, self.status, self._phase)
        commands = build_commands(self.config, shared, sinks, keeper.ledger, self.status, policy.book.doubt)
        parts = (shared, stepper, probes, sinks, keeper, policy, status_file, pool, timeout_s)
        return Parts(*parts, sentinel, listener, commands)

    def _own_batch(self, now_ms: int) -> SampleBatch | None:
        return None if self._overview is None else self._overview.due_batch(now_ms)

    def _refuse(self, reason: str) -> bool:
        self._emit_refused[reason] = self._emit_refused.get(reason, 0) + 1
        return False

    def _check_new(self, name: str, taken: Mapping[str, object]) -> None:
        if self._root is not None:
            raise LongwatchError("probes and sinks are added before the start")
        if name in taken:
            raise LongwatchError(f'the name "{name}" is taken')

    async def _finish(self, timeout_s: float | None) -> None:
        """Stop, and stay until that is done, whatever cancels the wait meanwhile; then pass the cancellation on."""
        root, pipeline = self._root, self._pipeline
        if root is None or pipeline is None:
            return
        pipeline.request_stop(timeout_s)
        with anyio.CancelScope(shield=True):  # a cancelled scope of the host's would ask again in each loop turn
            limit_s = min(self.config.engine.shutdown_timeout.seconds, timeout_s or float("inf")) + STOP_MARGIN_S
            cancelled = await settle([root], limit_s)
            if not root.done():  # hurried, or broken
                for _ in range(2):  # one cancellation means stop, a second means at once
                    root.cancel()
                    cancelled += await settle([root], STOP_MARGIN_S / 2)
        if cancelled:
            raise asyncio.CancelledError

    def _ended(self, root: asyncio.Task[None]) -> None:
        self._release()
        if not root.cancelled():
            root.exception()  # taken note of here, raised by `stop` and `wait_stopped`

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _raise_if_broken(self) -> None:
        root = self._root
        if root is not None and root.done() and not root.cancelled() and (error := root.exception()) is not None:
            raise error
