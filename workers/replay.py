"""Replays recorded workflows: each step takes its recorded time and hands on data of its recorded size.

``taskmesh import wfcommons FILE -o flow.yaml`` writes flows of this task.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping

from taskmesh import Mesh

mesh = Mesh()


class WrongInputError(Exception):
    """What a step got is not what its parent handed on."""


@mesh.task
def step(
    node: str,
    program: str,
    seconds: float,
    output_bytes: int,
    inputs: dict[str, dict[str, str]],
    input_bytes: dict[str, int],
) -> dict[str, str]:
    """Check what the parents handed on, take ``seconds``, and hand on ``output_bytes``.

    ``node`` is this step's own name and ``program`` the recorded one. ``inputs`` are the outputs of the parents by
    name, ``input_bytes`` the sizes that they must have.
    """
    check_inputs(node, inputs, input_bytes)
    time.sleep(seconds)
    payload = payload_of(node, output_bytes)
    return {"node": node, "program": program, "digest": _digest(payload), "payload": payload}


def check_inputs(node: str, inputs: Mapping[str, Mapping[str, str]], input_bytes: Mapping[str, int]) -> None:
    """Hold every input to its parent's name, size and content.

    :raises WrongInputError: for the first that differs, and for one that is missing or too many.
    """
    if inputs.keys() != input_bytes.keys():
        raise WrongInputError(f"{node} needs the outputs of {sorted(input_bytes)} and got those of {sorted(inputs)}")
    for parent, size in input_bytes.items():
        payload = inputs[parent]["payload"]
        if len(payload) != size:
            raise WrongInputError(f"{node} got {len(payload)} bytes of {parent}, which hands on {size}")
        if _digest(payload) != inputs[parent]["digest"] or payload != payload_of(parent, size):
            raise WrongInputError(f"{node} got bytes of {parent} that {parent} never handed on")


def payload_of(node: str, size: int) -> str:
    """What a node of this name hands on: always the same ASCII text of ``size`` bytes."""
    return hashlib.shake_256(node.encode()).hexdigest((size + 1) // 2)[:size]


def _digest(payload: str) -> str:
    return hashlib.sha256(payload.encode()).hexdigest()
