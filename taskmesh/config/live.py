"""Which settings a running worker takes over when they change, and what tells whether two workers have the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from taskmesh.config.settings import Settings

LIVE = frozenset({"worker.drain_seconds", "worker.cancel_grace_seconds", "flows.activate", "log.level", "log.format"})
"""All others are built into connections, queues and processes, and need a restart."""

DIGEST_LENGTH = 8


def changed_keys(before: Settings, after: Settings) -> list[str]:
    """The dotted names of the settings that differ."""
    old, new = _flat(before), _flat(after)
    return [name for name, value in old.items() if value != new[name]]


def refusal(before: Settings, after: Settings) -> str:
    """Why a running worker does not take settings over; empty where it can."""
    fixed = [name for name in changed_keys(before, after) if name not in LIVE]
    if not fixed:
        return ""
    verb = "has" if len(fixed) == 1 else "have"
    return (
        f"{', '.join(fixed)} {verb} changed, which takes a restart of this worker; until then it goes on with all of "
        "its settings as they were"
    )


def digest(settings: Settings) -> str:
    """Short text that is the same for two workers whose live settings are."""
    flat = _flat(settings)
    values = json.dumps([flat[name] for name in sorted(LIVE)]).encode()
    return hashlib.blake2b(values, digest_size=DIGEST_LENGTH // 2).hexdigest()


def _flat(settings: Settings) -> Mapping[str, Any]:
    sections = settings.to_mapping()
    return {
        key: value
        for section, values in sections.items()
        for key, value in (
            [(f"{section}.{name}", value) for name, value in values.items()]
            if isinstance(values, dict)
            else [(section, values)]
        )
    }
