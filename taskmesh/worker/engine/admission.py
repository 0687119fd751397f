"""Whether a node that was claimed is run now, and by which task."""

from __future__ import annotations

import logging
from collections.abc import Collection

from taskmesh.dispatch.advance import Ending
from taskmesh.model.policies import NO_LIMITS
from taskmesh.observability.tally import Tally
from taskmesh.store.calls import ClaimAnswer
from taskmesh.worker.engine.attempt import Attempt
from taskmesh.worker.engine.breakers import BreakerBoard
from taskmesh.worker.engine.handing_on import HandingOn
from taskmesh.worker.engine.quarantine import Quarantine
from taskmesh.worker.engine.time_limits import Limiter

_log = logging.getLogger(__name__)


class Admission:
    """Goes through the reasons why an attempt ends before it has begun."""

    def __init__(
        self, tally: Tally, limiter: Limiter, quarantine: Quarantine, handing_on: HandingOn, board: BreakerBoard
    ) -> None:
        self._tally = tally
        self._limiter = limiter
        self._quarantine = quarantine
        self._handing_on = handing_on
        self._board = board

    def ending(self, attempt: Attempt, answer: ClaimAnswer) -> Ending | None:
        """How an attempt ends that does not begin, whatever its gate says; None for one that may."""
        if (answer.halt or answer.left_seconds is not None) and attempt.runs_always:
            answer = answer._replace(halt="", left_seconds=None)
        if answer.halt:
            return attempt.cancelled(answer.halt)
        if attempt.is_unknown:
            return None
        if failure := self._quarantine.before_start(attempt):
            return attempt.failed(failure)
        is_limited = attempt.node.limits is not NO_LIMITS or answer.left_seconds is not None
        if is_limited and (failure := self._limiter.open(attempt, answer)):
            return attempt.failed(failure)
        return None

    def handing_on(self, attempt: Attempt, answer: ClaimAnswer, known: Collection[str]) -> Ending:
        """The end of an attempt whose task is unknown here. ``known`` are the tasks that run here."""
        return self._handing_on.ending(attempt, answer, known)

    def parking(self, attempt: Attempt, known: Collection[str]) -> Ending | None:
        """The end of an attempt whose breaker refuses; None where it runs, or its fallback does in its place.

        To be asked last of all: a permission to try the breaker is used up by the attempt that gets it.

        :raises StoreUnavailableError: the breaker has to be asked.
        """
        guard = attempt.node.guard
        wait_seconds = self._board.admit(attempt)
        if guard is None or wait_seconds is None:
            return None
        if guard.fallback in known:
            attempt.uses_fallback = True
            self._tally.count("breaker_fallbacks_total", (guard.rules.name,))
            return None
        if guard.fallback:
            names = {"run": attempt.key.run_id, "node": attempt.node_name}
            _log.warning(
                "the fallback %s is not registered in this worker; its node waits", guard.fallback, extra=names
            )
        self._tally.count("breaker_parked_total", (guard.rules.name,))
        return attempt.parked(self._limiter.within(attempt, wait_seconds))
