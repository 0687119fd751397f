"""Circuit breakers: one state for all processes, each change of it one call of a script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from taskmesh.model.breakers import BreakerRules, BreakerState
from taskmesh.store.keys import Keys
from taskmesh.store.link import Command, Link, Reply, value_of
from taskmesh.store.scripts import Scripts
from taskmesh.store.store import SERVER_TIME, Request, Store
from taskmesh.wire import pack, unpack

PROBE_LEASE_SECONDS = 5.0
"""How long a permission to try a breaker outlives the process that has it."""

OUTCOMES_PER_CALL = 500


class Consultation(NamedTuple):
    """What a process tells a breaker, and asks it.

    ``outcomes`` are ``s`` and ``f`` in their order, at most OUTCOMES_PER_CALL, and ``number`` grows with each report of
    them; ``probe`` names who wants to try it, or does, and ``verdict`` is its end: s, f, or n where that says nothing.
    """

    rules: BreakerRules
    number: int = 0
    outcomes: str = ""
    probe: str = ""
    verdict: str = ""


class BreakerAnswer(NamedTuple):
    """How a breaker stands: it may be tried after ``wait_seconds``; ``granted``: by the probe that asked."""

    state: BreakerState
    wait_seconds: float = 0.0
    granted: bool = False
    opened: bool = False


@dataclass(frozen=True, slots=True)
class Breaker:
    """A circuit breaker as it stands, for people. ``since`` in epoch seconds of the store's clock, None = always.

    ``failures`` in a row have been counted, and ``calls`` in the window of which ``failed_calls`` failed; while it is
    not closed, a node may try it after ``wait_seconds``. ``opens`` counts how often it has opened.
    """

    name: str
    state: BreakerState
    rules: BreakerRules
    failures: int
    calls: int
    failed_calls: int
    opens: int
    wait_seconds: float
    since: float | None


class Breakers:
    """The breakers below one namespace."""

    def __init__(self, link: Link, keys: Keys, now: str = SERVER_TIME) -> None:
        self._link = link
        self._keys = keys
        self._scripts = Scripts()
        self._now = now

    def announce(self, name: str) -> None:
        """Have a breaker listed from now on."""
        key = self._keys.breakers
        self._all([Command(key, "SADD", key, name)])

    def consult(self, consultations: Sequence[Consultation], holder: str) -> list[BreakerAnswer]:
        """Tell breakers and ask them, as ``holder``; a breaker whose key is damaged holds up nobody.

        :raises StoreUnavailableError: call again with the same; nothing is counted twice.
        """
        request = Request(
            [self._consult(each, holder) for each in consultations], _answer, BreakerAnswer(BreakerState.CLOSED)
        )
        return request.answers(self._link.exchange(request.commands))

    def names(self) -> list[str]:
        """The breakers that workers have met, in alphabetical order."""
        key = self._keys.breakers
        [members] = self._all([Command(key, "SMEMBERS", key)])
        return sorted(member.decode() for member in members)

    def read(self, names: Sequence[str]) -> list[Breaker | None]:
        """How breakers stand; None for one whose state is not there: it is closed, and nothing is known of it."""
        pool = self._keys.breakers
        [time] = self._all([Command(pool, "TIME")])
        now = int(time[0]) + int(time[1]) / 1e6
        keys = [self._keys.breaker(name) for name in names]
        rows = self._all([Command(key, "HMGET", key, *_FIELDS) for key in keys])
        return [_breaker(name, row, now) if row[0] else None for name, row in zip(names, rows, strict=True)]

    def set(self, name: str, state: BreakerState, seconds: float) -> bool:
        """Open a breaker, to be tried after ``seconds``, or close it; False where no worker has met it."""
        key = self._keys.breaker(name)
        script = self._scripts["set_breaker"]
        [reply] = self._all([Command.of_script(script, [key], [self._now, state, seconds])])
        return bool(reply[0] != b"unknown")

    def _consult(self, each: Consultation, holder: str) -> Command:
        name = each.rules.name
        keys = [self._keys.breaker(name), self._keys.breaker_report(name, holder)]
        told = [each.number if each.outcomes else "", each.outcomes, each.probe, PROBE_LEASE_SECONDS, each.verdict]
        return Command.of_script(self._scripts["consult_breaker"], keys, [self._now, *told, _packed(each.rules)])

    def _all(self, commands: Sequence[Command]) -> list[Reply]:
        return [value_of(reply) for reply in self._link.exchange(commands)] if commands else []


def breakers_of(store: Store) -> Breakers:
    """The breakers that stand beside the runs of a store."""
    return Breakers(store.link, store.keys, store.now)


_FIELDS = ("state", "rules", "failures", "window", "opens", "try_at", "probe_until", "since")


def _packed(rules: BreakerRules) -> bytes:
    numbers = [rules.failures, rules.failure_rate or 0, rules.window_seconds, rules.min_calls]
    return pack([*numbers, rules.reset_seconds, rules.ramp_seconds, rules.exclude])


def _answer(reply: Reply) -> BreakerAnswer:
    state, wait_ms, granted, opened = reply
    return BreakerAnswer(BreakerState(state.decode()), wait_ms / 1000, bool(granted), bool(opened))


def _breaker(name: str, row: Sequence[bytes | None], now: float) -> Breaker:
    word, rules, failures, window, opens, try_at, probe_until, since = row
    state = BreakerState((word or b"closed").decode())
    until = {BreakerState.OPEN: try_at, BreakerState.HALF_OPEN: probe_until}.get(state)
    buckets = _window(window)
    succeeded, failed = sum(buckets[1::3]), sum(buckets[2::3])
    return Breaker(
        name=name,
        state=state,
        rules=_rules(name, rules),
        failures=int(failures or 0),
        calls=succeeded + failed,
        failed_calls=failed,
        opens=int(opens or 0),
        wait_seconds=max(0.0, float(until) - now) if until else 0.0,
        since=float(since) if since else None,
    )


def _window(packed: bytes | None) -> list[int]:
    window = unpack(packed) if packed else []
    # An empty table of Lua is packed as a map.
    return [int(each) for each in window] if isinstance(window, list) else []


def _rules(name: str, packed: bytes | None) -> BreakerRules:
    if packed is None:
        return BreakerRules(name)
    failures, rate, window, least, reset, ramp, exclude = unpack(packed)
    return BreakerRules(name, failures, rate or None, window, least, reset, ramp, tuple(exclude))
