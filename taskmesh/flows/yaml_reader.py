"""YAML text to a document.

Works on PyYAML's events one by one, so that depth and aliases are limited while reading, and no tag ever makes an
object.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

from taskmesh.flows.core_schema import TAG_PREFIX, plain_value
from taskmesh.flows.document import (
    MAX_DOCUMENT_DEPTH,
    MAX_REPEATED_VALUES,
    Finding,
    Item,
    Mark,
    Scalar,
    UnreadableError,
)

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_START = Mark(1, 1)


def read_yaml(text: str) -> tuple[Item, list[Finding]]:
    """The document, and what is wrong in it without making it unreadable: repeated keys, foreign tags.

    :raises UnreadableError: where it cannot be read.
    """
    builder = _Builder()
    for event in _events(text):
        step = _STEPS.get(type(event))
        if step is not None:
            step(builder, event)
    if builder.root is None:
        raise UnreadableError(_START, "the file is empty; it needs at least the keys flow and nodes")
    return builder.root, builder.findings


def _events(text: str) -> Iterator[Any]:
    try:
        yield from yaml.parse(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark or error.context_mark
        mark = _mark(place) if place else _START
        said = ", ".join(part for part in (error.problem, error.context) if part)
        if _is_tab_indent(text, mark):
            said = "the line is indented with a tab; YAML takes spaces alone there"
        raise UnreadableError(mark, f"not valid YAML: {said}") from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        mark = Mark(before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise UnreadableError(mark, f"not valid YAML: {error.reason}") from None


def _is_tab_indent(text: str, mark: Mark) -> bool:
    line = "".join(text.splitlines()[mark.line - 1 : mark.line])
    indent = line[: len(line) - len(line.lstrip())]
    return "\t" in indent and mark.column <= len(indent) + 1


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)


@dataclass(slots=True)
class _Open:
    """A container that is being read, and the key that waits for its value."""

    item: Item
    anchor: str | None
    key: Item | None = None

    @property
    def expects_key(self) -> bool:
        return self.key is None and isinstance(self.item.value, dict)


class _Builder:
    """Puts a document together from events, without recursion."""

    def __init__(self) -> None:
        self.root: Item | None = None
        self.findings: list[Finding] = []
        self._open: list[_Open] = []
        self._anchors: dict[str, Item] = {}
        self._repeated = 0

    def start_document(self, event: Any) -> None:
        if self.root is not None:
            raise UnreadableError(_mark(event.start_mark), "a second document begins here; a file holds one flow")

    def start_mapping(self, event: Any) -> None:
        self._start(event, Item({}, _mark(event.start_mark)), "map")

    def start_sequence(self, event: Any) -> None:
        self._start(event, Item([], _mark(event.start_mark)), "seq")

    def _start(self, event: Any, item: Item, kind: str) -> None:
        if event.tag not in (None, "!", TAG_PREFIX + kind):
            self._refuse_tag(item.mark, event.tag)
        if len(self._open) >= MAX_DOCUMENT_DEPTH:
            raise UnreadableError(item.mark, f"nested deeper than {MAX_DOCUMENT_DEPTH} levels")
        self._open.append(_Open(item, event.anchor))

    def end_container(self, event: Any) -> None:
        ended = self._open.pop()
        self._complete(ended.item, ended.anchor)

    def scalar(self, event: Any) -> None:
        mark = _mark(event.start_mark)
        is_key = bool(self._open) and self._open[-1].expects_key
        if is_key and event.value == "<<" and event.implicit[0]:
            self.findings.append(Finding(mark, "merge keys (<<) are not supported; write the keys out"))
        value = event.value if is_key else self._scalar_value(event, mark)
        self._complete(Item(value, mark, event.value), event.anchor)

    def _scalar_value(self, event: Any, mark: Mark) -> Scalar:
        text: str = event.value
        try:
            if event.implicit[0]:
                return plain_value(text)
            if event.tag == f"{TAG_PREFIX}binary":
                return base64.b64decode("".join(text.split()), validate=True)
        except binascii.Error:
            self.findings.append(Finding(mark, "the text after !!binary is not Base64"))
        except ValueError:
            self.findings.append(Finding(mark, f"a number of {len(text)} digits is too long"))
        if event.tag not in (None, "!", f"{TAG_PREFIX}str", f"{TAG_PREFIX}binary"):
            self._refuse_tag(mark, event.tag)
        return text

    def _refuse_tag(self, mark: Mark, tag: str) -> None:
        shown = f"!!{tag.removeprefix(TAG_PREFIX)}" if tag.startswith(TAG_PREFIX) else tag
        self.findings.append(Finding(mark, f"the tag {shown} is not supported; write plain values"))

    def alias(self, event: Any) -> None:
        mark = _mark(event.start_mark)
        target = self._anchors.get(event.anchor)
        if target is None:
            raise UnreadableError(mark, f"the alias *{event.anchor} stands for nothing that is complete before it")
        self._repeated += target.size
        if self._repeated > MAX_REPEATED_VALUES:
            raise UnreadableError(mark, f"the aliases stand for more than {MAX_REPEATED_VALUES} values; use fewer")
        if len(self._open) + target.height > MAX_DOCUMENT_DEPTH:
            raise UnreadableError(mark, f"the alias *{event.anchor} nests deeper than {MAX_DOCUMENT_DEPTH} levels")
        self._complete(replace(target, mark=mark, key_mark=None), None)

    def _complete(self, item: Item, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = item
        if not self._open:
            self.root = item
            return
        around = self._open[-1]
        if around.expects_key:
            if isinstance(item.value, dict | list):
                raise UnreadableError(item.mark, "a list or a mapping cannot be a key; a key is text")
            around.key = item
            return
        if around.key is None:
            around.item.append(item)
        else:
            self.findings += around.item.put(around.key.text, around.key.mark, item)
            around.key = None


_STEPS: Mapping[type, Callable[[_Builder, Any], None]] = {
    yaml.DocumentStartEvent: _Builder.start_document,
    yaml.MappingStartEvent: _Builder.start_mapping,
    yaml.SequenceStartEvent: _Builder.start_sequence,
    yaml.MappingEndEvent: _Builder.end_container,
    yaml.SequenceEndEvent: _Builder.end_container,
    yaml.ScalarEvent: _Builder.scalar,
    yaml.AliasEvent: _Builder.alias,
}
