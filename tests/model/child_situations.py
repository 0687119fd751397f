"""Situations of runs that begin others, and of those that are begun."""

from __future__ import annotations

from taskmesh.model.flow import OnFailure
from tests.model.case import Situation, situations_of
from tests.model.every_call import PARENT
from tests.model.shape import BEFORE_UNDOS, TO_PARENT, Shape

CHAIN = Shape(((), (0,)), ("one", "two"), 2)
UNDOABLE = Shape(((), (0,)), ("one", "two"), 2, frozenset({0}))

_WAITING = {
    "a node waits for a child": (("claim", 0), ("wait", 0)),
    "a node waits for a child, and its timer is over": (("claim", 0), ("wait", 0), ("pass_time", 60.0)),
    "a node waits for a child in a halted run": (("claim", 0), ("wait", 0), ("halt",)),
    "a node waits for a child in a paused run": (("claim", 0), ("pause",), ("wait", 0)),
    "a node waited for a child when its run was terminated": (("claim", 0), ("wait", 0), ("terminate",)),
    "a node waits for another child": (("claim", 0), ("wait", 0, "c2")),
    "a node runs that has heard of a child": (("claim", 0), ("tell", 0)),
    "a node has heard of a child before it waits": (("claim", 0), ("tell", 0), ("wait", 0)),
    "a node has heard of another child before it waits": (("claim", 0), ("tell", 0, "c2"), ("wait", 0)),
    "a node has heard of its child": (("claim", 0), ("wait", 0), ("tell", 0)),
    "a node has heard of its child in a halted run": (("claim", 0), ("wait", 0), ("halt",), ("tell", 0)),
    "a node has ended with its child": (("claim", 0), ("wait", 0), ("tell", 0), ("work", 0)),
    "a node has failed with its child, and its run is reopened": (
        *(("claim", 0), ("wait", 0), ("tell", 0), ("work", 0, "failed"), ("reopen", "retry")),
    ),
    "a node that waited for a child was skipped by hand": (("claim", 0), ("wait", 0), ("mark", 0, "skipped")),
}

_CHILD = {
    "a child goes on": (("work", 0),),
    "a child has ended": (("work", 0), ("work", 1)),
    "a child has failed": (("work", 0, "failed"),),
    "a child was cancelled": (("halt",), ("work", 0, "cancelled")),
    "a child was ended by hand": (("mark", 0, "skipped"),),
    "a child was terminated": (("terminate",),),
    "a child has told its end": (("work", 0), ("work", 1), ("spread", TO_PARENT)),
    "a child has told that it was terminated": (("terminate",), ("spread", TO_PARENT)),
    "a child is reopened before it has told": (("work", 0, "failed"), ("reopen", "retry")),
    "a child is reopened after it has told": (("work", 0, "failed"), ("spread", TO_PARENT), ("reopen", "retry")),
    "a child that is reopened has nothing to do": (
        *(("work", 0), ("work", 1, "failed"), ("reopen", "retry"), ("mark", 1, "succeeded")),
    ),
}

_DONE = (("work", 0), ("work", 1), ("spread", TO_PARENT))
_UNDONE = (*_DONE, ("compensate", "undo of it"))

_UNDONE_CHILD = {
    "a child can be undone": _DONE,
    "a child is undone by itself": (("work", 0), ("work", 1, "failed"), ("pass_time", 1.0)),
    "a child is undone for its parent": _UNDONE,
    "a child was undone for its parent": (*_UNDONE, ("spread", BEFORE_UNDOS), ("spread", 3), ("work", 2)),
    "a child could not be undone": (*_UNDONE, ("spread", BEFORE_UNDOS), ("spread", 3), ("work", 2, "failed")),
}

FAMILY: dict[str, Situation] = {
    **situations_of(_WAITING, CHAIN),
    **situations_of(_CHILD, CHAIN, parent=PARENT),
    **situations_of(_UNDONE_CHILD, UNDOABLE, parent=PARENT, on_failure=OnFailure.COMPENSATE),
}
