"""Flows to YAML text that reads back to the same flow."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import yaml

from taskmesh.errors import FlowError
from taskmesh.flows.core_schema import BOOLEAN, FLOAT, INTEGER, NULL, TAG_PREFIX
from taskmesh.flows.on_event import write_on_event
from taskmesh.flows.steps import FORMS
from taskmesh.model.breakers import BreakerRules, Guard, default_ramp
from taskmesh.model.flow import DEFAULT_POOL, Case, Compensation, Events, Flow, Node, OnFailure, Param, Switch, case_of
from taskmesh.model.hook_rules import hooks_by_node
from taskmesh.model.node_types import type_of_task
from taskmesh.model.policies import DEFAULT_RETRY, LIMIT_KEYS, RetryPolicy, TimeLimits
from taskmesh.model.triggers import PLAIN, Trigger

_LAYOUT: dict[str, Any] = {"sort_keys": False, "default_flow_style": None, "allow_unicode": True, "width": 120}
_MERGE = re.compile("<<")


def dump_flow(flow: Flow) -> str:
    """The YAML text of a flow. ``load_flow`` makes an equal flow of it.

    :raises FlowError: for a value that YAML has no plain form for, such as a Decimal.
    """
    try:
        text: str = yaml.dump(flow_document(flow), Dumper=_DUMPER, **_LAYOUT)
    except yaml.representer.RepresenterError as error:
        raise FlowError([f"flow {flow.name!r} holds a value that YAML cannot hold: {error.args[-1]!r}"]) from None
    return text


def flow_document(flow: Flow) -> dict[str, Any]:
    """A flow as a flow file says it, in plain data. Different flows have different documents."""
    fields = _head_fields(flow)
    guards = {node.guard.rules.name: node.guard.rules for node in flow.working if node.guard}
    if guards:
        fields["breakers"] = {name: _breaker_fields(rules) for name, rules in guards.items()}
    hooks = hooks_by_node(flow.nodes)
    if "" in hooks:
        fields["hooks"] = _hooks_fields(hooks[""])
    fields["nodes"] = {
        node.name: _node_fields(node) | ({"hooks": _hooks_fields(hooks[node.name])} if node.name in hooks else {})
        for node in flow.nodes
        if not node.hook
    }
    return fields


def _head_fields(flow: Flow) -> dict[str, Any]:
    fields: dict[str, Any] = {"flow": flow.name, "version": flow.version}
    if flow.params:
        fields["params"] = {param.name: _param_fields(param) for param in flow.params}
    if flow.on_failure is not OnFailure.FAIL_FAST:
        fields["on_failure"] = str(flow.on_failure)
    if flow.shard_by != "run":
        fields["shard_by"] = flow.shard_by
    if flow.timeout_seconds is not None:
        fields["timeout"] = flow.timeout_seconds
    if flow.events is not Events.NONE:
        fields["events"] = str(flow.events)
    if flow.on is not None:
        fields["on"] = write_on_event(flow.on)
    if flow.result is not None:
        fields["result"] = flow.result
    return fields


def _hooks_fields(hooks: Sequence[Node]) -> dict[str, Any]:
    return {str(node.hook): _hook_fields(node) for node in hooks}


def _hook_fields(node: Node) -> str | dict[str, Any]:
    """What it observes is said by where it stands."""
    fields = _node_fields(replace(node, needs=(), trigger=PLAIN))
    return node.task if fields == {"task": node.task} else fields


def _param_fields(param: Param) -> dict[str, Any]:
    fields: dict[str, Any] = {"type": str(param.type)}
    if not param.required:
        fields["default"] = param.default
    return fields


def _node_fields(node: Node) -> dict[str, Any]:
    fields = _work_fields(node)
    if node.needs:
        fields["needs"] = list(node.needs)
    fields |= _trigger_fields(node.trigger)
    if node.when:
        fields["when"] = node.when
    if node.args and not node.step and not type_of_task(node.task):
        fields["args"] = node.args
    if node.pool != DEFAULT_POOL or not node.task:
        fields["pool"] = node.pool
    if node.retry is not None:
        fields["retry"] = _retry_fields(node.retry)
    fields |= _guard_fields(node.guard) | _limit_fields(node.limits)
    if node.compensation is not None and node.compensation.task:
        fields["compensate"] = _compensation_fields(node.compensation)
    return fields


def _work_fields(node: Node) -> dict[str, Any]:
    """What it does."""
    if node.switch:
        return _switch_fields(node.switch)
    kind = type_of_task(node.task)
    if kind:
        return {"type": kind} | ({"with": node.args} if node.args else {})
    fields: dict[str, Any] = {"task": node.task} if node.task else {}
    if node.step and isinstance(node.args, Mapping):
        fields |= FORMS[node.step.kind].write(node.step, node.args)
        fields |= _node_fields(node.step.works_as) if node.step.works_as else {}
    return fields


def _trigger_fields(trigger: Trigger) -> dict[str, Any]:
    if trigger.is_plain:
        return {}
    return {"depends": trigger.depends} if trigger.depends else {"rule": str(trigger)}


def _guard_fields(guard: Guard | None) -> dict[str, Any]:
    if guard is None:
        return {}
    return {"breaker": guard.rules.name} | ({"fallback": guard.fallback} if guard.fallback else {})


def _switch_fields(switch: Switch) -> dict[str, Any]:
    return {"switch": [_case_fields(case) for case in switch.cases]}


def _case_fields(case: Case) -> dict[str, Any]:
    leads: dict[str, Any] = {"when": case.when, "then": list(case.then)} if case.when else {"else": list(case.then)}
    return leads if case == case_of(case.when, case.then) else {**leads, "name": case.name}


def _compensation_fields(by: Compensation) -> str | dict[str, Any]:
    fields: dict[str, Any] = {"task": by.task}
    if by.pool != DEFAULT_POOL:
        fields["pool"] = by.pool
    if by.retry is not None:
        fields["retry"] = _retry_fields(by.retry)
    fields |= _limit_fields(by.limits)
    return by.task if len(fields) == 1 else fields


def _limit_fields(limits: TimeLimits) -> dict[str, float]:
    return {key: seconds for key, seconds in zip(LIMIT_KEYS, limits.values(), strict=True) if seconds is not None}


def _breaker_fields(rules: BreakerRules) -> dict[str, Any]:
    defaults = BreakerRules(rules.name)
    values: dict[str, tuple[Any, Any]] = {
        "failures": (rules.failures, defaults.failures),
        "failure_rate": (rules.failure_rate, None),
        "window": (rules.window_seconds, defaults.window_seconds),
        "min_calls": (rules.min_calls, defaults.min_calls),
        "reset": (rules.reset_seconds, defaults.reset_seconds),
        "ramp": (rules.ramp_seconds, default_ramp(rules.reset_seconds)),
        "exclude": (list(rules.exclude), []),
    }
    return {key: value for key, (value, default) in values.items() if value != default}


def _retry_fields(retry: RetryPolicy) -> dict[str, Any]:
    """A policy that is the default in everything still says how many attempts there are."""
    fields: dict[str, Any] = {"max_attempts": retry.max_attempts}
    values = {
        "wait": (str(retry.wait), str(DEFAULT_RETRY.wait)),
        "base": (retry.base_seconds, DEFAULT_RETRY.base_seconds),
        "max": (retry.max_seconds, DEFAULT_RETRY.max_seconds),
        "delays": (list(retry.delays_seconds), []),
        "on": (list(retry.retry_on), []),
        "give_up_on": (list(retry.give_up_on), []),
    }
    return fields | {key: value for key, (value, default) in values.items() if value != default}


def _dumper() -> Any:
    """PyYAML's safe dumper, quoting what the core schema of YAML 1.2 would not read as text, and without anchors."""
    base = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    dumper: Any = type(
        "FlowDumper", (base,), {"yaml_implicit_resolvers": {}, "ignore_aliases": lambda self, data: True}
    )
    rules = (("bool", BOOLEAN), ("null", NULL), ("int", INTEGER), ("float", FLOAT), ("merge", _MERGE))
    for kind, pattern in rules:
        dumper.add_implicit_resolver(TAG_PREFIX + kind, re.compile(rf"(?:{pattern.pattern})\Z"), None)
    return dumper


_DUMPER = _dumper()
