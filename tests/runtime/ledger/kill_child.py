"""A small engine around the real ledger, made to be killed: `python -m tests.runtime.ledger.kill_child`.

It is a nursery: it imports everything once and forks a child for each line of JSON on its standard input, so that a
kill costs milliseconds and not an interpreter's start. The child plays core, policy and three receivers: alerts change,
`n` counting up; `fast` and `slow` write what they are sent to a file, `dead` never answers.
`bug` plants what the harness must find.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import select
import signal
import sqlite3
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from engine.clock import SystemClock
from engine.runtime.ledger import schema
from engine.runtime.ledger.errors import LedgerError
from engine.runtime.ledger.group import Job
from engine.runtime.ledger.holding import Outcome
from engine.runtime.ledger.ledger import Ledger
from engine.runtime.ledger.sending import due, settle
from engine.runtime.ledger.store import Store
from engine.runtime.ledger.transactions import decide, transitions_after
from engine.runtime.ledger.values import (
    AlertRow,
    Cover,
    Decision,
    Instant,
    NewMessage,
    NewTransition,
    Notice,
    Settlement,
    Step,
)

ALERTS = 8
IN_FLIGHT = 4
REFUSED = 3
"""Exit code: the ledger could not be opened."""


class Forgetful(sqlite3.Connection):
    """The planted bug `no_sync`: it says that it syncs, and does not."""

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if sql == "PRAGMA synchronous = FULL":
            return super().execute("PRAGMA synchronous = OFF")
        if sql == schema.GET_SYNCHRONOUS:
            return super().execute("SELECT 2")
        return super().execute(sql, *parameters)


class Child:
    """One life."""

    def __init__(self, folder: Path, bug: str, seed: int, tell_alive: int) -> None:
        self.tell_alive = tell_alive
        self.bug = bug
        self.rng = random.Random(seed)
        self.clock = SystemClock()
        factory = Forgetful if bug == "no_sync" else sqlite3.Connection
        store = Store(folder / "state.db", self.clock.now_ms, factory)
        self.notices: list[Notice] = []
        self.ledger = Ledger(store, self.clock, self.notices.append)
        self.n: dict[str, int] = {}
        flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY
        self.logs = {name: os.open(folder / f"{name}.log", flags) for name in ("fast", "slow", "acks")}
        self.folder = folder
        self.steps_open = 0
        self.moved = asyncio.Event()
        self.ending = False

    async def live(self, steps: int) -> None:
        if self.rng.random() < 0.2:  # some kills hit the opening
            os.close(self.tell_alive)
            restored = await self.ledger.open()
        else:
            restored = await self.ledger.open()
            os.close(self.tell_alive)
        self.n = {alert.labels: int(alert.row or b"0") for alert in restored.alerts}
        left = await self.ledger.call(
            partial(transitions_after, seq=restored.cursors.get("policy", 0), limit=10**6), writes=False
        )
        if left and self.bug != "naive_send":
            self.decide([(each.seq, each.body.decode()) for each in left])
        receivers = [asyncio.create_task(self.receive(name)) for name in ("fast", "slow", "dead")]
        for _ in range(steps):
            while self.steps_open >= IN_FLIGHT:
                await self.move()
            self.step()
        while self.steps_open:
            await self.move()
        self.ending = True
        self.tell_move()
        await asyncio.gather(*receivers)
        healed = await self.ledger.close()
        final = {"n": self.n, "healed": healed, "notices": [notice[:2] for notice in self.notices]}
        (self.folder / "final.json").write_text(json.dumps(final))

    async def move(self) -> None:
        self.moved.clear()
        await self.moved.wait()

    def tell_move(self) -> None:
        self.moved.set()

    # --- core -----------------------------------------------------------------------------------------

    def step(self) -> None:
        names = self.rng.sample([f"a{number}" for number in range(ALERTS)], self.rng.randint(1, 4))
        for name in names:
            self.n[name] = self.n.get(name, 0) + 1
        texts = [f"{name} {self.n[name]}" for name in names]
        transitions = [
            NewTransition(0, "r", name, "firing", text.encode()) for name, text in zip(names, texts, strict=True)
        ]
        alerts = [AlertRow("r", name, b"%d" % self.n[name]) for name in names]
        self.steps_open += 1
        then = partial(self.committed, texts)
        if self.bug == "send_before_commit":
            for text in texts:
                self.send("fast", f"early-{text.replace(' ', '-')}-{os.getpid()}", text)
        if self.bug == "two_transactions":
            self.ledger.record(Step(alerts=alerts), lambda _: self.ledger.record(Step(transitions), then) and None)
        else:
            self.ledger.record(Step(transitions, alerts), then)

    def committed(self, texts: Sequence[str], outcome: Outcome) -> None:
        if outcome.error is not None:
            raise outcome.error
        if outcome.durable:
            for text in texts:
                os.write(self.logs["acks"], f"{text}\n".encode())
        if self.bug == "naive_send":
            for seq, text in zip(outcome.value, texts, strict=True):
                for receiver in ("fast", "slow"):
                    self.send(receiver, f"naive-{seq}", text)
            self.decided(outcome)
        else:
            self.decide(list(zip(outcome.value, texts, strict=True)), self.decided)

    # --- policy ---------------------------------------------------------------------------------------

    def decide(self, news: Sequence[tuple[int, str]], then: Callable[[Outcome], None] | None = None) -> None:
        messages = [
            NewMessage(
                receiver,
                text.split()[0],
                self.ledger.message_id(receiver, seq),
                text.encode(),
                (Cover(text.split()[0], "firing", seq),),
                0,
            )
            for seq, text in news
            for receiver in ("fast", "slow", "dead")
        ]
        decision = Decision("policy", max(seq for seq, _ in news), messages)
        self.ledger.submit(Job(partial(decide, decision=decision, limits=self.ledger.limits)), then)

    def decided(self, outcome: Outcome) -> None:
        if outcome.error is not None:
            raise outcome.error
        self.steps_open -= 1
        self.tell_move()

    # --- receivers ------------------------------------------------------------------------------------

    def send(self, receiver: str, message_id: str, text: str) -> None:
        os.write(self.logs[receiver], f"{message_id} {text}\n".encode())

    async def receive(self, receiver: str) -> None:
        ask = partial(due, receiver=receiver, limit=100, limits=self.ledger.limits)
        while True:
            ending = self.ending  # before it is asked: what is queued later is seen by a later question
            found = await self.ledger.call(partial(ask, now=Instant(self.clock.now_ms())), writes=False)
            if not found:
                if ending:
                    return
                await self.move()
            elif receiver == "dead":
                await self.settle([Settlement(each.id, "dead", "timeout") for each in found])
            elif receiver == "slow":
                for each in found:
                    self.send(receiver, each.message_id, each.body.decode())
                await self.settle([Settlement(each.id, "done") for each in found])
            else:
                for each in found:
                    if self.bug == "mark_before_send":
                        await self.settle([Settlement(each.id, "done")])
                        self.send(receiver, each.message_id, each.body.decode())
                    else:
                        self.send(receiver, each.message_id, each.body.decode())
                        await self.settle([Settlement(each.id, "done")])

    async def settle(self, settlements: list[Settlement]) -> None:
        await self.ledger.call(partial(settle, settlements=settlements, now_ms=0))


# --- the nursery ----------------------------------------------------------------------------------------


def _child(order: dict[str, Any], go: int, tell_alive: int) -> None:
    os.read(go, 1)
    code = 1
    try:
        if order.get("file_bytes_max"):
            import resource

            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_bytes_max"], resource.RLIM_INFINITY))
        child = Child(Path(order["folder"]), order.get("bug", ""), order["seed"], tell_alive)
        asyncio.run(child.live(order["steps"]))
        code = 0
    except LedgerError:
        code = REFUSED
    except BaseException:  # noqa: BLE001  # a forked child must never go on as its parent
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def _killed_after(pid: int, alive: int, after_ms: int) -> int:
    """Kill the child so long after it has opened its ledger, unless it has ended; returns its wait status."""
    os.read(alive, 1)
    handle = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    if not poll.poll(after_ms):
        os.kill(pid, signal.SIGKILL)
    os.close(handle)
    return os.waitpid(pid, 0)[1]


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        ready, go = os.pipe()
        alive, tell_alive = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(go)
            _child(order, ready, tell_alive)
        os.close(ready)
        os.close(tell_alive)
        print(json.dumps({"pid": pid}), flush=True)
        if order.get("hold"):  # until whoever traces it is there
            sys.stdin.readline()
        os.write(go, b"x")
        status = _killed_after(pid, alive, order.get("after_ms", 20_000))
        os.close(go)
        os.close(alive)
        print(json.dumps({"signal": os.WTERMSIG(status), "code": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
