"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from scripts.benchmark.children import PROJECT
from scripts.benchmark.features import measure_features
from scripts.benchmark.features import show as show_features
from scripts.benchmark.features import to_json as features_json
from scripts.benchmark.killed_keepers import KILL_AT, measure_killed_keepers
from scripts.benchmark.killed_keepers import show as show_killed_keepers
from scripts.benchmark.maps import ITEMS, measure_maps
from scripts.benchmark.maps import show as show_maps
from scripts.benchmark.maps import to_json as maps_json
from scripts.benchmark.page import write_page
from scripts.benchmark.peers import PEERS
from scripts.benchmark.profiles import write_text
from scripts.benchmark.report import Report
from scripts.benchmark.runner import NAMES, Plan, Runner
from scripts.benchmark.schedules import measure_schedules
from scripts.benchmark.schedules import show as show_schedules
from scripts.benchmark.servers import servers
from scripts.benchmark.tables import tables_of
from scripts.benchmark.timers import measure_timers
from scripts.benchmark.timers import show as show_timers
from tests.harness.redis import RedisServer

MONTAGE = PROJECT.parent / "shared" / "data" / "montage-2mass-01d.json"
REPEAT = 3
FEATURE_ROUNDS = 5
SCHEDULES_DUE = 1_000
TIMERS_WAITING, TIMERS_DUE, TIMERS_SECONDS = 100_000, 5_000, 10.0


def parser() -> argparse.ArgumentParser:
    """All options."""
    options = argparse.ArgumentParser(
        prog="./scripts/bench",
        description="Measures taskmesh, the limit of the broker below it and, when asked, its peers, on servers of "
        "its own. A full run (without --only and --quick) writes docs/benchmarks.md.",
    )
    options.add_argument(
        "--only", action="append", choices=NAMES, default=[], metavar="NAME", help=f"one of {', '.join(NAMES)}"
    )
    options.add_argument("--repeat", type=int, metavar="N", help=f"rounds (default {REPEAT}, with --quick 1)")
    options.add_argument("--quick", action="store_true", help="a tenth of the size, one round")
    options.add_argument("--io", type=counts, default=(1, 2), metavar="1,2", help="numbers of I/O processes to try")
    options.add_argument(
        "--peers",
        nargs="?",
        const="all",
        type=peers,
        default=(),
        metavar="NAMES",
        help="measure other task queues too: all, or some of " + ",".join(peer.name for peer in PEERS),
    )
    options.add_argument("--no-own", dest="own", action="store_false", help="do not measure taskmesh itself")
    options.add_argument("--montage", type=Path, metavar="FILE", help="a recorded Montage workflow (WfCommons format)")
    options.add_argument("--scale", action="store_true", help="time for each node from 100 to 100,000")
    options.add_argument("--timers", action="store_true", help="only this: how late timers ring while 100,000 wait")
    options.add_argument("--schedules", action="store_true", help="only this: 1,000 schedules due in the same second")
    options.add_argument(
        "--killed",
        type=int,
        nargs="?",
        const=len(KILL_AT),
        choices=range(len(KILL_AT) + 1),
        metavar="N",
        help=f"only this: 1,000 schedules due in the same second, and N (default {len(KILL_AT)}) of three keepers "
        "killed meanwhile",
    )
    options.add_argument(
        "--features", action="store_true", help="only this: flows with and without retries, limits and a keeper"
    )
    options.add_argument(
        "--maps", action="store_true", help="only this: a map of 100,000 items and a fan-in of as many, in turn"
    )
    options.add_argument("--soak", action="store_true", help="memory after 200,000 tasks too")
    options.add_argument("--profile", type=Path, metavar="DIRECTORY", help="write cProfile data of the I/O process")
    options.add_argument("-o", "--output", choices=("table", "json"), default="table")
    return options


def counts(text: str) -> tuple[int, ...]:
    """The value of --io."""
    return tuple(int(part) for part in text.split(","))


def peers(text: str) -> tuple[str, ...]:
    """The value of --peers."""
    known = [peer.name for peer in PEERS]
    names = known if text == "all" else text.split(",")
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
    return tuple(names)


def plan_of(options: argparse.Namespace) -> Plan:
    """What the options ask for."""
    montage = options.montage or (MONTAGE if MONTAGE.exists() else None)
    return Plan(
        only=tuple(options.only),
        repeat=options.repeat or (1 if options.quick else REPEAT),
        quick=options.quick,
        io_counts=options.io,
        own=options.own,
        peers=options.peers,
        scale=options.scale,
        soak=options.soak,
        montage=montage and montage.resolve(),
        profile=options.profile and options.profile.resolve(),
        command=" ".join(["./scripts/bench", *sys.argv[1:]]),
    )


def measure(plan: Plan) -> Report:
    """Start the servers, run the plan, end the servers."""
    with tempfile.TemporaryDirectory(prefix="taskmesh-bench-") as logs, servers() as running:
        return Runner(plan, running, Path(logs)).run()


def ring_timers(quick: bool, output: str) -> int:
    """Measure timers alone; they need no broker."""
    waiting = TIMERS_WAITING // 10 if quick else TIMERS_WAITING
    with RedisServer() as redis:
        found = measure_timers(redis.url, "bench", waiting, TIMERS_DUE, TIMERS_SECONDS)
    if output == "json":
        print(json.dumps(asdict(found), indent=2))
    else:
        show_timers(found)
    return 0 if found.rung == found.due else 2


def begin_schedules(quick: bool, output: str) -> int:
    """Measure schedules alone; they need no broker."""
    count = SCHEDULES_DUE // 10 if quick else SCHEDULES_DUE
    with RedisServer() as redis:
        found = measure_schedules(redis.url, "bench", count)
    if output == "json":
        print(json.dumps(asdict(found), indent=2))
    else:
        show_schedules(found)
    return 0 if found.began == found.due else 2


def kill_keepers(quick: bool, rounds: int, kills: int, output: str) -> int:
    """Measure schedules on real keepers, of which some are killed."""
    count = SCHEDULES_DUE // 10 if quick else SCHEDULES_DUE
    with tempfile.TemporaryDirectory(prefix="taskmesh-bench-") as logs, servers() as running:
        found = measure_killed_keepers(running, Path(logs), count, rounds, kills)
    if output == "json":
        print(json.dumps([asdict(each) for each in found], indent=2))
    else:
        show_killed_keepers(found)
    return 0 if all(each.one_run == each.arrived == each.due for each in found) else 2


def compare_features(quick: bool, rounds: int, output: str) -> int:
    """What the promises cost: flows with everything on against flows with as little as possible."""
    with tempfile.TemporaryDirectory(prefix="taskmesh-bench-") as logs, servers() as running:
        found = measure_features(running, Path(logs), rounds, quick)
    if output == "json":
        print(json.dumps(features_json(found), indent=2))
    else:
        show_features(found)
    return 0


def compare_maps(quick: bool, rounds: int, output: str) -> int:
    """A map of many items against a fan-in of as many nodes."""
    with tempfile.TemporaryDirectory(prefix="taskmesh-bench-") as logs, servers() as running:
        found = measure_maps(running, Path(logs), rounds, ITEMS // 10 if quick else ITEMS)
    if output == "json":
        print(json.dumps(maps_json(found), indent=2))
    else:
        show_maps(found)
    return 0


ALONE: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "timers": lambda options: ring_timers(options.quick, options.output),
    "schedules": lambda options: begin_schedules(options.quick, options.output),
    "killed": lambda options: kill_keepers(options.quick, options.repeat or REPEAT, options.killed, options.output),
    "features": lambda options: compare_features(options.quick, options.repeat or FEATURE_ROUNDS, options.output),
    "maps": lambda options: compare_maps(options.quick, options.repeat or REPEAT, options.output),
}
"""What is measured alone, by its option."""


def show(report: Report, output: str) -> None:
    if output == "json":
        print(json.dumps(report.to_json(), indent=2))
        return
    console = Console()
    for table in tables_of(report):
        console.print(table.to_rich())


def main() -> int:
    options = parser().parse_args()
    for name, measure_alone in ALONE.items():
        wanted = getattr(options, name)
        if wanted is not None and wanted is not False:
            return measure_alone(options)
    plan = plan_of(options)
    if plan.profile is not None:
        plan.profile.mkdir(parents=True, exist_ok=True)
    try:
        report = measure(plan)
    except (RuntimeError, AssertionError) as error:
        print(f"the benchmark stopped: {error}", file=sys.stderr)
        return 2
    show(report, options.output)
    if plan.profile is not None:
        print(*write_text(plan.profile), sep="\n", file=sys.stderr)
    if plan.is_full:
        write_page(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
