"""Mistakes put into the product on purpose: a simulation that does not find them proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest import mock

from taskmesh.broker.protocol import AckToken
from taskmesh.dispatch.advance import Ending
from taskmesh.dispatch.children.children import SUCCEEDED, Verdict
from taskmesh.dispatch.children.inputs import Around
from taskmesh.dispatch.dispatcher import Ready
from taskmesh.store.calls import NodeKey
from taskmesh.store.family import child_id
from taskmesh.store.scripts import Script, Scripts
from taskmesh.wire import pack
from taskmesh.worker.engine.attempt import Attempt
from taskmesh.worker.engine.settling import Settler

Mutation = Callable[[], AbstractContextManager[object]]


def in_script(name: str, old: str, new: str) -> Mutation:
    """An edit of one script."""
    return in_scripts((name,), old, new)


def in_scripts(names: Sequence[str], old: str, new: str) -> Mutation:
    """The same edit of some scripts: of what stands before all of them."""

    @contextmanager
    def mutate() -> Iterator[None]:
        scripts = Scripts()
        for name in names:
            right = scripts[name].source
            assert right.count(old) == 1, f"{name} has no such text any more: {old}"
            scripts._scripts[name] = Script(name, right.replace(old, new))
        with (
            mock.patch("taskmesh.store.store.Scripts", return_value=scripts),
            mock.patch("taskmesh.store.breakers.Scripts", return_value=scripts),
        ):
            yield

    return mutate


def instead(target: str, new: Any) -> Mutation:
    return lambda: mock.patch(target, new)


_end = Settler.end


def _ack_then_settle(self: Settler, attempt: Attempt, ending: Ending) -> None:
    self._parts.consumer.ack(attempt.acks)
    _end(self, attempt, ending)


def _ack_then_publish(self: Settler, ready: Sequence[Ready], acks: list[AckToken]) -> None:
    self._parts.dispatcher.publish(ready)
    self._parts.consumer.ack(acks)


def _forget_what_was_asked(self: Any) -> None:
    for asked in self._asked:
        if asked.conversation:
            asked.conversation.discard()
    self._asked.clear()


def _publish_nothing(self: Any, answered: Any) -> None:
    """As if the keeper never published."""


async def _do_nothing(*_: object) -> None: ...


def _wait_for_ever(self: Any, view: Any) -> float:
    return 1e6


def _end_nobody(*_: object) -> None:
    """As if children went on whatever became of their parents."""


def _begin_another(self: Around, key: NodeKey, turn: int = 0) -> str:
    return child_id(key, self.record.opened_at, self.record.token, turn)


def _undo_nothing(*_: object) -> Verdict:
    return Verdict(SUCCEEDED, output=pack(None))


TELLERS = ("settle_node", "spread_node")

MUTANTS: dict[str, Mutation] = {
    "whoever settles is believed": in_script("settle_node", "not is_of(record, token, ARGV[15])", "false"),
    "whoever releases is believed": in_script("release_node", "not is_of(record, token, ARGV[6])", "false"),
    "a repeated settle counts again": in_script(
        "settle_node",
        "if has_ended(record) then return report('again', found.status, told(run, edges, found.status)) end\n"
        "if record[STATE] ~= 'running' then return {'stale'} end\n",
        "",
    ),
    "a join counts arrivals instead of those that arrived": in_script(
        "spread_node", "if record[SPREAD] ~= from then", "if false then"
    ),
    "a claim takes from the living": in_script("claim_node", "if is_alive(", "if false and is_alive("),
    "there is no outbox": in_script("settle_node", "pairs_of[#pairs_of + 1] = member", "pairs_of[#pairs_of] = nil"),
    "a re-drive keeps the token": in_script("redrive_node", "record[TOKEN] = record[TOKEN] + 1", ""),
    "the keeper publishes nothing": instead("taskmesh.keeper.keeper.Keeper._publish", _publish_nothing),
    "there is no keeper": instead("taskmesh.keeper.keeper.Keeper.run_pass", _do_nothing),
    "a message is acked before its node is settled": instead(
        "taskmesh.worker.engine.settling.Settler.end", _ack_then_settle
    ),
    "a message is acked before what follows is confirmed": instead(
        "taskmesh.worker.engine.settling.Settler._publish_then_ack", _ack_then_publish
    ),
    "a lost reply is taken for an answer": instead(
        "taskmesh.worker.engine.engine.Engine._put_all_back", _forget_what_was_asked
    ),
    "what was only started is undone": in_scripts(TELLERS, "undone[STATE] == 'succeeded'", "undone"),
    "an undo does not wait for all before it": in_scripts(TELLERS, "== needed * found.compensation", "> 0"),
    "a failed undo is forgotten": in_script("settle_node", "state == 'succeeded' and 'done' or 'failed'", "'done'"),
    "what is committed is not undone": in_script("settle_node", "set(found, 'undos', 'some')", ""),
    "undos are cancelled with their run": instead("taskmesh.worker.engine.halting.UNDOING", b"nothing"),
    "a rule does not wait for all ends": in_scripts(TELLERS, "(not waits or left == 0)", "true"),
    "an expression counts what has not ended": in_scripts(
        TELLERS, "if value == UNKNOWN then return nil end", "if value == UNKNOWN then return 'ready' end"
    ),
    "a failure that is taken fails its run": in_script("settle_node", "not is_handled and ", ""),
    "a false condition lets its node run": instead("taskmesh.dispatch.gates.CONDITION", ""),
    "a switch leads to every branch": instead("taskmesh.dispatch.gates.Gate._is_taken", lambda *_: True),
    "a node that its gates shut out has had an attempt": in_script(
        "settle_node", "if state == 'skipped' then record[ATTEMPT]", "if false then record[ATTEMPT]"
    ),
    "a signal wakes nobody": in_script(
        "signal_node", "if is_parked or is_claimed then make", "if is_claimed then make"
    ),
    "a second signal replaces the first": in_script("signal_node", "if known then return {'taken', known[2]} end", ""),
    "a wait counts from when it was parked last": in_script(
        "claim_node", "record[STARTED_AT] - (record[SCHEDULED_AT] or record[READY_AT])", "waited"
    ),
    "two probes try a breaker": in_script("consult_breaker", "holder == probe or now >= held_until", "true"),
    "a node behind a breaker waits for ever": instead(
        "taskmesh.worker.engine.breakers.BreakerBoard._come_again_seconds", _wait_for_ever
    ),
    "to wait for a breaker uses up attempts": in_script(
        "retry_node", "if ARGV[7] == '0' then\n  record[ATTEMPT]", "if false then\n  record[ATTEMPT]"
    ),
    "a hook runs after every end": in_scripts(TELLERS, "if each == state then", "if true then"),
    "the hooks of a flow do not wait for its last node": in_scripts(
        TELLERS, "remaining > found.hooks then", "remaining > found.hooks + 1 then"
    ),
    "a child goes on when its parent is halted": instead(
        "taskmesh.dispatch.children.closing.Closing.stop", _end_nobody
    ),
    "who begins a child again begins another one": instead(
        "taskmesh.dispatch.children.inputs.Around.child_id", _begin_another
    ),
    "the end of a child is told as long as whoever ended it lives": in_scripts(
        TELLERS, "put_due(outbox, run_id .. '/' .. TO_PARENT, now)", ""
    ),
    "all items of a map begin at once": instead(
        "taskmesh.model.flow.Copies.first", property(lambda copies: range(copies.total))
    ),
    "the undo of a node leaves its children as they are": instead(
        "taskmesh.dispatch.children.children.Children._undone", _undo_nothing
    ),
    "nobody answers what the keeper asks": instead("taskmesh.worker.engine.answering.Answering.run_pass", _do_nothing),
}

FOCUS: dict[str, tuple[str, ...]] = {
    "whoever settles is believed": ("pause", "lease lost"),
    "a repeated settle counts again": ("reply lost", "cut off amid a call"),
    "whoever releases is believed": ("message overtaken",),
    "undos are cancelled with their run": ("message overtaken",),
    "two probes try a breaker": ("publish refused",),
    "nobody answers what the keeper asks": ("cut off amid a call", "queue deleted"),
}
"""The faults that uncover what few seeds of all faults do, each as often as it may; or hardly any, for a calm world."""
