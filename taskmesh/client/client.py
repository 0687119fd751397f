"""Submits runs and reads what became of them. Safe in threads."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taskmesh.client.details import RunDetails, RunEvent, first_failure, matches, read_event, run_details
from taskmesh.client.publisher_thread import PublisherThread
from taskmesh.client.taps import Taps
from taskmesh.clock import Clock
from taskmesh.dispatch.advance import Advance, Advancer, Entrance
from taskmesh.dispatch.dispatcher import outgoing
from taskmesh.dispatch.plan import Plan, Plans
from taskmesh.errors import (
    ResultTimeoutError,
    RunCancelledError,
    RunConflictError,
    RunFailedError,
    RunNotFoundError,
    TooLargeError,
    UsageError,
)
from taskmesh.model.flow import Flow
from taskmesh.model.params import check_params
from taskmesh.model.states import RunState
from taskmesh.resilience.breaker import LocalBreaker
from taskmesh.store.calls import Word
from taskmesh.store.keys import Keys
from taskmesh.store.reader import Reader, RunRecord, RunSummary
from taskmesh.store.store import Store
from taskmesh.wire import pack, unpack

RUNS_PER_BATCH = 200
LOOK_AGAIN_SECONDS = 1.0
"""An announcement can be lost with its connection; so a waiting caller also looks this often."""

_ID_BYTES = 12
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")


@dataclass(frozen=True, slots=True)
class ClientParts:
    """What a client works with."""

    store: Store
    reader: Reader
    keys: Keys
    plans: Plans
    publisher: PublisherThread
    taps: Taps
    clock: Clock
    store_breaker: LocalBreaker


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """What a client refuses before anything is stored."""

    max_value_bytes: int
    max_nodes: int


@dataclass(frozen=True, slots=True)
class Submission:
    """One run to submit."""

    params: Mapping[str, Any]
    run_id: str | None = None
    tags: Mapping[str, str] | None = None


class Client:
    """The producer's side of a mesh."""

    def __init__(self, parts: ClientParts, limits: ClientLimits) -> None:
        self._parts = parts
        self._limits = limits
        self._advancer = Advancer(parts.store)

    def submit(self, plan: Plan, submissions: Sequence[Submission]) -> list[str]:
        """Store runs of one flow and send their first nodes off; returns the run ids.

        When this returns, the runs are accepted: they reach an end whatever dies afterwards.

        :raises RunConflictError: an id is taken by a run with another body; of the others, some were submitted.
        :raises StoreUnavailableError: the store does not answer; submit again with the same ids.
        """
        self._refuse_oversized_flow(plan.flow)
        entrances = [self._entrance(plan, each) for each in submissions]
        self._parts.plans.add(plan)
        for start in range(0, len(entrances), RUNS_PER_BATCH):
            batch = entrances[start : start + RUNS_PER_BATCH]
            with self._parts.store_breaker.calling():
                advances = self._advancer.admit(batch)
            self._send_off(batch, advances)
        return [each.run_id for each in entrances]

    def status(self, run_id: str) -> RunState:
        """:raises RunNotFoundError: no such run."""
        [status] = self._parts.reader.statuses([run_id])
        if status is None:
            raise RunNotFoundError(run_id)
        return status

    def wait(self, run_id: str, timeout_seconds: float | None = None) -> RunState:
        """Block until the run has ended; returns its status.

        :raises ResultTimeoutError: it had not ended when the time was over.
        """
        deadline = None if timeout_seconds is None else self._parts.clock.monotonic() + timeout_seconds
        with self._parts.taps.listen(self._parts.keys.end(run_id)) as tap:
            while not (status := self.status(run_id)).ended:
                left = LOOK_AGAIN_SECONDS if deadline is None else deadline - self._parts.clock.monotonic()
                if left <= 0:
                    raise ResultTimeoutError(run_id, timeout_seconds or 0.0)
                announced = tap.next(min(left, LOOK_AGAIN_SECONDS))
                if announced is not None:
                    return RunState(announced.decode())
        return status

    def result(self, run_id: str, timeout_seconds: float | None = None, plan: Plan | None = None) -> Any:
        """Block until the run has ended; returns its result. ``plan`` saves looking up what is run.

        :raises RunFailedError: it failed. :raises RunCancelledError: it was cancelled.
        :raises ResultTimeoutError: it had not ended when the time was over.
        """
        status = self.wait(run_id, timeout_seconds)
        if status is RunState.SUCCEEDED:
            return self._result(run_id, plan or self._plan(run_id))
        if status is RunState.CANCELLED:
            raise RunCancelledError(run_id)
        record, plan = self._record(run_id)
        raise RunFailedError(run_id, *first_failure(record, plan))

    def details(self, run_id: str) -> RunDetails:
        """:raises RunNotFoundError: no such run."""
        return run_details(*self._record(run_id))

    def watch(self, run_id: str) -> Iterator[RunEvent]:
        """What happens to a run, as it happens, until it ends: first what has happened already, then live."""
        with self._parts.taps.listen(self._parts.keys.events(run_id)) as tap:
            self._parts.store.watch_run(run_id)
            record, plan = self._record(run_id)
            for event in _past(record, plan):
                yield event
            status, finished_at = record.summary.status, record.summary.finished_at
            while not status.ended:
                data = tap.next(LOOK_AGAIN_SECONDS)
                if data is None:
                    summary = self._summary(run_id)
                    status, finished_at = summary.status, summary.finished_at
                    continue
                event = read_event(data, plan)
                if event.kind == "run":
                    status, finished_at = RunState(event.state), event.at
                    break
                yield event
            yield RunEvent("run", None, status, finished_at or 0.0)

    def cancel(self, run_id: str) -> bool:
        """Let nothing more of a run start; False when it had ended before.

        :raises RunNotFoundError: no such run.
        """
        word, _ = self._parts.store.halt_run(run_id, RunState.CANCELLED)
        if word is Word.UNKNOWN:
            raise RunNotFoundError(run_id)
        return word is Word.HALTED

    def list_runs(self, status: RunState | None, flow: str | None, limit: int) -> list[RunSummary]:
        """The newest runs first. Looks at the newest 10 x ``limit`` when a filter is given."""
        depth = limit if status is None and flow is None else limit * 10
        kinds = [False, True] if status is None else [status.ended]
        rows = [row for closed in kinds for row in self._parts.reader.list_runs(closed, depth)]
        chosen = [row for row in rows if matches(row, status, flow)]
        return sorted(chosen, key=lambda row: -row.submitted_at)[:limit]

    def dead_letters(self, limit: int) -> list[dict[str, Any]]:
        return self._parts.reader.dead_letters(limit)

    def close(self, timeout_seconds: float) -> None:
        self._parts.publisher.close(timeout_seconds)
        self._parts.taps.close()

    def _send_off(self, batch: Sequence[Entrance], advances: Sequence[Advance]) -> None:
        self._parts.publisher.publish([outgoing(ready) for advance in advances for ready in advance.ready])
        for entrance, advance in zip(batch, advances, strict=True):
            if advance.word is Word.CONFLICT:
                raise RunConflictError(entrance.run_id)

    def _entrance(self, plan: Plan, submission: Submission) -> Entrance:
        run_id = _checked_id(submission.run_id) if submission.run_id is not None else secrets.token_hex(_ID_BYTES)
        accepted = check_params(plan.flow, submission.params)
        params = pack(accepted)
        if len(params) > self._limits.max_value_bytes:
            raise TooLargeError(
                f"the parameters of run {run_id!r} have {len(params)} bytes; "
                f"limits.max_value_bytes allows {self._limits.max_value_bytes}"
            )
        flow = plan.flow
        return Entrance(
            plan=plan,
            run_id=run_id,
            digest=hashlib.blake2b(params, digest_size=16, key=plan.hash.encode()).digest(),
            header=pack([flow.name, flow.version, dict(submission.tags or {}), len(flow.nodes)]),
            params=params,
            shard_key=_shard_key(flow, run_id, accepted),
        )

    def _refuse_oversized_flow(self, flow: Flow) -> None:
        if len(flow.nodes) > self._limits.max_nodes:
            raise TooLargeError(
                f"flow {flow.name!r} has {len(flow.nodes)} nodes; limits.max_nodes allows {self._limits.max_nodes}"
            )

    def _result(self, run_id: str, plan: Plan) -> Any:
        sources = plan.graph.result_inputs
        params, *outputs = self._parts.reader.run_fields(run_id, ["params", *(f"output:{each}" for each in sources)])
        values = {source: unpack(output) for source, output in zip(sources, outputs, strict=True) if output is not None}
        return plan.graph.resolve_result(unpack(params or b"\x80"), values)

    def _record(self, run_id: str) -> tuple[RunRecord, Plan]:
        record = self._parts.reader.run(run_id)
        if record is None:
            raise RunNotFoundError(run_id)
        return record, self._plan(run_id)

    def _summary(self, run_id: str) -> RunSummary:
        for summary in self._parts.reader.summaries([run_id]):
            return summary
        raise RunNotFoundError(run_id)

    def _plan(self, run_id: str) -> Plan:
        [flow_hash] = self._parts.reader.run_fields(run_id, ["flow"])
        plan = self._parts.plans.get(flow_hash.decode(), run_id) if flow_hash else None
        if plan is None:
            raise RunNotFoundError(run_id)
        return plan


def _past(record: RunRecord, plan: Plan) -> Iterator[RunEvent]:
    stored = sorted(
        record.nodes.items(), key=lambda item: item[1].finished_at or item[1].started_at or item[1].ready_at
    )
    for position, node in stored:
        if position >= 0:
            at = node.finished_at or node.started_at or node.ready_at
            yield RunEvent("node", plan.graph.names[position], node.state, at, node.attempt, node.holder)


def _checked_id(run_id: str) -> str:
    if not _RUN_ID.fullmatch(run_id):
        raise UsageError(
            f"the run id {run_id!r} is not usable: it must start with a letter or digit, have at most 128 characters, "
            "and besides letters and digits only . _ : @ -"
        )
    return run_id


def _shard_key(flow: Flow, run_id: str, params: Mapping[str, Any]) -> str:
    if not flow.shard_by.startswith("params."):
        return run_id
    return str(params[flow.shard_by.removeprefix("params.")])[:128]
