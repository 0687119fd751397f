"""Weighted rendezvous hashing: who prefers what, agreed on without talking to each other.

The classic score of a pair is ``-weight / ln(h)`` with ``h`` a hash in (0, 1); the highest score wins, and the share
that a contender wins is proportional to its weight. ``h ** (1 / weight)`` is the same order on a bounded scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

HIGHEST_PRIORITY = 2**31 - 1
"""AMQP tables carry a priority as a signed integer of 32 bits; a coarser scale would make two holders tie."""

LOWEST_PRIORITY = 0
"""Of who lets all others go first."""

_HASHES = 2**64


def priority(holder: str, queue: str, weight: float = 1.0) -> int:
    """How much ``holder`` wants ``queue``, from 0 to ``HIGHEST_PRIORITY``; among holders the highest goes first.

    Holders need not know of each other: each tells the broker its own number. When one leaves, its queues go to the
    runners-up and no other queue moves. ``weight`` is the holder's health or size: half the weight, half the queues.
    """
    return int(_score(holder, queue, weight) * HIGHEST_PRIORITY)


def pick_shard(routing_key: str, weights: Sequence[int]) -> int:
    """The shard of a routing key, for transports whose broker does no hashing."""
    scores = [_score(routing_key, str(shard), weight) for shard, weight in enumerate(weights)]
    return scores.index(max(scores))


def _score(first: str, second: str, weight: float) -> float:
    digest = blake2b(f"{first}\0{second}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    fraction = (int.from_bytes(digest, "big") + 0.5) / _HASHES
    return float(fraction ** (1 / weight))
