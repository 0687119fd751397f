"""What the parts of the reference model use of each other: its fields, and what one of them has for the others."""

from __future__ import annotations

from typing import Any, Protocol

from tests.model.answers import Answer
from tests.model.records import NodeModel
from tests.model.shape import Shape


class Parts(Protocol):
    """See ``RunModel``, which is made of all of them, for what the fields mean."""

    shape: Shape
    parent: str
    news: dict[int, str]
    nodes: dict[int, NodeModel]
    halt: str
    failed_node: int | None
    now: float
    deadline: float | None
    timers: dict[int, float]
    checkpoints: dict[int, bytes]
    seen: dict[int, tuple[int | str, ...]]
    signals: dict[int, str]
    counts: dict[int, int]
    missed: dict[tuple[str, int], int]
    remembered: list[tuple[Any, ...]]
    undos: str
    compensation: int | None
    blocked: dict[int, str]
    kept_end: tuple[str, int | None, bytes] | None
    begun: int
    has_begun_more: bool
    failures: int
    paused: str
    left: set[int] | None
    forgotten: frozenset[int]
    unlisted: frozenset[int]
    altered: bool
    reopened: bool
    lives: int
    told_life: int

    # Of the run.

    @property
    def walk(self) -> int: ...

    @property
    def remaining(self) -> int: ...

    @property
    def status(self) -> str: ...

    @property
    def cause(self) -> str: ...

    @property
    def has_ended(self) -> bool: ...

    @property
    def terminated(self) -> bool: ...

    @property
    def outbox(self) -> set[int]: ...

    @property
    def retrying(self) -> set[int]: ...

    def note_outcome(self, node: int, state: str) -> None: ...

    def intend(self, compensates: bool) -> None: ...

    def remember_attempt(self, node: int, state: str, cause: str) -> None: ...

    def begin_undos(self) -> None: ...

    def make_ready(self, word: str, node: int, record: NodeModel) -> Answer: ...

    # Of telling.

    def arrived(self, node: int) -> int: ...

    def missing(self, group: str, node: int) -> int: ...

    def begin_hooks(self) -> bool: ...

    def tell_first(self, word: str, node: int) -> Answer: ...

    def told_before(self, word: str, node: int, start: int, names_hooks: bool = True) -> Answer: ...

    def has_heard_all(self, undo: int) -> bool: ...

    def undoes(self, node: int) -> bool: ...

    def waits(self, node: int) -> bool: ...

    def fresh(self, node: int, state: str) -> NodeModel: ...

    # Of steering, and of the family.

    def enter_outbox(self, node: int) -> None: ...

    def reach_parent(self) -> bool: ...

    def has_told_parent(self) -> bool: ...

    def spread_to_parent(self) -> Answer: ...
