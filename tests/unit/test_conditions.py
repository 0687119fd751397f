"""Conditions in CEL: what they may say, what is refused when they are loaded, what they give."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from typing import Any

import pytest

from taskmesh.model.condition_text import ConditionError
from taskmesh.model.conditions import Used, read_condition, type_problem
from taskmesh.model.flow import Param, ParamType

SMALL_STACK_BYTES = 256 * 1024


def _values(**params: Any) -> dict[Used, Any]:
    return {Used("params", name): value for name, value in params.items()}


@pytest.mark.parametrize(
    ("text", "uses"),
    [
        ("params.n > 2", ["params.n"]),
        ('params["n"] == 1', ["params.n"]),
        ('nodes["a-b"].output.x == 1 && nodes.a.state == "failed"', ["nodes.a-b.output", "nodes.a.state"]),
        ("params.l.all(i, i > params.n)", ["params.l", "params.n"]),
        ('"params.x" == params.params', ["params.params"]),
        ("true", []),
    ],
)
def test_a_condition_knows_what_it_reads(text: str, uses: list[str]) -> None:
    assert [str(each) for each in read_condition(text).uses] == uses


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("params", "uses params as a whole"),
        ("nodes.a", "asks for nodes.a; write"),
        ("nodes.a.result", "asks for nodes.a.result; write"),
        ("x > 1", "uses 'x', which means nothing here"),
        ("1 +", "is no CEL: "),
        ("open('f')", "calls 'open'; known are"),
        ("params.l.map(i, i)", "calls 'map'"),
        ("params.l.all(i, params.l.all(j, j > i))", "goes over a list inside of another one"),
        ('"a" # b', "has '#' at character 5"),
        ("1" + " + 1" * 101, "has 101 operators and members"),
        ("params" + ".a" * 101, "has 101 operators and members"),
        ("(" * 33 + "true" + ")" * 33, "is nested deeper than 32 levels"),
        ("true" + " " * 1000, "has 1004 characters"),
    ],
)
def test_what_is_no_condition_is_refused_with_a_sentence(text: str, problem: str) -> None:
    with pytest.raises(ConditionError) as caught:
        read_condition(text)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("params.n > 2.5", True),
        ("params.n in [1, 2]", False),
        ('params.s.startsWith("a") && params.s.matches("^a.c$")', True),
        ("params.l.exists(i, i == params.n)", True),
        ("has(params.gone)", False),
        ("params.nothing == null", True),
    ],
)
def test_a_condition_holds_or_not(text: str, holds: bool) -> None:
    values = _values(n=3, s="abc", l=[1, 3], nothing=None)
    assert read_condition(text).evaluate(values) is holds


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("params.gone > 1", "cannot be evaluated: there is no key 'gone' (no params.gone)"),
        ("params.s > 1", "not defined for the given operand types. (params.s = "),
        ("params.n / 0 == 1", "cannot be evaluated: division by zero"),
        ("params.n", "is 3, not true or false (params.n = 3)"),
        ("params.s.matches('(')", "cannot be evaluated: "),
    ],
)
def test_what_is_neither_true_nor_false_says_why(text: str, problem: str) -> None:
    with pytest.raises(ConditionError) as caught:
        read_condition(text).evaluate(_values(n=3, s="abc"))
    assert problem in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_what_is_shown_of_values_is_short() -> None:
    condition = read_condition("params.s == params.t")
    assert len(condition.shown(_values(s="x" * 10_000, t=b"\0" * 10_000))) < 250


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("params.s > 1", "can never be evaluated"),
        ("params.n", "is no condition: it gives 1, not true or false"),
        ("params.n > 1 && params.b", ""),
        ("params.any > 1", ""),
        ("nodes.a.output > 1", ""),
        ('nodes.a.state == "failed"', ""),
        ("nodes.a.state > 1", "can never be evaluated"),
    ],
)
def test_types_are_checked_where_they_are_known(text: str, problem: str) -> None:
    types = {"s": ParamType.STRING, "n": ParamType.INTEGER, "b": ParamType.BOOLEAN, "any": ParamType.ANY}
    params = [Param(name, each) for name, each in types.items()]
    assert type_problem(read_condition(text), params).startswith(problem)
    assert bool(type_problem(read_condition(text), params)) is bool(problem)


@pytest.mark.parametrize(
    "text",
    [
        "1" + " + 1" * 99 + " == 100",
        "(" * 32 + "true" + ")" * 32,
        "params.d" + ".d" * 98 + " == 1",
        "!" * 99 + "params.t",
        "params.t ? " * 50 + "true" + " : false" * 50,
        "[" * 32 + "]" * 32 + " == 1",
        "params.l.all(x, " + " && ".join(["x > 0"] * 30) + ")",
    ],
)
def test_the_deepest_conditions_do_no_harm_on_a_small_stack(text: str) -> None:
    """The library would end the process where its stack is not large enough."""
    done: list[str] = []

    def work() -> None:
        with contextlib.suppress(ConditionError):
            read_condition(text).evaluate(_values(l=list(range(1, 1000)), t=True, d={"d": 1}))
        done.append(text)

    before = threading.stack_size(SMALL_STACK_BYTES)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert len(done) == 1


FIRST_CONDITIONS = """
import sys, threading
from taskmesh.model.conditions import Used, read_condition
values, held = {Used("params", "n"): 3}, []
barrier = threading.Barrier(8)
def evaluate():
    barrier.wait()
    held.append(read_condition("params.n > 2").evaluate(values))
threads = [threading.Thread(target=evaluate) for _ in range(8)]
for each in threads: each.start()
for each in threads: each.join()
assert held == [True] * 8, held
print(sorted({name.partition(".")[0] for name in sys.modules} & {"prompt_toolkit", "typer", "rich", "cel"}))
import cel.cli
print(callable(cel.cli.main))
"""


def test_the_first_condition_loads_the_library_and_not_its_command_line() -> None:
    """On the loop of an I/O process that makes the difference between milliseconds and a third of a second."""
    command = [sys.executable, "-c", FIRST_CONDITIONS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["['cel']", "True"]
