"""Keeps the registered flows up with flow files: what is new in them becomes a version, all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from taskmesh.client.flow_versions import FlowBox
from taskmesh.errors import FlowError, TooLargeError, UsageError
from taskmesh.flows.folder import find_flow_files, load_flow_files
from taskmesh.model.catalog import TaskCatalog
from taskmesh.model.flow import Flow
from taskmesh.model.flow_versions import FlowVersion, VersionState

SHOWN_PATH = 200

Look: TypeAlias = "tuple[tuple[Path, int, int], ...]"
"""Each file with the time of its last change and its size: what tells that it may have changed."""

Known: TypeAlias = "Mapping[Path, tuple[Flow, FlowVersion | None]]"
"""The flows of files that are not registered yet by this process, and the versions that have their content."""


class Reloaded(NamedTuple):
    """What a reload came to: references of the versions that are new, and of those that were activated."""

    pushed: tuple[str, ...] = ()
    activated: tuple[str, ...] = ()


class FlowReload:
    """The flow files at ``paths``, and what of them this process has registered.

    With ``activate`` a version becomes active when it never was, when none of its name is, or when its file has changed
    to it while this process looked. So a rollback stays until a file changes.
    """

    def __init__(self, box: FlowBox, paths: Sequence[str], activate: bool, tasks: TaskCatalog | None) -> None:
        self._box = box
        self._paths = tuple(paths)
        self.activates = activate
        self._tasks = tasks
        self._is_done = False
        self._seen: Look | None = None
        self._registered: dict[str, Flow] = {}

    def has_changed(self) -> bool:
        """Whether the files look other than at the last reload that came to its end, be that a refusal."""
        return not self._is_done or self._look() != self._seen

    def reload(self) -> Reloaded:
        """Read all files and register what is new.

        :raises FlowError: something is wrong with files or paths, a sentence for each; nothing is registered then.
        :raises StoreUnavailableError: reload again; what is registered already is not registered twice.
        """
        self._is_done = False
        # Before the files are read: what changes meanwhile is looked at again.
        self._seen = self._look()
        try:
            known = self._checked(self._load())
        except FlowError:
            self._is_done = True
            raise
        reloaded = self._register(known)
        self._is_done = True
        return reloaded

    def _load(self) -> dict[Path, Flow]:
        try:
            files = find_flow_files(self._paths)
        except UsageError as error:
            raise FlowError([str(error)]) from None
        return load_flow_files(files, self._tasks)

    def _checked(self, flows: Mapping[Path, Flow]) -> Known:
        """What is to be registered; nothing can be refused any more once something is."""
        known: dict[Path, tuple[Flow, FlowVersion | None]] = {}
        problems: list[str] = []
        for file, flow in flows.items():
            if self._registered.get(flow.name) == flow:
                continue
            try:
                known[file] = flow, self._box.version_of(flow)
            except (UsageError, TooLargeError) as error:
                problems.append(f"{file}:1:1: {error}")
        problems += self._archived(known)
        if problems:
            raise FlowError(problems)
        return known

    def _archived(self, known: Known) -> Iterator[str]:
        for file, (_, version) in known.items():
            if self.activates and version is not None and version.state is VersionState.ARCHIVED:
                yield (
                    f"{file}:1:1: this is {version.reference}, which is archived and cannot be activated; "
                    f"`taskmesh flow restore {version.reference}` takes it back"
                )

    def _register(self, known: Known) -> Reloaded:
        pushed: list[str] = []
        activated: list[str] = []
        for file, (flow, found) in known.items():
            why = f"from {str(file)[-SHOWN_PATH:]}"
            version, is_new = (found, False) if found else self._box.push(flow, message=why)
            pushed += [version.reference] if is_new else []
            if self._is_to_be_activated(version):
                self._box.activate(version.reference, reason=why)
                activated.append(version.reference)
            self._registered[flow.name] = flow
        return Reloaded(tuple(pushed), tuple(activated))

    def _is_to_be_activated(self, version: FlowVersion) -> bool:
        if not self.activates or version.state is VersionState.ACTIVE:
            return False
        if version.name in self._registered or self._box.active(version.name) is None:
            return True
        return not self._box.was_active(version)

    def _look(self) -> Look | None:
        """None where a path is not there."""
        try:
            return tuple(_seen(file) for file in find_flow_files(self._paths))
        except UsageError:
            return None


def _seen(file: Path) -> tuple[Path, int, int]:
    try:
        stat = file.stat()
    except OSError:
        return file, 0, -1
    return file, stat.st_mtime_ns, stat.st_size
