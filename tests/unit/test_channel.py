from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import pytest

from taskmesh.errors import TooLargeError, WireError
from taskmesh.worker.channels.channel import BlockingChannel, FrameReader, LoopChannel, frame
from taskmesh.worker.channels.child import RestartDelay, exit_sentence

MESSAGES = [["work", [1, b"x" * 300]], ["recall", None], ["stop", {"a": [1, 2, 3]}]]


@pytest.mark.parametrize("piece_bytes", [1, 3, 7, 100_000])
def test_messages_survive_being_cut_anywhere(piece_bytes: int) -> None:
    stream = b"".join(map(frame, MESSAGES))
    reader = FrameReader()
    received: list[Any] = []
    for start in range(0, len(stream), piece_bytes):
        received += reader.feed(stream[start : start + piece_bytes])
    assert received == MESSAGES


def test_a_frame_over_the_limit_is_refused_by_its_header_alone() -> None:
    with pytest.raises(TooLargeError, match="2000 bytes; at most 1000"):
        FrameReader(limit_bytes=1000).feed(struct.pack(">I", 2000))


def test_bytes_that_are_no_value_are_refused() -> None:
    with pytest.raises(WireError):
        FrameReader().feed(struct.pack(">I", 2) + b"\xc1\xc1")


def test_the_blocking_side_sees_the_end() -> None:
    ours, theirs = socket.socketpair()
    channel = BlockingChannel(ours)
    theirs.sendall(frame(["a"]) + frame(["b"]) + frame(["cut off"])[:-1])
    theirs.close()
    received = []
    while messages := channel.receive():
        received += messages
    assert received == [["a"], ["b"]]
    channel.send(["to nobody"])
    ours.close()


@pytest.mark.parametrize(("count", "size_bytes"), [(200, 50_000), (20_000, 1)])
def test_a_peer_that_does_not_read_blocks_nothing_and_loses_nothing(count: int, size_bytes: int) -> None:
    async def scenario() -> list[Any]:
        ours, theirs = socket.socketpair()
        channel = LoopChannel(ours, lambda messages: None, lambda: None)
        channel.open(asyncio.get_running_loop())
        for number in range(count):
            channel.send([number, b"x" * size_bytes])
        reading = asyncio.create_task(asyncio.to_thread(_read, theirs, count))
        try:
            return await asyncio.wait_for(asyncio.shield(reading), 20)
        finally:
            channel.close()
            await reading
            theirs.close()

    assert [number for number, _ in asyncio.run(scenario())] == list(range(count))


def _read(sock: socket.socket, count: int) -> list[Any]:
    channel = BlockingChannel(sock)
    received: list[Any] = []
    while len(received) < count and (messages := channel.receive()):
        received += messages
    return received


def test_the_loop_side_hands_over_everything_before_it_tells_of_the_end() -> None:
    async def scenario() -> list[Any]:
        ours, theirs = socket.socketpair()
        events: list[Any] = []
        closed = asyncio.Event()

        def on_closed() -> None:
            events.append("closed")
            closed.set()

        channel = LoopChannel(ours, events.extend, on_closed)
        channel.open(asyncio.get_running_loop())
        theirs.sendall(frame("one") + frame("two"))
        theirs.close()
        await asyncio.wait_for(closed.wait(), 5)
        channel.send("to nobody")
        channel.close()
        return events

    assert asyncio.run(scenario()) == ["one", "two", "closed"]


def test_close_reads_what_is_left() -> None:
    async def scenario() -> list[Any]:
        ours, theirs = socket.socketpair()
        events: list[Any] = []
        channel = LoopChannel(ours, events.extend, lambda: events.append("closed"))
        channel.open(asyncio.get_running_loop())
        theirs.sendall(frame("last words"))
        channel.close()
        theirs.close()
        return events

    assert asyncio.run(scenario()) == ["last words"]


def test_rubbish_ends_the_channel() -> None:
    async def scenario() -> None:
        ours, theirs = socket.socketpair()
        closed = asyncio.Event()
        channel = LoopChannel(ours, lambda messages: None, closed.set)
        channel.open(asyncio.get_running_loop())
        theirs.sendall(b"\xff" * 100)
        await asyncio.wait_for(closed.wait(), 5)
        theirs.close()

    asyncio.run(scenario())


def test_only_a_series_of_early_deaths_is_waited_for() -> None:
    delay = RestartDelay()
    assert [delay.after(0.1) for _ in range(5)] == [0.0, 0.1, 0.2, 0.4, 0.8]
    assert max(delay.after(0.1) for _ in range(100)) == 10.0
    assert delay.after(60.0) == 0.0
    assert delay.after(0.1) == 0.0


@pytest.mark.parametrize(
    ("code", "sentence"),
    [(0, "exit code 0"), (3, "exit code 3"), (-9, "killed by SIGKILL"), (-11, "SIGSEGV"), (-200, "signal 200")],
)
def test_the_sentence_for_an_exit(code: int, sentence: str) -> None:
    assert sentence in exit_sentence(code)
