"""Mistakes in the scripts about schedules, by which keepers that stand in for each other would do things twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from taskmesh.model.schedules.schedule import Overlap
from taskmesh.store import store
from taskmesh.store.opening import open_link
from tests.contract import test_schedules as rules
from tests.contract.schedule_bench import ScheduleBench
from tests.contract.test_store_mutants import Mistake, MistakenScripts

Rule = Callable[[ScheduleBench], None]

DECIDED_ONCE = partial(rules.test_two_keepers_that_saw_the_same_decide_once, overlap=Overlap.ALLOW_ALL)
MISTAKES: dict[str, tuple[Mistake, Rule]] = {
    "who comes late decides again": (
        Mistake("fire_schedule", "if found.next ~= ARGV[4] then return {'moved'} end\n", ""),
        DECIDED_ONCE,
    ),
    "what is decided is not noted": (
        Mistake("fire_schedule", "redis.call('HSET', schedule, 'next', ARGV[5])\n", ""),
        DECIDED_ONCE,
    ),
    "an old definition decides": (
        Mistake("fire_schedule", "if found.revision ~= ARGV[3] then return {'stale'} end\n", ""),
        rules.test_a_definition_that_was_replaced_decides_about_nothing,
    ),
    "what waits goes by an old definition": (
        Mistake("relieve_schedule", "if found.revision ~= ARGV[3] then return {'stale'} end\n", ""),
        rules.test_what_waited_goes_by_the_newest_definition_alone,
    ),
    "what waits goes whatever runs": (
        Mistake("relieve_schedule", " and not blocker", ""),
        rules.test_two_keepers_that_saw_the_same_end_let_one_tick_go,
    ),
    "each who looks fills a gap": (
        Mistake("relieve_schedule", " - active_backfills(found)", ""),
        rules.test_two_keepers_that_saw_the_same_gap_fill_it_once,
    ),
    "who comes late settles again": (
        Mistake(
            "settle_tick",
            "if redis.call('ZREM', due, member) == 0 then",
            "redis.call('ZREM', due, member)\nif false then",
        ),
        rules.test_a_tick_that_is_settled_again_counts_once,
    ),
}


@pytest.fixture
def bench(valkey_url: str, namespace: str) -> Iterator[ScheduleBench]:
    link = open_link(valkey_url, 2.0, 5.0)
    yield ScheduleBench(link, namespace)
    link.close()


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found(bench: ScheduleBench, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    mistake, rule = MISTAKES[name]
    monkeypatch.setattr(store, "Scripts", lambda: MistakenScripts(mistake))
    with pytest.raises(AssertionError):
        rule(bench)


@pytest.mark.parametrize("name", MISTAKES)
def test_without_it_nothing_is_found(bench: ScheduleBench, name: str) -> None:
    MISTAKES[name][1](bench)
