"""What the Binance feed makes of the log before a restart."""

import asyncio
import json
from time import time_ns

import msgspec

from connectors.feeds import HoleState, Inbox, InboxSettings
from connectors.sources.binance import BinanceFeed
from operators.messages import SECOND, Hole, Raw
from tests.fake_binance import SETTINGS, FakeBinance, running, until

BTC, ETH = "BTCUSDT", "ETHUSDT"


def raw(kind, payload, ts_init):
    data = payload if isinstance(payload, bytes) else payload.encode()
    return Raw(offset=0, path="binance", kind=kind, ts_init=ts_init, payload=data)


def hole(symbol=BTC, **fields):
    made = Hole(
        **{
            "feed": "binance",
            "symbol": symbol,
            "cause": "cut",
            "ts_from": 1,
            "ts_to": None,
            "state": HoleState.OPEN,
            "found_at": 1,
        }
        | fields
    )
    return msgspec.json.encode(made)


async def restarted(venue, entries, check, settings=SETTINGS, symbols=(BTC, ETH)):
    await venue.start()
    feed = BinanceFeed(settings.at(venue.url), symbols)
    for entry in entries:
        feed.remember(entry)
    async with running(venue, symbols, feed=feed) as run:
        await until(lambda: venue.live)
        await check(run)
    await venue.stop()


def test_what_happened_while_we_were_down_is_fetched():
    async def scenario():
        venue = FakeBinance()
        known = [venue.happen(BTC) for _ in range(3)]
        at = time_ns() - 2 * SECOND
        entries = [raw("binance", venue.message(BTC, i), at) for i in known]
        row = f'{{"symbol":"{ETH}","stream":"trade","trades":[{{"id":50,"price":"1","qty":"1",'
        row += '"time":1723161255342,"isBuyerMaker":true}]}'
        entries.append(raw("binance_rest", row, at + 1))
        missed = [venue.happen(BTC) for _ in range(2)]
        venue.happen(ETH, 51)

        async def check(run):
            live = await venue.trade(BTC)
            await until(lambda: run.counts["holes_filled"] == 2)
            assert sorted(run.ids(BTC)) == [*missed, live]
            assert run.ids(ETH) == [51]
            holes = {hole.symbol: hole for hole in run.last_holes()}
            assert holes[BTC].cause == "down"
            assert holes[BTC].ts_from == at + 1
            assert holes[BTC].trades == 2
            assert run.holes()[0].state is HoleState.OPEN

        await restarted(venue, entries, check)

    asyncio.run(scenario())


def test_after_a_long_stop_nothing_is_fetched_and_the_hole_says_why():
    async def scenario():
        venue = FakeBinance()
        known = venue.happen(BTC)
        at = time_ns() - 100 * SECOND
        entries = [
            raw("hole", hole(), at),
            raw("binance", venue.message(BTC, known), at),
        ]
        for _ in range(5):
            venue.happen(BTC)

        async def check(run):
            live = await venue.trade(BTC)
            await until(lambda: run.counts["holes_unfilled"] == 3)
            await venue.trade(BTC)
            await until(lambda: run.ids(BTC) == [live, live + 1])
            assert venue.asked == []
            assert all("the engine was down for 100 s" in h.note for h in run.last_holes())
            assert all(h.ts_to is not None for h in run.last_holes())

        await restarted(venue, entries, check)

    asyncio.run(scenario())


def test_holes_that_the_log_left_unresolved_are_filled_with_it():
    async def scenario():
        venue = FakeBinance()
        ids = [venue.happen(BTC) for _ in range(6)]
        at = time_ns() - SECOND
        entries = [
            raw("binance", venue.message(BTC, ids[0]), at),
            raw("hole", hole(ts_from=at, ts_to=at + 5, state=HoleState.ENDED), at + 5),
            raw("binance", venue.message(BTC, ids[3]), at + 6),  # two are missing before it
            raw("hole", hole(ts_from=5, ts_to=6, state=HoleState.FILLED), at + 7),
            raw("hole", hole(feed="another"), at + 7),
            raw("hole", b"{", at + 7),
            raw("binance", b"{", at + 7),
            raw("binance_rest", b"{}", at + 7),
            raw("headline", b"{}", at + 7),
        ]

        async def check(run):
            await until(lambda: run.counts["holes_filled"] == 2)
            assert sorted(run.ids(BTC)) == [101, 102, 104, 105]
            holes = {h.ts_from: h for h in run.last_holes(BTC)}
            assert holes[at].state is HoleState.FILLED
            assert holes[at + 7].trades == 4

        await restarted(venue, entries, check, symbols=(BTC,))

    asyncio.run(scenario())


def test_what_was_given_up_before_is_not_asked_for_again():
    async def scenario():
        venue = FakeBinance()
        venue.aggregate = True
        ids = [venue.happen(BTC) for _ in range(3)]
        at = time_ns() - SECOND
        given_up = hole(ts_from=at, ts_to=at, state=HoleState.UNFILLED, first_id=101, last_id=101)
        entries = [
            raw("binance", venue.message(BTC, ids[0]), at),
            raw("binance", venue.message(BTC, ids[2]), at),
            raw("hole", given_up, at),
        ]

        async def check(run):
            await until(lambda: run.counts["holes_filled"] == 1)
            assert {first for _, _, first, _ in venue.asked} == {103}

        settings = msgspec.structs.replace(SETTINGS, trades="aggTrade")
        await restarted(venue, entries, check, settings, (BTC,))

    asyncio.run(scenario())


def test_a_feed_without_a_past_opens_no_hole():
    async def scenario():
        venue = FakeBinance()

        async def check(run):
            await venue.trade(BTC)
            await until(lambda: run.ids(BTC))
            assert run.holes() == []

        await restarted(venue, [], check)

    asyncio.run(scenario())


def test_a_feed_that_is_begun_again_takes_up_where_it_was():
    async def scenario():
        venue = await FakeBinance().start()
        feed = BinanceFeed(SETTINGS.at(venue.url), (BTC,))
        inbox = Inbox(InboxSettings(), time_ns)
        async with running(venue, (BTC,), feed=feed, inbox=inbox) as run:
            await until(lambda: venue.live)
            await venue.trade(BTC)
            await until(lambda: run.ids(BTC))
        venue.happen(BTC)
        async with running(venue, (BTC,), feed=feed, inbox=inbox) as again:
            await until(lambda: again.counts["holes_filled"] == 1)
            assert again.ids(BTC) == [101]
            assert again.last_holes()[0].cause == "down"
        await venue.stop()

    asyncio.run(scenario())


def test_the_envelope_in_the_log_holds_the_rows_as_the_venue_wrote_them():
    async def scenario():
        venue = FakeBinance()
        async with running(venue, (BTC,)) as run:
            await until(lambda: venue.live)
            await venue.trade(BTC)
            venue.happen(BTC)
            await venue.trade(BTC)
            await until(lambda: run.counts["holes_filled"] == 1)
            [page] = [r for r in run.drain() if r.kind == "binance_rest"]
            assert page.symbol == BTC
            assert venue.row(BTC, 101).encode() in page.payload
            assert json.loads(page.payload)["symbol"] == BTC

    asyncio.run(scenario())
