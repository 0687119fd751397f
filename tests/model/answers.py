"""What the scripts and the reference model answer."""

from __future__ import annotations

from typing import NamedTuple

RUN_DEADLINE = -3
"""As the node of a timer: the run itself."""

RUN_HALTED = -2
"""As the node of a timer: the run itself, which stands among the halted ones until it has ended."""

RUN_IS_CHILD = -7
"""As the node of a timer: the run itself, which ends with its parent; it is looked whether that still waits for it."""

CHILD_LOOK_SECONDS = 10.0
"""When that is looked at first."""

CONTEXT = b"what is said of a request"
"""The context of every run here: each claim of each node brings it."""


class Answer(NamedTuple):
    """What a call answers, as far as it depends on the state."""

    word: str
    numbers: tuple[int, ...] = ()
    text: str = ""
    ready: tuple[int, ...] = ()
    skipped: tuple[int, ...] = ()
    checkpoint: bytes = b""
    seen: tuple[int | str, ...] = ()
