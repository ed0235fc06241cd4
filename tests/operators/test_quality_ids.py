"""Which trades and quotes quality takes for new, by their ids."""

from hypothesis import given
from hypothesis import strategies as st

from operators.messages import SECOND, Gap, Reason, Rejection, Tick
from tests.checked import ids, reasons, run, updates
from tests.support import quote, tick


def test_trade_id_comes_once():
    assert reasons(ids(1, 2, 2, 3, 1)) == [None, None, Reason.DUPLICATE, None, Reason.DUPLICATE]


def test_missing_ids_prove_a_gap():
    [_, _, gap, _] = run(
        [tick(trade_id=1, ts_event=1), tick(trade_id=2, ts_event=2), tick(trade_id=6, ts_event=9)]
    )

    assert gap == Gap(
        symbol="BTCUSDT", venue="binance", first_id=3, last_id=5, ts_from=2, ts_to=9, filled=0
    )


def test_missing_trade_fills_its_gap_once():
    out = run(ids(1, 2, 6, 4, 4, 3, 5, 5))
    gaps = [m for m in out if isinstance(m, Gap)]

    assert [(gap.first_id, gap.last_id, gap.filled) for gap in gaps] == [
        (3, 5, 0),
        (3, 5, 1),
        (3, 5, 2),
        (3, 5, 3),
    ]
    assert [m.reason for m in out if isinstance(m, Rejection)] == [Reason.DUPLICATE] * 2


def test_ids_before_the_first_seen_are_no_gap():
    assert [type(m) for m in run(ids(10, 11, 7, 8, 9))] == [Tick] * 5
    assert reasons(ids(10, 11, 7, 8, 8)) == [None] * 4 + [Reason.DUPLICATE]


def test_one_id_that_leaps_is_rejected_and_changes_nothing():
    far = 10**12

    assert reasons(ids(1, 2, 3, far, 4, 5)) == [None, None, None, Reason.BAD_ID, None, None]
    assert not any(isinstance(m, Gap) for m in run(ids(1, 2, 3, far, 4, 5)))


def test_third_id_in_a_row_confirms_a_leap():
    far = 10**9
    out = run(ids(1, 2, 3, far, far + 1, far + 2, far + 3))

    assert [getattr(m, "reason", type(m)) for m in out[3:]] == [
        Reason.BAD_ID,
        Reason.BAD_ID,
        Gap,
        Tick,
        Tick,
    ]


def test_rubbish_before_anything_is_known_cannot_capture_the_ids():
    assert reasons(ids(10**15, 5, 6, 7, 8, 9, 10**15 + 1)) == [None] * 6 + [Reason.BAD_ID]


def test_market_that_counts_anew_is_followed():
    found = reasons(ids(10**9, 10**9 + 1, 10**9 + 2, 10**9 + 3, 1, 2, 3, 4))

    assert found == [None] * 4 + [Reason.BAD_ID] * 2 + [None] * 2


def sums(*seconds, price=100.0):
    return [
        tick(venue="binance/aggregate", price=price, trade_id=n, ts_event=round(at * SECOND))
        for n, at in enumerate(seconds)
    ]


def singles(*seconds):
    return [tick(trade_id=n, ts_event=round(at * SECOND)) for n, at in enumerate(seconds)]


def test_stray_single_trades_silence_sums_for_a_while_only():
    found = reasons([*singles(2, 2.1, 2.2), *sums(*range(100, 120))])

    assert found == [None] * 23
    assert reasons([*singles(2, 2.1, 2.2), *sums(3, 12, 13)])[3:] == [
        Reason.DUPLICATE,
        Reason.DUPLICATE,
        None,
    ]
    assert reasons([*singles(2, 2.1, 2.2, 50), *sums(51)]) == [None] * 5


def test_first_sum_of_a_told_trade_is_a_duplicate_already():
    assert reasons([*singles(2), *sums(2)]) == [None, Reason.DUPLICATE]
    assert reasons([*singles(2), *sums(2, price=100.5)]) == [None, None]


def test_sums_of_trades_already_told_are_duplicates():
    told = sums(1, 2, 3)

    assert reasons(told) == [None] * 3
    assert reasons([*ids(1, 2, 3), *told]) == [None] * 3 + [Reason.DUPLICATE] * 3


@given(st.permutations(range(12)), st.lists(st.integers(0, 11), max_size=6))
def test_each_id_is_accepted_once_in_any_order(order, repeats):
    out = run(ids(*order, *repeats))

    assert sorted(m.trade_id for m in out if isinstance(m, Tick)) == list(range(12))
    assert sum(isinstance(m, Rejection) for m in out) == len(repeats)
    last = {(m.first_id, m.last_id): m for m in out if isinstance(m, Gap)}
    assert all(gap.filled == gap.last_id - gap.first_id + 1 for gap in last.values())


def test_quote_comes_once_and_outdated_ones_never():
    assert reasons(updates(1, 5, 5, 9, 12, 2)) == [
        None,
        None,
        Reason.DUPLICATE,
        None,
        None,
        Reason.DUPLICATE,
    ]


def test_quotes_that_changed_places_are_both_good():
    assert reasons(updates(1, 2, 4, 3, 5)) == [None] * 5


def test_two_wild_update_ids_do_not_outdate_the_rest():
    wild = 2**62
    assert reasons(updates(1, wild, 2, 3, 4)) == [None] * 5
    assert reasons(updates(1, 2, 3, wild, wild + 1, 4, 5)) == [
        *[None] * 3,
        *[Reason.BAD_ID] * 2,
        *[None] * 2,
    ]


def test_wild_update_id_that_comes_again_and_again_outdates_nothing():
    wild, real = 2**62, range(1, 400)
    messages = [
        found for n in real for found in updates(*([n, wild] if n in {2, 100, 200, 300} else [n]))
    ]
    found = reasons(messages)

    assert found.count(None) == len(real) + 1
    assert [m.update_id for m, why in zip(messages, found, strict=True) if why] == [wild] * 3


def test_update_ids_that_leap_are_followed_once_three_agree():
    far = 10**10

    assert reasons(updates(1, 2, 3, far, far + 1, far + 2, far + 3)) == [
        *[None] * 3,
        *[Reason.BAD_ID] * 2,
        *[None] * 2,
    ]


def test_quotes_that_count_anew_are_followed_after_a_while():
    wild = updates(2**62, 2**62 + 1, 2**62 + 2)
    real = [quote(update_id=n, ts_event=n * SECOND) for n in range(1, 21)]
    found = reasons([*wild, *real])

    assert found[:3] == [None] * 3
    assert found[3:13] == [Reason.DUPLICATE] * 10
    assert found[13:] == [None] * 10
