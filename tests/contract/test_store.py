"""The scripts do what the transition table says, on every server that taskmesh supports."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from taskmesh.dispatch.advance import Advance
from taskmesh.dispatch.plan import EDGES_PER_SCRIPT
from taskmesh.keeper.leadership import Wish
from taskmesh.model.flow import Node
from taskmesh.model.states import NodeState, RunState
from taskmesh.model.triggers import Rule, Trigger
from taskmesh.store.calls import Claim, NodeKey, Release, Word
from taskmesh.store.elections import Elections
from taskmesh.store.inspection import refuse_unsafe
from taskmesh.store.keys import Keys
from taskmesh.store.link import Command
from taskmesh.store.opening import open_link
from taskmesh.wire import pack, unpack
from tests.contract.store_bench import ME, OTHER, Bench, diamond, plan_of

SERVERS = ("redis_url", "valkey_url", "redis_cluster_url")


@pytest.fixture(params=SERVERS)
def bench(request: pytest.FixtureRequest, namespace: str) -> Iterator[Bench]:
    bench = Bench(request.getfixturevalue(request.param), namespace)
    yield bench
    bench.link.close()


def _ready(advance: Advance) -> list[int]:
    return sorted(ready.node for ready in advance.ready)


def test_a_diamond_runs_in_order_and_ends(bench: Bench) -> None:
    plan = diamond()
    assert _ready(bench.admit(plan)) == [0]
    assert _ready(bench.run_through(plan, 0)) == [1, 2]
    assert _ready(bench.run_through(plan, 2)) == []
    assert bench.claim(plan, 3).word is Word.EARLY
    assert _ready(bench.run_through(plan, 1)) == [3]
    last = bench.run_through(plan, 3)
    assert (last.word, last.run_status) == (Word.SETTLED, "succeeded")
    record = bench.record()
    assert record.summary.status is RunState.SUCCEEDED
    assert record.summary.remaining == 0
    assert unpack(record.outputs[3]) == "out 3"
    assert {node.state for node in record.nodes.values()} == {NodeState.SUCCEEDED}
    assert bench.outbox() == set()


def test_every_call_may_be_repeated(bench: Bench) -> None:
    plan = diamond()
    first = bench.admit(plan)
    assert (bench.admit(plan).word, _ready(bench.admit(plan))) == (Word.SAME, _ready(first))
    claimed = bench.claim(plan, 0)
    assert bench.claim(plan, 0) == claimed
    settled = bench.settle(plan, 0, claimed.token)
    again = bench.settle(plan, 0, claimed.token)
    assert (again.word, _ready(again)) == (Word.AGAIN, _ready(settled))
    for node in (1, 2):
        bench.run_through(plan, node)
        bench.settle(plan, node, 2)
    assert bench.record().summary.remaining == 1
    bench.run_through(plan, 3)
    bench.settle(plan, 3, 2)
    assert bench.record().summary.remaining == 0
    assert bench.record().summary.status is RunState.SUCCEEDED


def test_another_body_under_the_same_id_is_a_conflict(bench: Bench) -> None:
    plan = diamond()
    bench.admit(plan)
    assert bench.admit(plan, params={"other": 1}).word is Word.CONFLICT


def test_only_the_newest_token_may_settle(bench: Bench) -> None:
    plan = diamond()
    bench.admit(plan)
    old = bench.claim(plan, 0, OTHER)
    assert bench.release(0, old.token, holder=OTHER) is Word.RELEASED
    new = bench.claim(plan, 0)
    assert new.token > old.token
    assert new.attempt == 2
    assert bench.settle(plan, 0, old.token, holder=OTHER).word is Word.STALE
    assert bench.record().nodes[0].state is NodeState.RUNNING
    assert bench.settle(plan, 0, new.token).word is Word.SETTLED
    assert bench.settle(plan, 0, old.token, "failed", OTHER).word is Word.STALE
    assert bench.record().nodes[0].state is NodeState.SUCCEEDED


def test_a_living_holder_keeps_its_node_and_a_dead_one_does_not(bench: Bench) -> None:
    plan = diamond()
    bench.admit(plan)
    theirs = bench.claim(plan, 0, OTHER)
    assert bench.claim(plan, 0).word is Word.HELD
    bench.housekeeping.end_holder(OTHER)
    mine = bench.claim(plan, 0)
    assert (mine.word, mine.token) == (Word.CLAIMED, theirs.token + 1)


def test_the_keeper_takes_nodes_from_the_dead(bench: Bench) -> None:
    plan = diamond()
    bench.admit(plan)
    theirs = bench.claim(plan, 0, OTHER)
    assert bench.outbox() == {NodeKey("r1", 0)}
    assert bench.redrive(0).word is Word.HELD
    bench.housekeeping.end_holder(OTHER)
    redriven = bench.redrive(0)
    assert (redriven.word, redriven.attempt, redriven.token) == (Word.REDRIVE, 1, theirs.token + 1)
    assert bench.settle(plan, 0, theirs.token).word is Word.STALE
    assert bench.claim(plan, 0).attempt == 2
    assert bench.housekeeping.renew_holder(OTHER, 30.0) is False
    assert bench.housekeeping.renew_holder(OTHER, 30.0) is True


def test_a_release_can_keep_the_attempt_unused(bench: Bench) -> None:
    plan = diamond()
    bench.admit(plan)
    claimed = bench.claim(plan, 0)
    assert bench.release(0, claimed.token, counts=False) is Word.RELEASED
    assert bench.claim(plan, 0, token=3).attempt == 1


def test_what_a_condition_reads_is_what_the_first_claim_has_seen(bench: Bench) -> None:
    rule = Trigger(Rule.ANY_SUCCESS)
    when = "nodes.slow.state == 'succeeded' && nodes.quick.output == 'out 0' && params.x == 1"
    beside = Node("beside", "t", needs=("quick", "slow"), trigger=rule, when=when)
    plan = plan_of(Node("quick", "t"), Node("slow", "t"), beside)
    bench.admit(plan)
    bench.run_through(plan, 0)
    bench.claim(plan, 1, OTHER)
    first = bench.claim(plan, 2)
    assert sorted(_pairs(first.fields[0])) == [(0, "succeeded"), (1, "running")]
    assert bench.claim(plan, 2) == first
    bench.settle(plan, 1, 2, holder=OTHER)
    assert bench.release(2, first.token) is Word.RELEASED
    again = bench.claim(plan, 2)
    assert (again.token, again.fields[0]) == (first.token + 2, first.fields[0])
    assert bench.record().seen == {2: first.fields[0]}


def _pairs(packed: bytes | None) -> list[tuple[int, str]]:
    flat = unpack(packed or b"")
    return list(zip(flat[::2], flat[1::2], strict=True))


def test_a_token_that_was_never_given_is_refused(bench: Bench) -> None:
    plan = diamond()
    bench.admit(plan)
    assert bench.claim(plan, 0, token=7).word is Word.FUTURE
    assert bench.claim(plan, 0, run_id="nobody").word is Word.UNKNOWN


def test_failure_skips_what_depends_on_it(bench: Bench) -> None:
    plan = plan_of(
        Node("a", "t"),
        Node("b", "t"),
        Node("c", "t", needs=("a",)),
        Node("d", "t", needs=("c",)),
        Node("e", "t", needs=("d", "b")),
        Node("f", "t", needs=("b",)),
    )
    bench.admit(plan)
    failed = bench.run_through(plan, 0, "failed", error=pack({"type": "E", "message": "no", "traceback": ""}))
    assert failed.run_status == "running"
    states = {index: node.state for index, node in bench.record().nodes.items()}
    lost = NodeState.UPSTREAM_FAILED
    assert states == {0: NodeState.FAILED, 1: NodeState.READY, 2: lost, 3: lost, 4: lost}
    assert _ready(bench.run_through(plan, 1)) == [5]
    assert bench.run_through(plan, 5).run_status == "failed"
    assert bench.record().failed_node == 0
    assert bench.outbox() == set()


def test_a_halted_run_starts_nothing_more(bench: Bench) -> None:
    plan = plan_of(Node("a", "t"), Node("b", "t"), Node("c", "t", needs=("b",)))
    bench.admit(plan)
    bench.run_through(plan, 0, "failed", halt="failed")
    claimed = bench.claim(plan, 1)
    assert claimed.halt == "failed"
    ended = bench.settle(plan, 1, claimed.token, "cancelled")
    assert ended.run_status == "failed"
    assert bench.record().nodes[2].state is NodeState.SKIPPED


def test_cancelling_ends_a_run_as_cancelled(bench: Bench) -> None:
    plan = diamond()
    bench.admit(plan)
    assert bench.halt("r1", "cancelled") == (Word.HALTED, "")
    assert bench.halt("r1", "cancelled") == (Word.HALTED, "")
    claimed = bench.claim(plan, 0)
    assert claimed.halt == "cancelled"
    assert bench.settle(plan, 0, claimed.token, "cancelled").run_status == "cancelled"
    assert bench.halt("r1", "cancelled") == (Word.ENDED, "cancelled")
    assert bench.halt("nobody", "cancelled") == (Word.UNKNOWN, "")


WIDTH = EDGES_PER_SCRIPT * 2 + 7


def test_a_wide_flow_spreads_in_slices(bench: Bench) -> None:
    workers = [Node(f"w{index}", "t", needs=("a",)) for index in range(WIDTH)]
    plan = plan_of(Node("a", "t"), *workers, Node("join", "t", needs=tuple(node.name for node in workers)))
    bench.admit(plan)
    assert _ready(bench.run_through(plan, 0)) == list(range(1, WIDTH + 1))
    for node in range(1, WIDTH):
        assert _ready(bench.run_through(plan, node)) == []
    assert _ready(bench.run_through(plan, WIDTH)) == [WIDTH + 1]
    assert bench.run_through(plan, WIDTH + 1).run_status == "succeeded"


def test_many_first_nodes_are_all_made_ready(bench: Bench) -> None:
    plan = plan_of(*(Node(f"w{index}", "t") for index in range(WIDTH)))
    assert _ready(bench.admit(plan)) == list(range(WIDTH))
    assert _ready(bench.admit(plan)) == list(range(WIDTH))
    assert len(bench.outbox()) == WIDTH
    assert bench.record().summary.remaining == WIDTH


def test_a_teller_that_died_half_way_is_followed_by_another(bench: Bench) -> None:
    workers = [Node(f"w{index}", "t", needs=("a",)) for index in range(WIDTH)]
    plan = plan_of(Node("a", "t"), *workers)
    bench.admit(plan)
    claimed = bench.claim(plan, 0)
    told_once = [plan.chunks(0)[0]]
    plan._chunks[0], whole = tuple(told_once), plan.chunks(0)
    assert len(bench.settle(plan, 0, claimed.token).ready) == EDGES_PER_SCRIPT
    plan._chunks[0] = whole
    assert NodeKey("r1", 0) in bench.outbox()
    again = bench.claim(plan, 0)
    assert (again.word, again.spread) == (Word.ENDED, EDGES_PER_SCRIPT)
    resumed = bench.advancer.resume(plan, NodeKey("r1", 0), "r1")
    assert _ready(resumed) == list(range(1, WIDTH + 1))
    assert NodeKey("r1", 0) not in bench.outbox()
    assert len(bench.outbox()) == WIDTH


def test_a_wide_failure_skips_all_and_counts_each_once(bench: Bench) -> None:
    middle = [Node(f"w{index}", "t", needs=("a",)) for index in range(WIDTH)]
    ends = [Node(f"e{index}", "t", needs=(f"w{index}", "w0")) for index in range(1, WIDTH)]
    plan = plan_of(Node("a", "t"), *middle, *ends)
    bench.admit(plan)
    assert bench.run_through(plan, 0, "failed").run_status == "failed"
    record = bench.record()
    assert record.summary.remaining == 0
    assert len(record.nodes) == len(plan.flow.nodes)
    assert bench.outbox() == set()


def test_redrive_gives_a_new_token_to_what_still_waits(bench: Bench) -> None:
    plan = diamond()
    bench.admit(plan)
    redriven = bench.redrive(0)
    assert (redriven.word, redriven.token) == (Word.REDRIVE, 2)
    bench.run_through(plan, 0)
    assert bench.redrive(0).word is Word.SETTLED


def test_scripts_come_back_after_a_flush(bench: Bench) -> None:
    plan = diamond()
    bench.admit(plan)
    for partition in bench.keys.partitions:
        bench.link.exchange([Command(partition.holders, "SCRIPT", "FLUSH")])
    assert bench.claim(plan, 0).word is Word.CLAIMED


def test_ended_runs_expire_with_their_flow_and_open_ones_do_not(bench: Bench) -> None:
    plan = plan_of(Node("a", "t"))
    bench.admit(plan, "r1")
    bench.admit(plan, "r2")
    run, other = bench.keys.run("r1"), bench.keys.run("r2")
    flows = [bench.keys.partition_of(each).flow(plan.hash) for each in ("r1", "r2")]
    bench.run_through(plan, 0)
    assert 0 < bench.link.exchange([Command(run, "PTTL", run)])[0] <= 60_000
    assert bench.link.exchange([Command(other, "PTTL", other)]) == [-1]
    assert bench.link.exchange([Command(flows[1], "PTTL", flows[1])]) == [-1]
    bench.run_through(plan, 0, run_id="r2")
    assert all(bench.link.exchange([Command(flow, "PTTL", flow)])[0] > 0 for flow in flows)
    bench.admit(plan, "r3")
    flow = bench.keys.partition_of("r3").flow(plan.hash)
    assert bench.link.exchange([Command(flow, "PTTL", flow)]) == [-1]


def test_lists_show_the_newest_first(bench: Bench) -> None:
    plan = plan_of(Node("a", "t"))
    for run_id in ("r1", "r2", "r3"):
        bench.admit(plan, run_id)
    bench.run_through(plan, 0, run_id="r2")
    assert [row.run_id for row in bench.reader.list_runs(False, 10)] == ["r3", "r1"]
    assert [row.run_id for row in bench.reader.list_runs(True, 10)] == ["r2"]
    assert bench.reader.statuses(["r1", "r2", "no"]) == [RunState.RUNNING, RunState.SUCCEEDED, None]


def elections_at(bench: Bench, now: float) -> Elections:
    return Elections(bench.link, bench.keys, repr(now))


def test_each_partition_has_one_keeper_and_a_new_one_a_higher_epoch(bench: Bench) -> None:
    take = [Wish.TAKE] * 4
    assert elections_at(bench, 100.0).lead(ME, 5.0, take) == dict.fromkeys(range(4), 1)
    assert elections_at(bench, 101.0).lead(OTHER, 5.0, take) == {}
    assert elections_at(bench, 105.9).lead(ME, 5.0, take) == {}.fromkeys(range(4), 2)
    assert elections_at(bench, 107.0).lead(ME, 5.0, take) == {}.fromkeys(range(4), 2)
    assert elections_at(bench, 112.0).lead(OTHER, 5.0, take) == {}.fromkeys(range(4), 3)


def test_a_spare_keeper_waits_until_nobody_has_led_for_a_lease(bench: Bench) -> None:
    spare = [Wish.SPARE] * 4
    assert elections_at(bench, 100.0).lead(ME, 5.0, [Wish.TAKE, Wish.TAKE, Wish.TAKE, Wish.SPARE]) == dict.fromkeys(
        range(4), 1
    )
    assert elections_at(bench, 109.9).lead(OTHER, 5.0, spare) == {}
    assert elections_at(bench, 110.0).lead(OTHER, 5.0, spare) == dict.fromkeys(range(4), 2)


def test_a_spare_keeper_goes_when_one_comes_whose_partition_it_should_be(bench: Bench) -> None:
    spare, take = [Wish.SPARE] * 4, [Wish.TAKE] * 4
    assert len(elections_at(bench, 100.0).lead(ME, 5.0, spare)) == 4
    assert len(elections_at(bench, 101.0).lead(ME, 5.0, spare)) == 4
    assert elections_at(bench, 101.5).lead(OTHER, 5.0, take) == {}
    assert elections_at(bench, 102.0).lead(ME, 5.0, spare) == {}
    assert elections_at(bench, 102.5).lead(OTHER, 5.0, take) == dict.fromkeys(range(4), 2)


def test_what_is_yielded_is_free_at_once(bench: Bench) -> None:
    elections_at(bench, 100.0).lead(ME, 5.0, [Wish.TAKE] * 4)
    assert elections_at(bench, 101.0).lead(ME, 5.0, [Wish.YIELD, Wish.TAKE, Wish.TAKE, Wish.TAKE]).keys() == {1, 2, 3}
    assert elections_at(bench, 101.0).lead(OTHER, 5.0, [Wish.TAKE] * 4) == {0: 2}


def test_a_keeper_that_was_overtaken_gives_out_no_node(bench: Bench) -> None:
    bench.admit(diamond())
    number = bench.keys.partition_of("r1").number
    mine = elections_at(bench, 100.0).lead(ME, 5.0, [Wish.TAKE] * 4)
    theirs = elections_at(bench, 200.0).lead(OTHER, 5.0, [Wish.TAKE] * 4)
    assert (mine[number], theirs[number]) == (1, 2)
    node = (NodeKey("r1", 0), "default")
    assert [answer.word for answer in bench.store.redrive_nodes([node], mine)] == [Word.STALE]
    [answer] = bench.store.redrive_nodes([node], theirs)
    assert (answer.word, answer.token) == (Word.REDRIVE, 2)


def test_probes_are_kept(bench: Bench) -> None:
    bench.housekeeping.note_probes("default", {"q0": 12.5})
    bench.housekeeping.note_probes("default", {"q1": 13.5})
    assert bench.housekeeping.probes("default") == {"q0": 12.5, "q1": 13.5}


def test_a_server_that_may_evict_is_refused(redis_url: str, namespace: str) -> None:
    client = redis.Redis.from_url(redis_url)
    before = client.config_get("maxmemory-policy")["maxmemory-policy"]
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(Exception, match="maxmemory-policy is allkeys-lru"):
            refuse_unsafe(open_link(redis_url, 2.0, 5.0), Keys(namespace, 1), "everysec")
    finally:
        client.config_set("maxmemory-policy", before)
        client.close()


def test_a_repeated_release_answers_the_same(bench: Bench) -> None:
    plan = diamond()
    bench.admit(plan)
    claimed = bench.claim(plan, 0)
    release = Release(NodeKey("r1", 0), claimed.token, "default", counts=False)
    first = bench.store.release_nodes([release], ME)
    assert first[0].word is Word.RELEASED
    assert bench.store.release_nodes([release], ME) == first
    assert bench.record().nodes[0].attempt == 0
    bench.claim(plan, 0)
    assert bench.release(0, claimed.token) is Word.STALE


def test_a_damaged_run_answers_for_itself_alone(bench: Bench) -> None:
    plan = diamond()
    bench.admit(plan, "r1")
    bench.admit(plan, "r2")
    key = bench.keys.run("r1")
    bench.link.exchange([Command(key, "DEL", key), Command(key, "SET", key, "no hash")])
    claims = [Claim(NodeKey(run_id, 0), 1, ()) for run_id in ("r1", "r2")]
    assert [answer.word for answer in bench.store.claim_nodes(claims, ME)] == [Word.BROKEN, Word.CLAIMED]
    assert bench.settle(plan, 0, 2).word is Word.BROKEN
    assert bench.redrive(0).word is Word.BROKEN
    assert bench.release(0, 2) is Word.BROKEN
    assert [row.run_id for row in bench.reader.list_runs(False, 10)] == ["r2"]
    assert bench.reader.fields_of_runs(["r1", "r2", "no"], ["shard_key"]) == [[None], [b"r2"], [None]]


def test_postponed_nodes_come_last_and_nothing_is_made_up(bench: Bench) -> None:
    plan = plan_of(Node("a", "t"), Node("b", "t"))
    bench.admit(plan)
    bench.housekeeping.postpone("default", [NodeKey("r1", 0), NodeKey("r1", 7)])
    assert bench.housekeeping.overdue("default", 1e12, 10) == [NodeKey("r1", 1), NodeKey("r1", 0)]
