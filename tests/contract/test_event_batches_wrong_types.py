"""A script about batches of events that meets a key of another type refuses, and has written nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from taskmesh.errors import StoreUnavailableError
from taskmesh.store.calls import Word
from taskmesh.store.keys import Partition
from taskmesh.store.link import Link
from tests.contract.batch_bench import WINDOW, BatchBench

Call = Callable[[], list[Word]]


def _first(bench: BatchBench) -> Call:
    return lambda: bench.gather(0)


def _another(bench: BatchBench) -> Call:
    bench.gather(0)
    return lambda: bench.gather(1)


def _the_last(bench: BatchBench) -> Call:
    bench.gather(0)
    return lambda: bench.gather(1, most_events=2)


def _too_large(bench: BatchBench) -> Call:
    bench.gather(0)
    return lambda: bench.gather(1, most_bytes=1)


def _closing(bench: BatchBench) -> Call:
    bench.gather(0)
    bench.now += WINDOW
    return lambda: [bench.close()]


def _closing_early(bench: BatchBench) -> Call:
    bench.gather(0)
    return lambda: bench.batches.close_batches([bench.gathering_id], early=True)


def _settling(bench: BatchBench) -> Call:
    bench.gather(0, 1, most_events=2)
    batches = bench.closed()
    return lambda: bench.settle(batches)


def _refusing(bench: BatchBench) -> Call:
    bench.gather(0, 1, most_events=2)
    batches = bench.closed()
    return lambda: bench.settle(batches, is_begun=False)


CASES = {
    "gather the first": _first,
    "gather another": _another,
    "gather the last": _the_last,
    "gather what does not fit": _too_large,
    "close": _closing,
    "close early": _closing_early,
    "settle": _settling,
    "settle what was refused": _refusing,
}
KEYS: dict[str, Callable[[Partition, str], str]] = {
    "gathering": lambda keys, gathering_id: keys.gathering(gathering_id),
    "seen": lambda keys, gathering_id: keys.seen(gathering_id),
    "gatherings": lambda keys, _: keys.gatherings,
    "closed batches": lambda keys, _: keys.closed_batches,
    "gathered bytes": lambda keys, _: keys.gathered_bytes,
}


@pytest.mark.parametrize("key_name", KEYS)
@pytest.mark.parametrize("case_name", CASES)
def test_a_refused_call_has_written_nothing(
    link: Link, client: redis.Redis, namespace: str, case_name: str, key_name: str
) -> None:
    bench = BatchBench(link, namespace)
    call = CASES[case_name](bench)
    key = KEYS[key_name](bench.keys.partition_of(bench.gathering_id), bench.gathering_id)
    client.delete(key)
    client.sadd(key, "of another type")
    before = _everything(client, namespace)
    if _is_refused(call):
        assert _everything(client, namespace) == before
    else:
        # A key that this call had no need of.
        assert client.type(key) == b"set"


def _is_refused(call: Call) -> bool:
    try:
        return call() == [Word.BROKEN]
    except StoreUnavailableError:
        return True


def _everything(client: redis.Redis, namespace: str) -> dict[bytes, bytes | None]:
    return {key: client.dump(key) for key in client.scan_iter(match=f"{namespace}:{{*")}
