"""Everything that can happen next in a state."""

from __future__ import annotations

from collections.abc import Iterator

from taskmesh.store.preparations import Reset
from tests.model.answers import RUN_HALTED
from tests.model.reference import RunModel
from tests.model.shape import BEFORE_HOOKS
from tests.model.worlds import RETRY, SIGNAL, Doing, Move, Setting, World, doing_next, run_of, stored, with_worker

KEEPER = "keeper"
"""Who claims what is left of halted runs, and never has a lease."""

REFUSED = frozenset({"ended", "ending", "running", "preparing"})
"""Answers to people who wished for something that cannot be, or is so already."""


def moves(setting: Setting, world: World) -> Iterator[Move]:
    """Everything that can happen next."""
    for at in range(len(world.workers)):
        yield from _moves_of_worker(setting, world, at)
    yield from _moves_of_keeper(setting, world)
    yield from _moves_of_timers(setting, world)
    yield from _moves_of_people(setting, world)
    yield from _moves_of_senders(setting, world)
    yield from _moves_of_undoing(setting, world)
    yield from _moves_of_reopening(setting, world)
    yield from _moves_of_network(world)
    yield from _moves_of_leases(setting, world)


def _moves_of_people(setting: Setting, world: World) -> Iterator[Move]:
    """A run is cancelled, or paused and resumed by somebody who publishes nothing, or terminated."""
    wishes = (("cancel",) if setting.cancels else ()) + (("pause", "resume", "terminate") if setting.steered else ())
    for wish in wishes:
        run = run_of(setting, world)
        answer = run.halt_with("cancelled", setting.compensates) if wish == "cancel" else getattr(run, wish)()
        if answer.word not in REFUSED:
            yield Move(wish, stored(world, run))
    for node in sorted(setting.marked):
        for state in ("succeeded", "skipped"):
            run = run_of(setting, world)
            if run.mark(node, state).word == "marked":
                yield Move("mark", stored(world, run))


def _moves_of_senders(setting: Setting, world: World) -> Iterator[Move]:
    """A signal comes; who sends it may die before the message of the node is published."""
    for node in sorted(setting.waiting - world.signals):
        run = run_of(setting, world)
        answer = run.signal(node, SIGNAL)
        if answer.word == "signalled":
            kept = stored(world, run)
            yield Move("signal", kept._replace(messages=kept.messages | ({node} if answer.numbers else set())))
            if answer.numbers:
                yield Move("sender dies", kept)


def _moves_of_reopening(setting: Setting, world: World) -> Iterator[Move]:
    """Somebody lets an ended run go on, one small step after the other; whoever finishes that may be another."""
    run = run_of(setting, world)
    if world.is_prepared:
        _prepare(setting, run)
        yield Move("prepare", stored(world, run))
    elif world.reopens and run.reopen(RETRY).word == "reopened":
        yield Move("reopen", stored(world, run)._replace(reopens=world.reopens - 1))


def _prepare(setting: Setting, run: RunModel) -> None:
    """The next step: what has ended must tell its dependents, then nodes are reset, then the run goes on.

    Before that, whatever the keeper has forgotten while the run was terminated is given to it again.
    """
    half_told = [at for at, node in run.nodes.items() if node.ended and not run.has_told_all(at)]
    wishes = list(_wishes(run))
    if half_told:
        run.spread(half_told[0], run.nodes[half_told[0]].told)
    elif wishes:
        run.reset(wishes[:1], RETRY)
    elif run.forgotten and setting.holds:
        run.redrive(min(run.forgotten), ())
    else:
        run.resume(RETRY)


def _wishes(run: RunModel) -> Iterator[Reset]:
    again = _again(run)
    for at, wanted in again.items():
        node, parents = run.nodes.get(at), run.shape.parents[at]
        arrived = sum(parent not in again for parent in parents) if len(parents) > 1 else -1
        is_so = (node.state if node else "waiting") == wanted and arrived in (-1, run.arrived(at))
        if not is_so:
            yield Reset(at, node.state if node else "", node.token if node else 0, wanted, arrived, -1, 0)
    if told := run.nodes.get(BEFORE_HOOKS):
        yield Reset(BEFORE_HOOKS, told.state, told.token, "waiting", len(run.shape.flow_hooks), -1, 0)


def _moves_of_undoing(setting: Setting, world: World) -> Iterator[Move]:
    """The user who begins undoing again dies at once, which is the worst that can happen."""
    run = run_of(setting, world)
    if run.status == "compensation_failed" and run.walk <= setting.begins_again:
        run.compensate()
        yield Move("compensate", stored(world, run))


def _moves_of_worker(setting: Setting, world: World, at: int) -> Iterator[Move]:
    holder, doing = world.workers[at]
    if doing is None:
        for node in sorted(world.messages):
            yield from _receive(setting, world, at, node)
        return
    yield Move(doing.step, STEPS[doing.step](setting, world, at, doing))
    if _waits(setting, world, doing) and setting.times_out:
        yield Move("time out", _time_out(setting, world, at, doing))
    copied = world._replace(messages=world.messages | {doing.node})
    yield Move("duplicate", copied)
    if world.crashes:
        # Another process takes its place; what the dead one holds stays its own until its lease is over.
        heir = f"{holder}'"
        crashed = with_worker(copied, at, heir, None)
        yield Move("crash", crashed._replace(living=world.living | {heir}, crashes=world.crashes - 1))


def _receive(setting: Setting, world: World, at: int, node: int) -> Iterator[Move]:
    holder = world.workers[at][0]
    run = run_of(setting, world)
    # What stands before hooks has no record any more while they wait again.
    token = run.nodes[node].token if node in run.nodes else 1
    answer = run.claim(node, token, holder, world.living)
    if answer.word == "held":
        return
    taken = stored(world, run)._replace(messages=world.messages - {node})
    if answer.word == "claimed":
        yield Move("claim", doing_next(taken, at, Doing("settle", node, heard=node in world.signals)))
    elif answer.word == "ended" and answer.numbers != (-1,):
        yield Move("resume", doing_next(taken, at, Doing("tell", node)))
    else:
        yield Move("ack", taken)


def _waits(setting: Setting, world: World, doing: Doing) -> bool:
    """Whether the node that a worker has claimed waits on."""
    is_waiting = doing.step == "settle" and doing.node in setting.waiting and not doing.heard
    return is_waiting and not run_of(setting, world).is_halted


def _time_out(setting: Setting, world: World, at: int, doing: Doing) -> World:
    run, holder = run_of(setting, world), world.workers[at][0]
    answer = run.settle(doing.node, run.nodes[doing.node].token - (not doing.current), "failed", "", holder)
    if answer.word not in ("settled", "again"):
        return doing_next(world, at, None)
    return doing_next(stored(world, run), at, _telling(run, Doing("tell", doing.node, 1, answer.ready)))


def _settle(setting: Setting, world: World, at: int, doing: Doing) -> World:
    run = run_of(setting, world)
    node, holder = run.nodes[doing.node], world.workers[at][0]
    if _waits(setting, world, doing):
        run.retry(doing.node, node.token - (not doing.current), 0.0, holder, counts=False)
        return doing_next(stored(world, run), at, None)
    is_halted = run.is_halted and not run.shape.trigger(doing.node).hook
    if not is_halted and doing.node in setting.retrying and not node.retries:
        run.retry(doing.node, node.token - (not doing.current), 0.0, holder)
        return doing_next(stored(world, run), at, None)
    state = "cancelled" if is_halted else "failed" if _fails(setting, run, doing.node) else "succeeded"
    token = node.token - (not doing.current)
    handled = run.shape.is_undo(doing.node) or run.shape.is_handled(doing.node)
    halts = state == "failed" and setting.fail_fast and not handled
    answer = run.settle(doing.node, token, state, "failed" if halts else "", holder, setting.compensates)
    if answer.word not in ("settled", "again"):
        return doing_next(world, at, None)
    return doing_next(stored(world, run), at, _telling(run, Doing("tell", doing.node, 1, answer.ready)))


def _fails(setting: Setting, run: RunModel, node: int) -> bool:
    return node in setting.failing and (not setting.begins_again or run.walk <= setting.begins_again)


def _tell(setting: Setting, world: World, at: int, doing: Doing) -> World:
    """One slice of the node's dependents. Those of skipped nodes are left to the keeper: the worst that can happen."""
    run = run_of(setting, world)
    slices = run.shape.slices(doing.node)
    answer = run.spread(doing.node, slices[doing.slice])
    ready = tuple(sorted({*doing.ready, *answer.ready}))
    return doing_next(stored(world, run), at, _telling(run, doing._replace(slice=doing.slice + 1, ready=ready)))


def _telling(run: RunModel, doing: Doing) -> Doing:
    return doing if doing.slice < len(run.shape.slices(doing.node)) else doing._replace(step="publish")


def _publish(setting: Setting, world: World, at: int, doing: Doing) -> World:
    return doing_next(world._replace(messages=world.messages | set(doing.ready)), at, None)


STEPS = {"settle": _settle, "tell": _tell, "publish": _publish}


def _moves_of_keeper(setting: Setting, world: World) -> Iterator[Move]:
    """The keeper may take any due node for lost; a node that nobody holds any more is published again."""
    for node in sorted(run_of(setting, world).outbox) if setting.keeper else ():
        run = run_of(setting, world)
        word = run.redrive(node, world.living).word
        if word == "settled":
            yield Move("forget", stored(world, run))
        elif word == "redrive":
            yield Move("redrive", stored(world, run)._replace(messages=world.messages | {node}))
        elif word == "retrying" and node not in world.timers:
            yield Move("set a timer again", stored(world, run))


def _moves_of_timers(setting: Setting, world: World) -> Iterator[Move]:
    for timer in sorted(world.timers):
        yield Move("lose a timer", world._replace(timers=world.timers - {timer}))
        for node in sorted(run_of(setting, world).retrying if timer == RUN_HALTED else {timer}):
            run = run_of(setting, world)
            woken = {node} if run.wake(node).word == "woken" else set()
            yield Move("wake", stored(world, run)._replace(messages=world.messages | woken))
        if timer == RUN_HALTED:
            yield from _moves_of_halt(setting, world)


def _moves_of_halt(setting: Setting, world: World) -> Iterator[Move]:
    """The keeper ends what can start of a halted run; it may die between claim and end, and after each end."""
    run = run_of(setting, world)
    if not run.is_halted:
        yield Move("forget a halt", world._replace(timers=world.timers - {RUN_HALTED}))
        return
    for node in sorted(run.nodes):
        run = run_of(setting, world)
        if run.nodes[node].state not in ("ready", "running") or run.shape.trigger(node).hook:
            continue
        answer = run.claim(node, run.nodes[node].token, KEEPER, world.living)
        if answer.word == "claimed":
            if world.crashes:
                yield Move("keeper dies", stored(world, run)._replace(crashes=world.crashes - 1))
            run.settle(node, answer.numbers[1], "cancelled", "", KEEPER)
            yield Move("end", stored(world, run))


def _moves_of_network(world: World) -> Iterator[Move]:
    for node in sorted(world.messages):
        yield Move("lose", world._replace(messages=world.messages - {node}))


def _moves_of_leases(setting: Setting, world: World) -> Iterator[Move]:
    """The lease of a dead process ends, that of a sleeping one may, and one that wakes up renews it."""
    here = {holder for holder, _ in world.workers}
    for holder in sorted(world.living - here):
        yield Move("end of a lease", world._replace(living=world.living - {holder}))
    for holder in sorted(here - world.living):
        yield Move("renew", world._replace(living=world.living | {holder}))
    for holder in sorted(here & world.living) if setting.lapses else ():
        yield Move("lapse", world._replace(living=world.living - {holder}))


def _again(run: RunModel) -> dict[int, str]:
    """What each node must be that runs again, where none has a rule: what has not succeeded, and the flow's hooks."""
    hooks = set(run.shape.flow_hooks)
    again = hooks | {at for at in run.places if at not in run.nodes or run.nodes[at].state != "succeeded"}
    return {at: "waiting" if at in hooks or again & set(run.shape.parents[at]) else "ready" for at in again}
