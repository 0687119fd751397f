"""What the copies of a node gave back, as one list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from taskmesh.dispatch.deferring import for_tasks_alone
from taskmesh.dispatch.plan import Plan
from taskmesh.model.mapping import MOST_BYTES
from taskmesh.model.states import NodeState, RunState
from taskmesh.store.family import Outcome
from taskmesh.store.reader import Reader
from taskmesh.store.records import node_record
from taskmesh.wire import pack, unpack
from taskmesh.wire.claim_checks import read_check
from taskmesh.wire.codec import pack_list

ITEMS_PER_READING = 5_000
"""Of so many copies at a time what they gave back is read, in pages."""

ERRORS_PER_READING = 500
"""An error has a traceback, so fewer of those."""

SAID_LETTERS = 500
"""What is kept of the error of an item in the list of outputs."""


class _Found(NamedTuple):
    """What stands in the list for one copy, packed; and why it has failed, as a sentence, where it has."""

    packed: bytes
    failure: str = ""


def gathered(reader: Reader, run_id: str, plan: Plan, ticket: str) -> Outcome:
    """The outputs of copies that have all ended, in the order of the items; or why there is no such list.

    Something that says so stands for each that has failed, and null for one that was skipped by hand, which has not.
    """
    copies = plan.flow.copies
    assert copies is not None
    [params] = reader.run_fields(run_id, ["params"])
    most_bytes = unpack(params)[MOST_BYTES] if params else 0
    packed, failures, size = list[bytes](), dict[int, str](), 0
    for place, found in enumerate(_all(reader, run_id, copies.total)):
        if read_check(found.packed):
            return _failed(ticket, f"run {run_id} has no result: {for_tasks_alone(plan.name_of(place))}")
        size += len(found.packed)
        if size > most_bytes:
            return _failed(ticket, f"run {run_id} has no result: {_too_large(copies.total, most_bytes)}")
        packed.append(found.packed)
        if found.failure:
            failures[place] = found.failure
    if copies.total - len(failures) < copies.least:
        asked = f"{copies.total - len(failures)} of {copies.total} items have succeeded, and {copies.least} must"
        first = [f"; the first that has not, {plan.name_of(at)!r}: {failures[at]}" for at in list(failures)[:1]]
        return _failed(ticket, f"run {run_id}: {asked}{''.join(first)}")
    return Outcome(ticket, RunState.SUCCEEDED, pack_list(packed))


def _all(reader: Reader, run_id: str, total: int) -> Iterator[_Found]:
    for places in _pages(range(total), ITEMS_PER_READING):
        outputs = reader.run_fields(run_id, [f"output:{at}" for at in places])
        lacking = [at for at, output in zip(places, outputs, strict=True) if output is None]
        failed = _failures(reader, run_id, lacking)
        yield from (next(failed) if output is None else _Found(output) for output in outputs)


def _failures(reader: Reader, run_id: str, places: Sequence[int]) -> Iterator[_Found]:
    """What the copies at these places have said."""
    for page in _pages(places, ERRORS_PER_READING):
        values = reader.run_fields(run_id, [f"{kind}:{at}" for at in page for kind in ("node", "error")])
        for record, error in zip(values[::2], values[1::2], strict=True):
            if record is not None and node_record(record).state is NodeState.SKIPPED:
                yield _Found(pack(None))
                continue
            fields = unpack(error) if error else {"type": "", "message": "unknown"}
            said = {"type": fields["type"], "message": fields["message"][:SAID_LETTERS]}
            yield _Found(pack({"failed": said}), f"{said['type']}: {said['message']}")


def _pages(places: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (places[at : at + size] for at in range(0, len(places), size))


def _too_large(total: int, most_bytes: int) -> str:
    return (
        f"what its {total} items gave back has more than {most_bytes} bytes together, which limits.max_value_bytes "
        "allows; let the task keep it elsewhere, and return where"
    )


def _failed(ticket: str, message: str) -> Outcome:
    return Outcome(ticket, RunState.FAILED, message=message)
