"""Every key of the store is named here and nowhere else.

All keys of a run carry the hash tag of the run's partition, so one script touches one slot of a Redis Cluster.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """Names of keys below one namespace, spread over ``partitions`` hash tags."""

    namespace: str
    partitions: int

    def partition_of(self, run_id: str) -> int:
        return zlib.crc32(run_id.encode()) % self.partitions

    def _tagged(self, partition: int, name: str) -> str:
        return f"{self.namespace}:{{{partition}}}:{name}"

    def run(self, run_id: str) -> str:
        return self._tagged(self.partition_of(run_id), f"run:{run_id}")

    def events(self, run_id: str) -> str:
        """The sharded channel on which the transitions of a run are announced."""
        return f"{self.run(run_id)}:events"

    def end(self, run_id: str) -> str:
        """The sharded channel on which only the end of a run is announced."""
        return f"{self.run(run_id)}:end"

    def flow(self, partition: int, flow_hash: str) -> str:
        return self._tagged(partition, f"flow:{flow_hash}")

    def open_runs(self, partition: int) -> str:
        """Sorted set of runs that have not ended, by the time of submission."""
        return self._tagged(partition, "open")

    def closed_runs(self, partition: int) -> str:
        """Sorted set of runs that have ended, by the time of their end."""
        return self._tagged(partition, "closed")

    def outbox(self, partition: int, pool: str) -> str:
        """Sorted set of RUN/NODE that are due and have not ended, by the time they were due or last looked after."""
        return self._tagged(partition, f"outbox:{pool}")

    def holders(self, partition: int) -> str:
        """Sorted set of I/O processes, by the end of their lease."""
        return self._tagged(partition, "holders")

    def probes(self, pool: str) -> str:
        """Hash of shard queue -> time at which the newest received probe was sent."""
        return f"{self.namespace}:probes:{pool}"

    def pools(self) -> str:
        """Set of the pools that workers consume."""
        return f"{self.namespace}:pools"

    def keeper(self) -> str:
        """The lock of the keeper."""
        return f"{self.namespace}:keeper"

    def dead_letters(self) -> str:
        """Stream of messages that no worker could use."""
        return f"{self.namespace}:dead"
