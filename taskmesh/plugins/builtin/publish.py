"""Nodes of type publish: one message to an exchange of RabbitMQ, confirmed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from taskmesh.broker.factory import is_rabbitmq
from taskmesh.broker.settings import BrokerSettings
from taskmesh.config.settings import Settings
from taskmesh.errors import (
    BrokerUnavailableError,
    NodeFailedError,
    NodeRefusedError,
    NodeUnavailableError,
    UsageError,
)
from taskmesh.model.values import Value
from taskmesh.plugins.builtin.body import body_of
from taskmesh.plugins.interface import INTERFACE_VERSION, NodeContext

DEFAULT_EXCHANGE = "amq.default"
"""What RabbitMQ calls the exchange without a name, which leads straight to queues."""

PUBLISH_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "exchange": {
            "type": "string",
            "minLength": 1,
            "maxLength": 255,
            "description": f"The exchange; {DEFAULT_EXCHANGE} leads straight to the queue that routing_key names.",
        },
        "routing_key": {
            "type": "string",
            "maxLength": 255,
            "default": "",
            "description": "Where it is to go from there.",
        },
        "json": {"description": "The body, sent as JSON."},
        "body": {"type": "string", "description": "The body as text, sent in UTF-8."},
        "headers": {
            "type": "object",
            "maxProperties": 100,
            "propertyNames": {"minLength": 1, "maxLength": 128},
            "additionalProperties": {"type": ["string", "integer", "boolean"], "maxLength": 8192},
            "description": "Headers by name.",
        },
        "broker": {
            "type": "string",
            "minLength": 1,
            "description": "The name of a broker in plugins.publish_urls; default: the broker of the mesh.",
        },
        "seconds": {"type": "number", "exclusiveMinimum": 0, "description": "Less time than a confirm may take."},
    },
    "required": ["exchange"],
    "additionalProperties": False,
}


class PublishNode:
    """Publishes each message on a connection of its own."""

    name = "publish"
    interface = INTERFACE_VERSION
    schema = PUBLISH_SCHEMA

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._urls = dict(each.split("=", 1) for each in settings.plugins.publish_urls)

    def validate(self, config: dict[str, Any]) -> Iterator[str]:
        if ("json" in config) == ("body" in config):
            yield "give the message as json or as body"
        if len(config.get("routing_key", "").encode()) > 255:
            yield "routing_key has more than 255 bytes"

    def execute(self, config: dict[str, Any], context: NodeContext) -> Value:
        """``{"exchange", "routing_key", "message_id"}``; the id is the same for every attempt of the node.

        :raises NodeRefusedError: the settings do not allow the exchange, or name no such broker.
        :raises NodeUnavailableError: RabbitMQ did not confirm it. :raises NodeFailedError: it leads to no queue.
        """
        # Imported here: a worker that runs no such node does without it.
        from taskmesh.broker.amqp_message import Message, publish_message

        exchange, routing_key = config["exchange"], config.get("routing_key", "")
        self._refuse(exchange, routing_key)
        message = Message(
            "" if exchange == DEFAULT_EXCHANGE else exchange,
            routing_key,
            body_of(self.name, config) or b"",
            "application/json" if "json" in config else "text/plain; charset=utf-8",
            context.idempotency_key,
            config.get("headers", {}),
        )
        try:
            publish_message(self._broker(config), message)
        except BrokerUnavailableError as error:
            raise NodeUnavailableError(str(error)) from None
        except UsageError as error:
            raise NodeFailedError(str(error)) from None
        return {"exchange": exchange, "routing_key": routing_key, "message_id": message.message_id}

    def _refuse(self, exchange: str, routing_key: str) -> None:
        """:raises NodeRefusedError: the exchange is not allowed, or it is the mesh's own way for nodes."""
        if exchange not in self._settings.plugins.publish_exchanges:
            raise NodeRefusedError(f"plugins.publish_exchanges of this worker does not name {exchange!r}")
        namespace = self._settings.namespace
        target = routing_key if exchange == DEFAULT_EXCHANGE else exchange
        if target == namespace or target.startswith(f"{namespace}."):
            raise NodeRefusedError(
                f"{target!r} is of taskmesh itself; messages of nodes are published by workers alone"
            )

    def _broker(self, config: Mapping[str, Any]) -> BrokerSettings:
        url = self._url(config.get("broker"))
        section = self._settings.broker
        if not is_rabbitmq(url):
            raise NodeRefusedError("the broker of this mesh is not RabbitMQ; name one in plugins.publish_urls")
        confirm_seconds = section.confirm_timeout_seconds
        settings = BrokerSettings(url, connect_timeout_seconds=section.connect_timeout_seconds)
        return replace(settings, confirm_timeout_seconds=min(config.get("seconds", confirm_seconds), confirm_seconds))

    def _url(self, name: str | None) -> str:
        if name is None:
            if self._settings.broker.url is None:
                raise NodeRefusedError("this mesh is embedded and has no RabbitMQ; name one in plugins.publish_urls")
            return self._settings.broker.url
        if name not in self._urls:
            raise NodeRefusedError(f"plugins.publish_urls of this worker names no broker {name!r}")
        return self._urls[name]
