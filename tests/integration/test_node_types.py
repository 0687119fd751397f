"""Node types from one end to the other: on the command line, in executor processes, to RabbitMQ."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from pathlib import Path
from typing import Any

import pika
import pytest

from taskmesh.config.settings import BrokerSection, PluginsSection, Settings, StoreSection
from taskmesh.errors import NodeFailedError, NodeRefusedError, NodeUnavailableError
from taskmesh.plugins.builtin.publish import PublishNode
from tests.harness.http_host import http_host, reply
from tests.harness.node_context import OneNode
from tests.integration.shell import Shell
from tests.integration.test_executor_process import running

ROOT = Path(__file__).parents[2]

DIGEST_FLOW = """
flow: digests
params: {text: string}
nodes:
  long: {type: digest, with: {text: "${params.text}"}}
  short: {type: digest, with: {text: "${nodes.long.output.digest}", algorithm: blake2b, length: 4}}
"""

WRONG_FLOW = """
flow: wrong
nodes:
  a: {type: digest, with: {text: x, length: 4}}
  b:
    type: digest
    with:
      text: x
      algorithm: md5
  c: {type: digset, with: {}}
"""


UNDO_APP = """
from taskmesh import Mesh

mesh = Mesh()

@mesh.task
def undo(url, result):
    return [url, result["status"]]
"""

POLICY_FLOW = """
flow: policies
on_failure: compensate
nodes:
  busy:
    type: http
    with: {url: "PLACE/busy"}
    retry: {max_attempts: 5, base: 10ms, on: [taskmesh.errors.NodeUnavailableError]}
    compensate: undo:undo
  nowhere:
    type: http
    with: {url: "PLACE/nowhere"}
    needs: [busy]
    retry: {max_attempts: 5, base: 10ms, on: [taskmesh.errors.NodeUnavailableError]}
"""


@pytest.fixture
def own(shell: Shell) -> Shell:
    """A directory whose settings name the example's manifest."""
    manifest = ROOT / "configs" / "node-types.toml"
    (shell.directory / "taskmesh.toml").write_text(f'[plugins]\nmanifests = ["{manifest}"]\n')
    return shell


def test_the_page_shows_the_example_and_its_manifest_as_they_are() -> None:
    page = (ROOT / "docs" / "plugins.md").read_text()
    blocks = re.findall(r"^```\w+\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)

    assert (ROOT / "workers" / "digest.py").read_text() in blocks
    assert any(block in (ROOT / "configs" / "node-types.toml").read_text() for block in blocks if "[types." in block)


def test_a_flow_of_a_type_of_ones_own_runs_with_no_app_at_all(own: Shell) -> None:
    (own.directory / "digests.yaml").write_text(DIGEST_FLOW)

    ran = own.json("run", "digests.yaml", "-p", "text=hello", "--id", "r-1")
    assert ran["status"] == "succeeded"
    assert ran["nodes"]["long"]["task"] == "@digest"
    assert ran["nodes"]["long"]["output"]["digest"].startswith("2cf24dba5fb0a30e26e83b2ac5b9e29e")
    assert ran["nodes"]["short"]["output"] == {"digest": ran["result"]["digest"], "run": "r-1"}
    assert len(ran["result"]["digest"]) == 8


def test_validate_knows_what_is_wrong_and_where(own: Shell) -> None:
    (own.directory / "wrong.yaml").write_text(WRONG_FLOW)

    assert own("validate", "wrong.yaml", code=2).splitlines()[-3:] == [
        "taskmesh: wrong.yaml:4:27: node 'a': length is for the algorithm blake2b",
        "wrong.yaml:9:18: node 'b': algorithm must be one of sha256, blake2b",
        "wrong.yaml:10:13: node 'c': there is no node type 'digset' here; did you mean 'digest'?",
    ]


def test_a_registered_flow_of_types_is_checked_and_runs(own: Shell) -> None:
    (own.directory / "wrong.yaml").write_text(WRONG_FLOW)
    (own.directory / "digests.yaml").write_text(DIGEST_FLOW)

    assert "algorithm must be one of" in own("flow", "push", "wrong.yaml", code=2)
    own("flow", "push", "digests.yaml", "--activate")
    assert own.json("run", "digests", "-p", "text=hello")["status"] == "succeeded"


def test_policies_and_undos_hold_for_nodes_of_a_type(shell: Shell) -> None:
    asked: list[bytes] = []

    def answer(connection: socket.socket, request: bytes) -> None:
        asked.append(request.split()[1])
        is_busy = request.startswith(b"GET /busy") and asked.count(b"/busy") < 3
        connection.sendall(reply("503 Later" if is_busy else "404 No" if b"/nowhere" in request else "200 OK"))

    with http_host(answer) as host:
        place = f"http://localhost:{host.port}"
        (shell.directory / "taskmesh.toml").write_text(
            f'[plugins]\nhttp_hosts = ["localhost:{host.port}"]\nhttp_networks = ["127.0.0.0/8", "::1/128"]\n'
        )
        (shell.directory / "undo.py").write_text(UNDO_APP)
        (shell.directory / "f.yaml").write_text(POLICY_FLOW.replace("PLACE", place))
        ran = shell.json("run", "f.yaml", "-A", "undo", code=1)

    nodes = ran["nodes"]
    assert (nodes["busy"]["status"], nodes["busy"]["attempts"]) == ("succeeded", 3)
    assert (nodes["nowhere"]["status"], nodes["nowhere"]["attempts"]) == ("failed", 1)
    assert nodes["nowhere"]["error"]["type"] == "taskmesh.errors.NodeFailedError"
    assert nodes["busy"]["undo"]["output"] == [f"{place}/busy", 200]


def test_plugins_are_listed_with_state_and_origin_and_shown_with_their_schema(own: Shell) -> None:
    listed = {each["name"]: each for each in own.json("plugins", "ls")}
    assert {name: each["state"] for name, each in listed.items()} == {
        "http": "off",
        "shell": "off",
        "python": "off",
        "publish": "off",
        "digest": "on",
    }
    assert listed["digest"]["origin"].startswith("manifest ")
    assert "http_hosts" in own("plugins", "ls")
    shown = own.json("plugins", "show", "digest")
    assert shown["schema"]["required"] == ["text"]
    assert '"algorithm"' in own("plugins", "show", "digest")
    assert "did you mean 'digest'" in own("plugins", "show", "digset", code=2)


def test_a_type_that_is_off_is_refused_by_who_would_have_to_run_it(shell: Shell) -> None:
    (shell.directory / "f.yaml").write_text("flow: f\nnodes: {a: {type: shell, with: {argv: [/bin/echo]}}}\n")

    assert "node type 'shell' is off here: plugins.shell_programs allows no program" in shell("run", "f.yaml", code=2)
    assert "is valid" in shell("validate", "f.yaml")


def test_a_type_that_is_refused_is_listed_and_the_doctor_warns(own: Shell) -> None:
    (own.directory / "broken.toml").write_text('[types.mine]\nmodule = "nowhere_at_all"\nclass = "X"\n')
    (own.directory / "taskmesh.toml").write_text('[plugins]\nmanifests = ["broken.toml"]\n')

    [mine] = [each for each in own.json("plugins", "ls") if each["name"] == "mine"]
    assert mine["state"] == "refused"
    assert "ModuleNotFoundError" in mine["reason"]
    [found] = [each for each in own.json("doctor")["findings"] if each["id"] == "plugins.types"]
    assert found["severity"] == "warning"
    assert "'mine' (manifest broken.toml) is refused" in found["what"]


def test_executors_run_what_the_settings_of_their_worker_allow() -> None:
    with http_host(reply("200 OK", b"hello")) as host:
        plugins = PluginsSection(http_hosts=(f"localhost:{host.port}",), http_networks=("127.0.0.0/8", "::1/128"))
        settings = Settings(plugins=plugins).to_mapping()

        async def scenario() -> None:
            async with running(settings=settings) as bench:
                await bench.until(lambda: bench.pool.tasks)
                assert "@http" in bench.pool.tasks
                assert not {"@shell", "@python", "@publish"} & bench.pool.tasks
                output = await bench.run(1, "@http", url=f"http://localhost:{host.port}/", method="POST")
                assert (output["status"], output["body"]) == (200, "hello")
                bench.send(2, "@http", url="http://169.254.169.254/")
                bench.send(3, "@http", url=5)
                await bench.until_reported(2, 3)
                assert bench.failure(2).startswith("taskmesh.errors.NodeRefusedError: http://169.254.169.254 may not")
                assert bench.failure(3) == (
                    "taskmesh.errors.NodeConfigError: node type 'http': url must be of type string"
                )

        asyncio.run(scenario())
    assert b"idempotency-key: run/node-1" in host.requests[0].lower()


class TestPublish:
    @pytest.fixture
    def channel(self, rabbitmq_url: str, namespace: str) -> Any:
        connection = pika.BlockingConnection(pika.URLParameters(rabbitmq_url))
        channel = connection.channel()
        channel.exchange_declare(f"x-{namespace}", "direct", auto_delete=True)
        channel.queue_declare(f"q-{namespace}", exclusive=True)
        channel.queue_bind(f"q-{namespace}", f"x-{namespace}", "key")
        yield channel
        connection.close()

    def publish(self, url: str | None, namespace: str, urls: tuple[str, ...] = (), **config: Any) -> Any:
        plugins = PluginsSection(
            publish_exchanges=(f"x-{namespace}", "amq.default", namespace, f"{namespace}.default", "no-such"),
            publish_urls=urls,
        )
        store = StoreSection(url="redis://127.0.0.1:1/0") if url else StoreSection()
        broker = BrokerSection(url=url, connect_timeout_seconds=3.0)
        node = PublishNode(Settings(namespace=namespace, broker=broker, store=store, plugins=plugins))
        return node.execute({"exchange": f"x-{namespace}", "routing_key": "key", **config}, OneNode())

    def test_a_message_arrives_persistent_with_the_nodes_id(
        self, channel: Any, rabbitmq_url: str, namespace: str
    ) -> None:
        output = self.publish(rabbitmq_url, namespace, json={"a": "ü"}, headers={"n": 1, "t": "x", "b": True})

        method, properties, body = channel.basic_get(f"q-{namespace}", auto_ack=True)
        assert method is not None
        assert json.loads(body) == {"a": "ü"}
        assert (properties.content_type, properties.delivery_mode) == ("application/json", 2)
        assert properties.message_id == output["message_id"] == "r-1/ask"
        assert properties.headers == {"n": 1, "t": "x", "b": True}

    def test_a_named_broker_and_a_queue_by_name(self, channel: Any, rabbitmq_url: str, namespace: str) -> None:
        there = {"exchange": "amq.default", "routing_key": f"q-{namespace}", "body": "text", "broker": "audit"}
        self.publish(None, namespace, (f"audit={rabbitmq_url}",), **there)

        _, properties, body = channel.basic_get(f"q-{namespace}", auto_ack=True)
        assert (body, properties.content_type) == (b"text", "text/plain; charset=utf-8")

    def test_what_leads_nowhere_fails(self, channel: Any, rabbitmq_url: str, namespace: str) -> None:
        with pytest.raises(NodeFailedError, match="to no queue"):
            self.publish(rabbitmq_url, namespace, routing_key="other", body="x")
        with pytest.raises(NodeUnavailableError, match="NOT_FOUND"):
            self.publish(rabbitmq_url, namespace, exchange="no-such", body="x")

    def test_what_is_not_allowed_is_refused_before_anything_is_connected(self, namespace: str) -> None:
        nobody = "amqp://127.0.0.1:1"
        for config, said in (
            ({"exchange": "amq.topic"}, r"plugins\.publish_exchanges"),
            ({"exchange": ""}, r"plugins\.publish_exchanges"),
            ({"exchange": f"{namespace}.default"}, "is of taskmesh itself"),
            ({"exchange": "amq.default", "routing_key": f"{namespace}.default.0"}, "is of taskmesh itself"),
            ({"broker": "other"}, "names no broker 'other'"),
        ):
            with pytest.raises(NodeRefusedError, match=said):
                self.publish(nobody, namespace, body="x", **config)
        with pytest.raises(NodeRefusedError, match="is embedded and has no RabbitMQ"):
            self.publish(None, namespace, body="x")

    def test_a_broker_that_is_away_is_unavailable_and_its_password_is_not_told(self, namespace: str) -> None:
        with pytest.raises(NodeUnavailableError) as caught:
            self.publish("amqp://me:s3cret@127.0.0.1:1/v", namespace, body="x", seconds=20)
        assert "s3cret" not in str(caught.value)
