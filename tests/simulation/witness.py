"""Watches what is acked: a message may go only when nobody needs it any more."""

from __future__ import annotations

from taskmesh.dispatch.dispatcher import FIRST_TOKEN
from taskmesh.errors import WireError
from taskmesh.store.calls import NodeKey
from taskmesh.wire.messages import NodeMessage, decode_message
from tests.simulation.broker import Message, SimBroker
from tests.simulation.history import History, NodeHistory, require


class AckWitness:
    """Stops at an ack after which only the keeper could bring a node on."""

    def __init__(self, history: History, broker: SimBroker, loses_messages: bool, early_ack_seconds: float) -> None:
        self._history = history
        self._early_ack_seconds = early_ack_seconds
        self._broker = broker
        self._loses_messages = loses_messages
        self._kept: set[tuple[str, int, int]] = set()

    def on_kept(self, message: Message) -> None:
        node = _node_of(message)
        if node is not None:
            self._kept.add((node.run_id, node.node, node.token))

    def on_acked(self, message: Message, holder: str) -> None:
        said = _node_of(message)
        open_runs = self._history.accepted - self._history.terminated
        if said is None or self._loses_messages or said.run_id not in open_runs:
            return
        key = NodeKey(said.run_id, said.node)
        if key.node < 0 or any(_is_about(each, key) for each in self._broker.messages()):
            return
        node = self._history.nodes[key]
        if node.ended_as:
            # The message of one that ran for long may have been acked just before its end.
            if self._history.now() - node.claimed_at < self._early_ack_seconds:
                self._require_successors_told(key)
        else:
            self._require_passed_on(key, said.token, node, holder)

    def _require_passed_on(self, key: NodeKey, said_token: int, node: NodeHistory, holder: str) -> None:
        is_elsewhere = node.state == "running" and node.holder != holder
        runs_long = self._history.now() - node.claimed_at >= self._early_ack_seconds
        is_relieved = said_token <= node.relieved_of or (node.state == "running" and runs_long)
        require(
            is_elsewhere or is_relieved or (*key, node.token) in self._kept,
            f"{holder} acked the last message of {key.member}, which is {node.state} with token {node.token}",
        )

    def _require_successors_told(self, key: NodeKey) -> None:
        for child in self._history.plans[key.run_id].dependents(key.node):
            node = self._history.nodes[NodeKey(key.run_id, child)]
            is_owed = (node.state, node.token, node.made_ready_by) == ("ready", FIRST_TOKEN, key.node)
            require(
                not is_owed or (key.run_id, child, FIRST_TOKEN) in self._kept,
                f"the last message of {key.member} was acked before the broker had one for node {child}",
            )


def _is_about(message: Message, key: NodeKey) -> bool:
    node = _node_of(message)
    return node is not None and (node.run_id, node.node) == key


def _node_of(message: Message) -> NodeMessage | None:
    try:
        content = decode_message(message.body)
    except WireError:
        return None
    return content if isinstance(content, NodeMessage) else None
