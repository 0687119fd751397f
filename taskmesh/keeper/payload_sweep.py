"""Removes the outputs that runs had put aside which are not there any more.

That Redis has forgotten a run is all that counts: its own expiry is what retention is, so nothing else has to be kept
in step with runs that end, go on, or are lost. What an attempt wrote whose process was killed is found the same way. A
run that is about to be admitted is not known yet, and nothing of it is removed as long as it is expected.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from taskmesh.clock import Clock
from taskmesh.errors import StoreUnavailableError, TaskmeshError
from taskmesh.observability.tally import Tally
from taskmesh.payload.payloads import SHARDS, Payloads
from taskmesh.store.expected_runs import ExpectedRuns
from taskmesh.store.housekeeping import Housekeeping
from taskmesh.store.reader import Reader

PASS_SECONDS = 60.0
LEAST_SECONDS = 0.5
PASSES_PER_RETENTION = 10
"""Between two passes: PASS_SECONDS, and less where runs are kept for a shorter time anyway."""

REST = 20
"""A pass that takes long is followed by a rest of so many times its own length: places may hold very many runs."""

RUNS_PER_READ = 500

_log = logging.getLogger(__name__)


class PayloadSweep:
    """Passes over the place for large values, as long as this process leads. Everything happens on one loop."""

    def __init__(
        self,
        payloads: Callable[[], Payloads | None],
        housekeeping: Housekeeping,
        reader: Reader,
        expected: ExpectedRuns,
        retention_seconds: float,
        tally: Tally,
        clock: Clock,
    ) -> None:
        self._payloads = payloads
        self._housekeeping = housekeeping
        self._reader = reader
        self._expected = expected
        self._pause_seconds = max(LEAST_SECONDS, min(PASS_SECONDS, retention_seconds / PASSES_PER_RETENTION))
        self._tally = tally
        self._clock = clock
        self._sweeping: asyncio.Task[None] | None = None
        self._is_ended = False

    def begin(self) -> None:
        """This process leads; again and again is fine."""
        self._is_ended = False
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().create_task(self._sweep_again_and_again())

    def end(self) -> None:
        """It leads no more. What it is about to remove may be removed by another one, too."""
        # The thread that makes a pass cannot be cancelled; it looks at this.
        self._is_ended = True
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None

    async def _sweep_again_and_again(self) -> None:
        while True:
            begun = self._clock.monotonic()
            try:
                removed = await asyncio.to_thread(self.sweep)
                if removed is None:
                    return
                self._tally.count("payloads_removed_total", amount=removed)
            except StoreUnavailableError as error:
                _log.debug("large values are not looked after: %s", error)
            except TaskmeshError as error:
                _log.error("large values of ended runs are not removed: %s", error)
            except Exception:
                # A loop that keeps promises must outlive any single failure.
                _log.exception("large values of ended runs are not removed")
            await asyncio.sleep(max(self._pause_seconds, REST * (self._clock.monotonic() - begun)))

    def sweep(self) -> int | None:
        """Make one pass, which blocks; says how many outputs were removed, None where there is no place for any.

        :raises UsageError: the place belongs to another installation, which would lose what it needs.
        :raises PayloadUnavailableError: the pass ended half-way, which does no harm; so it does with
        :raises StoreUnavailableError: nothing is known of the runs.
        """
        payloads = self._payloads()
        if payloads is None:
            return None
        payloads.claim(self._housekeeping.installation())
        removed = 0
        for shard in SHARDS:
            found = payloads.runs(shard)
            pages = (found[start : start + RUNS_PER_READ] for start in range(0, len(found), RUNS_PER_READ))
            removed += sum(self._remove(payloads, self._gone(page)) for page in pages)
            if self._is_ended:
                break
        return removed

    def _remove(self, payloads: Payloads, gone: Sequence[str]) -> int:
        contents = {run_id: payloads.contents(run_id) for run_id in gone}
        # Asked again after that: under the id of an old run there may be a new one meanwhile. Names are never used
        # twice, so what was listed belongs to a run that is not there, whatever comes now.
        still_gone = self._gone(gone)
        for run_id in still_gone:
            payloads.remove(run_id, contents[run_id])
        return sum(len(contents[run_id]) for run_id in still_gone)

    def _gone(self, run_ids: Sequence[str]) -> list[str]:
        # In this order: one that is expected no more is there by then.
        expected = self._expected.among(run_ids)
        others = [run_id for run_id in run_ids if run_id not in expected]
        statuses = self._reader.statuses(others) if others else []
        return [run_id for run_id, status in zip(others, statuses, strict=True) if status is None]
