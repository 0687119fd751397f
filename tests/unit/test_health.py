from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator

import pytest

from taskmesh.errors import ConfigError
from taskmesh.worker.supervision.health import HealthServer


class View:
    def __init__(self) -> None:
        self.dead: list[str] = []
        self.unready: list[str] = []

    def not_live(self) -> list[str]:
        return self.dead

    def not_ready(self) -> list[str]:
        return self.unready

    def metrics(self) -> bytes:
        return b"taskmesh_nodes_total 3\n"


@pytest.fixture
def view() -> View:
    return View()


@pytest.fixture
def server(view: View) -> Iterator[HealthServer]:
    server = HealthServer("127.0.0.1", 0, view)
    server.start()
    yield server
    server.close()


def ask(server: HealthServer, path: str, method: str = "GET") -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], response.read()
    finally:
        connection.close()


def test_a_healthy_worker_says_ok(server: HealthServer) -> None:
    assert ask(server, "/livez")[::2] == (200, b"ok\n")
    assert ask(server, "/readyz?verbose")[::2] == (200, b"ok\n")


def test_every_problem_has_a_line(server: HealthServer, view: View) -> None:
    view.unready = ["I/O process 0: connecting", "I/O process 1: starting"]
    status, _, body = ask(server, "/readyz")
    assert status == 503
    assert body.decode().splitlines() == view.unready
    assert ask(server, "/livez")[0] == 200


def test_metrics_are_prometheus_text(server: HealthServer) -> None:
    status, content_type, body = ask(server, "/metrics")
    assert (status, body) == (200, b"taskmesh_nodes_total 3\n")
    assert content_type.startswith("text/plain; version=0.0.4")


def test_head_has_no_body_and_other_paths_do_not_exist(server: HealthServer) -> None:
    assert ask(server, "/livez", "HEAD")[::2] == (200, b"")
    assert ask(server, "/")[0] == 404
    assert ask(server, "/livez", "POST")[0] == 501


def test_a_port_that_is_taken_is_one_clear_sentence(view: View) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"health port 127.0.0.1:{port} cannot be used .*worker.health_port"):
            HealthServer("127.0.0.1", port, view)
