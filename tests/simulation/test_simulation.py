"""Seeds of the simulation, and that the simulation is what it says: the same again, and able to find mistakes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest
from redis.connection import ConnectionPool

from tests.simulation.fate import ALL
from tests.simulation.mutants import FOCUS, MUTANTS
from tests.simulation.simulation import play

SEEDS = range(150)
SEEDS_PER_MUTANT = 30


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_was_promised_holds_whatever_befalls(
    redis_pool: ConnectionPool, capsys: pytest.CaptureFixture[str]
) -> None:
    struck: Counter[str] = Counter()
    figures: Counter[str] = Counter()
    for seed in SEEDS:
        played = play(seed, redis_pool)
        assert not played.broken, f"./scripts/simulate --seed {seed} shows how: {played.broken}"
        struck.update(played.struck)
        figures.update({name: int(value) for name, value in played.figures.items()})
    with capsys.disabled():
        print(f" {len(SEEDS)} seeds, {struck.total()} faults, {dict(figures)}", end=" ")
    assert struck.keys() == {fault.name for fault in ALL}


def test_without_a_fault_everything_runs_once_and_at_once(redis_pool: ConnectionPool) -> None:
    for seed in range(5):
        played = play(seed, redis_pool, only=())
        assert not played.broken
        assert (played.figures["repeated"], played.figures["stale"]) == (0, 0)


def test_a_seed_plays_the_same_again_in_any_process(redis_pool: ConnectionPool) -> None:
    seed = 20
    first = play(seed, redis_pool).hash
    assert play(seed, redis_pool).hash == first
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(seed), "--hash"]
    there = subprocess.run(
        command, env={**os.environ, "PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True, timeout=60
    )
    assert there.stdout.strip() == first


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mistake_is_found(redis_pool: ConnectionPool, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with MUTANTS[name]():
        seeds = range(SEEDS_PER_MUTANT)
        finds = (played for seed in seeds if (played := play(seed, redis_pool, FOCUS.get(name))).broken)
        found = next(finds, None)
    assert found is not None
    with capsys.disabled():
        print(f" seed {found.seed}: {found.broken[:100]}", end=" ")
