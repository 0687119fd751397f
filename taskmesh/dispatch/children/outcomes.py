"""How child runs have ended, read from what is stored of them: their results, or why there is none.

What of a result was put aside, or is large, is put aside for the parent: it stays when the child is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from taskmesh.dispatch.deferring import used_params
from taskmesh.dispatch.maps.gathering import Child, gathered
from taskmesh.errors import PayloadError, UnresolvedReferenceError, WireError
from taskmesh.model.flow import OnFailure
from taskmesh.model.states import NodeState, RunState
from taskmesh.payload.large_values import Fetching, LargeValues
from taskmesh.store.family import Outcome
from taskmesh.store.family_reader import FamilyReader
from taskmesh.store.records import node_record
from taskmesh.wire import pack, unpack
from taskmesh.wire.claim_checks import read_check, read_params
from taskmesh.wire.codec import PutAsideError
from taskmesh.wire.run_contexts import decode_context

_FIELDS = ("status", "halt", "halted_by", "failed_node")
_NEEDS = "needs:"
_UNWANTED = (RunState.CANCELLED, RunState.TERMINATED)


class Later:
    """Stands for an outcome that must be read where it may block: something of it was put aside, or is to be."""


LATER = Later()


def outcomes_of(
    reader: FamilyReader, children: Sequence[Child], large: LargeValues, may_block: bool
) -> list[Outcome | Later | None]:
    """How each of them has ended; None for one that has not, or is not there.

    Where it may not block, ``LATER`` is all that is said of one for which ``large`` is needed.

    :raises StoreUnavailableError: nothing is known. :raises PayloadUnavailableError: so it is.
    """
    rows = reader.fields_of_runs([each.run_id for each in children], _FIELDS) if children else []
    stood = [RunState(row[0].decode()) if row[0] else None for row in rows]
    done = [
        each
        for each, status in zip(children, stood, strict=True)
        if status is RunState.SUCCEEDED and not each.plan.flow.copies
    ]
    results = iter(_results(reader, done, large, may_block))
    found: list[Outcome | Later | None] = []
    for child, status, row in zip(children, stood, rows, strict=True):
        if _is_gathered(child, status, row):
            found.append(_gathered(reader, child, large, may_block))
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


def _gathered(reader: FamilyReader, child: Child, large: LargeValues, may_block: bool) -> Outcome | Later:
    try:
        return gathered(reader, child, large, may_block)
    except PutAsideError:
        return LATER
    except (PayloadError, WireError) as error:
        return _without_result(child, error)


def _results(
    reader: FamilyReader, children: Sequence[Child], large: LargeValues, may_block: bool
) -> Iterator[Outcome | Later]:
    wanted = [
        (each.run_id, ["params", "context", *(f"output:{source}" for source in each.plan.graph.result_inputs)])
        for each in children
    ]
    for child, (params, context, *outputs) in zip(children, reader.picked(wanted), strict=True):
        try:
            result = _result(child, params, context, outputs, large if may_block else None)
            if large.takes(len(result)):
                result = _put_aside(child, result, large, may_block)
        except (UnresolvedReferenceError, PayloadError, WireError) as error:
            must_block = isinstance(error, PutAsideError) and not may_block
            yield LATER if must_block else _without_result(child, error)
        else:
            yield Outcome(child.ticket, RunState.SUCCEEDED, result)


def _without_result(child: Child, error: Exception) -> Outcome:
    return Outcome(child.ticket, RunState.FAILED, message=f"run {child.run_id} has no result: {error}")


def _result(
    child: Child,
    params: bytes | None,
    context: bytes | None,
    outputs: Sequence[bytes | None],
    large: LargeValues | None,
) -> bytes:
    """What a run gives back; a node that did not run gives null, as in arguments.

    :raises PutAsideError: something of it was put aside, and there is no ``large`` to fetch it.
    :raises PayloadError: it is not there. :raises UnresolvedReferenceError: as of ``resolve_result``.
    """
    graph, sources = child.plan.graph, child.plan.graph.result_inputs
    if large is not None and graph.gives_output and outputs[0] is not None and read_check(outputs[0]):
        return large.copy(outputs[0], child.run_id, child.parent)
    value_of = unpack if large is None else Fetching(large, child.run_id).value
    known = {at: None if output is None else value_of(output) for at, output in zip(sources, outputs, strict=True)}
    given = used_params(read_params(params), graph.result, value_of)
    return pack(graph.resolve_result(given, known, decode_context(context)))


def _put_aside(child: Child, result: bytes, large: LargeValues, may_block: bool) -> bytes:
    if not may_block:
        raise PutAsideError(f"the result of run {child.run_id} is to be put aside, which takes time")
    return large.put(f"the result of run {child.run_id} has", child.parent, result)


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
