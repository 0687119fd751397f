"""JSON text to a document. The standard library's decoder keeps neither places nor repeated keys."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from typing import NoReturn

from taskmesh.flows.document import MAX_DOCUMENT_DEPTH, Finding, Item, Mark, UnreadableError

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORD = re.compile(r"true|false|null")
_WORDS = {"true": True, "false": False, "null": None}


def read_json(text: str) -> tuple[Item, list[Finding]]:
    """The document, and its repeated keys.

    :raises UnreadableError: where the text is not JSON.
    """
    reader = _Reader(text)
    return reader.document(), reader.findings


class _Reader:
    """Reads one text from front to back. Recursive, as the depth is limited."""

    def __init__(self, text: str) -> None:
        self.findings: list[Finding] = []
        self._text = text
        self._position = 0
        self._line_starts = [0, *(found.end() for found in re.finditer("\n", text))]

    def document(self) -> Item:
        item = self._value(MAX_DOCUMENT_DEPTH)
        if self._peek():
            self._fail("nothing may follow the end of the flow")
        return item

    def _value(self, depth: int) -> Item:
        character = self._peek()
        mark = self._mark()
        if character in ("{", "[") and depth == 0:
            self._fail(f"nested deeper than {MAX_DOCUMENT_DEPTH} levels")
        if character == "{":
            return self._object(Item({}, mark), depth - 1)
        if character == "[":
            return self._array(Item([], mark), depth - 1)
        if character == '"':
            text = self._string()
            return Item(text, mark, text)
        return self._word_or_number(mark)

    def _object(self, item: Item, depth: int) -> Item:
        self._position += 1
        while self._goes_on(item, "}"):
            if self._peek() != '"':
                self._fail("a key in double quotes is missing here")
            key_mark = self._mark()
            key = self._string()
            if self._peek() != ":":
                self._fail(f"a colon is missing after the key {key!r}")
            self._position += 1
            self.findings += item.put(key, key_mark, self._value(depth))
        return item

    def _array(self, item: Item, depth: int) -> Item:
        self._position += 1
        while self._goes_on(item, "]"):
            item.append(self._value(depth))
        return item

    def _goes_on(self, item: Item, end: str) -> bool:
        """Whether another child follows; passes over the comma before it, or over the end."""
        character = self._peek()
        if character == end:
            self._position += 1
            return False
        if item.value:
            if character != ",":
                self._fail(f"a comma or {end} is missing here")
            self._position += 1
        return True

    def _string(self) -> str:
        try:
            text, self._position = _DECODER.raw_decode(self._text, self._position)
        except json.JSONDecodeError as error:
            self._position = error.pos
            self._fail(error.msg)
        return str(text)

    def _word_or_number(self, mark: Mark) -> Item:
        found = _NUMBER.match(self._text, self._position)
        if found:
            self._position = found.end()
            return Item(self._number(found, mark), mark, found[0])
        word = _WORD.match(self._text, self._position)
        if word is None:
            self._fail("a value is missing here")
        self._position = word.end()
        return Item(_WORDS[word[0]], mark, word[0])

    def _number(self, found: re.Match[str], mark: Mark) -> int | float:
        if found[1] or found[2]:
            return float(found[0])
        try:
            return int(found[0])
        except ValueError:
            self.findings.append(Finding(mark, f"a number of {len(found[0])} digits is too long"))
            return 0

    def _peek(self) -> str:
        space = _SPACE.match(self._text, self._position)
        self._position = space.end() if space else self._position
        return self._text[self._position : self._position + 1]

    def _mark(self) -> Mark:
        line = bisect_right(self._line_starts, self._position)
        return Mark(line, self._position - self._line_starts[line - 1] + 1)

    def _fail(self, message: str) -> NoReturn:
        raise UnreadableError(self._mark(), f"not valid JSON: {message}")
