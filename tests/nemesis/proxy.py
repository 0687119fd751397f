"""A proxy of our own in front of RabbitMQ or Redis, which knows the units of their protocols and makes them suffer.

Nothing that TCP would repeat is ever lost in the middle of a stream: a direction that is down stands still, and goes on
when it is up again. Only a reset ends a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from tests.harness.ports import free_port
from tests.nemesis.frames import AmqpCutter, Cutter, RespCutter, Unit

LOOPBACK = "127.0.0.1"
CHUNK = 65_536
LINGER_NOT_AT_ALL = struct.pack("ii", 1, 0)
LOOK_SECONDS = 0.02

AMQP, RESP = "amqp", "resp"
TO_SERVER, TO_CLIENT = "to_server", "to_client"

Judge: TypeAlias = Callable[[str, Unit], "Fate"]
"""Called on the proxy's thread with the direction and the unit."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one unit: how often it is passed on, after what time, and whether the connection ends then."""

    copies: int = 1
    delay_seconds: float = 0.0
    reset: bool = False
    hold: bool = False


PASS = Fate()
SWALLOW_AND_RESET = Fate(copies=0, reset=True)


@dataclass(frozen=True, slots=True)
class Weather:
    """What all connections suffer. ``down`` directions stand still; ``bytes_per_second`` 0 is no limit."""

    down: frozenset[str] = frozenset()
    delay_seconds: float = 0.0
    bytes_per_second: int = 0
    byte_by_byte: bool = False
    refuses: bool = False


class FaultProxy:
    """Listens on a port of its own and passes everything on to ``target``; controlled from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: str, target: int, host: str) -> None:
        self._loop = loop
        self._protocol = protocol
        self._target = target
        self._weather = Weather()
        self._make_judge: Callable[[], Judge] = _lenient
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None
        self.connections = 0
        self.host = host
        self.port = free_port()
        asyncio.run_coroutine_threadsafe(self._open(), loop).result()

    def weather(self, **changes: Any) -> None:
        """Change what all connections suffer from now on."""
        self._weather = replace(self._weather, **changes)

    def clear(self) -> None:
        """Let everything pass again."""
        self._weather = Weather()
        self._make_judge = _lenient

    def judge(self, make: Callable[[], Judge]) -> None:
        """Have the fate of every unit decided, by a judge for each connection; those that are open are reset."""
        self._make_judge = make
        self.reset_all()

    def reset_all(self) -> None:
        """End every connection at once, with a reset."""
        self._loop.call_soon_threadsafe(self._reset_all)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._serve, self.host, self.port)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        self.connections += 1
        # Cancelled only when the proxy closes, which nobody wants to read about.
        with contextlib.suppress(asyncio.CancelledError):
            await self._join(reader, writer)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._weather.refuses:
            _reset(writer)
            return
        try:
            upstream_reader, upstream = await asyncio.open_connection(LOOPBACK, self._target)
        except OSError:
            _reset(writer)
            return
        async with self._both(writer, upstream):
            judge = self._make_judge()
            there = asyncio.create_task(self._pump(TO_SERVER, reader, upstream, judge))
            back = asyncio.create_task(self._pump(TO_CLIENT, upstream_reader, writer, judge))
            try:
                await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
            finally:
                there.cancel()
                back.cancel()
                await asyncio.gather(there, back, return_exceptions=True)

    @asynccontextmanager
    async def _both(self, *writers: asyncio.StreamWriter) -> AsyncIterator[None]:
        self._writers.update(writers)
        try:
            yield
        finally:
            self._writers.difference_update(writers)
            for writer in writers:
                _reset(writer)

    async def _pump(
        self, direction: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, judge: Judge
    ) -> None:
        """Pass on what comes; returns when the connection is over."""
        cutter = self._cutter(direction)
        held: list[bytes] = []
        try:
            while data := await reader.read(CHUNK):
                # Once for all that has come, as on a long way, and not for each unit of it.
                await asyncio.sleep(self._weather.delay_seconds)
                for unit in cutter.feed(data):
                    fate = judge(direction, unit)
                    await self._suffer(direction, fate)
                    await self._pass_on(unit, fate, writer, held)
                    if fate.reset:
                        return
        except OSError:
            return

    async def _suffer(self, direction: str, fate: Fate) -> None:
        while direction in self._weather.down:
            await asyncio.sleep(LOOK_SECONDS)
        await asyncio.sleep(fate.delay_seconds)

    async def _pass_on(self, unit: Unit, fate: Fate, writer: asyncio.StreamWriter, held: list[bytes]) -> None:
        """What is held goes after the next unit that is not."""
        if fate.hold:
            held.append(unit.raw)
            return
        await self._write(writer, b"".join([unit.raw] * fate.copies + held))
        held.clear()

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        weather = self._weather
        if weather.bytes_per_second:
            await asyncio.sleep(len(data) / weather.bytes_per_second)
        pieces = [data[at : at + 1] for at in range(len(data))] if weather.byte_by_byte else [data]
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            if weather.byte_by_byte:
                await asyncio.sleep(0)

    def _cutter(self, direction: str) -> Cutter:
        return AmqpCutter() if self._protocol == AMQP else RespCutter(replies=direction == TO_CLIENT)

    def _reset_all(self) -> None:
        for writer in list(self._writers):
            _reset(writer)


def _lenient() -> Judge:
    return lambda direction, unit: PASS


def _reset(writer: asyncio.StreamWriter) -> None:
    transport = writer.transport
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None and not transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT_AT_ALL)
    transport.abort()


@contextmanager
def proxies(host: str = LOOPBACK) -> Iterator[Callable[[str, int], FaultProxy]]:
    """Makes proxies that listen at ``host`` and share one thread: ``make(AMQP, port of the server)``."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="proxies", daemon=True)
    thread.start()
    made: list[FaultProxy] = []

    def make(protocol: str, target: int) -> FaultProxy:
        made.append(FaultProxy(loop, protocol, target, host))
        return made[-1]

    try:
        yield make
    finally:
        for proxy in made:
            proxy.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
