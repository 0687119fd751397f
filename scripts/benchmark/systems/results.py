"""Counts the results of a peer: one key each, in a Redis database that holds nothing else."""

from __future__ import annotations

import time

import redis

POLL_SECONDS = 0.01


class ResultCount:
    """How many results are still to come."""

    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(url)
        self._redis.flushdb()
        self._expected = 0

    def expect(self, count: int) -> None:
        """More results will come; nothing of this may be waited for otherwise."""
        self._expected += count

    def wait(self) -> None:
        """Return when all have come."""
        while int(self._redis.dbsize()) < self._expected:
            time.sleep(POLL_SECONDS)

    def clear(self) -> None:
        """Delete them."""
        self._redis.flushdb()
        self._expected = 0
