"""Situations of a node that waits for a signal."""

from __future__ import annotations

from tests.model.case import situations_of
from tests.model.lives import SLICE
from tests.model.shape import Shape

ONE = Shape(((),), ("one",), SLICE)

_SIGNALLED = {
    "its signal came early": (("signal", 0, "one"),),
    "its signal came while it ran": (("claim", 0), ("signal", 0, "one")),
    "its signal came while it was parked": (("claim", 0), ("retry", 0, 50.0, False), ("signal", 0, "one")),
    "its signal came while its run was paused": (
        *(("claim", 0), ("retry", 0, 50.0, False), ("pause",), ("signal", 0, "one")),
    ),
    "its signal came while its run was halted": (
        *(("claim", 0), ("retry", 0, 50.0, False), ("halt",), ("signal", 0, "one")),
    ),
    "it is parked with a timer that was lost": (("claim", 0), ("retry", 0, 50.0, False), ("lose_timer", 0)),
    "it runs with its signal": (("signal", 0, "one"), ("claim", 0)),
    "it has ended with its signal": (("signal", 0, "one"), ("work", 0)),
    "it has failed with its signal, and its run is reopened": (
        *(("signal", 0, "one"), ("work", 0, "failed"), ("reopen", "retry")),
    ),
    "it waits for another signal": (
        *(("signal", 0, "one"), ("work", 0, "failed"), ("reopen", "retry"), ("reset_all", "retry")),
        ("resume", "retry"),
    ),
    "it was cancelled before its signal was seen, and its run is reopened": (
        *(("signal", 0, "one"), ("halt",), ("work", 0, "cancelled"), ("reopen", "retry")),
    ),
    "its signal is still there in the reopened run": (
        *(("signal", 0, "one"), ("halt",), ("work", 0, "cancelled"), ("reopen", "retry"), ("reset_all", "retry")),
        ("resume", "retry"),
    ),
    "it was parked when its run was terminated": (("claim", 0), ("retry", 0, 50.0, False), ("terminate",)),
    "it was parked when its run was terminated and reopened": (
        *(("claim", 0), ("retry", 0, 50.0, False), ("terminate",), ("reopen", "retry")),
    ),
}

SIGNALLED = situations_of(_SIGNALLED, ONE)
