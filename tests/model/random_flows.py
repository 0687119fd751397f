"""Random flows of all constructs, as the documents of flow files: what is drawn is what a reader of a failure sees."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

TASK, UNDO = "work", "unwork"
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
KINDS = (
    *["task"] * 4,
    *("sleep", "wait", "approve", "map", "product", "slices", "flow", "named flow", "loop", "named loop", "task loop"),
)
"""Of nodes, each as often as it is named."""
OF_CHILDREN = KINDS[: KINDS.index("map")]
"""Those of the flows that nodes begin."""
MOST_NODES, MOST_NODES_OF_CHILDREN = 7, 3
POLICIES = ("continue", "continue", "fail_fast", "compensate", "compensate")
CHILD_PARAMS = ("p0", "p1")
"""Of each flow that a node begins."""

Document = dict[str, Any]


class Mix(NamedTuple):
    """What is drawn from, each as often as it is named; one of so many nodes has a condition."""

    kinds: Sequence[str] = KINDS
    rules: Sequence[str] = RULES
    policies: Sequence[str] = POLICIES
    cancels: Sequence[bool] = (False, False, False, True)
    nodes_per_condition: int = 4


EVERYTHING = Mix()


class Message(NamedTuple):
    """What is sent to a node from outside, so many seconds after the begin: a payload, or whether it is approved."""

    node: str
    at_seconds: float
    is_decision: bool
    payload: Any


class Registered(NamedTuple):
    """A registered flow: its versions in their order, and the number of the active one."""

    name: str
    versions: Sequence[Document]
    active: int

    @property
    def references(self) -> Mapping[str, Document]:
        """What each name of it means."""
        numbered = {f"{self.name}@{number}": each for number, each in enumerate(self.versions, 1)}
        return {**numbered, self.name: self.versions[self.active - 1], f"{self.name}@latest": self.versions[-1]}


class Cancel(NamedTuple):
    """The run is cancelled so many seconds after its begin, and undone."""

    at_seconds: float
    undoes: bool


class Case(NamedTuple):
    """A flow to run, the flows that are registered by then, and what comes from outside."""

    document: Document
    messages: Sequence[Message]
    registered: Sequence[Registered] = ()
    cancel: Cancel | None = None


@st.composite
def cases(draw: st.DrawFn, mix: Mix = EVERYTHING) -> Case:
    registered = [draw(_registered(mix, at)) for at in range(draw(st.integers(0, 2)))]
    references = [name for each in registered for name in each.references]
    kinds = [kind for kind in mix.kinds if references or not kind.startswith("named")]
    document = {"flow": "random", **draw(flow_documents(mix._replace(kinds=kinds), references=references))}
    waiting = [(name, node) for name, node in document["nodes"].items() if "wait" in node or "approve" in node]
    messages = []
    for at, (name, node) in enumerate(waiting, 1):
        if draw(st.booleans()):
            # No two things happen at the same moment: all else takes whole seconds.
            seconds = draw(st.integers(0, 90)) + at / 16
            messages.append(Message(name, seconds, "approve" in node, draw(st.booleans())))
    cancel = None
    if draw(st.sampled_from(mix.cancels)):
        can_undo = any("compensate" in node for node in document["nodes"].values())
        cancel = Cancel(draw(st.integers(0, 60)) + 1 / 32, can_undo and draw(st.booleans()))
    return Case(document, sorted(messages, key=lambda each: each.at_seconds), registered, cancel)


@st.composite
def _registered(draw: st.DrawFn, mix: Mix, at: int) -> Registered:
    """Its name tells what is in it, so that a mesh which has it already has the same."""
    count = draw(st.integers(1, 3))
    documents = [draw(flow_documents(mix, CHILD_PARAMS, f"r{at}v{number}n")) for number in range(count)]
    name = f"flow{zlib.crc32(json.dumps(documents, sort_keys=True).encode())}"
    versions = [{"flow": name, "version": f"{number}", **each} for number, each in enumerate(documents, 1)]
    return Registered(name, versions, draw(st.integers(1, count)))


@st.composite
def flow_documents(
    draw: st.DrawFn, mix: Mix, params: Sequence[str] = (), prefix: str = "n", references: Sequence[str] = ()
) -> Document:
    """A flow; one with parameters is begun by nodes. The names of all its nodes differ."""
    mix = mix._replace(kinds=OF_CHILDREN) if params else mix
    nodes: dict[str, Document] = {}
    for at in range(draw(st.integers(1, MOST_NODES_OF_CHILDREN if params else MOST_NODES))):
        earlier = list(nodes)
        needs = draw(st.lists(st.sampled_from(earlier), max_size=3, unique=True)) if earlier else []
        trigger = draw(_triggers(needs, mix.rules)) if needs else {}
        is_early = "depends" in trigger or trigger.get("rule", "").startswith(EARLY)
        reads = [f"${{nodes.{name}.output}}" for name in needs if "approve" not in nodes[name]]
        reads += [f"${{params.{name}}}" for name in params]
        node = draw(_nodes(mix, reads, is_early, f"{prefix}{at}_", references))
        node |= {"needs": needs, **trigger} if needs else {}
        if needs and draw(st.integers(1, mix.nodes_per_condition)) == 1:
            node["when"] = draw(_conditions(needs))
        nodes[f"{prefix}{at}"] = node
    _add_switch(draw, nodes, f"{prefix}route")
    _add_hooks(draw, nodes)
    document: Document = {"on_failure": _policy(draw, mix, nodes), "nodes": nodes}
    if params:
        document["params"] = dict.fromkeys(params, "any")
    if draw(st.integers(0, 4)) == 0:
        document["hooks"] = {draw(st.sampled_from(HOOKS)): _hook(draw)}
    return document


def _policy(draw: st.DrawFn, mix: Mix, nodes: Mapping[str, Document]) -> str:
    """What a failure means; some tasks are undone where that is wished, and sometimes where it is not."""
    policy = draw(st.sampled_from(mix.policies))
    able = [
        name for name, node in nodes.items() if "task" in node and not node.keys() & {"repeat_until", "min_success"}
    ]
    if policy == "continue" or not able:
        return "fail_fast" if policy == "compensate" else policy
    most = len(able) if policy == "compensate" else 1
    for name in draw(st.lists(st.sampled_from(able), min_size=1, max_size=most, unique=True)):
        nodes[name]["args"]["spoils"] = draw(st.sampled_from((0, 0, 0, 1, 9)))
        nodes[name]["compensate"] = {"task": UNDO, **_retry(draw, 2)}
    return policy


def _triggers(needs: Sequence[str], among: Sequence[str]) -> st.SearchStrategy[Document]:
    rules = [rule for rule in among if rule != "n_of(2)" or len(needs) > 1]
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
def _nodes(
    draw: st.DrawFn, mix: Mix, reads: Sequence[str], is_early: bool, prefix: str, references: Sequence[str]
) -> Document:
    """One that may read these; which ones have ended by then, only a task finds out at each attempt."""
    kind = draw(st.sampled_from(mix.kinds))
    is_told = bool(reads) and (kind == "task" or not is_early)
    given = draw(st.lists(st.sampled_from(reads), max_size=2)) if is_told else []
    if kind == "task":
        return {"task": TASK, **_conduct(draw, given)}
    if kind in ("sleep", "wait", "approve"):
        return _waiting(draw, kind)
    if kind in ("map", "product", "slices"):
        return _map(draw, kind, given)
    retry = _retry(draw, 2)
    if kind == "task loop":
        return {**_loop(draw), "count_as": "count", **_conduct(draw, given), "task": TASK, **retry}
    named = dict(zip(("count_as", "last_as"), CHILD_PARAMS, strict=True))
    told = {**_loop(draw), **named} if "loop" in kind else {"args": {name: given[:1] for name in CHILD_PARAMS}}
    if kind.startswith("named"):
        return {"flow": draw(st.sampled_from(references)), **told, **retry}
    return {"flow": draw(flow_documents(mix, CHILD_PARAMS, prefix)), **told, **retry}


def _waiting(draw: st.DrawFn, kind: str) -> Document:
    if kind == "sleep":
        return {"sleep": draw(SECONDS) + 1}
    timeout = {"timeout": draw(st.integers(1, 60))}
    if kind == "approve":
        return {"approve": "Go on?", **timeout}
    return {"wait": "signal", **timeout, **({"default": draw(st.integers(0, 2))} if draw(st.booleans()) else {})}


def _map(draw: st.DrawFn, kind: str, given: Sequence[str]) -> Document:
    """Each item says how often it fails; those of a slice do not."""
    items = st.lists(st.sampled_from((0, 0, 1, 9)), max_size=4)
    over: Any = draw(items)
    fails: Any = "${item}"
    if kind == "product":
        over, fails = {"a": over[:3], "b": draw(items)[:2]}, "${item.a}"
    if kind == "slices":
        over, fails = draw(st.lists(st.integers(0, 9), max_size=9)), draw(st.sampled_from((0, 0, 1)))
    node: Document = {"map": over, "task": TASK, "args": {"fails": fails, "of": [*given, "${index}", "${item}"]}}
    if kind == "slices":
        node["slice"] = draw(st.integers(1, 4))
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
        if isinstance(node.get("flow"), dict):
            found |= durations(node["flow"])
    return found
