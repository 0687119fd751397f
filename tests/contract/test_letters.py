"""The store of dead letters: kept once, within its limits, found by what they are, gone when forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest
import redis

from taskmesh.errors import StoreUnavailableError
from taskmesh.store.keys import Keys
from taskmesh.store.letters import MAX_KEPT_BYTES, DeadLetter, DeadLetterFilter, Letters, LetterTotals
from taskmesh.store.link import Link

NOW = 1000.0
ALL = DeadLetterFilter()


@pytest.fixture
def letters(link: Link, namespace: str) -> Letters:
    return Letters(link, Keys(namespace, 4), most=5, most_bytes=3 * MAX_KEPT_BYTES)


def letter(number: int, run_id: str | None = None, size: int = 3) -> DeadLetter:
    return DeadLetter(
        id=f"{number:016x}",
        at=NOW + number,
        reason="undecodable",
        detail="not msgpack, and \xfc besides",
        pool="default",
        queue="ns.default.0",
        routing_key="key",
        worker="me",
        run_id=run_id,
        node=None if run_id is None else 2,
        size=size,
    )


def test_a_letter_is_kept_as_it_is(letters: Letters) -> None:
    one = letter(1, "r1")
    assert letters.keep([(one, b"\xff\x00a")]) == [True]
    assert letters.get(one.id) == (one, b"\xff\x00a")
    assert list(letters.find(ALL, NOW)) == [one]
    assert letters.get("f" * 16) is None


def test_a_letter_is_kept_and_counted_once(letters: Letters) -> None:
    for _ in range(2):
        assert letters.keep([(letter(1, "r1"), b"abc")]) == [True]
    assert letters.totals() == LetterTotals(1, 3)
    assert letters.ids_of_run("r1") == [letter(1).id]


def test_no_more_are_kept_than_there_is_room_for(letters: Letters) -> None:
    assert letters.keep([(letter(number), b"abc") for number in range(7)]) == [True] * 5 + [False] * 2
    assert letters.totals() == LetterTotals(5, 15)
    assert not letters.has_room()
    # One that is kept is kept, however full it is.
    assert letters.keep([(letter(0), b"abc")]) == [True]
    assert letters.forget([letter(0).id]) == 1
    assert letters.has_room()
    assert letters.keep([(letter(6), b"abc")]) == [True]


def test_bytes_are_limited_too_and_a_very_long_one_is_cut(letters: Letters) -> None:
    long = letter(1, size=MAX_KEPT_BYTES + 5)
    body = b"x" * long.size
    assert letters.keep([(replace(long, id=f"{number:016x}"), body) for number in range(4)]) == [True] * 3 + [False]
    found = letters.get(f"{0:016x}")
    assert found is not None
    assert (found[0].is_cut, len(found[1])) == (True, MAX_KEPT_BYTES)
    assert letters.totals() == LetterTotals(3, 3 * MAX_KEPT_BYTES)


def test_letters_are_found_by_what_they_are(letters: Letters) -> None:
    some = [letter(1), letter(2, "r1"), letter(3, "r1/x"), replace(letter(4), pool="io", reason="expired")]
    letters.keep([(each, b"") for each in some])
    now = NOW + 10

    def numbers(wanted: DeadLetterFilter, newest_first: bool = True) -> list[int]:
        return [int(each.id, 16) for each in letters.find(wanted, now, newest_first)]

    assert numbers(ALL) == [4, 3, 2, 1]
    assert numbers(ALL, newest_first=False) == [1, 2, 3, 4]
    assert numbers(DeadLetterFilter(pool="io")) == [4]
    assert numbers(DeadLetterFilter(reason="expired")) == [4]
    assert numbers(DeadLetterFilter(run_id="r1")) == [2]
    assert numbers(DeadLetterFilter(run_id="r1/x")) == [3]
    assert numbers(DeadLetterFilter(run_id="r")) == []
    assert numbers(DeadLetterFilter(older_than=7.5)) == [2, 1]
    assert numbers(DeadLetterFilter(newer_than=7.5)) == [4, 3]


def test_more_letters_than_a_page_come_each_once(link: Link, namespace: str) -> None:
    letters = Letters(link, Keys(namespace, 4), 2000, 1_000_000)
    letters.keep([(letter(number), b"") for number in range(1200)])
    assert [each.at - NOW for each in letters.find(ALL, NOW, newest_first=False)] == list(range(1200))


def test_a_forgotten_letter_leaves_nothing(letters: Letters, redis_url: str, namespace: str) -> None:
    letters.keep([(letter(1, "r1"), b"abc"), (letter(2), b"de")])
    assert letters.forget([letter(1).id, letter(2).id, "unknown"]) == 2
    assert letters.forget([letter(1).id]) == 0
    assert letters.totals() == LetterTotals(0, 0)
    with redis.Redis.from_url(redis_url) as client:
        assert [key.decode() for key in client.scan_iter(match=f"{namespace}:*")] == [f"{namespace}:{{dead}}:totals"]


@pytest.mark.parametrize("call", ["keep", "forget"])
@pytest.mark.parametrize("place", range(4))
def test_a_key_of_another_type_is_refused_with_nothing_written(
    letters: Letters, redis_url: str, namespace: str, call: str, place: int
) -> None:
    one = letter(1, "r1")
    if call == "forget":
        letters.keep([(one, b"abc")])
    key = Keys(namespace, 4).letter_keys(one.id)[place]
    with redis.Redis.from_url(redis_url) as client:
        client.delete(key)
        client.set(key, "of another type")
        before = {each: client.dump(each) for each in client.scan_iter(match=f"{namespace}:*")}
        with pytest.raises(StoreUnavailableError, match="WRONGTYPE"):
            letters.keep([(one, b"abc")]) if call == "keep" else letters.forget([one.id])
        assert {each: client.dump(each) for each in client.scan_iter(match=f"{namespace}:*")} == before
