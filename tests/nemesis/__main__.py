"""``./scripts/faults``: conducts experiments and shows what they measured."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.harness.rabbitmq import RabbitServer
from tests.harness.redis import RedisServer
from tests.nemesis.catalogue import Experiment
from tests.nemesis.experiments import experiments
from tests.nemesis.grounds import Grounds, Terms
from tests.nemesis.page import write_page
from tests.nemesis.verdict import Verdict, conduct

HIGHEST_TIER = 2
EXIT_OK, EXIT_BROKEN, EXIT_USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    chosen = [each for each in experiments(options.tier) if not options.only or each.id in options.only]
    unknown = set(options.only) - {each.id for each in chosen}
    if unknown:
        sys.stderr.write(f"faults: no such experiment in tiers up to {options.tier}: {', '.join(sorted(unknown))}\n")
        return EXIT_USAGE
    if options.list:
        _list(chosen)
        return EXIT_OK
    terms = Terms(options.seed, soak_minutes=options.soak_minutes)
    verdicts = _conduct_all(chosen, terms, quiet=options.output == "json")
    if options.output == "json":
        print(json.dumps([_plain(verdict) for verdict in verdicts], indent=2))
    if options.page:
        write_page(Path(options.page), verdicts)
    return EXIT_OK if all(verdict.passed for verdict in verdicts) else EXIT_BROKEN


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/faults", description="Lets real processes, networks and servers fail, and checks every promise."
    )
    parser.add_argument("--tier", type=int, default=HIGHEST_TIER, help="this tier and those below it")
    parser.add_argument("--only", action="append", default=[], metavar="ID", help="only this one; may be repeated")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="what all dice are thrown with")
    parser.add_argument("--soak-minutes", type=float, default=3.0, help="how long G6 goes on")
    parser.add_argument("--list", action="store_true", help="show the experiments and end")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    parser.add_argument("--page", metavar="FILE", help="write the figures into the table of this Markdown page")
    return parser.parse_args(arguments)


def _list(chosen: Sequence[Experiment]) -> None:
    for experiment in chosen:
        print(f"{experiment.id:4} tier {experiment.tier}  {experiment.name:28} {experiment.text}")


def _conduct_all(chosen: Sequence[Experiment], terms: Terms, quiet: bool) -> list[Verdict]:
    verdicts = []
    with ExitStack() as servers:
        grounds = Grounds(servers.enter_context(RabbitServer()), servers.enter_context(RedisServer()))
        for experiment in chosen:
            directory = Path(tempfile.mkdtemp(prefix=f"taskmesh-{experiment.id}-"))
            verdict = conduct(experiment, grounds, directory, terms)
            verdicts.append(verdict)
            print(verdict.line(), file=sys.stderr if quiet else sys.stdout, flush=True)
            if verdict.passed:
                shutil.rmtree(directory)
            else:
                sys.stderr.write(f"{verdict.story()}\nits logs, history and effects are in {directory}\n")
    return verdicts


def _plain(verdict: Verdict) -> dict[str, Any]:
    return {
        "id": verdict.experiment.id,
        "name": verdict.experiment.name,
        "tier": verdict.experiment.tier,
        "verdict": verdict.word,
        "seconds": round(verdict.seconds, 1),
        "seed": verdict.seed,
        "figures": asdict(verdict.figures) if verdict.figures else None,
        "broken": verdict.broken,
        "missing": verdict.missing,
    }


if __name__ == "__main__":
    sys.exit(main())
