"""What RabbitMQ's management API tells and AMQP does not: alarms, network partitions, leaders of queues."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from taskmesh.errors import BrokerUnavailableError
from taskmesh.model.checkup.rabbitmq_rules import ManagementFacts, QueueFacts

PAGE_SIZE = 500
MAX_ANSWER_BYTES = 16 * 2**20

_ALARMS = {"mem_alarm": "memory", "disk_free_alarm": "disk"}


class ManagementApi:
    """The API at a URL like ``http://user:password@host:15672``; asked with a timeout in seconds."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        parts = urlsplit(url)
        user, password = unquote(parts.username or "guest"), unquote(parts.password or "guest")
        self._is_tls = parts.scheme == "https"
        self._host = parts.netloc.rpartition("@")[2]
        self._path = f"{parts.path.rstrip('/')}/api"
        self._login = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._timeout_seconds = timeout_seconds

    def facts(self, vhost: str, namespace: str) -> ManagementFacts:
        """What concerns the queues of a namespace.

        :raises BrokerUnavailableError: the API does not answer, or not to this user.
        """
        nodes = self._get("/nodes")
        return ManagementFacts(
            alarms=tuple(_alarms(nodes)),
            partitioned=tuple(str(node.get("name")) for node in nodes if node.get("partitions")),
            queues=tuple(map(_queue, self._queues(vhost, namespace))),
        )

    def _queues(self, vhost: str, namespace: str) -> Iterator[dict[str, Any]]:
        page, pages = 1, 1
        while page <= pages:
            query = {"name": f"^{re.escape(namespace)}\\.", "use_regex": "true", "pagination": "true"}
            answer = self._get(
                f"/queues/{quote(vhost, safe='')}?{urlencode({**query, 'page': page, 'page_size': PAGE_SIZE})}"
            )
            yield from answer["items"]
            page, pages = page + 1, int(answer["page_count"])

    def _get(self, path: str) -> Any:
        try:
            with closing(self._connection()) as connection:
                connection.request("GET", self._path + path, headers={"Authorization": f"Basic {self._login}"})
                response = connection.getresponse()
                if response.status == HTTPStatus.OK:
                    return json.loads(response.read(MAX_ANSWER_BYTES))
        except (OSError, HTTPException, ValueError) as error:
            raise BrokerUnavailableError(f"the management API at {self._host} does not answer ({error})") from None
        raise BrokerUnavailableError(
            f"the management API at {self._host} answers {response.status} {response.reason}; "
            "its user needs the tag monitoring"
        )

    def _connection(self) -> HTTPConnection:
        kind = HTTPSConnection if self._is_tls else HTTPConnection
        return kind(self._host, timeout=self._timeout_seconds)


def _alarms(nodes: list[dict[str, Any]]) -> Iterator[str]:
    for node in nodes:
        for name, resource in _ALARMS.items():
            if node.get(name):
                yield f"{resource} of {node.get('name')}"


def _queue(found: dict[str, Any]) -> QueueFacts:
    """A classic queue has one node and no leader of its own; it is down with that node."""
    leads = found.get("leader") in found.get("online", []) if found.get("type") == "quorum" else True
    state = str(found.get("state", "running"))
    return QueueFacts(str(found["name"]), state, leads and state not in ("down", "crashed", "minority"))
