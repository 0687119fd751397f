"""Large parameters of runs that are about to be admitted: put aside before, each by itself.

Nobody knows such a run yet. So it is said first that it is expected (``store.expected_runs``), and again right before
it is admitted: what is written in between is not taken for that of a run that is gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskmesh.dispatch.advance import Entrance
from taskmesh.errors import PayloadUnavailableError
from taskmesh.payload.large_values import LargeValues
from taskmesh.store.expected_runs import ExpectedRuns
from taskmesh.store.reader import Reader
from taskmesh.store.store import Store
from taskmesh.wire import pack
from taskmesh.wire.claim_checks import ClaimCheck, Params, is_parted, pack_check, read_check


class LargeParams:
    """Puts parameters aside. Safe in threads; every call but ``takes`` may block."""

    def __init__(self, store: Store, large: LargeValues) -> None:
        self._expected = ExpectedRuns.of(store)
        self._reader = Reader(store.link, store.keys)
        self.large = large

    def takes(self, size: int) -> bool:
        """Whether among parameters of so many bytes there may be one to put aside."""
        return self.large.takes(size)

    def parted(self, run_id: str, values: Mapping[str, Any], stays: str = "") -> Params:
        """Parameters of a run, of which the large ones are put aside, but for that of the name ``stays``.

        :raises TooLargeError: one is too large even for that. :raises PayloadUnavailableError: that was not possible.
        """
        here, aside = dict[str, Any](), dict[str, ClaimCheck]()
        for name, value in values.items():
            packed = pack(value)
            if name == stays or not self.large.takes(len(packed)):
                here[name] = value
                continue
            if not aside:
                self._expected.expect(run_id)
            what = f"the parameter {name!r} of run {run_id!r} has"
            aside[name] = _check(self.large.put(what, run_id, packed))
        return Params(here, aside)

    def own(self, run_id: str, source: str, params: Params, stays: str = "") -> Params:
        """The same for a run that is given them by another one: it gets copies of what that has put aside.

        :raises PayloadError: something is not there. Other errors as of ``parted``.
        """
        if params.aside:
            self._expected.expect(run_id)
        parted = self.parted(run_id, params.here, stays)
        stored = {name: pack_check(each) for name, each in params.aside.items()}
        copies = {name: _check(self.large.copy(each, source, run_id)) for name, each in stored.items()}
        return Params(parted.here, {**parted.aside, **copies})

    def refuse_forgotten(self, entrances: Sequence[Entrance]) -> None:
        """To be called right before runs are admitted: those of which parameters were put aside must be expected still.

        :raises PayloadUnavailableError: that took so long that what was put aside may be gone.
        """
        run_ids = _parted(entrances)
        late = [run_id for run_id, is_so in zip(run_ids, self._expected.still(run_ids), strict=True) if not is_so]
        # Somebody else may have admitted the same run meanwhile.
        for run_id, status in zip(late, self._reader.statuses(late) if late else (), strict=True):
            if status is None:
                raise PayloadUnavailableError(
                    f"it took too long to put the parameters of run {run_id!r} aside; submit it again"
                )

    def admitted(self, entrances: Sequence[Entrance]) -> None:
        """To be called after that: they are expected no more."""
        self._expected.forget(_parted(entrances))


def _parted(entrances: Sequence[Entrance]) -> list[str]:
    return [each.run_id for each in entrances if is_parted(each.params)]


def _check(stored: bytes) -> ClaimCheck:
    check = read_check(stored)
    assert check is not None
    return check
