"""From settings to adapters: the one place that knows which class serves which URL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from taskmesh.broker.settings import BrokerSettings
from taskmesh.clock import Clock, SystemClock
from taskmesh.config.settings import Settings
from taskmesh.dispatch.plans import Plans
from taskmesh.errors import StoreUnavailableError
from taskmesh.payload.opening import open_payloads, payload_settings
from taskmesh.payload.payloads import Payloads
from taskmesh.store.embedded import EmbeddedServer
from taskmesh.store.housekeeping import Housekeeping
from taskmesh.store.keys import Keys
from taskmesh.store.letters import Letters
from taskmesh.store.link import Link
from taskmesh.store.opening import open_link
from taskmesh.store.reader import Reader
from taskmesh.store.store import Store


@dataclass(frozen=True, slots=True)
class Foundation:
    """The store's side of a process, and where the broker is.

    ``payloads`` opens the place for large values, once; None where the settings name none.
    """

    settings: Settings
    clock: Clock
    link: Link
    keys: Keys
    store: Store
    reader: Reader
    housekeeping: Housekeeping
    letters: Letters
    plans: Plans
    broker: BrokerSettings
    embedded: EmbeddedServer | None
    payloads: Callable[[], Payloads | None] = lambda: None

    def close(self) -> None:
        self.link.close()
        if self.embedded is not None:
            self.embedded.release()


def lay_foundation(settings: Settings) -> Foundation:
    """Open the store; start the embedded server where no servers are named.

    :raises ConfigError: a URL is none. :raises StoreUnavailableError: the embedded server does not start.
    """
    clock = SystemClock()
    embedded = _embedded_server(settings, clock) if settings.is_embedded else None
    if embedded is not None:
        _start(embedded, settings.embedded.directory)
    section = settings.store
    url = embedded.url if embedded is not None else section.url or ""
    link = open_link(url, section.connect_timeout_seconds, section.socket_timeout_seconds)
    return build_on(link, clock, settings, broker_settings(settings, embedded), embedded)


def build_on(
    link: Link, clock: Clock, settings: Settings, broker: BrokerSettings, embedded: EmbeddedServer | None
) -> Foundation:
    """Everything that stands on a link to the store."""
    section = settings.store
    keys = Keys(settings.namespace, section.partitions)
    reader = Reader(link, keys)
    return Foundation(
        settings=settings,
        clock=clock,
        link=link,
        keys=keys,
        store=Store(link, keys, section.retention_seconds),
        reader=reader,
        housekeeping=Housekeeping(link, keys, section.retention_seconds),
        letters=Letters(link, keys, settings.limits.max_dead_letters, settings.limits.max_dead_letter_bytes),
        plans=Plans(reader.flow_body),
        broker=broker,
        embedded=embedded,
        payloads=cache(lambda: open_payloads(payload_settings(settings))),
    )


def _embedded_server(settings: Settings, clock: Clock) -> EmbeddedServer:
    fsync = "always" if settings.store.durability == "always" else "everysec"
    return EmbeddedServer(Path(settings.embedded.directory), clock, fsync)


def _start(server: EmbeddedServer, directory: str) -> None:
    try:
        server.acquire()
    except OSError as error:
        raise StoreUnavailableError(
            f"the embedded store cannot keep its data in {directory} ({error.strerror}); start in a directory "
            "where you may write, or set embedded.directory to one"
        ) from None


def broker_settings(settings: Settings, embedded: EmbeddedServer | None = None) -> BrokerSettings:
    """What a broker adapter needs to know."""
    section = settings.broker
    # The embedded broker lives in the embedded store's server, in a database of its own.
    url = f"redis+socket://{embedded.socket_path}?virtual_host=1" if embedded is not None else section.url or ""
    return BrokerSettings(
        url=url,
        namespace=settings.namespace,
        shards=section.shards,
        shard_weights=section.shard_weights,
        queue_type=section.queue_type,
        quorum_group_size=section.quorum_group_size,
        heartbeat_seconds=section.heartbeat_seconds,
        connect_timeout_seconds=section.connect_timeout_seconds,
        confirm_timeout_seconds=section.confirm_timeout_seconds,
    )
