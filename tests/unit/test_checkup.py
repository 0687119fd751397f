"""The rules of the doctor, over facts that no server at hand has."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from taskmesh.config import load_settings
from taskmesh.model.checkup.findings import Finding, Severity, refusal
from taskmesh.model.checkup.machine_rules import MachineFacts, judge_machine, judge_settings
from taskmesh.model.checkup.rabbitmq_rules import (
    ManagementFacts,
    QueueFacts,
    RabbitFacts,
    judge_delivery,
    judge_rabbitmq,
    judge_version,
)
from taskmesh.model.checkup.redis_rules import RedisFacts, judge_clock, judge_redis, judge_round_trip
from taskmesh.model.checkup.versions import REDIS_HOLES, VALKEY_HOLES, holes_in, parse_version
from taskmesh.store.permissions import tried_commands

PACKAGE = Path(__file__).parents[2] / "taskmesh"

REDIS = RedisFacts(
    "Redis at port 6379",
    version="8.6.3",
    redis_version="8.6.3",
    aof_on=True,
    fsync="everysec",
    eviction="noeviction",
    used_bytes=10,
    limit_bytes=100,
)
RABBIT = RabbitFacts("amqp://rabbit:5672", "RabbitMQ", "4.3.0", alarm="", queues_present=9)


def severity_of(findings: list[Finding], id: str) -> Severity:
    [found] = {each.severity for each in findings if each.id == id}
    return found


def judged(facts: RedisFacts, durability: str = "everysec") -> list[Finding]:
    return list(judge_redis(facts, durability, "shop"))


def test_a_redis_as_it_should_be() -> None:
    assert {each.severity for each in judged(REDIS)} == {Severity.WELL}
    assert refusal(judged(REDIS)) == ""


@pytest.mark.parametrize(
    ("durability", "aof_on", "fsync", "severity"),
    [
        ("always", True, "always", Severity.WELL),
        ("always", True, "everysec", Severity.REFUSED),
        ("always", True, "no", Severity.REFUSED),
        ("always", True, None, Severity.UNCHECKED),
        ("always", False, "always", Severity.REFUSED),
        ("everysec", True, "always", Severity.WELL),
        ("everysec", True, "everysec", Severity.WELL),
        ("everysec", True, "no", Severity.REFUSED),
        ("everysec", False, "everysec", Severity.REFUSED),
        ("everysec", None, None, Severity.UNCHECKED),
        ("none", False, None, Severity.WARNING),
        ("none", True, "no", Severity.WELL),
    ],
)
def test_durability_against_what_is_promised(
    durability: str, aof_on: bool | None, fsync: str | None, severity: Severity
) -> None:
    findings = judged(replace(REDIS, aof_on=aof_on, fsync=fsync), durability)
    assert severity_of(findings, "redis.durability") is severity
    assert bool(refusal(findings)) is (severity is Severity.REFUSED)


@pytest.mark.parametrize(
    ("facts", "id", "severity", "words"),
    [
        (replace(REDIS, redis_version="6.2.1", version="6.2.1"), "redis.version", Severity.REFUSED, "too old"),
        (replace(REDIS, redis_version=""), "redis.version", Severity.UNCHECKED, "+info"),
        (replace(REDIS, version="8.2.1"), "redis.holes", Severity.WARNING, "CVE-2025-49844"),
        (replace(REDIS, version="7.0.15"), "redis.holes", Severity.WARNING, "CVE-2024-31449"),
        (replace(REDIS, version="7.0.15", is_private=True), "redis.holes", Severity.WELL, ""),
        (replace(REDIS, version=""), "redis.holes", Severity.UNCHECKED, ""),
        (replace(REDIS, eviction="allkeys-lru"), "redis.eviction", Severity.REFUSED, "maxmemory-policy noeviction"),
        (replace(REDIS, eviction=None), "redis.eviction", Severity.UNCHECKED, "CONFIG GET maxmemory-policy"),
        (replace(REDIS, used_bytes=85), "redis.memory", Severity.WARNING, "85% of maxmemory"),
        (replace(REDIS, used_bytes=100), "redis.memory", Severity.BROKEN, "stand still"),
        (replace(REDIS, limit_bytes=0, machine_bytes=11), "redis.memory", Severity.WARNING, "the machine's memory"),
        (replace(REDIS, limit_bytes=0), "redis.memory", Severity.UNCHECKED, ""),
        (replace(REDIS, role="slave"), "redis.role", Severity.BROKEN, "replica"),
        (replace(REDIS, aof_failing=True), "redis.disk", Severity.BROKEN, "df -h"),
        (
            replace(REDIS, user="ada", denied=("XADD", "SPUBLISH")),
            "redis.permissions",
            Severity.REFUSED,
            "ACL SETUSER ada '~shop:*' '&shop:*' +xadd +spublish",
        ),
    ],
)
def test_what_a_redis_can_have_wrong(facts: RedisFacts, id: str, severity: Severity, words: str) -> None:
    findings = judged(facts)
    assert severity_of(findings, id) is severity
    [found] = [each for each in findings if each.id == id]
    assert words in found.sentence
    assert (found.mend == "") is (severity is Severity.WELL)


def test_a_private_server_is_mended_by_starting_it_anew() -> None:
    found = refusal(judged(replace(REDIS, is_private=True), "always"))
    assert "end every taskmesh process of this directory" in found


@pytest.mark.parametrize(
    ("version", "holes"),
    [
        ("8.2.2", {"CVE-2026-23479"}),
        ("8.2.6", set()),
        ("8.8.0", set()),
        ("7.4.8", {"CVE-2026-23479"}),
        ("7.2.10", {"CVE-2025-49844", "CVE-2026-23479"}),
        ("7.0.15", {hole.name for hole in REDIS_HOLES} - {"CVE-2026-23479"}),
    ],
)
def test_holes_of_redis(version: str, holes: set[str]) -> None:
    parsed = parse_version(version)
    assert parsed is not None
    assert {hole.name for hole in holes_in(parsed, REDIS_HOLES)} == holes


def test_holes_of_valkey() -> None:
    assert {hole.name for hole in holes_in((9, 0, 4), VALKEY_HOLES)} == {"CVE-2026-56684"}
    assert holes_in((9, 1, 2), VALKEY_HOLES) == []


def test_versions_are_read_however_they_are_written() -> None:
    assert parse_version("3.10.8-1.1+deb12u1") == (3, 10, 8)
    assert parse_version("4.0") == (4, 0, 0)
    assert parse_version("unknown") is None


def test_clock_and_latency() -> None:
    assert [judge_clock(seconds).severity for seconds in (0.9, -0.9, 1.5, -1.5)] == [Severity.WELL] * 2 + [
        Severity.WARNING
    ] * 2
    assert judge_round_trip(0.001).severity is Severity.WELL
    assert judge_round_trip(0.05).severity is Severity.WARNING


def test_a_rabbitmq_as_it_should_be_leaves_only_what_it_does_not_tell() -> None:
    findings = list(judge_rabbitmq(RABBIT))
    assert {each.severity for each in findings} == {Severity.WELL, Severity.UNCHECKED}
    assert {each.id for each in findings if each.severity is Severity.UNCHECKED} == {
        "rabbitmq.leaders",
    }


@pytest.mark.parametrize(
    ("version", "severity"), [("3.9.29", Severity.REFUSED), ("3.10.0", Severity.WELL), ("4.3.1", Severity.WELL)]
)
def test_versions_of_rabbitmq(version: str, severity: Severity) -> None:
    assert judge_version("here", "RabbitMQ", version).severity is severity
    assert judge_version("here", "LavinMQ", "2.1").severity is Severity.UNCHECKED


def test_old_series_and_holes_of_rabbitmq_are_warnings() -> None:
    findings = list(judge_rabbitmq(replace(RABBIT, version="4.1.3")))
    assert severity_of(findings, "rabbitmq.maintenance") is Severity.WARNING
    assert severity_of(findings, "rabbitmq.holes") is Severity.WARNING


def test_a_refusal_is_not_called_well_as_well() -> None:
    refused = Finding("rabbitmq.queues", Severity.REFUSED, "other settings", "delete it")
    findings = list(judge_rabbitmq(replace(RABBIT, refusals=(refused,))))
    assert severity_of(findings, "rabbitmq.queues") is Severity.REFUSED
    assert severity_of(findings, "rabbitmq.permissions") is Severity.WELL


def test_alarms_partitions_and_queues_without_a_leader() -> None:
    queues = (QueueFacts("shop.default.0", "running", True), QueueFacts("shop.default.1", "down", False))
    management = ManagementFacts(("memory of rabbit@a",), ("rabbit@b",), queues)
    findings = list(judge_rabbitmq(replace(RABBIT, alarm="an alarm is on", management=management)))
    for id in ("rabbitmq.alarm", "rabbitmq.partition", "rabbitmq.leaders"):
        assert severity_of(findings, id) is Severity.BROKEN
    assert "shop.default.1" in str([each.what for each in findings if each.id == "rabbitmq.leaders"])
    unknown = list(judge_rabbitmq(replace(RABBIT, alarm=None, management_fault="answers 401")))
    assert severity_of(unknown, "rabbitmq.alarm") is Severity.UNCHECKED
    assert "answers 401" in str(unknown)


def test_delivery_is_as_old_as_the_slowest_shard() -> None:
    assert judge_delivery("io", {}).severity is Severity.UNCHECKED
    assert judge_delivery("io", {"q0": 1.0, "q1": 59.0}).severity is Severity.WELL
    late = judge_delivery("io", {"q0": 1.0, "q1": 61.0})
    assert (late.severity, "q1" in late.what) == (Severity.WARNING, True)


@pytest.mark.parametrize(("files", "severity"), [(-1, Severity.WELL), (100, Severity.BROKEN), (1024, Severity.WELL)])
def test_open_files(files: int, severity: Severity, tmp_path: Path) -> None:
    settings = load_settings({"worker.processes": 4}, {}, tmp_path)
    assert severity_of(list(judge_machine(MachineFacts(files), settings)), "machine.files") is severity


@pytest.mark.parametrize(("mib", "severity"), [(10, Severity.BROKEN), (100, Severity.WARNING), (5000, Severity.WELL)])
def test_disk(mib: int, severity: Severity, tmp_path: Path) -> None:
    findings = list(judge_machine(MachineFacts(-1, mib * 2**20), load_settings({}, {}, tmp_path)))
    assert severity_of(findings, "machine.disk") is severity


@pytest.mark.parametrize(
    ("overrides", "id"),
    [
        ({}, "settings.fit"),
        ({"worker.lease_seconds": 9}, "settings.lease"),
        ({"worker.processes": 1, "worker.io_processes": 2}, "settings.executors"),
        ({"worker.processes": 32, "broker.prefetch": 2}, "settings.prefetch"),
    ],
)
def test_settings_that_do_not_fit_together(overrides: dict[str, object], id: str, tmp_path: Path) -> None:
    findings = list(judge_settings(load_settings(overrides, {}, tmp_path)))
    assert [each.id for each in findings] == [id, "settings.grace"]


def test_every_command_that_is_sent_is_tried() -> None:
    scripts = "".join(path.read_text() for path in (PACKAGE / "store" / "lua").glob("*.lua"))
    modules = "".join(path.read_text() for path in (PACKAGE / "store").glob("*.py") if path.stem != "inspection")
    sent = {*re.findall(r"redis\.p?call\('([A-Z]+)'", scripts), *re.findall(r'Command\([^,()]+, "([A-Z]+)"', modules)}
    assert sent
    assert sent <= tried_commands(), "add what is missing to taskmesh/store/permissions.py"
