"""``./scripts/mutants``: puts mistakes into a copy of the product, one at a time, and shows that experiments notice."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.harness.rabbitmq import RabbitServer
from tests.harness.redis import RedisServer
from tests.nemesis.experiments import experiments
from tests.nemesis.grounds import Grounds, Terms
from tests.nemesis.verdict import Verdict, conduct

SEED = 1
PATIENCE_SECONDS = 25.0
"""What has not ended by then in these small experiments never will."""

COPIED = ("taskmesh", "tests")
LUA = "taskmesh/store/lua"
KNOWN = {experiment.id: experiment for experiment in experiments(2)}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mistake: in ``file``, ``old`` becomes ``new``; the experiment ``killer`` must notice."""

    id: str
    mistake: str
    file: str
    old: str
    new: str
    killer: str


MUTANTS = (
    Mutant(
        "m1",
        "whoever settles is believed",
        f"{LUA}/settle_node.lua",
        "if not is_of(record, token, ARGV[15]) or ",
        "if ",
        "B1",
    ),
    Mutant(
        "m2",
        "what becomes ready is published without a place in the outbox",
        f"{LUA}/prelude.lua",
        "  put_due(outbox, run_id .. '/' .. node, now)\n  return true",
        "  return true",
        "A12",
    ),
    Mutant(
        "m3",
        "a message is acked before its node is claimed",
        "taskmesh/worker/engine/intake.py",
        "        self._in_flight.add(attempt)\n        return attempt",
        "        self._in_flight.add(attempt)\n        self._parts.consumer.ack(attempt.acks)\n        return attempt",
        "A2",
    ),
    Mutant(
        "m4",
        "a repeated settle counts again",
        f"{LUA}/settle_node.lua",
        "if has_ended(record) then return report('again', found.status, told(run, edges, found.status)) end\n"
        "if record[STATE] ~= 'running' then return {'stale'} end\n",
        "",
        "D16",
    ),
    Mutant(
        "m5",
        "the keeper looks after nothing",
        "taskmesh/keeper/keeper.py",
        "        if not all(queue in received for queue in queues):",
        "        if queues:",
        "A12",
    ),
    Mutant(
        "m6",
        "a lease is renewed only while no task runs",
        "taskmesh/app/session.py",
        "    async def _renew(self) -> None:\n",
        "    async def _renew(self) -> None:\n        if self._engine.in_flight:\n            return\n",
        "B9",
    ),
    Mutant(
        "m7",
        "what has begun is undone, and not only what was committed",
        f"{LUA}/prelude_endings.lua",
        "undone and undone[STATE] == 'succeeded' and",
        "undone and undone[ATTEMPT] > 0 and",
        "A13",
    ),
    Mutant(
        "m8",
        "dependents are counted each time they are told, and not once each",
        f"{LUA}/spread_node.lua",
        "if record[SPREAD] ~= from then",
        "if false then",
        "D18",
    ),
    Mutant(
        "m9",
        "the dependents of what has begun and not succeeded are told that it has",
        f"{LUA}/prelude_endings.lua",
        "tonumber(node), state, edges",
        "tonumber(node), 'succeeded', edges",
        "F7",
    ),
    Mutant(
        "m10",
        "an undo begins after the first of those before it, and not after the last",
        f"{LUA}/prelude_endings.lua",
        "1) == needed * found.compensation then",
        "1) == needed * (found.compensation - 1) + 1 then",
        "A13",
    ),
    Mutant(
        "m11",
        "what has ended well is undone, too",
        f"{LUA}/prelude_endings.lua",
        "if found.compensation and found.undos == 'some' and status ~= 'succeeded' and",
        "if found.undos == 'some' and",
        "A13",
    ),
    Mutant(
        "m12",
        "what has been undone is undone again when undoing is begun again",
        f"{LUA}/prelude_endings.lua",
        "  if known and lets_pass(known) then return known end\n",
        "",
        "H5",
    ),
    Mutant(
        "m13",
        "a node leaves the outbox when it is claimed",
        f"{LUA}/claim_node.lua",
        "record[HOLDER] = holder\n",
        "record[HOLDER] = holder\n"
        "local tag, run_id = run:match('^(.*:)run:(.*)$')\n"
        "redis.call('ZREM', tag .. 'outbox:default', run_id .. '/' .. node)\n",
        "B9",
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/mutants", description="Shows that experiments notice mistakes.")
    parser.add_argument("--only", action="append", choices=[mutant.id for mutant in MUTANTS], help="may be repeated")
    only = parser.parse_args().only
    chosen = [mutant for mutant in MUTANTS if not only or mutant.id in only]
    with ExitStack() as servers:
        grounds = Grounds(servers.enter_context(RabbitServer()), servers.enter_context(RedisServer()))
        if not _right_code_passes(chosen, grounds):
            return 1
        # All of them, also after a survivor.
        return 1 if sum([_survives(mutant, grounds) for mutant in chosen]) else 0


def _right_code_passes(chosen: Sequence[Mutant], grounds: Grounds) -> bool:
    """A failure of an experiment only says something where it passes without the mistake."""
    for killer in sorted({mutant.killer for mutant in chosen}):
        with tempfile.TemporaryDirectory(prefix="taskmesh-right-") as directory:
            verdict = conduct(KNOWN[killer], grounds, Path(directory), Terms(SEED))
        if not verdict.passed:
            sys.stderr.write(f"mutants: {killer} fails without any mistake:\n{verdict.story()}\n")
            return False
    return True


def _survives(mutant: Mutant, grounds: Grounds) -> bool:
    with _mutated(mutant) as root:
        verdict = conduct(KNOWN[mutant.killer], grounds, root, Terms(SEED, root, PATIENCE_SECONDS))
    print(_line(mutant, verdict), flush=True)
    return verdict.passed


@contextmanager
def _mutated(mutant: Mutant) -> Iterator[Path]:
    """A copy of the product and its tests with the mistake in it."""
    with tempfile.TemporaryDirectory(prefix=f"taskmesh-{mutant.id}-") as directory:
        root = Path(directory)
        for name in COPIED:
            shutil.copytree(Terms(SEED).root / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        file = root / mutant.file
        right = file.read_text()
        assert right.count(mutant.old) == 1, f"{mutant.file} has no such text any more, or often: {mutant.old}"
        file.write_text(right.replace(mutant.old, mutant.new))
        yield root


def _line(mutant: Mutant, verdict: Verdict) -> str:
    word = "SURVIVED" if verdict.passed else "noticed"
    seen = verdict.broken.partition("\n")[0]
    return f"{mutant.id}  {word:8} by {mutant.killer:4} {verdict.seconds:5.1f} s  {mutant.mistake}\n    {seen}"


if __name__ == "__main__":
    sys.exit(main())
