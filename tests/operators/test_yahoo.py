"""Yahoo's frames become ticks and quotes, or say what is wrong with them."""

import random
from base64 import b64encode
from datetime import datetime
from decimal import Decimal

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.checks import MalformedError
from operators.messages import Quote, Reason, Rejection, Skipped, Tick
from operators.yahoo import decode
from operators.yahoo_pricing import MAX_MESSAGE, decode_pricing, shortest
from tests.support import raw
from tests.yahoo_frames import CRYPTOCURRENCY, REAL, enveloped, frame, wire

TIME = 1_779_437_422_000  # ms
AAPL = {"id": "AAPL", "price": 305.76, "time": TIME}


def decoded(payload, **fields):
    return decode(raw(payload, kind="yahoo", **fields))


def reason_of(payload):
    with pytest.raises(MalformedError) as caught:
        decoded(payload)
    return caught.value.reason


def digits(value):
    return len(Decimal(repr(value)).normalize().as_tuple().digits)


@pytest.mark.parametrize("real", REAL, ids=lambda real: real["time_iso"])
def test_every_real_frame_decodes_to_its_noted_values(real):
    found = msgspec.structs.asdict(decode_pricing(real["message"].encode()))

    # Protobuf's JSON writes 64-bit integers as strings, and leaves out what is zero.
    noted = {
        name: int(value) if isinstance(found[name], int) else value
        for name, value in real["decoded"].items()
    }
    assert {name: value for name, value in found.items() if value} == noted


@pytest.mark.parametrize("real", REAL, ids=lambda real: real["time_iso"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_every_real_frame_becomes_a_tick_wrapped_or_bare(real, wrapped):
    message = real["message"]
    at = int(datetime.fromisoformat(real["time_iso"]).timestamp())

    [tick] = decoded(
        enveloped(message) if wrapped else message.encode(), ts_init=at * 10**9 + 5, offset=3
    )

    volume = real["decoded"].get("day_volume")
    assert tick == Tick(
        symbol=real["decoded"]["id"],
        venue="yahoo",
        price=real["decoded"]["price"],
        size=0.0,
        ts_event=int(real["decoded"]["time"]) * 10**6,
        ts_init=at * 10**9 + 5,
        offset=3,
        day_volume=None if volume is None else float(volume),
    )
    assert tick.ts_event // 10**9 == at


def test_real_frame_before_the_session_is_a_tick_though_it_holds_no_market_hours():
    early = next(real for real in REAL if "market_hours" not in real["decoded"])

    assert [type(message) for message in decoded(early["message"].encode())] == [Tick]


def test_prices_keep_the_decimals_that_were_meant():
    [tick] = decoded(frame(**AAPL | {"price": 187.34}))

    assert tick.price == 187.34


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_shortest_decimal_is_the_same_single(value):
    found = shortest(value)

    assert np.float32(found) == np.float32(value)
    assert digits(found) <= digits(value)


@given(st.integers(1, 9_999_999), st.integers(0, 4))
def test_every_price_of_seven_digits_survives_single_precision(number, decimals):
    price = float(f"{number}e-{decimals}")

    assert shortest(float(np.float32(price))) == price


def test_bid_and_ask_make_a_quote_behind_the_tick():
    payload = frame(**AAPL, day_volume=12, bid=305.7, bid_size=300, ask=305.8, ask_size=5)

    tick, quote = decoded(payload, ts_init=9, offset=4)

    assert tick.day_volume == 12.0
    assert quote == Quote(
        symbol="AAPL",
        venue="yahoo",
        bid=305.7,
        bid_size=300.0,
        ask=305.8,
        ask_size=5.0,
        ts_event=TIME * 10**6,
        ts_init=9,
        offset=4,
    )


@pytest.mark.parametrize("side", ["bid", "ask"])
def test_one_side_alone_is_no_quote(side):
    assert [type(m) for m in decoded(frame(**AAPL, **{side: 305.7}))] == [Tick]


@pytest.mark.parametrize("bid", [float("nan"), float("inf"), -1.0, 1e13])
def test_impossible_quote_is_rejected_and_the_price_beside_it_kept(bid):
    tick, rejection = decoded(frame(**AAPL, bid=bid, ask=305.8))

    assert tick.price == 305.76
    assert isinstance(rejection, Rejection)
    assert (rejection.reason, rejection.symbol) == (Reason.BAD_VALUE, "AAPL")


def test_volume_of_a_cryptocurrency_is_that_of_24_hours_where_the_day_has_none():
    crypto = {"id": "BTC-USD", "price": 9e4, "time": TIME, "quote_type": CRYPTOCURRENCY}

    [tick] = decoded(frame(**crypto, vol_24hr=77))
    [with_day] = decoded(frame(**crypto, day_volume=5, vol_24hr=77))
    [equity] = decoded(frame(**AAPL, vol_24hr=77))

    assert (tick.day_volume, with_day.day_volume, equity.day_volume) == (77.0, 5.0, None)


@pytest.mark.parametrize("quote_type", [8, 9, 14, 18, 20, 41])
def test_what_trades_becomes_ticks(quote_type):
    assert [type(m) for m in decoded(frame(**AAPL, quote_type=quote_type))] == [Tick]


@pytest.mark.parametrize(
    ("quote_type", "kind"),
    [(7, "yahoo_heartbeat"), (13, "yahoo_option"), (0, "yahoo_other_type"),
     (11, "yahoo_other_type"), (2**31 - 1, "yahoo_other_type")],
)  # fmt: skip
def test_other_quote_types_are_skipped_by_name(quote_type, kind):
    [skipped] = decoded(frame(**AAPL, quote_type=quote_type), ts_init=8, offset=2)

    assert skipped == Skipped(kind=kind, ts_init=8, offset=2)


def test_heartbeat_needs_nothing_else():
    [skipped] = decoded(frame(quote_type=7))

    assert skipped.kind == "yahoo_heartbeat"


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (b'{"type":"heartbeat"}', "yahoo_heartbeat"),
        (b'{"type":"error","message":"no such symbol"}', "yahoo_error"),
        (b'{"type":"' + b"x" * 500 + b'"}', "yahoo_other_frame"),
        (b'{"type":"\\n evil"}', "yahoo_other_frame"),
    ],
)
def test_frames_of_other_types_are_skipped(payload, kind):
    assert [message.kind for message in decoded(payload)] == [kind]


def test_unknown_fields_are_skipped():
    [tick] = decoded(frame(**AAPL, unknown="of a newer client"))

    assert tick.symbol == "AAPL"


def test_names_of_ours_replace_yahoos():
    entry = raw(frame(**AAPL, bid=1.0, ask=2.0), kind="yahoo")

    assert [m.symbol for m in decode(entry, {"AAPL": "APPLE"})] == ["APPLE", "APPLE"]
    assert [m.symbol for m in decode(entry, {"MSFT": "M"})] == ["AAPL", "AAPL"]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", Reason.BAD_TYPE),
        (b'{"type":"pricing","message":"Cg', Reason.BAD_JSON),
        (b'{"type":"pricing","message":"\xff"}', Reason.BAD_JSON),
        (b"{" * 5000, Reason.BAD_JSON),
        (b'{"type":"pricing"}', Reason.BAD_TYPE),
        (b'{"type":"pricing","message":7}', Reason.BAD_TYPE),
        (b'{"message":"CgRBQVBM"}', Reason.BAD_TYPE),
        (b"[]", Reason.UNREADABLE),
        (enveloped("not base64!"), Reason.UNREADABLE),
        (enveloped("CgRBQVB"), Reason.UNREADABLE),  # padding lost
        (b"\xff\xfe\x00", Reason.UNREADABLE),
        (enveloped(b64encode(wire(**AAPL)[:-1]).decode()), Reason.UNREADABLE),
        (enveloped(b64encode(b"\x0a\x02\xff\xfe").decode()), Reason.UNREADABLE),  # no UTF-8
        (enveloped(""), Reason.BAD_TYPE),
        (frame(price=1.0, time=TIME), Reason.BAD_TYPE),  # whose?
        (frame(id="AAPL", time=TIME), Reason.BAD_VALUE),  # a price of zero is absent
        (frame(**AAPL | {"price": -1.0}), Reason.BAD_VALUE),
        (frame(**AAPL | {"price": float("nan")}), Reason.BAD_VALUE),
        (frame(**AAPL | {"price": float("inf")}), Reason.BAD_VALUE),
        (frame(**AAPL | {"price": 2e12}), Reason.BAD_VALUE),
        (frame(id="AAPL", price=1.0), Reason.BAD_VALUE),  # no time
        (frame(**AAPL | {"time": 1}), Reason.BAD_VALUE),
        (frame(**AAPL | {"time": 2**62}), Reason.BAD_VALUE),
        (frame(**AAPL | {"time": -TIME}), Reason.BAD_VALUE),
        (frame(**AAPL, day_volume=-1), Reason.BAD_VALUE),
        (frame(**AAPL, day_volume=2**62), Reason.BAD_VALUE),
        (enveloped("A" * (MAX_MESSAGE + 4)), Reason.TOO_LONG),
        (b"A" * (MAX_MESSAGE + 4), Reason.TOO_LONG),
    ],
)  # fmt: skip
def test_what_cannot_be_used_says_why(payload, reason):
    assert reason_of(payload) is reason


def test_random_bytes_never_do_more_than_be_rejected():
    noise = random.Random(7)

    for size in range(200):
        garbage = noise.randbytes(size)
        for payload in (garbage, b64encode(garbage), enveloped(b64encode(garbage).decode())):
            try:
                found = decoded(payload)
            except MalformedError:
                continue
            assert all(isinstance(m, Skipped) for m in found)


@pytest.mark.parametrize("real", REAL, ids=lambda real: real["time_iso"])
def test_no_truncation_of_a_real_frame_invents_a_price(real):
    """A message cut anywhere is refused, or has lost whole fields and tells what is left."""
    whole = real["message"].encode()
    price = real["decoded"]["price"]

    for end in range(len(whole)):
        try:
            found = decoded(whole[:end])
        except MalformedError:
            continue
        assert all(isinstance(m, Skipped) or m.price == price for m in found)
