"""The transitions of schedules, as batches: one method for each Lua script, named like it.

As for every call of the store: one that raised ``StoreUnavailableError`` may be made again with the same arguments.
"""

from __future__ import annotations

from collections.abc import Sequence

from taskmesh.store.calls import Who, Word
from taskmesh.store.link import Command, Reply, value_of
from taskmesh.store.schedules.calls import Fired, Firing, Put, Recorded, SettledTick, Standing
from taskmesh.store.store import WORDS, Request, Store
from taskmesh.wire import pack

MOST_BACKFILL = 10_000
"""How many past ticks of one schedule may wait to be run."""

TICKS_PER_BACKFILL = 500

NEVER = "+inf"


class Schedules:
    """Changes the schedules of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys = store.keys

    def put_schedule(self, put: Put) -> Word:
        """Store a definition in place of what was seen; ``same`` where it is so already, ``changed`` where not."""
        keys = self._keys.partition_of(put.schedule_id)
        number = Command(self._keys.scheduling, "SADD", self._keys.scheduling, keys.number)
        # Before the schedule is there, so that no keeper overlooks it.
        value_of(self._store.link.exchange([number])[0])
        return self._word(
            "put_schedule",
            [keys.schedule(put.schedule_id), keys.schedules, keys.revisions],
            [
                put.schedule_id,
                put.seen_revision,
                put.digest,
                put.body,
                put.overlap,
                _tick(put.next_tick),
                _score(put.begins_at),
                _tick(put.seen_next),
            ],
        )

    def fire_schedules(self, firings: Sequence[Firing]) -> list[Fired]:
        """Decide about ticks that are due."""
        return self._decide([self._fire(each) for each in firings])

    def relieve_schedules(self, relieved: Sequence[tuple[Standing, Sequence[str]]]) -> list[Fired]:
        """Let ticks go that waited; each schedule comes with those of its runs that have ended."""
        return self._decide([self._relieve(*each) for each in relieved])

    def settle_ticks(self, settled: Sequence[SettledTick]) -> None:
        """Be done with recorded ticks."""
        self._store.ask(Request([self._settle(each) for each in settled], _word, Word.BROKEN))

    def pause_schedule(self, schedule_id: str, who: Who) -> Word:
        """Let no tick begin a run until it is resumed."""
        keys = [self._keys.partition_of(schedule_id).schedule(schedule_id)]
        return self._word("pause_schedule", keys, ["pause", *who])

    def resume_schedule(self, schedule_id: str) -> Word:
        keys = [self._keys.partition_of(schedule_id).schedule(schedule_id)]
        return self._word("pause_schedule", keys, ["resume", "", ""])

    def trigger_schedule(self, schedule_id: str, run_id: str, tick: int) -> Fired:
        """Record that a run begins now."""
        keys = self._keys.partition_of(schedule_id)
        passed = keys.schedule_part(schedule_id, "passed")
        script_keys = [keys.schedule(schedule_id), keys.due_ticks, passed]
        command = self._script("trigger_schedule", script_keys, [run_id, tick])
        [answer] = self._store.ask(Request([command], _triggered, Fired(Word.BROKEN)))
        return answer

    def backfill_schedule(self, schedule_id: str, most_active: int, ticks: Sequence[tuple[int, str, int]]) -> Word:
        """Have past ticks run: each with its place in the order and its run; at most TICKS_PER_BACKFILL of them."""
        keys = self._keys.partition_of(schedule_id)
        script_keys = [
            keys.schedule(schedule_id),
            keys.busy_schedules,
            keys.schedule_part(schedule_id, "backfill"),
        ]
        flat = [part for order, run_id, tick in ticks for part in (order, f"{run_id}|{tick}")]
        return self._word("backfill_schedule", script_keys, [schedule_id, most_active, MOST_BACKFILL, *flat])

    def remove_schedule(self, schedule_id: str) -> Word:
        keys = self._keys.partition_of(schedule_id)
        parts = [keys.schedule_part(schedule_id, part) for part in ("started", "passed", "backfill")]
        script_keys = [keys.schedule(schedule_id), keys.schedules, keys.busy_schedules, *parts]
        command = self._store.script("remove_schedule", script_keys, [schedule_id])
        [answer] = self._store.ask(Request([command], _word, Word.BROKEN))
        return answer

    def postpone(self, schedule_ids: Sequence[str], until: float) -> None:
        """Put schedules that cannot be read now behind the others, until a time in epoch seconds."""
        keys = [self._keys.partition_of(each).schedules for each in schedule_ids]
        commands = zip(keys, schedule_ids, strict=True)
        replies = self._store.link.exchange(
            [Command(key, "ZADD", key, "XX", repr(until), each) for key, each in commands]
        )
        for reply in replies:
            value_of(reply)

    def _fire(self, each: Firing) -> Command:
        schedule_id = each.standing.schedule_id
        keys = self._keys.partition_of(schedule_id)
        passed = keys.schedule_part(schedule_id, "passed")
        return self._script(
            "fire_schedule",
            [keys.schedule(schedule_id), keys.schedules, keys.due_ticks, keys.busy_schedules, passed],
            [
                schedule_id,
                each.standing.revision,
                _tick(each.standing.next_tick),
                _tick(each.following),
                _score(each.begins_at),
                pack([part for tick in each.begin for part in tick]),
                pack([part for missed in each.missed for part in missed]),
                pack(list(each.ended)),
            ],
        )

    def _relieve(self, standing: Standing, ended: Sequence[str]) -> Command:
        schedule_id = standing.schedule_id
        keys = self._keys.partition_of(schedule_id)
        parts = [keys.schedule_part(schedule_id, part) for part in ("passed", "backfill")]
        return self._script(
            "relieve_schedule",
            [keys.schedule(schedule_id), keys.due_ticks, keys.busy_schedules, *parts],
            [schedule_id, standing.revision, pack(list(ended))],
        )

    def _settle(self, each: SettledTick) -> Command:
        recorded = each.recorded
        keys = self._keys.partition_of(recorded.schedule_id)
        parts = [keys.schedule_part(recorded.schedule_id, part) for part in ("started", "passed", "backfill")]
        state = "refused" if each.why else "started"
        return self._script(
            "settle_tick",
            [keys.schedule(recorded.schedule_id), keys.due_ticks, *parts],
            [recorded.member, recorded.run_id, recorded.tick, recorded.kind, state, each.why],
        )

    def _script(self, name: str, keys: list[str], arguments: Sequence[str | bytes | int]) -> Command:
        return self._store.script(name, keys, [self._store.now, *arguments])

    def _word(self, name: str, keys: list[str], arguments: Sequence[str | bytes | int]) -> Word:
        [answer] = self._store.ask(Request([self._script(name, keys, arguments)], _word, Word.BROKEN))
        return answer

    def _decide(self, commands: list[Command]) -> list[Fired]:
        return self._store.ask(Request(commands, _fired, Fired(Word.BROKEN)))


def _tick(tick: int | None) -> str:
    return "" if tick is None else str(tick)


def _score(moment: int | None) -> str:
    """A moment in milliseconds as the seconds of a sorted set."""
    return NEVER if moment is None else repr(moment / 1000)


def _word(reply: Reply) -> Word:
    return WORDS[reply[0]]


def _triggered(reply: Reply) -> Fired:
    return Fired(WORDS[reply[0]], _recorded(reply[1:]))


def _fired(reply: Reply) -> Fired:
    word = WORDS[reply[0]]
    if word is Word.FIRED:
        return Fired(word, _recorded(reply[2:]), bool(reply[1]))
    return Fired(word, _recorded(reply[1:]))


def _recorded(members: Sequence[bytes]) -> tuple[Recorded, ...]:
    return tuple(Recorded.parse(member.decode()) for member in members)
