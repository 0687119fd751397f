"""What a terminal shows of a run: its levels, a bar over its nodes, and what runs how long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from taskmesh.cli import progress
from taskmesh.cli.fan_outs import FanOuts
from taskmesh.cli.output import NODE_LOOKS, RUN_STYLES, duration_text
from taskmesh.cli.progress import NodeProgress, Progress
from taskmesh.clock import Clock
from taskmesh.model.states import NodeState

MAX_NODES_DRAWN = 60
"""With more nodes than that, each task of a level is drawn as one row of counts."""

MAX_ROWS = 24
MAX_MAPS = 6
MAX_RUNNING_NAMED = 6
BAR_WIDTH = 40

_GROUP_COLUMNS: tuple[Literal["left", "right"], ...] = ("right", "left", "left", "right", "left")


class Picture:
    """Draws the present of a run each time that it is asked; the asking thread may be another than the run's."""

    def __init__(self, state: Progress, clock: Clock, fan_outs: FanOuts) -> None:
        self._state = state
        self._clock = clock
        self._fan_outs = fan_outs
        self._is_small = state.total <= MAX_NODES_DRAWN

    def __rich__(self) -> RenderableType:
        if self._is_small:
            return Group(self._title(), self._nodes(), *self._undos(), *self._maps(), self._bar())
        return Group(self._title(), self._groups(), *self._undos(), *self._maps(), self._bar(), *self._running())

    def _title(self) -> Text:
        state = self._state
        title = Text(no_wrap=True, overflow="ellipsis")
        title.append(state.title, "bold").append(f"  run {state.run_id}  ", "dim")
        return title.append(str(state.status), RUN_STYLES[state.status])

    def _nodes(self) -> Table:
        levels: dict[int, list[Text]] = {}
        for node in self._state.nodes.values():
            levels.setdefault(node.group.level, []).append(self._node(node))
        table = Table.grid(padding=(0, 2))
        table.add_column(justify="right", style="dim")
        table.add_column()
        for level, nodes in sorted(levels.items()):
            table.add_row(str(level), Columns(nodes, padding=(0, 2)))
        return table

    def _node(self, node: NodeProgress) -> Text:
        glyph, style = NODE_LOOKS[node.state]
        text = Text(f"{glyph} {node.name}", style)
        if node.state is NodeState.RUNNING and node.started_at is not None:
            text.append(f" {self._since(node.started_at)}", "dim")
        return text

    def _undos(self) -> Iterator[Columns]:
        """What has begun to be undone, the newest last."""
        undos = list(self._state.undos.values())[-MAX_NODES_DRAWN:]
        if undos:
            yield Columns([self._node(undo) for undo in undos], padding=(0, 2))

    def _groups(self) -> Table:
        groups = list(self._state.groups.values())
        table = Table.grid(padding=(0, 2))
        for side in _GROUP_COLUMNS:
            table.add_column(justify=side, no_wrap=True)
        for group in sorted(sorted(groups, key=_is_idle)[:MAX_ROWS], key=lambda group: group.level):
            bar = ProgressBar(total=group.total, completed=group.ended, width=BAR_WIDTH // 2)
            table.add_row(str(group.level), group.task, bar, f"{group.ended}/{group.total}", _counts(group))
        if len(groups) > MAX_ROWS:
            table.add_row("", f"… and {len(groups) - MAX_ROWS} more rows")
        return table

    def _maps(self) -> Iterator[Table]:
        """The nodes that wait for child runs, and how far those are."""
        awaiting = self._state.awaiting[:MAX_MAPS]
        found = self._fan_outs.of([node.child for node in awaiting])
        known = [(node, found[node.child]) for node in awaiting if node.child in found]
        table = Table.grid(padding=(0, 2))
        for node, counts in known:
            bar = ProgressBar(total=max(1, counts.total), completed=counts.ended, width=BAR_WIDTH)
            table.add_row(bar, f"{counts.ended:,}/{counts.total:,} {node.name}")
        if known:
            yield table

    def _bar(self) -> Table:
        state = self._state
        ended, until = state.ended, state.finished_at or self._clock.now()
        row = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=max(1, state.total), completed=ended, width=BAR_WIDTH)
        row.add_row(bar, f"{ended}/{state.total} nodes", duration_text(until - state.submitted_at))
        return row

    def _running(self) -> Iterator[Text]:
        """The nodes that run longest."""
        running = sorted(list(self._state.running.values()), key=lambda node: node.started_at or 0.0)
        if running:
            shown = [f"{node.name} {self._since(node.started_at or 0.0)}" for node in running[:MAX_RUNNING_NAMED]]
            text = Text(f"{len(running)} running: ", no_wrap=True, overflow="ellipsis")
            yield text.append(", ".join(shown), NODE_LOOKS[NodeState.RUNNING][1])

    def _since(self, at: float) -> str:
        return duration_text(self._clock.now() - at)


def _is_idle(group: progress.Group) -> bool:
    """Whether nothing of a group goes on or went wrong: such rows make room for others."""
    return not any(
        group.states[state] for state in (NodeState.READY, NodeState.RUNNING, NodeState.RETRYING, NodeState.FAILED)
    )


def _counts(group: progress.Group) -> Text:
    text = Text()
    for state, (glyph, style) in NODE_LOOKS.items():
        if group.states[state]:
            text.append(f"{glyph} {group.states[state]}  ", style)
    return text
