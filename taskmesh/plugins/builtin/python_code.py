"""Nodes of type python: a function given as source text, in a process that can do nothing but compute."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from taskmesh.clock import Clock, SystemClock
from taskmesh.config.settings import PluginsSection
from taskmesh.errors import NodeConfigError, NodeFailedError, NodeRefusedError
from taskmesh.model.values import Value
from taskmesh.plugins.builtin import seccomp
from taskmesh.plugins.builtin.bounded import Bounds, Conversation, give
from taskmesh.plugins.interface import INTERFACE_VERSION, NodeContext

CHILD = Path(__file__).with_name("python_child.py")
MEBIBYTE = 1024 * 1024

PYTHON_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "source": {"type": "string", "minLength": 1, "maxLength": 65_536, "description": "Defines the function."},
        "function": {
            "type": "string",
            "pattern": r"\A[A-Za-z_][A-Za-z0-9_]*\Z",
            "default": "main",
            "description": "The name of the function.",
        },
        "inputs": {"type": "object", "description": "Its arguments by name; what JSON can hold."},
        "seconds": {"type": "number", "exclusiveMinimum": 0, "description": "Less time than the settings allow."},
        "memory_mb": {"type": "integer", "minimum": 32, "description": "Less memory than the settings allow, in MiB."},
    },
    "required": ["source"],
    "additionalProperties": False,
}


class PythonNode:
    """Runs each function in a process of its own."""

    name = "python"
    interface = INTERFACE_VERSION
    schema = PYTHON_SCHEMA

    def __init__(self, section: PluginsSection, clock: Clock | None = None) -> None:
        self._section = section
        self._clock = clock or SystemClock()

    @staticmethod
    def lacking() -> str:
        """Why this machine could not keep its limits; empty where it can."""
        lacking = seccomp.lacking()
        return f"what the source does could not be confined: {lacking}" if lacking else ""

    def validate(self, config: dict[str, Any]) -> Iterator[str]:
        # The source is not even compiled here: text can be written that takes the compiler, and us with it, down.
        yield from ()

    def execute(self, config: dict[str, Any], context: NodeContext) -> Value:
        """What the function returns.

        :raises NodeRefusedError: the settings do not allow it.
        :raises NodeFailedError: what the function raised; or it took too long, too much memory, or returned too much.
        """
        section = self._section
        if not section.python:
            raise NodeRefusedError("plugins.python of this worker is false")
        seconds = min(config.get("seconds", section.python_seconds), section.python_seconds)
        bounds = Bounds(seconds, section.python_output_bytes)
        talk = Conversation(bounds, self._clock, context.heartbeat)
        command = [sys.executable, "-I", "-S", "-B", str(CHILD)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}, cwd="/"
        ) as process:
            assert process.stdout is not None
            try:
                give(process, self._request(config, seconds))
                said = talk.read_all({"result": process.stdout.fileno()})
            finally:
                process.kill()
        return _read(said["result"], process.returncode)

    def _request(self, config: Mapping[str, Any], seconds: float) -> bytes:
        memory_mb = min(config.get("memory_mb", self._section.python_memory_mb), self._section.python_memory_mb)
        request = {
            "source": config["source"],
            "function": config.get("function", "main"),
            "inputs": config.get("inputs", {}),
            "memory_bytes": memory_mb * MEBIBYTE,
            "cpu_seconds": math.ceil(seconds) + 1,
            "parent": os.getpid(),
        }
        try:
            return json.dumps(request, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise NodeConfigError(self.name, [f"inputs holds a value that JSON cannot hold: {error}"]) from None


def _read(said: bytes, code: int) -> Value:
    """What the child said. It may have written anything: its standard output is the function's own to write to."""
    try:
        answer = json.loads(said)
    except (ValueError, RecursionError):
        raise NodeFailedError(
            f"its process ended (code {code}) without a result: out of memory, or it crashed"
        ) from None
    if not isinstance(answer, dict) or answer.keys() not in ({"result"}, {"error"}):
        raise NodeFailedError("its process gave something else than a result")
    if "error" in answer:
        raise NodeFailedError(str(answer["error"]))
    result: Value = answer["result"]
    return result
