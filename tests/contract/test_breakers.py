"""Circuit breakers in the store: pybreaker's rules, one state for all, and nothing counted twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pybreaker
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from taskmesh.errors import StoreUnavailableError
from taskmesh.model.breakers import BreakerRules, BreakerState
from taskmesh.store.breakers import PROBE_LEASE_SECONDS, BreakerAnswer, Breakers, Consultation
from taskmesh.store.keys import Keys
from taskmesh.store.link import Link
from taskmesh.store.opening import open_link

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
RULES = BreakerRules("payments", failures=3, reset_seconds=30.0, ramp_seconds=10.0)
RATED = BreakerRules("rated", failure_rate=0.5, window_seconds=10.0, min_calls=4, reset_seconds=30.0)
ME, OTHER = "me", "other"


class Side:
    """The breakers of a namespace at a time that the test sets."""

    def __init__(self, link: Link, namespace: str) -> None:
        self.link, self.keys = link, Keys(namespace, 4)
        self.now = 1_000_000.0
        self._numbers: dict[str, int] = {}

    @property
    def breakers(self) -> Breakers:
        return Breakers(self.link, self.keys, repr(self.now))

    def ask(self, holder: str = ME, rules: BreakerRules = RULES, **told: Any) -> BreakerAnswer:
        [answer] = self.breakers.consult([Consultation(rules, **told)], holder)
        return answer

    def tell(self, outcomes: str, holder: str = ME, rules: BreakerRules = RULES) -> BreakerAnswer:
        self._numbers[holder] = self._numbers.get(holder, 0) + 1
        return self.ask(holder, rules, number=self._numbers[holder], outcomes=outcomes)


@pytest.fixture(params=["redis_url", "valkey_url", "redis_cluster_url"])
def side(request: pytest.FixtureRequest, namespace: str) -> Iterator[Side]:
    link = open_link(request.getfixturevalue(request.param), 2.0, 5.0)
    yield Side(link, namespace)
    link.close()


def test_it_opens_after_so_many_failures_in_a_row_of_all_processes(side: Side) -> None:
    assert side.ask().state is CLOSED
    assert side.tell("ffsf").state is CLOSED
    assert side.tell("f", OTHER).state is CLOSED
    answer = side.tell("f")
    assert (answer.state, answer.opened, answer.wait_seconds) == (OPEN, True, 30.0)
    assert side.ask(OTHER) == BreakerAnswer(OPEN, 30.0)


def test_what_comes_late_says_nothing_and_does_not_prolong_it(side: Side) -> None:
    side.tell("fff")
    side.now += 10
    assert side.tell("sfffff", OTHER) == BreakerAnswer(OPEN, 20.0)


def test_a_report_that_is_repeated_counts_once(side: Side) -> None:
    told = {"number": 1, "outcomes": "ff"}
    assert side.ask(**told) == side.ask(**told) == BreakerAnswer(CLOSED)
    assert side.ask(OTHER, number=1, outcomes="f").state is OPEN


def test_one_probe_at_a_time_tries_it(side: Side) -> None:
    side.tell("fff")
    assert side.ask(probe="early") == BreakerAnswer(OPEN, 30.0)
    side.now += 30
    assert side.ask(probe="a").granted
    assert side.ask(probe="a").granted, "a repeated question gets the same answer"
    assert side.ask(OTHER, probe="b") == BreakerAnswer(HALF_OPEN, PROBE_LEASE_SECONDS)
    assert side.ask(OTHER, probe="b", verdict="s").state is HALF_OPEN, "only the probe's own end counts"
    assert side.ask(probe="a", verdict="s") == BreakerAnswer(CLOSED)
    assert side.ask(probe="a", verdict="s") == BreakerAnswer(CLOSED)


def test_a_probe_that_fails_opens_it_again_once(side: Side) -> None:
    side.tell("fff")
    side.now += 31
    side.ask(probe="a")
    assert side.ask(probe="a", verdict="f") == BreakerAnswer(OPEN, 30.0, opened=True)
    side.now += 5
    assert side.ask(probe="a", verdict="f") == BreakerAnswer(OPEN, 25.0)


def test_a_probe_that_died_or_says_nothing_makes_room_for_another(side: Side) -> None:
    side.tell("fff")
    side.now += 30
    side.ask(probe="a")
    side.now += PROBE_LEASE_SECONDS - 0.1
    assert not side.ask(OTHER, probe="b").granted
    side.now += 0.1
    assert side.ask(OTHER, probe="b").granted
    assert not side.ask(probe="a").granted
    assert side.ask(OTHER, probe="b", verdict="n") == BreakerAnswer(OPEN, 0.0)
    assert side.ask(probe="c").granted


def test_a_permission_that_is_renewed_lasts(side: Side) -> None:
    side.tell("fff")
    side.now += 30
    for _ in range(5):
        assert side.ask(probe="a").granted
        side.now += PROBE_LEASE_SECONDS - 0.1
        assert not side.ask(OTHER, probe="b").granted


def test_a_rate_of_failures_in_the_window_opens_it(side: Side) -> None:
    assert side.tell("fff", rules=RATED).state is CLOSED, "too few calls"
    side.now += 11
    assert side.tell("sssfff", rules=RATED).state is OPEN, "half of those in the window failed"
    side.breakers.set("rated", CLOSED, 0.0)
    side.tell("sssssss", rules=RATED)
    side.now += 5
    assert side.tell("ffffff", rules=RATED).state is CLOSED
    side.now += 6
    assert side.tell("f", rules=RATED).state is OPEN, "the successes have left the window"


def test_the_window_stays_small(side: Side) -> None:
    for _ in range(50):
        side.now += 0.7
        side.tell("s" * 20, rules=RATED)
    [breaker] = side.breakers.read(["rated"])
    assert breaker is not None
    assert breaker.calls <= 11 / 0.7 * 20
    key = side.keys.breaker("rated")
    [size] = side.link.exchange([_command(key, "MEMORY", "USAGE", key)])
    assert size < 2000


def test_it_is_opened_and_closed_by_hand(side: Side) -> None:
    assert not side.breakers.set("payments", OPEN, 5.0), "nobody knows it yet"
    side.tell("f")
    assert side.breakers.set("payments", OPEN, 5.0)
    assert side.ask() == BreakerAnswer(OPEN, 5.0)
    assert side.breakers.set("payments", CLOSED, 0.0)
    assert side.tell("ff").state is CLOSED, "what was counted before is forgotten"
    [breaker] = side.breakers.read(["payments"])
    assert breaker is not None
    assert (breaker.opens, breaker.rules, breaker.failures) == (1, RULES, 2)


def test_a_lost_key_means_closed(side: Side) -> None:
    side.tell("fff")
    key = side.keys.breaker("payments")
    side.link.exchange([_command(key, "DEL", key)])
    assert side.ask().state is CLOSED
    assert side.tell("ff").state is CLOSED


@pytest.mark.parametrize("damaged", ["breaker", "report"])
def test_a_key_of_another_type_is_left_alone_and_holds_up_nobody(side: Side, damaged: str) -> None:
    key = {"breaker": side.keys.breaker("payments"), "report": side.keys.breaker_report("payments", ME)}[damaged]
    side.link.exchange([_command(key, "SADD", key, "of another type")])
    assert side.tell("fff") == BreakerAnswer(CLOSED)
    [members] = side.link.exchange([_command(key, "SMEMBERS", key)])
    assert {bytes(member) for member in members} == {b"of another type"}
    if damaged == "breaker":
        with pytest.raises(StoreUnavailableError):
            side.breakers.set("payments", OPEN, 1.0)


def _command(key: str, *arguments: Any) -> Any:
    from taskmesh.store.link import Command

    return Command(key, *arguments)


class _Moment(datetime):
    """What pybreaker takes for the time."""

    at = datetime(2020, 1, 1, tzinfo=UTC)

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return cls.at


class BesidePybreaker(RuleBasedStateMachine):
    """The same calls, one after another, through pybreaker with its own memory and through the store."""

    link: Link
    namespaces: Iterator[str]

    @initialize(failures=st.integers(1, 4), reset=st.sampled_from([0.0, 1.0, 30.0]))
    def begin(self, failures: int, reset: float) -> None:
        self.side = Side(self.link, next(self.namespaces))
        self.rules = BreakerRules("b", failures=failures, reset_seconds=reset)
        self.twin = pybreaker.CircuitBreaker(failures, reset, throw_new_error_on_trip=False)
        self.calls = 0

    @rule(fails=st.booleans())
    def call(self, fails: bool) -> None:
        self.calls += 1
        assert self._through_the_store(fails) == self._through_pybreaker(fails)
        assert self.side.ask(rules=self.rules).state.replace("_", "-") == self.twin.current_state

    @rule(seconds=st.sampled_from([0.5, 1.0, 29.5, 31.0]))
    def wait(self, seconds: float) -> None:
        self.side.now += seconds
        _Moment.at += timedelta(seconds=seconds)

    def _through_the_store(self, fails: bool) -> bool:
        outcome, probe = "f" if fails else "s", f"call {self.calls}"
        if self.side.ask(rules=self.rules).state is CLOSED:
            self.side.tell(outcome, rules=self.rules)
            return True
        if not self.side.ask(rules=self.rules, probe=probe).granted:
            return False
        self.side.ask(rules=self.rules, probe=probe, verdict=outcome)
        return True

    def _through_pybreaker(self, fails: bool) -> bool:
        try:
            self.twin.call(_fail if fails else lambda: None)
        except pybreaker.CircuitBreakerError:
            return False
        except ConnectionError:
            pass
        return True


def _fail() -> None:
    raise ConnectionError


def test_it_does_what_pybreaker_does(redis_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pybreaker, "datetime", _Moment)
    link = open_link(redis_url, 2.0, 5.0)
    machine = type("Machine", (BesidePybreaker,), {"link": link, "namespaces": _numbered(namespace)})
    quick = settings(max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(machine, settings=quick)
    link.close()


def _numbered(namespace: str) -> Iterator[str]:
    number = 0
    while True:
        number += 1
        yield f"{namespace}-{number}"
