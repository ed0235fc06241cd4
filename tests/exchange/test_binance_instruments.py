"""Copies, loops and quiet times shift a market without making it untrue."""

import itertools
import json

import pytest

from exchange.app import RECORDING
from exchange.clock import ClockMode, VenueClock
from exchange.instruments import Instrument
from exchange.market import MarketError, copies
from exchange.recordings import read_recording
from tests.exchange.venues import SECONDS, recorded

RECORDED = read_recording(RECORDING, SECONDS)
SECOND = 1_000_000_000


class Hands:
    """A monotonic clock moved by hand."""

    def __init__(self):
        self.now = 5 * SECOND

    def __call__(self):
        return self.now


def clock(mode=ClockMode.RECORDED, speed=1.0):
    hands = Hands()
    made = VenueClock(RECORDED.start, speed, mode, monotonic=hands, wall=lambda: 1_800 * 10**15)
    made.run()
    return made, hands


def instrument(symbol="BTCUSDT", number=0, looped=False, mode=ClockMode.RECORDED, speed=1.0):
    made, hands = clock(mode, speed)
    track = next(one for one in RECORDED.tracks if one.symbol == symbol)
    name = symbol if not number else "COPYUSDT"
    delay = number * 737_000_000
    return Instrument(name, track, made, RECORDED.length, delay=delay, looped=looped), hands


def sent(one, count, kind="trade"):
    """The first `count` messages of a kind, with their places on the schedule."""
    each = len(one.track.events)
    found = []
    event = 0
    while len(found) < count and (one.looped or event < each):
        name = one.names[one.track.events[event % each].kind]
        if name.endswith(f"@{kind}"):
            found.append((one.place(event), one.payload(event)))
        event += 1
    return found


def test_a_copy_is_its_original_with_symbol_and_times_replaced():
    copy, _ = instrument(number=3)
    shift = 3 * 737

    for (_, payload), raw in zip(sent(copy, 500), recorded("btcusdt@trade"), strict=False):
        data = json.loads(raw)["data"]
        expected = raw[len(b'{"stream":"btcusdt@trade","data":') : -1]
        for old, new in (
            (b'"s":"BTCUSDT"', b'"s":"COPYUSDT"'),
            (b'"E":%d' % data["E"], b'"E":%d' % (data["E"] + shift)),
            (b'"T":%d' % data["T"], b'"T":%d' % (data["T"] + shift)),
        ):
            assert expected.count(old) == 1
            expected = expected.replace(old, new)
        assert payload == expected


def test_copies_quotes_keep_all_but_the_symbol():
    copy, _ = instrument(number=1)
    originals = recorded("btcusdt@bookTicker")
    for (_, payload), raw in zip(sent(copy, 300, "bookTicker"), originals, strict=False):
        assert (
            payload
            == json.dumps(
                json.loads(raw)["data"] | {"s": "COPYUSDT"}, separators=(",", ":")
            ).encode()
        )


@pytest.mark.parametrize("mode", list(ClockMode))
@pytest.mark.parametrize("speed", [1.0, 7.3])
def test_ids_are_dense_and_times_rise_over_loops(mode, speed):
    one, _ = instrument(looped=True, mode=mode, speed=speed)
    each = len(one.track.trades)
    trades = [json.loads(payload) for _, payload in sent(one, 3 * each + 10)]
    merged = [json.loads(p) for _, p in sent(one, 2 * len(one.track.aggregates) + 10, "aggTrade")]

    assert [t["t"] for t in trades] == list(range(trades[0]["t"], trades[0]["t"] + len(trades)))
    assert [t["a"] for t in merged] == list(range(merged[0]["a"], merged[0]["a"] + len(merged)))
    assert all(a["l"] + 1 == b["f"] for a, b in itertools.pairwise(merged))
    for key in "TE":
        times = [trade[key] for trade in trades]
        assert times == sorted(times)
    assert trades[0]["p"] == trades[each]["p"]
    quotes = [json.loads(p)["u"] for _, p in sent(one, 2 * len(one.track.quotes), "bookTicker")]
    assert all(a < b for a, b in itertools.pairwise(quotes))


@pytest.mark.parametrize("mode", list(ClockMode))
@pytest.mark.parametrize("speed", [1.0, 0.3, 11.0])
def test_nothing_is_sent_before_its_event_time(mode, speed):
    one, _ = instrument(number=2, looped=True, mode=mode, speed=speed)
    for place, payload in sent(one, 2 * len(one.track.trades)):
        message = json.loads(payload)
        assert message["T"] * 1_000_000 <= one.clock.at(place)
        assert one.clock.at(place) - message["E"] * 1_000_000 < 0.2 * SECOND


def test_aggregates_are_made_of_their_trades():
    one, _ = instrument()
    trades = {m["t"]: m for m in (json.loads(p) for _, p in sent(one, 10**6))}
    merged = [json.loads(p) for _, p in sent(one, 10**6, "aggTrade")]

    covered = []
    for row in merged:
        parts = [trades[number] for number in range(row["f"], row["l"] + 1)]
        covered += [part["t"] for part in parts]
        assert {(part["p"], part["m"], part["T"]) for part in parts} == {
            (row["p"], row["m"], row["T"])
        }
        units = sum(int(part["q"].replace(".", "")) for part in parts)
        assert int(row["q"].replace(".", "")) == units
    assert covered == list(trades)


def test_quiet_time_moves_what_was_to_come_and_nothing_else():
    one, _ = instrument()
    before = sent(one, 10**6)
    position = 7 * SECOND
    happened = one.trades_until(position)
    seen = [one.trade(n) for n in range(happened)]

    one.quiet(position, 4 * SECOND)

    assert one.trades_until(position) == happened
    assert one.trades_until(position + 4 * SECOND - 1) == happened
    assert [one.trade(n) for n in range(happened)] == seen
    for index, ((place, payload), (old_place, old)) in enumerate(
        zip(sent(one, 10**6), before, strict=True)
    ):
        later = 4000 if index >= happened else 0
        new, was = json.loads(payload), json.loads(old)
        assert (new["T"] - was["T"], place - old_place) == (later, later * 1_000_000)
        assert new["t"] == was["t"]
        assert (payload == old) == (not later)


def test_a_quiet_time_within_another_makes_it_longer():
    one, _ = instrument()
    one.quiet(7 * SECOND, 4 * SECOND)
    happened = one.trades_until(7 * SECOND)
    one.quiet(9 * SECOND, 2 * SECOND)

    assert one.trades_until(13 * SECOND - 1) == happened
    assert one.trades_until(14 * SECOND) > happened


def test_an_aggregate_is_told_only_with_all_its_trades():
    one, _ = instrument()
    for trades in range(400):
        last = one.aggregate(one.aggregates_of(trades) - 1).last if one.aggregates_of(trades) else 0
        assert last <= (one.trade_id(trades - 1) if trades else 0)


def test_as_many_symbols_as_asked_for_under_names_of_their_own():
    made, _ = clock()
    market = copies(RECORDED, made, count=50, delay=1000)

    assert len(market) == 50
    assert {"BTCUSDT", "ETHUSDT", "BTCA1USDT", "ETHA1USDT"} <= set(market)
    assert all(
        name.isalnum() and name.isupper() and name == one.symbol for name, one in market.items()
    )
    with pytest.raises(MarketError, match="471"):
        copies(RECORDED, made, count=471)
