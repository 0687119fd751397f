"""A store, and what tests do with it again and again."""

from __future__ import annotations

from typing import Any

from taskmesh.dispatch.advance import Advance, Advancer, Ending, Entrance
from taskmesh.dispatch.plan import Plan
from taskmesh.model.flow import Flow, Node
from taskmesh.store.calls import Claim, ClaimAnswer, Controlled, NodeKey, Release, Renewed, Word
from taskmesh.store.controls import Controls
from taskmesh.store.housekeeping import Housekeeping
from taskmesh.store.keys import Keys
from taskmesh.store.link import Link
from taskmesh.store.opening import open_link
from taskmesh.store.reader import Reader
from taskmesh.store.records import RunRecord
from taskmesh.store.signals import Signal, Signalled, Signals
from taskmesh.store.store import Store
from taskmesh.wire import pack

ME, OTHER = "me", "other"


class Bench:
    """A store on one server, with two living holders."""

    def __init__(self, url: str, namespace: str, partitions: int = 4) -> None:
        self.link: Link = open_link(url, 2.0, 5.0)
        self.keys = Keys(namespace, partitions)
        self.store = Store(self.link, self.keys, retention_seconds=60.0)
        self.controls = Controls(self.store)
        self.reader = Reader(self.link, self.keys)
        self.housekeeping = Housekeeping(self.link, self.keys, 60.0)
        self.advancer = Advancer(self.store)
        for holder in (ME, OTHER):
            self.housekeeping.renew_holder(holder, 30.0)

    def admit(
        self, plan: Plan, run_id: str = "r1", params: Any = None, deadline_seconds: float | None = None
    ) -> Advance:
        packed = pack(params or {})
        entrance = Entrance(plan, run_id, b"digest" + packed, header_of(plan), packed, run_id, deadline_seconds)
        [advance] = self.advancer.admit([entrance])
        return advance

    def claim(self, plan: Plan, node: int, holder: str = ME, run_id: str = "r1", token: int = 1) -> ClaimAnswer:
        claim = Claim(NodeKey(run_id, node), token, plan.inputs(node).fields)
        [answer] = self.store.claim_nodes([claim], holder)
        return answer

    def settle(
        self, plan: Plan, node: int, token: int, state: str = "succeeded", holder: str = ME, **more: Any
    ) -> Advance:
        more.setdefault("output", pack(f"out {node}"))
        run_id = more.pop("run_id", "r1")
        [advance] = self.advancer.settle([Ending(plan, NodeKey(run_id, node), token, run_id, state, **more)], holder)
        return advance

    def run_through(self, plan: Plan, node: int, state: str = "succeeded", **more: Any) -> Advance:
        answer = self.claim(plan, node, run_id=more.get("run_id", "r1"))
        assert answer.word is Word.CLAIMED
        return self.settle(plan, node, answer.token, state, **more)

    def release(self, node: int, token: int, counts: bool = True, holder: str = ME) -> Word:
        [answer] = self.store.release_nodes([Release(NodeKey("r1", node), token, "default", counts)], holder)
        return answer.word

    def redrive(self, node: int) -> Renewed:
        [answer] = self.store.redrive_nodes([(NodeKey("r1", node), "default")])
        return answer

    def retry(self, plan: Plan, node: int, token: int, delay_seconds: float = 0.0, holder: str = ME) -> Advance:
        error = pack({"type": "ValueError", "message": "once more", "traceback": ""})
        return self.settle(plan, node, token, "retrying", holder, output=b"", error=error, delay_seconds=delay_seconds)

    def wake(self, node: int) -> Renewed:
        [answer] = self.store.wake_nodes([(NodeKey("r1", node), "default")])
        return answer

    def signal(self, node: int, id_: str = "s1", payload: Any = None, pool: str = "default") -> Signalled:
        signal = Signal(NodeKey("r1", node), pool, id_, "somebody", pack(payload))
        [answer] = Signals(self.store).signal_nodes([signal])
        return answer

    def timers(self) -> set[NodeKey]:
        return {key for key, _ in self.housekeeping.timers(1e12, 10_000)}

    def halt(self, run_id: str, status: str) -> Controlled:
        [answer] = self.controls.halt_runs([run_id], status)
        return answer

    def record(self, run_id: str = "r1") -> RunRecord:
        record = self.reader.run(run_id)
        assert record is not None
        return record

    def outbox(self, pool: str = "default") -> set[NodeKey]:
        return set(self.housekeeping.overdue(pool, 1e12, 10_000))


def header_of(plan: Plan) -> bytes:
    return pack([plan.flow.name, plan.flow.version, {}, len(plan.flow.nodes)])


def plan_of(*nodes: Node) -> Plan:
    return Plan.of(Flow("flow", "1", nodes))


def diamond() -> Plan:
    return plan_of(
        Node("a", "t"), Node("b", "t", needs=("a",)), Node("c", "t", needs=("a",)), Node("d", "t", needs=("b", "c"))
    )
