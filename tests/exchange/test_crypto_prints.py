from itertools import pairwise

import pytest

from exchange.app import ExchangeSettings, Venue
from exchange.crypto_prints import CryptoPrints
from exchange.prices import Prices
from exchange.share_prices import SharePrices
from tests.exchange.serving import SECOND


def market(**settings):
    venue = Venue(ExchangeSettings(first_seconds=20.0, **settings))
    return venue, CryptoPrints(venue.market.instruments.values(), venue.clock)


def test_each_second_gives_the_last_trade_that_binance_has_in_it():
    venue, crypto = market()
    instrument = venue.market.instruments["BTCUSDT"]
    last = {}
    for trade in range(len(instrument.track.trades)):
        last[instrument.trade_place(trade) // SECOND] = instrument.trade(trade)

    prints = crypto.prints("BTC-USD", venue.clock.start - 1, venue.clock.at(60 * SECOND))

    assert [p.price for p in prints] == [float(trade.price) for trade in last.values()]
    assert [p.ts // 10**6 for p in prints] == [trade.time_ms for trade in last.values()]
    assert len(prints) > 10


def test_day_volume_is_the_dollars_traded_so_far():
    venue, crypto = market()
    trades = venue.market.instruments["ETHUSDT"].track.trades

    prints = crypto.prints("ETH-USD", venue.clock.start - 1, venue.clock.at(60 * SECOND))

    traded = sum(float(trade.price) * float(trade.quantity) for trade in trades)
    assert prints[-1].day_volume == pytest.approx(traded, abs=1)
    assert all(a.day_volume <= b.day_volume for a, b in pairwise(prints))
    assert prints[-1].day_high == max(float(trade.price) for trade in trades)


def test_a_loop_goes_on_with_the_volume():
    venue, crypto = market(loop=True)

    prints = crypto.prints("BTC-USD", venue.clock.start - 1, venue.clock.at(60 * SECOND))

    volumes = [p.day_volume for p in prints]
    assert volumes == sorted(volumes)
    assert volumes[-1] > 2 * volumes[len(volumes) // 3]
    assert prints[-1].ts > venue.clock.at(50 * SECOND)


def test_pieces_are_the_whole():
    venue, crypto = market()
    begin, end = venue.clock.start - 1, venue.clock.at(20 * SECOND)
    step = 37_000_001

    pieces = [crypto.prints("BTC-USD", at, min(at + step, end)) for at in range(begin, end, step)]

    assert [p for piece in pieces for p in piece] == crypto.prints("BTC-USD", begin, end)


def test_copies_of_the_market_are_served_under_their_names():
    _, crypto = market(symbols=4)

    assert set(crypto.symbols) == {"BTC-USD", "ETH-USD", "BTCA1-USD", "ETHA1-USD"}


def test_a_copy_by_name_has_its_sources_prices():
    venue, crypto = market()
    prices = Prices(SharePrices(), crypto, {"7203.T": "BTC-USD"})
    span = (venue.clock.start - 1, venue.clock.at(20 * SECOND))

    copied = prices.prints("7203.T", *span)

    assert [p.price for p in copied] == [p.price for p in prices.prints("BTC-USD", *span)]
    assert {p.symbol for p in copied} == {"7203.T"}


def test_a_copy_of_nothing_is_refused():
    _, crypto = market()

    with pytest.raises(ValueError, match="no prices"):
        Prices(SharePrices(), crypto, {"7203.T": "NOPE"})
