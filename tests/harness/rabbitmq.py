"""RabbitMQ without root: its own node name, ports, cookie and directories."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.harness.ports import free_port
from tests.harness.processes import Process
from tests.harness.server import Server

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
METHOD_FRAME = b"\x01"
COOKIE = "taskmesh-tests"
HOMEBREW = ("/opt/homebrew", "/usr/local")
CONSISTENT_HASH = "rabbitmq_consistent_hash_exchange"
MANAGEMENT = "rabbitmq_management"


def find_scripts() -> Path | None:
    """The directory of RabbitMQ's own scripts; Debian's wrapper on the PATH is none of them, and wants root."""
    places = [Path("/usr/lib/rabbitmq/bin"), *(Path(brew) / "opt/rabbitmq/sbin" for brew in HOMEBREW)]
    found = shutil.which("rabbitmq-server")
    if found is not None:
        places.append(Path(found).resolve().parent)
    return next((place for place in places if _has_scripts(place)), None)


def _has_scripts(place: Path) -> bool:
    return (place / "rabbitmq-server").exists() and (place / "rabbitmq-env").exists()


class RabbitServer(Server):
    """One RabbitMQ node.

    ``plugins`` off starts it without the consistent-hash exchange; ``management`` on, with the management API.
    ``overrides`` are lines of rabbitmq.conf. Nodes that shall form a cluster share the ``epmd_port`` of the first.
    ``erlang`` are flags of the virtual machine.
    """

    start_seconds = 90.0

    def __init__(
        self,
        *,
        plugins: bool = True,
        management: bool = False,
        overrides: Mapping[str, str] | None = None,
        epmd_port: int | None = None,
        erlang: str = "+S 2:2",
    ) -> None:
        super().__init__()
        scripts = find_scripts()
        if scripts is None:
            raise RuntimeError("rabbitmq-server is not installed; ./scripts/test says how to get it")
        self._scripts = scripts
        self._plugins = [name for name, on in ((CONSISTENT_HASH, plugins), (MANAGEMENT, management)) if on]
        self._management_port = free_port() if management else 0
        self._overrides = dict(overrides or {})
        self._erlang = erlang
        self._epmd: Process | None = None
        self.epmd_port = free_port() if epmd_port is None else epmd_port
        self._owns_epmd = epmd_port is None
        self._distribution_port = free_port()
        self.node = f"taskmesh{self.port}@localhost"

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"

    @property
    def management_url(self) -> str:
        return f"http://guest:guest@127.0.0.1:{self._management_port}"

    def start(self) -> RabbitServer:
        self._start_epmd()
        super().start()
        return self

    def close(self) -> None:
        super().close()
        if self._epmd is not None:
            self._epmd.kill9()

    def wipe(self) -> None:
        """Kill it, delete every queue and message, and start it again."""
        self.kill9()
        shutil.rmtree(self.directory / "mnesia", ignore_errors=True)
        self.start()

    def settle(self) -> None:
        """Wait until every declared quorum queue would survive ``kill9``.

        RabbitMQ registers new ones on disk up to a second later; one that is not there comes back without a
        leader, for ever.
        """
        directory = self.directory / "mnesia" / self.node / "quorum" / self.node
        self.process.wait_for(lambda: _all_registered(directory), "registration of its quorum queues")

    def ctl(self, *arguments: str, tool: str = "rabbitmqctl", timeout_seconds: float = 60.0) -> str:
        """Run ``rabbitmqctl`` (or another ``tool``) against this node and give what it printed. Takes a second."""
        done = subprocess.run(
            [self._scripts / tool, "-q", "-n", self.node, *arguments],
            env={**os.environ, **self._env},
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
        assert done.returncode == 0, f"{tool} {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}"
        return done.stdout

    def _start_epmd(self) -> None:
        """Start Erlang's port mapper as a child of ours: the one that RabbitMQ would start stays behind for ever."""
        if not self._owns_epmd or (self._epmd is not None and self._epmd.running):
            return
        epmd = Process(["epmd", "-port", str(self.epmd_port), "-address", "127.0.0.1"], log=self.directory / "epmd.log")
        self._epmd = epmd
        epmd.wait_for(lambda: _accepts(self.epmd_port), "open port")

    def _command(self) -> Sequence[str]:
        lines = {
            "listeners.tcp.local": f"127.0.0.1:{self.port}",
            "vm_memory_high_watermark.absolute": "1GB",
            "disk_free_limit.absolute": "50MB",
            "log.console": "true",
            "log.file": "false",
            **self._management_lines,
            **self._overrides,
        }
        config = "".join(f"{key} = {value}\n" for key, value in lines.items())
        (self.directory / "rabbitmq.conf").write_text(config)
        (self.directory / "enabled_plugins").write_text(f"[{','.join(self._plugins)}].")
        self._write_cookie()
        return [str(self._scripts / "rabbitmq-server")]

    @property
    def _management_lines(self) -> Mapping[str, str]:
        if not self._management_port:
            return {}
        return {"management.tcp.ip": "127.0.0.1", "management.tcp.port": str(self._management_port)}

    def _write_cookie(self) -> None:
        cookie = self.directory / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(COOKIE)
            cookie.chmod(0o400)

    @property
    def _env(self) -> Mapping[str, str]:
        home = self.directory
        return {
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(home / "rabbitmq-env.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "advanced.config"),
            "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(home / "pid"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(home / "feature_flags"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(home / "config"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{self._erlang} +sbwt none +sbwtdcpu none +sbwtdio none -noinput",
            # Makes the script become the server (exec), so that our child is the server itself.
            "RABBITMQ_ALLOW_INPUT": "1",
        }

    def _answers(self, connection: socket.socket) -> bool:
        connection.settimeout(5)
        connection.sendall(PROTOCOL_HEADER)
        return connection.recv(1) == METHOD_FRAME


def _all_registered(directory: Path) -> bool:
    known = (directory / "names.dets").read_bytes()
    return all(queue.name.encode() in known for queue in directory.iterdir() if queue.is_dir())


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False
