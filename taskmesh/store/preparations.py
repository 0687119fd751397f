"""What is prepared of a run before it goes on or begins: nodes that are reset, and what a fork takes over."""

from __future__ import annotations

from typing import NamedTuple


class Reset(NamedTuple):
    """A node of a reopened run as it was seen, and as it shall be: ready, skipped, or waiting with so many ``arrived``.

    One that is to be ``continued`` is ready, and goes on with the child run that it has begun. ``state`` is empty where
    there is no record; ``arrived`` and ``skipped``, of the nodes that it needs, are -1 where that is not counted.
    ``pool`` is a number. ``follows`` is the copy that begins after one that waits, where only so many may run at once;
    -1 where that is its neighbour. The place before the hooks of the flow comes after those, as one that waits with so
    many ``arrived`` as there are hooks.
    """

    node: int
    state: str
    token: int
    wanted: str
    arrived: int
    skipped: int
    pool: int
    follows: int = -1


class Fork(NamedTuple):
    """Where a fork comes from, and what it takes over from there, both packed. ``kind`` is that of its pause."""

    kind: str
    origin: bytes
    inherits: bytes


class Inheritance(NamedTuple):
    """A node, and the output that it has in another run."""

    node: int
    output: bytes
