"""What a node type has to be: all that an author of one relies on. It changes only together with its version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from taskmesh.model.values import Value

INTERFACE_VERSION = 1

ENTRY_POINT_GROUP = "taskmesh.node_types"


class NodeContext(Protocol):
    """What a node may know of itself while it runs, and say; what ``taskmesh.current_task()`` gives, too."""

    @property
    def run_id(self) -> str: ...

    @property
    def node(self) -> str: ...

    @property
    def attempt(self) -> int:
        """Counts from 1."""

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this node."""

    @property
    def deadline(self) -> float | None:
        """When the run must have ended, in epoch seconds."""

    def heartbeat(self, details: Any = None) -> None:
        """Say that the node goes on.

        :raises TaskCancelledError: it should end; let it through.
        """


class NodeType(Protocol):
    """A kind of nodes. One object serves all nodes of its type in a process, from several threads at once.

    ``name`` is what flows write as ``type``. ``interface`` is the version of this interface that the class was written
    for. ``schema`` is the JSON Schema (draft 2020-12) of what stands below ``with``; it describes an object, refers to
    nothing outside itself, and does not change.
    """

    @property
    def name(self) -> str: ...

    @property
    def interface(self) -> int: ...

    @property
    def schema(self) -> Mapping[str, Any]: ...

    def validate(self, config: dict[str, Any]) -> Iterable[str]:
        """One sentence for each rule that ``config`` breaks although it fits the schema.

        Asked when a flow is loaded, where no reference stands in the way, and before each attempt. It must not change
        anything, and not ask anybody.
        """

    def execute(self, config: dict[str, Any], context: NodeContext) -> Value:
        """Do it, in a process for user code; what it returns is the output of the node, and an exception its failure.

        At least once: an attempt whose worker dies is followed by another one.
        """
