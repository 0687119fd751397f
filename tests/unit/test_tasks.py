from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from taskmesh.errors import UnknownTaskError, UsageError
from taskmesh.tasks.registry import Registry
from taskmesh.tasks.task import Task, TaskPolicy, make_task


def pay(order: str, amount: float = 1.0, *, note: str = "") -> str:
    """Pays."""
    return f"{order}:{amount}{note}"


async def fetch(url: str) -> str:
    return url


class Recorder:
    """Takes what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def send(self, task: Task[Any, Any], arguments: dict[str, Any]) -> str:
        self.sent.append((task.name, arguments))
        return "run"

    async def asend(self, task: Task[Any, Any], arguments: dict[str, Any]) -> str:
        await asyncio.sleep(0)
        return self.send(task, arguments)


def test_a_task_stays_a_plain_callable_that_looks_like_its_function() -> None:
    task = make_task(pay)

    assert task("o-1", 2.0, note="!") == "o-1:2.0!"
    assert (task.__name__, task.__doc__) == ("pay", "Pays.")
    assert asyncio.run(make_task(fetch)("x")) == "x"


def test_a_task_tells_what_the_rules_ask() -> None:
    task = make_task(pay, TaskPolicy(pool="io"))

    assert task.name == f"{__name__}:pay"
    assert task.pool == "io"
    assert task.parameters == (("order", True), ("amount", False), ("note", False))
    assert (task.is_async, make_task(fetch).is_async) == (False, True)
    assert (task.accepts_any, make_task(lambda a, **more: a, name="any").accepts_any) == (False, True)


def test_arguments_are_bound_by_name_without_defaults() -> None:
    task = make_task(pay)

    assert task.bind("o", 2.0, note="n") == {"order": "o", "amount": 2.0, "note": "n"}
    assert task.bind(order="o") == {"order": "o"}
    assert make_task(lambda a, **more: a, name="any").bind(1, b=2) == {"a": 1, "b": 2}
    assert make_task(lambda: None, name="none").bind() == {}


@pytest.mark.parametrize(
    ("args", "kwargs", "sentence"),
    [
        ((), {}, "is missing the argument(s) 'order'"),
        (("o", 1.0, "n"), {}, "takes 2 arguments by position, but got 3"),
        (("o",), {"order": "p"}, "got the argument 'order' twice"),
        (("o",), {"amuont": 1}, "takes no argument 'amuont'; did you mean 'amount'?"),
    ],
)
def test_wrong_arguments_are_refused(args: tuple[Any, ...], kwargs: dict[str, Any], sentence: str) -> None:
    task: Task[..., str] = make_task(pay)

    with pytest.raises(UsageError) as caught:
        task.bind(*args, **kwargs)

    assert str(caught.value).startswith(f"task '{__name__}:pay' ")
    assert sentence in str(caught.value)


def variadic(*orders: str) -> None: ...


def positional(order: str, /) -> None: ...


def generator() -> Any:
    yield 1


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (variadic, "its parameter *orders cannot be filled"),
        (positional, "its parameter order is positional-only"),
        (generator, "it is a generator; return a list instead"),
        (lambda: None, "give one with name="),
    ],
)
def test_functions_that_cannot_be_tasks_are_refused(function: Any, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_task(function)

    assert sentence in str(caught.value)


def test_names_and_pools_are_held_to_the_rules() -> None:
    with pytest.raises(UsageError, match="task name 'a b'"):
        make_task(pay, name="a b")
    with pytest.raises(UsageError, match="pool name '1 x'"):
        TaskPolicy(pool="1 x")


def test_a_script_names_its_tasks_as_its_module_would(tmp_path: Path) -> None:
    script = tmp_path / "jobs.py"
    script.write_text("from taskmesh.tasks.task import make_task\ndef f(): pass\nprint(make_task(f).name)\n")
    root = Path(__file__).parents[2]
    environment = {"PYTHONPATH": f"{root}:{tmp_path}"}
    for arguments in ([str(script)], ["-m", "jobs"]):
        shown = subprocess.run(
            [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        assert shown.stdout == "jobs:f\n"


def test_sending_goes_through_the_submitter() -> None:
    recorder = Recorder()
    task = make_task(pay, name="pay", owner=recorder)

    assert task.send("o-1", note="n") == "run"
    assert asyncio.run(task.asend("o-2")) == "run"
    assert recorder.sent == [("pay", {"order": "o-1", "note": "n"}), ("pay", {"order": "o-2"})]
    with pytest.raises(UsageError, match=r"register it with @mesh\.task"):
        make_task(pay).send("o-1")


def test_the_registry_finds_tasks_by_name_only() -> None:
    registry = Registry()
    task = make_task(pay, name="w:pay")
    registry.add(task)
    registry.add(task)

    assert registry.find("w:pay") is registry.require("w:pay") is task
    assert registry.find("os:system") is None
    assert list(registry.names()) == ["w:pay"]
    assert (list(registry), len(registry)) == ([task], 1)
    with pytest.raises(UnknownTaskError, match=r"'w:pai' is not registered; did you mean 'w:pay'\?"):
        registry.require("w:pai")


def test_two_tasks_of_one_name_are_refused() -> None:
    registry = Registry()
    registry.add(make_task(pay, name="w:pay"))

    with pytest.raises(UsageError, match=r"two tasks are named 'w:pay'.*name="):
        registry.add(make_task(pay, name="w:pay"))
