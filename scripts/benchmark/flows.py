"""The flows of the benchmark, built to any size; each is built once, since an app does that when it is imported."""

from __future__ import annotations

from functools import cache
from typing import Any

from scripts.benchmark.app import careful_join, careful_noop, join, mesh, noop, step
from scripts.benchmark.montage import Shape
from taskmesh import Flow


@cache
def fan_in(width: int, shard_by: str = "run") -> Flow:
    """``width`` nodes and a join of them. A wide one needs ``shard_by="node"`` to use all shards."""

    @mesh.flow(name=f"fan-in-{width}", version="1", shard_by=shard_by)
    def fan_in_flow() -> Any:
        return join([noop(value) for value in range(width)])

    return fan_in_flow.compile()


@cache
def careful_fan_in(width: int) -> Flow:
    """The same of tasks that have a retry policy and time limits."""

    @mesh.flow(name=f"careful-fan-in-{width}", version="1")
    def careful_flow() -> Any:
        return careful_join([careful_noop(value) for value in range(width)])

    return careful_flow.compile()


@cache
def mapped() -> Flow:
    """The same of so many nodes as a run has items, which only the run knows."""

    @mesh.flow(name="mapped", version="1")
    def mapped_flow(items: list[int]) -> Any:
        return join(noop.map(items))

    return mapped_flow.compile()


@cache
def chain(length: int) -> Flow:
    """``length`` nodes in a row, each with the output of the one before."""

    @mesh.flow(name=f"chain-{length}", version="1")
    def chain_flow() -> Any:
        return _steps(length)

    return chain_flow.compile()


@cache
def lanes(count: int, length: int) -> Flow:
    """``count`` chains beside each other, joined at their end."""

    @mesh.flow(name=f"lanes-{count}-{length}", version="1", shard_by="node")
    def lanes_flow() -> Any:
        return join([_steps(length) for _ in range(count)])

    return lanes_flow.compile()


def montage(shape: Shape) -> Flow:
    """A recorded workflow, every node a no-op."""

    @mesh.flow(name="montage", version="1")
    def montage_flow() -> None:
        nodes: dict[str, Any] = {}
        for name, parents in shape.items():
            node: Any = noop(0)
            nodes[name] = node.named(name).after(*(nodes[parent] for parent in parents))

    return montage_flow.compile()


def _steps(length: int) -> Any:
    value: Any = 0
    for _ in range(length):
        value = step(value)
    return value
