"""taskmesh itself, through its public names."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.benchmark.app import mesh, noop
from scripts.benchmark.flows import careful_fan_in, chain, fan_in, lanes, mapped, montage
from scripts.benchmark.montage import read_shape, twin_shape
from scripts.benchmark.systems.driver import Driver, timed

WAIT_SECONDS = 280.0
LANES = 100
CHAIN_LENGTH = 100
# A shard is a queue, first in, first out, and there are many fewer shards than this: when the last of all that
# were submitted have ended, the others have. To await each run would take time from the workers on a small machine.
LAST_RUNS = 100


class TaskmeshDriver(Driver):
    def __init__(self, montage_file: Path | None) -> None:
        self._montage = montage(read_shape(montage_file) if montage_file else twin_shape())
        self._runs: list[Any] = []

    def wait(self) -> None:
        for run in self._runs[-LAST_RUNS:]:
            run.result(timeout=WAIT_SECONDS)

    def clear(self) -> None:
        self._check()
        self._runs.clear()

    def single(self, count: int) -> None:
        self._submit_many(noop, [{"value": value} for value in range(count)])

    def flows_of_9(self, count: int) -> None:
        self._submit_many(fan_in(8), [{}] * count)

    def careful_flows_of_9(self, count: int) -> None:
        self._submit_many(careful_fan_in(8), [{}] * count)

    def fan_in(self, width: int) -> None:
        self._runs.append(mesh.submit(fan_in(width, shard_by="node")))

    def map(self, width: int) -> None:
        self._runs.append(mesh.submit(mapped(), items=list(range(width))))

    def chains_at_once(self, count: int) -> None:
        self._submit_many(chain(CHAIN_LENGTH), [{}] * count)

    def montage(self, count: int) -> None:
        self._submit_many(self._montage, [{}] * count)

    def one_run(self, nodes: int) -> None:
        self._runs.append(mesh.submit(lanes(LANES, nodes // LANES)))

    def chain(self, length: int) -> list[float]:
        flow = chain(length)
        return [timed(lambda: mesh.submit(flow).result(timeout=WAIT_SECONDS), length)]

    def round_trip(self, count: int) -> list[float]:
        return [timed(lambda: noop.send(0).result(timeout=WAIT_SECONDS)) for _ in range(count)]

    def _submit_many(self, flow: Any, params: Sequence[dict[str, Any]]) -> None:
        self._runs.extend(mesh.submit_many(flow, params))

    def _check(self) -> None:
        """A figure counts only when every run has a result."""
        for run in self._runs:
            run.result(timeout=WAIT_SECONDS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--montage", type=Path)
    TaskmeshDriver(parser.parse_args().montage).serve()
