"""What a client can find out about a RabbitMQ: by doing once, under a name of its own, what a worker does."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from pika import BlockingConnection
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosed, ConnectionBlockedTimeout

from taskmesh.broker.amqp_connection import connection_parameters
from taskmesh.broker.amqp_faults import brief, login_fault, product_and_version, topology_fault
from taskmesh.broker.amqp_topology import EXCHANGE_TYPE, pool_queues
from taskmesh.broker.amqp_url import AmqpUrl, parse_amqp_nodes
from taskmesh.broker.management import ManagementApi
from taskmesh.broker.protocol import exchange_name
from taskmesh.broker.settings import BrokerSettings
from taskmesh.errors import BrokerUnavailableError
from taskmesh.model.checkup.findings import Finding, Severity
from taskmesh.model.checkup.rabbitmq_rules import ManagementFacts, RabbitFacts, judge_rabbitmq, judge_version

NAME = "taskmesh doctor"

BLOCKED_SECONDS = 2.0
"""A server with an alarm says so as soon as something is published, and then confirms nothing."""

SCRATCH_SECONDS = 60
"""The queue that is tried out goes by itself, should this process die before it deletes it."""

_NOT_FOUND = 404


@dataclass(slots=True)
class _Seen:
    """What has been found out so far."""

    refusals: list[Finding] = field(default_factory=list)
    alarm: str | None = None
    present: int = 0
    missing: int = 0


def inspect_rabbitmq(settings: BrokerSettings, pools: Sequence[str], management_url: str | None) -> list[Finding]:
    """Everything there is to say of the nodes of ``settings``, and of the queues of ``pools`` on them.

    :raises ConfigError: for a URL that cannot be right.
    """
    nodes = parse_amqp_nodes(settings.url)
    for node in nodes:
        # A certificate that cannot be read is told to the caller; in the thread nobody would hear of it.
        connection_parameters(settings, node, NAME)
    # pika waits for an answer to a declaration for ever, and a cluster without a majority gives none.
    finished: list[list[Finding]] = []
    asking = threading.Thread(
        target=lambda: finished.append(_inspect(settings, nodes, pools, management_url)), daemon=True
    )
    asking.start()
    asking.join(settings.confirm_timeout_seconds)
    if finished:
        return finished[0]
    return [
        Finding(
            "rabbitmq.reachable",
            Severity.BROKEN,
            f"RabbitMQ at {nodes[0]} does not answer everything within {settings.confirm_timeout_seconds:g} s",
            "see whether most of its nodes run: rabbitmqctl cluster_status",
        )
    ]


def _inspect(
    settings: BrokerSettings, nodes: Sequence[AmqpUrl], pools: Sequence[str], management_url: str | None
) -> list[Finding]:
    """Look at the first node that lets us in; of the others it matters whether they do."""
    faults: list[Finding] = []
    greetings: dict[AmqpUrl, tuple[str, str]] = {}
    for node in nodes:
        try:
            greetings[node] = _greeting(_connect(settings, node))
        except (AMQPError, OSError) as error:
            faults.append(login_fault(error, node) or _unreachable(error, node))
    if not greetings:
        return faults
    first, *others = greetings
    return [
        *(replace(fault, severity=Severity.WARNING) for fault in faults),
        *(judge_version(str(node), *greetings[node]) for node in others),
        *_inspect_node(settings, first, greetings[first], pools, management_url),
    ]


def _inspect_node(
    settings: BrokerSettings, url: AmqpUrl, greeting: tuple[str, str], pools: Sequence[str], management_url: str | None
) -> Iterator[Finding]:
    seen = _Seen()
    _note_faults(lambda: _try_out(_connect(settings, url), settings, seen), settings, url, seen)
    _note_faults(lambda: _compare(_connect(settings, url), settings, pools, seen), settings, url, seen)
    management, fault = _ask_management(management_url, settings, url)
    product, version = greeting
    yield from judge_rabbitmq(
        RabbitFacts(
            str(url), product, version, tuple(seen.refusals), seen.alarm, seen.missing, seen.present, management, fault
        )
    )


def _connect(settings: BrokerSettings, url: AmqpUrl) -> BlockingConnection:
    parameters = connection_parameters(settings, url, NAME)
    parameters.blocked_connection_timeout = BLOCKED_SECONDS
    return BlockingConnection(parameters)


def _greeting(connection: BlockingConnection) -> tuple[str, str]:
    try:
        return product_and_version(connection._impl.server_properties)
    finally:
        connection.close()


def _note_faults(step: Callable[[], None], settings: BrokerSettings, url: AmqpUrl, seen: _Seen) -> None:
    try:
        step()
    except (AMQPError, OSError) as error:
        seen.refusals.append(topology_fault(error, url, settings.namespace) or _unreachable(error, url))


def _try_out(connection: BlockingConnection, settings: BrokerSettings, seen: _Seen) -> None:
    """Declare, bind, publish and get, as a worker does."""
    name = f"{settings.namespace}.doctor-{secrets.token_hex(4)}"
    arguments = {"x-queue-type": settings.queue_type, "x-expires": SCRATCH_SECONDS * 1000}
    try:
        channel = connection.channel()
        channel.exchange_declare(name, EXCHANGE_TYPE, durable=True, auto_delete=True)
        channel.queue_declare(name, durable=True, arguments=arguments)
        channel.queue_bind(name, name, "1")
        seen.alarm = _publish(channel, name)
        if not seen.alarm:
            channel.basic_get(name, auto_ack=True)
            channel.queue_delete(name)
    finally:
        _close(connection)


def _publish(channel: BlockingChannel, name: str) -> str:
    """Publish by both ways that a worker uses; returns the alarm that keeps the server from taking it, if any."""
    channel.confirm_delivery()
    try:
        for exchange in (name, ""):
            channel.basic_publish(exchange, name, b"doctor", mandatory=True)
    except ConnectionBlockedTimeout:
        return "an alarm for memory or disk is on, and publishing is blocked"
    return ""


def _compare(connection: BlockingConnection, settings: BrokerSettings, pools: Sequence[str], seen: _Seen) -> None:
    """Declare what is there already as the settings have it: RabbitMQ refuses what differs."""
    try:
        for pool in pools:
            exchange = exchange_name(settings.namespace, pool)
            if _exists(connection, exchange, lambda channel, name: channel.exchange_declare(name, passive=True)):
                connection.channel().exchange_declare(exchange, EXCHANGE_TYPE, durable=True)
            _compare_queues(connection, settings, pool, seen)
    finally:
        _close(connection)


def _compare_queues(connection: BlockingConnection, settings: BrokerSettings, pool: str, seen: _Seen) -> None:
    for queue, arguments in pool_queues(settings, pool).items():
        if _exists(connection, queue, lambda channel, name: channel.queue_declare(name, passive=True)):
            channel = connection.channel()
            channel.queue_declare(queue, durable=True, arguments=arguments)
            channel.close()
            seen.present += 1
        else:
            seen.missing += 1


def _exists(connection: BlockingConnection, name: str, declare: Callable[[BlockingChannel, str], object]) -> bool:
    channel = connection.channel()
    try:
        declare(channel, name)
    except ChannelClosed as closed:
        if closed.reply_code == _NOT_FOUND:
            return False
        raise
    channel.close()
    return True


def _ask_management(
    management_url: str | None, settings: BrokerSettings, url: AmqpUrl
) -> tuple[ManagementFacts | None, str]:
    if management_url is None:
        return None, ""
    try:
        return ManagementApi(management_url, settings.connect_timeout_seconds).facts(url.vhost, settings.namespace), ""
    except BrokerUnavailableError as error:
        return None, str(error)


def _unreachable(error: BaseException, url: AmqpUrl) -> Finding:
    return Finding(
        "rabbitmq.reachable",
        Severity.BROKEN,
        f"RabbitMQ at {url} does not answer ({brief(error)})",
        "check that it runs, and broker.url",
    )


def _close(connection: BlockingConnection) -> None:
    if connection.is_open:
        connection.close()
