import asyncio
import json
import os
import subprocess
import sys
import threading
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.clock import SystemClock
from engine.errors import ProbeError
from engine.events import Health, SampleBatch
from engine.runtime.threads import ThreadPool
from engine.series import split_series
from engine.testing import VirtualClock, run_virtual
from probes import host
from probes.batcher import key
from probes.host import DEVICES_MAX, HostOptions, HostProbe, cpu_percent, local_mountpoints, read
from tests.probes.context import StillClock, by_series, context

Cpu = namedtuple("Cpu", "user system idle iowait guest")  # noqa: PYI024  # as psutil's are
Mount = namedtuple("Mount", "device mountpoint fstype")  # noqa: PYI024


class FakeHost:
    """Stands in for psutil. A test changes the attributes; an exception as a value is raised."""

    def __init__(self, folder: Path) -> None:
        self.PROCFS_PATH = str(folder)
        (folder / "uptime").write_text("123.45 99.0\n", encoding="ascii")
        self.cpu: Any = Cpu(10.0, 5.0, 100.0, 0.0, 0.0)
        self.cores: Any = 2
        self.load: Any = (0.5, 0.4, 0.3)
        self.memory: Any = SimpleNamespace(total=1000, available=250)
        self.swap: Any = SimpleNamespace(total=100, used=5)
        self.network: Any = {"eth0": SimpleNamespace(bytes_recv=1, bytes_sent=2)}
        self.disk_io: Any = {"sda": SimpleNamespace(read_bytes=3, write_bytes=4)}
        self.mounts: Any = [Mount("/dev/sda1", "/", "ext4")]
        self.usage: dict[str, Any] = {"/": SimpleNamespace(used=30, free=70)}

    @staticmethod
    def _give(value: Any) -> Any:
        if isinstance(value, BaseException):
            raise value
        return value

    def cpu_times(self) -> Any:
        return self._give(self.cpu)

    def cpu_count(self) -> Any:
        return self._give(self.cores)

    def getloadavg(self) -> Any:
        return self._give(self.load)

    def virtual_memory(self) -> Any:
        return self._give(self.memory)

    def swap_memory(self) -> Any:
        return self._give(self.swap)

    def net_io_counters(self, *, pernic: bool, nowrap: bool) -> Any:
        assert pernic
        assert not nowrap, "nowrap keeps a global of psutil's that engines would share"
        return self._give(self.network)

    def disk_io_counters(self, *, perdisk: bool, nowrap: bool) -> Any:
        assert perdisk
        assert not nowrap
        return self._give(self.disk_io)

    def disk_partitions(self, *, all: bool) -> Any:  # noqa: A002  # psutil's name
        assert all
        return self._give(self.mounts)

    def disk_usage(self, path: str) -> Any:
        return self._give(self.usage[path])

    def mount(self, point: str, device: str, *, used: int = 1, free: int = 3) -> None:
        self.mounts = [*self.mounts, Mount(device, point, "ext4")]
        self.usage[point] = SimpleNamespace(used=used, free=free)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    made = FakeHost(tmp_path)
    real = host.read
    monkeypatch.setattr(host, "read", lambda options, now_ms: real(options, now_ms, made))
    monkeypatch.setattr(
        host, "local_mountpoints", lambda mounts: local_mountpoints(mounts, lambda point: point.startswith("/"))
    )
    return made


async def opened(options: HostOptions | None = None, **kwargs: Any) -> HostProbe:
    clock = kwargs.setdefault("clock", StillClock())
    probe = HostProbe(options or HostOptions(), context("host", **kwargs))
    await probe.open()
    if isinstance(clock, StillClock):
        clock.monotonic_s += 1  # so that the first measurement waits for nothing
    return probe


def batch_of(events: Any) -> SampleBatch:
    assert isinstance(events[0], SampleBatch)
    return events[0]


def health_of(events: Any) -> list[Health]:
    return [event for event in events[1:] if isinstance(event, Health)]


# --- the real host --------------------------------------------------------------------------------


async def test_this_host_gives_sane_values_and_counters_that_grow() -> None:
    probe = await opened(clock=SystemClock(), env="test")
    before = by_series(batch_of(await probe.collect()))
    sum(number * number for number in range(200_000))
    after = by_series(batch_of(await probe.collect()))
    names = {split_series(series)[0] for series in after}
    # A machine for tests may have no network, no disk of its own and no swap.
    assert {"host_cpu_count", "host_load1", "host_memory_percent", "host_uptime_seconds"} <= names
    assert names <= set(HostProbe.METRICS)
    for series, value in after.items():
        name, labels = split_series(series)
        assert labels["env"] == "test"
        assert value >= 0
        if name.endswith("_percent"):
            assert value <= 100
        if name.endswith("_total") and series in before:
            assert value >= before[series]
    assert after['host_memory_percent{env="test"}'] > 0
    assert after['host_cpu_count{env="test"}'] == psutil.cpu_count()


async def test_it_measures_in_a_thread_of_the_engine() -> None:
    """F65: nothing that may block runs in the loop, nor in the loop's default executor."""
    pool, threads = ThreadPool(1), []

    def note(function: Callable[[], Any]) -> Any:
        def noting() -> Any:
            threads.append(threading.current_thread())
            return function()

        return pool.call("probe.host", noting)

    probe = await opened(call=note)
    assert await probe.collect()
    pool.close()
    assert len(threads) == 2
    assert threading.current_thread() not in threads


# --- what is read ---------------------------------------------------------------------------------


async def test_one_batch_has_everything(fake: FakeHost) -> None:
    clock = StillClock()
    probe = await opened(clock=clock)
    fake.cpu = Cpu(16.0, 5.0, 102.0, 2.0, 0.0)
    (batch,) = await probe.collect()
    assert isinstance(batch, SampleBatch)
    assert by_series(batch) == pytest.approx(
        {
            "host_cpu_percent": 60.0,
            "host_cpu_count": 2.0,
            "host_load1": 0.5,
            "host_memory_percent": 75.0,
            "host_swap_percent": 5.0,
            "host_uptime_seconds": 123.45,
            'host_network_receive_bytes_total{device="eth0"}': 1.0,
            'host_network_transmit_bytes_total{device="eth0"}': 2.0,
            'host_disk_read_bytes_total{device="sda"}': 3.0,
            'host_disk_written_bytes_total{device="sda"}': 4.0,
            'host_disk_percent{mountpoint="/"}': 30.0,
        }
    )
    assert {split_series(series)[0] for series in batch.series} == set(HostProbe.METRICS)
    assert (batch.time_ms, batch.interval_ms) == (clock.now_ms(), 5_000)
    fake.cpu = Cpu(17.0, 5.0, 103.0, 2.0, 0.0)
    assert batch_of(await probe.collect()).series is batch.series


async def test_options_leave_out_what_they_say(fake: FakeHost) -> None:
    probe = await opened(HostOptions(disks=[], network=False, disk_io=False))
    names = {split_series(series)[0] for series in batch_of(await probe.collect()).series}
    assert not [name for name in names if "disk" in name or "network" in name]


async def test_no_processor_load_out_of_too_short_a_span(fake: FakeHost) -> None:
    """The kernel counts in steps of 10 ms. Here two cores together grow by 0.125 s, and then by 0.25 s."""
    probe = await opened()
    assert "host_cpu_percent" not in batch_of(await probe.collect()).series
    fake.cpu = Cpu(10.125, 5.0, 100.0, 0.0, 0.0)
    assert "host_cpu_percent" not in batch_of(await probe.collect()).series
    fake.cpu = Cpu(10.125, 5.0, 100.125, 0.0, 0.0)  # the span went on growing
    first = batch_of(await probe.collect())
    assert by_series(first)["host_cpu_percent"] == pytest.approx(50.0)
    # And it has not ended when the next span is too short again.
    assert "host_cpu_percent" not in batch_of(await probe.collect()).series


@pytest.mark.parametrize(("timeout_ms", "waits_s"), [(5_000, 0.2), (100, 0.05)])
def test_the_first_measurement_waits_until_there_is_a_processor_load(
    fake: FakeHost, timeout_ms: int, waits_s: float
) -> None:
    """Once, and never for as long as its time-out."""

    async def main(clock: VirtualClock) -> None:
        async def call(function: Callable[[], Any]) -> Any:
            fake.cpu = Cpu(10.0 + 2 * clock.monotonic(), 5.0, 100.0, 0.0, 0.0)  # both cores are busy
            return function()

        probe = HostProbe(HostOptions(), context("host", clock=clock, call=call, timeout_ms=timeout_ms))
        await probe.open()
        batch = batch_of(await probe.collect())
        assert clock.monotonic() == pytest.approx(waits_s)
        assert by_series(batch).get("host_cpu_percent") == (pytest.approx(100.0) if waits_s == 0.2 else None)
        await probe.collect()
        assert clock.monotonic() == pytest.approx(waits_s)

    run_virtual(main)


async def test_two_probes_do_not_disturb_each_other(fake: FakeHost) -> None:
    one, other = await opened(), await opened()
    fake.cpu = Cpu(11.0, 5.0, 100.0, 0.0, 0.0)
    await other.collect()
    fake.cpu = Cpu(11.0, 5.0, 101.0, 0.0, 0.0)
    assert by_series(batch_of(await one.collect()))["host_cpu_percent"] == pytest.approx(50.0)
    assert by_series(batch_of(await other.collect()))["host_cpu_percent"] == pytest.approx(0.0)


def test_a_host_without_swap_has_no_swap_series(fake: FakeHost) -> None:
    fake.swap = SimpleNamespace(total=0, used=0)
    reading = host.read(HostOptions(), 0)
    assert key("host_swap_percent") not in reading.values
    assert reading.failed == {}


def test_uptime_from_the_time_of_boot_where_there_is_no_proc() -> None:
    system = SimpleNamespace(boot_time=lambda: 1_000.0)
    assert read(HostOptions(), 1_500_000, system).values == {key("host_uptime_seconds"): 500.0}


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (["sda", "sda1", "sda2"], ["sda"]),
        (["xvda1", "xvdb", "xvdb1"], ["xvda1", "xvdb"]),
        (["nvme0n1", "nvme0n1p1", "mmcblk0", "mmcblk0p2"], ["mmcblk0", "nvme0n1"]),
        (["loop0", "ram1", "zram0", "sr0", "fd0", "dm-0", "md0"], ["dm-0", "md0"]),
    ],
)
def test_disks_are_counted_once(fake: FakeHost, names: list[str], kept: list[str]) -> None:
    fake.disk_io = {name: SimpleNamespace(read_bytes=1, write_bytes=1) for name in names}
    found = [labels for (metric, labels) in host.read(HostOptions(), 0).values if metric.endswith("read_bytes_total")]
    assert [dict(labels)["device"] for labels in found] == kept


def test_loopback_and_the_ends_of_containers_are_left_out(fake: FakeHost) -> None:
    fake.network = dict.fromkeys(["lo", "veth12ab", "wlan0"], SimpleNamespace(bytes_recv=1, bytes_sent=1))
    found = {labels for (metric, labels) in host.read(HostOptions(), 0).values if "network" in metric}
    assert found == {(("device", "wlan0"),)}


def test_devices_are_bounded_and_those_left_out_are_counted(fake: FakeHost) -> None:
    names = [f"tap{number}" for number in range(DEVICES_MAX + 44)]
    fake.network = dict.fromkeys(names, SimpleNamespace(bytes_recv=1, bytes_sent=1))
    reading = host.read(HostOptions(), 0)
    assert reading.left_out == 44
    assert len([metric for metric, _ in reading.values if "receive" in metric]) == DEVICES_MAX


# --- which file systems ---------------------------------------------------------------------------


def chosen(*mounts: Mount, folders: Callable[[str], bool] = lambda _: True) -> list[str]:
    return local_mountpoints(mounts, folders)


def test_local_file_systems_are_chosen_once_each() -> None:
    assert chosen(
        Mount("/dev/sda2", "/", "ext4"),
        Mount("/dev/sda1", "/boot/efi", "vfat"),
        Mount("tank/data", "/tank", "zfs"),
        Mount("/dev/sdb1", "/srv/data", "btrfs"),
        Mount("/dev/sdb1", "/data", "btrfs"),  # a subvolume or a bind mount: the same space
        Mount("/dev/sdc1", "/mnt/usb", "fuseblk"),
        Mount("/dev/loop3", "/snap/core/1", "squashfs"),  # 100 % full for ever
        Mount("/dev/sr0", "/media/cd", "iso9660"),
        Mount("tmpfs", "/run", "tmpfs"),
        Mount("nas:/export", "/mnt/nas", "nfs4"),  # F116: it may hang
        Mount("//nas/share", "/mnt/share", "cifs"),
        Mount("sshfs", "/mnt/ssh", "fuse.sshfs"),
        Mount("/dev/fuse", "/run/user/1000/doc", "fuse.portal"),
    ) == ["/", "/boot/efi", "/data", "/mnt/usb", "/tank"]


def test_in_a_container_the_root_is_chosen_and_mounted_files_are_not() -> None:
    """F115: /etc/hosts and the like are single files of the host's disk."""
    mounts = [
        Mount("overlay", "/", "overlay"),
        Mount("/dev/vda1", "/etc/hosts", "ext4"),
        Mount("/dev/vda1", "/etc/resolv.conf", "ext4"),
        Mount("/dev/vdb", "/var/lib/data", "xfs"),
    ]
    assert chosen(*mounts, folders=lambda point: "/etc/" not in point) == ["/", "/var/lib/data"]


async def test_an_unmounted_disk_ends_and_is_not_shown_as_its_parent(fake: FakeHost) -> None:
    fake.mount("/data", "/dev/sdb1")
    probe = await opened(HostOptions(disks=["/", "/data/"]))
    assert by_series(batch_of(await probe.collect()))['host_disk_percent{mountpoint="/data"}'] == 25.0
    # The folder is still there and `disk_usage` would answer, with the figures of `/`.
    fake.mounts = fake.mounts[:1]
    events = await probe.collect()
    ended = batch_of(events)
    assert ended.series[-1] == 'host_disk_percent{mountpoint="/data"}'
    assert ended.values[-1] != ended.values[-1]
    assert [event.message for event in health_of(events)] == ["host_disk_percent /data: not_mounted"]
    events = await probe.collect()
    assert 'host_disk_percent{mountpoint="/data"}' not in batch_of(events).series
    assert health_of(events) == []
    fake.mount("/data", "/dev/sdb1")
    events = await probe.collect()
    assert by_series(batch_of(events))['host_disk_percent{mountpoint="/data"}'] == 25.0
    assert [(event.status, event.reason) for event in health_of(events)] == [("ok", "recovered")]


async def test_disks_and_interfaces_come_and_go(fake: FakeHost) -> None:
    probe = await opened()
    await probe.collect()
    fake.mount("/data", "/dev/sdb1")
    fake.network["wg0"] = SimpleNamespace(bytes_recv=5, bytes_sent=6)
    assert len(batch_of(await probe.collect()).series) == 13
    fake.mounts = fake.mounts[:1]
    del fake.network["wg0"]
    events = await probe.collect()
    ended = {text for text, value in by_series(batch_of(events)).items() if value != value}
    assert ended == {
        'host_disk_percent{mountpoint="/data"}',
        'host_network_receive_bytes_total{device="wg0"}',
        'host_network_transmit_bytes_total{device="wg0"}',
    }
    assert health_of(events) == []  # nobody asked for these by name
    assert len(batch_of(await probe.collect()).series) == 10


# --- what can't be read ---------------------------------------------------------------------------

ODD = [
    psutil.AccessDenied(),
    psutil.NoSuchProcess(1),
    PermissionError(13, "no"),
    FileNotFoundError(2, "gone"),
    OSError(24, "too many open files"),
    ValueError("not sure how to interpret line"),
    KeyError(b"MemTotal:"),
    IndexError("list index out of range"),
    NotImplementedError("no diskstats"),
    RuntimeError("line 'btime' not found"),
    None,  # cpu_count() where it can't be found out
]


@pytest.mark.parametrize("error", ODD, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("part", ["cpu", "cores", "load", "memory", "swap", "network", "disk_io", "mounts"])
async def test_f114_what_cannot_be_read_is_absent_and_the_rest_comes(
    fake: FakeHost, part: str, error: Exception | None
) -> None:
    """F114: never an exception, never 0, and never a marker that would resolve an alert."""
    probe = await opened()
    fake.cpu = Cpu(20.0, 5.0, 110.0, 0.0, 0.0)
    before = by_series(batch_of(await probe.collect()))
    good = getattr(fake, part)
    fake.cpu = Cpu(30.0, 5.0, 120.0, 0.0, 0.0)
    setattr(fake, part, error)
    events = await probe.collect()
    during = by_series(batch_of(events))
    lost = set(before) - set(during)
    assert lost
    assert all(value == value for value in during.values()), "a stale marker"
    assert {series: during[series] for series in during if series != "host_cpu_percent"} == {
        series: before[series] for series in before if series not in {*lost, "host_cpu_percent"}
    }
    (told,) = health_of(events)
    assert (told.component, told.status, told.reason) == ("probe.host", "degraded", "unavailable")
    assert told.count == len({split_series(series)[0] for series in lost})
    assert health_of(await probe.collect()) == [], "told again without news"
    setattr(fake, part, good)
    fake.cpu = Cpu(40.0, 5.0, 130.0, 0.0, 0.0)
    events = await probe.collect()
    assert set(by_series(batch_of(events))) == set(before)
    assert [event.reason for event in health_of(events)] == ["recovered"]


async def test_f114_one_bad_disk_does_not_hide_the_others(fake: FakeHost) -> None:
    fake.mount("/data", "/dev/sdb1")
    fake.mount("/old", "/dev/sdc1")
    probe = await opened()
    await probe.collect()
    fake.usage["/data"] = OSError(5, "Input/output error")
    events = await probe.collect()
    seen = by_series(batch_of(events))
    assert 'host_disk_percent{mountpoint="/data"}' not in seen
    assert seen['host_disk_percent{mountpoint="/old"}'] == 25.0
    assert [event.message for event in health_of(events)] == ["host_disk_percent /data: OSError"]


async def test_f114_nothing_readable_is_the_probes_failure(fake: FakeHost) -> None:
    probe = await opened()
    for part in ("cpu", "cores", "load", "memory", "swap", "network", "disk_io", "mounts"):
        setattr(fake, part, PermissionError(13, "hidden"))
    (Path(fake.PROCFS_PATH) / "uptime").unlink()
    with pytest.raises(
        ProbeError, match=r"^nothing of this host can be read: host_cpu_percent: PermissionError"
    ) as caught:
        await probe.collect()
    assert caught.value.reason == "unreadable"


def test_f115_against_a_proc_that_hides_most(tmp_path: Path) -> None:
    """F115: a container's /proc with a few files, one of them odd; psutil itself reads it, in a process of its own."""
    (tmp_path / "stat").write_text("cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 100 0 100 800 0 0 0 0 0 0\n")
    (tmp_path / "uptime").write_text("77.7 1.0\n")
    (tmp_path / "meminfo").write_text("MemTotal: odd kB\n")
    (tmp_path / "net").mkdir()
    (tmp_path / "net/dev").write_text("Inter-|\n face |\n  eth9: 11 0 0 0 0 0 0 0 22 0 0 0 0 0 0 0\n")
    (tmp_path / "diskstats").write_text("8 0 sda 1 2 3\n")
    code = (
        "import json, psutil, sys; psutil.PROCFS_PATH = sys.argv[1]\n"
        "from probes.host import HostOptions, read\n"
        "reading = read(HostOptions(), 0)\n"
        "print(json.dumps([reading.cpu_s, list(reading.values.items()), [k[0] for k in reading.failed]]))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    cpu_s, values, failed = json.loads(done.stdout)
    assert cpu_s["idle"] == 8.0 * 100 / os.sysconf("SC_CLK_TCK")
    found = {metric + str(labels): value for (metric, labels), value in values}
    assert found["host_uptime_seconds[]"] == 77.7
    assert found["host_network_receive_bytes_total[['device', 'eth9']]"] == 11.0
    assert found["host_network_transmit_bytes_total[['device', 'eth9']]"] == 22.0
    assert {"host_memory_percent", "host_swap_percent", "host_disk_percent"} <= set(failed)
    assert {"host_disk_read_bytes_total", "host_disk_written_bytes_total"} <= set(failed)
    assert not {"host_memory_percent[]", "host_swap_percent[]"} & set(found)


async def test_f116_a_hung_disk_holds_one_thread_and_is_told(fake: FakeHost) -> None:
    """F116: `disk_usage` of a dead network file system does not return; the loop goes on, the next look is refused."""
    hang, hanging = threading.Event(), threading.Event()

    def disk_usage(path: str) -> Any:
        hanging.set()
        hang.wait(30)
        return SimpleNamespace(used=1, free=1)

    pool = ThreadPool(2)
    fake.disk_usage = disk_usage  # type: ignore[method-assign]
    probe = await opened(call=pool.caller("probe.host"))
    first: asyncio.Task[Any] = asyncio.create_task(probe.collect())
    while not hanging.is_set():
        await asyncio.sleep(0)
    first.cancel()  # as the runner does at the time-out
    with pytest.raises(asyncio.CancelledError):
        await first
    with pytest.raises(ProbeError) as caught:
        await probe.collect()
    assert caught.value.reason == "busy"
    assert pool.busy == 1
    hang.set()
    while pool.busy:
        await asyncio.sleep(0)
    assert batch_of(await probe.collect()).series
    pool.close()


async def test_f117_names_of_devices_are_cleaned(fake: FakeHost) -> None:
    """F117: a mount point's name is chosen by whoever makes the folder."""
    point = '/mnt/ev\udcff\x1b[31m\nil"'
    fake.mount(point, "/dev/sdz1")
    batch = batch_of(await (await opened()).collect())
    (series,) = [series for series in batch.series if "mnt" in series]
    assert series.isprintable()
    assert series.encode("utf-8")
    assert split_series(series)[1]["mountpoint"] == r'/mnt/ev\udcff\x1b[31m\nil"'


# --- the processor's share ------------------------------------------------------------------------

seconds = st.dictionaries(
    st.sampled_from(["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice"]),
    st.floats(min_value=0, max_value=1e12),
)


@given(seconds, seconds, st.integers(1, 512))
def test_cpu_percent_is_always_within_its_bounds(before: dict[str, float], after: dict[str, float], cores: int) -> None:
    percent = cpu_percent(before, after, cores)
    assert percent is None or 0.0 <= percent <= 100.0


@pytest.mark.parametrize(
    ("before", "after", "percent"),
    [
        ({"user": 1, "idle": 1}, {"user": 2, "idle": 4}, 25.0),
        ({"user": 1, "idle": 1, "iowait": 0}, {"user": 2, "idle": 2, "iowait": 2}, 25.0),
        # guest is within user: a machine that only runs guests is 100 % busy, not 200 of 300
        ({"user": 0, "idle": 0, "guest": 0}, {"user": 5, "idle": 5, "guest": 5}, 50.0),
        ({"user": 0, "idle": 0, "steal": 0}, {"user": 1, "idle": 2, "steal": 1}, 50.0),
        # iowait runs backwards now and then, and all of it when a machine is restored from a snapshot
        ({"user": 1, "idle": 1, "iowait": 9}, {"user": 2, "idle": 2, "iowait": 8}, 50.0),
        ({"user": 90, "idle": 90}, {"user": 1, "idle": 1}, None),
        ({"user": 90, "idle": 90}, {"user": 1, "idle": 91}, 0.0),
        ({"user": 1, "idle": 1}, {"user": 1, "idle": 1}, None),
        ({}, {"user": 1, "idle": 1}, None),
        ({"user": 1, "idle": 1}, {}, None),
    ],
)
def test_cpu_percent(before: dict[str, float], after: dict[str, float], percent: float | None) -> None:
    assert cpu_percent(before, after) == percent


# --- options --------------------------------------------------------------------------------------


def test_a_disk_is_named_by_its_mount_point() -> None:
    with pytest.raises(ValueError, match=r'^disks: takes mount points such as "/" or "/data", not "sda1"$'):
        HostOptions(disks=["/", "sda1"])
