"""The flow files that settings name: found, and read all together; good as a whole or refused as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from taskmesh.errors import FlowError, UsageError
from taskmesh.flows.files import load_flow_file
from taskmesh.model.catalog import TaskCatalog
from taskmesh.model.flow import Flow

SUFFIXES = (".yaml", ".yml", ".json")

MAX_FILES = 1000
"""More in one place are not flow files, most likely, but a wrong path."""


def find_flow_files(paths: Sequence[str]) -> list[Path]:
    """The files themselves, and the flow files that lie directly in the directories; in the order of their names.

    :raises UsageError: a path is not there or cannot be read, or there are over MAX_FILES.
    """
    try:
        found = sorted({file for path in paths for file in _files_at(Path(path))})
    except OSError as error:
        raise UsageError(f"{error.filename} of flows.paths cannot be read: {error.strerror}") from None
    if len(found) > MAX_FILES:
        raise UsageError(f"flows.paths leads to {len(found)} files; at most {MAX_FILES} are read")
    return found


def load_flow_files(files: Sequence[Path], tasks: TaskCatalog | None = None) -> dict[Path, Flow]:
    """The flow of each file.

    :raises FlowError: with every problem of every file, as of ``load_flow_file``; also for a name that two files have.
    """
    flows: dict[Path, Flow] = {}
    problems: list[str] = []
    for file in files:
        try:
            flows[file] = load_flow_file(file, tasks)
        except FlowError as error:
            problems += error.problems
        except UsageError as error:
            problems.append(str(error))
    problems += _shared_names(flows)
    if problems:
        raise FlowError(problems)
    return flows


def _files_at(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())
    elif path.exists():
        yield path
    else:
        raise UsageError(f"{path} of flows.paths is not there; name a flow file, or a directory that holds some")


def _shared_names(flows: dict[Path, Flow]) -> Iterator[str]:
    first: dict[str, Path] = {}
    for file, flow in flows.items():
        earlier = first.setdefault(flow.name, file)
        if earlier is not file:
            yield f"{file}:1:1: flow {flow.name!r} is also in {earlier}; a name has one file"
