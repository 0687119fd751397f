"""The flows of the benchmark, built to any size."""

from __future__ import annotations

from typing import Any

from scripts.benchmark.app import join, mesh, noop, step
from scripts.benchmark.montage import Shape


def fan_in(width: int) -> Any:
    """``width`` nodes and a join that waits for all of them."""

    @mesh.flow(name=f"fan-in-{width}", version="1")
    def fan_in_flow() -> Any:
        return join([noop(value) for value in range(width)])

    return fan_in_flow


def chain(length: int) -> Any:
    """``length`` nodes in a row, each with the output of the one before."""

    @mesh.flow(name=f"chain-{length}", version="1")
    def chain_flow() -> Any:
        return _steps(length)

    return chain_flow


def lanes(count: int, length: int) -> Any:
    """``count`` chains beside each other, joined at their end."""

    @mesh.flow(name=f"lanes-{count}-{length}", version="1", shard_by="node")
    def lanes_flow() -> Any:
        return join([_steps(length) for _ in range(count)])

    return lanes_flow


def montage(shape: Shape) -> Any:
    """A recorded workflow, every node a no-op."""

    @mesh.flow(name="montage", version="1")
    def montage_flow() -> None:
        nodes: dict[str, Any] = {}
        for name, parents in shape.items():
            nodes[name] = noop(0).named(name).after(*(nodes[parent] for parent in parents))

    return montage_flow


def _steps(length: int) -> Any:
    value: Any = 0
    for _ in range(length):
        value = step(value)
    return value
