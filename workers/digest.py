"""A node type of one's own: the digest of a text. Named by the manifest configs/node-types.toml."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from taskmesh import NodeContext

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "description": "What to take the digest of."},
        "algorithm": {"enum": ["sha256", "blake2b"], "default": "sha256"},
        "length": {"type": "integer", "minimum": 1, "description": "Bytes of the digest; blake2b only."},
    },
    "required": ["text"],
    "additionalProperties": False,
}


class Digest:
    """One object serves all nodes of the type; it keeps nothing from one to the next."""

    name = "digest"
    interface = 1
    schema = SCHEMA

    def validate(self, config: dict[str, Any]) -> Iterator[str]:
        """What the schema cannot say."""
        if "length" in config and config.get("algorithm") != "blake2b":
            yield "length is for the algorithm blake2b"
        if config.get("length", 0) > hashlib.blake2b.MAX_DIGEST_SIZE:
            yield f"length must be at most {hashlib.blake2b.MAX_DIGEST_SIZE}"

    def execute(self, config: dict[str, Any], context: NodeContext) -> dict[str, str]:
        """The digest in hexadecimal, with the run that it was made for."""
        text = config["text"].encode()
        if config.get("algorithm") == "blake2b":
            made = hashlib.blake2b(text, digest_size=config.get("length", hashlib.blake2b.MAX_DIGEST_SIZE)).hexdigest()
        else:
            made = hashlib.sha256(text).hexdigest()
        return {"digest": made, "run": context.run_id}
