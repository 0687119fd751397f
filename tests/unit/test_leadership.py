"""How the work of keeping house is spread over the processes, and passes on when one of them goes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from taskmesh.errors import StoreUnavailableError
from taskmesh.keeper.leadership import Leadership
from taskmesh.store.elections import Elections
from tests.contract.store_bench import Bench

LEASE_SECONDS = 5.0
CANDIDATES = ("a", "b", "c")


class Polity:
    """Some candidates on one store, and a clock that the test moves."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.now = 1000.0
        self.candidates = {name: self._candidate(name) for name in CANDIDATES}

    def _candidate(self, name: str) -> Leadership:
        return Leadership(_MovableElections(self._bench, self), name, LEASE_SECONDS)

    def passes(self, *names: str, seconds: float = 1.0) -> None:
        self.now += seconds
        for name in names:
            asyncio.run(self.candidates[name].renew(self.now))

    def turns(self, number: int) -> list[int]:
        return sorted(each.turns[number] for each in self.candidates.values())

    def led(self, name: str) -> set[int]:
        return set(self.candidates[name].epochs)


class _MovableElections(Elections):
    def __init__(self, bench: Bench, polity: Polity) -> None:
        super().__init__(bench.link, bench.keys)
        self._polity = polity

    def lead(self, holder: str, lease_seconds: float, wishes: object) -> dict[int, int]:
        assert isinstance(wishes, list)
        self._now = repr(self._polity.now)
        return super().lead(holder, lease_seconds, wishes)


@pytest.fixture
def polity(valkey_url: str, namespace: str) -> Iterator[Polity]:
    bench = Bench(valkey_url, namespace, partitions=16)
    yield Polity(bench)
    bench.link.close()


def test_one_alone_leads_everything(polity: Polity) -> None:
    polity.passes("a")
    assert polity.led("a") == set(range(16))


def test_newcomers_get_their_share_within_three_passes(polity: Polity) -> None:
    polity.passes("a")
    for _ in range(3):
        polity.passes("a", "b", "c")
    shares = [polity.led(name) for name in CANDIDATES]
    assert set.union(*shares) == set(range(16))
    assert sum(map(len, shares)) == 16
    assert min(map(len, shares)) >= 2


def test_behind_each_leader_the_others_are_in_line(polity: Polity) -> None:
    for _ in range(4):
        polity.passes(*CANDIDATES)
    assert all(polity.turns(number) == [0, 1, 2] for number in range(16))
    assert all(
        {number for number, turn in each.turns.items() if turn == 0} == each.epochs.keys()
        for each in polity.candidates.values()
    )


def test_the_dead_are_succeeded_within_two_leases(polity: Polity) -> None:
    for _ in range(4):
        polity.passes(*CANDIDATES)
    polity.passes("a", "b", seconds=LEASE_SECONDS + 0.1)
    polity.passes("a", "b", seconds=0.1)
    assert polity.led("a") | polity.led("b") == set(range(16))
    assert not polity.led("a") & polity.led("b")


def test_who_resigns_is_succeeded_at_once(polity: Polity) -> None:
    for _ in range(4):
        polity.passes(*CANDIDATES)
    polity.candidates["c"].resign()
    assert (polity.led("c"), polity.candidates["c"].turns) == (set(), {})
    polity.passes("a", "b")
    assert polity.led("a") | polity.led("b") == set(range(16))


def test_what_a_living_candidate_does_not_take_is_taken_by_another(polity: Polity) -> None:
    for _ in range(4):
        polity.passes(*CANDIDATES)
    theirs = polity.led("c")
    elections = vars(polity.candidates["c"])["_elections"]
    for _ in range(int(LEASE_SECONDS * 2) + 1):
        # It still stands, but its passes go no further.
        polity.passes("a", "b")
        elections.stand("c", polity.now, LEASE_SECONDS)
    assert theirs <= polity.led("a") | polity.led("b")


def test_nothing_is_led_after_a_pass_that_failed(polity: Polity, monkeypatch: pytest.MonkeyPatch) -> None:
    polity.passes("a")
    with monkeypatch.context() as away:
        away.setattr(_MovableElections, "lead", _raise)
        with pytest.raises(StoreUnavailableError):
            polity.passes("a")
    assert (polity.led("a"), polity.candidates["a"].turns) == (set(), {})


def _raise(*_: object) -> dict[int, int]:
    raise StoreUnavailableError("away")
