"""Debian's Alertmanager on loopback, as a neighbour: installed, or unpacked from its package and on PATH.

Debian's binary reads its templates from /usr/share. Where they are not there but lie beside the binary, as `dpkg -x`
leaves them, it is started with that folder mounted over /usr/share, in a mount namespace of its own.
"""

import http.client
import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from benchmarks.loopback import free_port

__all__ = ["command", "running", "start_command", "version"]

SHARE = Path("/usr/share")
TEMPLATE = Path("prometheus/alertmanager/default.tmpl")
START_S_MAX = 20.0


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


def version() -> str:
    """What it says it is."""
    if not command():
        return "not installed"
    done = subprocess.run([*command(), "--version"], capture_output=True, text=True, check=False)
    return ((done.stdout + done.stderr).split() or ["", "", "?"])[2]


def start_command(folder: Path, hook: str, port: int, group_by: Sequence[str]) -> list[str]:
    """Write its configuration, which tells one webhook at once, and return how to start it.

    Args:
        folder: Where its files go; it keeps its log of notifications there, so a second one in the same folder is
            the first one restarted.
        hook: The URL of the webhook, which becomes the receiver `hook`.
        group_by: Labels; `...` is all of them.
    """
    route = {"receiver": "hook", "group_by": list(group_by)}
    route |= {"group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h"}
    receiver = {"name": "hook", "webhook_configs": [{"url": hook, "send_resolved": True}]}
    file = folder / "alertmanager.yml"
    file.write_text(json.dumps({"route": route, "receivers": [receiver]}), encoding="utf-8")
    options = [f"--config.file={file}", f"--storage.path={folder / 'data'}"]
    return [*command(), *options, f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]


@contextmanager
def running(folder: Path, hook: str, group_by: Sequence[str] = ("...",)) -> Iterator[int]:
    """One that tells a webhook, until the block is left; yields its port. Raises `RuntimeError` if it did not start."""
    port = free_port()
    start = start_command(folder, hook, port, group_by)
    server = subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(server, port)
        yield port
    finally:
        server.terminate()
        server.wait(timeout=60)


def _wait(server: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + START_S_MAX
    while server.poll() is None and time.monotonic() < until:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_S_MAX)
        try:
            connection.request("GET", "/-/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
        finally:
            connection.close()
    raise RuntimeError(f"the Alertmanager did not start (exit code {server.poll()})")
