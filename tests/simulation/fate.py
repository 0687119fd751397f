"""What goes wrong in one simulation: drawn from its seed, each fault either absent or at a rate of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Fault:
    """One thing that can go wrong: how often at most, where it can, and whether it makes the broker lose messages."""

    name: str
    rate: float
    loses: bool = False


AT_EACH_STEP = (
    Fault("connection refused", 0.4),
    Fault("message lost", 0.05, loses=True),
    Fault("message doubled", 0.1),
    Fault("message late", 0.1),
    Fault("message overtaken", 0.3),
    Fault("publish refused", 0.1),
    Fault("cut before the broker has a message", 0.03),
    Fault("cut before a confirm", 0.03),
    Fault("confirm lost", 0.003),
    Fault("request lost", 0.03),
    Fault("reply lost", 0.03),
    Fault("half a batch", 0.03),
    Fault("store refuses a call", 0.02),
    Fault("store answers late", 0.2),
    Fault("call arrives after its caller gave up", 0.3),
    Fault("cut off amid a call", 0.04),
    Fault("scripts forgotten", 0.02),
    Fault("dies before a call", 0.002),
    Fault("dies after a call", 0.002),
    Fault("client dies", 0.2),
)
"""Each strikes with its rate wherever it can."""

AT_ANY_TIME = (
    Fault("kill", 6),
    Fault("pause", 6),
    Fault("retire", 4),
    Fault("cut off", 5),
    Fault("cut", 10),
    Fault("cut all", 3),
    Fault("broker down", 3),
    Fault("broker wiped", 2, loses=True),
    Fault("queue deleted", 4, loses=True),
    Fault("alarm", 3),
    Fault("store down", 4),
    Fault("keeper's lock lost", 3),
    Fault("lease lost", 4),
)
"""Each strikes so often in a simulation at most."""

ON = 0.35
"""How likely a fault is to be there at all: few at a time leave room for what only those few can do."""


def chance_of(*concern: object) -> Random:
    """Draws for one concern of one seed: whatever else is drawn, or comes to be drawn one day, does not move them."""
    return Random("/".join(map(str, concern)))


class Fate:
    """Decides, by the seed, what goes wrong and when."""

    def __init__(self, seed: int, only: Collection[str] | None = None) -> None:
        """With ``only``, these faults strike as often as they may, and no others."""
        self._chances = {fault.name: chance_of(seed, fault.name) for fault in ALL}
        self._rates = self._draw(AT_EACH_STEP) if only is None else _named(AT_EACH_STEP, only)
        times = self._draw(AT_ANY_TIME) if only is None else _named(AT_ANY_TIME, only)
        self.times = {name: round(most) for name, most in times.items()}
        self.struck: Counter[str] = Counter()
        self.is_over = False

    @property
    def loses_messages(self) -> bool:
        """Whether the broker may lose what it has confirmed."""
        return any(fault.loses and (fault.name in self._rates or self.times.get(fault.name)) for fault in ALL)

    @property
    def faults(self) -> list[str]:
        """What can go wrong in this simulation."""
        return [*self._rates, *(name for name, times in self.times.items() if times)]

    def strikes(self, name: str) -> bool:
        rate = self._rates.get(name, 0.0)
        if self.is_over or not rate or self._chances[name].random() >= rate:
            return False
        self.struck[name] += 1
        return True

    def seconds(self, name: str, least: float, most: float) -> float:
        """For how long a fault strikes; 0 when it does not."""
        return self._chances[name].uniform(least, most) if self.strikes(name) else 0.0

    def _draw(self, faults: Iterable[Fault]) -> dict[str, float]:
        chances = {fault: self._chances[fault.name] for fault in faults}
        return {fault.name: fault.rate * chance.random() for fault, chance in chances.items() if chance.random() < ON}


ALL = AT_EACH_STEP + AT_ANY_TIME


def _named(faults: Iterable[Fault], names: Collection[str]) -> dict[str, float]:
    return {fault.name: fault.rate for fault in faults if fault.name in names}
