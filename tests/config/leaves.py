"""A probe and a sink with an option of every type, so that tests of the loader depend on no real one."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from engine.durations import Duration
from engine.ports import Options
from engine.secrets import Secret


class Limits(Options, frozen=True, kw_only=True):
    """A table in a table.

    Args:
        body_bytes_max: How much is read.
    """

    body_bytes_max: Annotated[int, Meta(ge=1, le=1_000_000)] = 1000


class DemoOptions(Options, frozen=True, kw_only=True):
    """Options of the demo probe.

    Args:
        url: Where to look,
            and nowhere else.
        method: How to ask.
    """

    url: str
    method: Literal["GET", "HEAD"] = "GET"
    retries: Annotated[int, Meta(ge=0, le=10)] = 2
    ratio: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    verify: bool = True
    pause: Annotated[Duration, Meta(extra={"min_ms": 1000, "max_ms": 60_000})] = Duration(2000)
    statuses: list[int] = []
    file: Path | None = None
    either: int | list[int] = 1
    limits: Limits = Limits()
    token: Secret | None = None
    headers: dict[str, Secret] = {}
    code: Annotated[str, Meta(pattern="^[a-z]+$", min_length=1, max_length=5)] = "a"

    def __post_init__(self) -> None:
        if "://" not in self.url:
            raise ValueError(f"url: {self.url} has no scheme; write one like http://127.0.0.1/")
        if self.method == "HEAD" and self.statuses:
            raise ValueError("`statuses` are of no use with HEAD")
        if self.retries == 7:
            raise ValueError("seven is not liked here")


class Measuring:
    """The methods of a probe."""

    async def open(self) -> None: ...

    async def collect(self) -> list[Any]:
        return []

    async def close(self) -> None: ...


class Recording:
    """The methods of a recorder."""

    WANTS: ClassVar[frozenset[str]] = frozenset({"health"})

    async def open(self) -> None: ...

    async def write(self, records: Any) -> None: ...

    async def close(self) -> None: ...


class DemoProbe(Measuring):
    """Measures nothing."""

    Options: ClassVar[type[DemoOptions]] = DemoOptions
    DEFAULT_INTERVAL: ClassVar[str] = "30s"
    DEFAULT_TIMEOUT: ClassVar[str] = "10s"
    METRICS: ClassVar[tuple[str, ...]] = ("demo_value", "demo_total")


class PlainOptions(Options, frozen=True, kw_only=True):
    """No options."""


class PlainProbe(Measuring):
    """Needs no options, and does not say what it measures."""

    Options: ClassVar[type[PlainOptions]] = PlainOptions
    DEFAULT_INTERVAL: ClassVar[str] = "5s"
    DEFAULT_TIMEOUT: ClassVar[str] = "20s"


class ClashingOptions(Options, frozen=True, kw_only=True):
    """An option that every probe has already."""

    interval: int = 5


class ClashingProbe(PlainProbe):
    """Its author did not read the rules."""

    Options: ClassVar[Any] = ClashingOptions


class NoOptions:
    """Not a probe at all."""


class OddOptions(Options, frozen=True, kw_only=True):
    """A type of option that TOML has no form for."""

    data: bytes = b""


class OddProbe(PlainProbe):
    """Its option can't be configured."""

    Options: ClassVar[Any] = OddOptions


class UnreadableOptions(Options, frozen=True, kw_only=True):
    """An annotation that is not there at run time."""

    data: "NotImported" = 1  # type: ignore[name-defined]  # noqa: F821


class UnreadableProbe(PlainProbe):
    """Its options can't be read."""

    Options: ClassVar[Any] = UnreadableOptions


class PushOptions(Options, frozen=True, kw_only=True):
    """Options of the demo sink."""

    url: Secret
    size: int = msgspec.field(default=5)


class PushSink(Recording):
    """Takes nothing."""

    Options: ClassVar[type[PushOptions]] = PushOptions


class ScreenSink(Recording):
    """Takes nothing, and needs no options."""

    Options: ClassVar[type[PlainOptions]] = PlainOptions


class MuteProbe:
    """Its author forgot to measure."""

    Options: ClassVar[type[PlainOptions]] = PlainOptions
    DEFAULT_INTERVAL: ClassVar[str] = "5s"
    DEFAULT_TIMEOUT: ClassVar[str] = "5s"

    async def open(self) -> None: ...

    async def close(self) -> None: ...


class IdleSink:
    """Neither records nor tells."""

    Options: ClassVar[type[PlainOptions]] = PlainOptions

    async def open(self) -> None: ...

    async def close(self) -> None: ...


class WantlessSink(IdleSink):
    """Does not say which records it takes, and can't deliver what it renders."""

    async def write(self, records: Any) -> None: ...

    def render(self, notification: Any) -> bytes:
        return b""
