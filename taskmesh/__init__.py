"""taskmesh: a distributed task queue whose unit of work is a DAG.

Everything public is here. Names are loaded when they are first used, so that importing the package costs a producer app
next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskmesh.app.mesh import Mesh
    from taskmesh.app.run import Run
    from taskmesh.client.details import NodeDetails, RunDetails, RunEvent
    from taskmesh.client.explaining import RunExplanation
    from taskmesh.client.schedules import ScheduleDetails
    from taskmesh.config.settings import Settings
    from taskmesh.errors import (
        BreakerNotFoundError,
        BrokerUnavailableError,
        ConfigError,
        DeadLetterError,
        EventError,
        FlowError,
        FlowVersionError,
        NodeConfigError,
        NodeFailedError,
        NodeRefusedError,
        NodeUnavailableError,
        PayloadError,
        PayloadUnavailableError,
        ResultTimeoutError,
        RunCancelledError,
        RunConflictError,
        RunError,
        RunFailedError,
        RunLostError,
        RunNotFoundError,
        RunStateError,
        ScheduleError,
        ScheduleNotFoundError,
        StoreRefusedError,
        StoreUnavailableError,
        TaskCancelledError,
        TaskmeshError,
        TooLargeError,
        UnavailableError,
        UnknownTaskError,
        UnresolvedReferenceError,
        UsageError,
        WireError,
    )
    from taskmesh.flows import load_flow, load_flow_file
    from taskmesh.model.breakers import BreakerState
    from taskmesh.model.differences import Difference
    from taskmesh.model.explanation import NodeExplanation
    from taskmesh.model.flow import Flow
    from taskmesh.model.flow_versions import FlowChange, FlowVersion, RegisteredFlow, VersionState
    from taskmesh.model.policies import Retry
    from taskmesh.model.run_context import RunContext
    from taskmesh.model.states import NodeState, RunState
    from taskmesh.plugins.interface import NodeContext, NodeType
    from taskmesh.store.breakers import Breaker
    from taskmesh.store.letters import DeadLetter, DeadLetterFilter
    from taskmesh.tasks.flow import FlowDefinition
    from taskmesh.tasks.run_request import run_request
    from taskmesh.tasks.task import Task
    from taskmesh.worker.executors.invoke import TaskContext
    from taskmesh.worker.executors.invoke import current as current_task

__version__ = "0.1.0"

_HOMES = {
    "Mesh": "app.mesh",
    "Run": "app.run",
    "Breaker": "store.breakers",
    "BreakerState": "model.breakers",
    "DeadLetter": "store.letters",
    "DeadLetterFilter": "store.letters",
    "NodeDetails": "client.details",
    "RunDetails": "client.details",
    "RunEvent": "client.details",
    "RunExplanation": "client.explaining",
    "ScheduleDetails": "client.schedules",
    "NodeExplanation": "model.explanation",
    "Settings": "config.settings",
    "Difference": "model.differences",
    "Flow": "model.flow",
    "FlowChange": "model.flow_versions",
    "FlowVersion": "model.flow_versions",
    "RegisteredFlow": "model.flow_versions",
    "VersionState": "model.flow_versions",
    "Retry": "model.policies",
    "NodeState": "model.states",
    "RunContext": "model.run_context",
    "RunState": "model.states",
    "NodeContext": "plugins.interface",
    "NodeType": "plugins.interface",
    "FlowDefinition": "tasks.flow",
    "Task": "tasks.task",
    "TaskContext": "worker.executors.invoke",
    "load_flow": "flows",
    "load_flow_file": "flows",
    "run_request": "tasks.run_request",
    **dict.fromkeys(
        (
            "BreakerNotFoundError",
            "BrokerUnavailableError",
            "CompensationFailedError",
            "ConfigError",
            "DeadLetterError",
            "EventError",
            "FlowError",
            "FlowVersionError",
            "NodeConfigError",
            "NodeFailedError",
            "NodeRefusedError",
            "NodeUnavailableError",
            "PayloadError",
            "PayloadUnavailableError",
            "ResultTimeoutError",
            "RunCancelledError",
            "RunConflictError",
            "RunError",
            "RunFailedError",
            "RunLostError",
            "RunNotFoundError",
            "RunStateError",
            "ScheduleError",
            "ScheduleNotFoundError",
            "StoreRefusedError",
            "StoreUnavailableError",
            "TaskCancelledError",
            "TaskmeshError",
            "TooLargeError",
            "UnavailableError",
            "UnknownTaskError",
            "UnresolvedReferenceError",
            "UsageError",
            "WireError",
        ),
        "errors",
    ),
}

__all__ = [
    "Breaker",
    "BreakerNotFoundError",
    "BreakerState",
    "BrokerUnavailableError",
    "CompensationFailedError",
    "ConfigError",
    "DeadLetter",
    "DeadLetterError",
    "DeadLetterFilter",
    "Difference",
    "EventError",
    "Flow",
    "FlowChange",
    "FlowDefinition",
    "FlowError",
    "FlowVersion",
    "FlowVersionError",
    "Mesh",
    "NodeConfigError",
    "NodeContext",
    "NodeDetails",
    "NodeExplanation",
    "NodeFailedError",
    "NodeRefusedError",
    "NodeState",
    "NodeType",
    "NodeUnavailableError",
    "PayloadError",
    "PayloadUnavailableError",
    "RegisteredFlow",
    "ResultTimeoutError",
    "Retry",
    "Run",
    "RunCancelledError",
    "RunConflictError",
    "RunContext",
    "RunDetails",
    "RunError",
    "RunEvent",
    "RunExplanation",
    "RunFailedError",
    "RunLostError",
    "RunNotFoundError",
    "RunState",
    "RunStateError",
    "ScheduleDetails",
    "ScheduleError",
    "ScheduleNotFoundError",
    "Settings",
    "StoreRefusedError",
    "StoreUnavailableError",
    "Task",
    "TaskCancelledError",
    "TaskContext",
    "TaskmeshError",
    "TooLargeError",
    "UnavailableError",
    "UnknownTaskError",
    "UnresolvedReferenceError",
    "UsageError",
    "VersionState",
    "WireError",
    "current_task",
    "load_flow",
    "load_flow_file",
    "run_request",
]


def __getattr__(name: str) -> Any:
    if name == "current_task":
        return importlib.import_module("taskmesh.worker.executors.invoke").current
    if name not in _HOMES:
        raise AttributeError(f"module 'taskmesh' has no attribute {name!r}")
    return getattr(importlib.import_module(f"taskmesh.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
