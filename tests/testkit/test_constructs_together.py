"""Constructs inside of each other, on the time of a virtual mesh: maps, loops, sub-flows, waits, hooks and contexts."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from taskmesh import Run, RunFailedError, TaskmeshError, current_task, load_flow
from taskmesh.errors import RunStateError
from taskmesh.model.flow import Copies, Node
from taskmesh.testing import VirtualMesh, assert_states

DAY_SECONDS = 86_400


@pytest.fixture
def seen(mesh: VirtualMesh) -> list[tuple[object, ...]]:
    """What the tasks were called with, and what they saw of the request."""
    found: list[tuple[object, ...]] = []

    @mesh.task(name="note")
    def note(what: object, said: object = None) -> object:
        found.append((what, said, current_task().metadata.get("plan")))
        return what

    @mesh.task(name="count")
    def count(number: int) -> dict[str, int]:
        found.append((number, None, current_task().metadata.get("plan")))
        return {"left": 2 - number}

    return found


def _child(mesh: VirtualMesh, run: Run, node: str) -> Run:
    [child] = [each.child for each in run.details().nodes if each.name == node]
    assert child
    return mesh.run(child)


EVERYWHERE = """
flow: outer
nodes:
  items: {map: [1, 2], task: note, args: {what: "${item}", said: "${run.metadata.plan}"}}
  inner:
    needs: [items]
    args: {plan: "${run.metadata.plan}"}
    flow:
      flow: inner
      params: {plan: any}
      nodes:
        deep: {map: ["x"], task: note, args: {what: "${item}", said: "${params.plan}"}}
        own: {task: note, needs: [deep], args: {what: own, said: "${run.metadata.plan}"}}
  loop:
    needs: [inner]
    repeat_until: "output.left == 0"
    max_iterations: 3
    count_as: number
    task: count
  last:
    task: note
    needs: [loop]
    args: {what: last}
    hooks: {on_success: {task: note, args: {what: hook, said: "${ended.status} ${run.metadata.plan}"}}}
"""


def test_what_is_said_of_the_request_comes_to_items_iterations_grandchildren_and_hooks(
    mesh: VirtualMesh, seen: list[tuple[object, ...]]
) -> None:
    run = mesh.submit(load_flow(EVERYWHERE, "f.yaml"), metadata={"plan": "gold"})
    run.result()
    assert {plan for _, _, plan in seen} == {"gold"}
    assert sorted((what, said) for what, said, _ in seen if isinstance(what, int) and said) == [
        (1, "gold"),
        (2, "gold"),
    ]
    assert [(what, said) for what, said, _ in seen if isinstance(what, str)] == [
        ("x", "gold"),
        ("own", "gold"),
        ("last", None),
        ("hook", "succeeded gold"),
    ]


def test_a_hook_observes_a_map_and_a_sub_flow(mesh: VirtualMesh, seen: list[tuple[object, ...]]) -> None:
    text = """
flow: outer
nodes:
  items:
    map: [1, 2]
    task: note
    args: {what: "${item}"}
    hooks: {on_success: {task: note, args: {what: "${nodes.items.output}", said: "${ended.node}"}}}
  inner:
    needs: [items]
    flow: {flow: inner, nodes: {fails: {task: missing_value, args: {}}}}
    hooks: {on_failure: {task: note, args: {what: "${ended.error.type}", said: "${ended.error.message}"}}}
"""
    mesh.task(name="missing_value")(lambda: 1 / 0)
    run = mesh.submit(load_flow(text, "f.yaml"))
    with pytest.raises(RunFailedError):
        run.result()
    assert ([1, 2], "items", None) in seen
    [(kind, message)] = [(what, said) for what, said, _ in seen if isinstance(what, str)]
    assert kind == "ChildRunFailed"
    assert "node 'fails': ZeroDivisionError" in str(message)


APPROVED = """
flow: outer
nodes:
  inner:
    flow: {flow: inner, nodes: {ok: {approve: "ship ${run.metadata.plan}?"}, paid: {wait: signal, needs: [ok]}}}
"""


def test_explain_leads_from_a_parent_to_what_its_child_waits_for(mesh: VirtualMesh) -> None:
    run = mesh.submit(load_flow(APPROVED, "f.yaml"), metadata={"plan": "gold"})
    mesh.settle()
    child = _child(mesh, run, "inner")
    [of_parent] = run.explain().nodes
    [of_child] = child.explain("ok").nodes
    assert f"`taskmesh explain {child.id}` goes on there" in " ".join(of_parent.reasons)
    assert "it asks: ship gold?" in of_child.reasons
    child.approve("ok")
    mesh.settle()
    child.signal("paid", 5)
    assert run.result() == 5


@pytest.mark.parametrize("seconds", [1, 300])
def test_a_child_that_waits_is_paused_and_resumed_with_its_parent(mesh: VirtualMesh, seconds: float) -> None:
    """Also after the parent would have looked whether the child has ended."""
    run = mesh.submit(load_flow(APPROVED, "f.yaml"))
    mesh.settle()
    child = _child(mesh, run, "inner")
    run.pause()
    child.approve("ok")
    mesh.clock.advance(seconds)
    assert_states(child, ok="ready")
    run.resume()
    mesh.settle()
    child.signal("paid", 1)
    assert run.result() == 1


def test_a_loop_is_resumed_with_the_iteration_that_it_is_at(mesh: VirtualMesh) -> None:
    text = """
flow: outer
nodes:
  loop:
    repeat_until: "output == 2"
    max_iterations: 3
    flow: {flow: one, nodes: {paid: {wait: signal}}}
"""
    run = mesh.submit(load_flow(text, "f.yaml"))
    mesh.settle()
    _child(mesh, run, "loop").signal("paid", 1)
    mesh.settle()
    second = _child(mesh, run, "loop")
    run.pause()
    mesh.clock.advance(300)
    second.signal("paid", 2)
    mesh.clock.advance(1)
    assert_states(second, paid="ready")
    run.resume()
    assert run.result() == 2


def test_a_child_ends_with_a_parent_that_was_paused_for_long_and_terminated(mesh: VirtualMesh) -> None:
    run = mesh.submit(load_flow(APPROVED, "f.yaml"))
    mesh.settle()
    child = _child(mesh, run, "inner")
    run.pause()
    mesh.clock.advance(300)
    run.terminate()
    assert str(child.status()) == "terminated"


def test_a_child_is_listed_and_ended_whatever_its_node_is_doing(mesh: VirtualMesh) -> None:
    run = mesh.submit(load_flow(APPROVED, "f.yaml"))
    mesh.settle()
    child = _child(mesh, run, "inner")
    run.pause()
    mesh.clock.advance(300)
    assert [each.run_id for each in mesh.runs(parent=run.id)] == [child.id]
    run.skip("inner")
    run.resume()
    mesh.clock.advance(60)
    assert str(child.status()) == "cancelled"


@pytest.mark.parametrize(("how", "end"), [("cancel", "cancelled"), ("terminate", "terminated"), ("deadline", "failed")])
def test_a_child_that_waits_ends_with_its_parent(mesh: VirtualMesh, how: str, end: str) -> None:
    run = mesh.submit(load_flow(APPROVED, "f.yaml"), deadline_seconds=3600)
    mesh.settle()
    child = _child(mesh, run, "inner")
    if how != "deadline":
        getattr(run, how)()
    mesh.clock.advance(3700 if how == "deadline" else 120)
    assert (str(run.status()), str(child.status())) == (end, end)


def test_a_retried_parent_begins_a_child_anew_and_a_fork_too(mesh: VirtualMesh) -> None:
    run = mesh.submit(load_flow(APPROVED, "f.yaml"))
    mesh.settle()
    first = _child(mesh, run, "inner")
    first.reject("ok", "no")
    with pytest.raises(RunFailedError, match="Rejected"):
        run.result()
    run.retry()
    mesh.settle()
    second = _child(mesh, run, "inner")
    assert second.id != first.id
    second.approve("ok")
    second.signal("paid", 2)
    assert run.result() == 2
    fork = run.fork("inner")
    mesh.settle()
    third = _child(mesh, fork, "inner")
    assert third.id not in (first.id, second.id)
    third.approve("ok")
    third.signal("paid", 3)
    assert fork.result() == 3


NESTED = """
flow: outer
nodes:
  each:
    map: [2, 1]
    args: {upto: "${item}"}
    flow:
      flow: one
      params: {upto: integer}
      result: "${nodes.loop.output}"
      nodes:
        rest: {sleep: 30d}
        loop:
          needs: [rest]
          repeat_until: "output.left == 0"
          max_iterations: 4
          count_as: number
          task: count
  loop_of_maps:
    needs: [each]
    repeat_until: "size(output) == 2"
    max_iterations: 2
    flow: {flow: two, result: "${nodes.pair.output}", nodes: {pair: {map: [1, 2], task: note, args: {what: "${item}"}}}}
"""


@pytest.mark.usefixtures("seen")
def test_loops_in_maps_maps_in_loops_and_a_sleep_in_a_mapped_flow(mesh: VirtualMesh) -> None:
    start = mesh.clock.now()
    run = mesh.submit(load_flow(NESTED, "f.yaml"))
    mesh.settle()
    items = _child(mesh, run, "each")
    for one in ("each[0]", "each[1]"):
        assert_states(_child(mesh, items, one), rest="retrying")
    assert run.result() == [1, 2]
    assert mesh.clock.now() - start >= 30 * DAY_SECONDS
    assert run.details().nodes[0].output == [{"left": 0}, {"left": 0}]


def test_a_node_type_runs_for_each_item(mesh: VirtualMesh) -> None:
    text = """
flow: outer
nodes:
  pages: {map: [a, b], type: http, with: {url: "https://shop.test/${item}", json: {plan: "${run.metadata.plan}"}}}
"""
    mesh.stub("@http", side_effect=lambda url, json: f"{url} {json['plan']}")
    run = mesh.submit(load_flow(text, "f.yaml", mesh.registry), metadata={"plan": "gold"})
    assert run.result() == ["https://shop.test/a gold", "https://shop.test/b gold"]
    with pytest.raises(RunStateError, match="has the items of a map as its nodes"):
        _child(mesh, run, "pages").retry()


COUNTED = """
flow: outer
on_failure: %s
events: nodes
nodes:
  items: {map: [0, 1, 2, 3, 4, 5, 6], task: inverse, args: {number: "${item}"}, max_in_flight: 3, %s}
"""


@pytest.mark.parametrize(
    ("on_failure", "rules", "end"),
    [("fail_fast", "on_item_failure: continue", "succeeded"), ("compensate", "compensate: undo", "failed")],
)
def test_no_copy_of_a_mapped_node_is_ever_made(
    mesh: VirtualMesh, monkeypatch: pytest.MonkeyPatch, on_failure: str, rules: str, end: str
) -> None:
    made: list[int] = []

    def at(copies: Copies, place: int) -> Node:
        made.append(place)
        return replace(copies.node, name=copies.name_of(place))

    monkeypatch.setattr(Copies, "at", at)
    mesh.task(name="inverse")(lambda number: 1 / (number - 4))
    mesh.task(name="undo")(lambda number, result: None)
    run = mesh.submit(load_flow(COUNTED % (on_failure, rules), "f.yaml"))
    assert str(run.wait()) == end
    items = _child(mesh, run, "items")
    assert len(items.details().nodes) == 7
    for look in (items.explain, items.history):
        look()
        look("items[3]")
    refused = (
        items.retry,
        *(partial(call, "items[3]") for call in (items.signal, items.fork, items.rerun, items.mark)),
    )
    for call in refused:
        with pytest.raises(TaskmeshError):
            call()
    assert made == []
