"""The controller in memory behind a real HTTP server on 127.0.0.1: for the transport and for real
processes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from modelfleet_agent.uplink.transport import Outgoing
from modelfleet_core.errors import WorldError

from tests.agent.fakes import FakeController


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    controller: FakeController

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self) -> None:
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        request = Outgoing(self.command, path, dict(self.headers.items()), query, body)
        if path == "/redirect":
            self.send_response(307)
            self.send_header("Location", "/livez")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if path == "/livez":
            self._send(200, {}, b"ok")
            return
        try:
            with self.controller.open(request) as stream:
                data, broken = b"", False
                try:
                    while part := stream.read(65536):
                        data += part
                except WorldError:
                    broken = True
                length = stream.headers.get("content-length", str(len(data) + (1000 if broken else 0)))
                self._send(stream.status, {**stream.headers, "content-length": length}, data)
                self.close_connection = self.close_connection or broken
        except WorldError:
            self.close_connection = True

    def _send(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response(status)
        headers = {"content-length": str(len(data)), **headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def served(controller: FakeController) -> Iterator[str]:
    """The address at which the controller answers."""
    handler = type("Handler", (_Handler,), {"controller": controller})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
