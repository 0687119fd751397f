"""The experiments of tiers 0 and 1; ``./scripts/faults`` runs the others too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.harness.rabbitmq import RabbitServer
from tests.harness.redis import RedisServer
from tests.nemesis.catalogue import Experiment
from tests.nemesis.experiments import experiments
from tests.nemesis.grounds import Grounds, Terms
from tests.nemesis.verdict import conduct

TIER = 1
SEED = int(os.environ.get("TASKMESH_TEST_SEED", "1"))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("experiment", experiments(TIER), ids=lambda each: f"{each.id}-{each.name}")
def test_experiment(experiment: Experiment, rabbitmq: RabbitServer, redis_server: RedisServer, tmp_path: Path) -> None:
    verdict = conduct(experiment, Grounds(rabbitmq, redis_server), tmp_path, Terms(SEED))
    print(verdict.line())
    assert verdict.passed, verdict.story()
