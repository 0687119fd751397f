"""Situations of hooks: of nodes, and of the flow."""

from __future__ import annotations

from taskmesh.model.hooks import Hook
from taskmesh.model.triggers import Rule, Trigger
from tests.model.case import Situation, situations_of
from tests.model.lives import SLICE
from tests.model.shape import BEFORE_HOOKS, Shape

_HOOKS = tuple(Trigger(hook=each) for each in Hook)

OF_NODE = Shape(((), (0,), (0,), (0,)), ("one", "two", "one", "two"), SLICE, triggers=dict(enumerate(_HOOKS, 1)))
"""Nodes 1, 2 and 3 observe node 0."""
OF_LAST = Shape(((), (0,), (1,)), ("one", "two", "one"), SLICE, triggers={2: _HOOKS[1]})
"""Node 2 observes node 1, which may be left out."""
OF_FLOW = Shape(
    *(((), (), (), ()), ("one", "two", "one", "two"), SLICE, frozenset({0})),
    triggers={2: _HOOKS[0], 3: _HOOKS[1]},
)
"""Nodes 2 and 3 are of the flow of the other two, one of which can be undone."""
ALWAYS = Shape(((), ()), ("two", "one"), SLICE, triggers={1: _HOOKS[2]})
SEEN_AND_TAKEN = Shape(
    ((), (0,), (0,)), ("one", "two", "one"), SLICE, triggers={1: _HOOKS[1], 2: Trigger(Rule.ANY_FAILED)}
)
"""Node 1 observes the failure that node 2 takes."""

_OF_NODE = {
    "a node with hooks runs": (("claim", 0),),
    "some hooks know of a success": (("work", 0),),
    "all hooks know of a success": (("work", 0), ("spread", 0, 1)),
    "some hooks know of a failure": (("work", 0, "failed"),),
    "all hooks know of a failure": (("work", 0, "failed"), ("spread", 0, 1)),
    "all hooks know of a failure that halts the run": (("work", 0, "failed", "failed"), ("spread", 0, 1)),
    "some hooks know of a cancelling": (("halt",), ("work", 0, "cancelled")),
    "all hooks know of a skip": (("work", 0, "skipped"), ("spread", 0, 1)),
    "a hook runs": (("work", 0), ("spread", 0, 1), ("work", 1), ("claim", 3)),
    "the last hook runs after a failure": (("work", 0, "failed"), ("spread", 0, 1), ("work", 2), ("claim", 3)),
    "the last hook runs, and another has failed": (("work", 0), ("spread", 0, 1), ("work", 1, "failed"), ("claim", 3)),
    "a hook is to be tried again": (("work", 0), ("claim", 1), ("retry", 1)),
    "a hook was ended by hand before its node": (("mark", 1, "succeeded"), ("claim", 0)),
    "a run with hooks has failed": (("work", 0, "failed"), ("spread", 0, 1), ("work", 2), ("work", 3)),
    "a run with hooks is reopened": (
        *(("work", 0, "failed"), ("spread", 0, 1), ("work", 2), ("work", 3), ("reopen", "retry")),
    ),
    "a run with hooks was retried": (
        *(("work", 0, "failed"), ("spread", 0, 1), ("work", 2), ("work", 3)),
        *(("reopen", "retry"), ("reset_all", "retry"), ("resume", "retry"), ("claim", 0)),
    ),
}

_OF_LAST = {
    "what is observed may be left out": (("claim", 0),),
    "what is observed was left out": (("work", 0, "failed"),),
    "what is observed runs": (("work", 0), ("claim", 1)),
}

_FAILED = (("work", 0), ("work", 1, "failed"))

_OF_FLOW = {
    "the last two nodes of a flow with hooks run": (("claim", 0), ("claim", 1)),
    "the last node of a flow with hooks runs": (("work", 0), ("claim", 1)),
    "the last node of a flow with hooks is to be tried again": (("work", 0), ("claim", 1), ("retry", 1)),
    "the hooks of the flow are to be told": (("work", 0), ("work", 1)),
    "the hooks of the flow are to be told of a failure": _FAILED,
    "the hooks of the flow are to be told, and it is cancelled": (("work", 0), ("work", 1), ("halt",)),
    "the hooks of the flow were told": (("work", 0), ("work", 1), ("spread", BEFORE_HOOKS)),
    "the hooks of the flow were told of a failure": (*_FAILED, ("spread", BEFORE_HOOKS)),
    "the hooks of the flow were told of a failure that halts it": (
        *(("work", 0), ("work", 1, "failed", "failed"), ("spread", BEFORE_HOOKS)),
    ),
    "the hooks of the flow were told of a cancelling": (
        *(("halt",), ("work", 0, "cancelled"), ("work", 1, "cancelled")),
    ),
    "a hook of the flow runs": (*_FAILED, ("spread", BEFORE_HOOKS), ("claim", 3)),
    "a hook of the flow runs, and its run is cancelled": (*_FAILED, ("spread", BEFORE_HOOKS), ("claim", 3), ("halt",)),
    "a hook of the flow runs, and its run is paused": (*_FAILED, ("spread", BEFORE_HOOKS), ("claim", 3), ("pause",)),
    "a hook of the flow has failed": (("work", 0), ("work", 1), ("spread", BEFORE_HOOKS), ("work", 2, "failed")),
    "a hook of the flow is cut off": (*_FAILED, ("spread", BEFORE_HOOKS), ("claim", 3), ("terminate",)),
    "hooks of the flow were told, and it is reopened": (
        *(*_FAILED, ("spread", BEFORE_HOOKS), ("work", 3), ("reopen", "retry")),
    ),
    "hooks of the flow were not told, and it is reopened": (*_FAILED, ("terminate",), ("reopen", "retry")),
    "hooks of the flow wait again": (
        *(*_FAILED, ("spread", BEFORE_HOOKS), ("work", 3), ("reopen", "retry"), ("reset_all", "retry")),
        *(("resume", "retry"), ("claim", 1)),
    ),
    "only hooks of the flow are left when it is resumed": (
        *(("work", 0), ("work", 1), ("spread", BEFORE_HOOKS), ("claim", 2), ("terminate",), ("reopen", "retry")),
        *(("reset_all", "retry"),),
    ),
}

_ALWAYS = {
    "a hook is all that is left": (("work", 0, "failed", "failed"), ("spread", BEFORE_HOOKS)),
    "a hook was all that was left": (("work", 0), ("spread", BEFORE_HOOKS), ("work", 1)),
    "a hook was all that was left, and is run again": (
        *(("work", 0), ("spread", BEFORE_HOOKS), ("work", 1), ("reopen", "rerun n0")),
    ),
}

_UNDONE = {
    "the hooks of a flow that is undone are to be told": (("work", 0), ("work", 1, "failed", "failed")),
    "the last hook of a flow that is undone runs": (
        *(("work", 0), ("work", 1, "failed", "failed"), ("spread", BEFORE_HOOKS), ("claim", 3)),
    ),
}

_FORKED = {
    "a fork has hooks": (),
    "a fork has inherited all but hooks": (("inherit", (0, 1)), ("reset_all", "fork of another")),
}

_TAKEN = {
    "a failure is observed and taken": (("work", 0, "failed"),),
    "a failure was taken, and is observed": (("work", 0, "failed"), ("work", 2), ("claim", 1)),
    "a failure was observed, and is taken": (("work", 0, "failed"), ("work", 1, "failed"), ("claim", 2)),
}

HOOKED: dict[str, Situation] = {
    **situations_of(_OF_NODE, OF_NODE),
    **situations_of(_OF_LAST, OF_LAST),
    **situations_of(_OF_FLOW, OF_FLOW),
    **situations_of(_ALWAYS, ALWAYS),
    **situations_of(_UNDONE, OF_FLOW, on_failure="compensate"),
    **situations_of(_FORKED, OF_FLOW, forked=True),
    **situations_of(_TAKEN, SEEN_AND_TAKEN),
}
