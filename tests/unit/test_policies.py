from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from taskmesh import FlowError, Mesh, Retry, UsageError, load_flow
from taskmesh.flows.dumping import dump_flow
from taskmesh.model.durations import duration_problem, read_duration
from taskmesh.model.flow import Flow, Node
from taskmesh.model.policies import NO_LIMITS, RetryPolicy, TimeLimits, Wait
from taskmesh.tasks.registry import Registry
from taskmesh.tasks.task import TaskPolicy, make_task
from taskmesh.wire import unpack
from taskmesh.wire.flows import PLAIN_SCHEMA, POLICY_SCHEMA, decode_flow, encode_flow
from taskmesh.worker.engine.retrying import wait_of
from taskmesh.worker.executors.invoke import describe

FULL = """
flow: f
nodes:
  a:
    task: w:a
    retry: {max_attempts: 7, wait: exponential, base: 250ms, max: 5s, on: [OSError], give_up_on: [shop.errors.Gone]}
    timeout: 10s
    schedule_to_start: 5m
    schedule_to_close: 2h
  b: {task: w:b, retry: {wait: list, delays: [1s, 0.5, 2m]}}
  c: {task: w:c}
"""


class GoneError(LookupError):
    pass


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("100ms", 0.1), ("10s", 10), ("1.5s", 1.5), ("5m", 300), ("2h", 7200), ("1d", 86400), (3, 3), (0.25, 0.25)],
)
def test_durations(text: object, seconds: float) -> None:
    assert read_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(("number", "seconds"), [(10**400, math.inf), (-(10**400), -math.inf), (3, 3.0)])
def test_an_integer_beyond_all_decimal_numbers_is_infinite(number: int, seconds: float) -> None:
    assert read_duration(number) == seconds


@pytest.mark.parametrize("seconds", ["10s", None, True, [1]])
def test_what_is_no_number_of_seconds_is_refused_in_a_sentence(seconds: object) -> None:
    assert duration_problem(seconds) == f"must be a number of seconds, not {seconds!r}"


@pytest.mark.parametrize("text", ["10", "s", "-1s", "1 s", "1w", "1e3s", "", True, None, [], "\u0663s"])
def test_what_is_no_duration(text: object) -> None:
    assert read_duration(text) is None


def test_a_file_says_all_of_it() -> None:
    a, b, c = load_flow(FULL, "f.yaml").nodes
    assert a.retry == RetryPolicy(7, Wait.EXPONENTIAL, 0.25, 5.0, (), ("OSError",), ("shop.errors.Gone",))
    assert a.limits == TimeLimits(10.0, 300.0, 7200.0)
    assert b.retry == RetryPolicy(wait=Wait.LIST, delays_seconds=(1.0, 0.5, 120.0))
    assert (c.retry, c.limits) == (None, NO_LIMITS)


def test_what_is_dumped_or_sent_reads_back_the_same() -> None:
    flow = load_flow(FULL, "f.yaml")
    assert load_flow(dump_flow(flow), "f.yaml") == flow
    assert decode_flow(encode_flow(flow)) == flow
    assert unpack(encode_flow(flow))[0] == POLICY_SCHEMA


def test_a_flow_without_policies_keeps_its_bytes() -> None:
    flow = Flow("f", "1", (Node("a", "w:a"),))
    expected = [PLAIN_SCHEMA, "f", "1", [], "fail_fast", "run", None, [["a", "w:a", {}, [], "default"]]]
    assert unpack(encode_flow(flow)) == expected
    assert decode_flow(encode_flow(flow)) == flow


def test_equal_flows_have_equal_bytes() -> None:
    nodes = [Node("a", "w:a", limits=TimeLimits(limit), retry=RetryPolicy(base_seconds=limit)) for limit in (1, 1.0)]
    one, other = (encode_flow(Flow("f", "1", (node,))) for node in nodes)
    assert one == other


def test_everything_wrong_is_told_with_its_place() -> None:
    text = """\
flow: f
nodes:
  a:
    task: w:a
    timeout: 10x
    schedule_to_start: -1
    schedule_to_close: 0
    retry:
      max_attempts: 0
      wait: fixd
      base: 0s
      max: soon
      on: [no name, 3]
      give_up_on: ValueError
      tries: 3
  b: {task: w:b, retry: {max_attempts: 1001, delays: [1s]}}
  c: {task: w:c, retry: {wait: list}}
  d: {task: w:d, retry: {max_attempts: 2.5}}
"""
    with pytest.raises(FlowError) as caught:
        load_flow(text, "f.yaml")
    expected = [
        "5:14: node 'a': timeout must be a number of seconds, or a number with ms",
        "6:24: node 'a': schedule_to_start must be more than 0",
        "7:24: node 'a': schedule_to_close must be more than 0",
        "9:21: node 'a': max_attempts must be 1 to 1000, not 0",
        "10:13: node 'a': wait must be one of exponential, fixed, list; did you mean 'fixed'?",
        "11:13: node 'a': base must be more than 0",
        "12:12: node 'a': max must be a number of seconds",
        "13:11: node 'a': on must name exceptions",
        "13:21: node 'a': on must be names of exceptions, not '3'",
        "14:19: node 'a': give_up_on must be a list",
        "15:7: node 'a': there is no key 'tries' here",
        "16:40: node 'b': max_attempts must be 1 to 1000, not 1001",
        "16:54: node 'b': delays has a meaning only where the wait is list",
        "17:25: node 'c': delays must name at least one delay",
        "18:40: node 'd': max_attempts must be a whole number, not '2.5'",
    ]
    pairs = list(zip(caught.value.problems, expected, strict=True))
    assert all(found.startswith(f"f.yaml:{wanted}") for found, wanted in pairs), caught.value.problems


def test_a_node_stands_above_its_task() -> None:
    tasks = Registry()
    policy = TaskPolicy("io", RetryPolicy(max_attempts=9), TimeLimits(1.0, 2.0, 3.0))
    tasks.add(make_task(lambda: None, policy, "w:a"))
    text = "flow: f\nnodes: {a: {task: w:a, timeout: 7}, b: {task: w:a, retry: {max_attempts: 2}}}"
    a, b = load_flow(text, "f.yaml", tasks).nodes
    assert a.retry == policy.retry
    assert a.limits == TimeLimits(7.0, 2.0, 3.0)
    assert b.retry == RetryPolicy(max_attempts=2)
    assert b.limits == policy.limits


def test_a_task_gives_its_policy_to_its_nodes() -> None:
    mesh = Mesh()

    @mesh.task(retry=Retry(max_attempts=3, retry_on=[GoneError, "OSError", KeyError]), timeout=2, schedule_to_close=9)
    def work() -> None: ...

    @mesh.flow
    def flow() -> None:
        work()

    [node] = flow.compile().nodes
    assert node.retry == RetryPolicy(3, retry_on=(f"{GoneError.__module__}.GoneError", "OSError", "KeyError"))
    assert node.limits == TimeLimits(2, None, 9)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"max_attempts": 0}, "max_attempts must be 1 to 1000"),
        ({"wait": "fixd"}, "did you mean 'fixed'"),
        ({"base_seconds": -1}, "base_seconds must be more than 0"),
        ({"max_seconds": float("inf")}, "max_seconds must be"),
        ({"wait": "list"}, "delays_seconds must name at least one"),
        ({"retry_on": ["not a name"]}, "retry_on must name exceptions"),
        ({"after": -1}, "after must be 0 to"),
        ({"after": float("nan")}, "after must be 0 to"),
    ],
)
def test_a_wrong_policy_is_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Retry(**options)


def test_a_wrong_limit_is_refused() -> None:
    with pytest.raises(UsageError, match="timeout must be more than 0"):
        Mesh().task(timeout=0)


@pytest.mark.parametrize(
    ("policy", "covered"),
    [
        (RetryPolicy(), True),
        (RetryPolicy(retry_on=("GoneError",)), True),
        (RetryPolicy(retry_on=(f"{GoneError.__module__}.GoneError",)), True),
        (RetryPolicy(retry_on=("LookupError",)), True),
        (RetryPolicy(retry_on=("KeyError",)), False),
        (RetryPolicy(retry_on=("elsewhere.GoneError",)), False),
        (RetryPolicy(give_up_on=("Exception",)), False),
        (RetryPolicy(retry_on=("GoneError",), give_up_on=("LookupError",)), False),
    ],
)
def test_exceptions_are_meant_with_their_subclasses(policy: RetryPolicy, covered: bool) -> None:
    assert policy.covers(describe(GoneError("x")).lineage) is covered


def _waits(policy: RetryPolicy, attempts: int) -> Iterator[float]:
    wait = wait_of(policy)
    return (wait(attempt) for attempt in range(1, attempts + 1))


def test_waits() -> None:
    assert list(_waits(RetryPolicy(wait=Wait.FIXED, base_seconds=0.3), 3)) == [0.3, 0.3, 0.3]
    delays = (1.0, 5.0)
    assert list(_waits(RetryPolicy(wait=Wait.LIST, delays_seconds=delays), 4)) == [1.0, 5.0, 5.0, 5.0]
    for _ in range(200):
        for attempt, seconds in enumerate(_waits(RetryPolicy(base_seconds=1.0, max_seconds=3.0), 4), 1):
            assert 0 <= seconds <= min(3.0, 2.0 ** (attempt - 1))


def test_a_wish_to_be_tried_again_says_when() -> None:
    failure = describe(Retry("busy", after=2.5))
    assert (failure.message, failure.asks, failure.after_seconds) == ("busy", True, 2.5)
    assert describe(Retry()).after_seconds is None
    assert not describe(ValueError()).asks


def test_a_misspelt_option_of_a_task_is_refused() -> None:
    options: dict[str, Any] = {"tiemout": 3}
    with pytest.raises(UsageError, match="no option 'tiemout'; did you mean 'timeout'"):
        Mesh().task(**options)
