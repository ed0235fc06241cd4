import gzip
import json
from itertools import islice

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators import binance
from operators.checks import BarEntry, MalformedError, checked_bar
from operators.messages import (
    SECOND,
    BarQuality,
    Clock,
    Control,
    DeliveredBar,
    Headline,
    Hole,
    Mood,
    Notice,
    Quote,
    Reason,
    Rejection,
    Side,
    Skipped,
    Switch,
    Tick,
)
from operators.normalise import PAYLOAD_KEPT, normalise, receive_offset
from tests.support import RECORDING, raw, tick

NOW = 1_723_161_255_000  # ms
RECEIVED = NOW * 1_000_000

TRADE = {
    "e": "trade",
    "E": NOW,
    "s": "BTCUSDT",
    "t": 7,
    "p": "61837.63000000",
    "q": "0.02000000",
    "T": NOW,
    "m": True,
    "M": True,
}
SPOT_BOOK = {"u": 9, "s": "BTCUSDT", "b": "99.5", "B": "3", "a": "100.5", "A": "0"}
COIN_BOOK = {
    "u": 9,
    "e": "bookTicker",
    "s": "BTCUSD_PERP",
    "ps": "BTCUSD",
    "b": "99.5",
    "B": "3",
    "a": "100.5",
    "A": "1",
    "T": NOW,
    "E": NOW + 3,
}
KLINE = {
    "e": "kline",
    "E": NOW,
    "s": "BTCUSDT",
    "k": {
        "t": NOW - 1000,
        "T": NOW - 1,
        "s": "BTCUSDT",
        "i": "1s",
        "o": "10",
        "c": "12",
        "h": "13",
        "l": "9",
        "v": "2",
        "n": 4,
        "x": True,
        "q": "22",
    },
}


def line(data, stream=None, separators=(",", ":")):
    wrapped = data if stream is None else {"stream": stream, "data": data}
    return json.dumps(wrapped, separators=separators).encode()


def one(payload, receive_offset_ns=0, **fields):
    payload = payload if isinstance(payload, bytes) else line(payload)
    [message] = normalise([raw(payload, **{"ts_init": RECEIVED} | fields)], receive_offset_ns)
    return message


def test_trade_becomes_a_tick():
    tick = one(line(TRADE, "btcusdt@trade"), offset=5)

    assert (tick.symbol, tick.venue, tick.trade_id, tick.offset) == ("BTCUSDT", "binance", 7, 5)
    assert (tick.price, tick.size, tick.ts_event) == (61837.63, 0.02, RECEIVED)
    assert tick.side is Side.SELL  # the buyer was resting


def test_wrapper_and_spacing_do_not_matter():
    assert one(line(TRADE)) == one(line(TRADE, "btcusdt@trade"))
    assert one(line(TRADE)) == one(line(TRADE, "btcusdt@trade", separators=(", ", ": ")))
    swapped = b'{"data":' + line(TRADE) + b',"stream":"btcusdt@trade"}'
    assert one(line(TRADE)) == one(swapped)


def test_aggregate_trades_are_another_tape():
    tick = one({k: v for k, v in TRADE.items() if k != "t"} | {"e": "aggTrade", "a": 3, "f": 1})

    assert (tick.trade_id, tick.venue) == (3, "binance/aggregate")


def test_futures_name_their_market():
    assert one(TRADE | {"X": "MARKET"}).venue == "binance-um"
    assert one(TRADE | {"X": "MARKET", "s": "BTCUSD_PERP"}).venue == "binance-cm"
    assert one(COIN_BOOK).venue == "binance-cm"


def test_quote_without_venue_time_is_stamped_with_receipt_and_offset():
    quote = one(SPOT_BOOK, receive_offset_ns=5)

    assert (quote.bid, quote.ask_size, quote.update_id) == (99.5, 0.0, 9)
    assert quote.ts_event == RECEIVED + 5


def test_futures_quote_has_the_transaction_time():
    assert one(COIN_BOOK, receive_offset_ns=5).ts_event == RECEIVED


def test_closed_kline_is_a_delivered_bar():
    bar = one(KLINE).bar

    assert (bar.open, bar.high, bar.low, bar.close, bar.volume) == (10, 13, 9, 12, 2)
    assert (bar.ts_close, bar.interval, bar.trades, bar.vwap) == (RECEIVED, SECOND, 4, 11)
    assert bar.quality is BarQuality.OBSERVED


def test_kline_without_trades_is_quiet():
    flat = {"o": "9", "h": "9", "l": "9", "c": "9", "v": "0", "q": "0", "n": 0}
    assert one(KLINE | {"k": KLINE["k"] | flat}).bar.quality is BarQuality.QUIET


def test_vwap_that_is_no_price_gives_way_to_the_typical_price():
    in_contracts = KLINE["k"] | {"q": "0.5"}
    assert one(KLINE | {"k": in_contracts}).bar.vwap == pytest.approx((13 + 9 + 12) / 3)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ({"e": "depthUpdate", "s": "BTCUSDT", "b": [], "a": []}, "depthUpdate"),
        ({"lastUpdateId": 3, "bids": [], "asks": []}, "depth_snapshot"),
        ({"result": None, "id": 1}, "answer"),
        ({"code": -1121, "msg": "Invalid symbol."}, "answer"),
        (KLINE | {"k": KLINE["k"] | {"x": False}}, "kline_open"),
        (KLINE | {"k": KLINE["k"] | {"i": "1M"}}, "kline"),
    ],
)
def test_other_types_are_skipped_by_type(message, kind):
    assert one(message, offset=4) == Skipped(kind=kind, ts_init=RECEIVED, offset=4)
    assert one(line(message, "btcusdt@x")).kind == kind


def test_array_streams_are_skipped():
    assert one(line([{"e": "24hrTicker"}], "!ticker@arr")).kind == "!ticker"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x00\xff\xfe",
        line(TRADE)[:-4],
        line(TRADE, "btcusdt@trade")[:40],
        line(TRADE) + b"x",
        b'{"e":"trade","s":"\xff"}',
        b"[" * 100_000,
        b"NaN",
    ],
)
def test_what_is_no_json_is_rejected(payload):
    assert one(payload).reason is Reason.BAD_JSON


@pytest.mark.parametrize(
    "message",
    [
        [],
        1,
        "trade",
        None,
        {},
        {"e": 3},
        {"stream": "btcusdt@trade", "data": 1},
        TRADE | {"p": 61837.63},
        TRADE | {"p": "sixty"},
        TRADE | {"p": "1_000"},
        TRADE | {"p": None},
        TRADE | {"t": "7"},
        TRADE | {"t": 7.5},
        TRADE | {"m": 1},
        TRADE | {"s": None},
        {k: v for k, v in TRADE.items() if k != "p"},
        {k: v for k, v in SPOT_BOOK.items() if k != "s"} | {"e": "bookTicker"},
        SPOT_BOOK | {"b": []},
        KLINE | {"k": 3},
    ],
)
def test_other_shapes_are_rejected(message):
    assert one(message).reason is Reason.BAD_TYPE


@pytest.mark.parametrize(
    "message",
    [
        *(TRADE | {"p": p} for p in ("0", "-1", "nan", "inf", "-inf", "1e300", "1e999")),
        *(TRADE | {"q": q} for q in ("0", "-1", "nan", "inf", "1e300")),
        *(TRADE | {"t": t} for t in (-1, 2**63, 10**30)),
        *(TRADE | {"T": t} for t in (0, -NOW, 9_223_372_036_854, 10**20)),
        *(SPOT_BOOK | {side: "0"} for side in "ab"),
        *(SPOT_BOOK | {side: "nan"} for side in "abAB"),
        *(SPOT_BOOK | {side: "-1"} for side in "AB"),
        SPOT_BOOK | {"u": -1},
        KLINE | {"k": KLINE["k"] | {"h": "8"}},
        KLINE | {"k": KLINE["k"] | {"v": "-1"}},
        *(KLINE | {"k": KLINE["k"] | {"n": n}} for n in (-1, 2**63, 2**64 - 1)),
        *(KLINE | {"k": KLINE["k"] | {name: "nan"}} for name in "ohlcvq"),
    ],
)
def test_impossible_values_are_rejected(message):
    assert one(message).reason is Reason.BAD_VALUE


def test_rejection_keeps_the_head_of_its_payload():
    rejected = one(b"x" * 10_000_000, offset=3)

    assert rejected.payload == b"x" * PAYLOAD_KEPT
    assert (rejected.offset, rejected.ts_init) == (3, RECEIVED)


def test_what_the_reader_rejected_keeps_its_reason():
    assert one(b"\x00", kind="bad", reason=Reason.TOO_LONG).reason is Reason.TOO_LONG


FILE_BAR = {
    "symbol": "AAPL",
    "interval": SECOND,
    "ts_close": RECEIVED,
    "open": 10.0,
    "high": 13.0,
    "low": 9.0,
    "close": 11.0,
    "volume": 0.0,
}


def test_bar_of_a_file_is_delivered_with_its_typical_price():
    delivered = one(FILE_BAR, kind="bar")

    assert isinstance(delivered, DeliveredBar)
    assert (delivered.bar.vwap, delivered.bar.spread) == (11.0, None)


@pytest.mark.parametrize(
    "change",
    [
        {"high": 10.5},
        {"low": 10.5},
        {"low": -1.0},
        {"close": 1e300},
        {"volume": -1.0},
        {"ts_close": RECEIVED + 1},
        {"ts_close": 2**63 - 1},
        {"interval": 0},
        {"spread": -1.0},
    ],
)
def test_impossible_bar_is_rejected(change):
    assert one(FILE_BAR | change, kind="bar").reason is Reason.BAD_VALUE


@pytest.mark.parametrize(
    "name", ["open", "high", "low", "close", "volume", "vwap", "spread", "imbalance"]
)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_bar_of_no_numbers_is_rejected(name, value):
    with pytest.raises(MalformedError) as caught:
        checked_bar(BarEntry(**FILE_BAR | {name: value}))
    assert caught.value.reason is Reason.BAD_VALUE


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("headline", {"text": "x", "published_at": 2**63}),
        ("headline", {"text": "x", "available_at": 2**64 - 1}),
        ("mood", {"source": "index", "value": 20.0, "available_at": 2**63}),
        ("control", {"kind": "stop", "actor": "me", "reason": "", "ts_event": -(2**63)}),
    ],
)
def test_times_no_store_can_hold_are_rejected(kind, payload):
    assert one(payload, kind=kind).reason is Reason.BAD_VALUE


def test_bar_without_its_numbers_is_rejected():
    assert one(FILE_BAR | {"open": None}, kind="bar").reason is Reason.BAD_TYPE


def test_headline_is_a_notice_known_from_receipt():
    notice = one({"text": "Bitcoin rises", "symbols": ["BTC"]}, kind="headline", offset=8)

    assert isinstance(notice, Notice)
    assert (notice.after, notice.offset) == (0, 8)
    assert isinstance(notice.body, Headline)
    assert (notice.body.available_at, notice.body.symbols) == (RECEIVED, ("BTC",))
    assert notice.body.id


def test_headline_without_text_is_rejected():
    assert one({"text": " "}, kind="headline").reason is Reason.BAD_VALUE
    assert one({"symbols": []}, kind="headline").reason is Reason.BAD_TYPE


def test_mood_control_and_clock_are_read():
    mood = Mood(source="index", value=20.0, available_at=1)
    control = Control(kind="stop", actor="me", reason="test", ts_event=1)
    clock = Clock(ts_event=RECEIVED, feeds=(("binance", "cut"),))

    assert one(msgspec.json.encode(mood), kind="mood").body == mood
    assert one(msgspec.json.encode(control), kind="control").body == control
    assert one(msgspec.json.encode(clock), kind="clock") == clock


def test_mood_control_and_clock_out_of_range_are_rejected():
    mood = {"source": "index", "value": 101.0, "available_at": 1}
    control = {"kind": "explode", "actor": "me", "reason": "", "ts_event": 1}

    assert one(mood, kind="mood").reason is Reason.BAD_VALUE
    assert one(control, kind="control").reason is Reason.BAD_VALUE
    assert one({"ts_event": 1}, kind="clock").reason is Reason.BAD_VALUE


HOLE = {
    "feed": "binance",
    "symbol": "BTCUSDT",
    "cause": "cut",
    "ts_from": RECEIVED,
    "ts_to": None,
    "state": "open",
    "found_at": RECEIVED + 5,
}
SWITCH = {
    "symbol": "BTCUSDT",
    "before": "binance",
    "after": "yahoo",
    "cause": "cut",
    "ts_event": RECEIVED,
}


def test_holes_and_switches_know_their_place_in_the_log():
    hole, switch = one(HOLE, kind="hole", offset=7), one(SWITCH, kind="switch", offset=8)

    assert hole == msgspec.convert(HOLE | {"offset": 7}, Hole)
    assert switch == msgspec.convert(SWITCH | {"offset": 8}, Switch)
    again = one(msgspec.json.encode(hole), kind="hole", offset=9)
    assert (again.offset, again.state) == (9, hole.state)


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("hole", {"ts_to": RECEIVED - 1}, Reason.BAD_VALUE),
        ("hole", {"ts_from": -1}, Reason.BAD_VALUE),
        ("hole", {"ts_from": 2**63}, Reason.BAD_VALUE),
        ("hole", {"found_at": 2**70}, Reason.BAD_VALUE),
        ("hole", {"resolved_at": -5}, Reason.BAD_VALUE),
        ("hole", {"state": "ended"}, Reason.BAD_VALUE),
        ("hole", {"state": "covered"}, Reason.BAD_VALUE),
        ("hole", {"first_id": -1}, Reason.BAD_VALUE),
        ("hole", {"last_id": 2**63}, Reason.BAD_VALUE),
        ("hole", {"trades": -1}, Reason.BAD_VALUE),
        ("hole", {"symbol": ""}, Reason.BAD_VALUE),
        ("hole", {"state": "mended"}, Reason.BAD_TYPE),
        ("hole", {"ts_from": "now"}, Reason.BAD_TYPE),
        ("switch", {"ts_event": -1}, Reason.BAD_VALUE),
        ("switch", {"after": ""}, Reason.BAD_VALUE),
        ("switch", {"after": None}, Reason.BAD_TYPE),
    ],
)
def test_impossible_holes_and_switches_are_rejected(kind, changes, reason):
    entry = {"hole": HOLE, "switch": SWITCH}[kind] | changes

    assert one(entry, kind=kind).reason is reason


def test_hole_without_an_end_may_be_given_up():
    assert isinstance(one(HOLE | {"state": "unfilled"}, kind="hole"), Hole)


def test_page_of_fetched_trades_becomes_its_trades_in_order():
    rows = [
        {"id": n, "price": "61.5", "qty": "0.5", "quoteQty": "30.75", "time": NOW + n,
         "isBuyerMaker": True, "isBestMatch": True}
        for n in range(3)
    ]  # fmt: skip
    page = {"symbol": "BTCUSDT", "stream": "trade", "trades": [*rows, {"id": 9}]}
    live = raw(line(TRADE), ts_init=RECEIVED, offset=2)
    fetched = raw(json.dumps(page).encode(), ts_init=RECEIVED, kind="binance_rest", offset=1)
    *found, bad, last = normalise([fetched, live])

    assert [(m.trade_id, m.backfilled, m.offset) for m in found] == [(n, True, 1) for n in range(3)]
    assert isinstance(bad, Rejection)
    assert (last.trade_id, last.backfilled) == (7, False)
    assert normalise([raw(b'{"trades":3}', kind="binance_rest")])[0].reason is Reason.BAD_TYPE


def test_feeds_with_forms_of_their_own_are_read():
    frame = b"CgRBQVBMFUjhmEMY4Jbi68lnKgNOTVMwCDgARTxEgT5lACBFP9gBBA=="
    quote = {"05. price": "187.5", "06. volume": "900", "07. latest trading day": "2024-08-09"}
    answer = {"symbol": "IBM", "body": {"Global Quote": quote}}
    simulated = {
        "feed": "sbi", "symbol": "7203.T", "type": "trade", "simulated": True, "code": "7203",
        "session": "2024-11-05", "ts": RECEIVED, "id": 912, "price": 2701.5, "size": 300,
    }  # fmt: skip
    found = [
        one(frame, kind="yahoo"),
        one(answer, kind="alpha_vantage"),
        one(simulated, kind="sbi"),
    ]

    assert [(m.symbol, m.venue, m.price) for m in found] == [
        ("AAPL", "yahoo", 305.76),
        ("IBM", "alpha_vantage", 187.5),
        ("7203.T", "sbi", 2701.5),
    ]


KINDS = (
    "binance", "binance_rest", "yahoo", "alpha_vantage", "sbi", "bar", "headline", "mood",
    "control", "clock", "hole", "switch",
)  # fmt: skip


@given(st.binary(max_size=200))
def test_any_bytes_become_one_message(payload):
    for kind in KINDS:
        assert isinstance(one(payload, kind=kind), Rejection | Skipped)


@given(
    st.dictionaries(
        st.sampled_from(["e", "s", "t", "p", "q", "T", "m", "u", "b", "B", "a", "A", "k"]),
        st.one_of(
            st.none(), st.booleans(), st.integers(), st.text(), st.just("trade"), st.just("kline")
        ),
    )
)
def test_any_object_becomes_one_message(message):
    assert one(message) is not None


@given(st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_guessing_by_bytes_decides_as_looking_with_care(place, noise):
    payload = line(TRADE, "btcusdt@trade")
    entry = raw(payload[:place] + noise + payload[place:], ts_init=RECEIVED)

    assert outcome(binance.decode, entry) == outcome(binance._with_care, entry)


def outcome(decode, entry):
    try:
        return decode(entry, 0)
    except binance.MalformedError as error:
        return error.reason


def test_offset_of_a_recorder_is_learned_from_its_trades():
    ticks = [tick(ts_event=n + 50 + n % 3, ts_init=n) for n in range(30)]

    assert receive_offset([*ticks, tick(ts_event=10**9, ts_init=0)]) == 51
    assert receive_offset(ticks[:19]) is None


def test_real_messages_decode_as_plain_json_says():
    with gzip.open(RECORDING) as file:
        lines = [row.partition(b" ")[2] for row in islice(file, 2000)]

    for payload, message in zip(
        lines, normalise([raw(p, ts_init=RECEIVED) for p in lines]), strict=True
    ):
        data = json.loads(payload)["data"]
        if "e" in data:
            assert isinstance(message, Tick)
            assert (message.price, message.trade_id) == (float(data["p"]), data["t"])
        else:
            assert isinstance(message, Quote)
            assert (message.bid, message.update_id) == (float(data["b"]), data["u"])
