from __future__ import annotations

from taskmesh.broker.confirm_window import Batch, ConfirmWindow, Parcel


def parcel(body: bytes, key: str = "k") -> Parcel:
    return Parcel("exchange", key, body, None, "pool", Batch(1, None))


def filled(*bodies: bytes) -> ConfirmWindow:
    window = ConfirmWindow()
    for number, body in enumerate(bodies):
        window.send(parcel(body), now=float(number))
    return window


def bodies(parcels: list[Parcel]) -> list[bytes]:
    return [item.body for item in parcels]


def test_a_single_confirm_settles_one_message() -> None:
    window = filled(b"a", b"b", b"c")
    assert bodies(window.confirm(2, multiple=False).safe) == [b"b"]
    assert len(window) == 2


def test_a_multiple_confirm_settles_all_up_to_its_tag_in_order() -> None:
    window = filled(b"a", b"b", b"c")
    window.confirm(2, multiple=False)
    assert bodies(window.confirm(3, multiple=True).safe) == [b"a", b"c"]
    assert len(window) == 0


def test_a_confirm_that_comes_twice_settles_nothing_more() -> None:
    window = filled(b"a")
    window.confirm(1, multiple=False)
    assert window.confirm(1, multiple=False).safe == []
    assert window.confirm(1, multiple=True).safe == []


def test_a_returned_message_is_not_safe_when_its_confirm_comes() -> None:
    window = filled(b"a", b"b", b"c")
    window.note_returned("exchange", "k", b"b")
    confirmed = window.confirm(3, multiple=True)
    assert bodies(confirmed.safe) == [b"a", b"c"]
    assert bodies(confirmed.unroutable) == [b"b"]


def test_of_equal_messages_as_many_are_unroutable_as_were_returned() -> None:
    window = filled(b"a", b"a", b"a")
    window.note_returned("exchange", "k", b"a")
    window.note_returned("exchange", "k", b"a")
    confirmed = window.confirm(3, multiple=True)
    assert (len(confirmed.safe), len(confirmed.unroutable)) == (1, 2)
    window.send(parcel(b"a"), now=9.0)
    assert bodies(window.confirm(4, multiple=False).safe) == [b"a"]


def test_a_message_that_shares_only_the_body_with_a_returned_one_is_safe() -> None:
    window = ConfirmWindow()
    window.send(parcel(b"a", "k1"), now=0.0)
    window.send(parcel(b"a", "k2"), now=0.0)
    window.note_returned("exchange", "k2", b"a")
    confirmed = window.confirm(2, multiple=True)
    assert [item.routing_key for item in confirmed.safe] == ["k1"]


def test_the_oldest_is_the_first_that_is_not_confirmed() -> None:
    window = filled(b"a", b"b", b"c")
    assert window.oldest_sent_at == 0.0
    window.confirm(1, multiple=False)
    assert window.oldest_sent_at == 1.0
    window.confirm(3, multiple=True)
    assert window.oldest_sent_at is None


def test_a_new_channel_counts_from_one_and_owes_nothing_to_the_old() -> None:
    window = filled(b"a", b"b", b"c")
    window.confirm(2, multiple=False)
    window.note_returned("exchange", "k", b"a")
    assert bodies(window.take_all()) == [b"a", b"c"]
    window.send(parcel(b"a"), now=5.0)
    confirmed = window.confirm(1, multiple=False)
    assert bodies(confirmed.safe) == [b"a"]
    assert confirmed.unroutable == []
