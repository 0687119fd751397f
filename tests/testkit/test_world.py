"""The thread and the time of a virtual mesh, without a mesh."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pytest

from taskmesh import UsageError
from taskmesh.testing import StandstillError
from taskmesh.testing.world import Outlook, World


class Nowhere:
    """Surroundings in which nothing runs; what is due next, and how far the time has jumped, is written down."""

    def __init__(self) -> None:
        self.next_at = math.inf
        self.on_its_way: tuple[object, ...] = ()
        self.jumps: list[float] = []

    def outlook(self) -> Outlook:
        return Outlook(self.next_at, self.on_its_way)

    def before_jump(self, seconds: float) -> None:
        self.jumps.append(seconds)

    def running(self, blocked: int) -> Sequence[str]:
        return []

    def waits(self) -> str:
        return "for nothing"


@pytest.fixture
def around() -> Nowhere:
    return Nowhere()


@pytest.fixture
def world(around: Nowhere) -> Iterator[World]:
    world = World(1000.0, patience_seconds=60)
    world.begin(around)
    yield world
    world.close()


def test_an_error_on_the_loop_is_told_to_who_waits(world: World) -> None:
    world.call(lambda: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        world.settle()
    world.settle()


def test_who_belongs_to_the_world_cannot_wait_for_it(world: World) -> None:
    world.call(world.settle)

    with pytest.raises(UsageError, match="cannot wait for it"):
        world.settle()


def test_the_time_goes_to_what_is_due_and_not_past_the_limit(world: World, around: Nowhere) -> None:
    around.next_at = 1500.0
    seen = world.settle()
    seen = world.leap(1200.0, seen)
    assert world.now() == 1200.0
    world.leap(2000.0, seen)

    assert world.now() == 1500.0
    assert around.jumps == [200.0, 300.0]


def test_the_time_stays_where_something_has_happened_since(world: World, around: Nowhere) -> None:
    around.next_at = 1500.0
    seen = world.settle()
    world.call(lambda: None)
    world.leap(math.inf, seen)

    assert world.now() == 1000.0


def test_timers_by_the_way_are_kept_in_passing(world: World, around: Nowhere) -> None:
    rung: list[float] = []
    world.call(world.loop.call_later, 10, lambda: rung.append(world.now()))
    seen = world.settle()
    with pytest.raises(StandstillError, match="for nothing"):
        world.leap(math.inf, seen)
    around.next_at = 1500.0
    world.leap(math.inf, world.settle())

    assert rung == [1500.0]


def test_looks_are_kept_one_by_one_while_something_is_on_its_way(world: World, around: Nowhere) -> None:
    rung: list[float] = []
    world.call(world.loop.call_later, 10, lambda: rung.append(world.now()))
    around.next_at, around.on_its_way = 1500.0, (1,)
    world.leap(math.inf, world.settle())

    assert rung == [1010.0]


def test_a_closed_world(around: Nowhere) -> None:
    world = World(1000.0, patience_seconds=60)
    world.begin(around)
    world.close()
    world.call(lambda: None)

    with pytest.raises(UsageError, match="closed"):
        world.settle()
