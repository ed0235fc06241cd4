"""Decode trades that Binance's REST API gave afterwards."""

import json

import pytest

from operators.binance import decode, decode_rest
from operators.checks import MalformedError
from operators.messages import Raw, Reason, Rejection, Side, Tick

TRADE = {
    "id": 7,
    "price": "61.50",
    "qty": "0.02",
    "quoteQty": "1.23",
    "time": 1723161255342,
    "isBuyerMaker": True,
    "isBestMatch": True,
}
AGGREGATE = {
    "a": 7,
    "p": "61.50",
    "q": "0.02",
    "f": 1,
    "l": 3,
    "T": 1723161255342,
    "m": False,
    "M": True,
}


def raw(payload, kind="binance_rest"):
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return Raw(offset=5, path="binance", kind=kind, ts_init=1723161260000000000, payload=data)


def page(*rows, stream="trade", symbol="BTCUSDT"):
    return raw({"symbol": symbol, "stream": stream, "trades": list(rows)})


def test_a_fetched_trade_is_the_live_one_marked_as_backfilled():
    live = {"e": "trade", "s": "BTCUSDT", "t": 7, "p": "61.5", "q": "0.02", "m": True}
    whole = decode(raw(live | {"T": TRADE["time"]}, "binance"), 0)
    [fetched] = decode_rest(page(TRADE))

    assert fetched.backfilled
    assert not whole.backfilled
    assert fetched == Tick(
        symbol="BTCUSDT",
        venue=whole.venue,
        price=whole.price,
        size=whole.size,
        ts_event=whole.ts_event,
        ts_init=1723161260000000000,
        offset=5,
        side=Side.SELL,
        trade_id=7,
        backfilled=True,
    )


def test_a_fetched_aggregate_is_of_the_aggregates_tape():
    [tick] = decode_rest(page(AGGREGATE, stream="aggTrade"))

    assert (tick.venue, tick.trade_id, tick.side) == ("binance/aggregate", 7, Side.BUY)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (TRADE | {"price": "-1"}, Reason.BAD_VALUE),
        (TRADE | {"price": "x"}, Reason.BAD_TYPE),
        (TRADE | {"price": 61.5}, Reason.BAD_TYPE),
        (TRADE | {"qty": "NaN"}, Reason.BAD_VALUE),
        (TRADE | {"id": -1}, Reason.BAD_VALUE),
        (TRADE | {"time": 5}, Reason.BAD_VALUE),
        ({"id": 7}, Reason.BAD_TYPE),
        (None, Reason.BAD_TYPE),
        ([], Reason.BAD_TYPE),
        (AGGREGATE, Reason.BAD_TYPE),
    ],
)
def test_a_bad_row_is_rejected_by_itself(wrong, reason):
    before, bad, after = decode_rest(page(TRADE, wrong, TRADE | {"id": 8}))

    assert (before.trade_id, after.trade_id) == (7, 8)
    assert isinstance(bad, Rejection)
    assert (bad.reason, bad.symbol, bad.offset) == (reason, "BTCUSDT", 5)
    assert json.loads(bad.payload) == wrong


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", Reason.BAD_JSON),
        (b'{"symbol":"A","stream":"trade","trades":[{]}', Reason.BAD_JSON),
        (b'{"symbol":"A","stream":"trade","trades":["\xff"]}', Reason.BAD_JSON),
        (b'{"symbol":"A","stream":"trade","trades":{}}', Reason.BAD_TYPE),
        (b'{"symbol":"A","stream":"depth","trades":[]}', Reason.BAD_TYPE),
        (b'{"symbol":"","stream":"trade","trades":[]}', Reason.BAD_TYPE),
        (b'{"symbol":"A","stream":"trade"}', Reason.BAD_TYPE),
        (b"[]", Reason.BAD_TYPE),
    ],
)
def test_what_is_no_page_is_malformed(payload, reason):
    with pytest.raises(MalformedError) as error:
        decode_rest(raw(payload))

    assert error.value.reason is reason


def test_an_empty_page_gives_nothing():
    assert decode_rest(page()) == []
