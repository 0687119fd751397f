"""What ``on`` of a flow may refer to: one event, or the events of a batch."""

from __future__ import annotations

from taskmesh.model.events.on_event import EVENT, FIELDS
from taskmesh.model.problems import Path
from taskmesh.model.references import Compiler
from taskmesh.model.resolving import Resolver, follow, steps_of

EVENTS, BATCH = "events", "batch"
"""What references call the events of a batch, and what else is known of it."""

BATCH_FIELDS = ("key", "size", "opened_at")

_ENDS = ("0", "-1")


class EventCompiler(Compiler):
    """Compiles a value that knows an event and nothing else."""

    forms = "write ${event.data.KEY}, ${event.id}, ${event.type} or ${event.source}, and $${ where ${ is meant"

    def resolver_of(self, parts: list[str], path: Path) -> Resolver | None:
        root, *keys = parts
        if root != EVENT or not all(keys) or (keys and keys[0] not in FIELDS):
            return None
        return _resolver(root, keys)


class BatchCompiler(Compiler):
    """Compiles a value that knows the events of a batch. It has no third one for sure, but a first and a last."""

    forms = (
        "write ${events}, ${events.0.data.KEY} or ${events.-1.data.KEY} (the first and the last), ${batch.key}, "
        "${batch.size} or ${batch.opened_at}, and $${ where ${ is meant"
    )

    def resolver_of(self, parts: list[str], path: Path) -> Resolver | None:
        root, *keys = parts
        if not all(keys) or not (_is_of_events(keys) if root == EVENTS else root == BATCH and _is_of_batch(keys)):
            return None
        return _resolver(root, keys)


def _is_of_events(keys: list[str]) -> bool:
    return not keys or (keys[0] in _ENDS and (len(keys) == 1 or keys[1] in FIELDS))


def _is_of_batch(keys: list[str]) -> bool:
    return len(keys) == 1 and keys[0] in BATCH_FIELDS


def _resolver(root: str, keys: list[str]) -> Resolver:
    steps = steps_of(keys)
    return lambda params, outputs: follow(params[root], steps, (root,))
