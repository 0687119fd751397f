"""An engine on a store that can fail at every call, with a broker and a pool made of lists."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from taskmesh.broker.protocol import AckToken, Delivery, DirectMessage, LinkState, Message, Outgoing
from taskmesh.clock import SystemClock
from taskmesh.dispatch.dispatcher import Dispatcher, outgoing
from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.plans import Plans
from taskmesh.dispatch.waking import AlarmClock
from taskmesh.errors import StoreUnavailableError
from taskmesh.model.flow import Node
from taskmesh.observability.tally import Tally
from taskmesh.payload.large_values import LargeValues
from taskmesh.payload.payloads import Payloads
from taskmesh.store.keys import Keys
from taskmesh.store.link import Command, Conversation, Link, Reply
from taskmesh.wire import pack
from taskmesh.wire.messages import ProbeMessage, encode_message
from taskmesh.worker.channels.protocol import Failure, Outcome, Work
from taskmesh.worker.engine.engine import Engine
from taskmesh.worker.engine.handing_on import HandingOn
from taskmesh.worker.engine.parts import Parts
from taskmesh.worker.engine.quarantine import Quarantine
from taskmesh.worker.engine.standing_back import StandingBack
from taskmesh.worker.letters.burying import DeadLetters
from tests.contract.store_bench import ME, Bench, diamond, plan_of
from tests.harness.large_values import THRESHOLD_BYTES

PATIENCE_SECONDS = 10.0
MAX_LOSSES = 3


class FrailLink:
    """Loses the request, or the reply, of the calls in ``lost``: their numbers, each with ``request`` or ``reply``."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.lost: set[tuple[int, str]] = set()
        self.calls = 0

    def begin(self, commands: Sequence[Command]) -> Conversation:
        self.calls += 1
        if (self.calls, "request") in self.lost:
            raise StoreUnavailableError("the request was lost")
        return _Frail(self._link.begin(commands), (self.calls, "reply") in self.lost)

    def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        return self.begin(commands).collect()

    def pubsub(self) -> Any:
        return self._link.pubsub()

    def close(self) -> None:
        self._link.close()


class _Frail:
    def __init__(self, conversation: Conversation, is_lost: bool) -> None:
        self._conversation = conversation
        self._is_lost = is_lost
        self._collected = False

    def collect(self) -> list[Reply]:
        assert not self._collected, "the replies are another conversation's by now"
        self._collected = True
        replies = self._conversation.collect()
        if self._is_lost:
            raise StoreUnavailableError("the reply was lost")
        return replies

    def discard(self) -> None:
        if not self._collected:
            self._conversation.discard()


class FakeBroker:
    """Consumer and publisher in one: what is published to a shard is delivered, once it is ``confirmed``."""

    state = LinkState.UP

    def __init__(self) -> None:
        self.on_delivery: Callable[[Delivery], None] = lambda _: None
        self.confirms = True
        self.unacked: dict[AckToken, bytes] = {}
        self.acked: list[AckToken] = []
        self.requeued: list[AckToken] = []
        self.published: list[Outgoing] = []
        self.direct: list[DirectMessage] = []
        self._unconfirmed: list[tuple[Sequence[Message], Callable[[], None] | None]] = []
        self._tags = itertools.count(1)
        self.generation = 1
        self.paused = False
        self.stands_back = False

    @property
    def unconfirmed(self) -> int:
        return len(self._unconfirmed)

    async def start(self, *_: Any) -> None: ...

    async def drain(self, timeout_seconds: float) -> bool:
        return True

    async def close(self) -> None: ...

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def set_prefetch(self, prefetch: int) -> None: ...

    def stand_back(self, wanted: bool) -> None:
        self.stands_back = wanted

    def collect_letters(self, wanted: bool) -> None: ...

    def publish(self, messages: Sequence[Message], then: Callable[[], None] | None = None) -> None:
        self.published += [each for each in messages if isinstance(each, Outgoing)]
        self.direct += [each for each in messages if isinstance(each, DirectMessage)]
        self._unconfirmed.append((messages, then))
        if self.confirms:
            self.confirm()

    def confirm(self) -> None:
        batches, self._unconfirmed = self._unconfirmed, []
        loop = asyncio.get_running_loop()
        for messages, then in batches:
            for message in messages:
                if isinstance(message, Outgoing):
                    loop.call_soon(self.deliver, message.body)
            if then is not None:
                loop.call_soon(then)

    def deliver(self, body: bytes, redelivered: bool = False, queue: str = "ns.default.0") -> AckToken:
        token = AckToken(self.generation, next(self._tags))
        self.unacked[token] = body
        self.on_delivery(Delivery(body, queue, redelivered, token))
        return token

    def ack(self, tokens: Sequence[AckToken]) -> None:
        for token in tokens:
            if self.unacked.pop(token, None) is not None:
                self.acked.append(token)

    def requeue(self, tokens: Sequence[AckToken]) -> None:
        self.requeued += tokens
        for token in tokens:
            self.unacked.pop(token, None)


class FakePool:
    """Runs works when it is told to, or at once."""

    tasks = frozenset({"t"})

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.window = 8
        self.runs_at_once = True
        self.works: dict[int, Work] = {}
        self.waiting: dict[int, Work] = {}
        self.times: Counter[tuple[str, str]] = Counter()
        self.faults: list[Exception] = []
        self.cancelled: list[int] = []

    @property
    def capacity(self) -> int:
        return max(0, self.window - len(self.works))

    def submit(self, works: Sequence[Work]) -> None:
        if self.faults:
            raise self.faults.pop()
        for work in works:
            self.works[work.id] = work
            self.times[work.context[0], work.context[1]] += 1
            if self.runs_at_once:
                asyncio.get_running_loop().call_soon(self.finish, work.id)

    def finish(self, work_id: int, failure: Failure | None = None, output: Any = "out") -> None:
        del self.works[work_id]
        self._engine.on_outcomes([Outcome(work_id, b"" if failure else pack(output), failure, 0.0, 0.001)])

    def finish_all(self) -> None:
        for work_id in list(self.works):
            self.finish(work_id)

    def kill(self, work_id: int) -> bool:
        if work_id not in self.works:
            return False
        del self.works[work_id]
        asyncio.get_running_loop().call_soon(self._engine.on_lost, [work_id], [], "it was killed")
        return True

    def cancel(self, work_id: int) -> None:
        self.cancelled.append(work_id)

    @property
    def oldest_waiting(self) -> int | None:
        return min(self.waiting, default=None)

    def give_back(self) -> None:
        waiting, self.waiting = list(self.waiting), {}
        asyncio.get_running_loop().call_soon(self._engine.on_lost, [], waiting, "no room")

    async def drain(self, timeout_seconds: float) -> bool:
        return not self.works

    def wind_down(self) -> None: ...

    async def stop(self, grace_seconds: float = 0.0) -> None: ...


class EngineBench:
    """One holder's engine. Made on a running loop."""

    def __init__(self, url: str, namespace: str, max_crashes: int = 3) -> None:
        self.side = Bench(url, namespace)
        self.frail = Bench(url, namespace)
        self.link = FrailLink(self.frail.link)
        for part in (self.frail.store, self.frail.reader, self.frail.housekeeping):
            part.__dict__["link" if "link" in part.__dict__ else "_link"] = self.link
        self.keys: Keys = self.side.keys
        self.place: Payloads | None = None
        """Where large values are put aside, where a test has one."""
        self.broker = FakeBroker()
        self.tally = Tally()
        self.dead_letters = DeadLetters(
            self.frail.housekeeping, self.broker, self.broker, self.tally, ME, SystemClock()
        )
        dispatcher = Dispatcher(self.broker)
        self.parts = Parts(
            self.frail.store,
            self.frail.reader,
            Plans(self.frail.reader.flow_body),
            dispatcher,
            AlarmClock(self.frail.store, dispatcher, SystemClock()),
            self.broker,
            self.dead_letters,
            self.tally,
            SystemClock(),
            large=LargeValues(lambda: self.place, THRESHOLD_BYTES),
        )
        self.engine = Engine(
            self.parts,
            ME,
            Quarantine(max_crashes, MAX_LOSSES),
            HandingOn(60.0, StandingBack(self.broker, self.parts.clock).begin),
        )
        self.pool = FakePool(self.engine)
        self.engine.use(self.pool)
        self.broker.on_delivery = self.engine.on_delivery

    def submit(
        self, plan: Plan, run_id: str = "r1", deliver: bool = True, deadline_seconds: float | None = None
    ) -> list[bytes]:
        """Admit a run and deliver its first messages; returns those."""
        bodies = [
            outgoing(ready).body for ready in self.side.admit(plan, run_id, deadline_seconds=deadline_seconds).ready
        ]
        if deliver:
            for body in bodies:
                self.broker.deliver(body)
        return bodies

    def status(self, run_id: str = "r1") -> str:
        return str(self.side.record(run_id).summary.status)

    @property
    def is_idle(self) -> bool:
        engine = self.engine
        return not (engine.in_flight or engine.unsettled or engine.claiming or self.broker.unacked)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                await asyncio.sleep(0.001)

    async def turn(self) -> None:
        """Let everything happen that needs no timer."""
        for _ in range(30):
            await asyncio.sleep(0)

    def close(self) -> None:
        self.side.link.close()
        self.frail.link.close()


def single() -> Plan:
    return plan_of(Node("only", "t"))


async def run_two_flows(bench: EngineBench) -> None:
    bench.submit(diamond(), "r1")
    bench.broker.deliver(encode_message(ProbeMessage("default", "ns.default.0", 5.0)))
    bench.submit(plan_of(Node("x", "t"), Node("y", "t", needs=("x",))), "r2")
    await bench.until(lambda: bench.is_idle and bench.engine.in_flight == 0)
