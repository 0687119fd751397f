"""Items of maps that are retried, run again, skipped and looked at one by one, on the time of a virtual mesh."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from taskmesh import Flow, NodeState, Run, RunFailedError, RunState, RunStateError, UsageError, load_flow
from taskmesh.client.reopening import Reopening
from taskmesh.client.restarting import Restarting
from taskmesh.testing import VirtualMesh

FLOW = """
flow: picks
params: {{count: integer}}
on_failure: {on_failure}
nodes:
  listing: {{task: listing, args: {{count: "${{params.count}}"}}}}
  pick:
    map: ${{nodes.listing.output}}
    task: pick
    args: {{value: "${{item}}"}}
    {rules}
  total: {{task: total, args: {{values: "${{nodes.pick.output}}"}}}}
"""


class Picks:
    """A mesh with the tasks of the flow. Items in ``unlucky`` fail; ``ran`` are those that have run."""

    def __init__(self, mesh: VirtualMesh) -> None:
        self.mesh = mesh
        self.unlucky: set[int] = set()
        self.ran: list[int] = []
        mesh.task(name="listing")(lambda count: [*range(count)])
        mesh.task(name="total")(lambda values: values)
        mesh.task(name="pick")(self.pick)

    def pick(self, value: int) -> int:
        self.ran.append(value)
        if value in self.unlucky:
            raise ValueError(f"unlucky {value}")
        return value

    def flow(self, rules: str = "", on_failure: str = "fail_fast") -> Flow:
        return load_flow(FLOW.format(rules=rules, on_failure=on_failure), "picks.yaml")

    def run(self, rules: str = "", count: int = 8, unlucky: set[int] | None = None) -> Run:
        """One that has ended; what ran of it is forgotten."""
        self.unlucky = unlucky or set()
        run = self.mesh.submit(self.flow(rules), count=count)
        run.wait()
        self.ran.clear()
        return run

    def submit_stuck(self, rules: str, stuck_at: int, count: int = 6) -> Run:
        """One that goes on, of which an item waits for an hour until it is tried again."""
        self.unlucky = {stuck_at}
        run = self.mesh.submit(self.flow(f"retry: {{wait: fixed, base: 1h}}\n    {rules}"), count=count)
        while run.node("pick").child == "" or run.node(f"pick[{stuck_at}]").status is not NodeState.RETRYING:
            self.mesh.clock.advance(0.01)
        return run

    def again(self, retry: Callable[[], bool], run: Run, unlucky: set[int] | None = None) -> list[int]:
        """Which items run when that is done to a run."""
        self.unlucky = unlucky or set()
        self.ran.clear()
        assert retry()
        run.wait()
        return sorted(self.ran)


@pytest.fixture
def picks(mesh: VirtualMesh) -> Picks:
    return Picks(mesh)


CONTINUE = "on_item_failure: continue"
FAILED = {"failed": {"type": "ValueError", "message": "unlucky 5"}}


@pytest.mark.parametrize("rules", ["", "max_in_flight: 2", "max_in_flight: 1"])
def test_a_retry_runs_the_items_that_have_not_succeeded(picks: Picks, rules: str) -> None:
    run = picks.run(rules, unlucky={3})
    assert run.status() is RunState.FAILED
    done = {at for at in range(8) if run.node(f"pick[{at}]").status is NodeState.SUCCEEDED}
    child = run.node("pick").child

    again = picks.again(run.retry, run)

    assert run.result() == [*range(8)]
    assert done
    assert again == sorted({*range(8)} - done)
    assert run.node("pick").child == child


def test_a_retry_keeps_to_what_may_run_at_once(picks: Picks) -> None:
    """Of 40 that have failed, with gaps between them, at most three run at once the second time, too."""
    unlucky = {at for at in range(100) if at % 5 in (0, 3)}
    run = picks.run(f"max_in_flight: 3\n    {CONTINUE}", count=100, unlucky=unlucky)
    items = picks.mesh.run(run.node("pick").child)
    picks.unlucky = set()
    assert run.retry(node="pick")
    states = [each.status for each in items.details().nodes]
    assert states.count(NodeState.WAITING) == 40 - 3
    run.wait()
    assert sorted(picks.ran) == sorted(unlucky)
    assert run.result() == [*range(100)]


def test_a_map_that_goes_on_after_failures_is_retried_by_its_name(picks: Picks) -> None:
    run = picks.run(CONTINUE, unlucky={3, 5})
    with pytest.raises(RunStateError, match="has succeeded"):
        run.retry()
    assert picks.again(lambda: run.retry(node="pick"), run, unlucky={5}) == [3, 5]
    assert run.result() == [0, 1, 2, 3, 4, FAILED, 6, 7]
    assert picks.again(lambda: run.retry(node="pick"), run) == [5]
    assert run.result() == [*range(8)]
    with pytest.raises(RunStateError, match=r"no failure at its node 'pick', .* `taskmesh rerun \w+ --from 'pick'`"):
        run.retry(node="pick")


def test_one_item_is_retried_alone(picks: Picks) -> None:
    run = picks.run(f"max_in_flight: 2\n    {CONTINUE}", unlucky={3, 5})
    assert picks.again(lambda: run.retry(node="pick[3]"), run, unlucky={5}) == [3]
    assert run.result() == [0, 1, 2, 3, 4, FAILED, 6, 7]
    items = run.node("pick").items
    assert items is not None
    assert (items.states, [each.item for each in items.failed]) == ({"succeeded": 7, "failed": 1}, ["pick[5]"])
    assert picks.mesh.run(run.node("pick").child).status() is RunState.FAILED
    assert run.node("pick[3]").attempts == 2


def test_one_item_is_run_again_though_it_has_succeeded(picks: Picks) -> None:
    run = picks.run("max_in_flight: 2")
    assert picks.again(lambda: run.rerun("pick[6]"), run) == [6]
    assert run.result() == [*range(8)]
    assert picks.again(lambda: run.rerun("pick"), run) == [*range(8)]


def test_a_map_begins_anew_where_what_is_before_it_does(picks: Picks) -> None:
    run = picks.run(unlucky={3})
    assert picks.again(lambda: run.rerun("listing"), run) == [*range(8)]


@pytest.mark.parametrize("rules", ["max_in_flight: 1", "max_in_flight: 3"])
def test_nothing_more_begins_once_too_few_can_succeed(picks: Picks, rules: str) -> None:
    picks.unlucky = {2, 3, 4}
    run = picks.mesh.submit(picks.flow(f"{rules}\n    {CONTINUE}\n    min_success: 0.95"), count=40)
    with pytest.raises(RunFailedError, match=r"as fewer than 38 of its 40 items could succeed: node 'pick\[\d\]'"):
        run.result()
    assert len(picks.ran) < 10
    done = {at for at in range(40) if run.node(f"pick[{at}]").status is NodeState.SUCCEEDED}
    assert picks.again(run.retry, run, unlucky={7, 9}) == sorted({*range(40)} - done)
    assert [each for each in run.result() if not isinstance(each, int)] != []


def test_failures_are_taken_up_to_the_last_that_may_be(picks: Picks) -> None:
    run = picks.run(f"max_in_flight: 1\n    {CONTINUE}\n    min_success: 6", unlucky={0, 1})
    assert [each for each in run.result() if isinstance(each, int)] == [2, 3, 4, 5, 6, 7]


def test_more_that_must_succeed_than_there_are_items_are_told_before_any_runs(picks: Picks) -> None:
    picks.unlucky = set()
    run = picks.mesh.submit(picks.flow(f"{CONTINUE}\n    min_success: 5"), count=2)
    with pytest.raises(RunFailedError, match="the map has 2 items, and 5 of them must succeed"):
        run.result()
    assert picks.ran == []


@pytest.mark.parametrize("wish", ["cancel", "terminate"])
@pytest.mark.parametrize("rules", ["max_in_flight: 1", "max_in_flight: 2"])
def test_a_map_that_was_ended_early_goes_on_where_it_was(picks: Picks, wish: str, rules: str) -> None:
    run = picks.submit_stuck(rules, stuck_at=2)
    assert getattr(run, wish)()
    run.wait()
    done = sorted(picks.ran)
    again = picks.again(run.retry, run)
    assert again == sorted({*range(6)} - {*done} | {2})
    assert run.result() == [*range(6)]


@pytest.mark.parametrize("dies_at", [1, 2, 3])
@pytest.mark.parametrize("wish", ["retry", "resume"])
def test_whoever_dies_while_a_map_is_retried_leaves_what_the_next_one_finishes(
    picks: Picks, monkeypatch: pytest.MonkeyPatch, dies_at: int, wish: str
) -> None:
    """Before the run of the items is reopened; with that reset, and paused; with the outer run alone paused."""
    run = picks.run("max_in_flight: 2", unlucky={3})
    done = {at for at in range(8) if run.node(f"pick[{at}]").status is NodeState.SUCCEEDED}
    picks.unlucky.clear()
    calls = [0]
    steps = (Reopening, "_let_items_go_on", dies_at == 1), (Restarting, "hold", dies_at > 1)
    for owner, name, is_meant in steps:
        if is_meant:
            monkeypatch.setattr(owner, name, _dying(getattr(owner, name), calls, max(1, dies_at - 1)))
    with pytest.raises(KeyboardInterrupt):
        run.retry()
    monkeypatch.undo()
    assert run.status() is RunState.PAUSED
    assert getattr(run, wish)()
    assert run.result() == [*range(8)]
    assert sorted(picks.ran) == sorted({*range(8)} - done)


def _dying(act: Callable[..., Any], calls: list[int], dies_at: int) -> Callable[..., Any]:
    """The same, but for the call with this number, which ends its process, as it were."""

    def acting(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == dies_at:
            raise KeyboardInterrupt
        return act(*arguments)

    return acting


@pytest.mark.parametrize(
    ("node", "error", "words"),
    [
        ("pick[8]", UsageError, r"map 'pick' .* has no item 8; there is 'pick\[0\]' to 'pick\[7\]'"),
        ("pick[2]", RunStateError, r"no failure at item 'pick\[2\]', which has succeeded"),
        ("pick[3]", RunStateError, r"item 'pick\[3\]' alone: 4 others .*`taskmesh retry \w+ --node pick` runs them"),
        ("total[0]", UsageError, "node 'total' .* is no map"),
        ("pik[0]", UsageError, "has no node 'pik'; did you mean 'pick'"),
        ("pick[-1]", UsageError, "has no node"),
        ("listing", RunStateError, "no failure at its node 'listing'"),
    ],
)
def test_what_cannot_be_retried_says_why(picks: Picks, node: str, error: type[Exception], words: str) -> None:
    run = picks.run("max_in_flight: 1", unlucky={3})
    with pytest.raises(error, match=words):
        run.retry(node=node)
    assert run.status() is RunState.FAILED


def test_the_one_item_that_a_map_lacks_is_retried_alone(picks: Picks) -> None:
    run = picks.run("max_in_flight: 1", unlucky={7})
    assert picks.again(lambda: run.retry(node="pick[7]"), run) == [7]
    assert run.result() == [*range(8)]


def test_one_of_two_items_that_a_map_lacks_is_not_retried_alone(picks: Picks) -> None:
    run = picks.run("max_in_flight: 1", unlucky={6})
    with pytest.raises(RunStateError, match="alone: 1 other has not succeeded either, and map 'pick' needs"):
        run.retry(node="pick[6]")


def test_the_items_of_a_run_that_goes_on_are_not_retried(picks: Picks) -> None:
    run = picks.mesh.submit(picks.flow(), count=5)
    with pytest.raises(RunStateError, match="has not ended"):
        run.retry(node="pick[0]")
    assert run.result() == [*range(5)]


def test_a_map_without_items_has_none_to_name(picks: Picks) -> None:
    run = picks.run(count=0)
    with pytest.raises(RunStateError, match="has no items of map 'pick'"):
        run.node("pick[0]")


def test_a_fork_begins_with_whole_nodes(picks: Picks) -> None:
    run = picks.run(unlucky={3})
    with pytest.raises(UsageError, match=r"'pick\[3\]' is an item; --from pick runs all items again"):
        run.fork("pick[3]")


def test_the_run_of_the_items_is_decided_about_by_the_run_that_the_map_is_in(picks: Picks) -> None:
    items = picks.mesh.run(picks.run(unlucky={3}).node("pick").child)
    wishes: list[Callable[[], Any]] = [items.retry, lambda: items.rerun("pick[3]"), items.fork]
    for wish in wishes:
        with pytest.raises(RunStateError, match="has the items of a map as its nodes"):
            wish()


@pytest.mark.parametrize("rules", ["", "max_in_flight: 1"])
def test_an_item_is_ended_by_hand_while_the_map_runs(picks: Picks, rules: str) -> None:
    run = picks.submit_stuck(rules, stuck_at=0, count=4)
    if rules:
        with pytest.raises(RunStateError, match=r"its node 'pick\[2\]' waits for its turn; it can be skipped or"):
            run.skip("pick[2]")
    assert run.skip("pick[0]", "no use")
    assert not run.skip("pick[0]", "no use")
    assert run.result() == [None, 1, 2, 3]
    assert run.node("pick[0]").decided is not None


def test_an_item_is_taken_for_succeeded(picks: Picks) -> None:
    run = picks.submit_stuck("", stuck_at=1, count=3)
    assert "is tried again in 59 min" in run.explain("pick[1]").nodes[0].reasons[0]
    assert run.mark("pick[1]", "by hand")
    assert run.result() == [0, "by hand", 2]
    assert [each.node for each in run.history("pick[1]")][:1] == ["pick[1]"]


def test_an_item_of_a_map_that_has_ended_is_not_ended_by_hand(picks: Picks, mesh: VirtualMesh) -> None:
    picks.unlucky = {1}
    text = FLOW.format(rules="", on_failure="continue") + "  held: {wait: signal}\n"
    run = mesh.submit(load_flow(text, "picks.yaml"), count=3)
    mesh.settle()
    child = mesh.run(run.node("pick").child)

    assert (run.status(), child.status()) == (RunState.RUNNING, RunState.FAILED)
    with pytest.raises(RunStateError, match=rf"'{run.id}' has a map whose items have ended, and with them 'pick\[1\]'"):
        run.mark("pick[1]", 7)
    with pytest.raises(RunStateError, match="has ended: failed; it has the items of a map as its nodes; do it to the"):
        child.skip("pick[1]")
    run.signal("held")
    run.wait()
    assert picks.again(lambda: run.rerun("pick[1]"), run) == [1]
