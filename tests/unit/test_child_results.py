"""What child runs are told, and give back: what is said of the request, and outputs that were put aside."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from taskmesh.dispatch.births import Birth, ChildFlow, entrance_of_child
from taskmesh.dispatch.outcomes import Child, outcomes_of
from taskmesh.dispatch.plan import Plan
from taskmesh.model.flow import Flow, Node
from taskmesh.model.run_context import RunContext
from taskmesh.model.states import RunState
from taskmesh.model.validation import complete
from taskmesh.store.calls import NodeKey
from taskmesh.wire import pack, unpack
from taskmesh.wire.claim_checks import ClaimCheck, pack_check
from taskmesh.wire.run_contexts import encode_context

STORED = {
    "small": {"context": encode_context(RunContext(tenant="acme")), "output:0": pack(1)},
    "large": {"output:0": pack_check(ClaimCheck(b"n" * 16, 2_000_000, b"d" * 32))},
}


class Kept:
    """What the store has of two runs that succeeded."""

    def fields_of_runs(self, run_ids: list[str], fields: tuple[str, ...]) -> list[list[bytes | None]]:
        return [[b"succeeded" if field == "status" else None for field in fields] for _ in run_ids]

    def picked(self, wanted: list[tuple[str, list[str]]]) -> list[list[bytes | None]]:
        return [[STORED[run_id].get(field) for field in fields] for run_id, fields in wanted]


def test_one_that_cannot_be_read_fails_its_own_node_and_no_other() -> None:
    result = {"output": "${nodes.a.output}", "tenant": "${run.tenant}"}
    plan = Plan.of(complete(Flow("f", "1", (Node("a", "t"),), result=result)))
    reader: Any = Kept()
    large, small = outcomes_of(reader, [Child(run_id, plan, run_id) for run_id in ("large", "small")])
    assert large is not None
    assert large.status is RunState.FAILED
    assert large.message.startswith("run large has no result: the output of node 'a' was put aside, since it is large")
    assert small is not None
    assert unpack(small.output) == {"output": 1, "tenant": "acme"}


@pytest.mark.parametrize("context", [b"", encode_context(RunContext(tenant="acme"))])
def test_a_child_serves_the_request_of_its_parent(context: bytes) -> None:
    plan = Plan.of(complete(Flow("f", "1", (Node("a", "t"),))))
    around: Any = SimpleNamespace(parent=None, tags={}, pins=b"pins", child_id=lambda key, turn: f"{key.run_id}-{turn}")
    birth = Birth(plan, NodeKey("r", 0), "r", pack({}), around, None, context=context)
    entrance = entrance_of_child(birth, ChildFlow(plan, {}), 1000)
    assert entrance.further[4:] == (("context", context) if context else ())
