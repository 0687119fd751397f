"""Situations of nodes that begin by rules and expressions, and of failures that these handle."""

from __future__ import annotations

from collections.abc import Sequence

from taskmesh.model.triggers import Rule, Trigger
from tests.model.case import Situation, situations_of
from tests.model.lives import SLICE
from tests.model.shape import Shape

HANDLED = Shape(
    *(((), (0,), (0,), (0,)), ("one", "two", "one", "two"), SLICE),
    triggers={2: Trigger(Rule.ANY_FAILED), 3: Trigger(depends="n0.done && !n0.succeeded")},
)
"""Node 1 asks for the success of node 0, and the others take its failure."""
HANDLED_WHOLLY = Shape(((), (0,)), ("one", "two"), SLICE, triggers={1: Trigger(Rule.ALL_DONE)})
HANDLED_IN_TURN = Shape(((), (0,), (0, 1)), ("one", "two", "one"), SLICE, triggers={2: Trigger(Rule.ALL_DONE)})
"""Node 2 takes the failure of node 0, and that node 1 could not run for it."""
EXPRESSED = Shape(
    *(((), (0,), (), (1, 2), (1, 2)), ("one", "two", "one", "two", "one"), SLICE),
    triggers={3: Trigger(depends="n1.failed && n2.succeeded"), 4: Trigger(depends="n1 || n2.skipped")},
)

RULES = (
    (Trigger(Rule.ANY_FAILED), Trigger(Rule.ANY_SUCCESS), Trigger(Rule.ALL_DONE), Trigger(Rule.ALL_FAILED)),
    (Trigger(Rule.ANY_DONE), Trigger(Rule.ALL_SKIPPED), Trigger(Rule.N_OF, 2), Trigger(Rule.ALWAYS)),
    (Trigger(Rule.NONE_FAILED), Trigger(Rule.NONE_SKIPPED), Trigger(Rule.NONE_FAILED_MIN_ONE_SUCCESS)),
)
"""Every rule but the plain one: those of dependents of the same two nodes, which tell them in slices."""

_RULED = {
    "both of two run": (("claim", 0), ("claim", 1)),
    "one of two has succeeded, the other runs": (("work", 0), ("spread", 0, 1), ("claim", 1)),
    "one of two has failed, the other runs": (("work", 0, "failed"), ("spread", 0, 1), ("claim", 1)),
    "one of two was skipped, the other runs": (("work", 0, "skipped"), ("spread", 0, 1), ("claim", 1)),
    "the other has succeeded and must tell more": (("work", 0), ("spread", 0, 1), ("work", 1)),
    "the other has failed and must tell more": (("work", 0), ("spread", 0, 1), ("work", 1, "failed")),
    "the other was skipped and must tell more": (("work", 0), ("spread", 0, 1), ("work", 1, "skipped")),
    "the first was skipped by hand": (("mark", 0, "skipped"), ("claim", 1)),
}

_HANDLED = {
    "what handles a failure waits": (("claim", 0),),
    "a failure is handled": (("work", 0, "failed"),),
    "a failure is handled, and two that follow from it know": (("work", 0, "failed"), ("spread", 0, 1)),
    "a handled failure has failed its run, which is reopened": (
        *(("work", 0, "failed"), ("spread", 0, 1), ("work", 2), ("work", 3), ("reopen", "retry")),
    ),
    "a handled failure halts its run": (("work", 0, "failed", "failed"),),
    "all is well, and nothing has to be handled": (("work", 0), ("spread", 0, 1), ("work", 1)),
    "it was not to run": (("work", 0, "skipped"),),
}

_HANDLED_WHOLLY = {
    "the only thing that follows handles a failure": (("claim", 0),),
    "a failure was handled, and its run goes on": (("work", 0, "failed"), ("claim", 1)),
    "a failure was handled, and its run has succeeded": (("work", 0, "failed"), ("work", 1)),
    "a failure was handled by what has failed itself": (("work", 0, "failed"), ("work", 1, "failed")),
}

_HANDLED_IN_TURN = {
    "what follows from a failure will be handled, too": (("claim", 0),),
    "what follows from a failure must tell of it": (("work", 0, "failed"),),
    "what follows from a failure was handled": (("work", 0, "failed"), ("spread", 1), ("claim", 2)),
    "what follows from a failure was handled, and the run is reopened": (
        *(("work", 0, "failed"), ("spread", 1), ("work", 2, "failed"), ("reopen", "retry")),
    ),
}

_EXPRESSED = {
    "an expression asks for what could not run": (("work", 0, "failed"), ("spread", 1), ("claim", 2)),
    "an expression asks for what runs": (("work", 0), ("claim", 1), ("claim", 2)),
    "an expression asks for what was skipped": (("work", 0, "skipped"), ("spread", 1), ("claim", 2)),
    "an expression was told of one end": (("work", 0), ("work", 1), ("claim", 2)),
    "an expression was told of one failure": (("work", 0), ("work", 1, "failed"), ("claim", 2)),
    "what could not run must tell": (("work", 0, "failed"), ("work", 2)),
    "what began early was handed back, and all else has ended": (
        *(("work", 0), ("work", 1), ("claim", 4), ("work", 2), ("release", 4)),
    ),
}


def _ruled() -> dict[str, Situation]:
    """Each situation of two nodes that a slice of rules waits for, and that of those of the next slice."""
    return {
        f"{name} ({', '.join(map(str, rules))})": Situation(_shape_of(rules), steps)
        for rules in RULES
        for name, steps in _RULED.items()
    }


def _shape_of(rules: Sequence[Trigger]) -> Shape:
    """Two nodes that others need, which begin by these rules."""
    pools = ("one", "two") * len(rules)
    return Shape(((), (), *[(0, 1)] * len(rules)), pools[: 2 + len(rules)], SLICE, triggers=dict(enumerate(rules, 2)))


RULED = {
    **_ruled(),
    **situations_of(_HANDLED, HANDLED),
    **situations_of(_HANDLED_WHOLLY, HANDLED_WHOLLY),
    **situations_of(_HANDLED_IN_TURN, HANDLED_IN_TURN),
    **situations_of(_EXPRESSED, EXPRESSED),
}
