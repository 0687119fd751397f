"""Flow files, YAML and JSON, to flows. A file is good as a whole or refused with everything that is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from taskmesh.errors import FlowError, UsageError
from taskmesh.flows.document import Finding, Item, UnreadableError
from taskmesh.flows.json_reader import read_json
from taskmesh.flows.reading import read_draft
from taskmesh.flows.yaml_reader import read_yaml
from taskmesh.model.catalog import TaskCatalog
from taskmesh.model.flow import Flow
from taskmesh.model.problems import Problem
from taskmesh.model.validation import examine

MAX_FILE_BYTES = 16 * 1024 * 1024


def load_flow_file(path: str | Path, tasks: TaskCatalog | None = None) -> Flow:
    """Read a flow from a file of at most 16 MiB.

    ``tasks``, where given, are the only ones that the nodes may name.

    :raises FlowError: with every problem of the file as ``file:line:column: sentence``.
    :raises UsageError: when the file cannot be read.
    """
    return load_flow(read_text(path, "flow"), str(path), tasks)


def read_text(path: str | Path, what: str) -> str:
    """The text of a file of at most 16 MiB; ``what`` it should describe is for messages.

    :raises FlowError: it is too large, or no UTF-8. :raises UsageError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            body = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; give the path of a {what} file") from None
    _limit_size(len(body), str(path))
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FlowError([f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8"]) from None


def load_flow(text: str, source: str, tasks: TaskCatalog | None = None) -> Flow:
    """Read a flow from text; ``source`` is its name in messages.

    The text is JSON where the source's name ends in ``.json`` and YAML otherwise, which takes nearly all JSON, too.

    :raises FlowError: with every problem of the text as ``source:line:column: sentence``.
    """
    root, findings = read_document(text, source)
    draft, problems = read_draft(root)
    more, flow = examine(draft, tasks)
    refuse(source, root, findings, _without_repeats(problems, more))
    return flow


def read_document(text: str, source: str) -> tuple[Item, list[Finding]]:
    """The document that a text holds, JSON or YAML by the name of its source, and what is wrong with its keys.

    :raises FlowError: it can be read no further.
    """
    _limit_size(len(text), source)
    try:
        return read_json(text) if source.endswith(".json") else read_yaml(text)
    except UnreadableError as error:
        raise FlowError([_sentence(source, error.finding)]) from None


def refuse(source: str, root: Item, findings: list[Finding], problems: Sequence[Problem]) -> None:
    """:raises FlowError: anything was found; with each at its place, in the order of the text."""
    everything = findings + [_found(root, problem) for problem in problems]
    if everything:
        raise FlowError([_sentence(source, each) for each in sorted(everything, key=lambda each: each.mark)])


def _limit_size(size: int, source: str) -> None:
    if size > MAX_FILE_BYTES:
        raise FlowError([f"{source}: a file may have {MAX_FILE_BYTES} bytes; split it into several"])


def _without_repeats(shape: list[Problem], rules: list[Problem]) -> list[Problem]:
    """All problems but the broken rules of what was left out of the draft because its shape was wrong."""
    left_out = {problem.path for problem in shape if not problem.on_key}
    return shape + [
        problem
        for problem in rules
        if not any(problem.path[:length] in left_out for length in range(1, len(problem.path) + 1))
    ]


def _found(root: Item, problem: Problem) -> Finding:
    return Finding(root.locate(problem.path, problem.on_key), str(problem))


def _sentence(source: str, finding: Finding) -> str:
    return f"{source}:{finding.mark.line}:{finding.mark.column}: {finding.message}"
