"""All node types of a process, found when the first is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskmesh.config.settings import Settings
    from taskmesh.plugins.interface import NodeContext
    from taskmesh.plugins.loading import Candidate, Plugin
    from taskmesh.plugins.node_task import NodeTypeTask


class NodeTypes:
    """The node types that the settings lead to. ``settings`` is asked once, when a type is first needed."""

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings

    @cached_property
    def plugins(self) -> tuple[Plugin, ...]:
        """Every node type that was found, those that are refused included."""
        # Every app has a mesh with these, and most apps never ask.
        from taskmesh.plugins.loading import load_plugins

        settings = self._settings()
        return load_plugins(_candidates(settings), settings.plugins.off)

    @cached_property
    def _tasks(self) -> dict[str, NodeTypeTask]:
        return {plugin.name: plugin.task for plugin in self.plugins if plugin.task is not None}

    def find(self, name: str) -> NodeTypeTask | None:
        return self._tasks.get(name)

    def names(self) -> Iterable[str]:
        return self._tasks

    def reason_off(self, name: str) -> str:
        """Why nodes of a type cannot be executed here; empty where they can, or where no such type is known."""
        return next((each.reason for each in self.plugins if each.name == name and each.state == "off"), "")

    def executable(self, current: Callable[[], NodeContext]) -> dict[str, NodeTypeTask]:
        """What a worker runs for them, by the names of tasks; ``current`` tells about the node that runs."""
        return {
            plugin.task.name: plugin.task.for_worker(current)
            for plugin in self.plugins
            if plugin.task is not None and plugin.state == "on"
        }


def may_be_any(settings: Settings) -> bool:
    """Whether any node type could be on here; imports none to find out, and nothing that they need."""
    from importlib.metadata import entry_points

    from taskmesh.plugins.interface import ENTRY_POINT_GROUP

    section = settings.plugins
    allowed = section.http_hosts, section.shell_programs, section.python, section.publish_exchanges, section.manifests
    return any(allowed) or bool(entry_points(group=ENTRY_POINT_GROUP))


def _candidates(settings: Settings) -> Iterator[Candidate]:
    from taskmesh.plugins.builtin import built_in
    from taskmesh.plugins.sources import declared, installed

    yield from built_in(settings)
    yield from installed()
    for manifest in settings.plugins.manifests:
        yield from declared(manifest)
