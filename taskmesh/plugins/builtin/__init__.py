"""The node types that come with taskmesh. None may do anything until the settings say what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from taskmesh.config.settings import Settings
from taskmesh.errors import UsageError
from taskmesh.plugins.builtin.http import HttpNode
from taskmesh.plugins.builtin.publish import PublishNode
from taskmesh.plugins.builtin.python_code import PythonNode
from taskmesh.plugins.builtin.shell import ShellNode
from taskmesh.plugins.loading import Candidate

T = TypeVar("T")

ORIGIN = "built in"


def built_in(settings: Settings) -> Iterator[Candidate]:
    """Each with why it is off, where it is; one that could not keep its limits is refused when made."""
    section = settings.plugins
    hosts = "" if section.http_hosts else "plugins.http_hosts allows no host"
    programs = "" if section.shell_programs else "plugins.shell_programs allows no program"
    source = "" if section.python else "plugins.python is false"
    exchanges = "" if section.publish_exchanges else "plugins.publish_exchanges allows no exchange"
    shell_lacks = "" if programs else ShellNode.lacking(section)
    python_lacks = "" if source else PythonNode.lacking()
    yield Candidate("http", ORIGIN, lambda: HttpNode(section), hosts, is_own=True)
    yield Candidate("shell", ORIGIN, lambda: _able(shell_lacks, lambda: ShellNode(section)), programs, is_own=True)
    yield Candidate("python", ORIGIN, lambda: _able(python_lacks, lambda: PythonNode(section)), source, is_own=True)
    yield Candidate("publish", ORIGIN, lambda: PublishNode(settings), exchanges, is_own=True)


def _able(lacking: str, make: Callable[[], T]) -> T:
    if lacking:
        raise UsageError(lacking)
    return make()
