"""What must be known of a run, so that one of its nodes can begin a child run, or have it undone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from taskmesh.dispatch.inputs import Inputs
from taskmesh.store.calls import NodeKey
from taskmesh.store.family import Outcome, Parent, child_id
from taskmesh.store.reader import NodeRecord, node_record
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
        record, heard, header, parent, pins = values[-self._extra :]
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
        self.fields = (f"child:{node}", "compensation", "parent")

    def arguments(self, values: Sequence[bytes | None]) -> bytes:
        return pack({})

    def child(self, values: Sequence[bytes | None]) -> tuple[Outcome | None, int, Parent | None]:
        """How the child ended, and how often its parent's undoing was begun."""
        heard, walk, parent = values
        return Outcome.read(heard) if heard else None, int(walk or 0), Parent.read(parent) if parent else None
