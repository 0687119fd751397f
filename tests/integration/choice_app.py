"""Flows in which not every node runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from taskmesh import Mesh
from tests.integration.marks import leave_mark

mesh = Mesh()


@mesh.task
def say(value: Any = None) -> Any:
    leave_mark("say")
    return value


@mesh.task
def fail(value: Any = None) -> Any:
    leave_mark("fail")
    raise ValueError("for good")


@mesh.task
def hold(path: str) -> None:
    """Run until the file is there."""
    leave_mark("hold")
    while not Path(path).exists():
        time.sleep(0.02)


@mesh.flow
def routed(amount: float, risk: str) -> Any:
    say(risk).named("check")
    review, hold_back, notify = say("review").named("review"), say("hold").named("hold"), say("notify").named("notify")
    route = mesh.switch(
        {"params.amount > 1000.0": review, "nodes.check.output == 'high'": [hold_back, notify]},
        otherwise=[],
    ).named("route")
    say(0).named("join").after(review, hold_back, notify).rule("none_failed")
    return route


@mesh.flow
def no_way_out(amount: float) -> Any:
    mesh.switch({"params.amount > 1000.0": say("review").named("review")}).named("route")


@mesh.flow
def conditional(amount: float, extra: Any = None) -> Any:
    big = say("big").named("big").when("params.amount > 100.0")
    say("next").named("next").after(big)
    say("broken").named("broken").when("params.extra > 1")


@mesh.flow
def mended(word: str) -> Any:
    charge = fail(word).named("charge")
    receipt = say("receipt").named("receipt").after(charge).rule("none_failed")
    refund = say("refund").named("refund").after(charge).rule("any_failed")
    return say([refund, receipt]).named("report").after(refund, receipt).depends("refund.succeeded && receipt.done")


@mesh.flow
def saved(word: str) -> Any:
    first, second, third = fail(word).named("first"), say(word).named("second"), say(word).named("third")
    return say(word).named("two").after(first, second, third).rule("n_of(2)")


@mesh.flow
def tidied(path: str) -> Any:
    work = hold(path).named("work")
    later = say("later").named("later").after(work)
    say("tidy").named("tidy").after(later).rule("always")
    say("done").named("done").after(later).rule("all_done")


@mesh.flow(on_failure="continue")
def beside(slow_path: str, path: str) -> Any:
    """A node that begins while another one runs, which its condition asks for."""
    quick, slow = say("quick").named("quick"), hold(slow_path).named("slow")
    node = hold(path).named("beside").after(quick, slow).rule("any_success")
    return node.when("nodes.slow.state != 'succeeded'")
