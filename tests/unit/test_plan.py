"""Plans: the edges in slices, the cache, and what is refused."""

from __future__ import annotations

import threading

import pytest

from taskmesh.dispatch.plan import BEFORE_FIRST, EDGES_PER_SCRIPT, Plan
from taskmesh.dispatch.plans import Plans
from taskmesh.errors import WireError
from taskmesh.model.flow import Flow, Node
from taskmesh.wire import pack, unpack


def _plan(name: str = "flow", *nodes: Node) -> Plan:
    return Plan.of(Flow(name, "1", nodes or (Node("a", "t"),)))


def test_edges_are_cut_into_slices_that_a_script_can_tell() -> None:
    width = EDGES_PER_SCRIPT * 2 + 1
    plan = _plan("wide", Node("a", "t"), *(Node(f"w{n}", "t", needs=("a",), pool=f"p{n % 2}") for n in range(width)))
    chunks = plan.chunks(0)
    assert [(chunk.start, chunk.last) for chunk in chunks] == [(0, False), (200, False), (400, True)]
    edges = [unpack(chunk.packed) for chunk in chunks]
    assert [len(each) // 4 for each in edges] == [200, 200, 1]
    assert edges[0][:8] == [1, 1, 1, 0, 2, 1, 2, 0]
    assert plan.pools == ("default", "p0", "p1")


def test_a_node_without_dependents_has_one_empty_slice() -> None:
    [chunk] = _plan().chunks(0)
    assert (unpack(chunk.packed), chunk.last) == ([], True)
    [first] = _plan().chunks(BEFORE_FIRST)
    assert unpack(first.packed) == [0, 1, 0, 0]


def test_the_routing_key_follows_the_flow() -> None:
    assert _plan().routing_key("run-1", 3) == "run-1"
    assert Plan.of(Flow("f", "1", (Node("a", "t"),), shard_by="node")).routing_key("run-1", 3) == "run-1/3"


def test_a_plan_read_back_is_the_same() -> None:
    plan = _plan()
    again = Plan.from_body(plan.body)
    assert (again.hash, again.flow) == (plan.hash, plan.flow)


@pytest.mark.parametrize(
    "document",
    [
        "no flow",
        [99],
        [1, "name"],
        [1, "name", "1", [], "fail_fast", "run", None, [["a", "t"]]],
        [1, "name", "1", [], "fail_fast", "run", None, [["a", "t", {}, ["nobody"], "default"]]],
    ],
)
def test_bytes_that_are_no_flow_are_refused_in_one_way(document: object) -> None:
    with pytest.raises(WireError, match="not a flow"):
        Plan.from_body(pack(document))


def test_the_cache_is_bounded_and_asks_once() -> None:
    stored = {plan.hash: plan for plan in (_plan(str(number)) for number in range(5))}
    asked: list[str] = []

    def fetch(hash_: str, _: str) -> bytes | None:
        asked.append(hash_)
        return stored[hash_].body if hash_ in stored else None

    plans = Plans(fetch, capacity=2)
    first, second, third, *_ = stored
    for hash_ in (first, first, second, third, second):
        assert plans.get(hash_, "r") is not None
    assert asked == [first, second, third]
    assert plans.get("unknown", "r") is None


def test_the_cache_is_safe_in_threads() -> None:
    made = [_plan(str(number)) for number in range(64)]
    plans = Plans(lambda *_: None, capacity=1)
    faults: list[Exception] = []

    def add() -> None:
        try:
            for _ in range(50):
                for plan in made:
                    plans.add(plan)
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
