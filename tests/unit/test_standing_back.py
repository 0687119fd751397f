"""Who hands nodes on lets others go first until it has had none to hand on for a while."""

from __future__ import annotations

from typing import cast

from taskmesh.broker.protocol import Consumer
from taskmesh.clock import ManualClock
from taskmesh.worker.engine.standing_back import STANDING_SECONDS, StandingBack


class _Consumer:
    def __init__(self) -> None:
        self.wishes: list[bool] = []

    def stand_back(self, wanted: bool) -> None:
        self.wishes.append(wanted)


def test_it_stands_back_as_long_as_nodes_are_handed_on() -> None:
    consumer, clock = _Consumer(), ManualClock()
    standing_back = StandingBack(cast(Consumer, consumer), clock)
    standing_back.look()
    assert consumer.wishes == []
    standing_back.begin()
    clock.advance(STANDING_SECONDS - 1)
    standing_back.begin()
    clock.advance(STANDING_SECONDS - 1)
    standing_back.look()
    assert consumer.wishes == [True]
    clock.advance(1)
    standing_back.look()
    standing_back.look()
    assert consumer.wishes == [True, False]
    standing_back.begin()
    assert consumer.wishes == [True, False, True]
