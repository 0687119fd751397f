"""Submits runs and reads what became of them. Safe in threads."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from taskmesh.client.choosing import RunFilter, chosen_runs
from taskmesh.client.compensation import Compensator, unhappy_end
from taskmesh.client.controlling import RunControl
from taskmesh.client.counting import Counted, counted, with_counts
from taskmesh.client.details import (
    NodeDetails,
    RunDetails,
    RunEvent,
    matches,
    past_events,
    read_event,
    run_details,
)
from taskmesh.client.explaining import Explainer, RunExplanation
from taskmesh.client.history import run_history
from taskmesh.client.items import Items
from taskmesh.client.limits import ClientLimits
from taskmesh.client.marking import Marking
from taskmesh.client.outputs import value_in_store
from taskmesh.client.parts import LOOK_AGAIN_SECONDS, ClientParts
from taskmesh.client.signalling import Signalling
from taskmesh.dispatch.advance import Advance, Advancer, Entrance
from taskmesh.dispatch.children.begun import begun_by
from taskmesh.dispatch.deferring import used_params
from taskmesh.dispatch.dispatcher import outgoing
from taskmesh.dispatch.entrance import Submission, entrance_of
from taskmesh.dispatch.large_params import LargeParams
from taskmesh.dispatch.pins import Pins
from taskmesh.dispatch.plan import Plan
from taskmesh.errors import (
    ResultTimeoutError,
    RunConflictError,
    RunLostError,
    RunNotFoundError,
    StoreRefusedError,
    StoreUnavailableError,
)
from taskmesh.model.flow import Flow
from taskmesh.model.states import RunState
from taskmesh.store.calls import Word
from taskmesh.store.flow_versions import flow_versions_of
from taskmesh.store.records import RunRecord, RunSummary
from taskmesh.wire.claim_checks import read_params
from taskmesh.wire.run_contexts import decode_context

RUNS_PER_BATCH = 200


class Client:
    """The producer's side of a mesh."""

    def __init__(self, parts: ClientParts, limits: ClientLimits) -> None:
        self._parts = parts
        self._limits = limits
        self._advancer = Advancer(parts.store)
        self._pins = Pins(parts.store)
        self._large_params = LargeParams(parts.store, parts.large)
        self.control = RunControl(parts, limits.max_value_bytes)
        self._explainer = Explainer(parts)
        self._items = Items(parts)
        self.marking = Marking(parts, limits.max_value_bytes)
        self.signalling = Signalling(parts, limits.max_value_bytes)
        self._flow_versions = flow_versions_of(parts.store)
        self._compensator = Compensator(parts, self._advancer)

    def submit(self, plan: Plan, submissions: Sequence[Submission]) -> list[str]:
        """Store runs of one flow and send their first nodes off; returns the run ids.

        When this returns, the runs are accepted: they reach an end whatever dies afterwards.

        :raises RunConflictError: an id is taken by a run with another body; of the others, some were submitted.
        :raises StoreUnavailableError: the store does not answer; submit again with the same ids.
        :raises PayloadUnavailableError: large parameters cannot be put aside now; submit again with the same ids.
        """
        self._limits.check(plan)
        wished = [entrance_of(plan, each, self._limits.max_value_bytes, self._large_params) for each in submissions]
        entrances = [self._pins.pinned(each) for each in wished]
        self._parts.plans.add(plan)
        for start in range(0, len(entrances), RUNS_PER_BATCH):
            batch = entrances[start : start + RUNS_PER_BATCH]
            with self._parts.store_breaker.calling():
                self._large_params.refuse_forgotten(batch)
                advances = self._advancer.admit(batch)
                self._large_params.admitted(batch)
            self._send_off(batch, advances)
        return [each.run_id for each in entrances]

    def status(self, run_id: str) -> RunState:
        """:raises RunNotFoundError: no such run."""
        [status] = self._parts.reader.statuses([run_id])
        if status is None:
            raise RunNotFoundError(run_id)
        return status

    def wait(self, run_id: str, timeout_seconds: float | None = None, accepted: bool = False) -> RunState:
        """Block until the run has ended; returns its status. ``accepted`` says that a submit has returned for it.

        :raises ResultTimeoutError: it had not ended when the time was over.
        :raises RunLostError: it was accepted, or seen while waiting, and the store does not know it any more.
        :raises RunNotFoundError: no such run.
        """
        deadline = None if timeout_seconds is None else self._parts.clock.monotonic() + timeout_seconds
        # A store that is away from the start is told at once; one that goes away later is waited for.
        status = self._accepted_status(run_id) if accepted else self.status(run_id)
        while not status.ended:
            try:
                status = self._await_end(run_id, deadline)
            except StoreRefusedError:
                raise
            except StoreUnavailableError:
                self._parts.clock.sleep(LOOK_AGAIN_SECONDS)
            if not status.ended and self._left(deadline) <= 0:
                raise ResultTimeoutError(run_id, timeout_seconds or 0.0)
        return status

    def _await_end(self, run_id: str, deadline: float | None) -> RunState:
        with self._parts.taps.listen(self._parts.keys.end(run_id)) as tap:
            while not (status := self._accepted_status(run_id)).ended and (left := self._left(deadline)) > 0:
                announced = tap.next(left)
                if announced is not None:
                    return RunState(announced.decode())
        return status

    def _accepted_status(self, run_id: str) -> RunState:
        try:
            return self.status(run_id)
        except RunNotFoundError:
            raise RunLostError(run_id) from None

    def _left(self, deadline: float | None) -> float:
        """How long to wait for the next announcement, in seconds."""
        if deadline is None:
            return self._parts.look_again_seconds
        return min(self._parts.look_again_seconds, deadline - self._parts.clock.monotonic())

    def result(self, run_id: str, timeout_seconds: float | None = None, plan: Plan | None = None) -> Any:
        """Block until the run has ended; returns its result. ``plan`` is what was submitted, when this process did it.

        :raises RunFailedError: it failed. :raises RunCancelledError: it was cancelled or terminated.
        :raises CompensationFailedError: it did either, and what it had done could not all be undone.
        :raises ResultTimeoutError: it had not ended when the time was over. :raises RunLostError: as of ``wait``.
        :raises PayloadError: it was put aside, and is not there. :raises PayloadUnavailableError: it cannot be fetched.
        """
        status = self.wait(run_id, timeout_seconds, accepted=plan is not None)
        if status is RunState.SUCCEEDED:
            return self._result(run_id, plan or self._plan(run_id))
        raise unhappy_end(*self._record(run_id))

    def details(self, run_id: str, fetch_outputs: bool = True) -> RunDetails:
        """``fetch_outputs``: also those that were put aside.

        :raises RunNotFoundError: no such run.
        """
        record, plan = self._record(run_id)
        letters = tuple(self._parts.letters.ids_of_run(run_id))
        registered = self._flow_versions.number_of(plan.flow.name, plan.hash)
        value_of = partial(self._parts.large.value, run_id) if fetch_outputs else value_in_store
        details = run_details(record, plan, value_of)
        nodes = with_counts(details.nodes, plan, self._parts.reader)
        return replace(details, nodes=nodes, dead_letters=letters, registered=registered)

    def node(self, run_id: str, name: str) -> NodeDetails:
        """One node of a run, or the undo of one, or an item of a map of it.

        :raises RunNotFoundError: no such run. :raises UsageError: it has no such node, or the map no such item.
        :raises RunStateError: the map has no items yet, or not any more.
        """
        return (found := self._items.find(run_id, name)).of(self.details(found.run_id))

    def counted(self, run_ids: Sequence[str]) -> dict[str, Counted]:
        """How far runs are of which each node is an item."""
        return counted(self._parts.reader, run_ids)

    def explain(self, run_id: str, node: str | None, limit: int | None) -> RunExplanation:
        """What a run waits for; see ``Explainer``."""
        return self._explainer.explain(*self._items.located(run_id, node), limit)

    def history(self, run_id: str, node: str | None) -> list[RunEvent]:
        """What has happened to a run, or to one node of it.

        :raises RunNotFoundError: no such run. :raises UsageError: it has no such node.
        """
        run_id, node = self._items.located(run_id, node)
        record, plan = self._record(run_id)
        return [event for event in run_history(record, plan) if node is None or event.node == node]

    def watch(self, run_id: str) -> Iterator[RunEvent]:
        """What happens to a run, as it happens, until it ends: first what has happened already, then live."""
        with self._parts.taps.listen(self._parts.keys.events(run_id)) as tap:
            self._parts.store.watch_run(run_id)
            record, plan = self._record(run_id)
            past = list(past_events(record, plan))
            if record.summary.paused is not None:
                past.append(RunEvent("pause", None, RunState.PAUSED, record.summary.paused.at))
            yield from past
            told = {(event.node, event.state, event.attempt) for event in past}
            status, finished_at = record.summary.status, record.summary.finished_at
            while not status.ended:
                data = tap.next(self._parts.look_again_seconds)
                if data is None:
                    summary = self._summary(run_id)
                    status, finished_at = summary.status, summary.finished_at
                    continue
                event = read_event(data, plan)
                if event.kind == "run":
                    status, finished_at = RunState(event.state), event.at
                    if status.ended:
                        break
                # What happened between the subscription and the reading comes both ways.
                if (event.node, event.state, event.attempt) not in told:
                    yield event
            yield RunEvent("run", None, status, finished_at or 0.0)

    def flow(self, run_id: str) -> Flow:
        """What a run is one of.

        :raises RunNotFoundError: no such run.
        """
        return self._plan(run_id).flow

    def compensate(self, run_id: str) -> None:
        """Undo what a run did that has failed or was cancelled, or go on where undos had failed.

        :raises RunNotFoundError: no such run. :raises RunStateError: it has not ended so, or nothing can be undone.
        """
        self._compensator.compensate(run_id, self._plan(run_id))

    def list_runs(
        self, status: RunState | None, flow: str | None, limit: int, parent: str | None = None
    ) -> list[RunSummary]:
        """The newest runs first. Looks at the newest 10 x ``limit`` when a filter is given, and at all of a parent.

        :raises RunNotFoundError: there is no such parent.
        """
        if parent is not None:
            return self._children(parent, status, flow)[:limit]
        depth = limit if status is None and flow is None else limit * 10
        kinds = [False, True] if status is None else [status.ended]
        # By id: a run that ends between the two readings is in both, and the later one is right.
        rows = {row.run_id: row for closed in kinds for row in self._parts.reader.list_runs(closed, depth)}
        chosen = [row for row in rows.values() if matches(row, status, flow)]
        return sorted(chosen, key=lambda row: -row.submitted_at)[:limit]

    def _children(self, parent: str, status: RunState | None, flow: str | None) -> list[RunSummary]:
        record, plan = self._record(parent)
        told = {node.child for node in run_details(record, plan).nodes if node.child}
        children = told | {child for _, child in begun_by(self._parts.reader, plan, parent, record.nodes)}
        rows = self._parts.reader.summaries(sorted(children))
        return sorted((row for row in rows if matches(row, status, flow)), key=lambda row: -row.submitted_at)

    def chosen(self, wanted: RunFilter, among: Collection[RunState]) -> list[str]:
        """The ids of all runs that fit, and are in one of these states."""
        return list(chosen_runs(self._parts.reader, wanted, among))

    def close(self, timeout_seconds: float) -> None:
        self._parts.publisher.close(timeout_seconds)
        self._parts.taps.close()

    def _send_off(self, batch: Sequence[Entrance], advances: Sequence[Advance]) -> None:
        self._parts.publisher.publish([outgoing(ready) for advance in advances for ready in advance.ready])
        for entrance, advance in zip(batch, advances, strict=True):
            if advance.word is Word.CONFLICT:
                raise RunConflictError(entrance.run_id)

    def _result(self, run_id: str, plan: Plan) -> Any:
        sources = plan.graph.result_inputs
        fields = ["params", "context", *(f"output:{each}" for each in sources)]
        params, context, *outputs = self._parts.reader.run_fields(run_id, fields)
        found, value_of = zip(sources, outputs, strict=True), partial(self._parts.large.value, run_id)
        # A node that did not run gives null, as in arguments.
        values = {source: value_of(output) if output is not None else None for source, output in found}
        given = used_params(read_params(params), plan.graph.result, value_of)
        return plan.graph.resolve_result(given, values, decode_context(context))

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
