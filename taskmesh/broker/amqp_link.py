"""One connection to RabbitMQ with one channel, made again until it is closed; to another node each time if it can.

The owner declares and consumes in ``on_channel`` and says ``mark_up`` when that is done. Whatever closes the channel
closes the connection: its confirms, deliveries and declarations end together, so there is one thing to recover from.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from pika.channel import Channel
from pika.connection import Connection

from taskmesh.broker.amqp_connection import CorkedConnection
from taskmesh.broker.amqp_faults import brief, login_fault, topology_fault, version_fault
from taskmesh.broker.amqp_nodes import AmqpNodes
from taskmesh.broker.protocol import LinkState
from taskmesh.broker.settings import BrokerSettings
from taskmesh.errors import BrokerUnavailableError
from taskmesh.model.checkup.findings import Finding
from taskmesh.resilience.backoff import full_jitter

CLOSE_SECONDS = 2.0
"""How long a broker may take to agree that a connection ends."""

CONNECT_GRACE_SECONDS = 0.5
"""How long a closed connection may go on being made: pika forgets the socket of one that is aborted too early."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LinkEvents:
    """What a link tells its owner, always on the loop.

    ``on_channel``: a new channel is open. ``on_down``: it is gone, said once or twice. ``on_change``: it was marked
    up, blocked or unblocked. ``on_fatal``: it ended for a reason that trying again cannot mend.
    """

    on_channel: Callable[[Channel], None]
    on_down: Callable[[], None]
    on_change: Callable[[], None]
    on_fatal: Callable[[BrokerUnavailableError], None]


class AmqpLink:
    """See the module. Everything but the constructor belongs to the thread that called ``start``."""

    def __init__(self, settings: BrokerSettings, role: str, events: LinkEvents) -> None:
        """``role`` names the link in logs and in RabbitMQ's list of connections.

        :raises ConfigError: for a URL that cannot be right.
        """
        self._settings = settings
        self._role = role
        self._nodes = AmqpNodes(settings, f"taskmesh {role}")
        self._events = events
        self._delay = full_jitter(settings.reconnect_base_seconds, settings.reconnect_cap_seconds)
        self._state = LinkState.DOWN
        self._connection: CorkedConnection | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed: asyncio.Event = asyncio.Event()
        self._thread = 0
        self._attempt = 0
        self._pause_seconds = 0.0
        self._was_up = False
        self._stopped = False
        self.generation = 0

    @property
    def state(self) -> LinkState:
        return self._state

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def start(self) -> None:
        """Begin to connect, on the running loop."""
        # pika logs each lost connection with a traceback; what matters of it is logged here in one line.
        pika_log = logging.getLogger("pika")
        if pika_log.level == logging.NOTSET:
            pika_log.setLevel(logging.CRITICAL)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._connect()

    def check_thread(self) -> None:
        """pika is not thread-safe: a call from elsewhere corrupts the stream, and shows much later.

        :raises RuntimeError: when called from another thread than the loop's, or before ``start``.
        """
        if threading.get_ident() != self._thread:
            raise RuntimeError(f"the {self._role} must be started, and then used on the thread of its loop only")

    def mark_up(self) -> None:
        """The owner is ready: the next failure is tried again soon."""
        self._attempt = 0
        self._was_up = True
        self._cancel_timer()
        self._set_state(LinkState.UP)

    def corked(self) -> AbstractContextManager[None]:
        """Gather what is sent within the context into one write; only while a channel is open."""
        assert self._connection is not None
        return self._connection.corked()

    def drop(self, reason: str, pause_seconds: float = 0.0) -> None:
        """Give the connection up and make a new one, not before ``pause_seconds`` have passed."""
        self._pause_seconds = pause_seconds
        if self._connection is not None:
            # At once, not when the connection has ended: until then the owner would use a channel that is gone.
            self._go_down()
            self._connection.abort(reason)

    def fail(self, message: str) -> None:
        """End for good and tell the owner why, once."""
        if self._stopped:
            return
        self._stopped = True
        self._cancel_timer()
        self.drop(message)
        self._events.on_fatal(BrokerUnavailableError(message))

    async def close(self) -> None:
        """End the connection in good order, or without the broker's consent after ``CLOSE_SECONDS``."""
        self._stopped = True
        self._cancel_timer()
        if self._connection is None:
            return
        if self._connection.is_open:
            self._connection.close()
            await self._closes_within(CLOSE_SECONDS)
        else:
            await self._closes_within(CONNECT_GRACE_SECONDS)
        self.drop("closed")
        await self._closes_within(CLOSE_SECONDS)

    async def _closes_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            return False
        return True

    def _connect(self) -> None:
        self._attempt += 1
        self._closed.clear()
        self._connection = CorkedConnection(
            self._nodes.parameters,
            on_open_callback=self._on_open,
            on_open_error_callback=self._on_open_error,
            on_close_callback=self._on_close,
            custom_ioloop=self._loop,
        )

    def _on_open(self, connection: Connection) -> None:
        if self._stopped:
            connection.close()
            return
        fault = version_fault(connection.server_properties, self._nodes.url)
        if fault is not None:
            self.fail(fault.sentence)
            return
        connection.add_on_connection_blocked_callback(lambda *_: self._set_state(LinkState.BLOCKED))
        connection.add_on_connection_unblocked_callback(lambda *_: self._set_state(LinkState.UP))
        # A broker that accepts connections may still be unable to declare, for one without a majority of its nodes.
        self._timer = self._loop.call_later(
            self._settings.confirm_timeout_seconds, self.drop, "the broker did not answer a declaration in time"
        )
        connection.channel(on_open_callback=self._on_channel_open)

    def _on_channel_open(self, channel: Channel) -> None:
        self.generation += 1
        channel.add_on_close_callback(self._on_channel_close)
        self._events.on_channel(channel)

    def _on_channel_close(self, _channel: Channel, reason: BaseException) -> None:
        connection = self._connection
        if self._stopped or connection is None or not connection.is_open:
            return
        fault = topology_fault(reason, self._nodes.url, self._settings.namespace)
        if fault is not None:
            self.fail(fault.sentence)
        else:
            self.drop(brief(reason))

    def _on_open_error(self, _connection: Connection, error: BaseException) -> None:
        # A login that worked before is refused by a broker in trouble more often than by one whose users have changed.
        fault = None if self._was_up else login_fault(error, self._nodes.url)
        self._on_end(error, fault)

    def _on_close(self, _connection: Connection, error: BaseException) -> None:
        self._on_end(error, topology_fault(error, self._nodes.url, self._settings.namespace))

    def _on_end(self, error: BaseException, fault: Finding | None) -> None:
        self._connection = None
        self._closed.set()
        self._cancel_timer()
        self._go_down()
        if self._stopped:
            return
        if fault is not None:
            self.fail(fault.sentence)
            return
        delay_seconds = self._pause_seconds + self._delay(self._nodes.rounds(self._attempt))
        self._pause_seconds = 0.0
        failed = self._nodes.url
        self._nodes.turn()
        _log.warning(
            "the %s has no connection to %s (%s); next try in %.2f s",
            self._role,
            failed,
            brief(error),
            delay_seconds,
        )
        self._timer = self._loop.call_later(delay_seconds, self._connect)

    def _go_down(self) -> None:
        self._state = LinkState.DOWN
        self._events.on_down()

    def _set_state(self, state: LinkState) -> None:
        if self._state is not state:
            self._state = state
            self._events.on_change()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
