"""Runs `python -m engine` again and again, to be killed: `python -m tests.chaos.engine_child`.

It is a nursery: it imports what the engine imports once, and forks a child for each line of JSON on its standard
input, which is then what `python -m engine` is: a kill costs a tenth of a second then and not an interpreter's start.
`plant` names a planted bug, which the harness must find, and `point` a place where the child kills itself; with `hurry`
it waits for no back-off.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

IMPORTED = (
    "anyio._backends._asyncio",
    "encodings.utf_8_sig",
    "engine.cli.arguments",
    "engine.cli.run",
    "engine.config.load",
    "engine.rulefiles.compile",
    "engine.runtime.engine",
    "engine.templates",
    "probes.scrape",
    "sinks.webhook",
)


def _child(order: dict[str, Any], go: int) -> None:
    code = 1
    try:
        os.read(go, 1)
        out = os.open(order["output"], os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        os.dup2(out, 1)
        os.dup2(out, 2)
        from engine.cli import main
        from tests.chaos.failpoints import set_point
        from tests.chaos.plants import hurry, plant

        if order["hurry"]:
            hurry()
        arguments = plant(order["plant"])
        if order["point"]:
            set_point(order["point"], order["when"])
        code = main(["--config", order["config"], "--no-live", *arguments])
    except BaseException:  # noqa: BLE001  # a forked child must never go on as its parent
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def main() -> None:
    import importlib

    for name in IMPORTED:
        importlib.import_module(name)
    for line in sys.stdin:
        order = json.loads(line)
        ready, go = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(go)
            _child(order, ready)
        os.close(ready)
        print(json.dumps({"pid": pid}), flush=True)
        sys.stdin.readline()  # until whoever kills it is there
        os.write(go, b"x")
        status = os.waitpid(pid, 0)[1]
        os.close(go)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
