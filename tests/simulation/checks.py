"""What must hold of what is stored: at any time, and when everything has come to its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from taskmesh.model.policies import NO_LIMITS
from taskmesh.model.states import NodeState
from taskmesh.model.subflows import ChildStep
from taskmesh.model.waiting import Sleep
from taskmesh.store.calls import NodeKey
from taskmesh.store.link import Command, Conversation, Reply, value_of
from taskmesh.store.reader import Reader
from taskmesh.store.records import NodeRecord, RunRecord, node_record
from taskmesh.wire import unpack
from tests.model.interpreter import Sent, end_of_wait
from tests.simulation.children import given_number
from tests.simulation.choosing import case_taken, lets_pass
from tests.simulation.family_checks import FamilyChecks
from tests.simulation.history import require
from tests.simulation.numbers import number_in
from tests.simulation.rules import ends_of_run, has_failed, may_end
from tests.simulation.undone import check_undone
from tests.simulation.works import ALWAYS, LIMIT_SECONDS, POOLS, PlannedRun
from tests.simulation.world import World

ENDED = {"succeeded", "failed", "cancelled", "skipped", "upstream_failed"}
TOLD_ALL = -1
FAR_SECONDS = 86_400.0


class _RawLink:
    """Reads around all faults."""

    def __init__(self, world: World) -> None:
        self._world = world

    def begin(self, commands: Sequence[Command]) -> Conversation:
        raise NotImplementedError("nothing here needs two halves")

    def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        return self._world.server.run(*commands)

    def pubsub(self) -> Any:
        raise NotImplementedError("nothing here listens")

    def close(self) -> None: ...


class Checks:
    """Looks at the store of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._reader = Reader(_RawLink(world), world.keys)
        self._family = FamilyChecks(world, self._reader)
        self._tokens: dict[NodeKey, int] = {}
        self._ends: dict[NodeKey, tuple[str, int, int]] = {}

    def is_quiet(self) -> bool:
        """Whether nothing is left to do for anybody, but for what a terminated run leaves for a day far ahead."""
        lists = [each.open_runs for each in self._world.keys.partitions] + self._boxes()
        soon = self._world.server.now() + FAR_SECONDS
        return not any(self._read(*[Command(key, "ZCOUNT", key, "-inf", soon) for key in lists]))

    def check_stored(self) -> None:
        """What must hold at any time: one end, no token falls, and whatever is unfinished can be found."""
        run_ids = sorted(self._world.history.accepted - self._world.history.terminated)
        keys = [self._world.keys.run(run_id) for run_id in run_ids]
        boxes = self._boxes()
        replies = self._read(
            *[Command(box, "ZRANGE", box, 0, -1) for box in boxes], *[Command(key, "HGETALL", key) for key in keys]
        )
        outbox = {NodeKey.parse(member.decode()) for members in replies[: len(boxes)] for member in members}
        for run_id, fields in zip(run_ids, replies[len(boxes) :], strict=True):
            for name, value in _pairs(fields):
                if name.startswith(b"node:"):
                    self._check_node(NodeKey(run_id, int(name[5:])), node_record(value), outbox)

    def check_end(self) -> None:
        """What must hold when all is over."""
        world = self._world
        for run_id, run in world.runs.items():
            require(not run.is_accepted or run_id in world.history.accepted, f"{run_id} was accepted and is not stored")
        self.check_stored()
        for run_id in sorted(world.history.terminated):
            require(self._record(run_id).summary.status == "terminated", f"{run_id} was terminated, and went on")
        for run_id in sorted(world.history.accepted - world.history.terminated):
            self._check_ended_run(world.runs[run_id], self._record(run_id))
        buried = [message for name, queue in world.broker.queues.items() if "dead" in name for message in queue.ready]
        require(not buried, f"messages became dead letters: {buried}")
        self._check_flows()
        self._family.check_end()

    def stuck(self) -> str:
        """Which runs have not ended, and how their nodes are."""
        lines = []
        for run_id in sorted(self._world.history.accepted):
            record = self._record(run_id)
            if not record.summary.status.ended:
                nodes = {at: f"{each.state} {each.token} {each.holder}" for at, each in sorted(record.nodes.items())}
                lines.append(f"{run_id} is {record.summary.status}: {nodes}")
        left = sorted(member.decode() for members in self._outboxes() for member in members)
        return f"not at its end long after the last fault: {'; '.join(lines)}; outbox {left}"

    def _check_node(self, key: NodeKey, node: NodeRecord, outbox: set[NodeKey]) -> None:
        require(self._tokens.get(key, 0) <= node.token, f"the token of {key.member} fell to {node.token}")
        self._tokens[key] = node.token
        end = (node.state, node.token, node.attempt) if node.state in ENDED else None
        require(self._ends.get(key, end) == end, f"{key.member} ended as {self._ends.get(key)} and again as {end}")
        if end is not None:
            self._ends[key] = end
        is_done = node.state in ENDED and node.spread == TOLD_ALL
        require(is_done or key in outbox, f"nobody would ever look after {key.member}, which is {node.state}")

    def _check_ended_run(self, run: PlannedRun, record: RunRecord) -> None:
        require(set(range(len(run.plan.flow.nodes))) <= record.nodes.keys(), f"{run.run_id} ended with nodes left")
        require(record.summary.remaining == 0, f"{run.run_id} ended with {record.summary.remaining} nodes to go")
        for at in range(len(run.plan.flow.nodes)):
            self._check_ended_node(run, record, at)
        if check_undone(self._world, run, record):
            self._check_undos(run, record)
        else:
            self._check_status(run, record)

    def _check_undos(self, run: PlannedRun, record: RunRecord) -> None:
        for undo in range(len(run.plan.flow.nodes), 2 * len(run.plan.flow.nodes)):
            self._check_reason(run, record, undo)

    def _check_ended_node(self, run: PlannedRun, record: RunRecord, at: int) -> None:
        name, state = f"{run.run_id}/{at}", record.nodes[at].state
        node, ends = run.plan.node(at), [record.nodes[parent].state for parent in run.plan.graph.parents[at]]
        if node.is_flow_hook:
            heard = ends_of_run(run.plan.flow, record)
            is_right = any(may_end(node, state, [end]) for end in heard)
            require(is_right, f"{name} is {state}, its run ended as one of {sorted(heard)}")
            self._check_reason(run, record, at)
            return
        is_shut = may_end(node, NodeState.SUCCEEDED, ends) and not self._lets_pass(run, record, at)
        is_left_out = bool(run.plan.flow.copies) and state == "skipped" and bool(record.summary.halt)
        if is_left_out:
            require(at >= len(run.plan.graph.roots), f"{name} was left out, and is one of the first")
        elif is_shut:
            require(state in ("skipped", "cancelled"), f"{name} is {state}, and its gates do not let it run")
        else:
            require(may_end(node, state, ends), f"{name} is {state} after {ends}, and asks for {node.trigger}")
        self._check_reason(run, record, at)
        if state == "succeeded":
            self._check_success(run, record, at)

    def _lets_pass(self, run: PlannedRun, record: RunRecord, at: int) -> bool:
        given = [
            (node, record.outputs[each]) for each, node in enumerate(run.plan.flow.nodes) if each in record.outputs
        ]
        cases = {node.name: str(unpack(output)) for node, output in given if node.switch}
        return lets_pass(run.plan.flow, at, self._values(run, record), cases)

    def _values(self, run: PlannedRun, record: RunRecord) -> dict[str, int]:
        """What tasks gave."""
        done = [(at, node) for at, node in enumerate(run.plan.flow.nodes) if at in record.outputs]
        return {
            node.name: _value(record, at) for at, node in done if not node.switch and not isinstance(node.step, Sleep)
        }

    def _check_attempts(self, run: PlannedRun, record: RunRecord, at: int) -> None:
        """What did not count has used up none."""
        history, attempts = self._world.history.nodes[NodeKey(run.run_id, at)], record.nodes[at].attempt
        counted = len(history.grants) - history.taken_back
        require(attempts == counted, f"{run.run_id}/{at} has had {counted} attempts, and {attempts} are counted")

    def _check_reason(self, run: PlannedRun, record: RunRecord, at: int) -> None:
        self._check_attempts(run, record, at)
        node = run.plan.node(at)
        if isinstance(node.step, ChildStep):
            self._family.check(run, record, at)
        elif node.step is not None and record.nodes[at].state in ("succeeded", "failed"):
            self._check_wait(run, record, at)
        elif record.nodes[at].state == "failed":
            kind = unpack(record.errors[at])["type"]
            reasons = self._possible_failures(run, at)
            require(kind in reasons, f"{run.run_id}/{at} failed with {kind}, and had no reason to")

    def _possible_failures(self, run: PlannedRun, at: int) -> set[str]:
        node = run.plan.node(at)
        history = self._world.history.nodes[NodeKey(run.run_id, at)]
        attempts = len(history.grants)
        if node.step is not None:
            is_poisoned = attempts - history.taken_back > self._world.site.settings.worker.max_losses
            return {"Poisoned"} if is_poisoned else set()
        conduct = run.conducts[run.plan.name_of(at)]
        most_tries = node.retry.max_attempts if node.retry else 1
        found = {
            "ValueError": conduct.failures >= most_tries,
            "ExecutorLost": conduct.crashes >= self._world.site.settings.worker.max_crashes,
            "StartToCloseTimeout": conduct.seconds >= LIMIT_SECONDS and node.limits is not NO_LIMITS,
            "Poisoned": attempts > self._world.site.settings.worker.max_losses,
        }
        return {kind for kind, is_possible in found.items() if is_possible}

    def _check_success(self, run: PlannedRun, record: RunRecord, at: int) -> None:
        node = run.plan.flow.nodes[at]
        if node.switch is not None:
            took, must = unpack(record.outputs[at]), case_taken(node.switch, self._values(run, record))
            require(took == must, f"{run.run_id}/{at} went by {took!r} and not by {must!r}")
            return
        if node.step is not None:
            return
        conduct = run.conducts[run.plan.name_of(at)]
        require(ALWAYS not in (conduct.failures, conduct.crashes), f"{run.run_id}/{at} succeeded, which it cannot")
        times = self._world.executions.times[run.run_id, run.plan.name_of(at)]
        require(times > 0, f"{run.run_id}/{at} succeeded, and its code was never run")
        self._check_output(run, record, at)

    def _check_wait(self, run: PlannedRun, record: RunRecord, at: int) -> None:
        node, heard = record.nodes[at], self._world.history.signals.get(NodeKey(run.run_id, at))
        sent = None if heard is None else Sent("somebody", 0.0, unpack(heard))
        waited = node.finished_at - (node.scheduled_at or node.ready_at)
        expected = end_of_wait(run.plan.flow.nodes[at].step, sent, waited)
        told = unpack(record.outputs[at]) if node.state == "succeeded" else unpack(record.errors[at])["type"]
        is_poisoned = node.state == "failed" and told in self._possible_failures(run, at)
        sentence = f"{run.run_id}/{at} is {node.state} with {told} after {waited} s, and not {expected}"
        require(is_poisoned or (node.state, told) == expected, sentence)

    def _check_output(self, run: PlannedRun, record: RunRecord, at: int) -> None:
        inputs = () if run.plan.flow.copies else run.plan.graph.inputs[at]
        given = given_number(run.plan, at, unpack(record.params))
        expected = 1 + given + sum(_value(record, each) for each in inputs)
        require(_value(record, at) == expected, f"{run.run_id}/{at} gave {_value(record, at)} instead of {expected}")

    def _check_status(self, run: PlannedRun, record: RunRecord) -> None:
        states = {record.nodes[at].state for at in range(len(run.plan.flow.nodes))}
        halt, fails = record.summary.halt, has_failed(run.plan.flow, record)
        expected = halt or ("failed" if fails else "succeeded")
        require(record.summary.status == expected, f"{run.run_id} is {record.summary.status} and not {expected}")
        require("cancelled" not in states or bool(halt), f"{run.run_id} was not halted and has cancelled nodes")
        may_halt = any(verb.startswith("cancel") for verb, _ in run.wishes) or fails or self._family.may_be_stopped(run)
        require(may_halt or not halt, f"{run.run_id} was halted as {halt}, and nobody wanted it")

    def _check_flows(self) -> None:
        for run in self._world.runs.values():
            key = self._world.keys.partition_of(run.run_id).flow(run.plan.hash)
            [users] = self._read(Command(key, "HGET", key, "open_runs"))
            require(int(users or 0) == 0, f"{users} runs of the flow of {run.run_id} are counted, and none is open")

    def _record(self, run_id: str) -> RunRecord:
        record = self._reader.run(run_id)
        assert record is not None, f"{run_id} was admitted and is not there"
        return record

    def _outboxes(self) -> Iterator[list[bytes]]:
        yield from self._read(*[Command(box, "ZRANGE", box, 0, -1) for box in self._boxes()])

    def _boxes(self) -> list[str]:
        return [partition.outbox(pool) for partition in self._world.keys.partitions for pool in POOLS]

    def _read(self, *commands: Command) -> list[Any]:
        return [value_of(reply) for reply in self._world.server.run(*commands)]


def _pairs(fields: Any) -> Iterable[tuple[bytes, bytes]]:
    return fields.items() if isinstance(fields, dict) else zip(fields[::2], fields[1::2], strict=True)


def _value(record: RunRecord, at: int) -> int:
    return number_in(unpack(record.outputs[at]))
