"""Whether a node costs the same in a small run and in a large one, and with few runs queued and with many."""

from __future__ import annotations

from scripts.benchmark.session import Session
from scripts.benchmark.workloads import Kind, Workload

IN_ONE_RUN = (1_000, 10_000, 100_000)
RUNS_QUEUED = (100, 1_000, 10_000, 100_000)

Costs = dict[str, float]  # microseconds for each node, by size


def measure_scale(session: Session) -> dict[str, Costs]:
    """Microseconds for each node: in one run of growing size, and in single-node runs of growing number."""
    one_run = Workload("one_run", "nodes of one run", Kind.DRAIN, 1)
    single = Workload("single", "runs of one node", Kind.DRAIN, 1)
    session.warm_up(single.sized(IN_ONE_RUN[0]))
    return {
        "nodes_in_one_run": {str(size): _microseconds(session, one_run.sized(size)) for size in IN_ONE_RUN},
        "runs_queued": {str(size): _microseconds(session, single.sized(size)) for size in RUNS_QUEUED},
    }


def _microseconds(session: Session, workload: Workload) -> float:
    rate = session.measure(workload).per_second
    assert rate is not None
    return round(1e6 / rate, 1)
