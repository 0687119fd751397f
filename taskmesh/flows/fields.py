"""The keys of a flow file. The reader and the published schema are both made from these."""

from __future__ import annotations

FLOW_KEYS = ("$schema", "flow", "version", "params", "on_failure", "shard_by", "result", "nodes")
PARAM_KEYS = ("type", "default", "required")
NODE_KEYS = ("task", "needs", "args", "pool")

UNSUPPORTED_FLOW_KEYS = frozenset({"breaker", "compensate", "retry", "schedule", "timeout"})
UNSUPPORTED_NODE_KEYS = frozenset(
    {"breaker", "compensate", "flow", "gate", "isolation", "map", "on_failure", "retry", "timeout", "when"}
)
UNSUPPORTED_ON_FAILURE = "compensate"

DEFAULT_VERSION = "1"
