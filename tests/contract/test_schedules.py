"""Schedules in the store: each tick is decided about once, whoever does it, and nothing that was decided is lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskmesh.dispatch.advance import Advancer, Entrance
from taskmesh.model.schedules.schedule import Overlap, run_id_of
from taskmesh.model.schedules.ticks import Missed
from taskmesh.model.states import RunState
from taskmesh.store.calls import Word
from taskmesh.store.link import Command
from taskmesh.store.opening import open_link
from taskmesh.store.schedules.schedules import MOST_BACKFILL
from taskmesh.wire import pack
from tests.contract.schedule_bench import EVERYTHING, FIRST, ID, NOW, PARTITIONS, PLAN, SECOND, ScheduleBench
from tests.contract.store_bench import header_of

SECOND_TICK, THIRD_TICK = FIRST + SECOND, FIRST + 2 * SECOND
RUN_1, RUN_2, RUN_3 = (run_id_of(ID, tick) for tick in (FIRST, SECOND_TICK, THIRD_TICK))


@pytest.fixture(params=["redis_url", "valkey_url", "redis_cluster_url"])
def bench(request: pytest.FixtureRequest, namespace: str) -> Iterator[ScheduleBench]:
    link = open_link(request.getfixturevalue(request.param), 2.0, 5.0)
    yield ScheduleBench(link, namespace)
    link.close()


def _why(bench: ScheduleBench) -> list[tuple[str, int, int, int, str]]:
    return [each[:5] for each in bench.record().passed]


def test_a_tick_is_recorded_admitted_and_settled(bench: ScheduleBench) -> None:
    assert bench.put() is Word.PUT
    assert bench.reader.due(dict.fromkeys(EVERYTHING, NOW), 10) == [(ID, NOW)]
    answer = bench.fire(FIRST)
    assert (answer.word, [each.run_id for each in answer.recorded]) == (Word.FIRED, [RUN_1])
    assert bench.recorded() == list(answer.recorded)
    assert bench.standing().next_tick == SECOND_TICK
    bench.begin_all()
    assert bench.recorded() == []
    assert bench.runs.statuses([RUN_1]) == [RunState.RUNNING]
    assert [(each.run_id, each.kind, each.state) for each in bench.record().started] == [(RUN_1, "tick", "started")]
    assert bench.record().counts == {"begun": 1, "skipped": 0, "missed": 0, "refused": 0}


def test_a_tick_is_decided_about_once_however_often_and_by_whomever(bench: ScheduleBench) -> None:
    bench.put(overlap=Overlap.ALLOW_ALL)
    seen = bench.standing()
    assert bench.fire(FIRST, standing=seen).word is Word.FIRED
    assert bench.fire(FIRST, standing=seen).word is Word.MOVED
    assert len(bench.recorded()) == 1


@pytest.mark.parametrize("overlap", Overlap)
def test_two_keepers_that_saw_the_same_decide_once(bench: ScheduleBench, overlap: Overlap) -> None:
    bench.put(overlap=overlap)
    bench.fire(FIRST)
    bench.begin_all()
    seen = bench.standing()
    assert bench.fire(SECOND_TICK, standing=seen).word is Word.FIRED
    decided = bench.record()
    bench.now += 60
    assert bench.fire(SECOND_TICK, standing=seen, ended=[RUN_1]).word is Word.MOVED
    assert bench.fire(SECOND_TICK, THIRD_TICK, standing=seen).word is Word.MOVED
    assert bench.record() == decided


def test_two_keepers_that_saw_the_same_end_let_one_tick_go(bench: ScheduleBench) -> None:
    bench.put(overlap=Overlap.BUFFER_ALL)
    bench.fire(FIRST, SECOND_TICK, THIRD_TICK)
    bench.begin_all()
    seen = bench.standing()
    assert [each.run_id for each in bench.relieve(RUN_1, standing=seen).recorded] == [RUN_2]
    assert bench.relieve(RUN_1, standing=seen).recorded == ()
    assert bench.record().waiting == [THIRD_TICK]


def test_two_keepers_that_saw_the_same_gap_fill_it_once(bench: ScheduleBench) -> None:
    bench.put()
    _past(bench, 1, *[FIRST - at * SECOND for at in (5, 4, 3)])
    seen = bench.standing()
    assert len(bench.relieve(standing=seen).recorded) == 2
    assert bench.relieve(standing=seen).recorded == ()
    assert bench.record().backfill == 1


def test_what_waited_goes_by_the_newest_definition_alone(bench: ScheduleBench) -> None:
    bench.put(overlap=Overlap.BUFFER_ALL)
    bench.fire(FIRST, SECOND_TICK)
    seen = bench.standing()
    bench.put(seen=seen, overlap=Overlap.BUFFER_ALL, jitter_seconds=1.0)
    assert bench.relieve(RUN_1, standing=seen).word is Word.STALE
    assert bench.record().waiting == [SECOND_TICK]


def test_reads_go_up_to_a_time_of_each_partition(bench: ScheduleBench) -> None:
    bench.put(overlap=Overlap.BUFFER_ALL)
    bench.fire(FIRST, SECOND_TICK)
    number = bench.keys.partition_of(ID).number
    for until, found in ((NOW - 1, 0), (NOW, 1)):
        assert len(bench.reader.recorded({number: until}, 10)) == found
        assert len(bench.reader.busy({number: until}, 10)) == found
    assert bench.reader.recorded({number: NOW}, 10, since=NOW + 1) == []
    assert bench.reader.recorded({(number + 1) % PARTITIONS: NOW}, 10) == []


def test_a_definition_that_was_replaced_decides_about_nothing(bench: ScheduleBench) -> None:
    bench.put()
    seen = bench.standing()
    assert bench.put(seen=seen, jitter_seconds=1.0) is Word.PUT
    assert bench.standing().revision != seen.revision
    assert bench.fire(FIRST, standing=seen).word is Word.STALE


def test_a_removed_schedule_that_comes_again_has_another_revision(bench: ScheduleBench) -> None:
    bench.put()
    seen = bench.standing()
    assert bench.schedules.remove_schedule(ID) is Word.REMOVED
    assert bench.schedules.remove_schedule(ID) is Word.UNKNOWN
    assert bench.reader.ids() == []
    bench.put(params={"other": 1})
    assert bench.fire(FIRST, standing=seen).word is Word.STALE


def test_the_same_definition_again_changes_nothing_and_another_needs_what_was_seen(bench: ScheduleBench) -> None:
    assert bench.put() is Word.PUT
    assert bench.put() is Word.SAME
    assert bench.put(jitter_seconds=1.0) is Word.CHANGED
    seen = bench.standing()
    bench.fire(FIRST)
    assert bench.put(seen=seen, jitter_seconds=1.0) is Word.CHANGED, "a tick was decided about meanwhile"
    assert bench.put(seen=bench.standing(), jitter_seconds=1.0) is Word.PUT


def test_who_dies_between_record_and_run_loses_nothing(bench: ScheduleBench) -> None:
    bench.put()
    bench.fire(FIRST)
    bench.begin(bench.recorded())
    assert len(bench.recorded()) == 1, "admitted, not settled: the next keeper begins it again"
    bench.begin_all()
    assert bench.recorded() == []
    assert len(bench.record().started) == 1
    assert bench.runs.statuses([RUN_1]) == [RunState.RUNNING]


def test_a_tick_that_has_begun_and_could_not_any_more_is_not_refused(bench: ScheduleBench) -> None:
    bench.put()
    bench.fire(FIRST)
    assert [each.why for each in bench.begin(bench.recorded())] == [""]
    again = bench.begin(bench.recorded(), max_value_bytes=0)
    assert [each.why for each in again] == [""]
    bench.schedules.settle_ticks(again)
    [started] = bench.record().started
    assert (started.state, started.run_id) == ("started", RUN_1)
    bench.fire(SECOND_TICK)
    [passed] = _why(bench)
    assert passed[:4] == ("skipped", SECOND_TICK, SECOND_TICK, 1), "it runs"
    bench.end(RUN_1)
    bench.fire(THIRD_TICK, ended=[RUN_1])
    [refused] = bench.begin(bench.recorded(), max_value_bytes=0)
    assert "max_value_bytes" in refused.why, "one that has not begun is"


def test_a_tick_that_is_settled_again_counts_once(bench: ScheduleBench) -> None:
    bench.put()
    bench.fire(FIRST)
    settled = bench.begin(bench.recorded())
    bench.schedules.settle_ticks([*settled, *settled])
    assert len(bench.record().started) == 1


def test_what_was_recorded_keeps_its_definition_until_it_has_begun(bench: ScheduleBench) -> None:
    bench.put(tags={"which": "old"})
    bench.fire(FIRST)
    old = bench.standing().revision
    bench.put(seen=bench.standing(), tags={"which": "new"})
    bench.begin_all()
    [summary] = bench.runs.summaries([RUN_1])
    assert summary.tags == {"which": "old", "schedule": ID}
    assert bench.reader.definitions([(ID, old)]) == [None], "nobody needs it any more"


def test_a_removed_schedule_still_begins_what_it_had_recorded(bench: ScheduleBench) -> None:
    bench.put()
    bench.fire(FIRST)
    bench.schedules.remove_schedule(ID)
    assert bench.reader.record(ID) is None
    bench.begin_all()
    assert bench.runs.statuses([RUN_1]) == [RunState.RUNNING]
    key = bench.keys.partition_of(ID)
    left = [key.schedule(ID), key.schedule_part(ID, "started"), key.schedule_part(ID, "passed")]
    assert [bench.link.exchange([_exists(each)])[0] for each in left] == [0, 0, 0]


def _exists(key: str) -> Command:
    return Command(key, "EXISTS", key)


def test_skip(bench: ScheduleBench) -> None:
    bench.put()
    bench.fire(FIRST)
    bench.begin_all()
    answer = bench.fire(SECOND_TICK)
    assert (answer.recorded, answer.is_busy) == ((), False)
    assert _why(bench) == [("skipped", SECOND_TICK, SECOND_TICK, 1, f"run {RUN_1} had not ended")]
    bench.end(RUN_1)
    ended = bench.active.ended([bench.standing()])
    assert [each.run_id for each in bench.fire(THIRD_TICK, ended=ended[ID]).recorded] == [RUN_3]


def test_two_ticks_at_once_overlap_as_well(bench: ScheduleBench) -> None:
    bench.put()
    assert [each.run_id for each in bench.fire(FIRST, SECOND_TICK).recorded] == [RUN_1]
    assert bench.record().counts["skipped"] == 1


def test_buffer_one_keeps_the_first_that_must_wait(bench: ScheduleBench) -> None:
    bench.put(overlap=Overlap.BUFFER_ONE)
    answer = bench.fire(FIRST, SECOND_TICK, THIRD_TICK)
    assert (len(answer.recorded), answer.is_busy) == (1, True)
    assert bench.busy() == [ID]
    assert bench.record().waiting == [SECOND_TICK]
    assert _why(bench) == [("skipped", THIRD_TICK, THIRD_TICK, 1, "ticks waited already: 1")]
    bench.begin_all()
    assert bench.relieve().recorded == ()
    assert [each.run_id for each in bench.relieve(RUN_1).recorded] == [RUN_2]
    assert bench.busy() == []


def test_buffer_all_lets_them_go_one_after_another_in_their_order(bench: ScheduleBench) -> None:
    bench.put(overlap=Overlap.BUFFER_ALL)
    bench.fire(FIRST, SECOND_TICK, THIRD_TICK)
    assert bench.record().waiting == [SECOND_TICK, THIRD_TICK]
    assert [each.run_id for each in bench.relieve(RUN_1).recorded] == [RUN_2]
    assert bench.relieve().recorded == ()
    assert [each.run_id for each in bench.relieve(RUN_2).recorded] == [RUN_3]
    assert bench.record().passed == []


def test_cancel_other_cancels_and_lets_the_newest_begin_when_that_has_ended(bench: ScheduleBench) -> None:
    bench.put(overlap=Overlap.CANCEL_OTHER)
    bench.fire(FIRST)
    bench.begin_all()
    assert bench.fire(SECOND_TICK).is_busy
    bench.fire(THIRD_TICK)
    assert _why(bench) == [("skipped", SECOND_TICK, SECOND_TICK, 1, "a later tick took its place")]
    bench.active.stop_unwanted([bench.standing()])
    [summary] = bench.runs.summaries([RUN_1])
    assert summary.halted_by is not None
    assert (summary.halt, summary.halted_by.by) == ("cancelled", f"schedule {ID}")
    assert bench.active.ended([bench.standing()]) == {}
    assert [each.run_id for each in bench.relieve(RUN_1).recorded] == [RUN_3]


def test_terminate_other_begins_at_once(bench: ScheduleBench) -> None:
    bench.put(overlap=Overlap.TERMINATE_OTHER)
    bench.fire(FIRST)
    bench.begin_all()
    answer = bench.fire(SECOND_TICK)
    assert ([each.run_id for each in answer.recorded], answer.is_busy) == ([RUN_2], True)
    bench.active.stop_unwanted([bench.standing()])
    assert bench.runs.statuses([RUN_1]) == [RunState.TERMINATED]
    assert bench.active.ended([bench.standing()]) == {ID: [RUN_1]}, "the other one is recorded and not yet admitted"
    bench.relieve(RUN_1)
    assert [run.run_id for run in bench.standing().active] == [RUN_2]
    assert bench.busy() == []


def test_allow_all_keeps_no_list(bench: ScheduleBench) -> None:
    bench.put(overlap=Overlap.ALLOW_ALL)
    assert len(bench.fire(FIRST, SECOND_TICK, THIRD_TICK).recorded) == 3
    assert bench.standing().active == ()


def test_what_is_recorded_and_not_admitted_counts_as_active(bench: ScheduleBench) -> None:
    bench.put()
    bench.fire(FIRST)
    assert bench.active.ended([bench.standing()]) == {}
    bench.begin_all()
    assert bench.active.ended([bench.standing()]) == {}
    bench.end(RUN_1)
    assert bench.active.ended([bench.standing()]) == {ID: [RUN_1]}


def test_a_paused_schedule_skips_visibly_and_neighbours_are_one_entry(bench: ScheduleBench) -> None:
    bench.put()
    assert bench.pause() is Word.PAUSED
    assert bench.pause() is Word.PAUSED
    assert bench.fire(FIRST, SECOND_TICK).recorded == ()
    bench.fire(THIRD_TICK)
    assert _why(bench) == [("skipped", FIRST, THIRD_TICK, 3, "the schedule was paused")]
    paused = bench.record().paused
    assert paused is not None
    assert (paused.by, paused.why, paused.at) == ("ann", "too much", NOW)
    assert bench.schedules.resume_schedule(ID) is Word.RESUMED
    assert len(bench.fire(FIRST + 3 * SECOND).recorded) == 1
    assert bench.schedules.resume_schedule("nobody") is Word.UNKNOWN


def test_missed_ticks_are_told_with_their_reason(bench: ScheduleBench) -> None:
    bench.put()
    bench.fire(THIRD_TICK, missed=[Missed(FIRST, SECOND_TICK, 2, "too late")])
    assert _why(bench) == [("missed", FIRST, SECOND_TICK, 2, "too late")]
    bench.fire(FIRST + 9 * SECOND, missed=[Missed(THIRD_TICK, THIRD_TICK, 0, "too late")], ended=[RUN_3])
    assert _why(bench) == [("missed", FIRST, THIRD_TICK, 0, "too late")], "nobody has counted them all"
    assert bench.record().counts["missed"] == 2


def test_a_run_begins_when_somebody_asks_also_while_it_is_paused(bench: ScheduleBench) -> None:
    bench.put()
    bench.fire(FIRST)
    bench.pause()
    answer = bench.schedules.trigger_schedule(ID, f"{ID}@now-1", FIRST)
    assert bench.schedules.trigger_schedule(ID, f"{ID}@now-1", FIRST) == answer
    assert [each.kind for each in answer.recorded] == ["trigger"]
    bench.begin_all()
    assert len(bench.record().started) == 2
    assert [run.kind for run in bench.standing().active] == ["tick", "trigger"]
    assert bench.schedules.trigger_schedule("nobody", "nobody@now-1", FIRST).word is Word.UNKNOWN


def _past(bench: ScheduleBench, sign: int, *ticks: int) -> Word:
    return bench.schedules.backfill_schedule(ID, 2, [(sign * tick, run_id_of(ID, tick), tick) for tick in ticks])


@pytest.mark.parametrize("sign", [1, -1])
def test_a_backfill_runs_in_order_so_many_at_a_time_beside_the_others(bench: ScheduleBench, sign: int) -> None:
    bench.put()
    bench.fire(FIRST)
    past = [FIRST - at * SECOND for at in (5, 4, 3)]
    assert _past(bench, sign, *past) is Word.ADDED
    assert _past(bench, sign, *past) is Word.ADDED
    assert bench.record().backfill == 3
    expected = [run_id_of(ID, tick) for tick in past[::sign]]
    assert [each.run_id for each in bench.relieve().recorded] == expected[:2]
    assert bench.relieve().recorded == ()
    assert [each.run_id for each in bench.relieve(expected[1]).recorded] == expected[2:]
    assert bench.busy() == []
    bench.begin_all()
    assert {each.kind for each in bench.record().started} == {"tick", "backfill"}
    answer = bench.fire(SECOND_TICK, ended=[RUN_1])
    assert [each.run_id for each in answer.recorded] == [RUN_2], "runs of the past hold up nothing"


def test_a_backfill_of_what_has_run_is_the_same_run(bench: ScheduleBench) -> None:
    bench.put()
    bench.fire(FIRST)
    bench.begin_all()
    bench.end(RUN_1)
    _past(bench, 1, FIRST)
    bench.relieve(RUN_1)
    bench.begin_all()
    assert bench.runs.statuses([RUN_1]) == [RunState.SUCCEEDED]
    assert [each.state for each in bench.record().started] == ["started", "started"]


def test_a_backfill_has_a_limit(bench: ScheduleBench) -> None:
    bench.put()
    for start in range(0, MOST_BACKFILL, 500):
        assert _past(bench, 1, *range(start + 1, start + 501)) is Word.ADDED
    assert _past(bench, 1, FIRST) is Word.FULL
    assert bench.record().backfill == MOST_BACKFILL


def test_a_run_id_that_is_taken_is_refused_visibly(bench: ScheduleBench) -> None:
    packed = pack({})
    Advancer(bench.store).admit([Entrance(PLAN, RUN_1, b"of another body", header_of(PLAN), packed, RUN_1)])
    bench.put()
    bench.fire(FIRST)
    bench.begin_all()
    [refused] = bench.record().started
    assert (refused.state, "with another flow or other parameters" in refused.why) == ("refused", True)


def test_a_run_that_its_flow_refuses_is_told_and_holds_nothing_up(bench: ScheduleBench) -> None:
    bench.put(params={"a": 1})
    bench.fire(FIRST)
    bench.begin_all()
    [refused] = bench.record().started
    assert (refused.state, "has no parameter 'a'" in refused.why) == ("refused", True)
    assert bench.record().counts["refused"] == 1
    assert bench.standing().active == ()
