"""A task: a user's function, with its name and its policy."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Generic, ParamSpec, Protocol, TypedDict, TypeVar, overload

from taskmesh.errors import UsageError
from taskmesh.model.breakers import BreakerRules, Guard
from taskmesh.model.flow import DEFAULT_POOL
from taskmesh.model.node_types import MARK
from taskmesh.model.policies import NO_LIMITS, Retry, RetryPolicy, TimeLimits
from taskmesh.model.problems import Hints, Path
from taskmesh.model.validation import POOL_PATTERN, POOL_RULE, TITLE_PATTERN
from taskmesh.model.values import Values
from taskmesh.tasks.mapping import map_task, of_item
from taskmesh.tasks.placeholders import Placeholder
from taskmesh.tasks.signature import Signature
from taskmesh.tasks.trace import current_trace

P = ParamSpec("P")
R = TypeVar("R")
Q = ParamSpec("Q")
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class TaskPolicy:
    """How the nodes of a task are run. ``pool`` names the workers that run them.

    :raises UsageError: for a pool name that is not allowed, or a limit out of its range.
    """

    pool: str = DEFAULT_POOL
    retry: RetryPolicy | None = None
    limits: TimeLimits = NO_LIMITS
    guard: Guard | None = None
    compensator: Task[Any, Any] | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(POOL_PATTERN, self.pool):
            raise UsageError(f"the pool name {self.pool!r} {POOL_RULE}")
        problems = [f"{key} {problem}" for key, problem in self.limits.findings()]
        if problems:
            raise UsageError("; ".join(problems))


class TaskOptions(TypedDict, total=False):
    """What ``@mesh.task`` may say; limits in seconds."""

    name: str | None
    pool: str
    retry: Retry | None
    timeout: float | None
    schedule_to_start: float | None
    schedule_to_close: float | None
    heartbeat_timeout: float | None
    breaker: str | None
    fallback: Task[Any, Any] | None
    compensate: Task[Any, Any] | None


def policy_of(options: TaskOptions, breakers: Mapping[str, BreakerRules]) -> TaskPolicy:
    """The policy of a task; ``breakers`` are those that are declared.

    :raises UsageError: for an unknown option, a name that is not allowed or not known, or a limit out of its range.
    """
    for option in options.keys() - TaskOptions.__annotations__.keys():
        raise UsageError(f"a task has no option {option!r}{Hints([*TaskOptions.__annotations__]).did_you_mean(option)}")
    retry = options.get("retry")
    limits = TimeLimits(
        options.get("timeout"),
        options.get("schedule_to_start"),
        options.get("schedule_to_close"),
        options.get("heartbeat_timeout"),
    )
    guard = _guard_of(options.get("breaker"), options.get("fallback"), breakers)
    pool = options.get("pool", DEFAULT_POOL)
    return TaskPolicy(pool, retry.policy if retry else None, limits, guard, options.get("compensate"))


def _guard_of(name: str | None, fallback: Task[Any, Any] | None, breakers: Mapping[str, BreakerRules]) -> Guard | None:
    if fallback is not None and not isinstance(fallback, Task):
        raise UsageError(f"fallback must be a task, a function with @mesh.task, not {fallback!r}")
    if name is None:
        if fallback is not None:
            raise UsageError(f"the fallback {fallback.name!r} needs a breaker that lets it run; name one with breaker=")
        return None
    if name not in breakers:
        hint = Hints(breakers).did_you_mean(name)
        raise UsageError(f"no breaker {name!r} is declared{hint or ';'} declare it before, with mesh.breaker({name!r})")
    return Guard(breakers[name], fallback.name if fallback else "")


class Owner(Protocol):
    """Registers tasks, and submits runs of one task. What ``send`` returns goes to the caller of ``Task.send``."""

    def register(self, function: Callable[Q, S], options: Mapping[str, Any]) -> Task[Q, S]: ...

    def send(self, task: Task[Any, Any], arguments: dict[str, Any]) -> Any: ...

    async def asend(self, task: Task[Any, Any], arguments: dict[str, Any]) -> Any: ...


class Task(Generic[P, R]):
    """A registered function. Still a plain callable; inside of a flow's function, calling it adds a node."""

    def __init__(self, function: Callable[P, R], name: str, policy: TaskPolicy, owner: Owner | None = None) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name = name
        self.policy = policy
        self.is_async = inspect.iscoroutinefunction(function)
        self._signature = signature = Signature.of(function, name)
        self.parameters = tuple((each, each in signature.required) for each in signature.names)
        self._owner = owner
        self._compensator = policy.compensator

    @property
    def pool(self) -> str:
        return self.policy.pool

    @property
    def retry(self) -> RetryPolicy | None:
        return self.policy.retry

    @property
    def limits(self) -> TimeLimits:
        return self.policy.limits

    @property
    def guard(self) -> Guard | None:
        return self.policy.guard

    @property
    def compensator(self) -> Task[Any, Any] | None:
        """The task that undoes this one, where there is one."""
        return self._compensator

    @property
    def accepts_any(self) -> bool:
        return self._signature.accepts_any

    # Any, since it is R outside of a flow and a Handle inside, and a type checker cannot know where it is called.
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        trace = current_trace()
        if trace is not None:
            return trace.call(self, self._signature.bind(args, kwargs))
        for value in (*args, *kwargs.values()):
            if isinstance(value, Placeholder):
                raise UsageError(
                    f"{value!r} is only good inside of its flow's function, not in a call of {self.name!r} here"
                )
        return self.function(*args, **kwargs)

    @overload
    def compensate(self, function: Callable[Q, S], /) -> Task[Q, S]: ...

    @overload
    def compensate(self, /, **options: Any) -> Callable[[Callable[Q, S]], Task[Q, S]]: ...

    def compensate(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Register what undoes this task, as ``@reserve.compensate`` or ``@reserve.compensate(retry=Retry(...))``.

        The function is a task of its own; ``options`` are those of ``@mesh.task``. It is called with those of the
        node's arguments that it has parameters for, and with the node's output as ``result`` if it has that one.

        :raises UsageError: the task belongs to no mesh, or has something that undoes it already.
        """

        def register(function: Callable[..., Any]) -> Task[Any, Any]:
            if self._compensator is not None:
                raise UsageError(f"task {self.name!r} is undone by {self._compensator.name!r} already")
            if self._owner is None:
                raise UsageError(f"task {self.name!r} belongs to no mesh; register it with @mesh.task first")
            self._compensator = self._owner.register(function, options)
            return self._compensator

        return register if function is None else register(function)

    def map(self, items: Any, /, **arguments: Any) -> Any:
        """Inside of a flow's function, add a node that runs this task for each of ``items``, a list or a handle of one.

        The first parameter that ``arguments`` leaves free gets the item; they are the same for all. Where ``items`` are
        names with lists, it runs for each way to take one from each list, and the names are parameters. Where
        ``arguments`` hold ``mesh.item``, or a part of it such as ``mesh.item["path"]``, they alone say where it goes.
        What is returned is the handle of a list of outputs, in the order of the items.

        :raises UsageError: outside of a flow's function, or for arguments that the function would not take.
        """
        trace = current_trace()
        if trace is None:
            raise UsageError(f"task {self.name!r} can be mapped only inside of a flow's function")
        taken = of_item(trace, items, lambda: self._signature.free(arguments), arguments)
        return map_task(trace, self, items, self._signature.bind((), {**taken, **arguments}))

    def bind(self, *args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
        """The arguments of a call by name, without defaults.

        :raises UsageError: for arguments that the function would not take.
        """
        return self._signature.bind(args, kwargs)

    def with_policy(self, policy: TaskPolicy) -> Task[P, R]:
        """The same function under another policy."""
        return Task(self.function, self.name, policy, self._owner)

    def argument_findings(self, arguments: Values) -> Iterable[tuple[Path, str]]:
        """Of a function's arguments, nothing but the names is known before it runs."""
        return ()

    def taken(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Those of the arguments that the function has parameters for."""
        if self.accepts_any:
            return arguments
        return {name: value for name, value in arguments.items() if name in self._signature.known}

    def send(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Submit a run of this one task; returns its handle.

        :raises UsageError: for arguments that the function would not take, or inside of a flow's function.
        """
        return self._owner_here().send(self, self._signature.bind(args, kwargs))

    async def asend(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """``send`` for async code."""
        return await self._owner_here().asend(self, self._signature.bind(args, kwargs))

    def _owner_here(self) -> Owner:
        if current_trace() is not None:
            raise UsageError(f"task {self.name!r} cannot be sent inside of a flow's function; call it to add a node")
        if self._owner is None:
            raise UsageError(f"task {self.name!r} belongs to no mesh that could send it; register it with @mesh.task")
        return self._owner

    def __repr__(self) -> str:
        return f"<task {self.name!r}>"


def make_task(
    function: Callable[P, R],
    policy: TaskPolicy | None = None,
    name: str | None = None,
    owner: Owner | None = None,
) -> Task[P, R]:
    """The task of a function. ``name`` is ``module:function`` where none is given.

    :raises UsageError: for a function that cannot be a task, or a name that is not allowed.
    """
    if name is None:
        name = default_name(function)
    if not re.fullmatch(TITLE_PATTERN, name):
        raise UsageError(f"the task name {name!r} must be 1-255 characters without spaces, $, {{ or }}")
    if name.startswith(MARK):
        raise UsageError(f"the task name {name!r} begins with {MARK}, as the names of node types do; give it another")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise UsageError(f"{name!r} cannot be a task: it is a generator; return a list instead")
    return Task(function, name, policy or TaskPolicy(), owner)


def default_name(function: Callable[..., Any]) -> str:
    """``module:function``, the same in the script that submits and in the worker that imports it as a module."""
    qualname = getattr(function, "__qualname__", None)
    if qualname is None or "<lambda>" in qualname:
        raise UsageError(f"{function!r} has no name of its own to be known by; give one with name=")
    module: str = function.__module__
    return f"{_main_name() if module == '__main__' else module}:{qualname}"


def _main_name() -> str:
    main = sys.modules["__main__"]
    if main.__spec__ is not None:
        return main.__spec__.name
    file = getattr(main, "__file__", None)
    if file is None:
        raise UsageError("a task that is typed at a prompt has no module to be found in; write it to a file")
    return PurePath(file).stem
