"""Recorded workflows in the WfCommons format, turned into flows that replay them.

Reads schema 1.3 to 1.5: the graph under ``workflow.specification`` and the recording under ``workflow.execution``,
or everything inside ``workflow.tasks`` as older files have it. Tasks refer to each other by id or by name.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from taskmesh.errors import FlowError
from taskmesh.model.flow import Flow, Node
from taskmesh.model.references import NAME_PATTERN, escape_text
from taskmesh.model.validation import complete
from taskmesh.model.values import Value

REPLAY_TASK = "workers.replay:step"

DEFAULT_SCALE = 0.001
"""A recorded hour becomes 3.6 seconds."""

DEFAULT_MAX_BYTES = 65_536
"""What one node hands on at most: recorded files may have gigabytes, and outputs travel through the store."""

MAX_INPUT_BYTES = 8 * 1_048_576
"""What one node may get from all of its parents together; the parents of a very wide join hand on less."""

_NAME = re.compile(NAME_PATTERN)
_NAME_LENGTH = 128
_TITLE_LENGTH = 255


@dataclass(frozen=True, slots=True)
class Replay:
    """How a recording is replayed: recorded seconds times ``scale``, at most ``max_bytes`` out of a node."""

    scale: float = DEFAULT_SCALE
    max_bytes: int = DEFAULT_MAX_BYTES
    task: str = REPLAY_TASK


@dataclass(frozen=True, slots=True)
class RecordedTask:
    """One task of a recording; ``parents`` are ids."""

    id: str
    program: str
    seconds: float
    output_bytes: int
    parents: tuple[str, ...]


def import_wfcommons_file(path: Path, replay: Replay) -> Flow:
    """The flow that replays a recorded workflow.

    :raises FlowError: when the file cannot be read, is not WfCommons, or its tasks are no DAG.
    """
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise FlowError([f"{path}: cannot be read: {error.strerror}"]) from None
    except (ValueError, RecursionError) as error:
        raise FlowError([f"{path}: not valid JSON: {error}"]) from None
    return import_wfcommons(document, str(path), replay)


def import_wfcommons(document: Any, source: str, replay: Replay) -> Flow:
    """``import_wfcommons_file`` for a decoded document; ``source`` names it in errors."""
    recording = _Recording(document, source)
    draft = Flow(_title(recording.name), "1", tuple(_nodes(recording.tasks(), replay)))
    try:
        return complete(draft)
    except FlowError as error:
        raise FlowError([f"{source}: {problem}" for problem in error.problems]) from None


class _Recording:
    """Reads one document."""

    def __init__(self, document: Any, source: str) -> None:
        self._source = source
        root = self._object(document, "the document")
        if "workflow" not in root:
            self._refuse("it has no key 'workflow'")
        workflow = self._object(root["workflow"], "workflow")
        specification = self._object(workflow.get("specification", workflow), "workflow.specification")
        execution = self._object(workflow.get("execution") or {}, "workflow.execution")
        self.name = str(root.get("name") or "workflow")
        self._tasks = self._entries(specification.get("tasks"), "tasks of the workflow")
        self._ids = self._known_ids()
        self._by_name = self._unique_names()
        self._sizes = self._file_sizes(specification.get("files") or [])
        self._executed = {self._key(entry): entry for entry in self._entries(execution.get("tasks") or [], "execution")}

    def tasks(self) -> list[RecordedTask]:
        if not self._tasks:
            self._refuse("its workflow has no tasks")
        parents = self._parents()
        return [self._task(entry, parents[self._key(entry)]) for entry in self._tasks]

    def _known_ids(self) -> set[str]:
        counts = Counter(map(self._key, self._tasks))
        repeated = [name for name, count in counts.items() if count > 1]
        if repeated:
            self._refuse(f"several tasks have the id {repeated[0]!r}")
        return set(counts)

    def _unique_names(self) -> dict[str, str]:
        names = [str(entry.get("name")) for entry in self._tasks]
        counts = Counter(names)
        return {name: self._key(entry) for name, entry in zip(names, self._tasks, strict=True) if counts[name] == 1}

    def _file_sizes(self, files: Any) -> dict[str, int]:
        return {self._key(entry): self._size(entry) for entry in self._entries(files, "files of the workflow")}

    def _parents(self) -> dict[str, list[str]]:
        """The ids that each task needs: some files tell of an edge at one of its ends only."""
        parents: dict[str, dict[str, None]] = {key: {} for key in self._ids}
        for entry in self._tasks:
            own = self._key(entry)
            for other in self._references(entry, "parents"):
                parents[own][other] = None
        for entry in self._tasks:
            own = self._key(entry)
            for other in self._references(entry, "children"):
                parents[other][own] = None
        return {key: list(needed) for key, needed in parents.items()}

    def _references(self, entry: Mapping[str, Any], side: str) -> Iterator[str]:
        own = self._key(entry)
        for reference in self._list(entry.get(side) or [], f"{side} of task {own!r}"):
            known = reference if reference in self._ids else self._by_name.get(reference)
            if known is None:
                self._refuse(f"task {own!r} names {reference!r} among its {side}, which is no task of the workflow")
            if known == own:
                self._refuse(f"task {own!r} names itself among its {side}")
            yield known

    def _task(self, entry: Mapping[str, Any], parents: Sequence[str]) -> RecordedTask:
        key = self._key(entry)
        executed = self._executed.get(key) or self._executed.get(str(entry.get("name"))) or entry
        command = executed.get("command") or entry.get("command") or {}
        program = command.get("program") if isinstance(command, Mapping) else None
        return RecordedTask(
            id=key,
            program=str(program or entry.get("name") or key),
            seconds=self._seconds(executed, key),
            output_bytes=sum(self._outputs(entry)),
            parents=tuple(parents),
        )

    def _seconds(self, executed: Mapping[str, Any], key: str) -> float:
        value = executed.get("runtimeInSeconds", executed.get("runtime"))
        return self._number(value, f"the runtime of task {key!r}")

    def _outputs(self, entry: Mapping[str, Any]) -> Iterator[int]:
        for name in self._list(entry.get("outputFiles") or [], "outputFiles"):
            yield self._sizes.get(name, 0)
        for file in self._entries(entry.get("files") or [], "files of a task"):
            if file.get("link") == "output":
                yield self._size(file)

    def _size(self, file: Mapping[str, Any]) -> int:
        value = file.get("sizeInBytes", file.get("size"))
        return int(self._number(value, f"the size of file {self._key(file)!r}"))

    def _number(self, value: Any, what: str) -> float:
        """Recordings have gaps: what is missing, negative or not finite counts as 0."""
        if value is None:
            return 0.0
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._refuse(f"{what} is {value!r}, not a number")
        return max(0.0, float(value)) if math.isfinite(value) else 0.0

    def _key(self, entry: Mapping[str, Any]) -> str:
        key = entry.get("id") or entry.get("name")
        if not isinstance(key, str | int):
            self._refuse("a task or a file has neither an id nor a name")
        return str(key)

    def _entries(self, value: Any, what: str) -> list[Mapping[str, Any]]:
        if isinstance(value, Mapping):
            value = [{"id": key, **self._object(entry, what)} for key, entry in value.items()]
        if not isinstance(value, list):
            self._refuse(f"the {what} are missing or no list")
        return [self._object(entry, f"each of the {what}") for entry in value]

    def _list(self, value: Any, what: str) -> list[str]:
        if not isinstance(value, list):
            self._refuse(f"the {what} are no list")
        return [str(each) for each in value]

    def _object(self, value: Any, what: str) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            self._refuse(f"{what} must be an object")
        return value

    def _refuse(self, why: str) -> NoReturn:
        raise FlowError([f"{self._source}: not a WfCommons workflow: {why} (schema 1.3 to 1.5 can be read)"])


def _nodes(tasks: Sequence[RecordedTask], replay: Replay) -> Iterator[Node]:
    names = dict(zip((task.id for task in tasks), node_names([task.id for task in tasks]), strict=True))
    sizes = _output_sizes(tasks, replay.max_bytes)
    for task in tasks:
        parents = {names[parent]: sizes[parent] for parent in task.parents}
        arguments: dict[str, Value] = {
            "node": names[task.id],
            "program": escape_text(task.program),
            "seconds": round(task.seconds * replay.scale, 6),
            "output_bytes": sizes[task.id],
            "inputs": {parent: f"${{nodes.{parent}.output}}" for parent in parents},
            "input_bytes": parents,
        }
        yield Node(names[task.id], replay.task, arguments, tuple(parents))


def _output_sizes(tasks: Sequence[RecordedTask], max_bytes: int) -> dict[str, int]:
    """What each task hands on: the recorded bytes, cut to the limits of a node and of whoever joins the most."""
    limits = dict.fromkeys((task.id for task in tasks), max_bytes)
    for task in tasks:
        for parent in task.parents:
            limits[parent] = min(limits[parent], MAX_INPUT_BYTES // len(task.parents))
    return {task.id: min(task.output_bytes, limits[task.id]) for task in tasks}


def node_names(ids: Iterable[str]) -> list[str]:
    """A valid node name for each id, all different; an id that is a valid name keeps it."""
    ids = list(ids)
    taken = {each for each in ids if _NAME.fullmatch(each)}
    counts: dict[str, int] = {}
    names = []
    for each in ids:
        name = each if _NAME.fullmatch(each) else _free_name(each, taken, counts)
        taken.add(name)
        names.append(name)
    return names


def _free_name(text: str, taken: set[str], counts: dict[str, int]) -> str:
    base = re.sub(r"[^A-Za-z0-9_-]+", "_", text)
    base = base if _NAME.match(base) else f"_{base}"
    name = base[:_NAME_LENGTH]
    while name in taken:
        counts[base] = counts.get(base, 1) + 1
        name = f"{base[: _NAME_LENGTH - 8]}_{counts[base]}"
    return name


def _title(text: str) -> str:
    return re.sub(r"[\s${}]+", "-", text)[:_TITLE_LENGTH] or "workflow"
