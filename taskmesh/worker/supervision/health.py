"""One HTTP port for the whole worker: ``/livez``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol

from taskmesh.errors import ConfigError

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REQUEST_SECONDS = 5.0


class HealthView(Protocol):
    """What is shown. Called from the threads of the server."""

    def not_live(self) -> Sequence[str]:
        """One sentence for each thing that a restart of the worker would mend; empty when it is alive."""

    def not_ready(self) -> Sequence[str]:
        """One sentence for each thing that keeps the worker from taking work; empty when it is ready."""

    def metrics(self) -> bytes:
        """Prometheus' text format."""


class HealthServer:
    """Serves a view until it is closed."""

    def __init__(self, host: str, port: int, view: HealthView) -> None:
        """Bind; port 0 means any free one.

        :raises ConfigError: when the port cannot be had.
        """
        try:
            self._server = _server_class(host)((host, port), _handler(view))
        except OSError as error:
            raise ConfigError(
                f"the health port {host}:{port} cannot be used ({error.strerror or error}); "
                "set worker.health_host and worker.health_port to a free one, or the port to 0 for any"
            ) from None
        self.port: int = self._server.server_address[1]

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no event for the worker's log."""


class _ServerV6(_Server):
    address_family = socket.AF_INET6


def _server_class(host: str) -> type[_Server]:
    return _ServerV6 if ":" in host else _Server


def _handler(view: HealthView) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version = "taskmesh"
        sys_version = ""
        timeout = REQUEST_SECONDS

        def do_GET(self) -> None:
            status, content_type, body = _answer(view, self.path.partition("?")[0])
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            """Probes come every few seconds; they are not worth a line each."""

    return Handler


def _answer(view: HealthView, path: str) -> tuple[HTTPStatus, str, bytes]:
    if path == "/metrics":
        return HTTPStatus.OK, METRICS_TYPE, view.metrics()
    if path == "/livez":
        return _verdict(view.not_live())
    if path == "/readyz":
        return _verdict(view.not_ready())
    return HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"try /livez, /readyz or /metrics\n"


def _verdict(problems: Sequence[str]) -> tuple[HTTPStatus, str, bytes]:
    status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
    return status, "text/plain; charset=utf-8", ("\n".join(problems) or "ok").encode() + b"\n"
