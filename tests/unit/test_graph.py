from __future__ import annotations

import random
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmesh.errors import FlowError
from taskmesh.model.flow import ALL_PARAMS, Flow, Node, Param
from taskmesh.model.graph import Graph, find_cycle, topological_order
from taskmesh.model.validation import complete


def node(name: str, *needs: str, args: dict[str, object] | str | None = None) -> Node:
    return Node(name, "w:x", args or {}, needs)


def graph(*nodes: Node, result: object = None) -> Graph:
    return Graph.of(complete(Flow("f", "1", nodes, (Param("p", required=False),), result=result)))


def test_the_order_keeps_to_the_declared_one_where_it_can() -> None:
    nodes = (node("d", "b"), node("c"), node("b", "a"), node("a"))

    assert [each.name for each in topological_order(nodes)] == ["c", "a", "b", "d"]
    assert topological_order(topological_order(nodes)) == topological_order(nodes)


@given(st.integers(1, 30), st.randoms(use_true_random=False))
def test_every_node_comes_after_what_it_needs(count: int, chance: random.Random) -> None:
    nodes = [
        node(str(number), *(str(each) for each in chance.sample(range(number), chance.randint(0, min(3, number)))))
        for number in range(count)
    ]
    chance.shuffle(nodes)
    seen: set[str] = set()
    for each in topological_order(nodes):
        assert seen.issuperset(each.needs)
        seen.add(each.name)
    assert len(seen) == count


def test_a_cycle_is_named_by_its_path() -> None:
    needs = {"z": ["a"], "a": ["x", "b"], "b": ["c", "gone"], "c": ["a"], "x": []}

    assert find_cycle(needs) == ("a", "b", "c", "a")
    assert find_cycle({"a": ["a"]}) == ("a", "a")
    assert find_cycle({"a": ["b", "c"], "b": ["c"], "c": []}) == ()
    with pytest.raises(FlowError, match=r"a -> b -> a \(each needs the next\)"):
        topological_order((node("a", "b"), node("b", "a")))


def test_a_very_long_cycle_is_found_without_recursion_and_said_in_short() -> None:
    count = 50_000
    nodes = tuple(node(f"n{number}", f"n{(number + 1) % count}") for number in range(count))

    with pytest.raises(FlowError) as caught:
        topological_order(nodes)

    assert "n0 -> n1 -> " in str(caught.value)
    assert "more) -> " in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_edges_are_known_by_position_in_both_directions() -> None:
    diamond = graph(node("a"), node("b", "a"), node("c", "a"), node("d", "b", "c"))

    assert diamond.names == ("a", "b", "c", "d")
    assert diamond.index == {"a": 0, "b": 1, "c": 2, "d": 3}
    assert diamond.parents == ((), (0,), (0,), (1, 2))
    assert diamond.successors == ((1, 2), (3,), (3,), ())
    assert (diamond.roots, diamond.sinks) == ((0,), (3,))


def test_arguments_are_filled_from_params_and_from_outputs_by_position() -> None:
    chain = graph(node("a"), node("b", args={"x": "${nodes.a.output.k}", "y": "${params.p}", "z": 1}))

    assert (chain.inputs[0], chain.inputs[1]) == ((), (0,))
    assert chain.resolve_arguments(0, {"p": 2}, {}) == {}
    assert chain.resolve_arguments(1, {"p": 2}, {0: {"k": [5]}}) == {"x": [5], "y": 2, "z": 1}


def test_all_params_can_be_handed_over() -> None:
    assert graph(node("a", args=ALL_PARAMS)).resolve_arguments(0, {"p": 2}, {}) == {"p": 2}


def test_the_result_is_that_of_the_sinks_unless_the_flow_says_otherwise() -> None:
    one = graph(node("a"), node("b", "a"))
    two = graph(node("a"), node("b"))
    said = graph(node("a"), node("b", "a"), result={"of_a": "${nodes.a.output}", "p": "${params.p}"})

    assert one.resolve_result({}, {1: "out"}) == "out"
    assert two.resolve_result({}, {0: 1, 1: 2}) == {"a": 1, "b": 2}
    assert said.result_inputs == (0,)
    assert said.resolve_result({"p": 7}, {0: "out"}) == {"of_a": "out", "p": 7}


def test_the_critical_path_is_the_slowest_chain() -> None:
    diamond = graph(node("a"), node("b", "a"), node("c", "a"), node("d", "b", "c"), node("e"))

    assert diamond.critical_path({"a": 1, "b": 1, "c": 3, "d": 1, "e": 4}) == ("a", "c", "d")
    assert diamond.critical_path({"e": 9}) == ("e",)


@pytest.mark.slow
def test_a_hundred_thousand_nodes_take_seconds_and_no_stack() -> None:
    count = 100_000
    nodes = [
        Node(
            f"n{number}",
            "w:x",
            {"a": "${params.p}", "b": f"${{nodes.n{number - 1}.output.x}}" if number else 0},
            tuple({f"n{each}" for each in (number - 1, number // 2, number // 3) if 0 <= each < number}),
        )
        for number in range(count)
    ]
    random.Random(1).shuffle(nodes)
    begun = time.process_time()
    large = Graph.of(complete(Flow("large", "1", tuple(nodes), (Param("p"),))))
    took = time.process_time() - begun

    edges = sum(map(len, large.parents))
    print(f"{count} nodes, {edges} edges: validated, ordered and made a graph in {took:.2f} s of CPU")
    assert edges > 299_000
    assert large.names == tuple(f"n{number}" for number in range(count))
    assert len(large.critical_path(dict.fromkeys(large.names, 1.0))) == count > sys.getrecursionlimit()
    assert took < 30
