"""A way to a server that can be cut: at once, or when some more bytes have gone through."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from types import TracebackType
from typing import Self

CHUNK_BYTES = 65_536


class CuttingProxy:
    """Carries TCP connections to a port of this machine. Everything runs on the loop that opens it."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._bytes_left: int | None = None
        self.connections = 0
        self.cuts = 0

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    def cut(self) -> None:
        """Reset every connection now."""
        self._bytes_left = None
        self.cuts += bool(self._writers)
        for writer in self._writers:
            _reset(writer)
        self._writers.clear()

    def cut_after(self, size: int) -> None:
        """Reset every connection when so many bytes more have come from the server, be it in mid-frame."""
        self._bytes_left = size

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            their_reader, their_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            _reset(writer)
            return
        self._writers |= {writer, their_writer}
        try:
            await asyncio.gather(
                self._carry(reader, their_writer, counts=False), self._carry(their_reader, writer, counts=True)
            )
        finally:
            for each in (writer, their_writer):
                self._writers.discard(each)
                _reset(each)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counts: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                last = counts and self._bytes_left is not None and len(data) >= self._bytes_left
                writer.write(data[: self._bytes_left] if last else data)
                await writer.drain()
                if last:
                    self.cut()
                elif counts and self._bytes_left is not None:
                    self._bytes_left -= len(data)
        # The end of one direction is the end of both: nobody here half-closes.
        _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
