"""Every state of small runs keeps the promises, and from every one an end can be reached."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import pytest

from taskmesh.model.hooks import Hook
from taskmesh.model.triggers import Trigger
from tests.model.answers import Answer
from tests.model.explorer import check_state, explore
from tests.model.invariants import check_next_events
from tests.model.records import NodeModel
from tests.model.reference import RunModel
from tests.model.shape import TO_PARENT, Shape
from tests.model.worlds import Setting, World, run_of

DIAMOND = Shape(((), (0,), (0,), (1, 2)), ("one",) * 4, 2)
NARROW_SLICES = Shape(((), (0,), (0,), (1, 2)), ("one",) * 4, 1)
FORK = Shape(((), (0,), (0,)), ("one",) * 3, 1)
WIDE = Shape(((), ()), ("one",) * 2, 2)
UNDOABLE_CHAIN = Shape(((), (0,), (1,)), ("one",) * 3, 2, frozenset({0}))
"""Nothing undoes the node in the middle."""
SHORT_UNDOABLE_CHAIN = Shape(((), (0,)), ("one",) * 2, 2, frozenset({0}))
UNDOABLE_FORK = Shape(((), (0,), (0,)), ("one",) * 3, 2, frozenset({0, 1, 2}))
CHAIN = Shape(((), (0,)), ("one",) * 2, 2)
SINGLE = Shape(((),), ("one",), 2)
JOIN = Shape(((), (), (0, 1)), ("one",) * 3, 2)

BOUND = Shape(((), (), ()), ("one",) * 3, 2, bound=1)

SETTINGS = {
    "a chain, two processes dying": Setting(CHAIN, frozenset(), crashes=2),
    "a chain that may be cancelled": Setting(CHAIN, frozenset(), cancels=True),
    "a chain that is paused, resumed, cancelled and terminated": Setting(
        CHAIN, frozenset(), cancels=True, steered=True
    ),
    "a chain that is tried again, paused, resumed and terminated": Setting(
        CHAIN, frozenset(), steered=True, crashes=0, retrying=frozenset({0})
    ),
    "a diamond": Setting(DIAMOND, frozenset()),
    "a diamond whose branch fails": Setting(DIAMOND, frozenset({1})),
    "a diamond whose branch fails fast": Setting(DIAMOND, frozenset({1}), fail_fast=True),
    "dependents told one by one": Setting(FORK, frozenset({2}), crashes=0),
    "a first node that fails": Setting(NARROW_SLICES, frozenset({0})),
    "a chain that is tried again, and may be cancelled": Setting(
        CHAIN, frozenset(), cancels=True, retrying=frozenset({0, 1})
    ),
    "a node that is tried again while another fails fast": Setting(
        WIDE, frozenset({1}), fail_fast=True, retrying=frozenset({0})
    ),
    "a chain that is undone": Setting(UNDOABLE_CHAIN, frozenset({2}), fail_fast=True, crashes=0, compensates=True),
    "a chain that is undone when it is cancelled": Setting(
        UNDOABLE_CHAIN, frozenset(), crashes=0, cancels=True, compensates=True
    ),
    "a chain whose undo fails until it is begun again": Setting(
        SHORT_UNDOABLE_CHAIN, frozenset({1, 2}), fail_fast=True, crashes=0, compensates=True, begins_again=1
    ),
    "a chain whose nodes are ended by hand": Setting(CHAIN, frozenset(), crashes=0, marked=frozenset({0, 1})),
    "a join that is ended by hand": Setting(JOIN, frozenset({0}), crashes=0, marked=frozenset({2})),
    "a chain that fails and is retried": Setting(CHAIN, frozenset({1}), crashes=0, reopens=1),
    "a node that is terminated and retried": Setting(SINGLE, frozenset(), crashes=0, steered=True, reopens=1),
    "a chain that is undone while people steer it": Setting(
        SHORT_UNDOABLE_CHAIN, frozenset({1}), fail_fast=True, crashes=0, steered=True, compensates=True
    ),
    "copies one after the other": Setting(BOUND, frozenset({1})),
    "copies one after the other, the second of which fails fast": Setting(BOUND, frozenset({1}), fail_fast=True),
    "copies one after the other that may be cancelled": Setting(BOUND, frozenset(), crashes=0, cancels=True),
    "a child that is cancelled and terminated": Setting(
        CHAIN, frozenset({1}), crashes=1, cancels=True, steered=True, lapses=False, parent="a parent"
    ),
    "a child that is undone": Setting(
        SHORT_UNDOABLE_CHAIN, frozenset({1}), fail_fast=True, crashes=1, compensates=True, parent="a parent"
    ),
    "a chain whose last node waits for a signal": Setting(CHAIN, frozenset(), waiting=frozenset({1})),
    "a node that waits, and may time out, while its run is steered": Setting(
        SINGLE, frozenset(), cancels=True, steered=True, waiting=frozenset({0}), times_out=True
    ),
    "a chain that times out, fails and is retried": Setting(
        CHAIN, frozenset(), crashes=0, waiting=frozenset({1}), times_out=True, reopens=1
    ),
    # Those who sleep are in the settings of chains; this one is for the order of undos.
    "a fork that is undone": Setting(
        UNDOABLE_FORK, frozenset({2}), fail_fast=True, crashes=0, compensates=True, lapses=False
    ),
}

HOOKED = Shape(
    ((), (0,), (0,), ()),
    ("one",) * 4,
    2,
    triggers={1: Trigger(hook=Hook.FINALLY), 2: Trigger(hook=Hook.ON_FAILURE), 3: Trigger(hook=Hook.FINALLY)},
)
"""A node with two hooks, and one of the flow."""
HOOKED_CHAIN = Shape(
    *(((), (0,), (), ()), ("one",) * 4, 2, frozenset({0})),
    triggers={2: Trigger(hook=Hook.ON_FAILURE), 3: Trigger(hook=Hook.ON_SUCCESS)},
)

SETTINGS |= {
    "a node with hooks": Setting(HOOKED, frozenset({1}), crashes=1, lapses=False),
    "a node that fails fast, with hooks": Setting(HOOKED, frozenset({0, 3}), fail_fast=True, lapses=False, crashes=0),
    "a flow with hooks that may be cancelled": Setting(
        HOOKED_CHAIN, frozenset({1}), cancels=True, crashes=0, lapses=False
    ),
    "a flow with hooks that is undone": Setting(
        HOOKED_CHAIN, frozenset({1}), fail_fast=True, compensates=True, crashes=0, lapses=False
    ),
    "a flow with a hook that is terminated and retried": Setting(
        Shape(((), ()), ("one",) * 2, 2, triggers={1: Trigger(hook=Hook.FINALLY)}),
        *(frozenset({0}),),
        crashes=0,
        steered=True,
        reopens=1,
        lapses=False,
    ),
}


def _check(setting: Setting, world: World) -> None:
    check_state(setting, world)
    run = run_of(setting, world)
    if not run.has_ended:
        states = {at: node.state for at, node in run.nodes.items()}
        check_next_events(setting.shape, states, run.outbox | run.forgotten, run.timers, run.paused)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", SETTINGS)
def test_every_state_is_sound_and_leads_to_an_end(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = explore(SETTINGS[name], _check)
    with capsys.disabled():
        print(f" {name}: {len(found.before)} states, {found.moves} moves, {len(found.ends)} ends", end=" ")
    assert found.ends
    assert found.without_an_end() == 0


def test_without_a_keeper_a_lost_message_is_found_to_stop_the_run() -> None:
    assert explore(Setting(CHAIN, frozenset(), keeper=False), check_state).without_an_end() > 0


def test_what_was_forgotten_of_a_terminated_run_is_found_to_stop_it_when_it_goes_on() -> None:
    setting = Setting(SINGLE, frozenset(), crashes=0, steered=True, reopens=1, holds=False)
    assert explore(setting, check_state).without_an_end() > 0


def test_a_node_that_only_its_timer_can_bring_back_is_found_to_stop_the_run() -> None:
    setting = Setting(CHAIN, frozenset(), crashes=0, retrying=frozenset({0}), model=RetryLeavesOutbox)
    assert explore(setting, check_state).without_an_end() > 0


class SignalSparesWhoRuns(RunModel):
    """As if a signal did not take a node from a holder who has claimed it before."""

    def signal(self, node: int, id_: str) -> Answer:
        record = self.nodes.get(node)
        answer = super().signal(node, id_)
        if answer.word == "signalled" and record is not None and record.state == "running":
            self.nodes[node] = record
            return Answer("signalled")
        return answer


def test_a_signal_that_a_time_out_overlooks_is_found() -> None:
    setting = Setting(SINGLE, frozenset(), crashes=0, waiting=frozenset({0}), times_out=True, model=SignalSparesWhoRuns)
    with pytest.raises(AssertionError, match="did not hear its signal"):
        explore(setting, check_state)


class SignalWakesNobody(RunModel):
    """As if a signal was kept, and what is parked left to itself; timers of years never ring."""

    def signal(self, node: int, id_: str) -> Answer:
        record, timers = self.nodes.get(node), dict(self.timers)
        answer = super().signal(node, id_)
        if answer.word == "signalled" and record is not None and record.state == "retrying":
            self.nodes[node], self.timers = record, timers
            return Answer("signalled")
        return answer

    def wake(self, node: int) -> Answer:
        return super().wake(node) if self.is_halted else Answer("early")


def test_a_signal_that_wakes_nobody_is_found_to_stop_the_run() -> None:
    setting = Setting(SINGLE, frozenset(), crashes=0, waiting=frozenset({0}), model=SignalWakesNobody)
    assert explore(setting, check_state).without_an_end() > 0


class RetryLeavesOutbox(RunModel):
    """As if only its timer could bring a node to its next attempt."""

    @property
    def outbox(self) -> set[int]:
        return super().outbox - self.retrying


class ClaimKeepsToken(RunModel):
    """As if a claim did not raise the token of what it takes over."""

    def claim(self, node: int, token: int, holder: str, living: Container[str]) -> Answer:
        before = self.nodes[node]
        answer = super().claim(node, token, holder, living)
        if answer.word == "claimed":
            self.nodes[node] = self.nodes[node]._replace(token=before.token)
        return answer


class TellerForgets(RunModel):
    """As if a node left the outbox before all its dependents were told."""

    def has_told_all(self, node: int) -> bool:
        return self.nodes[node].ended


class ForgetsParent(RunModel):
    """As if a child left nothing behind that has its parent told."""

    @property
    def outbox(self) -> set[int]:
        return super().outbox - {TO_PARENT}


class EarlyJoin(RunModel):
    """As if a node became ready with the first of those that it needs."""

    def arrived(self, node: int) -> int:
        return len(self.shape.parents[node])


def test_a_parent_that_nobody_would_tell_is_found() -> None:
    setting = Setting(SINGLE, frozenset(), model=ForgetsParent, parent="a parent")
    assert explore(setting, check_state).without_an_end() > 0


def test_a_node_that_leaves_the_outbox_too_early_is_found_to_stop_the_run() -> None:
    setting = Setting(NARROW_SLICES, frozenset({1}), model=TellerForgets)
    assert explore(setting, check_state).without_an_end() > 0


class LetsTwoBegin(RunModel):
    """As if the end of each copy let two others begin."""

    def settle(self, node: int, *rest: Any, **more: Any) -> Answer:
        answer = super().settle(node, *rest, **more)
        if answer.word == "settled" and self.begun < len(self.shape.parents):
            self.nodes[self.begun] = NodeModel("ready")
            self.begun += 1
        return answer


class LetsNoneBegin(RunModel):
    """As if the end of a copy let no other begin."""

    def settle(self, node: int, *rest: Any, **more: Any) -> Answer:
        begun, self.begun = self.begun, len(self.shape.parents)
        answer = super().settle(node, *rest, **more)
        self.begun = begun
        return answer


def test_copies_that_begin_too_soon_are_found() -> None:
    with pytest.raises(AssertionError, match="more copies have begun"):
        explore(Setting(BOUND, frozenset(), crashes=0, model=LetsTwoBegin), check_state)


def test_copies_that_nothing_lets_begin_are_found_to_stop_the_run() -> None:
    assert explore(Setting(BOUND, frozenset(), crashes=0, model=LetsNoneBegin), check_state).without_an_end() > 0


class UndoesWhatWasStarted(RunModel):
    """As if an undo became ready for any node that was ever claimed, not only for one that has succeeded."""

    def undoes(self, node: int) -> bool:
        return self.nodes[node].state in ("succeeded", "failed")


class UndoesAtOnce(RunModel):
    """As if an undo did not wait for those of the nodes that depend on its node."""

    def has_heard_all(self, undo: int) -> bool:
        return True


@pytest.mark.parametrize("model", [UndoesWhatWasStarted, UndoesAtOnce])
def test_a_mistake_in_the_rules_of_undoing_is_found(model: type[RunModel]) -> None:
    setting = Setting(UNDOABLE_FORK, frozenset({2}), fail_fast=True, crashes=0, compensates=True, model=model)
    with pytest.raises(AssertionError):
        explore(setting, check_state)


@pytest.mark.parametrize("model", [ClaimKeepsToken, EarlyJoin])
def test_a_mistake_in_the_rules_is_found(model: type[RunModel]) -> None:
    with pytest.raises(AssertionError):
        explore(Setting(DIAMOND, frozenset(), model=model), check_state)
