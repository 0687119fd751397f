"""What is said of the request that a run serves, and goes with it to every node: ids, trace context, metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from taskmesh.errors import UsageError
from taskmesh.model.problems import Hints

MAX_METADATA = 32
MAX_KEY_LENGTH = 64
MAX_VALUE_BYTES = 512
MAX_METADATA_BYTES = 4096
"""Of all keys and values together: every claim of a node brings them along."""

MAX_ID_LENGTH = 128
MAX_TRACESTATE_LENGTH = 512

RUN_VALUES = "run:context"
"""Under this name, which no node can have, the outputs that a reference is resolved with hold ``values()``."""

METADATA = "metadata"
NAMES = ("request_id", "tenant", METADATA)
"""What references and conditions may read of it, as ``run.NAME``."""

_KEY = re.compile(rf"[A-Za-z_][A-Za-z0-9_-]{{0,{MAX_KEY_LENGTH - 1}}}")
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACESTATE = re.compile(r"[\x20-\x7e]+")


@dataclass(frozen=True, slots=True)
class RunContext:
    """The context of a run; what nobody has said is None. ``metadata`` is the user's own.

    ``traceparent`` and ``tracestate`` are as W3C Trace Context has them.
    """

    request_id: str | None = None
    tenant: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(getattr(self, each.name) for each in fields(self))

    def over(self, other: RunContext) -> RunContext:
        """This one, and where it says nothing, what ``other`` says. A trace is taken as a whole, metadata by key."""
        trace = self if self.traceparent else other
        return RunContext(
            self.request_id or other.request_id,
            self.tenant or other.tenant,
            trace.traceparent,
            trace.tracestate,
            {**other.metadata, **self.metadata},
        )

    def values(self) -> dict[str, Any]:
        """What references and conditions see."""
        return {name: getattr(self, name) for name in NAMES}

    def said(self) -> dict[str, Any]:
        """All that anybody has said of it."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in found.items() if value}

    @property
    def trace(self) -> dict[str, str]:
        """What is said of its trace, by the names of W3C Trace Context."""
        return {name: value for name, value in self.said().items() if name in ("traceparent", "tracestate")}

    def checked(self) -> RunContext:
        """Itself.

        :raises UsageError: it breaks rules; one line for each.
        """
        if problems := list(self._findings()):
            raise UsageError("\n".join(problems))
        return self

    def _findings(self) -> Iterator[str]:
        for name, value in (("request_id", self.request_id), ("tenant", self.tenant)):
            if value is not None and not (_is_text(value, MAX_ID_LENGTH) and _VISIBLE.fullmatch(value)):
                yield (
                    f"{name} {_shown(value)} is not usable: it must be 1 to {MAX_ID_LENGTH} visible ASCII characters "
                    "without spaces"
                )
        if self.traceparent is not None and not (_is_text(self.traceparent, 55) and self._has_trace()):
            yield (
                f"traceparent {_shown(self.traceparent)} is not as W3C Trace Context has it: "
                "VERSION-TRACE-PARENT-FLAGS in lower case hex, of 2, 32, 16 and 2 digits, neither id zero"
            )
        yield from self._tracestate_findings()
        yield from _metadata_findings(self.metadata)

    def _has_trace(self) -> bool:
        return _TRACEPARENT.fullmatch(self.traceparent or "") is not None

    def _tracestate_findings(self) -> Iterator[str]:
        state = self.tracestate
        if state is None:
            return
        if not self.traceparent:
            yield "tracestate says nothing without a traceparent; give both, or neither"
        if not (_is_text(state, MAX_TRACESTATE_LENGTH) and _TRACESTATE.fullmatch(state)):
            yield f"tracestate {_shown(state)} must be 1 to {MAX_TRACESTATE_LENGTH} printable ASCII characters"


NO_CONTEXT = RunContext()


def _metadata_findings(metadata: object) -> Iterator[str]:
    if not isinstance(metadata, Mapping):
        yield f"metadata must map texts to texts; it is a {type(metadata).__name__}"
        return
    if len(metadata) > MAX_METADATA:
        yield f"metadata has {len(metadata)} entries; at most {MAX_METADATA} are allowed"
        return
    problems = [problem for key, value in metadata.items() if (problem := _entry_problem(key, value))]
    yield from problems
    total = 0 if problems else sum(len(key) + len(value.encode()) for key, value in metadata.items())
    if total > MAX_METADATA_BYTES:
        yield f"metadata has {total} bytes in all; at most {MAX_METADATA_BYTES} are allowed"


def _entry_problem(key: object, value: object) -> str:
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        return (
            f"the metadata key {_shown(key)} is not allowed: a key begins with a letter or _, goes on with letters, "
            f"digits, _ or -, and has at most {MAX_KEY_LENGTH} characters"
        )
    if not isinstance(value, str):
        return f"metadata {key!r} is a {type(value).__name__}; only text can be a value"
    # Text that is far too long is not encoded first.
    if len(value) > MAX_VALUE_BYTES or len(value.encode(errors="replace")) > MAX_VALUE_BYTES:
        return f"metadata {key!r} is too long: at most {MAX_VALUE_BYTES} bytes are allowed"
    return "" if value.isprintable() else f"metadata {key!r} holds a character that cannot be printed"


def _is_text(value: object, most: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= most


def _shown(value: object) -> str:
    return repr(value)[:80]


def read_of_run(outputs: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """What a reference ``run.KEYS`` stands for, by the values under RUN_VALUES; null where nobody has said it."""
    value = outputs[RUN_VALUES]
    for key in keys:
        value = value.get(key)
    return value


def problem_of(parts: Sequence[str]) -> str:
    """Why ``run.NAME...`` can not be read, as the end of a sentence; empty where it can, or is about something else."""
    root, name, *keys = (*parts, "")[: max(2, len(parts))]
    if root != "run":
        return ""
    if name not in NAMES:
        return f"of a run there are {', '.join(NAMES)}{Hints(NAMES).did_you_mean(name)}"
    if name != METADATA:
        return f"run.{name} is text, and has nothing inside" if keys else ""
    if not keys or (len(keys) == 1 and _KEY.fullmatch(keys[0])):
        return ""
    return f"write run.{METADATA}.KEY, where KEY is one name"
