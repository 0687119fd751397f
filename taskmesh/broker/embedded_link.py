"""A thread with one kombu connection to the embedded broker, made again until it is closed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from taskmesh.broker.embedded_connection import connect, is_refusal
from taskmesh.broker.protocol import LinkState
from taskmesh.broker.settings import BrokerSettings
from taskmesh.errors import BrokerUnavailableError
from taskmesh.resilience.backoff import full_jitter

CLOSE_SECONDS = 5.0

T = TypeVar("T")

_log = logging.getLogger(__name__)


class EmbeddedLink:
    """kombu blocks, so each link has a thread; only that thread touches the connection."""

    def __init__(
        self,
        settings: BrokerSettings,
        role: str,
        session: Callable[[Any], None],
        on_fatal: Callable[[BrokerUnavailableError], None],
    ) -> None:
        """``session`` runs on the thread while a connection lasts; it returns soon after ``stopping`` is set."""
        self._settings = settings
        self._role = role
        self._session = session
        self._on_fatal = on_fatal
        self._delay = full_jitter(settings.reconnect_base_seconds, settings.reconnect_cap_seconds)
        self._failures = 0
        self._owner = 0
        self._thread = threading.Thread(target=self._run, name=f"taskmesh {role}", daemon=True)
        self.stopping = threading.Event()
        self.state = LinkState.DOWN

    def start(self) -> None:
        """Begin to connect; what the thread has to say is said on the running loop."""
        # kombu tells of every message that it gives back; what matters is logged here.
        kombu_log = logging.getLogger("kombu")
        if kombu_log.level == logging.NOTSET:
            kombu_log.setLevel(logging.WARNING)
        self._loop = asyncio.get_running_loop()
        self._owner = threading.get_ident()
        self._ended = asyncio.Event()
        self._thread.start()

    def check_thread(self) -> None:
        """Refuse calls from elsewhere: they would work here and corrupt the stream on RabbitMQ.

        :raises RuntimeError: when called from another thread than the loop's, or before ``start``.
        """
        if threading.get_ident() != self._owner:
            raise RuntimeError(f"the {self._role} must be started, and then used on the thread of its loop only")

    def note_progress(self) -> None:
        """Something got through, from the thread: the next failure is tried again soon."""
        self._failures = 0

    def call_soon(self, callback: Callable[[T], object], argument: T) -> None:
        """Call back on the loop, from the thread; nothing when the loop has ended."""
        try:
            self._loop.call_soon_threadsafe(callback, argument)
        except RuntimeError:
            self.stopping.set()

    async def close(self) -> None:
        """Wait for the thread to end, after ``stopping`` was set and the session woken."""
        self.stopping.set()
        if self._owner:
            # Not asyncio.to_thread: its pool refuses work once the interpreter is on its way out.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), CLOSE_SECONDS)
        self.state = LinkState.DOWN

    def _run(self) -> None:
        while not self.stopping.is_set():
            try:
                self._connect()
            except Exception as error:
                self._on_error(error)
            self.call_soon(self._set_state, LinkState.DOWN)
        self.call_soon(lambda _: self._ended.set(), None)

    def _connect(self) -> None:
        with connect(self._settings) as connection:
            self.call_soon(self._set_state, LinkState.UP)
            self._session(connection)

    def _on_error(self, error: Exception) -> None:
        fault = self._lasting_fault(error)
        if fault is not None:
            self.stopping.set()
            self.call_soon(self._on_fatal, BrokerUnavailableError(fault))
            return
        self._failures += 1
        delay_seconds = self._delay(self._failures)
        if not self.stopping.is_set():
            reason = str(error) or type(error).__name__
            _log.warning("the %s has no connection (%s); next try in %.2f s", self._role, reason, delay_seconds)
        self.stopping.wait(delay_seconds)

    def _lasting_fault(self, error: Exception) -> str | None:
        """The sentence for an error that trying again cannot mend."""
        if is_refusal(error):
            return f"the broker refuses the login of the {self._role} ({error}); correct broker.url"
        if isinstance(error, ImportError):
            return f"the embedded broker cannot be loaded ({error}); install taskmesh again with all it depends on"
        return None

    def _set_state(self, state: LinkState) -> None:
        self.state = state
