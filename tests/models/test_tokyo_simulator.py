"""The simulated market keeps Tokyo's rules, and is the same however one looks at it."""

from collections import Counter
from datetime import date, datetime, timedelta
from itertools import groupby, pairwise
from time import perf_counter
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest

from models.tokyo.book import Book
from models.tokyo.days import Chain
from models.tokyo.events import Limit, PhaseChange, Quote, SpecialQuote, Trade
from models.tokyo.rules import (
    LOT,
    MINUTE,
    YEN,
    TokyoError,
    ladder,
    limits,
    renewal_interval,
    tick_size,
)
from models.tokyo.sessions import trading_day
from models.tokyo.simulator import Market, days_between

SECOND = 10**9
SMALL = ("130A", "1301", "4588")
MONTHS = [
    (date(2024, 12, 9), date(2025, 1, 10)),  # across the year's end
    (date(2024, 10, 28), date(2024, 11, 15)),  # across the longer day
    (date(2025, 4, 25), date(2025, 5, 23)),  # across Golden Week
]


def at(text):
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Asia/Tokyo"))
    return int(moment.timestamp()) * SECOND


def in_tenths(price):
    return round(price * YEN)


def held(kind, events):
    return [event for event in events if isinstance(event, kind)]


@pytest.fixture(scope="module")
def market():
    return Market(seed=11)


@pytest.fixture(scope="module")
def busy(market):
    """A day of a large stock."""
    return list(market.day("7203", date(2024, 11, 6)))


@pytest.mark.parametrize(("first", "last"), MONTHS)
def test_month_keeps_sessions_grid_lots_and_limits(market, first, last):
    days = days_between(first, last)
    for code in SMALL[:2]:
        before = None
        events = list(market.events(code, at(f"{first} 00:00"), at(f"{last} 23:59")))
        assert sorted({event.session for event in events}) == [str(on) for on in days]
        assert [event.ts for event in events] == sorted(event.ts for event in events)
        by_day = {name: list(told) for name, told in groupby(events, lambda e: e.session)}
        for on in days:
            of_day = by_day[str(on)]
            plan = market.plan(code, on)
            _keeps_the_day(plan, of_day)
            if before is not None:
                assert plan.base == before
            # The last trade, or the special quote with which the day ended.
            before = in_tenths(held(Trade | SpecialQuote, of_day)[-1].price)


def _keeps_the_day(plan, events):
    day = plan.day
    grid = set(ladder(plan.lower, plan.upper, plan.table))
    assert all(event.simulated is True for event in events)
    spans = [(begins, until, False) for begins, until in day.continuous]
    for event in held(Trade, events):
        assert in_tenths(event.price) in grid
        assert event.size > 0
        assert event.size % LOT == 0
        assert (event.side is None) == (event.auction is not None)
        ends = {until for _, until in day.continuous[:-1]} | {day.closes}
        if event.auction in {"morning_close", "closing", "special_execution", "allotment"}:
            assert event.ts in ends
        else:
            assert any(begins <= event.ts < until for begins, until, _ in spans)
    for event in held(Quote, events) + held(SpecialQuote, events):
        assert any(begins <= event.ts < until for begins, until, _ in spans)
    for event in held(Quote, events):
        assert event.bid < event.ask
        assert {in_tenths(event.bid), in_tenths(event.ask)} <= grid
        assert (
            event.bid_size % LOT == event.ask_size % LOT == 0 < min(event.bid_size, event.ask_size)
        )
    assert [(event.ts, event.phase) for event in held(PhaseChange, events)] == [
        (ts, phase.value) for ts, phase in day.phases
    ]
    trades = held(Trade, events)
    assert [trade.id for trade in trades] == list(range(1, len(trades) + 1))
    assert all(left.ts < right.ts for left, right in pairwise(trades))


def test_closing_auction_prints_once_at_the_close_after_five_silent_minutes(busy):
    close = at("2024-11-06 15:30")

    late = [event for event in busy if event.ts >= close - 5 * MINUTE]

    assert [type(event) for event in late] == [PhaseChange, Trade, PhaseChange]
    assert late[1].ts == close
    assert late[1].auction == "closing"
    volumes = [trade.size for trade in held(Trade, busy)]
    assert late[1].size > 20 * np.mean(volumes)


def test_before_the_closing_auction_came_trading_went_on_to_the_close(market):
    events = list(market.day("7203", date(2024, 11, 1), quotes=False))

    trades = held(Trade, events)
    assert trades[-1].ts == at("2024-11-01 15:00")
    assert trades[-1].auction == "closing"
    assert at("2024-11-01 14:59") < trades[-2].ts < at("2024-11-01 15:00")


def test_half_day_of_old_has_a_morning_only(market):
    trades = held(Trade, market.day("7203", date(2009, 1, 5), quotes=False))

    assert trades[-1].ts == at("2009-01-05 11:00")
    assert trades[-1].auction == "closing"
    assert len(trades) > 500


def test_day_has_its_auctions(busy):
    auctions = [trade.auction for trade in held(Trade, busy) if trade.auction]

    assert auctions[-3:] == ["morning_close", "afternoon_opening", "closing"]
    assert auctions[0] in {"opening", "special_quote"}


def test_closed_day_is_silent(market):
    assert list(market.day("7203", date(2025, 1, 1))) == []


def test_same_seed_gives_the_same_bytes():
    on = date(2024, 11, 6)

    def told(seed):
        return msgspec.json.encode(list(Market(seed).day("7011", on)))

    assert told(5) == told(5)
    assert told(5) != told(6)


def test_another_stock_changes_nothing(market):
    span = at("2024-11-06 09:00"), at("2024-11-06 09:20")

    alone = list(market.all_events(["1301"], *span))
    among = list(market.all_events(["130A", "1301", "7203"], *span))

    assert alone == [event for event in among if event.code == "1301"]
    assert [(e.ts, e.code) for e in among] == sorted((e.ts, e.code) for e in among)


def test_earlier_days_looked_at_change_nothing(market):
    on = date(2024, 11, 6)
    fresh = Market(market.seed)
    for other in (date(2024, 11, 7), date(2021, 3, 3)):
        list(fresh.day("1301", other))

    assert list(fresh.day("1301", on)) == list(market.day("1301", on))


@pytest.mark.parametrize("time", ["08:30", "09:00", "10:17", "12:00", "15:26", "15:30"])
def test_beginning_in_mid_day_gives_the_same_later_events(market, busy, time):
    after = at(f"2024-11-06 {time}")

    later = list(market.day("7203", date(2024, 11, 6), after=after))

    assert later == [event for event in busy if event.ts > after]


def test_leaving_out_quotes_changes_nothing_of_the_rest(market, busy):
    rest = list(market.day("7203", date(2024, 11, 6), quotes=False))

    assert rest == [event for event in busy if not isinstance(event, Quote)]


def test_next_trade_never_goes_further_than_the_renewal_interval(market):
    checked = 0
    for code in SMALL:
        for on in days_between(date(2025, 2, 3), date(2025, 2, 28)):
            last = market.plan(code, on).base
            for event in market.day(code, on, quotes=False):
                if not isinstance(event, Trade | SpecialQuote):
                    continue
                reach = renewal_interval(last)
                if isinstance(event, Trade) and event.auction in {"closing", "special_execution"}:
                    reach *= 2
                elif isinstance(event, Trade) and event.auction == "allotment":
                    reach = 0
                assert abs(in_tenths(event.price) - last) <= reach, event
                last = in_tenths(event.price)
                checked += 1
    assert checked > 20_000


def test_special_quotes_renew_every_three_minutes_by_the_interval(market):
    renewed = begun = 0
    for code in ("130A", "4588", "9348"):
        for on in days_between(date(2025, 2, 3), date(2025, 3, 21)):
            plan = market.plan(code, on)
            before = None
            for event in market.day(code, on, quotes=False):
                if isinstance(event, Trade):
                    before = None
                if not isinstance(event, SpecialQuote):
                    continue
                if event.renewal == 0:
                    begun += 1
                elif before is not None and before.renewal + 1 == event.renewal:
                    renewed += 1
                    _renews(plan, before, event)
                before = event
    assert begun > 20
    assert renewed > 20


def _renews(plan, before, event):
    assert event.ts - before.ts == 3 * MINUTE
    assert event.side == before.side
    sign = 1 if event.side == "buy" else -1
    moved = sign * (in_tenths(event.price) - in_tenths(before.price))
    step = renewal_interval(in_tenths(before.price))
    at_limit = in_tenths(event.price) in {plan.lower, plan.upper}
    tick = tick_size(in_tenths(event.price), plan.table)
    assert step - tick < moved <= step or (at_limit and 0 < moved <= step)


def _locked(seed, code):
    """The first day on which all want to trade beyond the limit."""
    chain = Chain(seed, code)
    for on in days_between(date(2021, 1, 4), date(2025, 12, 30)):
        plan = chain.plan(on)
        if plan.locked:
            return plan
    pytest.fail("no such day")


def test_locked_day_climbs_to_the_limit_and_trades_there_at_most_once(market):
    for code in ("4588", "9348"):
        plan = _locked(market.seed, code)
        events = list(market.day(code, plan.day.on))

        specials, trades = held(SpecialQuote, events), held(Trade, events)
        limit = plan.upper if plan.locked > 0 else plan.lower
        assert in_tenths(specials[-1].price) == limit
        assert held(Quote, events) == []
        assert len(trades) <= 1
        assert all(trade.auction == "allotment" for trade in trades)
        assert all(in_tenths(trade.price) == limit for trade in trades)
        assert [told.reached for told in held(Limit, events)] == [
            None,
            "upper" if plan.locked > 0 else "lower",
        ]
        assert plan.close == limit


@pytest.mark.parametrize(
    ("seed", "first", "days", "factors"),
    [  # found by looking for them
        (3, date(2023, 11, 17), 2, (1, 4)),
        (6, date(2025, 4, 9), 2, (4, 1)),
        (16, date(2015, 7, 27), 3, (1, 2)),  # the third day, and twofold, until 2020-07
    ],
)
def test_limit_widens_on_one_side_after_locked_days(seed, first, days, factors):
    chain = Chain(seed, "4588")
    *locked, wide = (chain.plan(on) for on in days_between(first, first + timedelta(9))[: days + 1])

    assert {plan.locked for plan in locked} == {1 if factors[1] > 1 else -1}
    for plan in locked:
        assert (plan.lower, plan.upper) == limits(plan.base, plan.table)
    down, up = factors
    assert (wide.lower, wide.upper) == limits(wide.base, wide.table, down=down, up=up)


def test_volume_is_u_shaped_and_volatility_comes_in_clusters(market):
    per_half_hour = Counter()
    products = []
    for on in days_between(date(2025, 2, 3), date(2025, 2, 14)):
        trades = [t for t in held(Trade, market.day("7203", on, quotes=False)) if not t.auction]
        opens = trading_day(on).opens
        per_half_hour.update((trade.ts - opens) // (30 * MINUTE) for trade in trades)
        minutes = {trade.ts // MINUTE: trade.price for trade in trades}
        returns = np.abs(np.diff(np.log(list(minutes.values()))))
        shaped = returns - returns.mean()
        products.append((shaped[1:] * shaped[:-1]).mean() / shaped.var())
    assert per_half_hour[0] > 1.3 * per_half_hour[4]  # 09:00 against 11:00
    assert per_half_hour[12] * 30 / 25 > 1.1 * per_half_hour[8]  # 15:00 against 13:00
    assert np.mean(products) > 0.03


def test_prices_stay_near_the_assumed_one_over_the_years():
    chain = Chain(1, "7203")

    closes = [chain.plan(on).close / YEN for on in days_between(date(2020, 1, 6), date(2025, 6, 2))]

    returns = np.diff(np.log(closes))
    assert 0.010 < returns.std() < 0.030
    assert 1_350 < min(closes) < max(closes) < 5_400


def test_ten_stocks_of_a_day_take_seconds():
    codes = ["7203", "6758", "8306", "9984", "8035", "9432", "7974", "6501", "285A", "1301"]
    span = at("2024-11-06 07:00"), at("2024-11-06 20:00")
    started = perf_counter()

    count = sum(1 for _ in Market(2).all_events(codes, *span))

    assert count > 100_000
    assert perf_counter() - started < 10.0


def test_dates_out_of_reach_are_one_sentence(market):
    for on in (date(1999, 12, 30), date(2100, 1, 4)):
        with pytest.raises(TokyoError, match="2000 to 2099"):
            market.plan("7203", on)


def test_book_finds_the_next_best_price_when_one_is_gone():
    book = Book(10)
    for rung in (1, 3):
        book.add(rung, 4, buy=True)
    for rung in (5, 8):
        book.add(rung, 4, buy=False)

    assert book.take(3, buy=True) == 3
    assert book.ask == 5
    assert book.take(3, buy=True) == 1
    assert book.ask == 8
    book.withdraw(8, buy=False)
    assert book.ask == 10
    book.withdraw(3, buy=True)
    assert book.bid == 1
    assert book.cancel(1, 9) == 4
    assert book.bid == -1
