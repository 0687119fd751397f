"""The circuit breakers of the nodes that this process gets: a local view of each, and what is told to the store.

The store has the one state for all processes. A view of it is as old as LOOK_SECONDS at most while nodes of the breaker
come; what failed is told at once, and the answer says how the breaker stands then. So a node behind a closed breaker
costs no question before it runs.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from taskmesh.clock import Clock
from taskmesh.errors import StoreUnavailableError
from taskmesh.model.breakers import BreakerRules, BreakerState
from taskmesh.observability.tally import Tally
from taskmesh.resilience.backoff import ramped
from taskmesh.store.breakers import OUTCOMES_PER_CALL, BreakerAnswer, Breakers, Consultation
from taskmesh.worker.channels.protocol import Failure
from taskmesh.worker.engine.attempt import Attempt, InFlight

LOOK_SECONDS = 0.2
IDLE_SECONDS = 10.0
"""A breaker is looked at for so long after its last node came or ended."""

STALE_SECONDS = 1.0
"""Behind a breaker that was not looked at for so long, a node that comes asks first."""

LEAST_SPREAD_SECONDS = 1.0
"""While a probe runs the others come back spread over this at least, whatever the ramp."""

MAX_UNTOLD = 5000
"""Outcomes that wait for a store that does not answer; older ones are forgotten."""

SUCCEEDED, FAILED, SAYS_NOTHING = "s", "f", "n"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _View:
    """How one breaker stands, as it was heard last, and what it has not been told yet.

    ``told`` is what was sent and not answered: it is sent again as it was. ``has_candidate``: a node that waits comes
    back as soon as the breaker may be tried.
    """

    rules: BreakerRules
    state: BreakerState = BreakerState.CLOSED
    try_at: float = 0.0
    heard_at: float = -math.inf
    used_at: float = -math.inf
    has_candidate: bool = False
    outcomes: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_UNTOLD))
    number: int = 0
    probe: Attempt | None = None
    verdict: str = ""
    told: Consultation | None = None

    @property
    def has_news(self) -> bool:
        return bool(self.outcomes or self.probe or self.told)


class BreakerBoard:
    """The views of one I/O process, the ``holder``. One thread, on its loop."""

    def __init__(self, breakers: Breakers, holder: str, in_flight: InFlight, tally: Tally, clock: Clock) -> None:
        self._breakers = breakers
        self._holder = holder
        self._in_flight = in_flight
        self._tally = tally
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._views: dict[str, _View] = {}
        self._next: asyncio.TimerHandle | None = None

    def admit(self, attempt: Attempt) -> float | None:
        """Whether a node that was claimed may run: None, or after how many seconds it should come again.

        :raises StoreUnavailableError: it has to be asked, and does not answer.
        """
        if attempt.node.guard is None:
            return None
        view = self._view(attempt.node.guard.rules)
        if view.state is not BreakerState.CLOSED and self._clock.monotonic() >= view.try_at:
            self._ask_to_try(view, attempt)
        if view.state is BreakerState.CLOSED or view.probe is attempt:
            return None
        return self._come_again_seconds(view)

    def wait_seconds(self, attempt: Attempt) -> float:
        """How long no node of its breaker will run, as far as is known here."""
        view = self._views.get(attempt.node.guard.rules.name) if attempt.node.guard else None
        if view is not None and view.probe is attempt and view.verdict == FAILED:
            return view.rules.reset_seconds
        if view is None or view.state is not BreakerState.OPEN:
            return 0.0
        return max(0.0, view.try_at - self._clock.monotonic())

    def succeeded(self, attempt: Attempt) -> None:
        self._note(attempt, SUCCEEDED)

    def failed(self, attempt: Attempt, failure: Failure) -> None:
        """An attempt failed, was too slow, or asked to be tried again, which says nothing."""
        if attempt.node.guard is None:
            return
        if attempt.node.guard.rules.excludes(failure.lineage):
            self._note(attempt, SUCCEEDED)
        else:
            self._note(attempt, SAYS_NOTHING if failure.asks else FAILED)

    def _note(self, attempt: Attempt, outcome: str) -> None:
        if attempt.node.guard is None or attempt.uses_fallback:
            return
        view = self._views[attempt.node.guard.rules.name]
        view.used_at = self._clock.monotonic()
        if view.probe is attempt:
            view.verdict = outcome
        elif outcome != SAYS_NOTHING:
            view.outcomes.append(outcome)
        is_urgent = outcome == FAILED or view.probe is attempt
        self._look_in(0.0 if is_urgent else LOOK_SECONDS)

    def _view(self, rules: BreakerRules) -> _View:
        """A view that is fresh enough."""
        now = self._clock.monotonic()
        view = self._views.get(rules.name)
        if view is None:
            view = self._views[rules.name] = _View(rules)
        view.rules = rules
        if now - view.heard_at > STALE_SECONDS:
            self._breakers.announce(rules.name)
            self._hear(view, *self._breakers.consult([Consultation(rules)], self._holder))
        view.used_at = now
        self._look_in(LOOK_SECONDS)
        return view

    def _ask_to_try(self, view: _View, attempt: Attempt) -> None:
        wish = Consultation(view.rules, probe=self._probe_name(attempt))
        [answer] = self._breakers.consult([wish], self._holder)
        self._hear(view, answer)
        if answer.granted:
            view.probe, view.verdict = attempt, ""
            self._tally.count("breaker_probes_total", (view.rules.name,))
            self._look_in(LOOK_SECONDS)

    def _come_again_seconds(self, view: _View) -> float:
        left = max(0.0, view.try_at - self._clock.monotonic())
        if view.state is BreakerState.HALF_OPEN:
            return ramped(max(view.rules.ramp_seconds, LEAST_SPREAD_SECONDS))
        if view.has_candidate:
            return left + ramped(view.rules.ramp_seconds)
        view.has_candidate = True
        return left

    def _look_in(self, seconds: float) -> None:
        """Look at the breakers after so long, or earlier."""
        at = self._loop.time() + seconds
        if self._next is not None:
            if self._next.when() <= at:
                return
            self._next.cancel()
        self._next = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        """Tell all that is new in one exchange, and hear how the breakers stand."""
        self._next = None
        now = self._clock.monotonic()
        views = [each for each in self._views.values() if each.has_news or now - each.used_at < IDLE_SECONDS]
        if not views:
            return
        try:
            self._exchange(views)
        except StoreUnavailableError as error:
            _log.debug("breakers cannot be asked: %s", error)
        except Exception:
            # A loop that others rely on must outlive any single failure.
            _log.exception("breakers cannot be asked")
        self._look_in(0.0 if any(len(each.outcomes) >= OUTCOMES_PER_CALL for each in views) else LOOK_SECONDS)

    def _exchange(self, views: Sequence[_View]) -> None:
        answers = self._breakers.consult([self._news(each) for each in views], self._holder)
        for view, answer in zip(views, answers, strict=True):
            self._hear(view, answer)
            over = view.told is not None and view.told.verdict
            if over or (view.probe is not None and not view.verdict and not answer.granted):
                view.probe, view.verdict = None, ""
            view.told = None

    def _news(self, view: _View) -> Consultation:
        if view.told is None:
            count = min(len(view.outcomes), OUTCOMES_PER_CALL)
            outcomes = "".join(view.outcomes.popleft() for _ in range(count))
            view.number += bool(outcomes)
            probe = self._probe_name(view.probe) if view.probe else ""
            view.told = Consultation(view.rules, view.number, outcomes, probe, self._verdict(view))
        return view.told

    def _verdict(self, view: _View) -> str:
        """How the probe ended; one that went another way, as by a cancelled run, leaves the try to others."""
        if view.probe is None or view.verdict:
            return view.verdict
        return "" if self._in_flight.by_id(view.probe.id) is view.probe else SAYS_NOTHING

    def _hear(self, view: _View, answer: BreakerAnswer) -> None:
        now, name = self._clock.monotonic(), view.rules.name
        if answer.state is not view.state:
            view.has_candidate = False
            _log.info("the breaker %s is %s", name, answer.state, extra={"breaker": name})
        if answer.opened:
            self._tally.count("breaker_opens_total", (name,))
            _log.warning(
                "the breaker %s has opened: too many nodes behind it failed; it may be tried in %.3g s",
                name,
                answer.wait_seconds,
                extra={"breaker": name},
            )
        view.state, view.try_at, view.heard_at = answer.state, now + answer.wait_seconds, now
        self._tally.set("breaker_open", float(answer.state is not BreakerState.CLOSED), (name,))

    def _probe_name(self, attempt: Attempt) -> str:
        return f"{self._holder}:{attempt.key.member}:{attempt.token}"
