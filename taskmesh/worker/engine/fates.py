"""What executors tell of the works they got, and what that means for the nodes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from taskmesh.errors import TaskCancelledError
from taskmesh.model.policies import exception_name
from taskmesh.observability.tally import Tally
from taskmesh.worker.channels.protocol import Failure, Outcome
from taskmesh.worker.engine.attempt import Attempt, InFlight
from taskmesh.worker.engine.breakers import BreakerBoard
from taskmesh.worker.engine.heartbeats import Heartbeats
from taskmesh.worker.engine.quarantine import Quarantine
from taskmesh.worker.engine.retrying import next_delay_seconds
from taskmesh.worker.engine.settling import Settler
from taskmesh.worker.engine.time_limits import Limiter

_log = logging.getLogger(__name__)


class Fates:
    """Ends, postpones or releases each attempt by what became of its work."""

    def __init__(
        self,
        tally: Tally,
        in_flight: InFlight,
        settler: Settler,
        limiter: Limiter,
        heartbeats: Heartbeats,
        quarantine: Quarantine,
        board: BreakerBoard,
    ) -> None:
        self._tally = tally
        self._in_flight = in_flight
        self._settler = settler
        self._limiter = limiter
        self._heartbeats = heartbeats
        self._quarantine = quarantine
        self._board = board

    def started(self, attempt_id: int, kill: Callable[[int], bool]) -> None:
        """User code begins to run an attempt that is timed."""
        for attempt in self._known([attempt_id]):
            self._limiter.watch(attempt, kill)

    def beats(self, beats: Sequence[tuple[int, bytes]]) -> None:
        """Tasks say that they go on, and perhaps how far they have come."""
        for attempt_id, checkpoint in beats:
            for attempt in self._known([attempt_id]):
                self._limiter.beat(attempt)
                self._heartbeats.note(attempt, checkpoint)

    def outcomes(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            attempt = self._in_flight.by_id(outcome.id)
            if attempt is not None:
                self._tally.observe("node_seconds", outcome.duration_seconds, (attempt.task,))
                self._limiter.forget(attempt.id)
                if outcome.failure:
                    self._failed(attempt, outcome.failure)
                else:
                    self._heartbeats.forget(attempt)
                    self._board.succeeded(attempt)
                    self._settler.end(attempt, attempt.succeeded(outcome))

    def lost(self, started: Sequence[int], waiting: Sequence[int], reason: str, is_crash: bool) -> None:
        """An executor is gone: what may have begun has used up an attempt where that is a crash, the rest has not.

        When it was killed here for the sake of one attempt, that one was over its limit; the others are not to blame.
        """
        self._heartbeats.hurry(self._known([*started, *waiting]))
        verdicts = {id_: verdict for id_ in started if (verdict := self._limiter.verdict(id_))}
        for id_, verdict in verdicts.items():
            for attempt in self._known([id_]):
                self._failed(attempt, verdict)
        if is_crash and not verdicts:
            for attempt in self._known(started):
                self._crashed(attempt, reason)
        for attempt in self._known([*started, *waiting]):
            self._settler.release(attempt, counts=False)

    def _failed(self, attempt: Attempt, failure: Failure) -> None:
        self._heartbeats.hurry([attempt])
        if attempt.halt and failure.type == exception_name(TaskCancelledError):
            self._settler.end(attempt, attempt.stopped())
            return
        self._board.failed(attempt, failure)
        delay_seconds = self._delay_seconds(attempt, failure)
        if delay_seconds is not None and not self._limiter.closes_before(attempt, delay_seconds):
            self._settler.end(attempt, attempt.postponed(failure, delay_seconds))
            return
        if delay_seconds is not None:
            message = f"{failure.message} (not tried again: {attempt.closing_name} would be over before)"
            failure = failure._replace(message=message)
        self._settler.end(attempt, attempt.failed(failure))

    def _delay_seconds(self, attempt: Attempt, failure: Failure) -> float | None:
        """What the policy says, and no less than its breaker."""
        delay_seconds = next_delay_seconds(attempt, failure)
        return None if delay_seconds is None else max(delay_seconds, self._board.wait_seconds(attempt))

    def _crashed(self, attempt: Attempt, reason: str) -> None:
        names = {"run": attempt.key.run_id, "node": attempt.node_name}
        _log.warning("the executor of a node was lost: %s", reason, extra=names)
        failure = self._quarantine.after_crash(attempt, reason)
        if failure is None:
            self._settler.release(attempt, counts=True)
        else:
            self._settler.end(attempt, attempt.failed(failure))

    def _known(self, ids: Sequence[int]) -> list[Attempt]:
        return [attempt for id_ in ids if (attempt := self._in_flight.by_id(id_)) is not None]
