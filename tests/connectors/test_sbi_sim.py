"""The simulated Tokyo feed: every trade of the market is told once, live or afterwards."""

import asyncio
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest

from connectors.feeds import Inbox, InboxSettings
from connectors.sources.sbi_sim import SbiSimFeed, SbiSimSettings
from connectors.venue_clock import VenueClock
from models.calendars import sessions
from models.tokyo.events import Trade
from models.tokyo.rules import TokyoError
from models.tokyo.simulator import Market
from operators.messages import SECOND, Hole, HoleState, Quote, Raw, Tick
from operators.sbi import decode

MINUTE = 60 * SECOND
SYMBOLS = {"7203.T": "7203", "285A.T": "285A"}
SETTINGS = SbiSimSettings(seed=3, max_rate=1e9)


def tokyo(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Asia/Tokyo")).timestamp()) * (
        SECOND
    )


MORNING = tokyo("2024-11-06 09:30")


class Hands:
    """A clock that is set by hand."""

    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


async def eventually(condition):
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what it waits for signals nothing
            await asyncio.sleep(0.002)


class Desk:
    """A feed, its inbox and everything taken from it."""

    def __init__(self, now, settings=SETTINGS, symbols=SYMBOLS, log=(), inbox=None):
        self.clock = Hands(now) if isinstance(now, int) else now
        self.inbox = Inbox(inbox or InboxSettings(), self.clock)
        self.feed = SbiSimFeed(settings, symbols)
        for raw in log:
            self.feed.remember(raw)
        self.taken = []

    async def __aenter__(self):
        self.task = asyncio.create_task(self.feed.run(self.inbox))
        await eventually(self.joined)
        return self

    async def __aexit__(self, *error):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.drain()

    def joined(self):
        return not self.feed._tasks.qsize() and len(self.feed._due) == len(SYMBOLS)

    def drain(self):
        self.taken += self.inbox.take(1_000_000)

    def settled(self):
        """All that is due is out, and no hole is being filled."""
        due = self.feed._due
        return (
            self.joined()
            and due[0][0] > self.clock()
            and not self.feed._backfills
            and all(line.event for line in self.feed._lines.values())
        )

    async def advance(self, until, step=2 * SECOND):
        while self.clock.now < until:
            self.clock.now = min(until, self.clock.now + step)
            await eventually(self.settled)

    def log(self):
        self.drain()
        return [
            Raw(offset=n, path=r.feed, kind=r.kind, ts_init=r.ts_init, payload=r.payload)
            for n, r in enumerate(self.taken)
        ]


def trades(log, symbol=None):
    found = []
    for raw in log:
        if raw.kind == "sbi":
            payload = msgspec.json.decode(raw.payload)
            if payload["type"] == "trade" and symbol in {None, payload["symbol"]}:
                found.append((payload["symbol"], payload["session"], payload["id"]))
    return found


def holes(log):
    return [msgspec.json.decode(raw.payload, type=Hole) for raw in log if raw.kind == "hole"]


_MARKET = Market(SETTINGS.seed)


def market_trades(after, until, symbols=SYMBOLS):
    return sorted(
        (symbol, event.session, event.id)
        for symbol, code in symbols.items()
        for event in _MARKET.events(code, after, until, quotes=False)
        if isinstance(event, Trade)
    )


def test_market_is_told_at_its_time_each_trade_once_and_in_order():
    async def scenario():
        async with Desk(MORNING) as desk:
            await desk.advance(MORNING + MINUTE, step=SECOND)
        return desk

    desk = asyncio.run(scenario())
    log = desk.log()

    assert sorted(trades(log)) == market_trades(MORNING, MORNING + MINUTE)
    assert len(trades(log)) > 10
    assert holes(log) == []
    stamps = [msgspec.json.decode(raw.payload)["ts"] for raw in log]
    assert stamps == sorted(stamps)
    assert all(0 <= raw.ts_init - ts <= SECOND for raw, ts in zip(log, stamps, strict=True))
    assert {received.symbol for received in desk.taken} == set(SYMBOLS)
    assert desk.feed.health.state == "up"
    assert desk.feed.health.counts["messages"] == len(log)
    assert 0.0 <= desk.feed.health.gauges["lag_seconds"] <= 1.0


def test_every_message_is_marked_simulated_and_decodes():
    async def scenario():
        async with Desk(MORNING) as desk:
            await desk.advance(MORNING + MINUTE)
        return desk.log()

    log = asyncio.run(scenario())

    assert all(b'"simulated":true' in raw.payload for raw in log)
    kinds = {type(decode(raw)[0]) for raw in log}
    assert {Tick, Quote} <= kinds


def test_the_whole_closing_falls_into_session():
    close = tokyo("2024-11-06 15:30")

    async def scenario():
        async with Desk(close - 6 * MINUTE) as desk:
            await desk.advance(close + MINUTE)
        return desk

    desk = asyncio.run(scenario())

    ticks = [m for raw in desk.log() for m in decode(raw) if isinstance(m, Tick)]
    calendar = sessions("XTKS")
    assert all(
        calendar.session_of((tick.ts_event // SECOND + 1) * SECOND, SECOND) for tick in ticks
    )
    last = [tick for tick in ticks if tick.ts_event >= close - 5 * MINUTE]
    assert [(tick.symbol, tick.ts_event) for tick in last] == [
        (symbol, close - 1) for symbol in sorted(SYMBOLS)
    ]
    assert desk.feed.health.state == "quiet"
    assert "2024-11-07 09:00" in desk.feed.health.note


def test_quotes_can_be_left_out_without_changing_the_trades():
    async def scenario(*, quotes):
        settings = msgspec.structs.replace(SETTINGS, quotes=quotes)
        async with Desk(MORNING, settings) as desk:
            await desk.advance(MORNING + MINUTE)
        return desk.log()

    without, with_quotes = (asyncio.run(scenario(quotes=q)) for q in (False, True))

    assert not any(b'"type":"quote"' in raw.payload for raw in without)
    assert trades(without) == trades(with_quotes)


def test_leap_of_the_clock_does_not_flood_but_is_backfilled():
    async def scenario():
        async with Desk(MORNING) as desk:
            await desk.advance(MORNING + 30 * SECOND)
            desk.clock.now += 5 * MINUTE
            await eventually(lambda: desk.feed.health.counts["holes_filled"] == 2)
            await eventually(desk.settled)
            await desk.advance(MORNING + 6 * MINUTE)
        return desk

    desk = asyncio.run(scenario())
    log = desk.log()

    assert sorted(trades(log)) == market_trades(MORNING, MORNING + 6 * MINUTE)
    for symbol in SYMBOLS:
        ended, filled = (hole for hole in holes(log) if hole.symbol == symbol)
        assert (ended.state, filled.state) == (HoleState.ENDED, HoleState.FILLED)
        assert (ended.cause, ended.ts_from) == (filled.cause, filled.ts_from)
        assert ended.cause == "down"
        assert ended.ts_from < MORNING + 30 * SECOND <= ended.ts_to - 5 * MINUTE
        late = [
            tick
            for raw in log
            if raw.kind == "sbi"
            for tick in decode(raw)
            if isinstance(tick, Tick) and tick.symbol == symbol and tick.backfilled
        ]
        assert len(late) == filled.trades > 0
        assert all(ended.ts_from < tick.ts_event <= ended.ts_to for tick in late)
    # A quote of the past says nothing any more.
    assert not any(b"backfilled" in r.payload and b'"quote"' in r.payload for r in log)
    assert desk.feed.health.counts["backfilled_trades"] == sum(
        hole.trades for hole in holes(log) if hole.state is HoleState.FILLED
    )


def test_restart_in_mid_day_tells_what_was_missed_and_nothing_twice():
    async def first():
        async with Desk(MORNING) as desk:
            await desk.advance(MORNING + MINUTE)
        return desk.log()

    async def second(log):
        async with Desk(MORNING + 4 * MINUTE, log=log) as desk:
            await eventually(desk.settled)
            await desk.advance(MORNING + 5 * MINUTE)
        return desk.log()

    before = asyncio.run(first())
    after = asyncio.run(second(before))

    assert sorted(trades(before) + trades(after)) == market_trades(MORNING, MORNING + 5 * MINUTE)
    assert {hole.cause for hole in holes(after)} == {"down"}


def test_restart_while_a_hole_is_being_filled_goes_on_there():
    async def first():
        async with Desk(MORNING) as desk:
            await desk.advance(MORNING + 30 * SECOND)
            desk.clock.now += 10 * MINUTE
            await eventually(desk.settled)
        return desk.log()

    async def second(log):
        async with Desk(MORNING + 12 * MINUTE, log=log) as desk:
            await eventually(desk.settled)
        return desk.log()

    whole = asyncio.run(first())
    backfilled = [n for n, raw in enumerate(whole) if b"backfilled" in raw.payload]
    torn = whole[: backfilled[len(backfilled) // 3]]
    after = asyncio.run(second(torn))

    assert sorted(trades(torn) + trades(after)) == market_trades(MORNING, MORNING + 12 * MINUTE)
    last = {(hole.symbol, hole.ts_from): hole for hole in holes(torn + after)}
    assert {hole.state for hole in last.values()} == {HoleState.FILLED}
    assert sum(hole.trades for hole in last.values()) == sum(
        b"backfilled" in raw.payload for raw in torn + after
    )


def test_full_inbox_sheds_and_the_shed_trades_follow():
    async def scenario():
        small = InboxSettings(max_messages=20)
        async with Desk(MORNING, inbox=small) as desk:
            for _ in range(20):
                desk.clock.now += 2 * SECOND
                await eventually(desk.settled)
            assert desk.inbox.shed["sbi", "sbi"] == desk.feed.health.counts["shed"] > 0
            until = desk.clock.now + MINUTE
            while desk.clock.now < until or any(line.hole for line in desk.feed._lines.values()):
                desk.drain()
                desk.clock.now += SECOND // 4
                await asyncio.sleep(0.002)

            def all_filled():
                desk.drain()
                return desk.settled()

            await eventually(all_filled)
        return desk

    desk = asyncio.run(scenario())
    log = desk.log()

    assert sorted(trades(log)) == market_trades(MORNING, desk.clock.now)
    assert "shed" in {hole.cause for hole in holes(log)}
    last = {(hole.symbol, hole.ts_from): hole for hole in holes(log)}
    assert {hole.state for hole in last.values()} == {HoleState.FILLED}


def test_night_is_no_hole():
    evening, next_morning = tokyo("2024-11-06 15:29"), tokyo("2024-11-07 08:30")

    async def first():
        async with Desk(evening) as desk:
            await desk.advance(evening + 5 * MINUTE)
        return desk.log()

    async def second(log):
        async with Desk(next_morning, log=log) as desk:
            await eventually(desk.settled)
            assert desk.feed.health.state == "quiet"
            await desk.advance(next_morning + 30 * MINUTE + SECOND // 2)
            assert desk.feed.health.state == "up"
        return desk.log()

    before = asyncio.run(first())
    after = asyncio.run(second(before))

    assert holes(before + after) == []
    opened = tokyo("2024-11-07 09:00")
    stamps = [msgspec.json.decode(raw.payload)["ts"] for raw in after]
    assert min(stamps) == opened
    assert sorted(trades(before + after)) == market_trades(evening, opened + SECOND // 2)


def test_what_is_too_old_is_told_as_unfilled():
    async def first():
        async with Desk(MORNING) as desk:
            await desk.advance(MORNING + MINUTE)
        return desk.log()

    settings = msgspec.structs.replace(SETTINGS, backfill_days=1)
    later = tokyo("2024-11-08 10:00")

    async def second(log):
        async with Desk(later, settings, log=log) as desk:
            await eventually(desk.settled)
        return desk.log()

    after = asyncio.run(second(asyncio.run(first())))

    for symbol in SYMBOLS:
        gone, ended, filled = (hole for hole in holes(after) if hole.symbol == symbol)
        assert (gone.state, gone.ts_to) == (HoleState.UNFILLED, later - 86_400 * SECOND)
        assert "older than the 1 days" in gone.note
        assert gone.ts_to == ended.ts_from == filled.ts_from
        assert filled.state is HoleState.FILLED
    assert sorted(trades(after)) == market_trades(later - 86_400 * SECOND, later)


def test_backfill_keeps_to_the_rate_and_live_trades_do_not_wait_for_it():
    settings = msgspec.structs.replace(SETTINGS, max_rate=1.0, quotes=False)

    async def first():
        async with Desk(MORNING) as desk:
            await desk.advance(MORNING + 10 * SECOND)
        return desk.log()

    async def second(log):
        async with Desk(MORNING + 20 * MINUTE, settings, log=log) as desk:
            for _ in range(30):
                desk.clock.now += 2 * SECOND
                await eventually(lambda: desk.joined() and desk.feed._due[0][0] > desk.clock.now)
            assert desk.feed._backfills  # still waiting
        return desk.log()

    after = asyncio.run(second(asyncio.run(first())))

    late = sum(b"backfilled" in raw.payload for raw in after)
    assert late <= 20
    live = [raw for raw in after if raw.kind == "sbi" and b"backfilled" not in raw.payload]
    began = min(hole.ts_to for hole in holes(after))
    assert sorted(trades(live)) == market_trades(began, MORNING + 21 * MINUTE)


def test_fast_clock_is_kept_up_with():
    clock = VenueClock(MORNING, speed=120.0)

    async def scenario():
        async with Desk(clock) as desk:
            began = {line.symbol: line.known for line in desk.feed._lines.values()}
            await eventually(lambda: clock() > MORNING + 2 * MINUTE)
            await eventually(lambda: not desk.feed._backfills and not desk.feed._tasks.qsize())
            ended = {line.symbol: line.known for line in desk.feed._lines.values()}
            reached = min(ended.values())
        return desk.log(), began, reached

    log, began, reached = asyncio.run(scenario())

    for symbol, code in SYMBOLS.items():
        wanted = market_trades(began[symbol], reached, {symbol: code})
        assert len(wanted) > 5
        told = trades(log, symbol)
        assert len(told) == len(set(told))
        assert set(wanted) <= set(told)


def test_clock_outside_the_simulated_years_stops_nothing_else():
    async def scenario():
        clock = Hands(tokyo("1990-06-01 10:00"))
        feed = SbiSimFeed(SETTINGS, SYMBOLS)
        task = asyncio.create_task(feed.run(Inbox(InboxSettings(), clock)))
        await eventually(lambda: feed.health.state == "stopped")
        assert "2000" in feed.health.note
        clock.now = MORNING
        await eventually(lambda: feed.health.state == "up")
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())


def test_unknown_form_of_code_is_one_sentence():
    with pytest.raises(TokyoError, match=r"Code 'AAPL' is not of Tokyo's form: use .*\."):
        SbiSimFeed(SETTINGS, {"AAPL": "AAPL"})


def test_torn_entries_of_the_log_are_passed_over():
    feed = SbiSimFeed(SETTINGS, SYMBOLS)
    for kind, payload in (("sbi", b'{"symbol"'), ("hole", b"{}"), ("binance", b"\xff")):
        feed.remember(Raw(offset=0, path="x", kind=kind, ts_init=1, payload=payload))

    assert feed._remembered.known == {}
