"""A small HTTP server in this process: what is scraped, and who is told. It keeps nothing and judges nothing."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["free_port", "serving"]

BACKLOG = 128


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = BACKLOG


@contextmanager
def serving(
    get: Callable[[str], bytes], answered: Callable[[str, bytes, float], None] = lambda *_: None
) -> Iterator[int]:
    """Serve on loopback until the block is left; yields the port.

    Args:
        get: The text of a path. Called on a thread of the connection's.
        answered: Told of each POST after its 200 has been written: path, body, and the monotonic instant of the
            answer in seconds. Called on a thread of the connection's.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:  # the name is http.server's
            self._answer(get(self.path))

        def do_POST(self) -> None:  # the name is http.server's
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(b"")
            answered(self.path, body, time.monotonic())

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
            """Quiet."""

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def free_port() -> int:
    """A port that nobody listened at just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
