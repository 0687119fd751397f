"""What the copies of a node gave back, as one list; a large one is put aside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from taskmesh.dispatch.plan import Plan
from taskmesh.errors import PayloadError
from taskmesh.model.mapping import MOST_BYTES
from taskmesh.model.states import NodeState, RunState
from taskmesh.payload.large_values import LargeValues
from taskmesh.store.family import Outcome
from taskmesh.store.reader import Reader
from taskmesh.store.records import node_record
from taskmesh.wire import pack, unpack
from taskmesh.wire.claim_checks import read_check, read_params
from taskmesh.wire.codec import PutAsideError, pack_list

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


class Child(NamedTuple):
    """A child run, its flow, its parent, and the ticket by which that waits for it."""

    run_id: str
    plan: Plan
    parent: str
    ticket: str


def gathered(reader: Reader, run: Child, large: LargeValues, may_block: bool) -> Outcome:
    """The outputs of copies that have all ended, in the order of the items; or why there is no such list.

    Something that says so stands for each that has failed, and null for one that was skipped by hand, which has not.

    :raises PutAsideError: the list is to be put aside, or a part of it was, and it may not block.
    :raises PayloadError: a part that was put aside is not there. :raises PayloadUnavailableError: it cannot be fetched.
    """
    plan, run_id, ticket = run.plan, run.run_id, run.ticket
    copies = plan.flow.copies
    assert copies is not None
    [params] = reader.run_fields(run_id, ["params"])
    asked_bytes = read_params(params).here[MOST_BYTES] if params else 0
    most_bytes = large.most(asked_bytes)
    packed, failures, size = list[bytes](), dict[int, str](), 0
    for place, found in enumerate(_all(reader, run_id, copies.total)):
        check = read_check(found.packed)
        size += check.size if check else len(found.packed)
        if not may_block and (check or large.takes(size) or size > most_bytes):
            raise PutAsideError(f"the list that run {run_id} gave is put aside, which takes time")
        if size > most_bytes:
            return _failed(
                ticket, f"run {run_id} has no result: {_too_large(copies.total, most_bytes, most_bytes == asked_bytes)}"
            )
        packed.append(found.packed)
        if found.failure:
            failures[place] = found.failure
    if copies.total - len(failures) < copies.least:
        asked = f"{copies.total - len(failures)} of {copies.total} items have succeeded, and {copies.least} must"
        first = [f"; the first that has not, {plan.name_of(at)!r}: {failures[at]}" for at in list(failures)[:1]]
        return _failed(ticket, f"run {run_id}: {asked}{''.join(first)}")
    return Outcome(ticket, RunState.SUCCEEDED, _kept(run, packed, large))


def _kept(run: Child, packed: Sequence[bytes], large: LargeValues) -> bytes:
    """The list of these outputs, or what stands for it where it was put aside."""
    whole = pack_list([_output(run, place, each, large) for place, each in enumerate(packed)])
    if not large.takes(len(whole)):
        return whole
    return large.put(f"what the items of run {run.run_id} gave back has", run.parent, whole)


def _output(run: Child, place: int, packed: bytes, large: LargeValues) -> bytes:
    check = read_check(packed)
    try:
        return packed if check is None else large.get(run.run_id, check)
    except PayloadError as error:
        raise PayloadError(f"the output of {run.plan.name_of(place)!r}: {error}") from None


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


def _too_large(total: int, most_bytes: int, is_stored: bool) -> str:
    limit = "limits.max_value_bytes" if is_stored else "payload.max_bytes"
    return (
        f"what its {total} items gave back has more than {most_bytes} bytes together, which {limit} allows; let the "
        "task keep it elsewhere, and return where"
    )


def _failed(ticket: str, message: str) -> Outcome:
    return Outcome(ticket, RunState.FAILED, message=message)
