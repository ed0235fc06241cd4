"""The ids of a tape: what stands in the log, what is missing, what to ask for."""

from hypothesis import given
from hypothesis import strategies as st

from connectors.sources.binance_ids import Candles, Recent, Tape


class Someone:
    def __init__(self, wanted=True):
        self.wanted = wanted


def taken(*ids, owner=None):
    tape = Tape()
    for trade_id in ids:
        gap = tape.take(trade_id)
        if gap is not None:
            gap.owner = owner
    return tape


def missing(tape):
    return [i for gap in tape.gaps for i in range(gap.first, gap.last + 1)]


def test_ids_in_sequence_leave_nothing_missing():
    tape = taken(7, 8, 9)

    assert tape.newest == 9
    assert tape.gaps == []
    assert [tape.knows(i) for i in (6, 7, 9, 10)] == [False, True, True, False]


def test_a_late_id_closes_its_gap():
    tape = taken(1, 5)
    for trade_id, left in ((3, [2, 4]), (2, [4]), (4, [])):
        assert not tape.knows(trade_id)
        tape.take(trade_id)
        assert missing(tape) == left
        assert tape.knows(trade_id)


def test_a_trade_that_was_shed_is_missing_and_known_to_be_the_newest():
    owner = Someone()
    tape = taken(1)
    assert tape.lose(2, owner) is None
    assert tape.lose(3, owner) is None
    gap = tape.lose(6, owner)

    assert (gap.first, gap.last) == (4, 5)
    assert tape.newest == 6
    assert missing(tape) == [2, 3, 4, 5, 6]
    assert tape.owner_of(2) is owner


def test_ids_before_the_first_are_taken_in_and_not_asked_for():
    tape = taken(10, owner=Someone())
    tape.take(7)

    assert tape.knows(7)
    assert not tape.knows(8)
    assert tape.page(1000) is None
    tape.take(8)
    assert tape.knows(8)
    tape.take(-5000)  # of another age: the floor stays
    assert not tape.knows(-5000)


def test_a_page_reaches_over_as_many_gaps_as_it_holds():
    tape = taken(1, 4, 7, 100, 2000, owner=Someone())

    assert tape.page(1000) == (2, 1001)
    assert tape.page(4) == (2, 5)
    assert tape.page(2) == (2, 3)
    assert tape.page(1000, 1001) == (1002, 1999)
    assert tape.page(1000, 1999) is None


def test_only_what_is_wanted_is_asked_for():
    held, wanted = Someone(wanted=False), Someone()
    tape = taken(1, 3, owner=held)
    gap = tape.take(6)
    gap.owner = wanted

    assert tape.page(1000) == (4, 5)
    held.wanted = True
    assert tape.page(1000) == (2, 5)
    assert tape.disown(wanted) == (4, 5)
    assert tape.page(1000) == (2, 2)
    assert not tape.knows(4)  # so that it is taken in if it comes after all


def test_forgotten_ids_are_missed_no_more():
    tape = taken(1, 10, owner=Someone())

    assert tape.forget(4, 20) == 6
    assert missing(tape) == [2, 3]
    assert tape.knows(5)


@given(st.lists(st.integers(0, 60), max_size=80), st.integers(1, 20))
def test_a_tape_agrees_with_a_set_of_ids(ids, most):
    owner = Someone()
    tape = Tape()
    seen = set()
    for trade_id in ids:
        assert tape.knows(trade_id) == (trade_id in seen)
        if tape.knows(trade_id):
            continue
        gap = tape.take(trade_id)
        if gap is not None:
            gap.owner = owner
        seen.add(trade_id)
    if not seen:
        return
    assert tape.newest == max(seen)
    assert missing(tape) == [i for i in range(min(seen), max(seen)) if i not in seen]
    # Asking page by page brings all that is wanted, and never an empty or too long page.
    after, asked = -2, set()
    while (page := tape.page(most, after)) is not None:
        first, after = page
        assert 1 <= after - first + 1 <= most
        asked.update(range(first, after + 1))
    assert {i for i in missing(tape) if tape.owner_of(i)} <= asked
    for trade_id in sorted(asked - seen):
        if tape.owner_of(trade_id):
            tape.take(trade_id)
    assert tape.page(most) is None


@given(st.lists(st.integers(0, 500), max_size=200))
def test_an_update_is_known_once_it_came(updates):
    recent = Recent()
    seen = set()
    for update in updates:
        assert recent.knows(update) == (update in seen)
        recent.take(update)
        seen.add(update)


def test_updates_of_long_ago_are_forgotten_but_memory_is_bounded():
    recent = Recent()
    for update in range(10_000):
        recent.take(update)

    assert recent.knows(9_000)
    assert not recent.knows(10)
    assert len(recent._now) + len(recent._before) <= 2048


def test_candles_come_once_closed_and_by_their_time_while_open():
    candles = Candles()

    assert candles.take("1s", 0, 5, closed=False)
    assert not candles.take("1s", 0, 5, closed=False)
    assert candles.take("1s", 0, 6, closed=False)
    assert candles.take("1s", 0, 10, closed=True)
    assert not candles.take("1s", 0, 10, closed=True)
    assert candles.take("1s", 10, 11, closed=False)
    assert candles.take("1m", 0, 10, closed=True)
