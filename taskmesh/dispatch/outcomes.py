"""How child runs have ended, read from what is stored of them: their results, or why there is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from taskmesh.dispatch.deferring import value_here
from taskmesh.dispatch.gathering import gathered
from taskmesh.dispatch.plan import Plan
from taskmesh.errors import UnresolvedReferenceError, WireError
from taskmesh.model.flow import OnFailure
from taskmesh.model.states import NodeState, RunState
from taskmesh.store.family import Outcome
from taskmesh.store.family_reader import FamilyReader
from taskmesh.store.records import node_record
from taskmesh.wire import pack, unpack
from taskmesh.wire.run_contexts import decode_context

_FIELDS = ("status", "halt", "halted_by", "failed_node")
_NEEDS = "needs:"
_UNWANTED = (RunState.CANCELLED, RunState.TERMINATED)


class Child(NamedTuple):
    """A child run, its flow, and the ticket by which its parent waits for it."""

    run_id: str
    plan: Plan
    ticket: str


def outcomes_of(reader: FamilyReader, children: Sequence[Child]) -> list[Outcome | None]:
    """How each of them has ended; None for one that has not, or is not there.

    :raises StoreUnavailableError: nothing is known.
    """
    rows = reader.fields_of_runs([each.run_id for each in children], _FIELDS) if children else []
    stood = [RunState(row[0].decode()) if row[0] else None for row in rows]
    done = [
        each
        for each, status in zip(children, stood, strict=True)
        if status is RunState.SUCCEEDED and not each.plan.flow.copies
    ]
    results = iter(_results(reader, done))
    found: list[Outcome | None] = []
    for child, status, row in zip(children, stood, rows, strict=True):
        if _is_gathered(child, status, row):
            found.append(gathered(reader, child.run_id, child.plan, child.ticket))
        elif status is RunState.SUCCEEDED:
            found.append(next(results))
        else:
            found.append(_unhappy(reader, child, status, row) if status is not None and status.ended else None)
    return found


def _is_gathered(child: Child, status: RunState | None, row: Sequence[bytes | None]) -> bool:
    """Whether it consists of copies that have all come to their ends, which may be failures where the others go on."""
    flow, (_, halt, *_rest) = child.plan.flow, row
    goes_on = flow.on_failure is OnFailure.CONTINUE and status is RunState.FAILED and not halt
    return flow.copies is not None and (status is RunState.SUCCEEDED or goes_on)


def _results(reader: FamilyReader, children: Sequence[Child]) -> Iterator[Outcome]:
    wanted = [
        (each.run_id, ["params", "context", *(f"output:{source}" for source in each.plan.graph.result_inputs)])
        for each in children
    ]
    for child, (params, context, *outputs) in zip(children, reader.picked(wanted), strict=True):
        try:
            result = _result(child.plan, params, context, outputs)
        except (UnresolvedReferenceError, WireError) as error:
            yield Outcome(child.ticket, RunState.FAILED, message=f"run {child.run_id} has no result: {error}")
        else:
            yield Outcome(child.ticket, RunState.SUCCEEDED, result)


def _result(plan: Plan, params: bytes | None, context: bytes | None, outputs: Sequence[bytes | None]) -> bytes:
    """What a run gives back; a node that did not run gives null, as in arguments.

    :raises PutAsideError: an output of it was put aside. :raises UnresolvedReferenceError: as of ``resolve_result``.
    """
    sources = plan.graph.result_inputs
    known = {at: value_here(plan.name_of(at), output) for at, output in zip(sources, outputs, strict=True)}
    return pack(plan.graph.resolve_result(unpack(params or b"\x80"), known, decode_context(context)))


def _unhappy(reader: FamilyReader, child: Child, status: RunState, row: Sequence[bytes | None]) -> Outcome:
    _, halt, halted_by, failed_node = row
    is_cancelled = status in _UNWANTED or halt == RunState.CANCELLED.encode()
    said = f"run {child.run_id} of flow {child.plan.flow.name!r} ended as {status}"
    if halted_by is not None:
        by, why, _ = unpack(halted_by)
        said += f", by {by}" + (f" ({why})" if why else "")
    copies = child.plan.flow.copies
    if copies is not None and child.plan.tolerated is not None and halt == RunState.FAILED.encode():
        said += f", as fewer than {copies.least} of its {copies.total} items could succeed"
    if failed_node is not None:
        said += f": {_first_failure(reader, child, int(failed_node))}"
    return Outcome(child.ticket, status, message=said, is_cancelled=is_cancelled)


def _first_failure(reader: FamilyReader, child: Child, place: int) -> str:
    """What the node said for whose failure the run has failed."""
    while True:
        record, error = reader.run_fields(child.run_id, (f"node:{place}", f"error:{place}"))
        stored = node_record(record) if record else None
        if stored is None or stored.state is not NodeState.UPSTREAM_FAILED or not stored.cause.startswith(_NEEDS):
            break
        # What it was told by has ended before, so this comes to an end.
        place = int(stored.cause.removeprefix(_NEEDS))
    fields = unpack(error) if error else {"type": "", "message": "unknown"}
    return f"node {child.plan.name_of(place)!r}: {fields['type']}: {fields['message']}"
