"""The simulated feed's messages as ticks and quotes; what is not simulated is refused."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.checks import MalformedError
from operators.messages import Quote, Raw, Reason, Side, Skipped, Tick
from operators.sbi import decode

CLOSE = 1_730_788_200_000_000_000  # 2024-11-05 15:30 in Tokyo

TRADE = {
    "feed": "sbi",
    "symbol": "7203.T",
    "type": "trade",
    "simulated": True,
    "code": "7203",
    "session": "2024-11-05",
    "ts": CLOSE - 10**12,
    "id": 7,
    "price": 2701.5,
    "size": 300,
    "side": "sell",
}
QUOTE = {
    "feed": "sbi",
    "symbol": "7203.T",
    "type": "quote",
    "simulated": True,
    "ts": CLOSE - 10**12,
    "bid": 2701.0,
    "bid_size": 900,
    "ask": 2701.5,
    "ask_size": 100,
}


def raw(payload, **changes):
    if isinstance(payload, dict):
        payload = msgspec.json.encode(payload | changes)
    return Raw(offset=5, path="sbi", kind="sbi", ts_init=CLOSE, payload=payload)


def reason(payload, **changes):
    with pytest.raises(MalformedError) as caught:
        decode(raw(payload, **changes))
    return caught.value.reason


def test_trade_is_a_tick_in_shares_with_its_side_and_no_gap_proving_id():
    [tick] = decode(raw(TRADE))

    assert tick == Tick(
        symbol="7203.T",
        venue="sbi",
        price=2701.5,
        size=300.0,
        ts_event=CLOSE - 10**12,
        ts_init=CLOSE,
        offset=5,
        side=Side.SELL,
    )
    assert tick.trade_id is None


def test_backfilled_trade_says_so():
    [tick] = decode(raw(TRADE, backfilled=True))

    assert tick.backfilled


def test_quote_is_the_best_bid_and_ask():
    [quote] = decode(raw(QUOTE))

    assert isinstance(quote, Quote)
    assert (quote.bid, quote.bid_size, quote.ask, quote.ask_size) == (2701.0, 900.0, 2701.5, 100.0)


@pytest.mark.parametrize("auction", ["closing", "morning_close", "special_execution", "allotment"])
def test_auction_that_ends_a_session_belongs_to_its_last_bar(auction):
    [tick] = decode(raw(TRADE, ts=CLOSE, auction=auction, side=None))

    assert (tick.ts_event // 10**9 + 1) * 10**9 == CLOSE
    assert tick.side is None


@pytest.mark.parametrize("auction", ["opening", "afternoon_opening", "special_quote"])
def test_other_auctions_keep_their_time(auction):
    [tick] = decode(raw(TRADE, auction=auction))

    assert tick.ts_event == TRADE["ts"]


@pytest.mark.parametrize("kind", ["special_quote", "phase", "limit"])
def test_what_is_no_price_is_skipped_by_its_name(kind):
    base = {"feed": "sbi", "symbol": "7203.T", "simulated": True, "ts": CLOSE}

    [skipped] = decode(raw(base, type=kind))

    assert skipped == Skipped(kind=f"sbi_{kind}", ts_init=CLOSE, offset=5)


@pytest.mark.parametrize("payload", [TRADE, QUOTE])
def test_nothing_passes_that_is_not_marked_simulated(payload):
    unmarked = {key: value for key, value in payload.items() if key != "simulated"}

    assert reason(payload, simulated=False) is Reason.BAD_VALUE
    assert reason(payload, feed="tse") is Reason.BAD_VALUE
    assert reason(unmarked) is Reason.BAD_TYPE


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"price": 0.0}, Reason.BAD_VALUE),
        ({"price": -1.0}, Reason.BAD_VALUE),
        ({"price": 1e300}, Reason.BAD_VALUE),
        ({"size": 0}, Reason.BAD_VALUE),
        ({"size": 2.5}, Reason.BAD_TYPE),
        ({"ts": 3}, Reason.BAD_VALUE),
        ({"ts": 2**63}, Reason.BAD_VALUE),
        ({"price": "2701"}, Reason.BAD_TYPE),
        ({"side": "short"}, Reason.BAD_TYPE),
        ({"symbol": ""}, Reason.BAD_VALUE),
        ({"type": "gift"}, Reason.BAD_TYPE),
    ],
)
def test_impossible_values_are_refused(changes, expected):
    assert reason(TRADE, **changes) is expected


@given(st.binary(max_size=60) | st.sampled_from([b"", b"{", b"[]", b"null", b'{"type":"trade"}']))
def test_rubbish_is_refused_and_never_crashes(payload):
    assert reason(payload) in {Reason.BAD_JSON, Reason.BAD_TYPE, Reason.BAD_VALUE}
