"""A flow as bytes: canonical, so that equal flows have equal hashes.

Schema 2 has two more fields of a node: its retry policy and its time limits; schema 3 has one more: its circuit
breaker; schema 4 has one more: what undoes it; schema 5 has one more field of the flow: how long a run may take;
schema 6 has three more of a node: its trigger, its condition and its switch; schema 7 has one more: its step; schema 8
has no more, but triggers of hooks; schema 9 has none either, but may refer to what is said of the run; schema 10 has
one more of the flow: which ends of its runs are published; schema 11 has one more: of how many copies of its one node
it consists; schema 12 has one more: which events begin its runs; schema 13 has one more in that: how these are gathered
into batches; schema 14 has no more, but steps that wait for events. A flow is written in the first schema that can say
what it asks for, so it keeps the bytes and the hash that it had before; a worker that knows only an earlier one refuses
it instead of ignoring something.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from taskmesh.errors import WireError
from taskmesh.model.breakers import BreakerRules, Guard
from taskmesh.model.conditions import RUN, read_condition
from taskmesh.model.events.batching import Batching
from taskmesh.model.events.on_event import OnEvent
from taskmesh.model.events.waits import EventWait
from taskmesh.model.flow import Case, Compensation, Copies, Events, Flow, Node, OnFailure, Param, ParamType, Switch
from taskmesh.model.hook_references import compile_arguments
from taskmesh.model.hooks import Hook
from taskmesh.model.policies import NO_LIMITS, RetryPolicy, TimeLimits, Wait
from taskmesh.model.references import compile_value
from taskmesh.model.steps import Step
from taskmesh.model.triggers import PLAIN, Rule, Trigger
from taskmesh.wire.codec import pack, unpack
from taskmesh.wire.steps import WITH_BODY, float_field, step_fields, step_of

PLAIN_SCHEMA, POLICY_SCHEMA, GUARD_SCHEMA, UNDO_SCHEMA, TIMEOUT_SCHEMA, CHOICE_SCHEMA, STEP_SCHEMA = range(1, 8)
HOOK_SCHEMA, RUN_SCHEMA, EVENTS_SCHEMA, COPY_SCHEMA, ON_SCHEMA, BATCH_SCHEMA, EVENT_WAIT_SCHEMA = range(8, 15)
SCHEMAS = range(PLAIN_SCHEMA, EVENT_WAIT_SCHEMA + 1)
_HASH_BYTES = 16
_OPENING = b"${run."


def encode_flow(flow: Flow) -> bytes:
    """The canonical bytes of a flow."""
    schema = _schema_of(flow)
    body = _encoded(flow, schema)
    return _encoded(flow, RUN_SCHEMA) if schema < RUN_SCHEMA and _reads_run(flow, body) else body


def _reads_run(flow: Flow, body: bytes) -> bool:
    """Whether anything in it refers to what is said of the run. Most flows show at a glance that nothing does."""
    may = _OPENING in body
    if may and (compile_value(flow.result).reads_run or any(compile_arguments(node).reads_run for node in flow.nodes)):
        return True
    conditions = [text for node in flow.nodes for text in node.conditions if RUN in text]
    return any(used.kind == RUN for text in conditions for used in read_condition(text).uses)


def _encoded(flow: Flow, schema: int) -> bytes:
    fields = [
        schema,
        flow.name,
        flow.version,
        [[param.name, param.type, param.required, param.default] for param in flow.params],
        flow.on_failure,
        flow.shard_by,
        flow.result,
        [_node_fields(node, schema) for node in flow.kinds],
    ]
    if schema >= TIMEOUT_SCHEMA:
        fields.append(float_field(flow.timeout_seconds))
    if schema >= EVENTS_SCHEMA:
        fields.append(flow.events)
    if schema >= COPY_SCHEMA:
        fields.append(_copy_fields(flow.copies) if flow.copies else None)
    if schema >= ON_SCHEMA:
        fields.append(_on_fields(flow.on))
    return pack(fields)


def _copy_fields(copies: Copies) -> list[Any]:
    return [copies.total, copies.per_chunk, copies.most_at_once, copies.is_sliced, copies.least]


def _on_fields(on: OnEvent | None) -> list[Any] | None:
    if on is None:
        return None
    return [on.event, on.when, on.params, on.dedup, *([_batching_fields(on.batching)] if on.batching else [])]


def _batching_fields(batching: Batching) -> list[Any]:
    times = batching.window_seconds, batching.debounce_seconds, batching.max_wait_seconds
    return [*map(float_field, times), batching.max_batch, batching.key]


def _schema_of(flow: Flow) -> int:
    return next((schema for schema, is_asked in _ASKED if is_asked(flow)), PLAIN_SCHEMA)


_ASKED: tuple[tuple[int, Callable[[Flow], bool]], ...] = (
    (EVENT_WAIT_SCHEMA, lambda flow: any(isinstance(node.step, EventWait) for node in flow.kinds)),
    (BATCH_SCHEMA, lambda flow: flow.on is not None and flow.on.batching is not None),
    (ON_SCHEMA, lambda flow: flow.on is not None),
    (COPY_SCHEMA, lambda flow: flow.copies is not None),
    (EVENTS_SCHEMA, lambda flow: flow.events is not Events.NONE),
    (HOOK_SCHEMA, lambda flow: any(node.hook for node in flow.nodes)),
    (STEP_SCHEMA, lambda flow: any(node.step for node in flow.nodes)),
    (CHOICE_SCHEMA, lambda flow: any(not node.trigger.is_plain or node.when or node.switch for node in flow.nodes)),
    (TIMEOUT_SCHEMA, lambda flow: flow.timeout_seconds is not None),
    (UNDO_SCHEMA, lambda flow: flow.can_compensate),
    (GUARD_SCHEMA, lambda flow: any(node.guard for node in flow.nodes)),
    (POLICY_SCHEMA, lambda flow: any(node.retry is not None or node.limits != NO_LIMITS for node in flow.nodes)),
)
"""The schemas, the last one first, and what asks for each."""


def _node_fields(node: Node, schema: int) -> list[Any]:
    fields: list[Any] = [node.name, node.task, node.args, node.needs, node.pool]
    if schema >= POLICY_SCHEMA:
        fields += [_retry_fields(node.retry), _limit_fields(node.limits)]
    if schema >= GUARD_SCHEMA:
        fields += [_guard_fields(node.guard)]
    if schema >= UNDO_SCHEMA:
        fields.append(_compensation_fields(node.compensation))
    if schema >= CHOICE_SCHEMA:
        fields += [_trigger_fields(node.trigger), node.when, _switch_fields(node.switch)]
    if schema >= STEP_SCHEMA:
        fields.append(_step_fields(node.step, schema))
    return fields


def _step_fields(step: Step | None, schema: int) -> list[Any] | None:
    fields = step_fields(step)
    if fields and step and step.works_as:
        fields.insert(1, _node_fields(step.works_as, schema))
    return fields


def _trigger_fields(trigger: Trigger) -> list[Any] | None:
    if trigger.is_plain:
        return None
    return [trigger.rule, trigger.count, trigger.depends, *([trigger.hook] if trigger.hook else [])]


def _switch_fields(switch: Switch | None) -> list[Any] | None:
    return [[case.when, case.then, case.name] for case in switch.cases] if switch else None


def _guard_fields(guard: Guard | None) -> list[Any] | None:
    if guard is None:
        return None
    rules = guard.rules
    rate = float_field(rules.failure_rate)
    times = [float(rules.window_seconds), float(rules.reset_seconds), float(rules.ramp_seconds)]
    return [rules.name, rules.failures, rate, rules.min_calls, *times, rules.exclude, guard.fallback]


def _compensation_fields(by: Compensation | None) -> list[Any] | None:
    return [by.task, by.pool, _retry_fields(by.retry), _limit_fields(by.limits)] if by else None


def _limit_fields(limits: TimeLimits) -> list[float | None]:
    return [float_field(each) for each in limits.values()]


def _retry_fields(retry: RetryPolicy | None) -> list[Any] | None:
    if retry is None:
        return None
    delays = [float(each) for each in retry.delays_seconds]
    times = [float(retry.base_seconds), float(retry.max_seconds), delays]
    return [retry.max_attempts, retry.wait, *times, retry.retry_on, retry.give_up_on]


def flow_hash(body: bytes) -> str:
    """The address of a flow: a 128 bit BLAKE2b of its canonical bytes, in hex."""
    return hashlib.blake2b(body, digest_size=_HASH_BYTES).hexdigest()


def decode_flow(body: bytes) -> Flow:
    """Read back what ``encode_flow`` wrote.

    :raises WireError: for another schema, or bytes that are no flow.
    """
    document = unpack(body)
    if not isinstance(document, list) or not document or document[0] not in SCHEMAS:
        raise WireError("not a flow of a schema that this version reads; upgrade the workers first, then the producers")
    try:
        return _flow_of(*document[1:])
    except (TypeError, ValueError) as error:
        raise WireError(f"not a flow: {error}") from None


def _flow_of(
    name: str,
    version: str,
    params: list[Any],
    on_failure: str,
    shard_by: str,
    result: Any,
    nodes: list[Any],
    timeout_seconds: float | None = None,
    events: str = Events.NONE,
    copies: list[Any] | None = None,
    on: list[Any] | None = None,
) -> Flow:
    kinds = tuple(_node_of(*each) for each in nodes)
    return Flow(
        name=name,
        version=version,
        params=tuple(Param(each[0], ParamType(each[1]), each[2], each[3]) for each in params),
        on_failure=OnFailure(on_failure),
        shard_by=shard_by,
        result=result,
        nodes=Copies(kinds[0], *copies) if copies else kinds,
        timeout_seconds=timeout_seconds,
        events=Events(events),
        on=_on_of(*on) if on else None,
    )


def _on_of(event: str, when: str, params: dict[str, Any], dedup: str, batching: list[Any] | None = None) -> OnEvent:
    return OnEvent(event, when, params, dedup, Batching(*batching) if batching else None)


def _node_of(
    name: str,
    task: str,
    args: Any,
    needs: list[str],
    pool: str,
    retry: list[Any] | None = None,
    limits: list[float | None] | None = None,
    guard: list[Any] | None = None,
    compensation: list[Any] | None = None,
    trigger: list[Any] | None = None,
    when: str = "",
    switch: list[Any] | None = None,
    step: list[Any] | None = None,
) -> Node:
    policies = _retry_of(*retry) if retry else None, _limits_of(limits)
    undone_by = _compensation_of(*compensation) if compensation else None
    guarded = _guard_of(*guard) if guard else None
    begins, way = _trigger_of(*trigger) if trigger else PLAIN, _switch_of(switch) if switch else None
    return Node(name, task, args, tuple(needs), pool, *policies, guarded, undone_by, begins, when, way, _step_of(step))


def _step_of(fields: list[Any] | None) -> Step | None:
    if fields and fields[0] in WITH_BODY:
        kind, body, *rest = fields
        fields = [kind, _node_of(*body), *rest]
    return step_of(fields)


def _trigger_of(rule: str, count: int, depends: str, hook: str = "") -> Trigger:
    return Trigger(Rule(rule), count, depends, Hook(hook) if hook else None)


def _switch_of(cases: list[Any]) -> Switch:
    return Switch(tuple(Case(when, tuple(then), name) for when, then, name in cases))


def _guard_of(
    name: str,
    failures: int,
    rate: float | None,
    min_calls: int,
    window: float,
    reset: float,
    ramp: float,
    exclude: list[str],
    fallback: str,
) -> Guard:
    return Guard(BreakerRules(name, failures, rate, window, min_calls, reset, ramp, tuple(exclude)), fallback)


def _compensation_of(task: str, pool: str, retry: list[Any] | None, limits: list[float | None]) -> Compensation:
    return Compensation(task, pool, _retry_of(*retry) if retry else None, _limits_of(limits))


def _retry_of(
    max_attempts: int, wait: str, base: float, maximum: float, delays: list[float], on: list[str], give_up: list[str]
) -> RetryPolicy:
    return RetryPolicy(max_attempts, Wait(wait), base, maximum, tuple(delays), tuple(on), tuple(give_up))


def _limits_of(limits: list[float | None] | None) -> TimeLimits:
    return TimeLimits(*limits) if limits and any(limits) else NO_LIMITS
