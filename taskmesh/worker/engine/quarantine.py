"""Nodes that take down what runs them: after so many deaths they are not given to anybody any more.

Two counts are kept apart from ordinary retries, each in the node's record. An executor that dies while it runs a node
is noticed by its I/O process. Should that die as well, the attempt was counted before: by the claim, which comes before
user code starts. Then it is not known whose fault it was, a worker may just have been killed; so more of those are
allowed.
"""

from __future__ import annotations

from typing import NamedTuple

from taskmesh.worker.channels.protocol import Failure
from taskmesh.worker.engine.attempt import Attempt

CRASHED = "ExecutorLost"
POISONED = "Poisoned"


class Quarantine(NamedTuple):
    """How many executors (``crashes``), and how many whole workers (``losses``), one node may take down."""

    crashes: int
    losses: int

    def after_crash(self, attempt: Attempt, reason: str) -> Failure | None:
        """Why a node whose executor has just died is not tried again; None where it is."""
        crashes = attempt.crashes + 1
        if crashes < self.crashes:
            return None
        return Failure(CRASHED, f"its executor was lost {crashes} times, the last time because {reason}", "")

    def before_start(self, attempt: Attempt) -> Failure | None:
        """Why a node that was claimed must not be run."""
        if attempt.losses < self.losses:
            return None
        return Failure(POISONED, f"{attempt.losses} workers died while they had it; it is not run any more", "")
