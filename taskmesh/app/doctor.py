"""``taskmesh doctor``: looks at everything that the promises rest on."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from taskmesh.app.assembly import Foundation, broker_settings, lay_foundation
from taskmesh.broker.inspection import inspect_broker
from taskmesh.broker.protocol import shard_queue_name
from taskmesh.config.settings import Settings
from taskmesh.errors import StoreUnavailableError, UsageError
from taskmesh.flows.folder import find_flow_files, load_flow_files
from taskmesh.model.checkup.findings import Finding, Severity, well
from taskmesh.model.checkup.machine_rules import MachineFacts, judge_machine, judge_settings
from taskmesh.model.checkup.rabbitmq_rules import judge_delivery
from taskmesh.model.checkup.redis_rules import judge_clock, judge_redis, judge_round_trip
from taskmesh.model.checkup.settings_rules import judge_reports
from taskmesh.plugins.catalog import NodeTypes
from taskmesh.plugins.loading import PluginState
from taskmesh.store.inspection import inspect_servers
from taskmesh.store.pushed_settings import pushed_settings_of
from taskmesh.tasks.registry import Registry

ROUND_TRIPS = 5
SHOWN_PROBLEMS = 20


def examine(settings: Settings) -> list[Finding]:
    """Look at settings, machine, store and broker. What cannot be looked at is a finding, too.

    :raises ConfigError: a URL cannot be right.
    """
    found = [*judge_settings(settings), *judge_machine(_machine(settings), settings), *_examine_files(settings)]
    try:
        with closing(lay_foundation(settings)) as foundation:
            return [*found, *_examine_servers(foundation)]
    except StoreUnavailableError as error:
        found += _without_store(error)
    if settings.is_embedded:
        return found
    return [*found, *inspect_broker(broker_settings(settings), settings.worker.pools, settings.broker.management_url)]


def _examine_files(settings: Settings) -> Iterator[Finding]:
    yield from _examine_flow_files(settings)
    yield from _examine_node_types(settings)


def _examine_node_types(settings: Settings) -> Iterator[Finding]:
    """Those that a worker with these settings cannot use; nodes of theirs go to other workers, or fail in the end."""
    plugins = NodeTypes(lambda: settings).plugins
    refused = [plugin for plugin in plugins if plugin.state is PluginState.REFUSED]
    for each in refused:
        what = f"node type {each.name!r} ({each.origin}) is refused: {each.reason}"
        yield Finding("plugins.types", Severity.WARNING, what, "mend it, or name it in plugins.off")
    if not refused:
        names = ", ".join(each.name for each in plugins if each.state is PluginState.ON) or "none"
        yield well("plugins.types", f"node types that are on here: {names}")


def _examine_flow_files(settings: Settings) -> Iterator[Finding]:
    """Whether the flow files that workers register can be read; what their tasks take, only the workers know."""
    if not settings.flows.paths:
        return
    try:
        types = Registry(NodeTypes(lambda: settings))
        flows = load_flow_files(find_flow_files(settings.flows.paths), types)
    except UsageError as error:
        mend = "mend them; until then workers register nothing of flows.paths"
        for problem in str(error).splitlines()[:SHOWN_PROBLEMS]:
            yield Finding("flows.files", Severity.WARNING, problem, mend)
    else:
        yield well("flows.files", f"{len(flows)} flow files can be read")


def _examine_servers(foundation: Foundation) -> Iterator[Finding]:
    settings = foundation.settings
    # Two questions may be answered alike by all servers of a cluster.
    yield from dict.fromkeys(_examine_store(foundation))
    pools = {*settings.worker.pools, *_pools(foundation)}
    yield from inspect_broker(foundation.broker, sorted(pools), settings.broker.management_url)
    yield from _examine_delivery(foundation)
    yield from _examine_reports(foundation)


def _examine_store(foundation: Foundation) -> Iterator[Finding]:
    settings = foundation.settings
    try:
        for facts in inspect_servers(foundation.link, foundation.keys, foundation.embedded is not None):
            yield from judge_redis(facts, settings.store.durability, settings.namespace)
        yield from _examine_clock(foundation)
    except StoreUnavailableError as error:
        yield from _without_store(error)


def _examine_clock(foundation: Foundation) -> Iterator[Finding]:
    """The quickest of some answers says the most about the clock, and is what the way there really takes."""
    trips = []
    for _ in range(ROUND_TRIPS):
        begun = foundation.clock.monotonic()
        theirs, ours = foundation.housekeeping.time(), foundation.clock.now()
        seconds = foundation.clock.monotonic() - begun
        trips.append((seconds, theirs - (ours - seconds / 2)))
    seconds, ahead_seconds = min(trips)
    yield judge_round_trip(seconds)
    yield judge_clock(ahead_seconds)


def _examine_delivery(foundation: Foundation) -> Iterator[Finding]:
    """How old the newest probe of each shard is; nothing where the store has told already that it does not answer."""
    settings, housekeeping = foundation.settings, foundation.housekeeping
    try:
        now = housekeeping.time()
        for pool in sorted({*settings.worker.pools, *housekeeping.pools()}):
            queues = [shard_queue_name(settings.namespace, pool, shard) for shard in range(settings.broker.shards)]
            sent = housekeeping.probes(pool)
            ages = {queue: now - sent.get(queue, 0.0) for queue in queues} if sent else {}
            yield judge_delivery(pool, ages)
    except StoreUnavailableError:
        return


def _examine_reports(foundation: Foundation) -> Iterator[Finding]:
    try:
        newest = pushed_settings_of(foundation.store).current().number
        yield from judge_reports(foundation.housekeeping.settings_reports(), newest)
    except StoreUnavailableError:
        return


def _pools(foundation: Foundation) -> list[str]:
    try:
        return foundation.housekeeping.pools()
    except StoreUnavailableError:
        return []


def _machine(settings: Settings) -> MachineFacts:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = shutil.disk_usage(_existing(Path(settings.embedded.directory))).free if settings.is_embedded else None
    return MachineFacts(-1 if soft == resource.RLIM_INFINITY else soft, free)


def _existing(directory: Path) -> Path:
    """The directory, or the nearest one above it that is there."""
    path = directory.resolve()
    return next(each for each in (path, *path.parents) if each.exists())


def _without_store(error: StoreUnavailableError) -> list[Finding]:
    return [
        Finding.of_sentence("redis.reachable", Severity.BROKEN, str(error)),
        Finding(
            "redis.durability",
            Severity.UNCHECKED,
            "what the store keeps, whether it evicts, what its user may do, and its clock",
            "taskmesh doctor, once it answers",
        ),
    ]
