"""Runs user code once, and makes an outcome of whatever it does."""

from __future__ import annotations

import asyncio
import contextvars
import traceback
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol

from taskmesh.clock import Clock
from taskmesh.errors import TaskCancelledError, TooLargeError, UnknownTaskError, UsageError, WireError
from taskmesh.model.policies import Retry, exception_name
from taskmesh.model.run_context import NO_CONTEXT, RunContext
from taskmesh.wire.claim_checks import pack_output
from taskmesh.wire.codec import MAX_DECODED_BYTES, PutAsideError, pack, unpack
from taskmesh.wire.run_contexts import decode_context
from taskmesh.worker.channels.protocol import Failure, Outcome, Work
from taskmesh.worker.executors.large_outputs import LargeOutputs
from taskmesh.worker.executors.pulse import Pulse

MAX_MESSAGE_BYTES = 4 * 1024
MAX_TRACEBACK_BYTES = 16 * 1024
MAX_LINEAGE = 32

MAX_OUTPUT_BYTES = MAX_DECODED_BYTES - 64 * 1024
"""Whatever the settings allow, an output must fit one frame beside its outcome's other fields."""

MAX_CHECKPOINT_BYTES = 64 * 1024

_NOWHERE = LargeOutputs()

_context: contextvars.ContextVar[TaskContext] = contextvars.ContextVar("taskmesh_context")


class Runnable(Protocol):
    """What has to be known of a task to run it."""

    @property
    def function(self) -> Callable[..., Any]: ...

    @property
    def is_async(self) -> bool: ...

    def taken(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Those of the arguments that the function has parameters for."""


class TaskContext:
    """What a running task may know of itself, and say. ``attempt`` counts from 1. Safe in threads."""

    __slots__ = ("_pulse", "_request", "_work", "attempt", "node", "run_id")

    def __init__(self, work: Work, pulse: Pulse) -> None:
        self.run_id, self.node, self.attempt = work.context
        self._work = work
        self._pulse = pulse
        self._request: RunContext | None = None

    @property
    def task(self) -> str:
        """The name of the task."""
        return self._work.task

    @property
    def request(self) -> RunContext:
        """What is said of the request that the run serves: its ids, its trace context, its metadata."""
        if self._request is None:
            self._request = decode_context(self._work.run_context)
        return self._request

    @property
    def metadata(self) -> Mapping[str, str]:
        """The metadata that the run was submitted with; empty where it has none."""
        return self.request.metadata

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this node: hand it to a service that must not do things twice.

        That of a slice of a map is made of what is in it, so it stays the same wherever the slice stands.
        """
        return self._work.key or f"{self.run_id}/{self.node}"

    @property
    def checkpoint(self) -> Any:
        """What an earlier attempt of this node gave to ``heartbeat`` last; None where there is none."""
        return unpack(self._work.checkpoint) if self._work.checkpoint else None

    @property
    def deadline(self) -> float | None:
        """When the run must have ended, in epoch seconds; the task is killed then. None where it has no deadline."""
        return self._work.deadline

    @property
    def cancelled(self) -> bool:
        """Whether this attempt should end: its run will not go on, or another attempt has taken its place.

        Known to tasks that call ``heartbeat``; about half a second after it happened.
        """
        return self._pulse.is_cancelled(self._work.id)

    def heartbeat(self, details: Any = None) -> None:
        """Say that the task goes on, as ``heartbeat_timeout`` asks for; may be called at any rate.

        ``details``, where they are not None, are kept as the ``checkpoint`` of the next attempt, should this one fail
        or die: any value that a task may return, up to 64 KiB packed. The newest are stored about twice a second.

        :raises TaskCancelledError: the attempt should end; let it through.
        :raises WireError: ``details`` cannot be stored, or are too large.
        """
        if self.cancelled:
            raise TaskCancelledError(self.run_id, self.node)
        checkpoint = b"" if details is None else pack(details)
        if len(checkpoint) > MAX_CHECKPOINT_BYTES:
            raise TooLargeError(
                f"the details of a heartbeat have {len(checkpoint)} bytes; at most {MAX_CHECKPOINT_BYTES} are kept"
            )
        self._pulse.beat(self._work.id, checkpoint)


def current() -> TaskContext:
    """The context of the task that is running here.

    :raises UsageError: outside of a task.
    """
    try:
        return _context.get()
    except LookupError:
        raise UsageError("no task is running here: the task context exists only inside a task's function") from None


def current_request() -> RunContext:
    """What is said of the request that the task serves which is running here; nothing outside of a task."""
    context = _context.get(None)
    return context.request if context is not None else NO_CONTEXT


def log_subject() -> Mapping[str, object]:
    """What a line of the log is about that is written here: the running task, if any."""
    context = _context.get(None)
    if context is None:
        return {}
    names = {"run": context.run_id, "node": context.node, "attempt": context.attempt, "task": context.task}
    return {**names, "request_id": context.request.request_id}


class Invoker:
    """Runs the works of one executor. Safe in threads."""

    def __init__(
        self,
        tasks: Mapping[str, Runnable],
        max_value_bytes: int,
        clock: Clock,
        pulse: Pulse,
        large: LargeOutputs = _NOWHERE,
    ) -> None:
        self._tasks = tasks
        self._large = large
        self._max_value_bytes = min(max_value_bytes, MAX_OUTPUT_BYTES)
        self._clock = clock
        self.pulse = pulse

    def is_async(self, work: Work) -> bool:
        task = self._tasks.get(work.task)
        return task is not None and task.is_async

    def run(self, work: Work) -> Outcome:
        """Run a sync task; never raises, not even for SystemExit."""
        started_at, begun = self._clock.now(), self._clock.monotonic()
        output, failure = b"", None
        try:
            output = self._pack(work.task, contextvars.copy_context().run(self._call, work, self._arguments(work)))
            if self._large.takes(len(output)):
                output = self._large.put(_returned(work.task), work.context[0], output)
        except BaseException as error:
            failure = describe(error)
        self.pulse.end(work.id)
        return Outcome(work.id, output, failure, started_at, self._clock.monotonic() - begun)

    async def run_async(self, work: Work) -> Outcome:
        """Run an async task in the asyncio task of the caller, whose context it takes as its own."""
        started_at, begun = self._clock.now(), self._clock.monotonic()
        output, failure = b"", None
        try:
            try:
                arguments = unpack(work.arguments)
            except PutAsideError:
                arguments = await asyncio.to_thread(self._arguments, work)
            output = self._pack(work.task, await self._call(work, arguments))
            if self._large.takes(len(output)):
                output = await asyncio.to_thread(self._large.put, _returned(work.task), work.context[0], output)
        except BaseException as error:
            failure = describe(error)
        self.pulse.end(work.id)
        return Outcome(work.id, output, failure, started_at, self._clock.monotonic() - begun)

    def _arguments(self, work: Work) -> Any:
        try:
            return unpack(work.arguments)
        except PutAsideError:
            return self._large.arguments(work.context[0], work.arguments)

    def _call(self, work: Work, arguments: Any) -> Any:
        task = self._tasks.get(work.task)
        if task is None:
            raise UnknownTaskError(work.task, " in this worker; name the module that defines it with -A")
        _context.set(TaskContext(work, self.pulse))
        return task.function(**(task.taken(arguments) if work.is_undo else arguments))

    def _pack(self, task: str, value: Any) -> bytes:
        try:
            output = pack_output(value)
        except WireError as error:
            raise WireError(f"task {task!r} returned a value that cannot be stored: {error}") from None
        if len(output) > self._max_value_bytes and not self._large.takes(len(output)):
            raise TooLargeError(
                f"{_returned(task)} {len(output)} bytes; limits.max_value_bytes allows {self._max_value_bytes}"
            )
        return output


def _returned(task: str) -> str:
    return f"task {task!r} returned"


def describe(error: BaseException) -> Failure:
    """The failure that an exception stands for, cut to the sizes that are stored."""
    kind = type(error)
    lineage = tuple(_head(exception_name(each)) for each in kind.__mro__[:MAX_LINEAGE] if each is not object)
    trace = _trace(error)
    # The frames hold the task's arguments and locals; nothing of them shall outlive the attempt.
    error.__traceback__ = None
    after = error.after if isinstance(error, Retry) else None
    return Failure(lineage[0], _head(_message(error)), trace, lineage, isinstance(error, Retry), after)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:
        return f"(its message cannot be shown: {type(broken).__name__})"


def _trace(error: BaseException) -> str:
    frames = _without_own(error.__traceback__)
    if frames is None:
        return ""
    try:
        text = "".join(traceback.format_exception(type(error), error, frames))
    except Exception:
        text = "".join(traceback.format_tb(frames))
    return _utf8(text)[-MAX_TRACEBACK_BYTES:].decode(errors="ignore")


def _without_own(frames: TracebackType | None) -> TracebackType | None:
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return frames


def _head(text: str) -> str:
    # Cutting the text first keeps a message of a gigabyte from being copied whole.
    return _utf8(text[:MAX_MESSAGE_BYTES])[:MAX_MESSAGE_BYTES].decode(errors="ignore")


def _utf8(text: str) -> bytes:
    return text.encode(errors="replace")
