"""One I/O process of the raw limit: pika alone publishes, confirms, consumes and acks as fast as it can.

It holds two connections, as an I/O process of a worker does. It says "ready", waits for a line on stdin, and
prints as JSON how many messages it acked per second while it was measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel
from pika.connection import Connection
from pika.frame import Method
from pika.spec import Basic, BasicProperties

BODY = bytes(180)  # the size of a node message
PREFETCH = 4000
WINDOW = 4000  # unconfirmed messages
IN_FLIGHT = 8000  # published and not consumed: keeps the queues short, so that both sides run at one pace
BATCH = 500  # messages per turn of the loop


async def open_channel(url: str) -> Channel:
    """Connect with pika's asyncio adapter and open a channel."""
    opened: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()

    def open_it(connection: Connection) -> None:
        connection.channel(on_open_callback=opened.set_result)

    def fail(_: object, error: BaseException) -> None:
        if not opened.done():
            opened.set_exception(error)

    AsyncioConnection(
        pika.URLParameters(url),
        on_open_callback=open_it,
        on_open_error_callback=fail,
        on_close_callback=fail,
    )
    return await opened


@dataclass(slots=True)
class RawIo:
    """Publishes as far as its windows allow and acks once, in each turn of the loop that brought something."""

    publishing: Channel
    consuming: Channel
    exchange: str
    properties: BasicProperties
    published: int = 0
    confirmed: int = 0
    received: int = 0
    acked: int = 0
    turn_due: bool = False

    def start(self, queues: list[str]) -> None:
        self.consuming.basic_qos(prefetch_count=PREFETCH)
        for queue in queues:
            self.consuming.basic_consume(queue, self._on_message)
        self.publishing.confirm_delivery(self._on_confirm)

    def wake(self) -> None:
        if not self.turn_due:
            self.turn_due = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self.turn_due = False
        if self.received > self.acked:
            self.acked = self.received
            self.consuming.basic_ack(self.acked, multiple=True)
        room = min(WINDOW - self.published + self.confirmed, IN_FLIGHT - self.published + self.acked)
        for _ in range(min(BATCH, room)):
            self.published += 1
            self.publishing.basic_publish(self.exchange, f"run-{self.published}", BODY, self.properties, mandatory=True)

    def _on_message(self, channel: Channel, deliver: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        self.received = deliver.delivery_tag
        self.wake()

    def _on_confirm(self, frame: Method[Basic.Ack | Basic.Nack]) -> None:
        self.confirmed = frame.method.delivery_tag if frame.method.multiple else self.confirmed + 1
        self.wake()


async def measure(io: RawIo, warm_up_seconds: float, seconds: float) -> float:
    """Messages acked per second, after the warm-up."""
    io.wake()
    await asyncio.sleep(warm_up_seconds)
    begun, acked = time.perf_counter(), io.acked
    await asyncio.sleep(seconds)
    return (io.acked - acked) / (time.perf_counter() - begun)


def persistent() -> BasicProperties:
    """Properties that make RabbitMQ keep a message over a restart."""
    make: Callable[..., BasicProperties] = BasicProperties
    return make(delivery_mode=2, content_type="application/octet-stream")


async def run(options: argparse.Namespace) -> None:
    publishing, consuming = await asyncio.gather(open_channel(options.url), open_channel(options.url))
    io = RawIo(publishing, consuming, options.exchange, persistent())
    io.start(options.queues)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print(json.dumps({"per_second": await measure(io, options.warm_up_seconds, options.seconds)}), flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--exchange", required=True)
    parser.add_argument("--warm-up-seconds", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("queues", nargs="+")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(run(parse()))
