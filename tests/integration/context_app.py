"""The app of the tests about contexts: what each task sees of the request that its run serves."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from taskmesh import Mesh, Retry, current_task, run_request

mesh = Mesh()

_log = logging.getLogger("shop")


def _seen() -> dict[str, Any]:
    task = current_task()
    request = task.request
    said = {"request_id": request.request_id, "tenant": request.tenant, "traceparent": request.traceparent}
    seen = {**said, "metadata": dict(task.metadata), "attempt": task.attempt}
    with Path(os.environ["TASKMESH_TEST_SEEN"]).open("a") as file:
        file.write(f"{task.node} {task.attempt} {request.request_id} {task.metadata.get('plan')}\n")
    return seen


@mesh.task
def look(after: Any = None) -> dict[str, Any]:
    _log.info("looked")
    return _seen()


@mesh.task
async def alook() -> dict[str, Any]:
    return _seen()


@mesh.task(retry=Retry(max_attempts=2, base_seconds=0.01))
def look_twice(after: Any = None) -> dict[str, Any]:
    seen = _seen()
    if seen["attempt"] == 1:
        raise ValueError("once more")
    return seen


@mesh.task
def tell(plan: Any, request_id: Any) -> list[Any]:
    return [plan, request_id]


@mesh.task
def look_and_send() -> str:
    """Submit another run, saying one thing more."""
    own: str = mesh.submit(looking, metadata={"step": "2"}).id
    return own


@mesh.task
def book() -> None: ...


@book.compensate
def unbook() -> dict[str, Any]:
    return _seen()


@mesh.task
def fail(after: Any = None) -> None:
    _seen()
    raise ValueError("for good")


@mesh.flow
def looking() -> Any:
    first = look()
    told = tell(run_request()["metadata"]["plan"], run_request()["request_id"]).when('run.metadata.plan != "free"')
    return {"first": first, "twice": look_twice(first), "async": alook(), "told": told}


@mesh.flow
def sending() -> Any:
    return look_and_send()


@mesh.flow(on_failure="compensate")
def undoing() -> Any:
    return fail(book())
