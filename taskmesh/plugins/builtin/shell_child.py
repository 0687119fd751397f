"""The warden of one shell node: starts the program with its limits, in a directory of its own, and leaves nothing.

Started by file, without taskmesh on its path; it needs nothing but the standard library. Standard input is the line to
the worker: one JSON text with its length before it, and then nothing; its end, which also comes when the worker dies,
ends the program. What became of the program is written to the descriptor that the only argument names.

Every process that the program leaves behind becomes a child of this one (PR_SET_CHILD_SUBREAPER), whichever group or
session it has gone to; so they are all found.
"""

import contextlib
import ctypes
import json
import os
import pwd
import resource
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from typing import Any

LENGTH_DIGITS = 20
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PAUSE_SECONDS = 0.002


def main() -> None:
    request = json.loads(_read(int(_read(LENGTH_DIGITS))))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        _tell({"fault": "the kernel does not let one process look after others"})
        return
    directory = tempfile.mkdtemp(prefix="taskmesh-shell-")
    try:
        status = _run(request, directory, libc)
    finally:
        _remove(directory)
    _tell(status)


def _run(request: "dict[str, Any]", directory: str, libc: ctypes.CDLL) -> "dict[str, Any]":
    """What became of the program."""
    try:
        program = _start(request, directory, libc)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return {"fault": f"the program cannot be started: {getattr(error, 'strerror', None) or error}"}
    # Who waits for the end of the output must not wait for this process.
    os.close(1)
    os.close(2)
    is_over = _wait(program.pid)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGKILL)
    code = program.wait()
    _end_all()
    return {"code": code if is_over else None}


def _read(length: int) -> bytes:
    text = b""
    while len(text) < length:
        part = os.read(0, length - len(text))
        if not part:
            sys.exit(1)
        text += part
    return text


def _start(request: "dict[str, Any]", directory: str, libc: ctypes.CDLL) -> "subprocess.Popen[bytes]":
    user = pwd.getpwnam(request["user"]) if request["user"] else None
    uid = user.pw_uid if user else os.getuid()
    if user:
        os.chown(directory, user.pw_uid, user.pw_gid)
    limits = [
        (resource.RLIMIT_AS, request["memory_bytes"]),
        (resource.RLIMIT_CPU, request["cpu_seconds"]),
        (resource.RLIMIT_FSIZE, request["file_bytes"]),
        (resource.RLIMIT_NOFILE, request["files"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, _threads_of(uid) + request["processes"]),
    ]
    warden = os.getpid()

    def confine() -> None:
        for limit, value in limits:
            _, most = resource.getrlimit(limit)
            kept = value if most == resource.RLIM_INFINITY else min(value, most)
            resource.setrlimit(limit, (kept, kept))
        if user:
            os.setgroups([])
            os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
            os.setresuid(uid, uid, uid)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        # After the change of user, which takes it back.
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != warden:
            os._exit(1)

    given = os.memfd_create("input")
    os.write(given, request["stdin"].encode())
    os.lseek(given, 0, os.SEEK_SET)
    # The fork is safe: there is one thread here.
    return subprocess.Popen(
        request["argv"],
        stdin=given,
        env=request["env"],
        cwd=directory,
        start_new_session=True,
        preexec_fn=confine,
    )


def _wait(pid: int) -> bool:
    """True when the program has ended by itself; False when the worker does not want it any more."""
    ended = os.pidfd_open(pid)
    readable, _, _ = select.select([0, ended], [], [])
    return ended in readable


def _end_all() -> None:
    """Kill whatever is left until there is nothing: children, and those who become that by the death of a child.

    Nobody else waits for them, so none of these numbers can have become another process by the time it is used.
    """
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        for pid in _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_PAUSE_SECONDS)


def _remove(directory: str) -> None:
    """A program may have closed directories even to their owner. Root needs no leave, and must follow no link."""
    if os.geteuid() != 0:
        os.chmod(directory, stat.S_IRWXU)
        for place, names, _ in os.walk(directory):
            for inner in (os.path.join(place, name) for name in names):
                if not os.path.islink(inner):
                    os.chmod(inner, stat.S_IRWXU)
    shutil.rmtree(directory, ignore_errors=True)


def _children() -> "list[int]":
    me = os.getpid()
    return [pid for pid in _pids() if _parent_of(pid) == me]


def _parent_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name, which may hold anything, ends with the last parenthesis.
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        # It has ended meanwhile.
        return 0


def _threads_of(uid: int) -> int:
    count = 0
    for pid in _pids():
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{pid}").st_uid == uid:
                count += len(os.listdir(f"/proc/{pid}/task"))
    return count


def _pids() -> "list[int]":
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _tell(status: "dict[str, Any]") -> None:
    os.write(int(sys.argv[1]), json.dumps(status).encode())


if __name__ == "__main__":
    main()
