"""From what the scripts have recorded of an end to the message that tells others of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from taskmesh.broker.protocol import EventMessage
from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.plans import Plans
from taskmesh.errors import WireError
from taskmesh.model.events.published import Event, EventKind, error_of
from taskmesh.store.events.recorded import RUN_ITSELF, Emitted, EventOutbox
from taskmesh.store.records import node_record
from taskmesh.wire import unpack
from taskmesh.wire.cloud_events import CLOUD_EVENT_TYPE, encode_event
from taskmesh.wire.run_contexts import decode_context

_OF_RUNS = ("header", "flow", "submitted_at", "finished_at", "failed_node", "halted_by", "context")

_log = logging.getLogger(__name__)


class EventWriter:
    """Writes events with what the store knows of their runs."""

    def __init__(self, outbox: EventOutbox, plans: Plans, namespace: str) -> None:
        self._outbox = outbox
        self._plans = plans
        self._namespace = namespace

    def write(self, emitted: Sequence[Emitted]) -> list[EventMessage]:
        """The messages of events. Those of runs that are gone, or cannot be read, are left out; the log tells.

        :raises StoreUnavailableError: nothing is known.
        """
        asked = [(each.run_id, _fields_of(each)) for each in emitted]
        found = zip(asked, self._outbox.facts(asked), strict=True)
        rows = [dict(zip(fields, row, strict=True)) for (_, fields), row in found]
        self._add_failures(emitted, rows)
        return [message for each, row in zip(emitted, rows, strict=True) if (message := self._message(each, row))]

    def _add_failures(self, emitted: Sequence[Emitted], rows: Sequence[dict[str, bytes | None]]) -> None:
        """Read the errors of the nodes for which runs have failed, where any has."""
        failed = [
            (each.run_id, f"error:{int(node)}", row)
            for each, row in zip(emitted, rows, strict=True)
            if each.node == RUN_ITSELF and (node := row["failed_node"] or b"").isdigit()
        ]
        errors = self._outbox.facts([(run_id, [name]) for run_id, name, _ in failed]) if failed else []
        for (_, _, row), [error] in zip(failed, errors, strict=True):
            row["error"] = error

    def _message(self, each: Emitted, row: Mapping[str, bytes | None]) -> EventMessage | None:
        try:
            event = self._event(each, row)
            return EventMessage(event.routing_key, encode_event(event, self._namespace), CLOUD_EVENT_TYPE)
        except (WireError, ValueError, TypeError, LookupError, ArithmeticError) as error:
            _log.error("an event of run %s is not published: %s", each.run_id, error, extra={"run": each.run_id})
            return None

    def _event(self, each: Emitted, row: Mapping[str, bytes | None]) -> Event:
        header, flow_hash = row["header"], row["flow"]
        if header is None or flow_hash is None:
            raise LookupError("the run is not in the store any more")
        plan = self._plans.get(flow_hash.decode(), each.run_id)
        if plan is None:
            raise LookupError("its flow is not in the store any more")
        flow, version, tags, _ = unpack(header)
        trace = decode_context(row["context"]).trace
        data: dict[str, Any] = {"run": each.run_id, "flow": flow, "version": version, "state": each.state}
        if each.node == RUN_ITSELF:
            data |= {"tags": tags, **_of_run(each, row, plan)}
            return Event(each.event_id, EventKind.RUN, each.state, flow, each.run_id, each.at, "", data, trace)
        name = plan.name_of(each.node)
        data |= {"node": name, "task": plan.node(each.node).label, **_of_node(each, row)}
        return Event(each.event_id, EventKind.NODE, each.state, flow, each.run_id, each.at, name, data, trace)


def _fields_of(each: Emitted) -> Sequence[str]:
    return _OF_RUNS if each.node == RUN_ITSELF else (*_OF_RUNS, f"node:{each.node}", f"error:{each.node}")


def _of_run(each: Emitted, row: Mapping[str, bytes | None], plan: Plan) -> dict[str, Any]:
    submitted_at, failed_node, halted_by = row["submitted_at"], row["failed_node"], row["halted_by"]
    data: dict[str, Any] = {"submitted_at": float(submitted_at) if submitted_at else None, "finished_at": each.at}
    # A run that has been retried since then has ended anew, or goes on: what is stored is not of this end.
    if float(row["finished_at"] or 0) != each.at:
        return data
    if failed_node is not None:
        data["failed_node"] = plan.name_of(int(failed_node))
    if error := _error(row.get("error")):
        data["error"] = error
    if halted_by:
        by, why, _ = unpack(halted_by)
        data |= {"ended_by": by, "reason": why}
    return data


def _of_node(each: Emitted, row: Mapping[str, bytes | None]) -> dict[str, Any]:
    data: dict[str, Any] = {"attempt": each.attempt, "finished_at": each.at}
    packed = row[f"node:{each.node}"]
    record = node_record(packed) if packed else None
    if record is None or record.finished_at != each.at:
        return data
    data |= {"started_at": record.started_at or None, "cause": record.cause or None}
    if each.state != "succeeded" and (error := _error(row[f"error:{each.node}"])):
        data["error"] = error
    return data


def _error(packed: bytes | None) -> dict[str, Any] | None:
    return error_of(unpack(packed)) if packed else None
