"""Which adapter speaks to a broker, by the scheme of its URL. The drivers are imported only when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TypeAlias
from urllib.parse import urlsplit

from taskmesh.broker.protocol import Consumer, Publisher
from taskmesh.broker.settings import BrokerSettings
from taskmesh.errors import BrokerUnavailableError, ConfigError

RABBITMQ_SCHEMES = ("amqp", "amqps")
EMBEDDED_SCHEMES = ("redis", "rediss", "redis+socket")

OnFatal: TypeAlias = Callable[[BrokerUnavailableError], None]
PublisherOpener: TypeAlias = Callable[[BrokerSettings, OnFatal], Publisher]
ConsumerOpener: TypeAlias = Callable[[BrokerSettings, Sequence[str], str, OnFatal, int], Consumer]


def open_publisher(settings: BrokerSettings, on_fatal: OnFatal) -> Publisher:
    """A publisher, not started yet. ``on_fatal`` is called once, on the loop, when no retry can help.

    :raises ConfigError: for a URL that cannot be right.
    """
    if is_rabbitmq(settings.url):
        from taskmesh.broker.amqp_publisher import RabbitPublisher

        return RabbitPublisher(settings, on_fatal)
    from taskmesh.broker.embedded_publisher import KombuPublisher

    return KombuPublisher(settings, on_fatal)


def open_consumer(
    settings: BrokerSettings,
    pools: Sequence[str],
    holder: str,
    on_fatal: OnFatal,
    prefetch: int,
) -> Consumer:
    """A consumer of every shard of ``pools``, not started yet.

    ``holder`` names it among all consumers of the pools; ``prefetch`` is how many messages of each shard it may hold
    unacked. ``on_fatal`` is called once, on the loop, when no retry can help.

    :raises ConfigError: for a URL that cannot be right.
    """
    if is_rabbitmq(settings.url):
        from taskmesh.broker.amqp_consumer import RabbitConsumer

        return RabbitConsumer(settings, pools, holder, on_fatal, prefetch)
    from taskmesh.broker.embedded_consumer import KombuConsumer

    return KombuConsumer(settings, pools, on_fatal, prefetch)


def listen_to_events(settings: BrokerSettings, binding: str) -> AbstractContextManager[Iterator[bytes]]:
    """The bodies of the events that are published from now on; on RabbitMQ those whose routing keys match ``binding``.

    Both the opening and the iterator raise ``BrokerUnavailableError`` where the broker is away.

    :raises ConfigError: for a URL that cannot be right.
    """
    if is_rabbitmq(settings.url):
        from taskmesh.broker.amqp_event_feed import listen_to_rabbitmq

        return listen_to_rabbitmq(settings, binding)
    from taskmesh.broker.embedded_event_feed import listen_embedded

    return listen_embedded(settings)


def is_rabbitmq(url: str) -> bool:
    scheme = urlsplit(url).scheme
    if scheme not in RABBITMQ_SCHEMES + EMBEDDED_SCHEMES:
        known = ", ".join(f"{name}://" for name in RABBITMQ_SCHEMES + EMBEDDED_SCHEMES)
        raise ConfigError(f"broker.url begins with {scheme + '://'!r}; known are {known}")
    return scheme in RABBITMQ_SCHEMES
