"""What looks at the store while an experiment is under way."""

from __future__ import annotations

import random

from tests.nemesis.history import History
from tests.nemesis.ledger import Ledger
from tests.nemesis.lookout import Lookout
from tests.nemesis.observer import Observer


class Watch:
    """An observer of what has ended, where an experiment wants one, and a lookout for what is stuck."""

    def __init__(self) -> None:
        self._observer: Observer | None = None
        self._lookout: Lookout | None = None

    def observe(self, ledger: Ledger, history: History, dice: random.Random) -> None:
        """Look from now on whether anything that has ended changes."""
        self._observer = Observer(ledger, history, dice)

    def look_out(self, ledger: Ledger) -> None:
        """Look from now on whether anything is stuck."""
        self._lookout = self._lookout or Lookout(ledger)

    @property
    def looks(self) -> int:
        return self._lookout.looks if self._lookout else 0

    @property
    def forsaken_seconds(self) -> float:
        return self._lookout.longest_seconds if self._lookout else 0.0

    def finish(self) -> list[str]:
        """Stop looking; what was seen that must not be."""
        self.stop()
        changed = self._observer.finish() if self._observer else []
        return [*changed, *(self._lookout.violations() if self._lookout else [])]

    def stop(self) -> None:
        """Look no more at what is stuck; may be called again."""
        if self._lookout is not None:
            self._lookout.stop()
