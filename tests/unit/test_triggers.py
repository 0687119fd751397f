"""The table of trigger rules, and expressions over the ends of nodes."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskmesh.model import depends as limits
from taskmesh.model.depends import DependsError, parse_depends
from taskmesh.model.fates import decide, takes_failure
from taskmesh.model.flow import Node
from taskmesh.model.states import ENDED_NODE_STATES, NodeState
from taskmesh.model.triggers import Rule, Trigger, group_of, read_rule
from tests.model import interpreter

NAMES = ("a", "b", "c")
ENDS = (NodeState.SUCCEEDED, NodeState.FAILED, NodeState.SKIPPED, None)
TRIGGERS = [*(Trigger(rule) for rule in Rule if rule is not Rule.N_OF), *(Trigger(Rule.N_OF, k) for k in (1, 2, 3))]


def _node(trigger: Trigger, count: int = 3) -> Node:
    return Node("x", "t", needs=NAMES[:count], trigger=trigger)


def _expected(node: Node, ends: tuple[NodeState | None, ...]) -> NodeState | None:
    known = [interpreter.GROUPS[end] if end else None for end in ends]
    goes = interpreter.certainty(node, known)
    if goes is False:
        return NodeState.UPSTREAM_FAILED if interpreter.is_blamed(node, known) else NodeState.SKIPPED
    return NodeState.READY if goes else None


@pytest.mark.parametrize("trigger", TRIGGERS, ids=str)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_rule_decides_as_its_words_say_for_every_mix_of_ends(trigger: Trigger, count: int) -> None:
    node = _node(trigger, count)
    for ends in product(ENDS, repeat=count):
        states = {name: end for name, end in zip(node.needs, ends, strict=True) if end}
        assert decide(node, states) is _expected(node, ends), states


@pytest.mark.parametrize("trigger", TRIGGERS, ids=str)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_rule_takes_a_failure_where_some_ends_with_it_let_the_node_run(trigger: Trigger, count: int) -> None:
    node = _node(trigger, count)
    assert takes_failure(node, "a") is interpreter.can_take_failure(node, "a")


@pytest.mark.parametrize("state", NodeState)
def test_every_end_belongs_to_a_group_and_nothing_else_does(state: NodeState) -> None:
    assert (group_of(state) is not None) == (state in ENDED_NODE_STATES)


def _expressions() -> st.SearchStrategy[str]:
    terms = st.builds(
        "{}.{}".format, st.sampled_from(NAMES), st.sampled_from(("succeeded", "failed", "skipped", "done"))
    )
    return st.recursive(
        terms,
        lambda inner: st.one_of(
            st.builds("!({})".format, inner),
            st.builds("({} {} {})".format, inner, st.sampled_from(("&&", "||")), inner),
            st.builds("{} {} {}".format, inner, st.sampled_from(("&&", "||")), inner),
        ),
        max_leaves=6,
    )


@settings(deadline=None)
@given(text=_expressions(), ends=st.tuples(*[st.sampled_from(ENDS)] * 3))
def test_an_expression_means_what_cel_takes_it_for(text: str, ends: tuple[NodeState | None, ...]) -> None:
    node = _node(Trigger(depends=text))
    states = {name: end for name, end in zip(NAMES, ends, strict=True) if end}
    found = decide(node, states)
    if found is not None:
        # Both may know more of a sentence that is true or false anyway, such as "a or not a", than is found early.
        assert found is _expected(node, ends)
    else:
        assert None in ends


def test_a_node_alone_is_asked_for_its_success() -> None:
    assert parse_depends("a && b-1").program == parse_depends("a.succeeded && b-1.succeeded").program


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "ends where a node is expected"),
        ("a &&", "ends where a node is expected"),
        ("a || ) b", "has ')' where a node is expected"),
        ("a b", "has 'b' where && or || is expected"),
        ("(a", "has a ( without its )"),
        ("a & b", "has '&', which means nothing here; known are &&, ||, ! and parentheses"),
        ("a.gone", "asks for a.gone; a node can be succeeded, failed, skipped, done"),
        ("!" * 40 + "a", f"is nested deeper than {limits.MAX_DEPTH} levels"),
        ("(" * 100_000, "has 100000 characters; at most 2000 are allowed"),
        (" || ".join(["a"] * 101), "names 101 ends of nodes; at most 100 are allowed"),
    ],
)
def test_what_is_no_expression_is_refused_with_a_sentence(text: str, problem: str) -> None:
    with pytest.raises(DependsError) as caught:
        parse_depends(text)
    assert str(caught.value) == problem


@pytest.mark.parametrize("trigger", TRIGGERS, ids=str)
def test_a_rule_is_read_as_it_is_written(trigger: Trigger) -> None:
    assert read_rule(str(trigger)) == trigger


@pytest.mark.parametrize("text", ["", "n_of", "n_of()", "n_of(x)", "n_of(-1)", "any_succes", "ALL_DONE"])
def test_other_words_are_no_rules(text: str) -> None:
    assert read_rule(text) is None
