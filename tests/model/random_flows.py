"""Random flows of all constructs, as the documents of flow files: what is drawn is what a reader of a failure sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

TASK = "work"
SECONDS = st.integers(0, 40)
RULES = (
    *["all_success"] * 3,
    *("all_done", "all_failed", "all_skipped", "any_success", "any_failed", "any_done", "none_failed", "none_skipped"),
    *("none_failed_min_one_success", "always", "n_of(1)", "n_of(2)"),
)
STATES = ("succeeded", "failed", "skipped", "upstream_failed")
ENDS = ("succeeded", "failed", "skipped", "done")
HOOKS = ("on_success", "on_failure", "finally")
EARLY = ("any_", "n_of")

Document = dict[str, Any]


class Message(NamedTuple):
    """What is sent to a node from outside, so many seconds after the begin: a payload, or whether it is approved."""

    node: str
    at_seconds: float
    is_decision: bool
    payload: Any


class Case(NamedTuple):
    """A flow to run, and what is sent to it."""

    document: Document
    messages: Sequence[Message]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    document = {"flow": "random", **draw(flow_documents(depth=2))}
    waiting = [(name, node) for name, node in document["nodes"].items() if "wait" in node or "approve" in node]
    messages = []
    for at, (name, node) in enumerate(waiting, 1):
        if draw(st.booleans()):
            # No two things happen at the same moment: all else takes whole seconds.
            seconds = draw(st.integers(0, 90)) + at / 16
            messages.append(Message(name, seconds, "approve" in node, draw(st.booleans())))
    return Case(document, sorted(messages, key=lambda each: each.at_seconds))


@st.composite
def flow_documents(draw: st.DrawFn, depth: int, params: Sequence[str] = (), prefix: str = "n") -> Document:
    """A flow that has these parameters; ``depth`` runs deep at most. The names of all its nodes differ."""
    nodes: dict[str, Document] = {}
    for at in range(draw(st.integers(1, 7 if depth > 1 else 3))):
        earlier = list(nodes)
        needs = draw(st.lists(st.sampled_from(earlier), max_size=3, unique=True)) if earlier else []
        trigger = draw(_triggers(needs)) if needs else {}
        is_early = "depends" in trigger or trigger.get("rule", "").startswith(EARLY)
        reads = [f"${{nodes.{name}.output}}" for name in needs if "approve" not in nodes[name]]
        reads += [f"${{params.{name}}}" for name in params]
        node = draw(_nodes(depth, reads, is_early, f"{prefix}{at}_"))
        node |= {"needs": needs, **trigger} if needs else {}
        if needs and draw(st.integers(0, 3)) == 0:
            node["when"] = draw(_conditions(needs))
        nodes[f"{prefix}{at}"] = node
    _add_switch(draw, nodes, f"{prefix}route")
    _add_hooks(draw, nodes)
    document: Document = {"on_failure": "continue", "nodes": nodes}
    if params:
        document["params"] = dict.fromkeys(params, "any")
    if draw(st.integers(0, 4)) == 0:
        document["hooks"] = {draw(st.sampled_from(HOOKS)): _hook(draw)}
    return document


def _triggers(needs: Sequence[str]) -> st.SearchStrategy[Document]:
    rules = [rule for rule in RULES if rule != "n_of(2)" or len(needs) > 1]
    asked = st.tuples(*[st.sampled_from(ENDS)] * len(needs))
    words = st.builds(
        lambda ends, sign: {"depends": sign.join(f"{n}.{end}" for n, end in zip(needs, ends, strict=True))},
        asked,
        st.sampled_from((" && ", " || ")),
    )
    named = st.sampled_from(rules).map(lambda rule: {"rule": rule} if rule != "all_success" else {})
    return st.one_of(named, named, words)


def _conditions(needs: Sequence[str]) -> st.SearchStrategy[str]:
    names = st.sampled_from(needs)
    terms = st.one_of(
        st.builds("nodes.{}.state {} '{}'".format, names, st.sampled_from(("==", "!=")), st.sampled_from(STATES)),
        st.builds(
            "nodes.{}.output {} {}".format, names, st.sampled_from(("==", "!=")), st.sampled_from((0, 1, "null"))
        ),
    )
    return st.one_of(terms, st.builds("{} {} {}".format, terms, st.sampled_from(("&&", "||")), terms))


@st.composite
def _nodes(draw: st.DrawFn, depth: int, reads: Sequence[str], is_early: bool, prefix: str) -> Document:
    """One that may read these; which ones have ended by then, only a task finds out at each attempt."""
    kinds = ["task", "task", "task", "sleep", "wait", "approve"] + ["map", "flow", "loop", "task loop"] * (depth > 1)
    kind = draw(st.sampled_from(kinds))
    given = [] if is_early and kind != "task" else draw(st.lists(st.sampled_from(reads), max_size=2)) if reads else []
    if kind == "task":
        return {"task": TASK, **_conduct(draw, given)}
    if kind in ("sleep", "wait", "approve"):
        return _waiting(draw, kind)
    if kind == "map":
        return _map(draw, given)
    retry = _retry(draw, 2)
    if kind == "task loop":
        return {**_loop(draw), "count_as": "count", **_conduct(draw, given), "task": TASK, **retry}
    loop = {**_loop(draw), "count_as": "p0", "last_as": "p1"} if kind == "loop" else {}
    names = ["p0", "p1"]
    args = {} if loop else {"args": {name: given[:1] for name in names}}
    return {**loop, "flow": draw(flow_documents(depth=depth - 1, params=names, prefix=prefix)), **args, **retry}


def _waiting(draw: st.DrawFn, kind: str) -> Document:
    if kind == "sleep":
        return {"sleep": draw(SECONDS) + 1}
    timeout = {"timeout": draw(st.integers(1, 60))}
    if kind == "approve":
        return {"approve": "Go on?", **timeout}
    return {"wait": "signal", **timeout, **({"default": draw(st.integers(0, 2))} if draw(st.booleans()) else {})}


def _map(draw: st.DrawFn, given: Sequence[str]) -> Document:
    """Each item says how often it fails."""
    items = draw(st.lists(st.sampled_from((0, 0, 1, 9)), max_size=4))
    node: Document = {"map": items, "task": TASK, "args": {"fails": "${item}", "of": [*given, "${index}"]}}
    if draw(st.booleans()):
        node["max_in_flight"] = draw(st.integers(1, 2))
    if draw(st.booleans()):
        least = draw(st.sampled_from((0, 1, 2, 0.5, 1.0)))
        node |= {"on_item_failure": "continue", **({"min_success": least} if least else {}), **_retry(draw, 3)}
    return node


def _loop(draw: st.DrawFn) -> Document:
    until = draw(st.sampled_from(("output == 0", "output == 1", "iteration == 2", "output != null", "false")))
    return {"repeat_until": until, "max_iterations": draw(st.integers(1, 3))}


def _conduct(draw: st.DrawFn, given: Sequence[str]) -> Document:
    """How often a task fails, and of what it makes what it gives."""
    fails = draw(st.sampled_from((0, 0, 0, 1, 2, 9)))
    return {"args": {"fails": fails, "takes": draw(SECONDS), "of": list(given)}, **_retry(draw, 3)}


def _retry(draw: st.DrawFn, most: int) -> Document:
    attempts = draw(st.integers(1, most))
    return {"retry": {"max_attempts": attempts, "wait": "fixed", "base": 5}} if attempts > 1 else {}


def _add_switch(draw: st.DrawFn, nodes: dict[str, Document], name: str) -> None:
    """Puts a switch before some of the nodes that have no rule."""
    names = list(nodes)
    asked = names[: draw(st.integers(0, len(names) - 1))]
    plain = [name for name in names[len(asked) :] if "rule" not in nodes[name] and "depends" not in nodes[name]]
    if not asked or not plain:
        return
    targets = draw(st.lists(st.sampled_from(plain), min_size=1, max_size=3, unique=True))
    first = {"when": draw(_conditions(asked)), "then": targets[:1], "name": "first"}
    cases = [first, *([{"else": targets[1:]}] if draw(st.booleans()) or targets[1:] else [])]
    nodes[name] = {"switch": cases}


def _add_hooks(draw: st.DrawFn, nodes: Mapping[str, Document]) -> None:
    for name in draw(st.lists(st.sampled_from(list(nodes)), max_size=2, unique=True)):
        nodes[name]["hooks"] = {draw(st.sampled_from(HOOKS)): _hook(draw)}


def _hook(draw: st.DrawFn) -> Document:
    return {"task": TASK, **_conduct(draw, ["${ended.status}"])}


def durations(document: Document) -> Mapping[str, int]:
    """How many seconds each attempt of a node takes, of the flow and of those in it, by the names of the nodes."""
    found: dict[str, int] = {}
    for name, node in document["nodes"].items():
        hooks = {f"{name}.{hook}": each for hook, each in node.get("hooks", {}).items()}
        for each, said in {name: node, **hooks}.items():
            if "takes" in said.get("args", {}):
                found[each] = said["args"]["takes"]
        if "flow" in node:
            found |= durations(node["flow"])
    return found
