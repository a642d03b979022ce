"""For tests of services, probes, sinks and rules: virtual time, fakes, and a harness. Public.

Nothing here is used by the engine itself.
"""

from engine.testing.fakes import FailingProbe, FunctionProbe, HangingProbe, ListProbe, RecordingSink
from engine.testing.harness import replay
from engine.testing.loop import START_MS, DeadlockError, VirtualClock, VirtualLoop, run_virtual

__all__ = [
    "START_MS",
    "DeadlockError",
    "FailingProbe",
    "FunctionProbe",
    "HangingProbe",
    "ListProbe",
    "RecordingSink",
    "VirtualClock",
    "VirtualLoop",
    "replay",
    "run_virtual",
]
