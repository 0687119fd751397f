"""The keys of a flow file. The reader and the published schema are both made from these."""

from __future__ import annotations

from taskmesh.model.hooks import Hook
from taskmesh.model.policies import LIMIT_KEYS

FLOW_KEYS = (
    *("$schema", "flow", "version", "params", "on_failure", "shard_by", "timeout", "events", "on", "result"),
    *("breakers", "hooks", "nodes"),
)
BATCH_KEYS = ("window", "debounce", "max_wait", "max_batch", "key")
ON_KEYS = ("event", "when", "params", "dedup", *BATCH_KEYS)
PARAM_KEYS = ("type", "default", "required")
NODE_KEYS = (
    "task",
    "needs",
    "rule",
    "depends",
    "when",
    "args",
    "pool",
    "retry",
    "timeout",
    "schedule_to_start",
    "schedule_to_close",
    "heartbeat_timeout",
    "breaker",
    "fallback",
    "compensate",
    "hooks",
)
TYPED_KEYS = ("type", "with", *(key for key in NODE_KEYS if key not in ("task", "args")))
"""Those of a node of a node type, in the place of a task and its arguments."""

STEP_KEYS = ("needs", "rule", "depends", "when", "pool", "hooks")
"""What every node has that runs no task; what it does has keys of its own (see ``flows.steps``)."""

SWITCH_KEYS = ("switch", *STEP_KEYS)
HOOKS_KEYS = tuple(map(str, Hook))
HOOK_KEYS = ("task", "args", "pool", "retry", *LIMIT_KEYS, "breaker", "fallback")
TYPED_HOOK_KEYS = ("type", "with", *HOOK_KEYS[2:])
CASE_KEYS = ("when", "then", "else", "name")
COMPENSATE_KEYS = ("task", "pool", "retry", *LIMIT_KEYS)
RETRY_KEYS = ("max_attempts", "wait", "base", "max", "delays", "on", "give_up_on")

BREAKER_KEYS = ("failures", "failure_rate", "window", "min_calls", "reset", "ramp", "exclude")

SCHEDULE_FILE_KEYS = ("$schema", "schedules")
SCHEDULE_KEYS = (
    "flow",
    "cron",
    "every",
    "at",
    "zone",
    "params",
    "overlap",
    "catch_up",
    "catch_up_window",
    "jitter",
    "tags",
    "deadline",
)

_NOT_SUPPORTED = "is not supported by this version; remove it"
_IN_A_SCHEDULE = "belongs in a schedule file (taskmesh schedule apply FILE), which names the flow; remove it here"
_A_HOOK = "is a hook; write it below 'hooks'"
UNSUPPORTED_FLOW_KEYS = {
    **dict.fromkeys(("breaker", "compensate", "retry"), _NOT_SUPPORTED),
    "schedule": _IN_A_SCHEDULE,
    **dict.fromkeys((str(Hook.ON_SUCCESS), str(Hook.FINALLY)), _A_HOOK),
}
UNSUPPORTED_NODE_KEYS = {
    **dict.fromkeys(("gate", "heartbeat", "isolation"), _NOT_SUPPORTED),
    **dict.fromkeys(map(str, Hook), _A_HOOK),
}
"""Keys that may be expected here, and what to do instead."""

INLINE_KEYS = tuple(key for key in FLOW_KEYS if key not in ("$schema", "on"))
"""Those of a flow that stands in a node, which begins its runs."""

DEFAULT_VERSION = "1"
