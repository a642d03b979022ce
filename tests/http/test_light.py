"""Who does not listen does not pay for it."""

import json
import subprocess
import sys


def test_an_engine_that_does_not_listen_loads_nothing_for_it() -> None:
    code = """
import asyncio, json, sys
from engine import Engine
async def main():
    async with Engine() as engine:
        assert engine.http_port is None
asyncio.run(main())
print(json.dumps(sorted(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    loaded = set(json.loads(done.stdout))
    assert not loaded & {"aiohttp", "prometheus_client", "engine.http.build", "engine.http.site", "engine.http.server"}
