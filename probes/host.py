"""The `host` probe: processor, memory, file systems, network and disks of this machine, by psutil.

`read` gathers everything in one blocking call on the engine's thread pool; what comes after it is pure.
It must never report 0 for what it could not read, never call a thing ended because it could not be
read, and never use psutil's module-global memory (`cpu_percent`, `nowrap`), which engines would share.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import psutil

from engine.errors import ProbeError
from engine.events import Event, Health
from engine.ports import Options, ProbeContext
from engine.text import clean
from probes.batcher import Batcher, Key, key

__all__ = ["HostOptions", "HostProbe", "Reading", "cpu_percent", "local_mountpoints", "read"]

DEVICES_MAX = 256
"""Network interfaces, disks and mount points, each: a container host can have thousands of interfaces."""
CPU_WINDOW_S_MIN = 0.1
"""Shortest span `host_cpu_percent` is worked out over: the kernel counts in steps of 10 ms."""
FIRST_CPU_SPAN_S = 0.2
"""The first measurement waits until so much has passed since opening, so that it has a processor load, too."""
TROUBLES_TOLD_MAX = 5

_CPU = key("host_cpu_percent")
_NETWORK = ("host_network_receive_bytes_total", "host_network_transmit_bytes_total")
_DISK_IO = ("host_disk_read_bytes_total", "host_disk_written_bytes_total")
_NOT_MOUNTED = "not_mounted"

# Full by design, so their percentage says nothing.
_READ_ONLY_TYPES = frozenset({"squashfs", "iso9660", "udf", "erofs", "cramfs", "romfs"})
# Memory, loop and removable devices, and partitions, whose bytes their disk counts already.
_UNREAL_DISK = re.compile(r"(?:loop|z?ram|fd|sr)\d+")
_PARTITION = re.compile(r"((?:sd|hd|vd|xvd)[a-z]+)\d+|((?:nvme\d+n|mmcblk|nbd)\d+)p\d+")
# Loopback never leaves the host; a veth is one container's end, with a new random name each time.
_UNREAL_INTERFACE = re.compile(r"lo\d*|veth.*")


class HostOptions(Options, frozen=True, kw_only=True):
    """Options of `[probe.host]`.

    Args:
        disks: Mount points to watch; without it, those of local file systems, found anew each time.
        network: Whether to count the bytes of network interfaces.
        disk_io: Whether to count the bytes of disks.
    """

    disks: list[str] | None = None
    network: bool = True
    disk_io: bool = True

    def __post_init__(self) -> None:
        for point in self.disks or ():
            if not point.startswith("/"):
                raise ValueError(f'disks: takes mount points such as "/" or "/data", not "{clean(point, 80)}"')


class Reading(msgspec.Struct):
    """What one look at the host gave.

    Args:
        cpu_s: Seconds by kind of work (`user`, `idle`, ...), summed over all processors; empty if unreadable.
        values: What could be read.
        failed: What could not, with a short reason. A key without labels stands for the whole metric.
        left_out: How many devices were beyond `DEVICES_MAX`.
    """

    cpu_s: dict[str, float] = {}
    values: dict[Key, float] = {}
    failed: dict[Key, str] = {}
    left_out: int = 0

    def may_exist(self, series: Key) -> bool:
        """Whether a series without a value may still be there: its source could not be read."""
        reason = self.failed.get(series) or self.failed.get((series[0], ()))
        return series == _CPU or (reason is not None and reason != _NOT_MOUNTED)


def read(options: HostOptions, now_ms: int, system: Any = psutil) -> Reading:
    """Read everything once. Blocks; a hung network file system in `disks` blocks for as long as it hangs.

    Args:
        options: What to read.
        now_ms: Wall time, for the uptime where only the time of boot is known.
        system: psutil, or what stands in for it.

    Raises nothing of psutil's: what fails is in `Reading.failed`.
    """
    reading = Reading()
    _part(reading, (_CPU[0],), lambda: _cpu(reading, system))
    _part(reading, ("host_cpu_count",), lambda: {key("host_cpu_count"): float(system.cpu_count())})
    _part(reading, ("host_load1",), lambda: {key("host_load1"): float(system.getloadavg()[0])})
    _part(reading, ("host_memory_percent",), lambda: _memory(system))
    _part(reading, ("host_swap_percent",), lambda: _swap(system))
    _part(reading, ("host_uptime_seconds",), lambda: _uptime(system, now_ms))
    if options.network:
        _part(reading, _NETWORK, lambda: _network(reading, system))
    if options.disk_io:
        _part(reading, _DISK_IO, lambda: _disk_io(reading, system))
    # Last, so that a mount point that hangs holds up nothing but the answer.
    if options.disks is None or options.disks:
        _part(reading, ("host_disk_percent",), lambda: _disks(reading, options.disks, system))
    return reading


def _part(reading: Reading, metrics: Sequence[str], take: Callable[[], Mapping[Key, float]]) -> None:
    try:
        reading.values.update(take())
    except Exception as error:  # noqa: BLE001  # an odd /proc makes psutil raise nearly anything (F114)
        reading.failed.update((key(metric), type(error).__name__) for metric in metrics)


def _cpu(reading: Reading, system: Any) -> Mapping[Key, float]:
    reading.cpu_s = {kind: float(seconds) for kind, seconds in system.cpu_times()._asdict().items()}
    return {}


def _memory(system: Any) -> Mapping[Key, float]:
    memory = system.virtual_memory()
    return {key("host_memory_percent"): 100.0 * (memory.total - memory.available) / memory.total}


def _swap(system: Any) -> Mapping[Key, float]:
    swap = system.swap_memory()
    if not swap.total:  # a host without swap does not have all of it free
        return {}
    return {key("host_swap_percent"): 100.0 * swap.used / swap.total}


def _uptime(system: Any, now_ms: int) -> Mapping[Key, float]:
    # The kernel's own count goes on in suspend and does not move when the wall clock is set.
    if folder := getattr(system, "PROCFS_PATH", ""):
        seconds = float(Path(folder, "uptime").read_text(encoding="ascii").split()[0])
    else:
        seconds = max(0.0, now_ms / 1000 - system.boot_time())
    return {key("host_uptime_seconds"): seconds}


def _network(reading: Reading, system: Any) -> Mapping[Key, float]:
    counters = system.net_io_counters(pernic=True, nowrap=False)
    names = _bounded(reading, (name for name in counters if not _UNREAL_INTERFACE.fullmatch(name)))
    received, sent = _NETWORK
    return {key(received, device=name): float(counters[name].bytes_recv) for name in names} | {
        key(sent, device=name): float(counters[name].bytes_sent) for name in names
    }


def _disk_io(reading: Reading, system: Any) -> Mapping[Key, float]:
    counters = system.disk_io_counters(perdisk=True, nowrap=False)
    names = _bounded(reading, (name for name in counters if _is_disk(name, counters)))
    read_bytes, written_bytes = _DISK_IO
    return {key(read_bytes, device=name): float(counters[name].read_bytes) for name in names} | {
        key(written_bytes, device=name): float(counters[name].write_bytes) for name in names
    }


def _is_disk(name: str, names: Mapping[str, object]) -> bool:
    if _UNREAL_DISK.fullmatch(name):
        return False
    part = _PARTITION.fullmatch(name)
    # Some cloud hosts have xvda1 without an xvda: then the partition is all there is.
    return part is None or (part[1] or part[2]) not in names


def _disks(reading: Reading, wanted: Sequence[str] | None, system: Any) -> Mapping[Key, float]:
    partitions = system.disk_partitions(all=True)
    mounted = {partition.mountpoint for partition in partitions}
    points = local_mountpoints(partitions) if wanted is None else [os.path.normpath(p) for p in wanted]
    values: dict[Key, float] = {}
    for point in _bounded(reading, points):
        series = key("host_disk_percent", mountpoint=point)
        if point not in mounted:
            # The folder is part of another file system now, whose figures would pass for this one's.
            reading.failed[series] = _NOT_MOUNTED
            continue
        try:
            usage = system.disk_usage(point)
        except Exception as error:  # noqa: BLE001  # this disk is left out, the others are not
            reading.failed[series] = type(error).__name__
            continue
        if usage.used + usage.free > 0:  # as `df`: of what users can have, without the part kept for root
            values[series] = 100.0 * usage.used / (usage.used + usage.free)
    return values


def local_mountpoints(partitions: Iterable[Any], is_folder: Callable[[str], bool] = os.path.isdir) -> list[str]:
    """Choose the mount points worth watching: `/`, and each writable local file system once.

    Args:
        partitions: As `psutil.disk_partitions(all=True)` gives them.
        is_folder: Whether a path is a folder; containers have single files mounted from the host.
    """
    chosen: dict[str, str] = {}
    for partition in partitions:
        point, device = partition.mountpoint, partition.device
        if point != "/" and not (_is_local(device, partition.fstype) and is_folder(point)):
            continue
        # A device mounted in several places (bind mounts, subvolumes) is one amount of space.
        known = chosen.get(device, point)
        chosen[device] = min(known, point, key=lambda path: (len(path), path))
    return sorted(set(chosen.values()))


def _is_local(device: str, kind: str) -> bool:
    if kind in _READ_ONLY_TYPES or (kind.startswith("fuse") and kind != "fuseblk"):
        return False
    return device.startswith("/dev/") or kind == "zfs"


def _bounded(reading: Reading, names: Iterable[str]) -> list[str]:
    found = sorted(set(names))
    reading.left_out += max(0, len(found) - DEVICES_MAX)
    return found[:DEVICES_MAX]


def cpu_percent(before: Mapping[str, float], after: Mapping[str, float], cores: float = 1.0) -> float | None:
    """Return how busy all processors together were between two counts, 0 to 100.

    Each kind is compared on its own, and one that went backwards (`iowait` may, and all do when a virtual
    machine moves) counts as unchanged, as in procps' `top`. Waiting for a disk is not work. `guest` is
    within `user` already. Time stolen by the hypervisor counts as busy: it was wanted and not to be had.

    Args:
        before: Seconds by kind, earlier.
        after: Seconds by kind, later.
        cores: How many processors the seconds are summed over.

    Returns:
        None if less than `CPU_WINDOW_S_MIN` went by: too little to tell.
    """
    grown = {kind: max(0.0, after[kind] - before[kind]) for kind in after if kind in before}
    waiting = grown.pop("idle", 0.0) + grown.pop("iowait", 0.0)
    busy = sum(seconds for kind, seconds in grown.items() if kind not in {"guest", "guest_nice"})
    if busy + waiting < CPU_WINDOW_S_MIN * cores:
        return None
    return 100.0 * (busy / (busy + waiting))


def _troubles(reading: Reading) -> Iterator[str]:
    for (metric, labels), reason in reading.failed.items():
        yield f"{metric}{''.join(f' {value}' for _, value in labels)}: {reason}"
    if reading.left_out:
        yield f"{reading.left_out} devices beyond {DEVICES_MAX}"


def _summary(troubles: list[str]) -> str:
    more = len(troubles) - TROUBLES_TOLD_MAX
    return clean("; ".join(troubles[:TROUBLES_TOLD_MAX]) + (f"; {more} more" if more > 0 else ""))


class HostProbe:
    """Measures the host psutil sees. In a container that is the machine around it, not the container."""

    Options: ClassVar[type[HostOptions]] = HostOptions
    DEFAULT_INTERVAL: ClassVar[str] = "5s"
    DEFAULT_TIMEOUT: ClassVar[str] = "5s"
    METRICS: ClassVar[tuple[str, ...]] = (
        "host_cpu_percent",
        "host_cpu_count",
        "host_load1",
        "host_memory_percent",
        "host_swap_percent",
        "host_disk_percent",
        "host_uptime_seconds",
        *_NETWORK,
        *_DISK_IO,
    )

    def __init__(self, options: HostOptions, context: ProbeContext) -> None:
        self._options = options
        self._context = context
        self._batcher = Batcher(context.labels, context.interval_ms)
        self._cpu_s: dict[str, float] = {}
        self._opened_s: float | None = None
        self._told: list[str] = []

    async def open(self) -> None:
        """Note where the processor's counters stand, so that the first measurement has a span to look at."""
        # Without the file systems: one that hangs must not keep the probe from opening.
        self._cpu_s = (await self._read(HostOptions(disks=[], network=False, disk_io=False))).cpu_s
        self._opened_s = self._context.clock.monotonic() if self._cpu_s else None

    async def collect(self) -> Sequence[Event]:
        """Return one batch, and a health event when what can't be read has changed.

        Raises:
            ProbeError: `unreadable`, if nothing at all could be read.
        """
        await self._let_a_span_pass()
        reading = await self._read(self._options)
        troubles = list(_troubles(reading))
        if not reading.values and not reading.cpu_s:
            raise ProbeError("unreadable", f"nothing of this host can be read: {_summary(troubles)}")
        percent = cpu_percent(self._cpu_s, reading.cpu_s, reading.values.get(key("host_cpu_count"), 1.0))
        if percent is not None or not self._cpu_s:
            self._cpu_s = reading.cpu_s  # too short a span goes on growing
        if percent is not None:
            reading.values = {_CPU: percent} | reading.values
        now_ms = self._context.clock.now_ms()
        batch = self._batcher.batch(now_ms, reading.values, reading.may_exist)
        return [batch, *self._health(now_ms, troubles)]

    async def close(self) -> None:
        """Nothing is held between measurements."""

    async def _let_a_span_pass(self) -> None:
        """Before the first measurement, which would else look at too little time to tell the processor's load."""
        opened_s, self._opened_s = self._opened_s, None
        if opened_s is not None:
            left_s = opened_s + FIRST_CPU_SPAN_S - self._context.clock.monotonic()
            await asyncio.sleep(max(min(left_s, self._context.timeout_ms / 2000), 0.0))

    async def _read(self, options: HostOptions) -> Reading:
        now_ms = self._context.clock.now_ms()
        return await self._context.call(lambda: read(options, now_ms))

    def _health(self, now_ms: int, troubles: list[str]) -> Iterator[Health]:
        if troubles == self._told:
            return
        self._told = troubles
        component = f"probe.{self._context.name}"
        if troubles:
            yield Health(now_ms, component, "degraded", "unavailable", _summary(troubles), len(troubles))
        else:
            yield Health(now_ms, component, "ok", "recovered", "everything can be read again")
