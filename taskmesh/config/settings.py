"""Every setting: its type, unit, default and range. Frozen; made by ``load_settings``, passed down, never global."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

OptionalText: TypeAlias = "str | None"
"""Any text; none of it, or an empty one, means that nothing is named."""

DAY_SECONDS = 86_400
RENEWALS_PER_LEASE = 5

LEAVE_SECONDS = 5.0
"""What an I/O process may need beyond its drain time, to settle and to close its connections."""

BROKER_SCHEMES = ("amqp", "amqps", "redis", "rediss", "redis+socket")
PAYLOAD_SCHEMES = ("file", "s3")
STORE_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")


def ranged(default: float, minimum: float, maximum: float) -> Any:
    """A number with the range that it must be in."""
    return field(default=default, metadata={"minimum": minimum, "maximum": maximum})


def one_of(default: str, *choices: str) -> Any:
    """A word out of a few."""
    return field(default=default, metadata={"choices": choices})


def named(default: str | tuple[str, ...], *reserved: str) -> Any:
    """A name, or names, that become part of exchange, queue and key names; none of those that are ``reserved``."""
    return field(default=default, metadata={"name": True, "reserved": reserved})


def servers(*schemes: str) -> Any:
    """Servers with names, each as ``NAME=URL``."""
    return field(default=(), metadata={"named_schemes": schemes})


def hosts() -> Any:
    """Hosts, as api.example.com, *.example.com or host:8443."""
    return field(default=(), metadata={"hosts": True})


def programs() -> Any:
    """Full paths of programs, or *."""
    return field(default=(), metadata={"programs": True})


def networks() -> Any:
    """Networks, as 10.0.0.0/8."""
    return field(default=(), metadata={"networks": True})


def server(*schemes: str) -> Any:
    """The URL of a server; None means embedded."""
    return field(default=None, metadata={"schemes": schemes})


@dataclass(frozen=True, slots=True)
class BrokerSection:
    """RabbitMQ. ``url`` None means the embedded broker.

    ``queue_type`` quorum keeps messages on several nodes and carries more; classic hands each on about 0.4 ms sooner.
    ``quorum_group_size`` is on how many nodes each quorum queue lies; 0 means as RabbitMQ does it by itself.
    ``shard_weights`` has one weight (1 to 100) per shard, or is empty for equal ones. ``prefetch`` is for each shard;
    0 means: few when tasks are long, many when they are short. ``management_url`` is for ``taskmesh doctor`` alone.
    """

    url: str | None = server(*BROKER_SCHEMES)
    shards: int = ranged(8, 1, 128)
    shard_weights: tuple[int, ...] = field(default=(), metadata={"minimum": 1, "maximum": 100})
    queue_type: str = one_of("quorum", "quorum", "classic")
    quorum_group_size: int = ranged(0, 0, 15)
    heartbeat_seconds: int = ranged(30, 6, 60)
    connect_timeout_seconds: float = ranged(5.0, 0.1, 60)
    confirm_timeout_seconds: float = ranged(30.0, 1, 600)
    prefetch: int = ranged(0, 0, 65_535)
    management_url: str | None = server("http", "https")


@dataclass(frozen=True, slots=True)
class StoreSection:
    """Redis. ``url`` None means the embedded Valkey. ``partitions`` is fixed once a namespace holds runs.

    ``durability`` is what a loss of power may take: nothing with always, about a second with everysec, anything with
    none. A worker refuses a server that keeps less.
    """

    url: str | None = server(*STORE_SCHEMES)
    partitions: int = ranged(16, 1, 1024)
    connect_timeout_seconds: float = ranged(3.0, 0.1, 60)
    socket_timeout_seconds: float = ranged(3.0, 0.1, 60)
    retention_seconds: int = ranged(7 * DAY_SECONDS, 1, 10 * 365 * DAY_SECONDS)
    durability: str = one_of("everysec", "none", "everysec", "always")


@dataclass(frozen=True, slots=True)
class EmbeddedSection:
    """What is used where no servers are named. ``directory`` holds its data."""

    directory: str = ".taskmesh"


@dataclass(frozen=True, slots=True)
class WorkerSection:
    """A worker. ``processes`` 0 means one executor per CPU; ``health_port`` 0 means any free port.

    ``unknown_task_seconds`` is how long a node whose task a worker does not know is handed on to others.
    ``max_crashes`` is how many executors one node may take down, ``max_losses`` how many whole workers.
    ``executor_memory_mb`` bounds the memory of each executor, in MiB; 0 does not.
    ``early_ack_seconds`` is after how long the message of a running task is acked (at most twice that).
    ``cancel_grace_seconds`` is how long a task of a cancelled run may go on, once it was told, until it is killed.
    ``keeper`` says whether it also keeps house: timers, lost work, retention. Some worker or `taskmesh keeper` must.
    """

    processes: int = ranged(0, 0, 1024)
    io_processes: int = ranged(1, 1, 64)
    threads: int = ranged(1, 1, 1024)
    pools: tuple[str, ...] = named(("default",), "events")
    lease_seconds: float = ranged(15.0, 1, 3600)
    drain_seconds: float = ranged(30.0, 0, DAY_SECONDS)
    unknown_task_seconds: float = ranged(60.0, 0, DAY_SECONDS)
    max_crashes: int = ranged(3, 1, 1000)
    max_losses: int = ranged(10, 1, 1000)
    executor_memory_mb: int = ranged(0, 0, 16_777_216)
    keeper: bool = True
    early_ack_seconds: float = ranged(5.0, 0.1, 60)
    cancel_grace_seconds: float = ranged(10.0, 0, DAY_SECONDS)
    health_host: str = "127.0.0.1"
    health_port: int = ranged(9464, 0, 65_535)
    modules: tuple[str, ...] = ()

    @property
    def executors(self) -> int:
        """How many executor processes that makes on this machine."""
        return self.processes or available_cpus()

    @property
    def renewal_seconds(self) -> float:
        """How often a lease is renewed: so often that several renewals may fail before it is over."""
        return self.lease_seconds / RENEWALS_PER_LEASE

    @property
    def grace_seconds(self) -> float:
        """How long a worker may take to end after SIGTERM."""
        return self.drain_seconds + LEAVE_SECONDS


@dataclass(frozen=True, slots=True)
class FlowsSection:
    """Flow files that a worker registers, and registers again as they change.

    ``paths`` are files, and directories that hold some. ``activate`` makes what is new in them active at once.
    """

    paths: tuple[str, ...] = ()
    activate: bool = False


@dataclass(frozen=True, slots=True)
class PluginsSection:
    """Node types, and what the built-in ones may do; nothing by default.

    ``manifests`` are files that name classes, ``off`` are types that are not used. ``http_hosts`` may be asked, in
    ``http_networks`` even where they are private. A node of type shell may run ``shell_programs``, which are paths or
    ``*``, as ``shell_user`` where the worker is root. ``publish_urls`` are brokers beside the mesh's own. Nodes may ask
    for less time, memory and output than the limits say, never for more.
    """

    manifests: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    http_hosts: tuple[str, ...] = hosts()
    http_networks: tuple[str, ...] = networks()
    http_seconds: float = ranged(30.0, 0.1, 3600)
    http_max_bytes: int = ranged(1_048_576, 1, 32 * 1_048_576)
    http_ca_file: OptionalText = None
    shell_programs: tuple[str, ...] = programs()
    shell_user: OptionalText = None
    shell_seconds: float = ranged(60.0, 0.1, DAY_SECONDS)
    shell_memory_mb: int = ranged(512, 16, 1_048_576)
    shell_output_bytes: int = ranged(1_048_576, 1000, 32 * 1_048_576)
    shell_files: int = ranged(64, 16, 1_048_576)
    shell_processes: int = ranged(32, 1, 100_000)
    python: bool = False
    python_seconds: float = ranged(10.0, 0.1, 3600)
    python_memory_mb: int = ranged(256, 32, 1_048_576)
    python_output_bytes: int = ranged(1_048_576, 1, 32 * 1_048_576)
    publish_exchanges: tuple[str, ...] = ()
    publish_urls: tuple[str, ...] = servers("amqp", "amqps")


@dataclass(frozen=True, slots=True)
class PayloadSection:
    """Where large values are put aside, so that Redis holds only what stands for them; needs ``taskmesh[blob]``.

    Those of at least ``claim_check_bytes`` are meant, 0 = none, and of at most ``max_bytes``. Without a ``url``, and
    where no servers are named, they go to a directory beside the embedded data.
    """

    claim_check_bytes: int = ranged(0, 0, 32 * 1_048_576)
    url: str | None = server(*PAYLOAD_SCHEMES)
    max_bytes: int = ranged(256 * 1_048_576, 1_048_576, 1024 * 1_048_576)


@dataclass(frozen=True, slots=True)
class LimitsSection:
    """What is refused: a value (bytes), a flow (nodes) over its limit; and how many dead letters Redis keeps.

    ``max_dead_letter_bytes`` counts their bodies together. Further letters wait in the broker's dead-letter queues.
    """

    max_value_bytes: int = ranged(1_048_576, 1024, 32 * 1_048_576)
    max_nodes: int = ranged(200_000, 1, 10_000_000)
    max_dead_letters: int = ranged(10_000, 1, 1_000_000)
    max_dead_letter_bytes: int = ranged(64 * 1_048_576, 2 * 1_048_576, 16 * 1024 * 1_048_576)


@dataclass(frozen=True, slots=True)
class LogSection:
    """Logging: the lowest level that is written, and whether lines are text or JSON."""

    level: str = one_of("info", "debug", "info", "warning", "error")
    format: str = one_of("text", "text", "json")


@dataclass(frozen=True, slots=True)
class ClientSection:
    """Apps that submit. ``submit_timeout_seconds`` bounds how long a submit may block."""

    submit_timeout_seconds: float = ranged(5.0, 0.05, 600)


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings. ``namespace`` begins the name of every exchange, queue and key."""

    namespace: str = named("taskmesh")
    broker: BrokerSection = field(default_factory=BrokerSection)
    store: StoreSection = field(default_factory=StoreSection)
    embedded: EmbeddedSection = field(default_factory=EmbeddedSection)
    worker: WorkerSection = field(default_factory=WorkerSection)
    flows: FlowsSection = field(default_factory=FlowsSection)
    plugins: PluginsSection = field(default_factory=PluginsSection)
    payload: PayloadSection = field(default_factory=PayloadSection)
    limits: LimitsSection = field(default_factory=LimitsSection)
    log: LogSection = field(default_factory=LogSection)
    client: ClientSection = field(default_factory=ClientSection)

    @property
    def is_embedded(self) -> bool:
        """Whether no servers are named, so that taskmesh brings its own."""
        return self.broker.url is None and self.store.url is None

    def to_mapping(self) -> dict[str, Any]:
        """Plain data that ``load_settings(overrides, environ={}, ...)`` makes the same settings of."""
        return asdict(self)


def available_cpus() -> int:
    """The CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
