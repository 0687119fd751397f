"""Steers runs as a whole: pause, resume, cancel, terminate; one run or many. Safe in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from taskmesh.client.parts import ClientParts
from taskmesh.dispatch.dispatcher import Ready, outgoing
from taskmesh.errors import RunError, RunNotFoundError, RunStateError
from taskmesh.model.states import NodeState, RunState
from taskmesh.store.calls import Controlled, NodeKey, Who, Word
from taskmesh.store.controls import BY_USER, Controls

RUNS_PER_EXCHANGE = 200
NODES_PER_EXCHANGE = 200

WHY_BYTES = 500
"""What a person says about a decision is kept with the run, so it must stay short."""


class Verdict(NamedTuple):
    """What became of a wish for one run: done, or not needed since the run had ended, or refused with an ``error``."""

    run_id: str
    done: bool
    error: RunError | None = None

    def accepted(self) -> bool:
        """Whether it was done.

        :raises RunError: it was refused.
        """
        if self.error is not None:
            raise self.error
        return self.done


class RunControl:
    """Each call may be repeated, and changes nothing then; one that died half-way is finished by the next."""

    def __init__(self, parts: ClientParts) -> None:
        self._parts = parts
        self._controls = Controls(parts.store)

    def pause(self, run_ids: Sequence[str], who: Who) -> list[Verdict]:
        """Let nothing more of runs start until they are resumed. What runs goes on to its end."""
        return self._batched(run_ids, lambda ids: self._controls.pause_runs(ids, _checked(who)))

    def resume(self, run_ids: Sequence[str]) -> list[Verdict]:
        """Let paused runs go on."""
        return self._batched(run_ids, self._resume)

    def cancel(self, run_ids: Sequence[str], who: Who) -> list[Verdict]:
        """Let nothing more of runs start, and tell what runs."""
        return self._batched(run_ids, lambda ids: self._cancel(ids, _checked(who)))

    def terminate(self, run_ids: Sequence[str], who: Who) -> list[Verdict]:
        """End runs at once, whatever their nodes are doing."""
        return self._batched(run_ids, lambda ids: self._terminate(ids, _checked(who)))

    def _batched(self, run_ids: Sequence[str], act: Callable[[Sequence[str]], Sequence[Controlled]]) -> list[Verdict]:
        verdicts = []
        for start in range(0, len(run_ids), RUNS_PER_EXCHANGE):
            batch = run_ids[start : start + RUNS_PER_EXCHANGE]
            verdicts += [_verdict(*each) for each in zip(batch, act(batch), strict=True)]
        return verdicts

    def _resume(self, run_ids: Sequence[str]) -> list[Controlled]:
        answers = self._controls.resume_runs(run_ids, BY_USER)
        self._start_again([id_ for id_, each in zip(run_ids, answers, strict=True) if each.word is Word.RESUMED])
        return answers

    def _cancel(self, run_ids: Sequence[str], who: Who) -> list[Controlled]:
        answers = self._controls.halt_runs(run_ids, RunState.CANCELLED, who)
        self._start_again([id_ for id_, each in zip(run_ids, answers, strict=True) if each.detail == Word.PAUSED])
        return answers

    def _terminate(self, run_ids: Sequence[str], who: Who) -> list[Controlled]:
        rows = self._parts.reader.fields_of_runs(run_ids, ("flow",))
        known = [(id_, flow.decode()) for id_, (flow,) in zip(run_ids, rows, strict=True) if flow]
        answers = dict(zip([id_ for id_, _ in known], self._controls.terminate_runs(known, who), strict=True))
        return [answers.get(id_, Controlled(Word.UNKNOWN)) for id_ in run_ids]

    def _start_again(self, run_ids: Sequence[str]) -> None:
        """Publish the ready nodes of runs; what is not reached here is overdue, and published by the keeper."""
        for run_id in run_ids:
            for ready in self.redriven(run_id):
                self._parts.publisher.publish([outgoing(each) for each in ready])

    def redriven(self, run_id: str) -> Iterator[list[Ready]]:
        """The ready nodes of a run in slices, each with a token that has no message yet; none while it is paused."""
        [flow_hash, shard_key] = self._parts.reader.run_fields(run_id, ("flow", "shard_key"))
        plan = self._parts.plans.get(flow_hash.decode(), run_id) if flow_hash else None
        if plan is None or shard_key is None:
            return
        records = self._parts.reader.records_of_run(run_id)
        nodes = [NodeKey(run_id, at) for at, each in records.items() if each.state is NodeState.READY]
        for start in range(0, len(nodes), NODES_PER_EXCHANGE):
            keys = nodes[start : start + NODES_PER_EXCHANGE]
            answers = self._parts.store.redrive_nodes([(key, plan.pool_of(key.node)) for key in keys])
            yield [
                Ready(plan, run_id, key.node, shard_key.decode(), answer.attempt, answer.token)
                for key, answer in zip(keys, answers, strict=True)
                if answer.word is Word.REDRIVE
            ]


def _verdict(run_id: str, answer: Controlled) -> Verdict:
    if answer.word is Word.UNKNOWN:
        return Verdict(run_id, False, RunNotFoundError(run_id))
    if answer.word is Word.BROKEN:
        return Verdict(
            run_id, False, RunStateError(run_id, "is damaged in the store; its key does not hold what it must")
        )
    if answer.word is Word.PREPARING:
        return Verdict(run_id, False, RunStateError(run_id, _half_done(run_id, answer.detail)))
    if answer.word is Word.ENDING:
        return Verdict(run_id, False, RunStateError(run_id, "is being ended early, so it cannot be paused"))
    return Verdict(run_id, answer.word is not Word.ENDED)


def _half_done(run_id: str, kind: str) -> str:
    return (
        f"is being prepared ({kind}), which was begun and not finished; `taskmesh resume {run_id}` finishes it, "
        f"`taskmesh terminate {run_id}` ends the run"
    )


def _checked(who: Who) -> Who:
    return Who(_cut(who.by), _cut(who.why))


def _cut(text: str) -> str:
    return text.encode(errors="replace")[:WHY_BYTES].decode(errors="ignore")
