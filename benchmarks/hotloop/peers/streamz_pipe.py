"""streamz: a source that is emitted to, a map, a filter and a sink."""

from streamz import Stream

from benchmarks.hotloop.entry import Change, Entry
from benchmarks.hotloop.peers.detect import detector
from benchmarks.hotloop.workload import Workload


def prepare(workload: Workload) -> Entry:
    """Events as tuples."""
    events = workload.singles()
    changes: list[Change] = []
    source = Stream()
    source.map(detector(workload)).filter(lambda change: change is not None).sink(changes.append)

    def work() -> list[Change]:
        for event in events:
            source.emit(event)
        return changes

    return Entry(work)
