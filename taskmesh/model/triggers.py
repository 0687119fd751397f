"""When a node begins that needs others: a rule over how those end, or an expression that names them.

A rule is kept as thresholds over the numbers of needed nodes that have succeeded, failed and been skipped, so that one
short script can decide any of them; a test holds that script to ``Thresholds.decide``. What is true once stays true: a
node begins as soon as its rule is, and is settled as soon as the rule cannot become true any more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from taskmesh.model.hooks import Hook
from taskmesh.model.problems import Hints
from taskmesh.model.states import NodeState


class Rule(StrEnum):
    """What a node asks of the nodes that it needs. Failed ones are also those that could not run for a failure."""

    ALL_SUCCESS = "all_success"
    ALL_DONE = "all_done"
    ALL_FAILED = "all_failed"
    ALL_SKIPPED = "all_skipped"
    ANY_SUCCESS = "any_success"  # begins with the first
    ANY_FAILED = "any_failed"  # the same
    ANY_DONE = "any_done"  # the first that has succeeded or failed
    NONE_FAILED = "none_failed"
    NONE_SKIPPED = "none_skipped"
    NONE_FAILED_MIN_ONE_SUCCESS = "none_failed_min_one_success"
    ALWAYS = "always"  # as all_done, also in a run that was cancelled or has failed
    N_OF = "n_of"  # begins with the success of so many


_EARLY = frozenset({Rule.ANY_SUCCESS, Rule.ANY_FAILED, Rule.ANY_DONE, Rule.N_OF})


@dataclass(frozen=True, slots=True)
class Trigger:
    """When a node begins. ``count`` goes with n_of; ``depends`` is an expression, which stands instead of a rule.

    So does ``hook``, which makes the node a hook (see ``model.hooks``).
    """

    rule: Rule = Rule.ALL_SUCCESS
    count: int = 0
    depends: str = ""
    hook: Hook | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is what every node has that says nothing: all that it needs must succeed."""
        return self == PLAIN

    @property
    def begins_early(self) -> bool:
        """Whether the node may begin while some of those that it needs have not ended."""
        return bool(self.depends) or self.rule in _EARLY

    @property
    def runs_always(self) -> bool:
        """Whether neither a halt of its run nor the run's deadline keeps the node from running."""
        return self.rule is Rule.ALWAYS or self.hook is not None

    def __str__(self) -> str:
        if self.hook:
            return str(self.hook)
        if self.depends:
            return f"depends: {self.depends}"
        return f"n_of({self.count})" if self.rule is Rule.N_OF else str(self.rule)


PLAIN = Trigger()

RULE_PATTERN = rf"({'|'.join(each for each in Rule if each != 'n_of')}|n_of\([0-9]{{1,6}}\))"
_N_OF = re.compile(r"n_of\(([0-9]{1,6})\)")


def read_rule(text: str) -> Trigger | None:
    """The trigger that a rule is written as, ``any_failed`` or ``n_of(2)``; None for text that is no rule."""
    if counted := _N_OF.fullmatch(text):
        return Trigger(Rule.N_OF, int(counted[1]))
    return Trigger(Rule(text)) if text in list(Rule) and text != Rule.N_OF else None


def rule_problem(text: str) -> str:
    """What a word should be that is no rule, as the end of a sentence."""
    known = [f"{each}(NUMBER)" if each is Rule.N_OF else str(each) for each in Rule]
    return f"must be one of {', '.join(known)}{Hints(known).did_you_mean(text)}"


class Heard(NamedTuple):
    """How many of the needed nodes have ended, and how."""

    succeeded: int = 0
    failed: int = 0
    skipped: int = 0


class Thresholds(NamedTuple):
    """A rule as numbers: what must be reached, and what must not be exceeded, of ``needed`` nodes in all.

    ``ran`` counts the succeeded and the failed. With ``waits`` every needed node must have ended.
    ``asks_success``: where it cannot be met and some needed node failed, the failure is why.
    """

    needed: int
    succeeded: int
    failed: int
    skipped: int
    ran: int
    most_failed: int
    most_skipped: int
    waits: bool
    asks_success: bool

    def decide(self, heard: Heard) -> NodeState | None:
        """Ready as soon as it is met, else what the node ends as once it cannot be met, else None: it waits."""
        succeeded, failed, skipped = heard
        ran = succeeded + failed
        left = self.needed - ran - skipped
        has = (succeeded, failed, skipped, ran)
        wanted = (self.succeeded, self.failed, self.skipped, self.ran)
        most_has = (succeeded + left, failed + left, skipped + left, ran + left)
        is_beyond = failed > self.most_failed or skipped > self.most_skipped
        if is_beyond or any(most < least for most, least in zip(most_has, wanted, strict=True)):
            return NodeState.UPSTREAM_FAILED if self.asks_success and failed else NodeState.SKIPPED
        is_met = all(count >= least for count, least in zip(has, wanted, strict=True))
        return NodeState.READY if is_met and (not self.waits or left == 0) else None

    @property
    def takes_failure(self) -> bool:
        """Whether the node can still begin after one of those that it needs has failed."""
        return self.decide(Heard(failed=1)) in (NodeState.READY, None)


def thresholds(rule: Rule, needed: int, count: int = 0) -> Thresholds:
    """The one table of the rules, for a node that needs so many others."""
    plain = Thresholds(needed, 0, 0, 0, 0, needed, needed, waits=False, asks_success=False)
    table = {
        Rule.ALL_SUCCESS: plain._replace(succeeded=needed, asks_success=True),
        Rule.ALL_DONE: plain._replace(waits=True),
        Rule.ALL_FAILED: plain._replace(failed=needed),
        Rule.ALL_SKIPPED: plain._replace(skipped=needed),
        Rule.ANY_SUCCESS: plain._replace(succeeded=1, asks_success=True),
        Rule.ANY_FAILED: plain._replace(failed=1),
        Rule.ANY_DONE: plain._replace(ran=1),
        Rule.NONE_FAILED: plain._replace(most_failed=0, waits=True, asks_success=True),
        Rule.NONE_SKIPPED: plain._replace(most_skipped=0, waits=True),
        Rule.NONE_FAILED_MIN_ONE_SUCCESS: plain._replace(most_failed=0, succeeded=1, waits=True, asks_success=True),
        Rule.ALWAYS: plain._replace(waits=True),
        Rule.N_OF: plain._replace(succeeded=count, asks_success=True),
    }
    return table[rule]


class Group(StrEnum):
    """How a node has ended, as far as rules tell ends apart."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"


def group_of(state: NodeState) -> Group | None:
    """What a state counts as; None where the node has not ended."""
    if state is NodeState.SUCCEEDED:
        return Group.SUCCEEDED
    if state in (NodeState.FAILED, NodeState.UPSTREAM_FAILED):
        return Group.FAILED
    return Group.SKIPPED if state.ended else None
