"""What keepers say of themselves while they begin ticks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskmesh.errors import StoreUnavailableError
from taskmesh.store.keys import Keys
from taskmesh.store.link import Command, Link
from taskmesh.store.opening import open_link
from taskmesh.store.schedules.life_signs import KEPT_SECONDS, LifeSigns

NOW = 1_000_000.0


@pytest.fixture(params=["redis_url", "valkey_url", "redis_cluster_url"])
def signs(request: pytest.FixtureRequest, namespace: str) -> Iterator[LifeSigns]:
    link = open_link(request.getfixturevalue(request.param), 2.0, 5.0)
    yield LifeSigns(link, Keys(namespace, 4))
    link.close()


def test_the_last_sign_of_each_is_known_until_it_ends(signs: LifeSigns) -> None:
    assert signs.read(NOW) == {}
    signs.give("a", NOW)
    signs.give("b", NOW + 0.1)
    signs.give("a", NOW + 0.2)
    assert signs.read(NOW + 0.3) == {"a": NOW + 0.2, "b": NOW + 0.1}
    signs.end("a")
    signs.end("a")
    assert signs.read(NOW + 0.3) == {"b": NOW + 0.1}


def test_damaged_signs_are_none(link: Link, namespace: str) -> None:
    keys = Keys(namespace, 4)
    link.exchange([Command(keys.beginning, "SADD", keys.beginning, "of another type")])
    signs = LifeSigns(link, keys)
    assert signs.read(NOW) == {}
    with pytest.raises(StoreUnavailableError):
        signs.give("a", NOW)


def test_an_old_sign_says_nothing_and_goes_with_the_next(signs: LifeSigns) -> None:
    signs.give("dead", NOW)
    later = NOW + KEPT_SECONDS + 0.1
    assert signs.read(later) == {}
    assert signs.read(NOW) == {"dead": NOW}
    signs.give("a", later)
    assert signs.read(NOW) == {"a": later}
