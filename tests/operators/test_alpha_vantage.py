"""Alpha Vantage's quotes become ticks of the moment they were received."""

import json
from datetime import UTC, datetime

import pytest

from operators.alpha_vantage import decode
from operators.checks import MalformedError
from operators.messages import SECOND, Reason, Tick
from tests.support import raw

NOW = int(datetime(2024, 8, 8, 18, 0, tzinfo=UTC).timestamp()) * SECOND
QUOTE = {
    "01. symbol": "IBM",
    "02. open": "189.0000",
    "03. high": "190.5000",
    "04. low": "188.1000",
    "05. price": "189.4800",
    "06. volume": "3541285",
    "07. latest trading day": "2024-08-08",
    "08. previous close": "186.8000",
    "09. change": "2.6800",
    "10. change percent": "1.4347%",
}


def entry(changes=None, without=(), title="Global Quote", symbol="IBM"):
    quote = {k: v for k, v in (QUOTE | (changes or {})).items() if k not in without}
    return json.dumps({"symbol": symbol, "body": {title: quote}}, indent=4).encode()


def decoded(payload, ts_init=NOW):
    return decode(raw(payload, kind="alpha_vantage", ts_init=ts_init, offset=5))


def reason_of(payload, ts_init=NOW):
    with pytest.raises(MalformedError) as caught:
        decoded(payload, ts_init)
    return caught.value.reason


@pytest.mark.parametrize("title", ["Global Quote", "Global Quote - DATA DELAYED BY 15 MINUTES"])
def test_quote_is_a_tick_of_when_it_was_received(title):
    assert decoded(entry(title=title, symbol="IBM.US")) == [
        Tick(
            symbol="IBM.US",
            venue="alpha_vantage",
            price=189.48,
            size=0.0,
            day_volume=3541285.0,
            ts_event=NOW,
            ts_init=NOW,
            offset=5,
        )
    ]


def test_volume_may_be_absent_or_zero():
    assert decoded(entry(without=["06. volume"]))[0].day_volume is None
    assert decoded(entry({"06. volume": "0"}))[0].day_volume == 0.0


@pytest.mark.parametrize(
    ("hours", "reason"), [(-33, Reason.FUTURE), (-31, None), (17, None), (18, Reason.STALE)]
)
def test_day_must_be_todays_somewhere(hours, reason):
    """8 August lasts from 10:00 UTC of the 7th (UTC+14) to 12:00 UTC of the 9th (UTC-12)."""
    at = NOW + hours * 3600 * SECOND

    if reason is None:
        assert decoded(entry(), at)[0].ts_event == at
    else:
        assert reason_of(entry(), at) is reason


def test_close_of_yesterday_is_stale_when_new_york_opens():
    opening = int(datetime(2024, 8, 9, 13, 30, tzinfo=UTC).timestamp()) * SECOND

    assert reason_of(entry(), opening) is Reason.STALE


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", Reason.BAD_JSON),
        (b'{"symbol":"IBM","body":{"Global Quote":', Reason.BAD_JSON),
        (b'{"symbol":"IBM","body":{"Global Quote":{"05. price":"\xff"}}}', Reason.BAD_JSON),
        (b'{"symbol":"IBM","body":{"x":' + b"[" * 5000, Reason.BAD_JSON),
        (b"[]", Reason.BAD_TYPE),
        (b'{"symbol":"IBM","body":[]}', Reason.BAD_TYPE),
        (b'{"symbol":"IBM","body":{}}', Reason.BAD_TYPE),
        (b'{"symbol":"IBM","body":{"Note":"Thank you"}}', Reason.BAD_TYPE),
        (b'{"symbol":"IBM","body":{"Global Quote":{}}}', Reason.BAD_TYPE),
        (entry(without=["05. price"]), Reason.BAD_TYPE),
        (entry(without=["07. latest trading day"]), Reason.BAD_TYPE),
        (entry({"05. price": 189.48}), Reason.BAD_TYPE),  # they are strings
        (entry({"05. price": ""}), Reason.BAD_TYPE),
        (entry({"05. price": "1_000"}), Reason.BAD_TYPE),
        (entry({"05. price": "0.0000"}), Reason.BAD_VALUE),
        (entry({"05. price": "-1"}), Reason.BAD_VALUE),
        (entry({"05. price": "nan"}), Reason.BAD_VALUE),
        (entry({"05. price": "inf"}), Reason.BAD_VALUE),
        (entry({"05. price": "1e13"}), Reason.BAD_VALUE),
        (entry({"06. volume": "None"}), Reason.BAD_TYPE),
        (entry({"06. volume": "-1"}), Reason.BAD_VALUE),
        (entry({"06. volume": "nan"}), Reason.BAD_VALUE),
        (entry({"07. latest trading day": "today"}), Reason.BAD_TYPE),
        (entry({"07. latest trading day": "0001-01-01"}), Reason.STALE),
        (entry({"07. latest trading day": "9999-12-31"}), Reason.FUTURE),
    ],
)
def test_what_cannot_be_used_says_why(payload, reason):
    assert reason_of(payload) is reason
