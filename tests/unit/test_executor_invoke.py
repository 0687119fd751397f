from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import pytest

from taskmesh.clock import SystemClock
from taskmesh.errors import UsageError
from taskmesh.wire.codec import pack, unpack
from taskmesh.worker.channels.protocol import Failure, Outcome, Work, read_outcome
from taskmesh.worker.executors.invoke import MAX_MESSAGE_BYTES, MAX_TRACEBACK_BYTES, Invoker, current
from taskmesh.worker.executors.pulse import Pulse


@dataclass(frozen=True, slots=True)
class Defined:
    function: Callable[..., Any]
    is_async: bool = False


def silent() -> Pulse:
    return Pulse(lambda _: None, SystemClock())


def invoke(function: Callable[..., Any], max_value_bytes: int = 1000, **arguments: Any) -> Outcome:
    invoker = Invoker({"t": Defined(function)}, max_value_bytes, SystemClock(), silent())
    return invoker.run(Work(7, "t", pack(arguments), ("run", "node", 2)))


def failure_of(function: Callable[..., Any], **arguments: Any) -> Failure:
    outcome = invoke(function, **arguments)
    assert not outcome.succeeded
    assert outcome.output == b""
    assert outcome.failure is not None
    return outcome.failure


def test_the_output_is_packed() -> None:
    outcome = invoke(lambda a, b: {"sum": a + b}, a=1, b=2)
    assert outcome.id == 7
    assert outcome.succeeded
    assert unpack(outcome.output) == {"sum": 3}
    assert outcome.duration_seconds >= 0


def test_an_outcome_survives_the_channel() -> None:
    for outcome in (invoke(lambda: 1), invoke(fail_deeply)):
        assert read_outcome(unpack(pack(outcome))) == outcome


def test_an_exception_is_told_with_its_type_message_and_the_users_frames() -> None:
    failure = failure_of(fail_deeply)
    assert failure.type.endswith("OrderError")
    assert failure.message == "no stock"
    assert "in fail_deeply" in failure.traceback
    assert "worker/executors/invoke.py" not in failure.traceback


class OrderError(Exception):
    pass


def fail_deeply() -> NoReturn:
    raise OrderError("no stock")


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), MemoryError(), RecursionError()]
)
def test_nothing_that_a_task_raises_gets_out(error: BaseException) -> None:
    def task() -> NoReturn:
        raise error

    assert failure_of(task).type == type(error).__name__


def test_endless_recursion_is_a_failure() -> None:
    def task() -> None:
        task()

    failure = failure_of(task)
    assert failure.type == "RecursionError"
    assert len(failure.traceback.encode()) <= MAX_TRACEBACK_BYTES


def test_long_and_strange_messages_are_cut_and_cleaned() -> None:
    def task() -> NoReturn:
        raise ValueError("\udcff" + "ä" * 1_000_000)

    failure = failure_of(task)
    assert failure.message.startswith("?ä")
    assert len(failure.message.encode()) <= MAX_MESSAGE_BYTES
    assert len(failure.traceback.encode()) <= MAX_TRACEBACK_BYTES
    pack(failure)


def test_an_error_that_cannot_be_shown_is_a_failure_all_the_same() -> None:
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise OSError("no")

    def task() -> NoReturn:
        raise BrokenError

    assert "cannot be shown: OSError" in failure_of(task).message


def test_a_result_without_an_encoding_names_its_type() -> None:
    failure = failure_of(threading.Lock)
    assert "task 't' returned a value that cannot be stored" in failure.message
    assert "lock" in failure.message
    assert failure.traceback == ""


def test_a_result_over_the_limit_names_both_sizes() -> None:
    outcome = invoke(lambda: b"x" * 2000, max_value_bytes=1000)
    assert outcome.failure is not None
    assert outcome.failure.message == "task 't' returned 2003 bytes; limits.max_value_bytes allows 1000"


def test_an_unknown_task_says_what_to_do() -> None:
    outcome = Invoker({}, 1000, SystemClock(), silent()).run(Work(1, "gone", pack({}), ("r", "n", 1)))
    assert outcome.failure is not None
    assert "task 'gone' is not registered" in outcome.failure.message
    assert "-A" in outcome.failure.message


def test_wrong_arguments_are_a_failure() -> None:
    assert failure_of(lambda a: a, b=1).type == "TypeError"


def test_a_task_knows_its_context_and_nobody_else_does() -> None:
    def task() -> list[Any]:
        context = current()
        return [context.run_id, context.node, context.attempt, context.idempotency_key]

    assert unpack(invoke(task).output) == ["run", "node", 2, "run/node"]
    with pytest.raises(UsageError, match="no task is running"):
        current()


def test_context_variables_of_a_task_do_not_reach_the_next() -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("users", default=0)

    def task() -> int:
        before = variable.get()
        variable.set(before + 1)
        return before

    assert [unpack(invoke(task).output) for _ in range(2)] == [0, 0]


def test_frames_of_a_failed_task_are_let_go() -> None:
    class Big:
        pass

    held: list[int] = []

    def task() -> NoReturn:
        big = Big()
        held.append(sys.getrefcount(big))
        error = ValueError("x")
        errors.append(error)
        raise error

    errors: list[ValueError] = []
    failure_of(task)
    assert errors[0].__traceback__ is None


def test_async_tasks_run_side_by_side_with_their_own_contexts() -> None:
    arrived = 0

    async def scenario() -> list[Outcome]:
        both = asyncio.Event()

        async def task() -> str:
            nonlocal arrived
            arrived += 1
            if arrived == 2:
                both.set()
            await both.wait()
            return current().run_id

        invoker = Invoker({"t": Defined(task, is_async=True)}, 1000, SystemClock(), silent())
        works = [Work(number, "t", pack({}), (f"run-{number}", "n", 1)) for number in range(2)]
        assert invoker.is_async(works[0])
        return await asyncio.gather(*map(invoker.run_async, works))

    assert [unpack(outcome.output) for outcome in asyncio.run(scenario())] == ["run-0", "run-1"]


def test_an_async_failure_shows_the_users_frames_only() -> None:
    async def task() -> NoReturn:
        await asyncio.sleep(0)
        raise OrderError("late")

    invoker = Invoker({"t": Defined(task, is_async=True)}, 1000, SystemClock(), silent())
    outcome = asyncio.run(invoker.run_async(Work(1, "t", pack({}), ("r", "n", 1))))
    assert outcome.failure is not None
    assert outcome.failure.message == "late"
    assert "worker/executors/invoke.py" not in outcome.failure.traceback
