"""A simulated RabbitMQ: shards behind an exchange that hashes, confirms, prefetch, redelivery; and what befalls it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Protocol

from taskmesh.broker.protocol import DirectMessage, EventMessage, Outgoing, dead_queue_name, shard_queue_name
from taskmesh.broker.rendezvous import pick_shard
from tests.simulation.fate import Fate
from tests.simulation.loop import Actor, SimLoop

LATENCY_SECONDS = (0.0002, 0.004)


@dataclass(slots=True)
class Message:
    """One message that the broker keeps."""

    number: int
    queue: str
    body: bytes
    redelivered: bool = False


class Witness(Protocol):
    """Who is told what the broker does with messages."""

    def on_kept(self, message: Message) -> None: ...

    def on_acked(self, message: Message, holder: str) -> None: ...


class Ends(Protocol):
    """The client's side of a connection."""

    def on_cut(self) -> None: ...

    def on_alarm(self, is_on: bool) -> None: ...

    def on_delivery(self, body: bytes, queue: str, redelivered: bool, tag: int) -> None: ...


@dataclass(eq=False)
class Queue:
    """One queue, and who consumes it: the highest priority first."""

    name: str
    ready: deque[Message] = field(default_factory=deque)
    consumers: list[Subscription] = field(default_factory=list)


@dataclass(eq=False)
class Subscription:
    """One consumer of one queue."""

    connection: Connection
    queue: Queue
    prefetch: int
    priority: int
    unacked: int = 0


class Connection:
    """One connection to the broker; what is sent on it arrives in its order, or never."""

    def __init__(self, broker: SimBroker, actor: Actor, ends: Ends) -> None:
        self.actor = actor
        self.ends = ends
        self.is_open = True
        self.subscriptions: dict[str, Subscription] = {}
        self.unacked: dict[int, tuple[Message, Subscription]] = {}
        self.tags = count(1)
        self._broker = broker
        self._is_reset = False
        self._inbound = self._outbound = 0.0

    def send(self, callback: Callable[..., None], *args: object) -> None:
        """From the actor to the broker."""
        self._inbound = max(self._inbound, self._arrival())
        self._broker.loop.outside(self._inbound - self._broker.loop.time(), self.arrive, callback, *args)

    def tell(self, callback: Callable[..., None], *args: object) -> None:
        """From the broker to the actor."""
        self._outbound = max(self._outbound, self._arrival())
        self._broker.loop.outside(self._outbound - self._broker.loop.time(), self._reach, callback, args)

    def cut(self, is_reset: bool) -> None:
        """End it; with ``is_reset`` what was on its way to the actor is lost, too."""
        if self.is_open:
            self.is_open = False
            self._broker.forget(self)
            self._is_reset = is_reset
            self.tell(self.ends.on_cut)

    def _arrival(self) -> float:
        return self._broker.loop.time() + self._broker.chance.uniform(*LATENCY_SECONDS)

    def arrive(self, callback: Callable[..., None], *args: object) -> None:
        if self.is_open:
            callback(*args)

    def _reach(self, callback: Callable[..., None], args: tuple[object, ...]) -> None:
        if callback == self.ends.on_cut or not self._is_reset:
            self._broker.loop.inside(self.actor, callback, *args)


class SimBroker:
    """The server. What happens to it by fate is decided where it happens, by the seed."""

    def __init__(self, loop: SimLoop, chance: Random, fate: Fate, namespace: str, shards: int) -> None:
        self.loop = loop
        self.chance = chance
        self.queues: dict[str, Queue] = {}
        self.connections: list[Connection] = []
        self.is_up = True
        self.has_alarm = False
        self.witnesses: list[Witness] = []
        self._fate = fate
        self._namespace = namespace
        self._shards = shards
        self._numbers = count(1)

    # What clients ask for.

    def connect(self, actor: Actor, ends: Ends) -> Connection | None:
        is_away = not self.is_up or actor.alone_until > self.loop.time()
        if is_away or self._fate.strikes("connection refused"):
            return None
        connection = Connection(self, actor, ends)
        self.connections.append(connection)
        return connection

    def declare(self, pool: str) -> None:
        for name in (*self._shards_of(pool), dead_queue_name(self._namespace, pool)):
            self.queues.setdefault(name, Queue(name))

    def publish(self, message: Outgoing | DirectMessage | EventMessage) -> bool:
        """Keep a message; False where no queue takes it. Nobody here listens for events."""
        if isinstance(message, EventMessage):
            return True
        queue = self._route(message)
        if queue is None:
            return False
        if self._fate.strikes("message lost"):
            return True
        for _ in range(2 if self._fate.strikes("message doubled") else 1):
            self._keep(queue, Message(next(self._numbers), queue.name, message.body))
        return True

    def consume(self, connection: Connection, name: str, prefetch: int, priority: int) -> None:
        queue = self.queues.get(name)
        if queue is None:
            connection.cut(is_reset=False)
            return
        subscription = Subscription(connection, queue, prefetch, priority)
        connection.subscriptions[name] = subscription
        queue.consumers.append(subscription)
        self._deliver(queue)

    def cancel(self, connection: Connection) -> None:
        for subscription in connection.subscriptions.values():
            subscription.queue.consumers.remove(subscription)
        connection.subscriptions.clear()

    def ack(self, connection: Connection, tags: Sequence[int]) -> None:
        for tag in tags:
            message, subscription = connection.unacked.pop(tag)
            subscription.unacked -= 1
            for witness in self.witnesses:
                witness.on_acked(message, connection.actor.name)
            self._deliver(subscription.queue)

    def requeue(self, connection: Connection, tags: Sequence[int]) -> None:
        for tag in tags:
            message, subscription = connection.unacked.pop(tag)
            subscription.unacked -= 1
            self._give_back([message])

    # What befalls it.

    def forget(self, connection: Connection) -> None:
        """A connection is gone: what it had not acked goes to others."""
        self.connections.remove(connection)
        self.cancel(connection)
        unacked = [message for message, _ in connection.unacked.values()]
        connection.unacked.clear()
        self._give_back(unacked)

    def set_alarm(self, is_on: bool) -> None:
        """With an alarm, nothing that is published is read."""
        self.has_alarm = is_on
        for connection in self.connections:
            connection.tell(connection.ends.on_alarm, is_on)

    def cut_all(self) -> None:
        for connection in list(self.connections):
            connection.cut(self.chance.random() < 0.5)

    def wipe(self) -> None:
        """It comes back and knows nothing."""
        self.queues.clear()
        self.cut_all()

    def delete(self, name: str) -> None:
        """Somebody deletes a queue; who consumed it is told."""
        queue = self.queues.pop(name, None)
        for subscription in list(queue.consumers) if queue else ():
            subscription.connection.cut(is_reset=False)

    # What it holds.

    def messages(self) -> Iterator[Message]:
        """All that is ready or unacked."""
        for queue in self.queues.values():
            yield from queue.ready
        for connection in self.connections:
            for message, _ in connection.unacked.values():
                yield message

    def _shards_of(self, pool: str) -> list[str]:
        return [shard_queue_name(self._namespace, pool, shard) for shard in range(self._shards)]

    def _route(self, message: Outgoing | DirectMessage) -> Queue | None:
        if isinstance(message, DirectMessage):
            return self.queues.get(message.queue)
        # A deleted queue leaves the exchange, which spreads its keys over the others.
        bound = [self.queues[name] for name in self._shards_of(message.pool) if name in self.queues]
        return bound[pick_shard(message.routing_key, (1,) * len(bound))] if bound else None

    def _keep(self, queue: Queue, message: Message) -> None:
        for witness in self.witnesses:
            witness.on_kept(message)
        delay_seconds = self._fate.seconds("message late", 0.1, 20.0)
        self.loop.outside(delay_seconds, self._append, message)

    def _append(self, message: Message) -> None:
        queue = self.queues.get(message.queue)
        if queue is None:
            return
        if self._fate.strikes("message overtaken"):
            queue.ready.insert(self.chance.randint(0, len(queue.ready)), message)
        else:
            queue.ready.append(message)
        self._deliver(queue)

    def _give_back(self, messages: Sequence[Message]) -> None:
        touched: dict[str, Queue] = {}
        for message in sorted(messages, key=lambda each: -each.number):
            message.redelivered = True
            queue = self.queues.get(message.queue)
            if queue is not None:
                queue.ready.appendleft(message)
                touched[queue.name] = queue
        for queue in touched.values():
            self._deliver(queue)

    def _deliver(self, queue: Queue) -> None:
        while queue.ready:
            able = [each for each in queue.consumers if each.unacked < each.prefetch]
            if not able:
                return
            chosen = max(able, key=lambda each: each.priority)
            self._hand_out(chosen, queue.ready.popleft())

    def _hand_out(self, to: Subscription, message: Message) -> None:
        tag = next(to.connection.tags)
        to.unacked += 1
        to.connection.unacked[tag] = (message, to)
        to.connection.tell(to.connection.ends.on_delivery, message.body, message.queue, message.redelivered, tag)
