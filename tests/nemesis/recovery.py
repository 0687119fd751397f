"""How soon after the last fault everything must have ended, and how much of that time nobody worked in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from taskmesh.app.keeping import LEAD_SECONDS, PASS_SECONDS, RENEWALS_AWAITED
from taskmesh.config.settings import RENEWALS_PER_LEASE
from taskmesh.keeper.keeper import PROBE_AGAIN_SECONDS, PROBE_SECONDS, PUBLISH_MARGIN_SECONDS
from tests.nemesis.effects import BEGIN, Effect

LEASE_SECONDS = 3.0
HEARTBEAT_SECONDS = 6

NOTICE_SECONDS = 2.0 * HEARTBEAT_SECONDS
"""How long a connection may be silent before either side gives it up."""

MACHINE_SECONDS = 10.0
"""What starting processes and running the product may take beside the waits, on two cores that do other work too."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """``seconds`` from the last fault to the end of every run, of which nobody worked in ``waited_seconds``."""

    seconds: float
    waited_seconds: float
    bound_seconds: float

    @classmethod
    def between(cls, struck_at: float, ended_at: float, effects: Sequence[Effect], bound_seconds: float) -> Recovery:
        return cls(ended_at - struck_at, waited_seconds(effects, struck_at, ended_at), bound_seconds)

    def __str__(self) -> str:
        return (
            f"all had ended {self.seconds:.1f} s after the last fault; for {self.waited_seconds:.1f} s of them no user "
            f"code ran, and at most {self.bound_seconds:.1f} s may pass so"
        )


def bound_seconds(own_waits_seconds: float = 0.0, lease_seconds: float = LEASE_SECONDS) -> float:
    """In so much time, beside that of user code, every accepted run ends: docs/guarantees.md explains the terms."""
    lost_holder = lease_seconds
    lost_keeper = LEAD_SECONDS + 2 * PASS_SECONDS + RENEWALS_AWAITED * lease_seconds / RENEWALS_PER_LEASE
    lost_message = PUBLISH_MARGIN_SECONDS + PROBE_AGAIN_SECONDS + PROBE_SECONDS + PASS_SECONDS
    return lost_holder + lost_keeper + lost_message + own_waits_seconds + MACHINE_SECONDS


def waited_seconds(effects: Sequence[Effect], since: float, until: float) -> float:
    """How much of a time passed while no user code ran, neither of a run that was late nor of one that kept it from
    running. An execution that never ended counts for nothing."""
    worked, reached = 0.0, since
    for begin, end in sorted(_executions(effects)):
        latest = min(end, until)
        worked += max(0.0, latest - max(begin, reached))
        reached = max(reached, latest)
    return until - since - worked


def _executions(effects: Iterable[Effect]) -> Iterator[tuple[float, float]]:
    begun: dict[tuple[str, str, int, int], float] = {}
    for effect in effects:
        execution = effect.run_id, effect.node, effect.attempt, effect.pid
        if effect.event == BEGIN:
            begun[execution] = effect.at
        elif execution in begun:
            yield begun.pop(execution), effect.at
