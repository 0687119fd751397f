"""A flow as bytes: canonical, so that equal flows have equal hashes.

Schema 2 has two more fields of a node: its retry policy and its time limits; schema 3 has one more: its circuit
breaker; schema 4 has one more: what undoes it; schema 5 has one more field of the flow: how long a run may take;
schema 6 has three more of a node: its trigger, its condition and its switch; schema 7 has one more: its step; schema 8
has one more of the flow: of how many copies of its one node it consists. A flow is written in the first schema that can
say what it asks for, so it keeps the bytes and the hash that it had before; a worker that knows only an earlier one
refuses it instead of ignoring something.
"""

from __future__ import annotations

import hashlib
from typing import Any

from taskmesh.errors import WireError
from taskmesh.model.breakers import BreakerRules, Guard
from taskmesh.model.flow import Case, Compensation, Copies, Flow, Node, OnFailure, Param, ParamType, Switch
from taskmesh.model.policies import NO_LIMITS, RetryPolicy, TimeLimits, Wait
from taskmesh.model.steps import Step
from taskmesh.model.triggers import PLAIN, Rule, Trigger
from taskmesh.wire.codec import pack, unpack
from taskmesh.wire.steps import WITH_BODY, step_fields, step_of

PLAIN_SCHEMA, POLICY_SCHEMA, GUARD_SCHEMA, UNDO_SCHEMA, TIMEOUT_SCHEMA, CHOICE_SCHEMA, STEP_SCHEMA = range(1, 8)
COPY_SCHEMA = 8
SCHEMAS = range(PLAIN_SCHEMA, COPY_SCHEMA + 1)
_HASH_BYTES = 16


def encode_flow(flow: Flow) -> bytes:
    """The canonical bytes of a flow."""
    schema = _schema_of(flow)
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
        fields.append(_number(flow.timeout_seconds))
    if flow.copies:
        fields.append(_copy_fields(flow.copies))
    return pack(fields)


def _copy_fields(copies: Copies) -> list[Any]:
    return [copies.total, copies.per_chunk, copies.most_at_once, copies.is_sliced, copies.least]


def _schema_of(flow: Flow) -> int:
    if flow.copies:
        return COPY_SCHEMA
    if any(node.step for node in flow.nodes):
        return STEP_SCHEMA
    if any(not node.trigger.is_plain or node.when or node.switch for node in flow.nodes):
        return CHOICE_SCHEMA
    if flow.timeout_seconds is not None:
        return TIMEOUT_SCHEMA
    if flow.can_compensate:
        return UNDO_SCHEMA
    if any(node.guard for node in flow.nodes):
        return GUARD_SCHEMA
    plain = all(node.retry is None and node.limits == NO_LIMITS for node in flow.nodes)
    return PLAIN_SCHEMA if plain else POLICY_SCHEMA


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
    return None if trigger.is_plain else [trigger.rule, trigger.count, trigger.depends]


def _switch_fields(switch: Switch | None) -> list[Any] | None:
    return [[case.when, case.then, case.name] for case in switch.cases] if switch else None


def _guard_fields(guard: Guard | None) -> list[Any] | None:
    if guard is None:
        return None
    rules = guard.rules
    rate = _number(rules.failure_rate)
    times = [float(rules.window_seconds), float(rules.reset_seconds), float(rules.ramp_seconds)]
    return [rules.name, rules.failures, rate, rules.min_calls, *times, rules.exclude, guard.fallback]


def _compensation_fields(by: Compensation | None) -> list[Any] | None:
    return [by.task, by.pool, _retry_fields(by.retry), _limit_fields(by.limits)] if by else None


def _limit_fields(limits: TimeLimits) -> list[float | None]:
    return [_number(each) for each in limits.values()]


def _retry_fields(retry: RetryPolicy | None) -> list[Any] | None:
    if retry is None:
        return None
    delays = [float(each) for each in retry.delays_seconds]
    times = [float(retry.base_seconds), float(retry.max_seconds), delays]
    return [retry.max_attempts, retry.wait, *times, retry.retry_on, retry.give_up_on]


def _number(value: float | None) -> float | None:
    """One form for 30 and 30.0, which are equal and have different bytes."""
    return None if value is None else float(value)


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
    copies: list[Any] | None = None,
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
    )


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


def _trigger_of(rule: str, count: int, depends: str) -> Trigger:
    return Trigger(Rule(rule), count, depends)


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
