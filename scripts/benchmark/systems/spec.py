"""How a system is started, and what it is asked to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Spec:
    """One system: the commands of its workers and of its driver, with their environment.

    ``sizes`` names the workloads that it can do; None stands for the full size.
    """

    name: str
    workers: Sequence[Sequence[str]]
    driver: Sequence[str]
    sizes: Mapping[str, int | None]
    settings: str
    env: Mapping[str, str] = field(default_factory=dict)
