"""Every call that can be made to a run, whatever it is doing: by who has the right to it, and by who has not."""

from __future__ import annotations

from collections.abc import Iterator

from taskmesh.dispatch.reopening import CONTINUED
from tests.model.case import RUN_ID, Call, Case
from tests.model.lives import holder_of, token_of
from tests.model.shape import BEFORE_HOOKS, BEFORE_UNDOS, ROOT, TO_PARENT
from tests.model.steering import FORK

PARENT = "a parent"
"""Whom the children of situations tell their end."""

SIGNALS = ("one", "two")
KINDS = ("retry", "rerun n0")

SCRIPT_OF = {
    "admit": "admit_run",
    "fork": "fork_run",
    "inherit": "inherit_nodes",
    "claim": "claim_node",
    "settle": "settle_node",
    "retry": "retry_node",
    "wait": "retry_node",
    "tell": "tell_parent",
    "beat": "beat_node",
    "wake": "wake_node",
    "signal": "signal_node",
    "spread": "spread_node",
    "release": "release_node",
    "redrive": "redrive_node",
    "halt": "halt_run",
    "compensate": "compensate_run",
    "pause": "pause_run",
    "resume": "resume_run",
    "terminate": "terminate_run",
    "mark": "mark_node",
    "reopen": "reopen_run",
    "reset": "reset_nodes",
}
"""The script that a call is made of."""


def every_call(case: Case) -> Iterator[Call]:
    yield from _calls_to_run(case)
    shape = case.model.shape
    undos, hooks = [BEFORE_UNDOS] * bool(shape.undoable), [BEFORE_HOOKS] * bool(shape.flow_hooks)
    for place in (*shape.places, ROOT, *undos, *hooks):
        yield from _calls_to_node(case, place)
    if case.model.parent:
        yield from _calls_to_parent(case)


def _calls_to_parent(case: Case) -> Iterator[Call]:
    """What can happen about the place before the parent."""
    yield Call("claim", (TO_PARENT, "first", 1))
    yield Call("spread", (TO_PARENT, 0))
    yield Call("redrive", (TO_PARENT,))


def _calls_to_run(case: Case) -> Iterator[Call]:
    for digest in (RUN_ID.encode(), b"another"):
        yield Call("admit", (digest,))
        yield Call("fork", (digest,))
    for status in ("cancelled", "failed"):
        for compensates in (False, True):
            yield Call("halt", (status, compensates))
    for name in ("pause", "terminate", "compensate"):
        yield Call(name, ())
    for parent in (PARENT, "undo of it"):
        yield Call("compensate", (parent,))
    yield from _calls_to_prepare(case)


def _calls_to_prepare(case: Case) -> Iterator[Call]:
    """A fork is never resumed before its nodes have been reset: nothing would bring those on that have no record."""
    is_prepared = not case.wishes(None).wishes
    for kind in ("user", *KINDS, *([FORK] if is_prepared else [])):
        yield Call("resume", (kind,))
    for kind in KINDS:
        yield Call("reopen", (kind,))
    for count in (1, case.model.shape.undo_base) if not case.model.shape.bound else ():
        yield Call("inherit", (tuple(at for at in range(count) if at not in case.model.shape.flow_hooks),))
    for kind in (FORK, *KINDS):
        wishes, further = case.wishes(0 if kind == "rerun n0" else None)
        yield Call("reset", (kind, tuple(wishes), further))
        yield Call("reset", (kind, tuple(each._replace(token=each.token - 1) for each in wishes), further))
    going_on = [each._replace(wanted=CONTINUED) for each in case.wishes(None).wishes if each.wanted == "ready"]
    yield Call("reset", ("retry", tuple(going_on)))


def _calls_to_node(case: Case, node: int) -> Iterator[Call]:
    token = token_of(case.model, node)
    yield from _calls_with_right(case, node, token, holder_of(case.model, node))
    holder = holder_of(case.model, node)
    # With a token of before, one from the future, and by somebody whom the node was not given to.
    for right in ((token - 1, holder), (token + 1, holder), (token, "stranger")):
        yield Call("settle", (node, "succeeded", "", *right))
        yield Call("retry", (node, 1.0, True, *right))
        yield Call("beat", (node, b"other", *right))
        yield Call("release", (node, True, *right))
        yield Call("wait", (node, "c1", 1.0, *right))
    for ticket in ("c1", "c2"):
        yield Call("wait", (node, ticket, 1.0, token, holder))
        yield Call("tell", (node, ticket))
    for name in ("wake", "redrive"):
        yield Call(name, (node,))
    for place in range(len(case.model.shape.slices(node))):
        yield Call("spread", (node, place))
    if node in range(case.model.shape.undo_base):
        for state in ("succeeded", "skipped"):
            yield Call("mark", (node, state))
        # A copy waits for nothing.
        for id_ in SIGNALS if not case.model.shape.bound else ():
            yield Call("signal", (node, id_))


def _calls_with_right(case: Case, node: int, token: int, right_holder: str) -> Iterator[Call]:
    for holder in ("first", "second"):
        for each in (token, token - 1, token + 1):
            yield Call("claim", (node, holder, each))
    for state in ("succeeded", "failed", "cancelled"):
        yield Call("settle", (node, state, "", token, right_holder))
    if not case.model.shape.is_undo(node):
        yield Call("settle", (node, "failed", "failed", token, right_holder))
        yield Call("settle", (node, "skipped", "", token, right_holder))
    if case.model.shape.bound:
        yield from (Call("settle", (node, "failed", "failed", token, right_holder, most)) for most in (0, 1))
    for counts in (True, False):
        yield Call("retry", (node, 1.0, counts, token, right_holder))
        yield Call("release", (node, counts, token, right_holder))
    for checkpoint in (b"", b"more"):
        yield Call("beat", (node, checkpoint, token, right_holder))
