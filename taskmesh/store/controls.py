"""What is done to runs as a whole, as batches: one method for each Lua script, named like it.

As for every call of the store: one that raised ``StoreUnavailableError`` may be made again with the same arguments.
"""

from __future__ import annotations

from collections.abc import Sequence

from taskmesh.store.calls import Admission, Controlled, Marking, Renewed, Told, Who, Word
from taskmesh.store.events.recorded import note_emitting
from taskmesh.store.events.waits import note_awaited
from taskmesh.store.family import News, RunKey
from taskmesh.store.link import Command, Reply
from taskmesh.store.preparations import Fork, Inheritance, Reset
from taskmesh.store.store import WORDS, Request, Store, read_renewed, read_told
from taskmesh.wire import pack

NOBODY = Who()

BY_USER = "user"
"""The kind of a pause that somebody asked for; any other kind names what is being prepared."""


class Controls:
    """Pauses, resumes and ends runs of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def halt_runs(
        self, run_ids: Sequence[str], status: str, who: Who = NOBODY, compensate: bool = False
    ) -> list[Controlled]:
        """Let nothing new of the runs start; they end with ``status``, or are undone. A paused one answers so."""
        return self._ask([self._halt(each, status, who, compensate) for each in run_ids])

    def compensate_runs(
        self, runs: Sequence[tuple[str, str, str]], parent: bytes = b"", look_seconds: float | None = None
    ) -> list[Controlled]:
        """Begin to undo what ended runs did, or go on; each comes with the hash and the first pool of its flow.

        Afterwards the place ``BEFORE_UNDOS`` of each must tell its dependents. A ``parent`` that asks is told the end;
        ``look_seconds`` as of ``Admission``.
        """
        return self._ask([self._compensate(*each, parent, look_seconds) for each in runs])

    def pause_runs(self, run_ids: Sequence[str], who: Who = NOBODY) -> list[Controlled]:
        """Let no ready node of the runs start until they are resumed."""
        return self._ask([self._script("pause_run", each, [self._store.now, *who]) for each in run_ids])

    def resume_runs(
        self, runs: Sequence[RunKey | tuple[str, str]], kind: str = BY_USER, who: Who = NOBODY
    ) -> list[Controlled]:
        """Let paused runs go on; their ready nodes are left to the caller to publish."""
        return self._ask([self._resume(RunKey(*each), kind, who) for each in runs])

    def terminate_runs(self, runs: Sequence[RunKey | tuple[str, str]], who: Who = NOBODY) -> list[Controlled]:
        """End runs at once. Afterwards the place ``TO_PARENT`` of each that is a child must tell its parent."""
        return self._ask([self._terminate(RunKey(*each), who) for each in runs])

    def tell_parents(self, news: Sequence[News]) -> list[Renewed]:
        """Tell nodes how child runs have ended; those that have a token in the answer are ready."""
        return self._store.ask(Request([self._tell_parent(each) for each in news], read_renewed, Renewed(Word.BROKEN)))

    def mark_nodes(self, markings: Sequence[Marking]) -> list[Told]:
        """End nodes by hand."""
        return self._store.ask(Request([self._mark(each) for each in markings], read_told, Told(Word.BROKEN)))

    def reopen_run(self, run_id: str, flow_hash: str, kind: str, who: Who = NOBODY) -> Controlled:
        """Let an ended run go on, paused for what ``kind`` says."""
        keys = self._store.keys.partition_of(run_id)
        script_keys = [keys.run(run_id), keys.flow(flow_hash), keys.open_runs, keys.closed_runs, keys.timers]
        arguments = [self._store.now, run_id, kind, *who]
        [answer] = self._ask([self._store.script("reopen_run", script_keys, arguments)])
        return answer

    def fork_run(self, run: Admission, fork: Fork, who: Who, with_flow: bool = False) -> Controlled:
        """Store a run that goes on from where another one is, paused for ``fork.kind``."""
        note_emitting(self._store, [run])
        note_awaited(self._store, [run])
        keys = self._store.keys.partition_of(run.run_id)
        due = [] if run.deadline_seconds is None else [keys.timers]
        arguments: list[str | bytes | int | float] = [
            self._store.now,
            run.run_id,
            run.digest,
            run.flow_body if with_flow else b"",
            run.header,
            run.flow_hash,
            run.params,
            run.shard_key,
            run.node_count,
            "" if run.deadline_seconds is None else run.deadline_seconds,
            "" if run.undo_base is None else run.undo_base,
            fork.kind,
            *who,
            fork.origin,
            fork.inherits,
            *run.further,
        ]
        script_keys = [keys.run(run.run_id), keys.flow(run.flow_hash), keys.open_runs, *due]
        [answer] = self._ask([self._store.script("fork_run", script_keys, arguments)])
        return answer

    def inherit_nodes(self, run_id: str, kind: str, nodes: Sequence[Inheritance]) -> Controlled:
        """Give nodes of a run that is being forked their outputs; not more than one script may do."""
        places = pack([each.node for each in nodes])
        arguments: list[str | bytes] = [self._store.now, kind, places, *(each.output for each in nodes)]
        [answer] = self._ask([self._store.script("inherit_nodes", [self._store.keys.run(run_id)], arguments)])
        return answer

    def reset_nodes(
        self,
        run_id: str,
        kind: str,
        pools: tuple[str, ...],
        resets: Sequence[Reset],
        further: Sequence[str | int] = (),
    ) -> Controlled:
        """Make nodes of a reopened run ready or waiting; not more than one script may do.

        ``further`` are fields of the run to set, names and values by turns.
        """
        keys = self._store.keys.partition_of(run_id)
        wishes = pack([part for each in resets for part in each])
        arguments: list[str | bytes | int] = [self._store.now, run_id, kind, wishes, *further]
        script_keys = [keys.run(run_id), *keys.outboxes(pools), keys.timers, keys.retrying(run_id)]
        [answer] = self._ask([self._store.script("reset_nodes", script_keys, arguments)])
        return answer

    def _tell_parent(self, each: News) -> Command:
        keys = self._store.keys_of_retrying(each.key, each.pool)
        return self._store.script("tell_parent", keys, [self._store.now, *each.key, each.ticket, each.outcome])

    def _mark(self, each: Marking) -> Command:
        run_id, node = each.key
        keys = self._store.keys.partition_of(run_id)
        return self._store.script(
            "mark_node",
            [*self._store.keys_of_telling(each), keys.timers, keys.retrying(run_id)],
            [
                self._store.now,
                run_id,
                node,
                each.state,
                each.output,
                each.cause,
                each.edges,
                int(each.last),
                self._store.retention_ms,
                int(each.can_be_undone),
                each.special,
                int(each.waits_its_turn),
                each.bound,
            ],
        )

    def _ask(self, commands: list[Command]) -> list[Controlled]:
        return self._store.ask(Request(commands, _controlled, Controlled(Word.BROKEN)))

    def _script(self, name: str, run_id: str, arguments: Sequence[str]) -> Command:
        return self._store.script(name, [self._store.keys.run(run_id)], arguments)

    def _halt(self, run_id: str, status: str, who: Who, compensate: bool) -> Command:
        keys = self._store.keys.partition_of(run_id)
        arguments = [self._store.now, run_id, status, *who, "1" if compensate else "0"]
        return self._store.script("halt_run", [keys.run(run_id), keys.halted], arguments)

    def _resume(self, run: RunKey, kind: str, who: Who) -> Command:
        keys, run_id = self._store.keys.partition_of(run.run_id), run.run_id
        above = [keys.outbox(run.pool_of_child)] if run.pool_of_child else []
        return self._store.script(
            "resume_run",
            [keys.run(run_id), keys.flow(run.flow_hash), keys.open_runs, keys.closed_runs, *above],
            [self._store.now, run_id, kind, self._store.retention_ms, *who],
        )

    def _compensate(self, run_id: str, flow_hash: str, pool: str, parent: bytes, look_seconds: float | None) -> Command:
        keys = self._store.keys.partition_of(run_id)
        children = [] if look_seconds is None else [keys.children]
        return self._store.script(
            "compensate_run",
            [keys.run(run_id), keys.flow(flow_hash), keys.open_runs, keys.closed_runs, keys.outbox(pool), *children],
            [self._store.now, run_id, parent, "" if look_seconds is None else look_seconds],
        )

    def _terminate(self, run: RunKey, who: Who) -> Command:
        keys, run_id = self._store.keys.partition_of(run.run_id), run.run_id
        above = [keys.outbox(run.pool_of_child)] if run.pool_of_child else []
        return self._store.script(
            "terminate_run",
            [
                *(keys.run(run_id), keys.flow(run.flow_hash), keys.open_runs, keys.closed_runs),
                *(keys.retrying(run_id), keys.halted, *above),
            ],
            [self._store.now, run_id, self._store.retention_ms, *who],
        )


def _controlled(reply: Reply) -> Controlled:
    return Controlled(WORDS[reply[0]], reply[1].decode() if len(reply) > 1 else "")
