"""The JSON Schema of flow files, for editors. ``python -m taskmesh.flows`` prints it."""

from __future__ import annotations

import json
from typing import Any

from taskmesh.flows.fields import (
    BREAKER_KEYS,
    CASE_KEYS,
    COMPENSATE_KEYS,
    FLOW_KEYS,
    HOOK_KEYS,
    HOOKS_KEYS,
    INLINE_KEYS,
    NODE_KEYS,
    ON_KEYS,
    PARAM_KEYS,
    RETRY_KEYS,
    STEP_KEYS,
    SWITCH_KEYS,
    TYPED_HOOK_KEYS,
    TYPED_KEYS,
)
from taskmesh.flows.forms import Form
from taskmesh.flows.on_event import ON_PROPERTIES
from taskmesh.flows.steps import FORMS
from taskmesh.model.breakers import DEFAULT_FAILURES
from taskmesh.model.condition_text import MAX_LENGTH as MAX_CONDITION
from taskmesh.model.depends import MAX_LENGTH as MAX_DEPENDS
from taskmesh.model.durations import DURATION_PATTERN, MAX_SECONDS
from taskmesh.model.flow import ALL_PARAMS, Events, OnFailure, ParamType
from taskmesh.model.node_types import TYPE_PATTERN
from taskmesh.model.policies import DEFAULT_RETRY, EXCEPTION_PATTERN, MAX_ATTEMPTS, MAX_DELAYS, MAX_NAMES, Wait
from taskmesh.model.references import NAME_PATTERN
from taskmesh.model.triggers import RULE_PATTERN, Rule
from taskmesh.model.validation import MAX_NODES, POOL_PATTERN, TITLE_PATTERN, VERSION_PATTERN


def flow_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of a flow file. What it cannot say, such as cycles, only loading finds."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "taskmesh flow",
        "description": "A DAG of tasks.",
        **_object(FLOW_KEYS, _FLOW_PROPERTIES, required=["flow", "nodes"]),
        "$defs": _definitions(),
    }


def _definitions() -> dict[str, Any]:
    return {
        "param": {"anyOf": [{"$ref": "#/$defs/type"}, _object(PARAM_KEYS, _PARAM_PROPERTIES)]},
        "node": {
            "anyOf": [
                _object(NODE_KEYS, _NODE_PROPERTIES, required=["task"]),
                _object(SWITCH_KEYS, _NODE_PROPERTIES, required=["switch"]),
                _object(TYPED_KEYS, _NODE_PROPERTIES, required=["type"]),
                *[_step_schema(kind, form) for kind, form in FORMS.items()],
            ]
        },
        "inline": _object(INLINE_KEYS, _FLOW_PROPERTIES, required=["nodes"]),
        "case": {
            **_object(CASE_KEYS, _CASE_PROPERTIES),
            "oneOf": [{"required": ["when", "then"]}, {"required": ["else"]}],
        },
        "names": {
            "anyOf": [{"$ref": "#/$defs/name"}, {"type": "array", "items": {"$ref": "#/$defs/name"}}],
        },
        "retry": _object(RETRY_KEYS, _RETRY_PROPERTIES),
        "breaker": {**_object(BREAKER_KEYS, _BREAKER_PROPERTIES), "type": ["object", "null"]},
        "compensate": {
            "anyOf": [
                {"type": "string", "pattern": f"^{TITLE_PATTERN}$"},
                _object(COMPENSATE_KEYS, _NODE_PROPERTIES, required=["task"]),
            ]
        },
        "hooks": _object(HOOKS_KEYS, _HOOKS_PROPERTIES),
        "hook": {
            "anyOf": [
                {"type": "string", "pattern": f"^{TITLE_PATTERN}$"},
                _object(HOOK_KEYS, _NODE_PROPERTIES, required=["task"]),
                _object(TYPED_HOOK_KEYS, _NODE_PROPERTIES, required=["type"]),
            ]
        },
        "duration": {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_SECONDS},
                {"type": "string", "pattern": f"^{DURATION_PATTERN}$"},
            ]
        },
        "exceptions": {
            "type": "array",
            "items": {"type": "string", "pattern": f"^{EXCEPTION_PATTERN}$"},
            "maxItems": MAX_NAMES,
        },
        "condition": {"type": "string", "minLength": 1, "maxLength": MAX_CONDITION},
        "type": {"enum": [str(each) for each in ParamType], "description": "The type of a parameter."},
        "name": {"type": "string", "pattern": f"^{NAME_PATTERN}$"},
    }


def schema_text() -> str:
    """The schema as the text that is published in ``configs/flow.schema.json``."""
    return json.dumps(flow_schema(), indent=2) + "\n"


def _object(keys: tuple[str, ...], properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    described = {key: properties[key] for key in keys}
    schema = {"type": "object", "properties": described, "additionalProperties": False}
    return {**schema, "required": required} if required else schema


def _step_schema(kind: str, form: Form) -> dict[str, Any]:
    properties = {**_NODE_PROPERTIES, **form.properties}
    return _object((*form.keys, *STEP_KEYS), properties, required=[*form.required] or [kind])


def _names_to(what: str, description: str, **rules: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "propertyNames": {"$ref": "#/$defs/name"},
        "additionalProperties": {"$ref": f"#/$defs/{what}"},
        **rules,
    }


def _text(pattern: str, description: str, **rules: Any) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^{pattern}$", "description": description, **rules}


def _duration(description: str) -> dict[str, Any]:
    return {"$ref": "#/$defs/duration", "description": description}


_FLOW_PROPERTIES: dict[str, Any] = {
    "$schema": {"type": "string", "description": "The address of this schema; for editors only."},
    "flow": {**_text(TITLE_PATTERN, "The name of the flow."), "type": ["string", "number"]},
    "version": {
        **_text(VERSION_PATTERN, "The version of the flow, for people; a number is taken as it is written."),
        "type": ["string", "number"],
        "default": "1",
    },
    "params": _names_to("param", "The parameters of a run: each name with its type, or with type and default."),
    "on_failure": {
        "enum": [str(each) for each in OnFailure],
        "default": str(OnFailure.FAIL_FAST),
        "description": "After a node has failed: start nothing new; or that, and undo what had succeeded; "
        "or skip only what needs the failed node.",
    },
    "shard_by": _text(
        rf"(run|node|params\.{NAME_PATTERN})",
        "What chooses the shard of a node's messages: its run, itself, or the value of a parameter.",
        default="run",
    ),
    "timeout": _duration("A run may take so long where its submitter gives no deadline; default: any time."),
    "events": {
        "enum": [str(each) for each in Events],
        "default": str(Events.NONE),
        "description": "Which ends are published for others: that of each run, or those of its nodes, too.",
    },
    "on": {
        **_object(ON_KEYS, ON_PROPERTIES, required=["event"]),
        "description": "Events that begin runs of the flow, while a version of it is active that says so.",
    },
    "result": {"description": "The result of a run; may hold references. Default: the output of the last node."},
    "breakers": _names_to("breaker", "The circuit breakers of the nodes: each name with its rules."),
    "hooks": {"$ref": "#/$defs/hooks", "description": "Tasks that hear how a run ends, before it does."},
    "nodes": _names_to("node", "The steps of the flow by name.", minProperties=1, maxProperties=MAX_NODES),
}

_PARAM_PROPERTIES: dict[str, Any] = {
    "type": {"$ref": "#/$defs/type", "default": str(ParamType.ANY)},
    "default": {"description": "The value where a run gives none; makes the parameter optional."},
    "required": {"type": "boolean", "description": "Whether a run must give it; default: when it has no default."},
}

_NODE_PROPERTIES: dict[str, Any] = {
    "task": _text(TITLE_PATTERN, "The registered name of the task, by default module:function."),
    "type": _text(TYPE_PATTERN, "Instead of a task: a node type, such as http; `taskmesh plugins ls` lists them."),
    "with": {
        "anyOf": [{"type": "object"}, {"const": ALL_PARAMS}],
        "description": "What the node type is to do, with references as in args; `taskmesh plugins show TYPE` tells.",
    },
    "needs": {
        "type": "array",
        "items": {"$ref": "#/$defs/name"},
        "uniqueItems": True,
        "description": "Nodes that must have succeeded first, or ended as rule says; those that are referred to need "
        "not be named.",
    },
    "rule": _text(
        RULE_PATTERN, "What it asks of the nodes that it needs, so that it begins.", default=str(Rule.ALL_SUCCESS)
    ),
    "depends": {
        "type": "string",
        "maxLength": MAX_DEPENDS,
        "description": "Instead of needs and rule: an expression as a.succeeded && (b.failed || c.skipped).",
    },
    "when": {"$ref": "#/$defs/condition", "description": "A condition in CEL; where it is false the node is skipped."},
    "switch": {
        "type": "array",
        "items": {"$ref": "#/$defs/case"},
        "minItems": 1,
        "description": "Chooses the nodes that run: those of the first case that holds; the others are skipped.",
    },
    "args": {
        "anyOf": [{"type": "object"}, {"const": ALL_PARAMS}],
        "description": f"Arguments by name, with references as ${{nodes.NAME.output}}; or {ALL_PARAMS} for all params.",
    },
    "pool": _text(POOL_PATTERN, "The workers to run on; default: the pool of the task."),
    "retry": {"$ref": "#/$defs/retry", "description": "When it is tried again; default: what the task says."},
    "timeout": _duration("One attempt may take so long; default: what the task says."),
    "schedule_to_start": _duration("An attempt may wait for a worker so long; default: what the task says."),
    "schedule_to_close": _duration("All attempts together may take so long; default: what the task says."),
    "heartbeat_timeout": _duration("An attempt may give no heartbeat for so long; default: what the task says."),
    "breaker": _text(NAME_PATTERN, "Its circuit breaker, by name; default: that of the task."),
    "fallback": _text(TITLE_PATTERN, "The task that runs in its place while the breaker refuses."),
    "compensate": {"$ref": "#/$defs/compensate", "description": "What undoes it; default: what the task says."},
    "hooks": {"$ref": "#/$defs/hooks", "description": "Tasks that hear how it has ended."},
}

_HOOKS_PROPERTIES: dict[str, Any] = {
    "on_success": {"$ref": "#/$defs/hook", "description": "Runs after a success."},
    "on_failure": {"$ref": "#/$defs/hook", "description": "Runs after a failure; that stays a failure."},
    "finally": {"$ref": "#/$defs/hook", "description": "Runs after every end of a node that ran, or of a run."},
}

_CASE_PROPERTIES: dict[str, Any] = {
    "when": {"$ref": "#/$defs/condition", "description": "The condition in CEL of this case."},
    "then": {"$ref": "#/$defs/names", "description": "The nodes that this case leads to."},
    "else": {"$ref": "#/$defs/names", "description": "Where no case holds: the nodes that this leads to, or none."},
    "name": {"type": "string", "description": "The output of the switch then; default: the first of the nodes."},
}

_BREAKER_PROPERTIES: dict[str, Any] = {
    "failures": {
        "type": "integer",
        "minimum": 1,
        "default": DEFAULT_FAILURES,
        "description": "It opens after so many failures in a row.",
    },
    "failure_rate": {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 1,
        "description": "Instead of failures: it opens when this part of the calls in the window has failed.",
    },
    "window": _duration("The calls of the last so long count for failure_rate; default: 1m."),
    "min_calls": {
        "type": "integer",
        "minimum": 1,
        "default": 10,
        "description": "With fewer calls in the window, failure_rate does not open it.",
    },
    "reset": _duration("After so long one node may try; default: 30s."),
    "ramp": _duration("Over so long come back those that waited; default: 10s, or the reset where that is shorter."),
    "exclude": {"$ref": "#/$defs/exceptions", "description": "These exceptions are an answer, and no failure."},
}

_RETRY_PROPERTIES: dict[str, Any] = {
    "max_attempts": {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_ATTEMPTS,
        "default": DEFAULT_RETRY.max_attempts,
        "description": "How many attempts there are in all.",
    },
    "wait": {
        "enum": [str(each) for each in Wait],
        "default": str(DEFAULT_RETRY.wait),
        "description": "Random up to base, 2 x base, 4 x base and so on; always base; or the delays one after another.",
    },
    "base": _duration("The first delay; default: 100ms."),
    "max": _duration("No exponential delay is longer; default: 1m."),
    "delays": {
        "type": "array",
        "items": {"$ref": "#/$defs/duration"},
        "minItems": 1,
        "maxItems": MAX_DELAYS,
        "description": "The delays of wait: list; the last one is repeated.",
    },
    "on": {"$ref": "#/$defs/exceptions", "description": "Only these exceptions are tried again; default: all."},
    "give_up_on": {"$ref": "#/$defs/exceptions", "description": "These exceptions are never tried again."},
}
