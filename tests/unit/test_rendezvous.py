from __future__ import annotations

from collections import Counter

import pytest

from taskmesh.broker.rendezvous import HIGHEST_PRIORITY, pick_shard, priority

QUEUES = [f"mesh.default.{number}" for number in range(2_000)]


def owners(weights: dict[str, float]) -> dict[str, str]:
    """Who has the highest priority on each queue."""
    return {queue: max(weights, key=lambda holder: priority(holder, queue, weights[holder])) for queue in QUEUES}


def test_a_priority_is_the_same_in_every_process_and_fits_an_amqp_integer() -> None:
    assert priority("worker-1", "mesh.default.0") == 2_140_052_126
    assert all(0 <= priority("w", queue, 0.001) <= HIGHEST_PRIORITY for queue in QUEUES)


def test_equal_holders_share_the_queues_evenly() -> None:
    shares = Counter(owners(dict.fromkeys("abcd", 1.0)).values())
    assert all(400 < shares[holder] < 600 for holder in "abcd")


def test_shares_follow_the_weights() -> None:
    shares = Counter(owners({"a": 1.0, "b": 3.0}).values())
    assert shares["b"] / len(QUEUES) == pytest.approx(0.75, abs=0.04)


def test_only_the_queues_of_a_holder_that_leaves_change_hands() -> None:
    before = owners(dict.fromkeys("abcd", 1.0))
    after = owners(dict.fromkeys("abd", 1.0))
    assert {queue for queue in QUEUES if before[queue] != after[queue]} == {
        queue for queue in QUEUES if before[queue] == "c"
    }


def test_shards_are_hit_in_proportion_to_their_weights() -> None:
    weights = (1, 1, 2, 4)
    hits = Counter(pick_shard(f"run-{number}", weights) for number in range(8_000))
    assert [hits[shard] / 1_000 for shard in range(4)] == pytest.approx(weights, abs=0.25)


def test_a_key_keeps_its_shard_when_another_shard_is_added() -> None:
    keys = [f"run-{number}" for number in range(2_000)]
    moved = [key for key in keys if pick_shard(key, (1,) * 8) != pick_shard(key, (1,) * 9)]
    assert all(pick_shard(key, (1,) * 9) == 8 for key in moved)
    assert 130 < len(moved) < 320


def test_any_text_is_a_key() -> None:
    assert 0 <= pick_shard("é\ud800" * 1_000, (1, 1)) <= 1
    assert 0 <= pick_shard("", (1, 1)) <= 1
