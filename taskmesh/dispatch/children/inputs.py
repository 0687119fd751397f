"""What must be known of a run, so that one of its nodes can begin a child run, or have it undone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from taskmesh.dispatch.inputs import Inputs
from taskmesh.store.calls import NodeKey
from taskmesh.store.family import Outcome, Parent, child_id
from taskmesh.store.records import NodeRecord, node_record
from taskmesh.wire import pack, unpack

_OF_RUN = ("header", "parent", "pins")


class Around(NamedTuple):
    """What stands around a node that begins a child: its record, what it has heard of a child, and what its run is.

    ``pins`` says by reference which versions of registered flows the run was submitted with.
    """

    record: NodeRecord
    heard: Outcome | None
    tags: dict[str, str]
    parent: Parent | None
    pins: bytes

    def child_id(self, key: NodeKey, turn: int = 0) -> str:
        """The run that the node begins; ``turn`` counts those that follow each other."""
        return child_id(key, self.record.opened_at, self.record.retries, turn)

    def turn(self, key: NodeKey, most: int) -> int | None:
        """Which of its children the node has heard of, of ``most`` that follow each other; None where it is of none."""
        if self.heard is None:
            return None
        ticket = self.heard.ticket
        return next((turn for turn in range(most) if self.child_id(key, turn) == ticket), None)

    def body_of(self, reference: str) -> tuple[str, str]:
        """The name and the hash of the version that a reference means in this run."""
        name, hash_ = unpack(self.pins)[reference]
        return name, hash_


class ChildInputs:
    """The inputs of a node that begins a child run: those that it would have for a task, and what stands around."""

    def __init__(self, inputs: Inputs, node: int) -> None:
        about = (f"node:{node}", f"child:{node}", *_OF_RUN)
        self._inputs = inputs
        self._extra = len(about)
        self.gate = inputs.gate
        self.fields = (*inputs.fields, *about)

    def arguments(self, values: Sequence[bytes | None]) -> bytes:
        return self._inputs.arguments(values[: -self._extra])

    def around(self, values: Sequence[bytes | None]) -> Around:
        return _around(*values[-self._extra :])


def _around(
    record: bytes | None, heard: bytes | None, header: bytes | None, parent: bytes | None, pins: bytes | None
) -> Around:
    assert record is not None
    assert header is not None
    return Around(
        node_record(record),
        Outcome.read(heard) if heard else None,
        unpack(header)[2],
        Parent.read(parent) if parent else None,
        pins or pack({}),
    )


class ChildUndoInputs:
    """The inputs of the undo of a node that has begun a child run: what it heard of that, and which undoing it is."""

    gate = None

    def __init__(self, node: int) -> None:
        self.fields = (f"node:{node}", f"child:{node}", "compensation", "parent", "header", "pins")

    def arguments(self, values: Sequence[bytes | None]) -> bytes:
        return pack({})

    def around(self, values: Sequence[bytes | None]) -> tuple[Around, int]:
        """What stands around the node that is undone, and how often undoing was begun in its run."""
        record, heard, walk, parent, header, pins = values
        return _around(record, heard, header, parent, pins), int(walk or 0)
