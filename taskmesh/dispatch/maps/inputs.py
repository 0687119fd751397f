"""What each of the copies of a node is called with: its own item, and what all are given."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from taskmesh.dispatch.deferring import defer_item
from taskmesh.model.flow import Copies
from taskmesh.model.mapping import GIVEN, ORIGIN, compile_item_value, given_by, item_values
from taskmesh.wire import pack, unpack
from taskmesh.wire.claim_checks import read_params
from taskmesh.wire.codec import PutAsideError

_KEY_BYTES = 16


class ItemArguments:
    """What the arguments of all copies of a node have in common."""

    def __init__(self, copies: Copies) -> None:
        self.copies = copies
        self.template = compile_item_value(copies.node.args)
        self.needs_given = bool(given_by(copies.node.args))

    def resolve(self, given: Mapping[str, Any], item: Any, index: int) -> bytes:
        return pack(self.template.resolve(given, item_values(item, index)))


class ItemInputs:
    """The inputs of one copy: ``fields`` are what all are given, where they are, and the chunk that has its item."""

    gate = None
    __slots__ = ("_of_all", "_place", "fields")

    def __init__(self, of_all: ItemArguments, place: int) -> None:
        self._of_all = of_all
        self._place = place
        chunk = f"items:{place // of_all.copies.per_chunk}"
        self.fields = ("params", chunk) if of_all.needs_given or of_all.copies.is_sliced else (chunk,)

    def arguments(self, values: Sequence[bytes | None]) -> bytes:
        chunk = values[-1]
        if chunk is None:
            raise LookupError("the item is not in the store any more, which has lost writes; run the map again")
        item = unpack(chunk)[self._place % self._of_all.copies.per_chunk]
        try:
            params = unpack(values[0]) if len(values) > 1 and values[0] is not None else {}
        except PutAsideError:
            return defer_item(self._of_all.copies.node.args, values[0] or b"", item, self._place)
        return self._of_all.resolve(params.get(GIVEN, {}), item, self._place)

    def idempotency_key(self, values: Sequence[bytes | None]) -> str:
        """A slice is known by what is in it, whatever its place among the others is."""
        if not self._of_all.copies.is_sliced or values[0] is None or values[-1] is None:
            return ""
        digest = hashlib.blake2b(values[-1], digest_size=_KEY_BYTES).hexdigest()
        return f"{read_params(values[0]).here[ORIGIN]}/{digest}"
