from __future__ import annotations

import random

from taskmesh.broker.ack_window import Ack, AckWindow


def window_with(count: int) -> AckWindow:
    window = AckWindow()
    for tag in range(1, count + 1):
        window.deliver(tag)
    return window


def test_a_complete_prefix_is_one_multiple_ack() -> None:
    window = window_with(5)
    for tag in (3, 1, 2):
        assert window.settle(tag)
    assert window.take_acks() == [Ack(3, multiple=True)]
    assert len(window) == 2


def test_one_ack_is_never_multiple() -> None:
    window = window_with(2)
    window.settle(1)
    assert window.take_acks() == [Ack(1, multiple=False)]


def test_what_is_settled_above_a_held_tag_is_acked_alone() -> None:
    window = window_with(5)
    for tag in (1, 2, 4):
        window.settle(tag)
    assert window.take_acks() == [Ack(2, multiple=True), Ack(4, multiple=False)]


def test_all_settled_is_one_ack_whatever_the_order() -> None:
    window = window_with(100)
    tags = list(range(1, 101))
    random.Random(7).shuffle(tags)
    for tag in tags:
        window.settle(tag)
    assert window.take_acks() == [Ack(100, multiple=True)]
    assert window.take_acks() == []


def test_nothing_settled_is_nothing_to_send() -> None:
    assert window_with(3).take_acks() == []
    assert AckWindow().take_acks() == []


def test_a_second_settle_of_a_tag_is_ignored() -> None:
    window = window_with(2)
    assert window.settle(1)
    assert not window.settle(1)
    assert window.take_acks() == [Ack(1, multiple=False)]
    assert not window.settle(1)
    assert window.take_acks() == []


def test_a_tag_that_was_never_delivered_is_ignored() -> None:
    window = window_with(1)
    assert not window.settle(9)
    assert not window.forget(9)
    assert window.take_acks() == []


def test_a_tag_given_back_is_not_acked_and_holds_nothing_up() -> None:
    window = window_with(3)
    assert window.forget(1)
    window.settle(2)
    window.settle(3)
    assert window.take_acks() == [Ack(3, multiple=True)]


def test_random_orders_settle_exactly_what_was_settled() -> None:
    """Against a broker that knows its unacked tags: no ack names an unknown tag, none covers a held one."""
    for seed in range(50):
        dice = random.Random(seed)
        window, unacked, settled = AckWindow(), set[int](), set[int]()
        held: list[int] = []
        for tag in range(1, 200):
            window.deliver(tag)
            unacked.add(tag)
            held.append(tag)
            while held and dice.random() < 0.5:
                done = held.pop(dice.randrange(len(held)))
                if dice.random() < 0.1:
                    assert window.forget(done)
                    unacked.discard(done)
                else:
                    assert window.settle(done)
                    settled.add(done)
            if dice.random() < 0.3:
                for ack in window.take_acks():
                    assert ack.tag in unacked
                    covered = {other for other in unacked if other <= ack.tag} if ack.multiple else {ack.tag}
                    assert covered <= settled
                    unacked -= covered
                assert unacked == set(held)
