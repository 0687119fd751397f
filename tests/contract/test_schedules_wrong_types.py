"""A script about schedules that meets a key of another type refuses, and has written nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
import redis

from taskmesh.errors import StoreUnavailableError
from taskmesh.model.schedules.schedule import Overlap, run_id_of
from taskmesh.model.schedules.ticks import Missed
from taskmesh.store.calls import Word
from taskmesh.store.link import Link
from tests.contract.schedule_bench import FIRST, ID, SECOND, ScheduleBench

Act = Callable[[ScheduleBench], object]
MISSED = Missed(FIRST, FIRST, 1, "too late")


@dataclass(frozen=True)
class Case:
    """A call, after what must have happened before it. What must be read for the call is read before the damage."""

    prepare: Callable[[ScheduleBench], Callable[[], object]]
    before: tuple[Act, ...] = ()


def _put(bench: ScheduleBench) -> object:
    return bench.put(overlap=Overlap.BUFFER_ALL)


def _fire(bench: ScheduleBench) -> object:
    return bench.fire(FIRST, FIRST + SECOND)


def _past(bench: ScheduleBench) -> object:
    return bench.schedules.backfill_schedule(ID, 1, [(FIRST, run_id_of(ID, FIRST - SECOND), FIRST - SECOND)])


def _putting(bench: ScheduleBench) -> Callable[[], object]:
    return bench.put


def _changing(bench: ScheduleBench) -> Callable[[], object]:
    seen = bench.standing()
    return lambda: bench.put(seen=seen)


def _firing(bench: ScheduleBench) -> Callable[[], object]:
    firing = bench.firing(FIRST, FIRST + SECOND, missed=[MISSED])
    return lambda: bench.schedules.fire_schedules([firing])[0].word


def _relieving(bench: ScheduleBench) -> Callable[[], object]:
    standing = bench.standing()
    ended = [run_id_of(ID, FIRST)]
    return lambda: bench.schedules.relieve_schedules([(standing, ended)])[0].word


def _settling(bench: ScheduleBench) -> Callable[[], object]:
    settled = bench.begin(bench.recorded())
    return lambda: bench.schedules.settle_ticks(settled)


CASES = {
    "put": Case(_putting),
    "change": Case(_changing, (_put,)),
    "fire": Case(_firing, (_put,)),
    "relieve": Case(_relieving, (_put, _fire, _past)),
    "settle": Case(_settling, (_put, _fire)),
    "settle what was removed": Case(_settling, (_put, _fire, lambda bench: bench.schedules.remove_schedule(ID))),
    "pause": Case(lambda bench: bench.pause, (_put,)),
    "trigger": Case(lambda bench: lambda: bench.schedules.trigger_schedule(ID, f"{ID}@now", FIRST).word, (_put,)),
    "backfill": Case(lambda bench: partial(_past, bench), (_put,)),
    "remove": Case(lambda bench: lambda: bench.schedules.remove_schedule(ID), (_put, _fire, _past)),
}
KEYS: dict[str, Callable[[ScheduleBench], str]] = {
    "schedule": lambda bench: bench.keys.partition_of(ID).schedule(ID),
    "schedules": lambda bench: bench.keys.partition_of(ID).schedules,
    "due": lambda bench: bench.keys.partition_of(ID).due_ticks,
    "busy": lambda bench: bench.keys.partition_of(ID).busy_schedules,
    "revisions": lambda bench: bench.keys.partition_of(ID).revisions,
    **{
        part: lambda bench, part=part: bench.keys.partition_of(ID).schedule_part(ID, part)  # type: ignore[misc]
        for part in ("started", "passed", "backfill")
    },
}


@pytest.mark.parametrize("key_name", KEYS)
@pytest.mark.parametrize("case_name", CASES)
def test_a_refused_call_has_written_nothing(
    link: Link, client: redis.Redis, namespace: str, case_name: str, key_name: str
) -> None:
    case, bench = CASES[case_name], ScheduleBench(link, namespace)
    for act in case.before:
        act(bench)
    call = case.prepare(bench)
    key = KEYS[key_name](bench)
    client.delete(key)
    client.sadd(key, "of another type")
    before = _everything(client, namespace)
    if _is_refused(call):
        assert _everything(client, namespace) == before
    else:
        # A key that this call had no need of, or removed.
        assert client.type(key) in (b"set", b"none")


def _is_refused(call: Callable[[], object]) -> bool:
    try:
        return call() is Word.BROKEN
    except StoreUnavailableError:
        return True


def _everything(client: redis.Redis, namespace: str) -> dict[bytes, bytes | None]:
    return {key: client.dump(key) for key in client.scan_iter(match=f"{namespace}:{{*")}
