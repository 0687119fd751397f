"""``taskmesh demo``: the example apps on real input, with nothing to set up."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskmesh.cli.options import Format, Output

if TYPE_CHECKING:
    from taskmesh.app.mesh import Mesh
    from taskmesh.app.run import Run
    from taskmesh.client.details import RunDetails

APPS = ("workers.orders", "workers.etl")
ORDER_FLOW = "configs/flows/order.yaml"
THREADS = 4


def demo(output: Output = Format.TEXT) -> None:
    """Run the example apps of a source checkout: an order, then a count of the checkout's own files.

    It brings its own servers whatever the settings name, needs no rights, and keeps all data in .taskmesh.
    """
    from taskmesh.cli.checkout import require_checkout
    from taskmesh.cli.running import end_as, working
    from taskmesh.cli.targets import opened
    from taskmesh.config import Settings

    root = require_checkout("the demo", "workers/orders.py", "workers/etl.py", ORDER_FLOW)
    sys.path.insert(0, str(root))
    settings = Settings()
    reports = Path(settings.embedded.directory, "demo").resolve()
    with opened(APPS, settings) as mesh, working(mesh, THREADS):
        order = _attend(_order(mesh, root), "an order, from a YAML file", output)
        count = _attend(_count(mesh, root, reports), "this checkout's files, from a Python flow", output)
    _sum_up([order, count], reports / "report.md", output)
    end_as(order, count)


def _order(mesh: Mesh, root: Path) -> Run:
    from taskmesh.flows import load_flow_file

    flow = load_flow_file(root / ORDER_FLOW, mesh.registry)
    return mesh.submit_params(flow, {"order_id": "demo-order", "amount": 9.5})


def _count(mesh: Mesh, root: Path, reports: Path) -> Run:
    from taskmesh.cli.targets import flow_of

    flow = flow_of("workers.etl:etl", mesh.registry, must_be_known=True)
    return mesh.submit_params(flow, {"directory": str(root), "report_directory": str(reports)})


def _attend(run: Run, title: str, output: Format) -> RunDetails:
    from taskmesh.cli.live import follow
    from taskmesh.cli.output import console
    from taskmesh.cli.summary import print_summary

    if output is Format.JSON:
        run.wait()
        return run.details()
    out = console()
    out.print(f"── {title} ──", style="bold")
    details = follow(run, out)
    print_summary(details, out)
    return details


def _sum_up(runs: list[RunDetails], report: Path, output: Format) -> None:
    from taskmesh.cli.output import console, print_json

    facts = _facts(runs, report)
    if output is Format.JSON:
        print_json(facts)
        return
    out = console()
    out.print("── summary ──", style="bold")
    out.print(
        f"{len(runs)} runs, {facts['nodes']} nodes in {facts['seconds']:.2f} s: "
        f"{facts['nodes_per_second']:.0f} nodes/s with {THREADS} threads, embedded"
    )
    out.print(f"report      {report}", soft_wrap=True)
    taskmesh = _command()
    out.print(f"look back   {taskmesh} ls, {taskmesh} show RUN", soft_wrap=True)
    out.print(f"go on       {taskmesh} worker -A workers.orders   (docs/cli.md, docs/flows.md)", soft_wrap=True)
    out.print("production  set TASKMESH_BROKER_URL and TASKMESH_STORE_URL   (docs/operations.md)", soft_wrap=True)


def _command() -> str:
    """How this command can be called again, also from an environment that is not activated."""
    return "taskmesh" if shutil.which("taskmesh") else sys.argv[0]


def _facts(runs: list[RunDetails], report: Path) -> dict[str, Any]:
    seconds = sum((run.finished_at or run.submitted_at) - run.submitted_at for run in runs)
    nodes = sum(len(run.nodes) for run in runs)
    return {
        "runs": [{"run_id": run.run_id, "flow": run.flow, "status": str(run.status)} for run in runs],
        "nodes": nodes,
        "seconds": seconds,
        "nodes_per_second": nodes / seconds if seconds > 0 else 0.0,
        "report": str(report),
    }
