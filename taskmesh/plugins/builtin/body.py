"""What a node sends: ``json`` as JSON, or ``body`` as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from taskmesh.errors import NodeConfigError


def body_of(node_type: str, config: Mapping[str, Any]) -> bytes | None:
    """None where the config has neither.

    :raises NodeConfigError: for a value that has no form in JSON.
    """
    if "json" not in config:
        body: str | None = config.get("body")
        return None if body is None else body.encode()
    try:
        return json.dumps(config["json"], ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise NodeConfigError(node_type, [f"json holds a value that has no form in JSON: {error}"]) from None
