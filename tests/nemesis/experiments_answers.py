"""D16, E3, E5: connections that end between a question and its answer."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from tests.nemesis import app
from tests.nemesis.catalogue import Catalogue
from tests.nemesis.checker import Bounds
from tests.nemesis.figures import Figures
from tests.nemesis.frames import CONFIRM, Unit
from tests.nemesis.proxy import PASS, SWALLOW_AND_RESET, TO_CLIENT, TO_SERVER, Fate, FaultProxy, Judge
from tests.nemesis.trial import Trial

REPEATED = 32

answers = Catalogue()


class Dice:
    """Decides about units by chance, so often at most; safe on the proxy's thread."""

    def __init__(self, trial: Trial, one_in: int, times: int) -> None:
        self._dice = random.Random(trial.seed)
        self._one_in = one_in
        self.left = times

    def strikes(self) -> bool:
        if self.left <= 0 or self._dice.randrange(self._one_in):
            return False
        self.left -= 1
        return True


def _judged(trial: Trial, proxy: FaultProxy, judge: Judge, dice: Dice, runs: int = 30) -> Figures:
    """Run under a judge until it has struck as often as it may."""
    trial.watch()
    proxy.judge(lambda: judge)
    times = dice.left
    trial.load(app.fan, *app.random_shapes, runs=runs)
    trial.wait(lambda: dice.left == 0, f"{times} strikes")
    trial.faults = times - 1
    trial.struck()
    return trial.finish(Bounds(duplicates_at_most=times * REPEATED))


@answers.add("E3", "confirms-lost", tier=2)
def confirms_lost(trial: Trial) -> Figures:
    """RabbitMQ's confirms never arrive: after the deadline the connection is given up, and all is published again."""
    behind = trial.behind_proxies(env={"TASKMESH_BROKER__CONFIRM_TIMEOUT_SECONDS": "2"})
    trial.watch()

    def swallow(direction: str, unit: Unit) -> Fate:
        return Fate(copies=0) if direction == TO_CLIENT and unit.kind == CONFIRM else PASS

    behind.broker.judge(lambda: swallow)
    trial.load(app.diamond, runs=10)
    trial.pause(4)
    behind.broker.clear()
    trial.struck()
    return trial.finish(Bounds(duplicates_at_most=REPEATED))


@answers.add("E5", "cut-between-publish-and-confirm", tier=1)
def cut_between_publish_and_confirm(trial: Trial) -> Figures:
    """The connection is cut after the broker has taken messages and before its confirm arrives, ten times."""
    behind = trial.behind_proxies()
    dice = Dice(trial, one_in=5, times=10)

    def judge(direction: str, unit: Unit) -> Fate:
        cut = direction == TO_CLIENT and unit.kind == CONFIRM and dice.strikes()
        return SWALLOW_AND_RESET if cut else PASS

    return _judged(trial, behind.broker, judge, dice)


@answers.add("D16", "reply-lost-per-script", tier=1)
def reply_lost_per_script(trial: Trial) -> Figures:
    """Redis carries scripts out and their answers are lost with the connection, for each script of the hot path."""
    behind = trial.behind_proxies()
    trial.mesh = trial.client(store_url=behind.store_url)
    left = {"admit_run": 4, "claim_node": 4, "settle_node": 4, "spread_node": 4, "renew_holder": 4}
    strikes = sum(left.values())
    judge = _LostReplies(script_names(trial.root), left)
    behind.store.judge(judge)
    trial.watch()
    trial.load(app.fan, *app.random_shapes, runs=30)
    trial.wait(lambda: not any(judge.left.values()), f"lost replies of each script; left: {judge.left}", 40)
    trial.faults = strikes - 1
    trial.struck()
    return trial.finish(Bounds(duplicates_at_most=REPEATED))


@answers.add("D18", "telling-repeated", tier=1)
def telling_repeated(trial: Trial) -> Figures:
    """The answer to a telling of dependents is lost, so that they are told again: none of them starts before the other
    node that it needs has ended."""
    behind = trial.behind_proxies()
    judge = _LostReplies(script_names(trial.root), {"spread_node": 1})
    behind.store.judge(judge)
    trial.watch()
    trial.load(app.lattice, runs=1, batch=1, late=6.0)
    trial.wait(lambda: not any(judge.left.values()), "a lost reply")
    trial.struck()
    return trial.finish()


class _LostReplies:
    """Swallows the reply to calls of certain scripts, each so many times, and resets the connection."""

    def __init__(self, names: Mapping[bytes, str], left: dict[str, int]) -> None:
        self._names = names
        self.left = left

    def __call__(self) -> Judge:
        """A judge for one connection: replies come in the order of the commands."""
        asked: deque[bytes] = deque()

        def judge(direction: str, unit: Unit) -> Fate:
            if direction == TO_SERVER:
                asked.append(_script_of(unit.kind))
                return PASS
            word = asked.popleft() if asked else b""
            # A refusal, such as of a script that the server has not seen yet, is no answer that can be lost.
            return PASS if unit.raw.startswith(b"-") else self._fate(word)

        return judge

    def _fate(self, word: bytes) -> Fate:
        name = self._names.get(word)
        if name is None or not self.left.get(name):
            return PASS
        self.left[name] -= 1
        return SWALLOW_AND_RESET


def _script_of(words: object) -> bytes:
    """The hash of the script that a command calls; empty when it calls none."""
    match words:
        case (b"EVALSHA", bytes(sha)):
            return sha
        case (b"EVAL", bytes(source)):
            return hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()
    return b""


def script_names(root: Path) -> dict[bytes, str]:
    """The names of the scripts by their hashes, as the code below ``root`` has them."""
    code = "from taskmesh.store.scripts import Scripts as S; [print(S()[name].sha, name) for name in S().names()]"
    printed = subprocess.check_output([sys.executable, "-c", code], cwd=root, env={"PYTHONPATH": str(root)}, text=True)
    pairs = (line.split(" ") for line in printed.splitlines())
    return {sha.encode(): name for sha, name in pairs}
