"""Who takes part, and what stands about them in the table."""

from typing import Final, NamedTuple

__all__ = ["BYTEWAX", "CONTESTANTS", "LOOP", "Contestant", "named"]


class Contestant(NamedTuple):
    """One way of doing the work.

    Args:
        name: As it stands in the table.
        entry: `module:function` below this package, a `prepare`.
        package: The distribution that must be installed; empty for none.
        events: What is ready before the clock starts; events are never made while it runs.
        drain: How many samples go from the producer to the judging code at once.
        targets: For ours: at least so many times the speed of another contestant, by its name.
        noisy_targets: The same for the noisy workload.
        noisy: Whether it is given the noisy workload, too.
    """

    name: str
    entry: str
    package: str
    events: str
    drain: str
    targets: dict[str, float] = {}
    noisy_targets: dict[str, float] = {}
    noisy: bool = False

    @property
    def ours(self) -> bool:
        """Whether it is measured against the others."""
        return self.entry.startswith("ours:")

    def goals(self, kind: str) -> dict[str, float]:
        """What it is held to on a kind of workload."""
        return self.noisy_targets if kind == "noisy" else self.targets


LOOP: Final = "asyncio.Queue loop"
BYTEWAX: Final = "bytewax"

CONTESTANTS: Final = (
    Contestant(
        "longwatch: single events",
        "ours:prepare_singles",
        "",
        "Sample structs",
        "<= 4,096, 2 ms slices",
        {BYTEWAX: 8.0, LOOP: 4.0},
        {BYTEWAX: 5.0},
        noisy=True,
    ),
    Contestant(
        "longwatch: single events, put together",
        "ours:prepare_together",
        "",
        "Sample structs",
        "<= 4,096 put at once, 2 ms slices",
        {BYTEWAX: 8.0, LOOP: 4.0},
        {BYTEWAX: 5.0},
        noisy=True,
    ),
    Contestant(
        "longwatch: batches of 1,000",
        "ours:prepare_batches",
        "",
        "SampleBatch structs",
        "<= 4,096, 2 ms slices",
        {BYTEWAX: 15.0},
        noisy=True,
    ),
    Contestant(
        "longwatch: evaluator on columns",
        "ours:prepare_columns",
        "",
        "SampleBatch structs",
        "4,000, no channel",
        {BYTEWAX: 30.0},
        noisy=True,
    ),
    Contestant(LOOP, "peers.asyncio_queue:prepare", "", "tuples", "1, queue of 4,096", noisy=True),
    Contestant(f"{LOOP}, drained", "peers.asyncio_drained:prepare", "", "tuples", "<= 4,096", noisy=True),
    Contestant(BYTEWAX, "peers.bytewax_flow:prepare", "bytewax", "keyed tuples", "4,096", noisy=True),
    Contestant(
        "bytewax, stateful_batch", "peers.bytewax_flow:prepare_batch", "bytewax", "keyed tuples", "4,096", noisy=True
    ),
    Contestant("aiostream", "peers.aiostream_pipe:prepare", "aiostream", "tuples", "1, no queue"),
    Contestant("faust", "peers.faust_stream:prepare", "faust-streaming", "tuples", "1, channel of 4,096"),
    Contestant("streamz", "peers.streamz_pipe:prepare", "streamz", "tuples", "1, no queue"),
    Contestant("reactivex", "peers.reactivex_pipe:prepare", "reactivex", "tuples", "1, no queue"),
    Contestant("reactivex, one map", "peers.reactivex_pipe:prepare_map", "reactivex", "tuples", "1, no queue"),
    Contestant("pathway", "peers.pathway_table:prepare", "pathway", "tuples", "4,096"),
)


def named(name: str) -> Contestant:
    """The contestant of a name. Raises `KeyError`."""
    return {contestant.name: contestant for contestant in CONTESTANTS}[name]
