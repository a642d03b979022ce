"""How late the machine wakes a timer of asyncio that has nothing else to do: what no engine can be better than.

`python -m benchmarks.punctual.timer SECONDS` prints the delays in milliseconds as JSON.
"""

import asyncio
import sys

import msgspec

STEP_S = 0.0071


async def _run(seconds: float) -> list[float]:
    loop = asyncio.get_running_loop()
    late_ms: list[float] = []
    due_s = loop.time()
    until_s = due_s + seconds
    while due_s < until_s:
        due_s += STEP_S
        await asyncio.sleep(max(0.0, due_s - loop.time()))
        late_ms.append((loop.time() - due_s) * 1e3)
    return late_ms


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(_run(float(sys.argv[1])))))
