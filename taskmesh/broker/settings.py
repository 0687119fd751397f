"""What a broker adapter needs to know, as one frozen value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from taskmesh.errors import ConfigError

MAX_SHARD_WEIGHT = 100
"""A weight costs the exchange memory for each unit; servers without a limit of their own can be made to fall by it."""

MIN_HEARTBEAT_SECONDS = 6
"""Below it pika's fixed allowance of five seconds is most of the time to detect a dead peer."""

RECONNECT_CAP_SECONDS = 3.0
"""The longest random wait between two attempts to connect. Whatever a process has to publish waits for as long after
the broker is back."""


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Where the broker is and how the pools of a namespace are laid out on it.

    All processes of a namespace need the same ``namespace``, ``shards``, ``shard_weights`` and ``queue_type``: RabbitMQ
    refuses a queue that is declared differently, and a shard that nobody reads would keep its messages. No weights mean
    equal ones. ``quorum_group_size`` is how many nodes of a cluster keep a queue, 0 = as RabbitMQ has it by itself (3).
    ``max_unconfirmed`` counts messages on their way to the broker; what is published beyond it waits in memory.
    ``visibility_seconds`` is how long the embedded broker keeps the messages of a dead process from others.

    :raises ConfigError: with every problem found, one a line.
    """

    url: str = field(repr=False)
    namespace: str = "taskmesh"
    shards: int = 8
    shard_weights: tuple[int, ...] = ()
    queue_type: str = "quorum"
    quorum_group_size: int = 0
    heartbeat_seconds: int = 30
    connect_timeout_seconds: float = 5.0
    confirm_timeout_seconds: float = 30.0
    blocked_timeout_seconds: float = 300.0
    reconnect_base_seconds: float = 0.05
    reconnect_cap_seconds: float = RECONNECT_CAP_SECONDS
    max_unconfirmed: int = 2_000
    visibility_seconds: float = 15.0

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise ConfigError("\n".join(problems))

    @property
    def weights(self) -> tuple[int, ...]:
        """One weight for each shard."""
        return self.shard_weights or (1,) * self.shards

    def _problems(self) -> Iterator[str]:
        if self.shards < 1:
            yield f"broker.shards is {self.shards}; it must be 1 or more"
        if self.shard_weights and len(self.shard_weights) != self.shards:
            yield (
                f"broker.shard_weights has {len(self.shard_weights)} weights for {self.shards} shards; "
                "give one for each shard, or none for equal ones"
            )
        if any(not 1 <= weight <= MAX_SHARD_WEIGHT for weight in self.shard_weights):
            yield f"broker.shard_weights holds {self.shard_weights}; every weight must be 1 to {MAX_SHARD_WEIGHT}"
        if self.queue_type not in ("quorum", "classic"):
            yield f"broker.queue_type is {self.queue_type!r}; use 'quorum' or 'classic'"
        if self.quorum_group_size < 0:
            yield f"broker.quorum_group_size is {self.quorum_group_size}; it must be 0 or more"
        if self.quorum_group_size and self.queue_type != "quorum":
            yield f"broker.quorum_group_size is for quorum queues, and broker.queue_type is {self.queue_type!r}"
        if self.heartbeat_seconds < MIN_HEARTBEAT_SECONDS:
            yield f"broker.heartbeat_seconds is {self.heartbeat_seconds}; it must be {MIN_HEARTBEAT_SECONDS} or more"
        yield from self._not_positive()

    def _not_positive(self) -> Iterator[str]:
        for name in (
            "connect_timeout_seconds",
            "confirm_timeout_seconds",
            "blocked_timeout_seconds",
            "reconnect_base_seconds",
            "reconnect_cap_seconds",
            "max_unconfirmed",
            "visibility_seconds",
        ):
            value = getattr(self, name)
            if value <= 0:
                yield f"broker.{name} is {value}; it must be more than 0"
