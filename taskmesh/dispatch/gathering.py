"""What the copies of a node gave back, as one list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from taskmesh.dispatch.plan import Plan
from taskmesh.model.mapping import MOST_BYTES
from taskmesh.model.states import RunState
from taskmesh.store.family import Outcome
from taskmesh.store.reader import Reader
from taskmesh.wire import pack, unpack
from taskmesh.wire.codec import pack_list

ITEMS_PER_READING = 5_000
"""Of so many copies at a time what they gave back is read, in pages."""

SAID_LETTERS = 500
"""What is kept of the error of an item in the list of outputs."""


def gathered(reader: Reader, run_id: str, plan: Plan, ticket: str) -> Outcome:
    """The outputs of copies that have all ended, in the order of the items; or why there is no such list.

    Something that says so stands for each that has failed.
    """
    copies = plan.flow.copies
    assert copies is not None
    [params] = reader.run_fields(run_id, ["params"])
    most_bytes = unpack(params or pack({MOST_BYTES: 0}))[MOST_BYTES]
    found: list[bytes] = []
    size, lacking = 0, 0
    for output in _outputs(reader, run_id, range(copies.total)):
        found.append(output or b"")
        size, lacking = size + len(found[-1]), lacking + (output is None)
        if size > most_bytes:
            return _failed(ticket, f"run {run_id} has no result: {_too_large(copies.total, most_bytes)}")
    failures = _failures(reader, run_id, [at for at, output in enumerate(found) if not output])
    succeeded = copies.total - lacking
    if succeeded < copies.least:
        first = next(iter(failures.items()), None)
        said = f"; the first that has not, {plan.name_of(first[0])!r}: {_sentence(first[1])}" if first else ""
        asked = f"{succeeded} of {copies.total} items have succeeded, and {copies.least} must"
        return _failed(ticket, f"run {run_id}: {asked}{said}")
    result = pack_list([output or pack({"failed": failures[at]}) for at, output in enumerate(found)])
    return Outcome(ticket, RunState.SUCCEEDED, result)


def _outputs(reader: Reader, run_id: str, places: Sequence[int]) -> Iterator[bytes | None]:
    rest = iter(places)
    while page := list(islice(rest, ITEMS_PER_READING)):
        yield from reader.run_fields(run_id, [f"output:{at}" for at in page])


def _failures(reader: Reader, run_id: str, places: Sequence[int]) -> dict[int, dict[str, str]]:
    """What the copies at these places have said."""
    errors = reader.run_fields(run_id, [f"error:{at}" for at in places])
    return {at: _said(unpack(error) if error else {}) for at, error in zip(places, errors, strict=True)}


def _said(error: Mapping[str, Any]) -> dict[str, str]:
    return {"type": error.get("type", ""), "message": str(error.get("message", "unknown"))[:SAID_LETTERS]}


def _sentence(said: Mapping[str, str]) -> str:
    return f"{said['type']}: {said['message']}"


def _too_large(total: int, most_bytes: int) -> str:
    return (
        f"what its {total} items gave back has more than {most_bytes} bytes together, which limits.max_value_bytes "
        "allows; let the task keep it elsewhere, and return where"
    )


def _failed(ticket: str, message: str) -> Outcome:
    return Outcome(ticket, RunState.FAILED, message=message)
