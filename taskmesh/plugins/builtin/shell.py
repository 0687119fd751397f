"""Nodes of type shell: one program with a list of arguments, under limits, of which no process is left behind."""

from __future__ import annotations

import json
import math
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from taskmesh.clock import Clock, SystemClock
from taskmesh.config.settings import PluginsSection
from taskmesh.errors import NodeFailedError, NodeRefusedError
from taskmesh.model.values import Value
from taskmesh.plugins.builtin.bounded import Bounds, Conversation
from taskmesh.plugins.builtin.shell_child import LENGTH_DIGITS
from taskmesh.plugins.interface import INTERFACE_VERSION, NodeContext

WARDEN = Path(__file__).with_name("shell_child.py")
MEBIBYTE = 1024 * 1024
MAX_FILE_BYTES = 64 * MEBIBYTE
ANY_PROGRAM = "*"

WARDEN_SECONDS = 10.0
"""So long may it take to end what a program has left. Longer means that the machine is in a bad way."""

_SHOWN_ERRORS = 1000
_TEXT = {"type": "string", "maxLength": 65_536, "pattern": r"\A[^\x00]*\Z"}

SHELL_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "argv": {
            "type": "array",
            "items": _TEXT,
            "minItems": 1,
            "maxItems": 1000,
            "description": "The program, by full path, and its arguments; no shell reads them.",
        },
        "env": {
            "type": "object",
            "maxProperties": 100,
            "propertyNames": {"pattern": r"\A[A-Za-z_][A-Za-z0-9_]*\Z"},
            "additionalProperties": _TEXT,
            "description": "The whole environment of the program; default: nothing.",
        },
        "stdin": {"type": "string", "description": "What the program reads from its standard input, in UTF-8."},
        "expect": {
            "type": "array",
            "items": {"type": "integer", "minimum": 0, "maximum": 255},
            "minItems": 1,
            "default": [0],
            "description": "With any other exit code the node fails.",
        },
        "seconds": {"type": "number", "exclusiveMinimum": 0, "description": "Less time than the settings allow."},
    },
    "required": ["argv"],
    "additionalProperties": False,
}


class ShellNode:
    """Runs each program in an empty directory of its own, below a warden that ends all of its processes."""

    name = "shell"
    interface = INTERFACE_VERSION
    schema = SHELL_SCHEMA

    def __init__(self, section: PluginsSection, clock: Clock | None = None) -> None:
        self._section = section
        self._clock = clock or SystemClock()

    @staticmethod
    def lacking(section: PluginsSection) -> str:
        """Why this machine could not keep its limits; empty where it can."""
        if not sys.platform.startswith("linux"):
            return "only Linux has what its limits need"
        return _user_fault(section.shell_user)

    def validate(self, config: dict[str, Any]) -> Iterator[str]:
        if not os.path.isabs(config["argv"][0]):
            yield "the first of argv must be the full path of a program, as /usr/bin/env; there is no search path"

    def execute(self, config: dict[str, Any], context: NodeContext) -> Value:
        """``{"code", "stdout", "stderr"}``; the outputs are text where they are UTF-8.

        :raises NodeRefusedError: the settings do not allow the program.
        :raises NodeFailedError: another exit code than is expected, or one of the limits.
        """
        self._refuse(config["argv"][0])
        seconds = min(config.get("seconds", self._section.shell_seconds), self._section.shell_seconds)
        bounds = Bounds(seconds, self._section.shell_output_bytes)
        said = _run(self._request(config, seconds), Conversation(bounds, self._clock, context.heartbeat))
        return _output(said, config.get("expect", [0]))

    def _refuse(self, program: str) -> None:
        allowed = self._section.shell_programs
        # As it is written: a path with .. or a link in it is another way to say another program.
        if ANY_PROGRAM not in allowed and program not in allowed:
            raise NodeRefusedError(f"plugins.shell_programs of this worker does not name {program!r}")

    def _request(self, config: Mapping[str, Any], seconds: float) -> bytes:
        section = self._section
        request = {
            "argv": config["argv"],
            "env": config.get("env", {}),
            "stdin": config.get("stdin", ""),
            "user": section.shell_user,
            "memory_bytes": section.shell_memory_mb * MEBIBYTE,
            "cpu_seconds": math.ceil(seconds) + 1,
            "file_bytes": MAX_FILE_BYTES,
            "files": section.shell_files,
            "processes": section.shell_processes,
        }
        text = json.dumps(request).encode()
        return b"%*d" % (LENGTH_DIGITS, len(text)) + text


def _user_fault(user: str | None) -> str:
    is_root = os.geteuid() == 0
    if not user:
        return (
            "the worker is root, whom the kernel lets have any number of processes; name plugins.shell_user" * is_root
        )
    if not is_root:
        return "plugins.shell_user is for workers that are root; remove it"
    try:
        return "plugins.shell_user is root; name another" if pwd.getpwnam(user).pw_uid == 0 else ""
    except KeyError:
        return f"plugins.shell_user: there is no user {user!r} here"


def _run(request: bytes, talk: Conversation) -> dict[str, bytes]:
    """Start the warden, and let it end everything however this ends."""
    status, theirs = os.pipe()
    command = [sys.executable, "-I", "-S", "-B", str(WARDEN), str(theirs)]
    with open(status, "rb") as status_file:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(theirs,),
                # What kills this process and its group must leave the warden to do its work.
                start_new_session=True,
            )
        finally:
            os.close(theirs)
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                process.stdin.write(request)
                process.stdin.flush()
                pipes = {"stdout": process.stdout, "stderr": process.stderr, "status": status_file}
                return talk.read_all({name: pipe.fileno() for name, pipe in pipes.items()})
            finally:
                process.stdin.close()
                _await(process)


def _await(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(WARDEN_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def _output(said: Mapping[str, bytes], expected: list[int]) -> Value:
    status = json.loads(said["status"] or "{}")
    if "fault" in status:
        raise NodeFailedError(status["fault"])
    code = status.get("code")
    if code is None:
        raise NodeFailedError("its process was ended from outside, with all that it had started")
    if code not in expected:
        errors = said["stderr"][-_SHOWN_ERRORS:].decode(errors="replace").strip()
        how = f"ended with exit code {code}" if code >= 0 else f"was ended by signal {-code}"
        raise NodeFailedError(f"the program {how}" + (f": {errors}" if errors else ""))
    return {"code": code, "stdout": _text(said["stdout"]), "stderr": _text(said["stderr"])}


def _text(said: bytes) -> str | bytes:
    try:
        return said.decode()
    except UnicodeDecodeError:
        return said
