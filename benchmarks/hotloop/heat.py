"""One contestant, one workload, once, in a process of its own: `python -m benchmarks.hotloop.heat NAME KIND INSTANTS`.

Prints one line of JSON. Not timed: starting the process, importing, making the events, comparing what came out.
"""

import contextlib
import gc
import importlib
import json
import os
import sys
import time

from benchmarks.hotloop.contestants import named
from benchmarks.hotloop.entry import Entry
from benchmarks.hotloop.workload import Step, Workload, digest, make

__all__ = ["entry_of", "main"]


def main(arguments: list[str]) -> None:
    """Run it."""
    name, kind, instants = arguments
    workload = make(kind, instants=int(instants))
    out = os.dup(1)
    with contextlib.redirect_stdout(sys.stderr):  # a framework may want to say something
        os.dup2(2, 1)
        entry = entry_of(name, workload)
        # What is ready is put out of the collector's sight: nobody pays for the events that others hold ready.
        gc.collect()
        gc.freeze()
        began = time.perf_counter()
        made = entry.work()
        seconds = time.perf_counter() - began
        steps = [Step(*change) for change in entry.changes(made)]
    line = json.dumps({"seconds": seconds, "transitions": len(steps), "digest": digest(steps)})
    os.write(out, line.encode() + b"\n")


def entry_of(name: str, workload: Workload) -> Entry:
    """A contestant's prepared work."""
    module, _, function = named(name).entry.partition(":")
    entry: Entry = getattr(importlib.import_module(f"benchmarks.hotloop.{module}"), function)(workload)
    return entry


if __name__ == "__main__":
    main(sys.argv[1:])
