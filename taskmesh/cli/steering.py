"""Commands that steer runs: one by its id, or many by a filter."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskmesh.cli.options import Format, Output
from taskmesh.errors import UsageError
from taskmesh.model.states import OPEN_RUN_STATES, RETRIABLE_RUN_STATES, RunState

if TYPE_CHECKING:
    from taskmesh.app.mesh import Mesh
    from taskmesh.client.verdicts import Verdict
    from taskmesh.store.calls import Who

RUNS_PER_STEP = 200
NOT_ALL = 1

Runs = Annotated[
    list[str] | None,
    typer.Argument(metavar="[RUN]...", help="Ids of runs, as `taskmesh ls` prints them.", show_default=False),
]
Status = Annotated[RunState | None, typer.Option("--status", help="Choose runs with this status.")]
FlowName = Annotated[str | None, typer.Option("--flow", metavar="NAME", help="Choose runs of this flow.")]
WithTags = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="NAME=TEXT", show_default=False, help="Choose runs with this tag. May be repeated."),
]
OlderThan = Annotated[
    str | None, typer.Option("--older-than", metavar="TIME", help="Choose runs submitted longer ago, as 90s, 2h or 7d.")
]
Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help="Choose runs submitted within this time.")]
All = Annotated[bool, typer.Option("--all", help="Choose every run that it can be done to.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before many runs are changed.")]
Compensate = Annotated[bool, typer.Option("--compensate", help="Then undo what had succeeded.")]
OfNode = Annotated[
    str | None, typer.Option("--node", metavar="NODE", help="A node that failed, a map, or an item NODE[PLACE] of one.")
]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept with the run, with your name.")]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which runs a command is for, and how it is carried out."""

    runs: Sequence[str]
    status: RunState | None
    flow: str | None
    tags: Sequence[str]
    older_than: str | None
    since: str | None
    everything: bool
    sure: bool
    output: Format


@dataclass(frozen=True, slots=True)
class Verb:
    """What is done: its words, to runs in which states, and what the client does."""

    name: str
    past: str
    among: Collection[RunState]
    act: Callable[[Mesh, Sequence[str]], list[Verdict]]


def pause(
    runs: Runs = None,
    status: Status = None,
    flow: FlowName = None,
    tag: WithTags = None,
    older_than: OlderThan = None,
    since: Since = None,
    everything: All = False,
    yes: Yes = False,
    reason: Reason = "",
    output: Output = Format.TEXT,
) -> None:
    """Let nothing more of runs start until they are resumed. What runs already goes on to its end."""
    choice = Choice(runs or (), status, flow, tag or (), older_than, since, everything, yes, output)
    _steer(Verb("pause", "paused", OPEN_RUN_STATES, lambda mesh, ids: mesh.control.pause(ids, _who(reason))), choice)


def resume(
    runs: Runs = None,
    status: Status = None,
    flow: FlowName = None,
    tag: WithTags = None,
    older_than: OlderThan = None,
    since: Since = None,
    everything: All = False,
    yes: Yes = False,
    output: Output = Format.TEXT,
) -> None:
    """Let paused runs go on."""
    choice = Choice(runs or (), status, flow, tag or (), older_than, since, everything, yes, output)
    _steer(Verb("resume", "resumed", OPEN_RUN_STATES, lambda mesh, ids: mesh.control.resume(ids)), choice)


def cancel(
    runs: Runs = None,
    status: Status = None,
    flow: FlowName = None,
    tag: WithTags = None,
    older_than: OlderThan = None,
    since: Since = None,
    everything: All = False,
    yes: Yes = False,
    reason: Reason = "",
    compensate: Compensate = False,
    output: Output = Format.TEXT,
) -> None:
    """Let nothing more of runs start. What runs already may end."""
    choice = Choice(runs or (), status, flow, tag or (), older_than, since, everything, yes, output)

    def act(mesh: Mesh, ids: Sequence[str]) -> list[Verdict]:
        return mesh.control.cancel(ids, _who(reason), compensate)

    _steer(Verb("cancel", "cancelled", OPEN_RUN_STATES, act), choice)


def terminate(
    runs: Runs = None,
    status: Status = None,
    flow: FlowName = None,
    tag: WithTags = None,
    older_than: OlderThan = None,
    since: Since = None,
    everything: All = False,
    yes: Yes = False,
    reason: Reason = "",
    output: Output = Format.TEXT,
) -> None:
    """End runs at once, whatever their nodes are doing; that counts no more."""
    choice = Choice(runs or (), status, flow, tag or (), older_than, since, everything, yes, output)
    _steer(
        Verb("terminate", "terminated", OPEN_RUN_STATES, lambda mesh, ids: mesh.control.terminate(ids, _who(reason))),
        choice,
    )


def retry(
    runs: Runs = None,
    status: Status = None,
    flow: FlowName = None,
    tag: WithTags = None,
    older_than: OlderThan = None,
    since: Since = None,
    everything: All = False,
    yes: Yes = False,
    node: OfNode = None,
    reason: Reason = "",
    output: Output = Format.TEXT,
) -> None:
    """Let runs that have ended go on: what did not succeed of them runs again, of a map those items.

    With --node, a map that has succeeded though items of it have failed goes on with these, and what depends on it runs
    again; or with one of them alone, which is called NODE[PLACE].
    """
    choice = Choice(runs or (), status, flow, tag or (), older_than, since, everything, yes, output)

    if node is not None and len(choice.runs) != 1:
        raise UsageError("--node is for one run; name just that")

    def act(mesh: Mesh, ids: Sequence[str]) -> list[Verdict]:
        if node is None:
            return mesh.control.retry(ids, _who(reason))
        return [mesh.control.retry_node(run_id, node, _who(reason)) for run_id in ids]

    _steer(Verb("retry", "retried", RETRIABLE_RUN_STATES, act), choice)


def _steer(verb: Verb, choice: Choice) -> None:
    from taskmesh.cli.targets import opened

    by_filter = _is_by_filter(choice)
    with opened() as mesh:
        ids = _chosen(mesh, choice, verb) if by_filter else list(dict.fromkeys(choice.runs))
        if by_filter and not _may_go_on(verb, choice, len(ids)):
            raise typer.Abort
        verdicts = _in_steps(mesh, verb, ids)
        if not by_filter and len(verdicts) == 1:
            _tell_one(mesh, verb, verdicts[0], choice.output)
            return
    _tell_many(verb, verdicts, choice.output)
    if any(verdict.error for verdict in verdicts):
        raise typer.Exit(NOT_ALL)


def _is_by_filter(choice: Choice) -> bool:
    filters = (choice.status, choice.flow, choice.tags, choice.older_than, choice.since, choice.everything)
    if choice.runs and any(filters):
        raise UsageError("runs are named, and chosen by options; do one of both")
    if not choice.runs and not any(filters):
        raise UsageError("no run is named; name some, or choose them by --status, --flow, --tag, --since, --all ...")
    return not choice.runs


def _chosen(mesh: Mesh, choice: Choice, verb: Verb) -> list[str]:
    from taskmesh.cli.targets import pairs_of, seconds_of

    selection = mesh.select(
        status=choice.status,
        flow=choice.flow,
        tags=pairs_of(choice.tags, "--tag"),
        older_than_seconds=seconds_of(choice.older_than, "--older-than"),
        since_seconds=seconds_of(choice.since, "--since"),
    )
    return selection.ids(verb.among)


def _may_go_on(verb: Verb, choice: Choice, count: int) -> bool:
    """Say how many runs are meant; on a terminal, ask."""
    typer.echo(f"{count} runs will be {verb.past}", err=True)
    if choice.sure or not count:
        return True
    if not sys.stdin.isatty():
        raise UsageError(f"nobody can be asked whether {count} runs may be {verb.past}; add --yes")
    return typer.confirm("Go on?", err=True)


def _in_steps(mesh: Mesh, verb: Verb, ids: Sequence[str]) -> list[Verdict]:
    verdicts: list[Verdict] = []
    for start in range(0, len(ids), RUNS_PER_STEP):
        verdicts += verb.act(mesh, ids[start : start + RUNS_PER_STEP])
        if len(ids) > RUNS_PER_STEP:
            typer.echo(f"{len(verdicts)} of {len(ids)}", err=True)
    return verdicts


def _tell_one(mesh: Mesh, verb: Verb, verdict: Verdict, output: Format) -> None:
    from taskmesh.cli.output import print_json

    done, status = verdict.accepted(), mesh.run(verdict.run_id).status()
    if output is Format.JSON:
        print_json({"run_id": verdict.run_id, verb.past: done, "status": str(status)})
    elif done:
        print(f"run {verdict.run_id}: {verb.past}" + ("" if status == verb.past else f"; it is {status} now"))
    else:
        print(f"run {verdict.run_id} {'had ended before' if status.ended else 'is beyond that'}: {status}")


def _tell_many(verb: Verb, verdicts: Sequence[Verdict], output: Format) -> None:
    from taskmesh.cli.output import print_json

    done = [verdict.run_id for verdict in verdicts if verdict.done]
    refused = {verdict.run_id: str(verdict.error) for verdict in verdicts if verdict.error}
    ended = len(verdicts) - len(done) - len(refused)
    if output is Format.JSON:
        document: dict[str, Any] = {"action": verb.name, "chosen": len(verdicts), verb.past: done}
        print_json({**document, "ended_before": ended, "refused": refused})
        return
    print(f"{len(done)} runs {verb.past}" + (f"; {ended} had ended before" if ended else ""))
    for sentence in refused.values():
        typer.echo(f"refused: {sentence}", err=True)


def _who(reason: str) -> Who:
    from taskmesh.app.run import who

    return who(reason)
