"""A frame: always as large as the terminal, whatever is in it, and everything in words."""

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from engine.status import ChannelStatus, EngineStatus, ProbeStatus, SinkStatus
from engine.view.frame import frame
from tests.view.story import MINUTE_MS, NOW_MS, alert, pending, scene, status

SIZES = [(80, 24), (120, 40), (40, 12), (20, 5), (1, 1), (2, 3), (300, 100), (80, 1), (1, 50), (60, 14)]


def text_at(width: int, height: int, what: EngineStatus | None = None, **changes: object) -> str:
    return "\n".join(frame(what or status(), scene(**changes), width, height).plain)


def row(text: str, word: str) -> str:
    """The only row with a word in it."""
    (found,) = [line for line in text.splitlines() if word in line]
    return found.rstrip()


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_it_fills_the_terminal_exactly(width: int, height: int) -> None:
    """F105: any size, down to one cell."""
    rows = frame(status(), scene(), width, height).plain
    assert [cell_len(line) for line in rows] == [width] * height


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_an_engine_that_knows_nothing_yet_can_be_shown(width: int, height: int) -> None:
    empty = EngineStatus("x", 1, "starting", NOW_MS, NOW_MS)
    rows = frame(empty, scene(recent=(), ends_ms=0), width, height).plain
    assert [cell_len(line) for line in rows] == [width] * height


def test_80x24_reads_like_this() -> None:
    assert [line.rstrip() for line in frame(status(), scene(), 80, 24).plain] == [
        " trade-1  FIRING  3 firing, 2 pending  3 of 6 parts not ok  21h left  up 2h03m",
        "─ alerts ───────────────────────────────────────────────────────────────────────",
        "FIRING   HighCpu        instance=a            firing for 12m",
        "FIRING   Lost           instance=a            12m; unknown, clock stands",
        "FIRING   Swap           instance=a            firing for 12m, resolves in 2m",
        "PENDING  DiskFull       instance=a            ████░░ 3m12s of 5m, fires in 1m48s",
        "PENDING  HealthDown     instance=a            1m of 5m unknown, clock stands",
        "─ targets ──────────────────────────────────────────────────────────────────────",
        "failed   health           http     every 30s   no answer yet         connection…",
        "degraded slow             http     every 30s   5m ago          3.0s  took too l…",
        "ok       host             host     every 5s    2s ago          12ms  this host",
        "─ metrics ──────────────────────────────────────────────────────────────────────",
        "host_cpu_percent      ███░░░░░   43.2%  host_memory_percent   ██████░░   78.0%",
        "host_disk_percent /   ███████░   91.0%  host_load1                        1.23",
        "host_network_receive_bytes_to…  1.5GiB  probe_duration_seconds health   12.3ms",
        "─ recent ───────────────────────────────────────────────────────────────────────",
        "14:12:01 FIRING HighCpu instance=a",
        "14:13:05 WARNING engine.sinks ops: http_503",
        "",
        "",
        "",
        "queue 12/100000 peak 340  dropped old 12  loop lag 0.4ms  series 341  rules 12",
        "sinks ops degraded 3/1000 dropped 2 (http_503)   console ok 0/10000   history ok",
        "files /var/lib/longwatch                                            Ctrl-C stops",
    ]


def test_40x12_keeps_the_most_important() -> None:
    text = text_at(40, 12)
    assert "FIRING   HighCpu instance=a firing…" not in text
    assert row(text, "HighCpu a").startswith("FIRING   HighCpu a      firing for 12m")
    assert "and 2 more" in row(text, "─ alerts")
    assert "host_cpu_percent" in text
    assert "queue" not in text


def test_20x5_still_says_that_something_fires() -> None:
    rows = text_at(20, 5).splitlines()
    assert rows[0].split() == ["trade-1", "FIRING"]
    assert rows[1].endswith("+4")
    assert rows[2].startswith("FIRING   HighCpu")


def test_a_wide_terminal_shows_values_and_longer_bars() -> None:
    text = text_at(120, 40)
    assert "93.1  firing for 12m" in row(text, "HighCpu  ")
    assert "████████████░░░░░░ 3m12s of 5m, fires in 1m48s" in row(text, "DiskFull")
    assert "firing for 12m; unknown, clock stands" in row(text, "Lost")
    assert "connection refused" in row(text, "failed   health")
    assert "up 2h03m  23:13:20 CET" in text


# --- clocks ---------------------------------------------------------------------------------------


def test_clocks_run_on_between_two_statuses() -> None:
    later = text_at(80, 24, None, now_ms=NOW_MS + 30_000)
    assert "████░░ 3m42s of 5m, fires in 1m18s" in row(later, "DiskFull")
    assert "firing for 12m30s" in row(later, "HighCpu  ")


def test_a_clock_that_stands_does_not() -> None:
    later = text_at(80, 24, None, now_ms=NOW_MS + 30_000)
    assert "1m of 5m unknown, clock stands" in row(later, "HealthDown")
    assert "12m; unknown, clock stands" in row(later, "Lost")


def test_an_alert_with_levels_shows_the_one_reached_and_when_the_next_is_due() -> None:
    levels = status(
        alerts=(
            alert("Busy", severity="warning", due_ms=NOW_MS + 3 * MINUTE_MS),
            alert("Full", severity="critical", paused=True),
        )
    )
    text = text_at(120, 40, levels)
    assert "instance=a severity=warning" in row(text, "Busy")
    assert "firing for 12m, changes in 3m" in row(text, "Busy")
    assert "severity=critical" in row(text, "Full")


def test_an_alert_that_goes_back_and_forth_says_so_before_its_labels() -> None:
    text = text_at(120, 40, status(alerts=(alert("Fickle", flapping=True), alert("Calm"))))
    assert "flapping instance=a" in row(text, "Fickle")
    assert "flapping" not in row(text, "Calm")


def test_the_deadline_of_a_pending_alert_is_shown() -> None:
    """Under `of` what was true before counts; under `count` a clock runs though nothing is known."""
    of = pending("Share", due_ms=NOW_MS + 40_000)
    plain = pending("Plain", due_ms=NOW_MS + 108_000)
    runs = pending("Runs", paused=True, due_ms=NOW_MS + 108_000)
    fades = pending("Fades", due_ms=NOW_MS + 200_000, fading=True)
    text = text_at(80, 24, status(alerts=(plain, of, runs, fades)))
    assert "3m12s of 5m, fires in 40s" in row(text, "Share")
    assert row(text, "Plain").rstrip().endswith("3m12s of 5m, fires in 1m48s")
    assert "3m12s of 5m, ends in 3m20s" in row(text, "Fades")
    assert "clock stands" not in row(text, "Runs")
    order = [line.split()[1] for line in text.splitlines() if line.startswith("PENDING")]
    assert order == ["Share", "Plain", "Runs", "Fades"]
    long = pending("Long", elapsed_ms=59 * MINUTE_MS + 10_000, for_ms=70 * MINUTE_MS, due_ms=NOW_MS + 650_000)
    assert row(text_at(80, 24, status(alerts=(long,))), "Long").rstrip().endswith("█████░ fires in 10m50s")


def test_a_bar_is_never_fuller_than_full() -> None:
    """The engine says when an alert fires; until it does, the view does not claim it."""
    late = text_at(80, 24, None, now_ms=NOW_MS + 60 * MINUTE_MS)
    assert "██████ 5m of 5m" in row(late, "DiskFull")


def test_a_clock_before_the_status_was_made_does_not_run_backwards() -> None:
    assert "3m12s of 5m, fires in 1m53s" in row(text_at(80, 24, None, now_ms=NOW_MS - 5_000), "DiskFull")


def test_firing_comes_first_and_then_what_is_next_to_fire() -> None:
    far, near = pending("Far", due_ms=NOW_MS + 299_000), pending("Near", due_ms=NOW_MS + 1_000)
    text = text_at(80, 24, status(alerts=(far, near, alert("Burning"))))
    assert text.index("Burning") < text.index("Near") < text.index("Far")


# --- what the words say ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "FIRING"),
        ({"alerts": ()}, "FAILED"),
        ({"alerts": (), "probes": ()}, "DEGRADED"),
        ({"alerts": (), "probes": (), "sinks": ()}, "OK"),
        ({"alerts": (), "probes": (), "sinks": (), "phase": "starting"}, "STARTING"),
        ({"phase": "draining"}, "STOPPING"),
    ],
)
def test_the_header_says_the_worst(changes: dict[str, object], word: str) -> None:
    assert f" {word} " in text_at(80, 24, status(**changes)).splitlines()[0]


def test_while_it_stops_the_header_says_how_to_stop_at_once() -> None:
    assert "Ctrl-C again stops at once" in text_at(80, 24, status(phase="draining"))


def test_a_quiet_engine_says_so() -> None:
    text = text_at(80, 24, status(alerts=(), channel=ChannelStatus(capacity=10)), recent=())
    assert "none; 12 rules are watching" in text
    assert "dropped 0" in text
    assert "nothing has happened yet" in text


def test_metrics_of_which_nothing_is_shown_say_why() -> None:
    """An engine that measures, but nothing that is shown, does not wait for its first samples."""
    assert "waiting for the first samples" in text_at(80, 24, status(gauges={}, probes=(), series=0))
    never = ProbeStatus("shop", "scrape", 1_000)
    assert "waiting for the first samples" in text_at(80, 24, status(gauges={}, probes=(never,), series=0))
    once = ProbeStatus("shop", "scrape", 1_000, last_ms=NOW_MS)
    text = text_at(80, 24, status(gauges={}, probes=(once,)))
    assert "no value of the host, of an endpoint, or of what the rules read" in text


def test_a_probe_that_is_late_is_told_apart_by_style_and_by_its_age() -> None:
    late = ProbeStatus("slow", "http", 1_000, last_ms=NOW_MS - 10_000)
    lines = frame(status(probes=(late,)), scene(), 80, 24).lines
    assert any(text.startswith("10s ago") and style == "warn" for line in lines for text, style in line)


def test_a_target_that_is_down_is_not_called_ok() -> None:
    probes = (ProbeStatus("well", "http", 1_000), ProbeStatus("gone", "http", 1_000, target_down=True))
    lines = frame(status(probes=probes), scene(), 80, 24).lines
    first = next(line for line in lines if any(text.startswith("gone") for text, _ in line))
    assert first[0][0].strip() == "down"
    assert first[0][1] == "bad"
    assert lines.index(first) < next(at for at, line in enumerate(lines) if any(t.startswith("well") for t, _ in line))


def test_a_storm_is_cut_and_says_by_how_much() -> None:
    storm = tuple(alert(f"Rule{at}") for at in range(500))
    probes = tuple(ProbeStatus(f"p{at}", "http", 1_000) for at in range(100))
    rows = frame(status(alerts=storm, probes=probes), scene(), 80, 24).plain
    shown = sum(line.startswith("FIRING") for line in rows)
    assert shown >= 5
    assert f"and {500 - shown} more" in row("\n".join(rows), "─ alerts")
    assert sum("http" in line and "every 1s" in line for line in rows) >= 2


def test_alerts_that_the_status_does_not_list_are_counted() -> None:
    """It lists the foremost ones, even on a screen that had room for more."""
    counters = {'longwatch_alerts{state="firing"}': 5_000.0, 'longwatch_alerts{state="pending"}': 7.0}
    made = status(alerts=tuple(alert(f"Rule{at}") for at in range(200)), counters=counters)
    for height in (24, 400):
        rows = frame(made, scene(), 100, height).plain
        shown = sum(line.startswith("FIRING") for line in rows)
        assert "5000 firing, 7 pending" in rows[0]
        assert f"and {5_007 - shown} more" in row("\n".join(rows), "─ alerts")


# --- hostile text ---------------------------------------------------------------------------------

hostile = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "\x1b[2J\x1b[31mred",
            "\x1b]8;;http://evil\x07link\x1b]8;;\x07",
            "[/bold][red]x[/red]",
            ":skull: :warning:",
            "漢字" * 30,
            "\u202egnp.exe",
            "e\u0301" * 40,
            "\U0001f468\u200d\U0001f469\u200d\U0001f467",
            "\ud800",
            "a\r\nb\tc",
            "\u2028",
        ]
    ),
)


@given(hostile, hostile, hostile, st.sampled_from(SIZES), st.floats())
def test_hostile_text_changes_no_row_and_no_column(
    label: str, name: str, message: str, size: tuple[int, int], value: float
) -> None:
    """F139, M19: it is printed literally, and nothing of it reaches the terminal as a command."""
    what = status(
        name=name,
        alerts=(alert(name, labels={name: label}, value=value), pending(label, labels={"x": message})),
        probes=(ProbeStatus(name, label, 1_000, status="failed", message=message),),
        sinks=(SinkStatus(name, label, status="failed", message=message),),
        channel=ChannelStatus(dropped={name: 1}),
        gauges={label: value, f'm{{a="{name}"}}': value},
    )
    width, height = size
    shown = frame(what, scene(files=message, targets={name: label}, recent=((message, "bad"),)), width, height)
    assert [cell_len(line) for line in shown.plain] == [width] * height
    assert not any(char < " " or "\x7f" <= char <= "\x9f" for line in shown.plain for char in line)


def test_markup_and_emoji_codes_are_printed_as_they_are() -> None:
    out = io.StringIO()
    console = Console(file=out, width=120, height=24, force_terminal=True, color_system="truecolor")
    labels = {"path": "[/dev/sda1]", "say": ":skull:", "esc": "\x1b[31m"}
    console.print(frame(status(alerts=(alert("Disk", labels=labels),)), scene(), 120, 24), end="")
    text = out.getvalue()
    assert "[/dev/sda1] say=:skull:" in text or "path=[/dev/sda1]" in text
    assert "\\x1b[31m" in text


@pytest.mark.parametrize("no_color", [True, False])
def test_colour_only_repeats_what_words_say(no_color: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, height=24, force_terminal=True, color_system="standard", no_color=no_color)
    console.print(frame(status(), scene(), 80, 24), end="")
    assert ("\x1b[1;31m" in out.getvalue()) is not no_color
    assert "FIRING" in out.getvalue()


# --- cost -----------------------------------------------------------------------------------------


class CountedLabels(dict[str, str]):
    """Labels that count how often they are read."""

    read = 0

    def items(self) -> Any:
        CountedLabels.read += 1
        return super().items()


def test_only_the_rows_that_fit_are_built() -> None:
    """Whatever the number of alerts, a frame costs what its rows cost."""
    storm = tuple(alert(f"Rule{at}", labels=CountedLabels(a="b")) for at in range(2_000))
    CountedLabels.read = 0
    frame(status(alerts=storm), scene(), 80, 24)
    assert 1 <= CountedLabels.read <= 24


@pytest.mark.parametrize("width", range(20, 100, 5))
@pytest.mark.parametrize("height", [14, 15, 24])
def test_a_number_is_shown_whole_or_marked_as_cut(width: int, height: int) -> None:
    """F95: `series 48,123` must not become `series 48`."""
    made = status(series=48_123, lag_ms=17.5, channel=ChannelStatus(depth=1_234, capacity=100_000, peak=5_678))
    words = {word for line in frame(made, scene(), 300, 100).plain for word in line.split()}
    for line in frame(made, scene(), width, height).plain[-3:]:
        for word in line.split():
            assert word in words or "…" in word, line


def test_the_footer_says_what_a_second_interrupt_does() -> None:
    last = text_at(80, 24, status(phase="draining")).splitlines()[-1]
    assert last.rstrip().endswith("stopping; Ctrl-C again ends at once")
    assert text_at(80, 24).splitlines()[-1].rstrip().endswith("Ctrl-C stops")
