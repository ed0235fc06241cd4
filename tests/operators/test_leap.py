"""A clock that moved is told from a time that is rubbish."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.leap import LEAP, LeapGuard

SECOND = 10**9
START = 1_700_000_000 * SECOND


def clear(times, guard=None):
    guard = guard or LeapGuard()
    out = [found for time in times for found in guard.push(time, time)]
    return out + guard.end()


def test_first_three_agree_and_hold():
    assert clear([START, START + 1, START + 2]) == [
        (START, True),
        (START + 1, True),
        (START + 2, True),
    ]


def test_first_time_that_nobody_shares_is_refuted():
    year_2262 = 2**63 - 1
    times = [year_2262, START, START + 1, START + 2]

    assert clear(times) == [(year_2262, False), *((t, True) for t in times[1:])]


def test_single_leaps_forward_and_back_are_refuted():
    guard = LeapGuard(current=START)
    times = [START + 1, START + 2 * LEAP, START + 2, START - 2 * LEAP, START + 3]

    refuted = [time for time, holds in clear(times, guard) if not holds]

    assert refuted == [times[1], times[3]]
    assert guard.current == START + 3


def test_three_that_agree_move_time_back():
    guard = LeapGuard(current=START)
    hour_back = [START - 3600 * SECOND + step for step in range(3)]

    assert clear(hour_back, guard) == [(time, True) for time in hour_back]
    assert guard.current == hour_back[-1]


def test_a_leap_at_the_end_is_refuted():
    assert clear([START + 2 * LEAP] * 2, LeapGuard(current=START)) == [
        (START + 2 * LEAP, False),
        (START + 2 * LEAP, False),
    ]


def test_one_item_can_be_a_whole_input():
    assert clear([START]) == [(START, True)]


def test_noise_is_held_in_bounded_numbers():
    guard = LeapGuard()

    for place in range(1000):
        guard.push(place * 10 * LEAP, place)

    assert len(guard.doubts) <= 64


def test_state_pickles_in_doubt():
    guard = LeapGuard(current=START)
    guard.push(START + 2 * LEAP, "a")

    assert pickle.loads(pickle.dumps(guard)) == guard


@given(
    st.lists(st.integers(0, LEAP), min_size=3, max_size=12),
    st.lists(
        st.tuples(st.integers(0, 12), st.sampled_from([0, 1, 10**15, 4 * 10**18, 2**63 - 1])),
        max_size=6,
        unique_by=lambda pair: pair[1],
    ),
)
def test_refuted_times_leave_no_trace(steps, rubbish):
    good = [START + sum(steps[:place]) for place in range(len(steps))]
    mixed = list(good)
    for place, time in sorted(rubbish, reverse=True):
        mixed.insert(min(place, len(mixed)), time)

    held = [time for time, holds in clear(mixed) if holds]

    assert held == [time for time, holds in clear(good) if holds]


@pytest.mark.parametrize("place", range(13))
def test_one_stamped_ahead_of_the_flow_is_refuted_wherever_it_stands(place):
    good = [START + second * SECOND for second in range(12)]
    ahead = START + 50 * SECOND

    found = clear([*good[:place], ahead, *good[place:]])

    assert found == [*((t, True) for t in good[:place]), (ahead, False),
                     *((t, True) for t in good[place:])]  # fmt: skip


@pytest.mark.parametrize("pause", [6, 20, 59, 3600])
def test_flow_after_a_pause_holds_whole(pause):
    times = [START + second * SECOND for second in (0, 1, 2, 2 + pause, 3 + pause, 4 + pause)]

    assert clear(times) == [(time, True) for time in times]


@pytest.mark.parametrize("apart", [8, 20, 59])
@pytest.mark.parametrize("count", range(1, 9))
def test_sparse_items_hold_to_the_last(apart, count):
    times = [START + place * apart * SECOND for place in range(count)]

    assert clear(times) == [(time, True) for time in times]


def test_one_ahead_of_sparse_items_is_refuted():
    times = [START + second * SECOND for second in (0, 8, 58, 16, 24, 32, 40)]

    assert clear(times) == [(time, time != times[2]) for time in times]
