"""Nodes of type http against hosts that mean no good; all of them on loopback."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from taskmesh.config.settings import PluginsSection, Settings
from taskmesh.errors import NodeConfigError, NodeFailedError, NodeRefusedError, NodeUnavailableError
from taskmesh.plugins.builtin.http import HttpNode
from taskmesh.plugins.catalog import NodeTypes
from tests.harness.certificates import Authority, has_openssl
from tests.harness.http_host import HttpHost, http_host, reply
from tests.harness.node_context import OneNode

NAME = "service.test"
LOOPBACK = ("127.0.0.1/32",)
PATIENCE_SECONDS = 30.0


class Names:
    """A name server: gives the answers one after another, the last one again and again."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def node_for(*hosts: HttpHost, names: Any = None, networks: tuple[str, ...] = LOOPBACK, **section: Any) -> HttpNode:
    """A node type that may ask these hosts by name, each at its port."""
    allowed = tuple(f"{name}:{host.port}" for host in hosts for name in (NAME, "other.test"))
    settings = PluginsSection(http_hosts=allowed, http_networks=networks, **{"http_seconds": 20.0, **section})
    return HttpNode(settings, resolve=names or Names(["127.0.0.1"]))


def ask(node: HttpNode, host: HttpHost, path: str = "/", **config: Any) -> Any:
    return node.execute({"url": f"http://{NAME}:{host.port}{path}", **config}, OneNode())


def fails(kind: type[Exception], match: str, node: HttpNode, host: HttpHost, path: str = "/", **config: Any) -> str:
    """What a node says that fails so, in words that are found in it."""
    with pytest.raises(kind, match=match) as caught:
        ask(node, host, path, **config)
    assert type(caught.value) is kind
    return str(caught.value)


def heads(host: HttpHost) -> list[str]:
    return [request.partition(b"\r\n\r\n")[0].decode("latin-1").lower() for request in host.requests]


def test_an_answer_is_status_headers_and_body() -> None:
    body = json.dumps({"n": [1, 2.5, "ü"]}).encode()
    with http_host(reply("201 Created", body, "Content-Type: application/json", "X-A: 1", "X-A: 2")) as host:
        output = ask(node_for(host), host, "/things?q=1", method="POST", json={"a": 1}, headers={"X-Key": "secret"})

    assert output["status"] == 201
    assert output["body"] == {"n": [1, 2.5, "ü"]}
    assert output["headers"]["x-a"] == "1, 2"
    assert output["url"] == f"http://{NAME}:{host.port}/things?q=1"
    [request] = host.requests
    head, _, sent = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /things?q=1 HTTP/1.1\r\n")
    assert sent == b'{"a": 1}'
    said = head.decode().lower()
    assert f"host: {NAME}:{host.port}" in said
    assert "x-key: secret" in said
    assert "content-type: application/json" in said
    assert "idempotency-key: r-1/ask" in said


def test_text_is_text_other_bytes_are_bytes_and_cookies_are_dropped() -> None:
    with http_host(reply("200 OK", "é".encode("latin-1"), "content-type: text/plain; charset=latin-1")) as host:
        assert ask(node_for(host), host)["body"] == "é"
    with http_host(reply("200 OK", b"\xff\x00", "Set-Cookie: a=b")) as host:
        output = ask(node_for(host), host)
    assert output["body"] == b"\xff\x00"
    assert "set-cookie" not in output["headers"]


@pytest.mark.parametrize("body", [b"{", b"NaN", b"[" * 100_000], ids=["broken", "nan", "deep"])
def test_what_calls_itself_json_must_be_json(body: bytes) -> None:
    with http_host(reply("200 OK", body, "content-type: application/problem+json")) as host:
        fails(NodeFailedError, "calls itself JSON", node_for(host), host)


@pytest.mark.parametrize(
    ("status", "kind"), [(404, NodeFailedError), (503, NodeUnavailableError), (429, NodeUnavailableError)]
)
def test_another_status_than_is_expected_fails_the_node(status: int, kind: type[Exception]) -> None:
    with http_host(reply(f"{status} No", b"secret")) as host:
        said = fails(kind, f"answered with status {status}", node_for(host), host, "/?token=secret")
        assert ask(node_for(host), host, expect=[status])["body"] == "secret"

    assert "secret" not in said


def test_a_name_that_leads_to_a_private_address_is_refused_before_anything_is_sent() -> None:
    with http_host(reply()) as host:
        fails(NodeRefusedError, r"is at 127.0.0.1, which is no public address", node_for(host, networks=()), host)
    assert host.requests == []


def test_one_refused_address_among_several_refuses_them_all() -> None:
    with http_host(reply()) as host:
        fails(NodeRefusedError, r"10.0.0.1", node_for(host, names=Names(["127.0.0.1", "10.0.0.1"])), host)
    assert host.requests == []


def test_a_name_is_looked_up_once_so_a_second_answer_changes_nothing() -> None:
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    with http_host(reply("200 OK", b"x")) as host:
        assert ask(node_for(host, names=names), host)["body"] == "x"
    assert names.asked == [NAME]


@pytest.mark.parametrize("number", ["2130706433", "0x7f000001", "017700000001", "0x7f.1", "127.1", "0"])
def test_an_address_in_another_notation_is_judged_as_the_address_it_is(number: str) -> None:
    node = HttpNode(PluginsSection(http_hosts=(number,), http_seconds=20.0))

    with pytest.raises((NodeRefusedError, NodeUnavailableError), match=r"no public address|no address is known"):
        node.execute({"url": f"http://{number}/"}, OneNode())


def test_an_address_that_does_not_answer_is_not_the_end_while_there_is_another() -> None:
    with http_host(reply("200 OK", b"x")) as host:
        node = node_for(host, names=Names(["127.0.0.2", "127.0.0.1"]), networks=("127.0.0.0/8",))
        assert ask(node, host)["body"] == "x"


def test_a_redirect_is_an_error_or_an_output_and_never_followed_unasked() -> None:
    with http_host(reply("302 Found", b"", "Location: http://service.test/secret?token=1")) as host:
        said = fails(NodeFailedError, "set follow_redirects, or expect it", node_for(host), host)
        output = ask(node_for(host), host, expect=[302])
    assert output["headers"]["location"].endswith("token=1")
    assert "token" not in said
    assert len(host.requests) == 2


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:127.0.0.1]/",
        "http://2130706433/",
        "http://localhost/",
        "//127.0.0.1/",
        "http://service.test/",
    ],
)
def test_each_redirect_is_checked_like_a_url_of_its_own(location: str) -> None:
    with http_host(reply("302 Found", b"", f"Location: {location}")) as host:
        fails(NodeRefusedError, "may not be asked", node_for(host), host, follow_redirects=5)
    assert len(host.requests) == 1


def test_a_redirect_by_an_allowed_name_to_a_private_address_is_refused() -> None:
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    with http_host(lambda connection, _: connection.sendall(reply("302 Found", b"", f"Location: {there}"))) as host:
        there = f"http://other.test:{host.port}/"
        fails(NodeRefusedError, r"other.test is at 10.0.0.1", node_for(host, names=names), host, follow_redirects=1)
    assert names.asked == [NAME, "other.test"]


@pytest.mark.parametrize("location", ["ftp://service.test/", "http://[x", "http://a\\b/", "http://u:p@service.test/"])
def test_a_redirect_to_what_is_no_url_fails_the_node(location: str) -> None:
    with http_host(reply("302 Found", b"", f"Location: {location}")) as host:
        fails(NodeFailedError, "redirects to what is no URL", node_for(host), host, follow_redirects=1)


def test_a_redirect_within_a_host_keeps_headers_and_one_to_another_does_not() -> None:
    def answer(connection: socket.socket, request: bytes) -> None:
        places = {b"GET / ": "/second", b"GET /second ": f"http://other.test:{host.port}/third"}
        place = next((there for here, there in places.items() if request.startswith(here)), None)
        connection.sendall(reply("302 Found", b"", f"Location: {place}") if place else reply("200 OK", b"end"))

    with http_host(answer) as host:
        output = ask(node_for(host), host, headers={"Authorization": "s3cret", "Accept": "a/b"}, follow_redirects=2)

    assert output["body"] == "end"
    assert output["url"] == f"http://other.test:{host.port}/third"
    first, second, third = heads(host)
    assert "s3cret" in first
    assert "s3cret" in second
    assert "s3cret" not in third
    assert "accept: a/b" in third


def test_redirects_have_a_number() -> None:
    with http_host(reply("302 Found", b"", "Location: /again")) as host:
        fails(NodeFailedError, "status 302", node_for(host), host, follow_redirects=3)
    assert len(host.requests) == 4


@pytest.mark.parametrize(("status", "follows_with"), [(303, "GET"), (301, "GET"), (307, "POST"), (308, "POST")])
def test_what_follows_a_redirected_post(status: int, follows_with: str) -> None:
    def answer(connection: socket.socket, request: bytes) -> None:
        is_first = request.split()[1] == b"/"
        connection.sendall(reply(f"{status} There", b"", "Location: /there") if is_first else reply())

    with http_host(answer) as host:
        ask(node_for(host), host, method="POST", body="hello", follow_redirects=1)
    assert host.requests[1].startswith(f"{follows_with} /there".encode())
    assert host.requests[1].endswith(b"hello") == (follows_with == "POST")


def test_a_body_is_not_handed_on_to_another_host() -> None:
    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(reply("307 There", b"", f"Location: {there}"))

    with http_host(answer) as host:
        there = f"http://other.test:{host.port}/"
        fails(
            NodeFailedError,
            "is not to get the body",
            node_for(host),
            host,
            method="POST",
            body="hello",
            follow_redirects=1,
        )


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_large_is_not_read_to_its_end(announced: bool) -> None:
    sent = []

    def answer(connection: socket.socket, _: bytes) -> None:
        length = "content-length: 100000000000\r\n" if announced else ""
        connection.sendall(f"HTTP/1.1 200 OK\r\n{length}\r\n".encode())
        while len(sent) < 10_000:
            connection.sendall(b"x" * 65_536)
            sent.append(1)

    with http_host(answer) as host:
        fails(NodeFailedError, "has more than 1000 bytes", node_for(host, http_max_bytes=1000), host)
        assert host.gone.wait(PATIENCE_SECONDS)
    assert len(sent) < 10_000


def test_a_node_may_ask_for_less_than_the_settings_allow_and_never_for_more() -> None:
    with http_host(reply("200 OK", b"x" * 500)) as host:
        fails(NodeFailedError, "more than 10 bytes", node_for(host), host, max_bytes=10)
        fails(NodeFailedError, "more than 100 bytes", node_for(host, http_max_bytes=100), host, max_bytes=10_000)


def test_chunks_of_nothing_but_extensions_and_endless_heads_are_refused() -> None:
    def endless(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        for number in range(100_000):
            connection.sendall(b"x-%d: %s\r\n" % (number, b"y" * 100))

    with http_host(endless) as host:
        fails(NodeUnavailableError, NAME, node_for(host), host)
        assert host.gone.wait(PATIENCE_SECONDS)


@pytest.mark.parametrize("where", ["head", "body", "silence"])
def test_an_answer_that_comes_drop_by_drop_ends_with_the_time_of_all(where: str) -> None:
    over = threading.Event()

    def drip(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if where == "body" else b""))
        while not over.wait(0.02) and where != "silence":
            connection.sendall(b"x" if where == "body" else b"x: y\r\n")
        over.wait(PATIENCE_SECONDS)

    with http_host(drip) as host:
        begun = time.monotonic()
        fails(NodeUnavailableError, r"not complete after 0.5 s", node_for(host), host, seconds=0.5)
        took = time.monotonic() - begun
        over.set()
    # Far below what it would take if each drop had the time of its own.
    assert took < PATIENCE_SECONDS / 2


def test_a_host_that_takes_a_body_slowly_ends_with_the_time_of_all() -> None:
    over = threading.Event()
    with http_host(lambda *_: over.wait(PATIENCE_SECONDS) and None) as host:
        fails(
            NodeUnavailableError, "not complete", node_for(host), host, method="POST", body="x" * 30_000_000, seconds=1
        )
        over.set()


def test_a_name_server_that_does_not_answer_ends_with_the_time_of_all() -> None:
    over = threading.Event()

    def silent(host: str, port: int) -> list[str]:
        over.wait(PATIENCE_SECONDS)
        return ["127.0.0.1"]

    with http_host(reply()) as host:
        fails(NodeUnavailableError, r"not complete after 0.3 s", node_for(host, names=silent), host, seconds=0.3)
    over.set()
    assert host.requests == []


def test_a_host_that_hangs_up_or_talks_nonsense_is_unavailable() -> None:
    for answer in (b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"):
        with http_host(answer) as host:
            fails(NodeUnavailableError, NAME, node_for(host), host)


def test_nobody_at_the_port_and_no_address_are_unavailable() -> None:
    with http_host(reply()) as host:
        pass
    fails(NodeUnavailableError, "cannot be reached", node_for(host), host)
    fails(NodeUnavailableError, "no address is known", node_for(host, names=Names([])), host)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"headers": {"X": "a\r\nHost: evil.test"}}, "headers.X breaks the rule pattern"),
        ({"headers": {"X": "a\n"}}, "headers.X breaks the rule pattern"),
        ({"headers": {"X": "a\x00"}}, "headers.X breaks the rule pattern"),
        ({"headers": {"X\r\nY": "a"}}, "headers breaks the rule"),
        ({"headers": {"X Y": "a"}}, "headers breaks the rule"),
        ({"headers": {"Host": "evil.test"}}, "the header host is made from the rest"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "the header transfer-encoding is made from the rest"),
        ({"headers": {"content-length": "0"}}, "the header content-length is made from the rest"),
        ({"headers": {"A": "1", "a": "2"}}, "names a header twice"),
        ({"method": "GET / HTTP/1.1\r\nX: y"}, "method must be one of"),
        ({"method": "CONNECT"}, "method must be one of"),
        ({"json": 1, "body": "x"}, "json and body say the same"),
    ],
)
def test_nothing_can_be_slipped_into_a_request(config: dict[str, Any], said: str) -> None:
    with http_host(reply()) as host:
        section = PluginsSection(http_hosts=(f"localhost:{host.port}",), http_networks=("127.0.0.0/8", "::1/128"))
        task = NodeTypes(lambda: Settings(plugins=section)).executable(OneNode)["@http"]
        with pytest.raises(NodeConfigError, match=said):
            task.function(url=f"http://localhost:{host.port}/", **config)
    assert host.requests == []


def test_what_the_schema_would_let_through_the_client_does_not() -> None:
    with http_host(reply()) as host:
        said = fails(NodeFailedError, "cannot be sent", node_for(host), host, headers={"X": "s3cret\r\nHost: evil"})
    assert "s3cret" not in said
    assert host.requests == []


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with http_host(reply("200 OK", b"host")) as host, http_host(reply("200 OK", b"proxy")) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert ask(node_for(host), host)["body"] == "host"


@pytest.mark.skipif(not has_openssl(), reason="openssl is not installed")
class TestTls:
    """The name is the one of the URL, whatever address is connected to."""

    @pytest.fixture
    def authority(self, tmp_path: Path) -> Authority:
        return Authority(tmp_path)

    def host(self, authority: Authority, names: str) -> ssl.SSLContext:
        certificate = authority.sign("server", names)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.path, certificate.key)
        return context

    def ask(self, host: HttpHost, authority: Authority | None) -> Any:
        file = str(authority.certificate.path) if authority else None
        node = node_for(host, http_ca_file=file)
        return node.execute({"url": f"https://{NAME}:{host.port}/"}, OneNode())

    def refuse(self, host: HttpHost, authority: Authority | None) -> None:
        with pytest.raises(NodeUnavailableError, match="cannot be trusted"):
            self.ask(host, authority)

    def test_the_certificate_is_held_to_the_name(self, authority: Authority) -> None:
        with http_host(reply("200 OK", b"x"), self.host(authority, f"DNS:{NAME}")) as host:
            assert self.ask(host, authority)["body"] == "x"
            assert host.names == [NAME]

    def test_a_certificate_for_the_address_is_not_enough(self, authority: Authority) -> None:
        with http_host(reply(), self.host(authority, "IP:127.0.0.1")) as host:
            self.refuse(host, authority)

    def test_an_unknown_authority_is_not_trusted(self, authority: Authority) -> None:
        with http_host(reply(), self.host(authority, f"DNS:{NAME}")) as host:
            self.refuse(host, None)

    def test_a_redirect_out_of_tls_is_refused(self, authority: Authority) -> None:
        with http_host(reply("302 x", b"", f"Location: http://{NAME}/"), self.host(authority, f"DNS:{NAME}")) as host:
            node = node_for(host, http_ca_file=str(authority.certificate.path))
            with pytest.raises(NodeFailedError, match="which is not encrypted"):
                node.execute({"url": f"https://{NAME}:{host.port}/", "follow_redirects": 1}, OneNode())
