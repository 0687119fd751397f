"""What a RabbitMQ must be like. What it refuses by itself, ``broker/amqp_faults`` puts into findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from taskmesh.model.checkup.findings import Finding, Severity, well
from taskmesh.model.checkup.versions import RABBITMQ_HOLES, holes_in, parse_version

OLDEST_RABBITMQ = (3, 10)

OLDEST_MAINTAINED = (4, 2)
"""The oldest series that may still get fixes for everybody; only the newest one ever does."""

SILENT_SECONDS = 60.0
"""A probe goes through every shard about once a second."""


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """A shard queue as the management API tells of it."""

    name: str
    state: str
    has_leader: bool


@dataclass(frozen=True, slots=True)
class ManagementFacts:
    """What only the management API tells. ``alarms`` name node and resource."""

    alarms: tuple[str, ...]
    partitioned: tuple[str, ...]
    queues: tuple[QueueFacts, ...]


@dataclass(frozen=True, slots=True)
class RabbitFacts:
    """What was seen as a client. ``alarm`` is why publishing is blocked, None where nothing could be published.

    ``management`` is None where it was not asked; ``management_fault`` says why it did not answer.
    """

    server: str
    product: str
    version: str
    refusals: tuple[Finding, ...] = ()
    alarm: str | None = None
    queues_missing: int = 0
    queues_present: int = 0
    management: ManagementFacts | None = None
    management_fault: str = ""


def judge_rabbitmq(facts: RabbitFacts) -> Iterator[Finding]:
    """Everything there is to say of a server that takes the login."""
    yield judge_version(facts.server, facts.product, facts.version)
    yield from _maintenance(facts)
    yield from facts.refusals
    yield from _done(facts)
    yield _alarm(facts)
    yield from _management(facts)


def judge_version(server: str, product: str, version: str) -> Finding:
    """Servers that are not RabbitMQ are not judged."""
    known = parse_version(version)
    if product != "RabbitMQ" or known is None:
        return Finding(
            "rabbitmq.version",
            Severity.UNCHECKED,
            f"{server} is {product or 'no RabbitMQ'} {version}".strip(),
            "use RabbitMQ",
        )
    if known[:2] >= OLDEST_RABBITMQ:
        return well("rabbitmq.version", f"{server} is RabbitMQ {version}")
    oldest = ".".join(str(part) for part in OLDEST_RABBITMQ)
    return Finding(
        "rabbitmq.version",
        Severity.REFUSED,
        f"RabbitMQ at {server} is version {version}",
        f"taskmesh needs {oldest} or newer",
    )


def _maintenance(facts: RabbitFacts) -> Iterator[Finding]:
    version = parse_version(facts.version)
    if facts.product != "RabbitMQ" or version is None:
        return
    if version[:2] < OLDEST_MAINTAINED:
        yield Finding(
            "rabbitmq.maintenance",
            Severity.WARNING,
            f"RabbitMQ {facts.version} is of a series that gets no fixes any more",
            "upgrade to the newest series, or see how long your distribution or vendor cares for this one",
        )
    for hole in holes_in(version, RABBITMQ_HOLES):
        yield Finding(
            "rabbitmq.holes",
            Severity.WARNING,
            f"RabbitMQ {facts.version} has a known hole, {hole.name}: {hole.what}",
            "upgrade it, or let nobody whom you do not trust configure queues",
        )


def _done(facts: RabbitFacts) -> Iterator[Finding]:
    if not any(each.id in ("rabbitmq.plugin", "rabbitmq.permissions") for each in facts.refusals):
        yield well("rabbitmq.permissions", "the plugin is enabled, and the user may declare, publish and consume")
    if not any(each.id == "rabbitmq.queues" for each in facts.refusals):
        missing = f"; {facts.queues_missing} are made by the first worker" if facts.queues_missing else ""
        yield well("rabbitmq.queues", f"{facts.queues_present} queues are as the settings say{missing}")


def _alarm(facts: RabbitFacts) -> Finding:
    if facts.alarm is None:
        return Finding("rabbitmq.alarm", Severity.UNCHECKED, "alarms: nothing could be published", "rabbitmqctl status")
    if not facts.alarm:
        return well("rabbitmq.alarm", "what is published is confirmed")
    return Finding(
        "rabbitmq.alarm",
        Severity.BROKEN,
        f"{facts.server} takes no messages: {facts.alarm}",
        "rabbitmq-diagnostics alarms shows on which node; free memory or disk there",
    )


def _management(facts: RabbitFacts) -> Iterator[Finding]:
    found = facts.management
    if found is None:
        yield Finding(
            "rabbitmq.leaders",
            Severity.UNCHECKED,
            "whether every queue has a leader, and which nodes have alarms"
            + (f": {facts.management_fault}" if facts.management_fault else ""),
            "set broker.management_url to the management API, as http://user:password@host:15672",
        )
        return
    for alarm in found.alarms:
        yield Finding("rabbitmq.alarm", Severity.BROKEN, f"an alarm is on: {alarm}", "free memory or disk on that node")
    for node in found.partitioned:
        yield Finding(
            "rabbitmq.partition",
            Severity.BROKEN,
            f"node {node} sees a network partition",
            "rabbitmqctl cluster_status shows it; restart the nodes of the side that you trust less",
        )
    yield _leaders(found)


def _leaders(found: ManagementFacts) -> Finding:
    without = [queue.name for queue in found.queues if not queue.has_leader]
    if not without:
        return well("rabbitmq.leaders", f"{len(found.queues)} queues have a leader")
    return Finding(
        "rabbitmq.leaders",
        Severity.BROKEN,
        f"queues without a leader, which take and give no message: {', '.join(without)}",
        "start the nodes that hold them (rabbitmq-queues quorum_status NAME); delete a queue whose nodes are lost: "
        "taskmesh makes it again and publishes again what was in it",
    )


def judge_delivery(pool: str, ages: dict[str, float]) -> Finding:
    """Whether probes come through; ``ages`` says for each shard how long ago the newest that did was sent."""
    if not ages:
        return Finding(
            "broker.delivery",
            Severity.UNCHECKED,
            f"whether messages of pool {pool!r} are delivered: no worker has served it yet",
            f"taskmesh worker -A APP --pool {pool}",
        )
    queue, age = max(ages.items(), key=lambda item: item[1])
    if age <= SILENT_SECONDS:
        return well(
            "broker.delivery", f"messages of pool {pool!r} are delivered: the last probe left {max(age, 0):.0f} s ago"
        )
    return Finding(
        "broker.delivery",
        Severity.WARNING,
        f"no message has come through {queue} for {age:.0f} s: no worker serves pool {pool!r}, or its backlog is long",
        f"taskmesh worker -A APP --pool {pool}",
    )
