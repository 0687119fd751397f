"""Situations that a run can be in: between them, they hold each script to every answer that it has."""

from __future__ import annotations

from taskmesh.model.flow import OnFailure
from tests.model.case import LEASE_SECONDS, situations_of
from tests.model.child_situations import FAMILY
from tests.model.hook_situations import HOOKED
from tests.model.lives import SLICE
from tests.model.ruled_situations import RULED
from tests.model.shape import BEFORE_UNDOS, ROOT, Shape
from tests.model.signalled_situations import SIGNALLED
from tests.model.steering import FORK

ONE = Shape(((),), ("one",), SLICE)
CHAIN = Shape(((), (0,), (1,)), ("one", "two", "one"), SLICE)
JOIN = Shape(((), (), (0, 1)), ("one", "two", "two"), SLICE)
FAN = Shape(((), (0,), (0,), (0,)), ("one", "two", "two", "one"), SLICE)
"""Node 0 tells its dependents in two slices."""
FAN_OF_CHAINS = Shape(((), (0,), (0,), (1,), (2,)), ("one", "two", "two", "one", "two"), SLICE)
LATE_JOIN = Shape(((), (0,), (), (1, 2)), ("one", "two", "one", "two"), SLICE)
WIDE = Shape(((), (), ()), ("one", "two", "one"), SLICE)
"""The first nodes are too many for one script."""
BOUND = Shape(((), (), (), ()), ("one",) * 4, SLICE, bound=2)
"""Copies of one node, of which two may run at once."""
UNDOABLE_CHAIN = Shape(((), (0,), (1,)), ("one", "two", "one"), SLICE, frozenset({0, 1}))
UNDOABLE_FORK = Shape(((), (0,), (0,)), ("one", "two", "one"), SLICE, frozenset({0, 1}))
"""Nothing undoes node 2. The undo of node 0 comes after both others."""
UNDOABLE_FAN = Shape(((), (0,), (0,), (0,)), ("one", "two", "one", "two"), SLICE, frozenset({0, 1, 2, 3}))
UNDOABLE_ROOTS = Shape(((), (), ()), ("one", "two", "one"), SLICE, frozenset({0, 1}))

_LEASES_ARE_OVER = (("pass_time", LEASE_SECONDS), ("renew", "second"))
_FORK_IS_DONE = (("work", 0), ("work", 1), ("work", 2, "failed", "failed"))
_FORK_UNDONE_TO_THE_LAST = (*_FORK_IS_DONE, ("spread", BEFORE_UNDOS), ("spread", 5), ("work", 4))
_FAN_FAILED = (("work", 0), ("spread", 0, 1), ("work", 1), ("work", 2), ("work", 3, "failed", "failed"))

_ONE = {
    "a node is ready": (),
    "it runs": (("claim", 0),),
    "it runs, with a checkpoint": (("claim", 0), ("beat", 0, b"some")),
    "it was handed back": (("claim", 0), ("beat", 0, b"some"), ("release", 0)),
    "its holder has left": (("claim", 0), ("leave", "first")),
    "the lease of its holder is over": (("claim", 0), *_LEASES_ARE_OVER),
    "it was taken over": (("claim", 0), *_LEASES_ARE_OVER, ("claim", 0, "second")),
    "it was published again": (("redrive", 0),),
    "it waits for its next attempt": (("claim", 0), ("retry", 0)),
    "its next attempt is due": (("claim", 0), ("retry", 0), ("pass_time", 1.0)),
    "its timer was lost": (("claim", 0), ("retry", 0), ("lose_timer", 0)),
    "it runs for the second time": (("claim", 0), ("retry", 0, 0.0), ("wake", 0), ("claim", 0)),
    "it was left to another worker": (("claim", 0), ("retry", 0, 0.0, False)),
    "its run has succeeded": (("work", 0),),
    "its run has failed": (("work", 0, "failed"),),
    "its run has failed fast": (("work", 0, "failed", "failed"),),
    "it was ended by hand": (("mark", 0, "succeeded"),),
    "it was skipped by hand while it ran": (("claim", 0), ("mark", 0, "skipped")),
    "its run is paused": (("pause",),),
    "its run is paused while it runs": (("claim", 0), ("pause",)),
    "its run is paused while it waits": (("claim", 0), ("retry", 0), ("pause",)),
    "its run was resumed": (("pause",), ("resume",)),
    "its run is halted": (("halt",),),
    "its run is halted while it runs": (("claim", 0), ("halt", "failed")),
    "its run is halted while it waits": (("claim", 0), ("retry", 0), ("halt",)),
    "its run is halted after a retry": (("claim", 0), ("retry", 0), ("pass_time", 1.0), ("wake", 0), ("halt",)),
    "its run was paused, then halted": (("pause",), ("halt",)),
    "it runs for the second time in a halted run": (
        *(("claim", 0), ("retry", 0, 0.0), ("wake", 0), ("claim", 0), ("halt",)),
    ),
    "its run was cancelled": (("halt",), ("work", 0, "cancelled")),
    "its run is terminated": (("terminate",),),
    "its run is terminated while it runs": (("claim", 0), ("terminate",)),
    "its run is terminated while it waits": (("claim", 0), ("retry", 0), ("terminate",)),
    "its run is terminated while it is paused": (("pause",), ("terminate",)),
    "its run is terminated and looked after": (("claim", 0), ("terminate",), ("redrive", 0)),
    "its terminated run is reopened": (("claim", 0), ("terminate",), ("reopen", "retry")),
    "its terminated run is reopened while it waits": (
        *(("claim", 0), ("retry", 0), ("terminate",), ("reopen", "retry")),
    ),
    "its failed run is reopened": (("work", 0, "failed", "failed"), ("reopen", "retry")),
    "its failed run is reopened and it is reset": (
        *(("work", 0, "failed"), ("reopen", "retry"), ("reset_all", "retry")),
    ),
    "its failed run goes on": (
        *(("work", 0, "failed"), ("reopen", "retry"), ("reset_all", "retry"), ("resume", "retry")),
    ),
    "it runs again in its failed run": (
        *(("work", 0, "failed"), ("reopen", "retry"), ("reset_all", "retry"), ("resume", "retry"), ("claim", 0)),
    ),
    "its run has succeeded and is reopened": (("work", 0), ("reopen", "retry")),
    "its run has succeeded and is reopened for all": (("work", 0), ("reopen", "rerun n0")),
    "it is reset after it had a checkpoint": (
        *(("claim", 0), ("beat", 0, b"some"), ("settle", 0, "succeeded"), ("reopen", "rerun n0")),
        *(("reset_all", "rerun n0", 0), ("resume", "rerun n0")),
    ),
}

_CHAIN = {
    "a signal came for the second node": (("signal", 1, "one"),),
    "the second node is ready": (("work", 0),),
    "the second node runs in a halted run": (("work", 0), ("claim", 1), ("halt",)),
    "the first node has failed": (("work", 0, "failed"),),
    "the first node has failed, which halts": (("work", 0, "failed", "failed"),),
    "the last node was skipped": (("work", 0), ("work", 1, "failed")),
    "the last node runs": (("work", 0), ("work", 1), ("claim", 2)),
    "the last node was ended by hand before the others": (("mark", 2, "succeeded"),),
    "the second node was ended by hand before the first": (("mark", 1, "succeeded"),),
    "the first node runs, the second was ended by hand": (("claim", 0), ("mark", 1, "succeeded")),
    "the second node was skipped by hand": (("mark", 1, "skipped"),),
    "the first node has failed, and the run is reopened": (
        *(("work", 0, "failed"), ("spread", 1), ("reopen", "retry")),
    ),
    "the run is reopened from the middle": (
        *(("work", 0), ("work", 1), ("work", 2), ("reopen", "rerun n1"), ("reset_all", "rerun n1", 1)),
    ),
    "the run that was reopened from the middle goes on": (
        *(("work", 0), ("work", 1), ("work", 2), ("reopen", "rerun n1"), ("reset_all", "rerun n1", 1)),
        ("resume", "rerun n1"),
    ),
    "a node of the reopened run waits for a node that runs": (
        *(("work", 0), ("work", 1), ("work", 2), ("reopen", "rerun n0"), ("reset_all", "rerun n0", 0)),
        *(("resume", "rerun n0"), ("claim", 0)),
    ),
}

_JOIN = {
    "one of two has succeeded": (("work", 0),),
    "one of two runs, the other has succeeded": (("work", 0), ("claim", 1)),
    "one of two has failed": (("work", 0, "failed"),),
    "one of two has failed, the other runs": (("work", 0, "failed"), ("claim", 1)),
    "one of two was retried, the other runs": (("claim", 0), ("retry", 0, 50.0), ("claim", 1)),
    "one of two was retried, the other has halted the run": (
        *(("claim", 0), ("retry", 0, 50.0), ("work", 1, "failed", "failed")),
    ),
    "one of two runs while the run is paused": (("claim", 0), ("pause",)),
    "one of two has halted a paused run": (("claim", 0), ("pause",), ("settle", 0, "failed", "failed")),
    "the join is ready": (("work", 0), ("work", 1)),
    "the join has succeeded": (("work", 0), ("work", 1), ("work", 2)),
    "the join is to run again": (
        *(("work", 0), ("work", 1), ("work", 2, "failed"), ("reopen", "retry"), ("reset_all", "retry")),
    ),
    "one of two is to run again": (
        *(("work", 0), ("work", 1), ("work", 2), ("reopen", "rerun n0"), ("reset_all", "rerun n0", 0)),
    ),
    "one of two runs again": (
        *(("work", 0), ("work", 1), ("work", 2), ("reopen", "rerun n0"), ("reset_all", "rerun n0", 0)),
        *(("resume", "rerun n0"), ("claim", 0)),
    ),
    "one of two was marked": (("mark", 0, "succeeded"),),
    "one of two was marked after the join": (("mark", 2, "succeeded"), ("work", 0)),
    "a failed one of two is to run again": (("work", 0, "failed"), ("work", 1), ("reopen", "retry")),
    "both of two are to run again": (("work", 0), ("work", 1, "failed"), ("reopen", "rerun n0")),
}

_LATE_JOIN = {
    "a node was skipped that another node would skip, too": (("work", 2, "failed"), ("work", 0, "failed")),
}

_FAN = {
    "two of three were told": (("work", 0),),
    "two of three were told, and the run is halted": (("work", 0), ("halt",)),
    "two of three were told, and the run is paused": (("work", 0), ("pause",)),
    "two of three were told, and the run is terminated": (("work", 0), ("terminate",)),
    "two of three were told, and the run is reopened": (("work", 0), ("terminate",), ("reopen", "retry")),
    "all three were told": (("work", 0), ("spread", 0, 1)),
    "two of three were told of a failure": (("work", 0, "failed"),),
    "two of three were told by hand": (("mark", 0, "succeeded"),),
    "two of three were told of a skip": (("mark", 0, "skipped"),),
}

_FAN_OF_CHAINS = {
    "two that were skipped must tell": (("work", 0, "failed"),),
    "one that was skipped has told": (("work", 0, "failed"), ("spread", 1)),
}

_WIDE = {
    "two of three first nodes were told": (),
    "all three first nodes were told": (("spread", ROOT, 1),),
}

_THREE_FAILED = tuple(("work", at, "failed" if at < 3 else "succeeded") for at in range(4))
_THREE_RESET = (*_THREE_FAILED, ("reopen", "retry"), ("reset_all", "retry"))

_BOUND = {
    "two copies of four have begun": (),
    "one of two copies runs": (("claim", 0),),
    "one of two copies has ended": (("work", 0),),
    "one of two copies has ended, and the next runs": (("work", 0), ("claim", 2)),
    "one of two copies was retried": (("claim", 0), ("retry", 0)),
    "one of two copies was handed back": (("claim", 0), ("release", 0)),
    "the last copies have begun": (("work", 1), ("work", 0), ("claim", 3)),
    "one copy is left": (("work", 0), ("work", 1), ("work", 2), ("claim", 3)),
    "all copies have ended": (("work", 0), ("work", 1), ("work", 2), ("work", 3, "failed")),
    "a copy has failed": (("work", 0, "failed"),),
    "a copy has failed, which halts": (("work", 0, "failed", "failed"),),
    "a copy has failed, which one may": (("claim", 1), ("settle", 1, "failed", "failed", None, None, 1)),
    "a copy runs in a halted run": (("claim", 0), ("halt",)),
    "a halted run has left copies out": (("halt",), ("work", 1, "cancelled")),
    "a run of copies is paused": (("claim", 0), ("pause",)),
    "the next copy is ready in a paused run": (("claim", 0), ("pause",), ("settle", 0, "succeeded")),
    "a run of copies is terminated": (("claim", 0), ("terminate",)),
    "a copy was ended by hand": (("claim", 0), ("mark", 0, "skipped")),
    "a run of copies is reopened": (*_THREE_FAILED, ("reopen", "retry")),
    "copies are reset, and one waits that nothing follows": _THREE_RESET,
    "copies run again": (*_THREE_RESET, ("resume", "retry"), ("claim", 0)),
    "the last of the copies has begun again": (*_THREE_RESET, ("resume", "retry"), ("work", 1)),
    "a run of copies is halted again": (*_THREE_RESET, ("resume", "retry"), ("work", 1, "failed", "failed")),
}

_UNDOABLE_FORK = {
    "one branch runs": (("work", 0), ("claim", 1)),
    "one branch runs, the other has succeeded": (("work", 0), ("work", 1), ("claim", 2)),
    "a fork is cancelled, to be undone": (("work", 0), ("halt", "cancelled", True)),
    "one branch has failed": (("work", 0), ("work", 1, "failed", "failed")),
    "undoing has begun": _FORK_IS_DONE,
    "the first undos were told": (*_FORK_IS_DONE, ("spread", BEFORE_UNDOS)),
    "an undo runs": (*_FORK_IS_DONE, ("spread", BEFORE_UNDOS), ("claim", 4)),
    "an undo is to be tried again": (*_FORK_IS_DONE, ("spread", BEFORE_UNDOS), ("claim", 4), ("retry", 4)),
    "the last undo waits for both others": (*_FORK_IS_DONE, ("spread", BEFORE_UNDOS), ("work", 4)),
    "one of two undos runs, the other has told": (
        *(*_FORK_IS_DONE, ("spread", BEFORE_UNDOS), ("spread", 5), ("claim", 4)),
    ),
    "the last undo is ready": _FORK_UNDONE_TO_THE_LAST,
    "the last undo runs": (*_FORK_UNDONE_TO_THE_LAST, ("claim", 3)),
    "the last undo has failed": (*_FORK_UNDONE_TO_THE_LAST, ("work", 3, "failed")),
    "all is undone": (*_FORK_UNDONE_TO_THE_LAST, ("work", 3)),
    "the first undo has failed": (*_FORK_IS_DONE, ("spread", BEFORE_UNDOS), ("work", 4, "failed")),
    "the first undo has failed, and all know": (
        *(*_FORK_IS_DONE, ("spread", BEFORE_UNDOS), ("work", 4, "failed"), ("spread", 5)),
    ),
    "undoing was begun again": (*_FORK_UNDONE_TO_THE_LAST, ("work", 3, "failed"), ("compensate",)),
    "undoing was begun again, and the first know": (
        *(*_FORK_UNDONE_TO_THE_LAST, ("work", 3, "failed"), ("compensate",), ("spread", BEFORE_UNDOS)),
    ),
    "undoing was begun again, and one has passed": (
        *(*_FORK_UNDONE_TO_THE_LAST, ("work", 3, "failed"), ("compensate",), ("spread", BEFORE_UNDOS), ("spread", 4)),
    ),
    "undoing was begun again, and the last is ready": (
        *(*_FORK_UNDONE_TO_THE_LAST, ("work", 3, "failed"), ("compensate",), ("spread", BEFORE_UNDOS), ("spread", 4)),
        ("spread", 5),
    ),
    "undoing is cut off": (*_FORK_IS_DONE, ("spread", BEFORE_UNDOS), ("claim", 4), ("terminate",)),
    "all has succeeded": (("work", 0), ("work", 1), ("work", 2)),
    "all has succeeded but one, which goes on by hand": (("work", 0), ("work", 1), ("mark", 2, "succeeded")),
}
"""The run is undone when it fails."""

_UNDONE_BY_HAND = {
    "a fork has failed": _FORK_IS_DONE,
    "a fork that failed is undone": (*_FORK_IS_DONE, ("compensate",)),
    "a fork that failed is reopened": (*_FORK_IS_DONE, ("reopen", "retry")),
    "a fork failed before it did anything": (("work", 0, "failed", "failed"), ("spread", 0)),
    "a fork was cancelled before it did anything": (("halt",), ("work", 0, "cancelled")),
    "a branch runs that is not undone": (("work", 0), ("work", 1), ("claim", 2)),
}
"""The run is undone only where somebody wants it."""

_UNDOABLE_FAN = {
    "two of three undos were told": (*_FAN_FAILED, ("spread", BEFORE_UNDOS)),
    "all undos before the last were told": (
        *(*_FAN_FAILED, ("spread", BEFORE_UNDOS), ("spread", BEFORE_UNDOS, 1), ("spread", 7), ("work", 5)),
    ),
    "one of three undos has failed": (
        *(*_FAN_FAILED, ("spread", BEFORE_UNDOS), ("spread", BEFORE_UNDOS, 1), ("spread", 7), ("work", 5, "failed")),
    ),
}

_UNDOABLE_ROOTS = {
    "two roots of three know": (("work", 0),),
    "a root has failed, and one has to be undone": (
        *(("spread", ROOT, 1), ("work", 0), ("work", 1, "failed", "failed"), ("work", 2, "cancelled")),
    ),
}

_DEADLINE = {
    "a deadline is ahead": (),
    "a node runs against a deadline": (("claim", 0),),
    "a run with a deadline has ended": (("work", 0),),
    "a run with a deadline is reopened": (("work", 0, "failed"), ("reopen", "retry")),
}

_NEIGHBOURS = {
    "another run of the flow is open": (),
    "another run of the flow is open, this one has ended": (("work", 0),),
    "another run of the flow is open, this one is terminated": (("terminate",),),
    "another run of the flow is open, this one is reopened": (("work", 0, "failed"), ("reopen", "retry")),
}

_FORKED = {
    "a fork has inherited nothing yet": (),
    "a fork has inherited one node": (("inherit", (0,)),),
    "a fork has inherited one node, and the next is ready": (("inherit", (0,)), ("reset_all", FORK)),
    "a fork goes on": (("inherit", (0,)), ("reset_all", FORK), ("resume", FORK)),
    "a fork has ended": (("inherit", (0, 1, 2)), ("resume", FORK)),
}

SITUATIONS = {
    **situations_of(_ONE, ONE),
    **SIGNALLED,
    **situations_of(_CHAIN, CHAIN),
    **situations_of(_JOIN, JOIN),
    **situations_of(_FAN, FAN),
    **situations_of(_FAN_OF_CHAINS, FAN_OF_CHAINS),
    **situations_of(_LATE_JOIN, LATE_JOIN),
    **situations_of(_WIDE, WIDE),
    **situations_of(_BOUND, BOUND),
    **situations_of(_UNDOABLE_FORK, UNDOABLE_FORK, on_failure=OnFailure.COMPENSATE),
    **situations_of(_UNDONE_BY_HAND, UNDOABLE_FORK),
    **situations_of(_UNDOABLE_FAN, UNDOABLE_FAN, on_failure=OnFailure.COMPENSATE),
    **situations_of(_UNDOABLE_ROOTS, UNDOABLE_ROOTS, on_failure=OnFailure.COMPENSATE),
    **situations_of(_DEADLINE, ONE, deadline=5.0),
    **situations_of(_NEIGHBOURS, ONE, neighbour=True),
    **situations_of(_FORKED, CHAIN, forked=True, deadline=5.0),
    **RULED,
    **FAMILY,
    **HOOKED,
}
