"""A filter of system calls that the Linux kernel keeps for the rest of a process's life: only the listed ones work.

Every other call ends with EPERM, so no file can be opened, no socket made, no process or thread started. This file is
used inside of a process that cannot import taskmesh, so it needs nothing but the standard library.
"""

import ctypes
import platform
import struct
import sys

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_MODE_FILTER = 2
_EFAULT = 14

# Instructions of classic BPF, and what they read of `struct seccomp_data`.
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _ARCH_AT = 0, 4
_ALLOW, _KILL, _EPERM = 0x7FFF0000, 0x80000000, 0x00050001

# For each machine its AUDIT_ARCH and, in the same order, the numbers of: read write close fstat lseek mmap mprotect
# munmap brk rt_sigaction rt_sigprocmask rt_sigreturn madvise mremap getpid exit futex clock_gettime clock_nanosleep
# nanosleep exit_group getrandom sched_yield sigaltstack restart_syscall gettimeofday clock_getres
_X86_64 = "0 1 3 5 8 9 10 11 12 13 14 15 28 25 39 60 202 228 230 35 231 318 24 131 219 96 229"
_AARCH64 = "63 64 57 80 62 222 226 215 214 134 135 139 233 216 172 93 98 113 115 101 94 278 124 132 128 169 114"
_MACHINES = {
    "x86_64": (0xC000003E, tuple(map(int, _X86_64.split()))),
    "aarch64": (0xC00000B7, tuple(map(int, _AARCH64.split()))),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def lacking() -> str:
    """Why such a filter cannot be had here; empty where it can. Changes nothing."""
    if not sys.platform.startswith("linux"):
        return "only Linux can filter system calls"
    if platform.machine() not in _MACHINES:
        return f"the system calls of {platform.machine()} are not listed"
    # A kernel that knows filters goes on to read this one from nowhere.
    if _libc().prctl(_PR_SET_SECCOMP, _MODE_FILTER, None, 0, 0) == 0 or ctypes.get_errno() != _EFAULT:
        return "this kernel has no seccomp filters"
    return ""


def confine() -> None:
    """Take every other system call away from this thread, and from what it starts.

    :raises OSError: the kernel refuses.
    """
    arch, numbers = _MACHINES[platform.machine()]
    program = _assembled(arch, numbers)
    described = _Program(len(program) // 8, program)
    libc = _libc()
    for arguments in (
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(described), 0, 0),
    ):
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "the kernel takes no filter of system calls")


def _assembled(arch: int, numbers: tuple[int, ...]) -> bytes:
    count = len(numbers)
    lines = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_IF_EQUAL, 1, 0, arch),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        *((_IF_EQUAL, count - place, 0, number) for place, number in enumerate(numbers)),
        (_RETURN, 0, 0, _EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
