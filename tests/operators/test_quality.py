import pickle
from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.messages import SECOND, DeliveredBar, Gap, Quote, Reason, Rejection, Tick
from operators.quality import Quality, rejection
from operators.quality_memory import Memory, QualityLimits
from tests.checked import ids, reasons, run, updates
from tests.support import bar, clock, quote, tick

LIMITS = QualityLimits()


def trades(*prices, first_id=1, **fields):
    return [
        tick(price=price, trade_id=first_id + n, offset=n, **fields)
        for n, price in enumerate(prices)
    ]


def test_tick_of_a_closed_bar_is_late():
    memory = Memory(closed=2 * SECOND)

    assert rejection(tick(ts_event=2 * SECOND - 1), LIMITS, memory) is Reason.LATE
    assert rejection(tick(ts_event=2 * SECOND), LIMITS, memory) is None


def test_stage_learns_what_is_closed_from_clock():
    assert reasons([clock(ts_event=SECOND), tick(ts_event=SECOND - 1)]) == [None, Reason.LATE]


def test_times_far_from_receipt_are_rejected():
    now = 100 * SECOND
    old = tick(ts_event=now - 6 * SECOND, ts_init=now)
    ahead = tick(ts_event=now + 6 * SECOND, ts_init=now)

    assert reasons([old, ahead]) == [Reason.STALE, Reason.FUTURE]
    assert reasons([ahead], receive_offset_ns=5 * SECOND) == [None]


# -------------------------------------------------------------------------------- prices


def test_crossed_quote_is_rejected_and_a_locked_one_is_not():
    assert reasons([quote(bid=2.0, ask=1.9), quote(bid=2.0, ask=2.0)]) == [Reason.CROSSED, None]


def test_price_out_of_line_is_an_outlier():
    found = reasons(trades(100, 100.1, 100, 50, 1e9, 100.1))

    assert found == [None, None, None, Reason.OUTLIER, Reason.OUTLIER, None]


def test_fifth_price_in_a_row_releases_a_real_jump():
    found = reasons(trades(100, 100, 100, 110, 110.5, 110, 109.9, 110, 110.1))

    assert found == [None] * 3 + [Reason.OUTLIER] * 4 + [None] * 2


def test_differing_outliers_confirm_nothing():
    found = reasons(trades(100, 100, 100, 200, 300, 400, 500, 600, 700, 100))

    assert found == [None] * 3 + [Reason.OUTLIER] * 6 + [None]


def test_outliers_between_good_prices_confirm_nothing():
    found = reasons(trades(*[100, 200] * 8))

    assert found == [None, Reason.OUTLIER] * 8


def test_thin_market_that_swings_is_followed_after_a_while():
    swings = [100 * exp(0.03 * (-1) ** n) for n in range(100)]
    found = reasons(trades(100, *swings))

    assert found == [None] + [Reason.OUTLIER] * 50 + [None] * 50


def test_trade_at_a_quoted_price_is_no_outlier():
    thin = [quote(bid=100.0, ask=130.0, update_id=1)]

    assert reasons([*thin, *trades(130, 100, 130)]) == [None] * 4


def test_quote_out_of_line_is_an_outlier():
    good, bad = quote(), quote(bid=99.5, ask=1e9)

    assert reasons([good, bad, good]) == [None, Reason.OUTLIER, None]
    assert reasons([*trades(100), bad, good]) == [None, Reason.OUTLIER, None]


def test_first_trade_is_judged_by_the_quotes():
    quotes = [quote(bid=100.0, ask=100.01, update_id=n) for n in (1, 2)]

    assert reasons([*quotes, *trades(9e9, 100)]) == [None, None, Reason.OUTLIER, None]
    assert reasons([*quotes, *trades(*[110] * 5)])[2:] == [Reason.OUTLIER] * 4 + [None]


def test_first_bar_is_judged_by_trades_or_quotes():
    assert reasons([*trades(100, 100), delivered(9e9)])[-1] is Reason.OUTLIER
    assert reasons([quote(), delivered(9e9), delivered(100.0, 2)])[1:] == [Reason.OUTLIER, None]


def test_wrong_first_price_costs_two_more_and_leaves_no_trace():
    quality, clean = Quality(LIMITS), Quality(LIMITS)
    found = run(trades(9e9, 100, 100.1, 100.2), quality)
    run(trades(100.2), clean)

    assert [getattr(m, "reason", None) for m in found if not isinstance(m, Gap)] == [
        None,
        Reason.OUTLIER,
        Reason.OUTLIER,
        None,
    ]
    assert quality.state.trades == clean.state.trades


def test_wrong_first_quote_holds_up_no_more_than_three_trades():
    wild = quote(bid=1e9, ask=1e9)

    assert reasons([wild, *trades(100, 100, 100, 100)]) == [
        None,
        Reason.OUTLIER,
        Reason.OUTLIER,
        None,
        None,
    ]


def test_rejected_messages_leave_no_trace():
    quality, clean = Quality(LIMITS), Quality(LIMITS)
    for message in trades(100, 100.1, 100.2):
        run([message], quality)
        run([message], clean)
    rubbish = [
        *trades(1e9, first_id=4),
        *trades(100, first_id=2),
        *trades(100, first_id=10**12),
        quote(bid=3.0, ask=2.0),
        tick(trade_id=4, ts_event=1, ts_init=60 * SECOND),
    ]
    run(rubbish, quality)

    assert run(trades(100.3, first_id=4), quality) == run(trades(100.3, first_id=4), clean)
    assert pickle.dumps(quality.state) == pickle.dumps(clean.state)


def delivered(close=100.0, ts_close=1, **fields):
    given_bar = bar(close=close, ts_close=ts_close, **fields)
    return DeliveredBar(symbol="BTCUSDT", bar=given_bar, ts_init=ts_close * SECOND, offset=ts_close)


def test_bars_come_once_in_any_order():
    found = reasons([delivered(ts_close=n) for n in (2, 2, 1, 1, 3)])

    assert found == [None, Reason.DUPLICATE, None, Reason.DUPLICATE, None]


def test_bar_before_it_can_have_closed_costs_no_other():
    early = [
        DeliveredBar(symbol="BTCUSDT", bar=bar(ts_close=1 + n), ts_init=SECOND, offset=0)
        for n in (4, 1)
    ]
    found = reasons([delivered(ts_close=1), *early, *(delivered(ts_close=n) for n in range(2, 7))])

    assert found == [None, Reason.FUTURE, None, Reason.DUPLICATE, *[None] * 4]
    assert reasons(early[:1], receive_offset_ns=3 * SECOND) == [None]


def test_bar_of_a_closed_interval_is_late():
    assert reasons([clock(ts_event=3 * SECOND), delivered(ts_close=3)])[-1] is Reason.LATE


def test_bar_out_of_line_is_an_outlier():
    found = reasons([delivered(100.0, 1), delivered(100.0, 2, high=1e6), delivered(101.0, 3)])

    assert found == [None, Reason.OUTLIER, None]


def test_bar_that_opens_far_away_is_released():
    found = reasons(
        [delivered(100.0, 1), delivered(100.0, 2), *(delivered(50.0, n) for n in range(3, 10))]
    )

    assert found == [None] * 2 + [Reason.OUTLIER] * 4 + [None] * 3


def test_other_messages_pass_and_the_end_says_nothing():
    quality = Quality(LIMITS)
    assert list(quality.on("something")) == ["something"]
    assert list(quality.on_end()) == []


@given(
    st.lists(
        st.one_of(
            st.builds(
                tick,
                price=st.floats(1e-9, 1e12),
                trade_id=st.one_of(st.none(), st.integers(0, 2**63 - 1)),
                ts_event=st.integers(0, 20 * SECOND),
                ts_init=st.just(10 * SECOND),
            ),
            st.builds(
                quote,
                bid=st.floats(1e-9, 1e12),
                ask=st.floats(1e-9, 1e12),
                update_id=st.integers(0, 2**63 - 1),
                ts_event=st.just(10 * SECOND),
            ),
            st.builds(clock, ts_event=st.integers(0, 10 * SECOND)),
        )
    )
)
def test_any_message_is_passed_or_rejected(messages):
    out = [m for m in run(messages) if not isinstance(m, Gap)]

    assert len(out) == len(messages)
    assert all(type(m) in (type(n), Rejection) for m, n in zip(out, messages, strict=True))


@given(st.lists(st.sampled_from(range(12)), min_size=1), st.integers(0, 11))
def test_state_resumes_where_it_was_frozen(picks, cut):
    pool = [*trades(100, 101, 250, 250, 100.5), *updates(3, 1, 2), *ids(9, 10**9), quote(), clock()]
    messages = [pool[pick] for pick in picks]
    whole, first = Quality(LIMITS), Quality(LIMITS)
    begun = run(messages[:cut], first)
    second = Quality(LIMITS)
    second.state = pickle.loads(pickle.dumps(first.state))

    assert run(messages, whole) == begun + run(messages[cut:], second)


@pytest.mark.parametrize("kind", [Tick, Quote])
def test_trusted_messages_pass_unchanged(kind):
    message = {Tick: tick, Quote: quote}[kind]()
    assert list(Quality(LIMITS).on(message)) == [message]
