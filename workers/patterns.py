"""The only task of the workflow patterns in ``configs/flows/patterns``; what they show is which node runs when."""

from __future__ import annotations

from typing import Any

from taskmesh import Mesh

mesh = Mesh()


@mesh.task
def work(gives: Any = None) -> Any:
    """Gives back what it is told to."""
    return gives
