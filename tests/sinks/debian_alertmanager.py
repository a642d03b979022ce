"""A real Alertmanager for tests: Debian's, installed, or unpacked from its package and on PATH.

Debian's binary reads its templates from /usr/share. Where they are not there but lie beside the binary, as `dpkg -x`
leaves them, it is started with that folder mounted over /usr/share, in a mount namespace of its own.
"""

import asyncio
import json
import shutil
import subprocess
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

SHARE = Path("/usr/share")
TEMPLATE = Path("prometheus/alertmanager/default.tmpl")
CONFIG = """
route:
  receiver: hook
  group_by: [alertname]
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 1h
receivers:
- name: hook
  webhook_configs:
  - url: {hook}
    send_resolved: true
"""


@cache
def command() -> list[str]:
    """How to start it; empty if it can't be."""
    binary = shutil.which("prometheus-alertmanager")
    if binary is None or shutil.which("amtool") is None:
        return []
    if (SHARE / TEMPLATE).exists():
        return [binary]
    beside = Path(binary).resolve().parents[1] / "share"
    if not (beside / TEMPLATE).exists() or shutil.which("unshare") is None:
        return []
    mounted = f'mount --bind "{beside}" {SHARE} && exec "$0" "$@"'
    start = ["unshare", "--map-root-user", "--mount", "sh", "-c", mounted, binary]
    works = subprocess.run([*start, "--version"], capture_output=True, timeout=20, check=False).returncode == 0
    return start if works else []


@asynccontextmanager
async def running(folder: Path, hook: str, port: int) -> AsyncIterator[str]:
    """Run one in a folder of its own, until the end of the block; yields its URL. It keeps its log of notifications
    there, so a second one in the same folder is the first one restarted."""
    config = folder / "alertmanager.yml"
    config.write_text(CONFIG.format(hook=hook), encoding="utf-8")
    options = [
        f"--config.file={config}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    process = await asyncio.create_subprocess_exec(*command(), *options, stdout=PIPE, stderr=STDOUT)
    assert process.stdout is not None
    reading = None
    try:
        async with asyncio.timeout(20):
            said = b""
            while b"Listening on" not in said:
                line = await process.stdout.readline()
                assert line, said.decode()
                said += line
        reading = asyncio.create_task(process.stdout.read())  # or it would stand still when the pipe is full
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        if reading is not None:
            await reading


def query(url: str) -> list[dict[str, Any]]:
    """What `amtool alert query` lists."""
    ask = ["amtool", "alert", "query", f"--alertmanager.url={url}", "--output=json"]
    done = subprocess.run(ask, capture_output=True, timeout=20, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found
