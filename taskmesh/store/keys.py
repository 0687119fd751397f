"""Every key of the store is named here and nowhere else.

All keys of a run carry the hash tag of the run's partition, so one script touches one slot of a Redis Cluster.
"""

from __future__ import annotations

import zlib


class Partition:
    """The keys below one hash tag."""

    def __init__(self, namespace: str, number: int) -> None:
        self._tag = f"{namespace}:{{{number}}}:"
        self.number = number
        self.keeper = f"{self._tag}keeper"
        """Hash of the lock of who keeps house in this partition: holder, until, epoch."""
        self.open_runs = f"{self._tag}open"
        """Sorted set of runs that have not ended, by the time of submission."""
        self.closed_runs = f"{self._tag}closed"
        """Sorted set of runs that have ended, by the time of their end."""
        self.holders = f"{self._tag}holders"
        """Sorted set of I/O processes, by the end of their lease."""
        self.timers = f"{self._tag}timers"
        """Sorted set of RUN/NODE that wait for their next attempt, by the time it is due (``calls.RUN_DEADLINE``)."""
        self.halted = f"{self._tag}halted"
        """Sorted set of halted runs that have not ended, by when the keeper is to look for what nobody ends."""
        self.children = f"{self._tag}children"
        """Sorted set of child runs that end with their parents, by when it is to be looked whether those still wait for
        them; until their parents have been told of their ends."""
        self.schedules = f"{self._tag}schedules"
        """Sorted set of schedules, by when their next run begins; infinite where none comes."""
        self.due_ticks = f"{self._tag}due"
        """Sorted set of ticks whose runs are to be admitted, by when that was decided (``prelude_schedules.lua``)."""
        self.busy_schedules = f"{self._tag}busy"
        """Sorted set of schedules to look at before their next tick, by when they were looked at last."""
        self.revisions = f"{self._tag}revisions"
        """Counter from which each change of a schedule draws its number."""
        self.emitted = f"{self._tag}emitted"
        """Sorted set of events to publish, by when they came to be (``prelude.lua``, which knows this name)."""
        self.lost_events = f"{self.emitted}:lost"
        """How many events went unpublished since there was no more room for them."""
        self.kept_events = f"{self._tag}kept"
        """Hash of events that are kept for nodes that wait for them later (``keep_event.lua``)."""
        self.kept_until = f"{self.kept_events}:until"
        """Sorted set of the same, by when they are to go."""
        self.kept_by_key = f"{self.kept_events}:by_key"
        """Sorted set of the same as KEY/EVENT, all of one score."""
        self.gatherings = f"{self._tag}gatherings"
        """Sorted set of gatherings whose batch takes events, by when it closes (``prelude_batches.lua``)."""
        self.closed_batches = f"{self._tag}batches"
        """Sorted set of ID|NUMBER, batches of events whose runs are to be admitted, by when they were closed."""
        self.gathered_bytes = f"{self._tag}gathered"
        """How many bytes the events of all batches take."""
        self._outboxes: dict[str, str] = {}

    def run(self, run_id: str) -> str:
        return f"{self._tag}run:{run_id}"

    def flow(self, flow_hash: str) -> str:
        return f"{self._tag}flow:{flow_hash}"

    def expected(self, run_id: str) -> str:
        """There while a run is about to be admitted for which something was put aside."""
        return f"{self._tag}expected:{run_id}"

    def retrying(self, run_id: str) -> str:
        """Set of the nodes of a run that wait for their next attempt."""
        return f"{self._tag}retrying:{run_id}"

    def outbox(self, pool: str) -> str:
        """Sorted set of RUN/NODE that are due and have not ended, by the time they were due or last looked after."""
        key = self._outboxes.get(pool)
        if key is None:
            key = self._outboxes[pool] = f"{self._tag}outbox:{pool}"
        return key

    def awaiting(self, key: str) -> str:
        """Sorted set of RUN/NODE/PAST that wait for an event with a key, by when that lapses."""
        return f"{self._tag}awaiting:{key}"

    def schedule(self, schedule_id: str) -> str:
        """Hash of one schedule (``prelude_schedules.lua``)."""
        return f"{self._tag}schedule:{schedule_id}"

    def schedule_part(self, schedule_id: str, part: str) -> str:
        """Another key of a schedule: ``started``, ``passed`` or ``backfill``."""
        return f"{self._tag}{part}:{schedule_id}"

    def gathering(self, gathering_id: str) -> str:
        """Hash of what gathers the events of one flow and key (``prelude_batches.lua``)."""
        return f"{self._tag}gathering:{gathering_id}"

    def seen(self, gathering_id: str) -> str:
        """Sorted set of what the events of a gathering are known by, by when that is forgotten."""
        return f"{self._tag}seen:{gathering_id}"

    def scratch(self, kind: str) -> str:
        """A key that lives for a moment, to try what the user may do."""
        return f"{self._tag}doctor:{kind}"

    def outboxes(self, pools: tuple[str, ...]) -> list[str]:
        return [self.outbox(pool) for pool in pools]


class Keys:
    """Names of keys below one namespace, spread over ``partitions`` hash tags."""

    def __init__(self, namespace: str, partitions: int) -> None:
        self.namespace = namespace
        self._dead_tag = f"{namespace}:{{dead}}:"
        self.partitions = tuple(Partition(namespace, number) for number in range(partitions))

    def partition_of(self, run_id: str) -> Partition:
        """The partition of a run, a schedule, or a gathering."""
        return self.partitions[zlib.crc32(run_id.encode()) % len(self.partitions)]

    def run(self, run_id: str) -> str:
        return self.partition_of(run_id).run(run_id)

    def expected(self, run_id: str) -> str:
        return self.partition_of(run_id).expected(run_id)

    def events(self, run_id: str) -> str:
        """The sharded channel on which the transitions of a watched run are announced."""
        return f"{self.run(run_id)}:events"

    def end(self, run_id: str) -> str:
        """The sharded channel on which only the end of a run is announced."""
        return f"{self.run(run_id)}:end"

    def probes(self, pool: str) -> str:
        """Hash of shard queue -> time at which the newest received probe was sent."""
        return f"{self.namespace}:probes:{pool}"

    def questions(self, holder: str) -> str:
        """Set of what the keeper asks a holder: whether it still has nodes that it is said to run."""
        return f"{self.namespace}:asked:{holder}"

    def settings_report(self, holder: str) -> str:
        """The revision of the settings that a holder runs with, as long as its lease."""
        return f"{self.namespace}:settings:{holder}"

    @property
    def pushed_settings(self) -> str:
        """Hash of the live settings that were pushed, by revision (``push_settings.lua``). Never expires."""
        return f"{self.namespace}:{{settings}}"

    @property
    def settings_news(self) -> str:
        """The sharded channel on which each new revision of the pushed settings is announced."""
        return f"{self.pushed_settings}:news"

    @property
    def pools(self) -> str:
        """Set of the pools that workers consume."""
        return f"{self.namespace}:pools"

    def serving(self, pool: str) -> str:
        """Sorted set of the I/O processes that consume a pool, by the end of their lease."""
        return f"{self.namespace}:serving:{pool}"

    @property
    def installation(self) -> str:
        """A random text that tells this installation from others; written once."""
        return f"{self.namespace}:installation"

    @property
    def keepers(self) -> str:
        """Sorted set of the processes that can keep house, by the end of their candidacy."""
        return f"{self.namespace}:keepers"

    @property
    def beginning(self) -> str:
        """Sorted set of keepers that have taken up ticks which are not done, by when each said last that it lives."""
        return f"{self.namespace}:beginning"

    @property
    def scheduling(self) -> str:
        """Set of the numbers of the partitions that have had a schedule."""
        return f"{self.namespace}:scheduling"

    @property
    def emitting(self) -> str:
        """Set of the numbers of the partitions that have had a run which sends events."""
        return f"{self.namespace}:emitting"

    def awaited(self, event: str) -> str:
        """Sorted set of what nodes wait for of a type of events, by when nobody may wait for it any more."""
        return f"{self.namespace}:awaited:{event}"

    @property
    def gathering(self) -> str:
        """Set of the numbers of the partitions that have had a gathering."""
        return f"{self.namespace}:gathering"

    @property
    def breakers(self) -> str:
        """Set of the names of the breakers that workers have met."""
        return f"{self.namespace}:breakers"

    def breaker(self, name: str) -> str:
        """Hash of one circuit breaker: its state and its rules (``consult_breaker.lua``)."""
        return f"{self.namespace}:{{breaker:{name}}}"

    def breaker_report(self, name: str, holder: str) -> str:
        """The number of the last report of outcomes that a holder has made to a breaker."""
        return f"{self.breaker(name)}:report:{holder}"

    @property
    def flow_names(self) -> str:
        """Set of the names of the registered flows."""
        return f"{self.namespace}:flows"

    def flow_versions(self, name: str) -> str:
        """Hash of a registered flow: its versions, and which is active (``push_flow.lua``). Never expires."""
        return f"{self.namespace}:{{flow:{name}}}"

    def flow_body(self, name: str, flow_hash: str) -> str:
        """Hash of the body of a registered version. Never expires."""
        return f"{self.flow_versions(name)}:body:{flow_hash}"

    @property
    def letters(self) -> str:
        """Sorted set of the dead letters, by the time at which they were given up."""
        return f"{self._dead_tag}letters"

    @property
    def letters_of_runs(self) -> str:
        """Sorted set of RUN/LETTER, all of one score, for the letters that are messages of a run."""
        return f"{self._dead_tag}runs"

    @property
    def letter_totals(self) -> str:
        """Hash: how many ``bytes`` the dead letters have together."""
        return f"{self._dead_tag}totals"

    def letter(self, letter_id: str) -> str:
        """Hash of one dead letter."""
        return f"{self._dead_tag}letter:{letter_id}"

    def letter_keys(self, letter_id: str) -> list[str]:
        """What the scripts about one dead letter touch."""
        return [self.letter(letter_id), self.letters, self.letters_of_runs, self.letter_totals]
