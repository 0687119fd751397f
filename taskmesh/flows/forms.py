"""How a kind of step stands in a flow file: its keys, and what reads and writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from taskmesh.flows.choices import Reading
from taskmesh.flows.document import Item
from taskmesh.model.policies import NO_LIMITS, RetryPolicy, TimeLimits
from taskmesh.model.problems import Path
from taskmesh.model.steps import Step
from taskmesh.model.values import Value

Fields = Mapping[str, Item]


class Said(NamedTuple):
    """What a flow file says of a step: what is fixed, and what may hold references, which becomes the node's args.

    Its node has the policies, too, where the kind has keys for them.
    """

    step: Step
    args: Mapping[str, Value]
    retry: RetryPolicy | None = None
    limits: TimeLimits = NO_LIMITS


class Form(NamedTuple):
    """How one kind stands in a flow file.

    ``keys`` are those that it adds to a node, the one that names the kind included; ``properties`` describes each of
    them as JSON Schema. ``read`` gets all fields of a node, the path to it, and what gathers problems; ``write`` is the
    other way round. ``required`` are the keys that must be there, where that is not the one that names it alone.
    """

    keys: tuple[str, ...]
    properties: Mapping[str, Any]
    read: Callable[[Fields, Path, Reading], Said]
    write: Callable[[Any, Mapping[str, Value]], dict[str, Any]]
    required: tuple[str, ...] = ()
