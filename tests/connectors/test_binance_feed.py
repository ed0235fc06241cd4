"""The Binance feed against a scripted venue: what it subscribes, loses, and gets back."""

import asyncio
import json

import pytest

from connectors.feeds import HoleState, Inbox, InboxSettings
from tests.fake_binance import SETTINGS, TORN, FakeBinance, running, until

BTC, ETH = "BTCUSDT", "ETHUSDT"


async def connected(venue, count=1):
    await until(lambda: len(venue.live) == count, f"{count} connections")
    return venue.live


def test_payloads_go_into_the_inbox_as_they_came_with_their_symbol():
    async def scenario():
        venue = FakeBinance()
        async with running(venue, (BTC, ETH)) as run:
            await connected(venue)
            trade = await venue.trade(BTC)
            await venue.quote(ETH, 7)
            await until(lambda: len(run.drain()) == 2)

            first, second = run.got
            assert (first.feed, first.kind, first.symbol) == ("binance", "binance", BTC)
            assert first.payload == venue.message(BTC, trade).encode()
            assert second.symbol == ETH
            assert run.feed.health.state in {"up", "starting"}
            await until(lambda: run.feed.health.state == "up")

    asyncio.run(scenario())


def test_a_cut_is_a_hole_of_each_symbol_that_is_filled_to_the_last_trade():
    async def scenario():
        venue = FakeBinance()
        async with running(venue, (BTC, ETH, "XRPUSDT")) as run:
            [session] = await connected(venue)
            await venue.trade(BTC)
            await venue.trade(ETH)
            await until(lambda: run.ids(ETH))
            session.cut()
            lost = [venue.happen(BTC) for _ in range(3)]
            quiet = [venue.happen(ETH) for _ in range(2)]  # and no trade after the cut
            await until(lambda: len(venue.live) == 1 and venue.live[0] is not session)
            live = await venue.trade(BTC)
            await until(lambda: run.counts["holes_filled"] == 2)

            assert run.ids(BTC) == [100, live, *lost]
            assert run.ids(ETH) == [100, *quiet]
            by_symbol = {hole.symbol: hole for hole in run.last_holes()}
            # Of a symbol without a known trade nobody can say what was missed.
            unknown = by_symbol.pop("XRPUSDT")
            assert unknown.state is HoleState.UNFILLED
            assert unknown.note == "no trade before it is known, from which to ask on"
            assert {hole.state for hole in by_symbol.values()} == {HoleState.FILLED}
            assert {hole.cause for hole in by_symbol.values()} == {"cut"}
            btc = by_symbol[BTC]
            assert (btc.first_id, btc.last_id, btc.trades) == (101, 103, 3)
            states = list(dict.fromkeys(hole.state for hole in run.holes(BTC)))
            assert states == [HoleState.OPEN, HoleState.ENDED, HoleState.FILLED]
            kinds = [r.kind for r in run.got if r.symbol == BTC]
            assert kinds[-2:] == ["binance_rest", "hole"]  # filled first, then said so
            assert 0.0 < run.feed.health.gauges["cut_to_good_seconds"] < 2.0

    asyncio.run(scenario())


def test_cuts_with_no_trade_between_them_lose_nothing():
    async def scenario():
        venue = FakeBinance()
        async with running(venue, (BTC,)) as run:
            [session] = await connected(venue)
            await venue.trade(BTC)
            await until(lambda: run.ids(BTC))
            for n in range(3):
                session.cut()
                await until(session.ended.is_set)
                venue.happen(BTC)
                [session] = await connected(venue)
                await venue.quote(BTC, n)
                await run.has_quote(BTC, n)
            await venue.trade(BTC)
            await until(lambda: run.counts["holes_filled"] == 3)

            assert sorted(run.ids(BTC)) == [100, 101, 102, 103, 104]
            assert sum(hole.trades for hole in run.last_holes()) == 3

    asyncio.run(scenario())


def test_a_skip_of_ids_on_an_unbroken_connection_is_fetched_exactly():
    async def scenario():
        venue = FakeBinance()
        async with running(venue, (BTC,)) as run:
            await connected(venue)
            await venue.trade(BTC)
            for _ in range(4):
                venue.happen(BTC)
            await venue.trade(BTC)
            await until(lambda: run.counts["holes_filled"] == 1)
            await venue.trade(BTC)
            await until(lambda: 106 in run.ids(BTC))

            assert run.ids(BTC) == [100, 105, 101, 102, 103, 104, 106]
            assert venue.asked == [("/api/v3/historicalTrades", BTC, 101, 4)]
            [hole] = run.last_holes()
            assert (hole.cause, hole.first_id, hole.last_id, hole.trades) == ("ids", 101, 104, 4)
            first = next(r for r in run.got if r.kind == "binance")
            assert hole.ts_from == first.ts_init

    asyncio.run(scenario())


def test_trades_out_of_order_are_no_loss_in_the_end():
    async def scenario():
        venue = FakeBinance()
        settings = SETTINGS
        async with running(venue, (BTC,), settings) as run:
            await connected(venue)
            await venue.trade(BTC)
            late = venue.happen(BTC)
            venue.rest_newest[BTC] = 0
            await venue.trade(BTC)
            await venue.tell(BTC, venue.message(BTC, late))
            await until(lambda: run.counts["holes_filled"] == 1)

            assert run.ids(BTC) == [100, 102, 101]
            [hole] = run.last_holes()
            assert (hole.state, hole.trades, hole.first_id) == (HoleState.FILLED, 0, None)

    asyncio.run(scenario())


def test_a_message_told_twice_goes_into_the_log_once():
    async def scenario():
        venue = FakeBinance()
        async with running(venue, (BTC,)) as run:
            await connected(venue)
            for trade_id in (100, 101, 102):
                await venue.trade(BTC, trade_id)
            for trade_id in (101, 102):
                await venue.tell(BTC, venue.message(BTC, trade_id))
            for update in (1, 3, 3, 1, 4):
                await venue.quote(BTC, update)
            await until(lambda: 4 in run.quotes(BTC))

            assert run.ids(BTC) == [100, 101, 102]
            assert run.quotes(BTC) == [1, 3, 4]
            assert run.counts["duplicates"] == 4

    asyncio.run(scenario())


def test_rest_behind_the_stream_is_asked_until_the_trades_are_there():
    async def scenario():
        venue = FakeBinance()
        async with running(venue, (BTC,)) as run:
            await connected(venue)
            await venue.trade(BTC)
            venue.rest_newest[BTC] = 101
            for _ in range(3):
                venue.happen(BTC)
            await venue.trade(BTC)
            await until(lambda: 101 in run.ids(BTC) and len(venue.asked) > 2)
            assert run.counts["holes_filled"] == 0
            venue.rest_newest.clear()
            await until(lambda: run.counts["holes_filled"] == 1)

            assert run.ids(BTC) == [100, 104, 101, 102, 103]

    asyncio.run(scenario())


def test_rest_ahead_of_the_stream_doubles_nothing():
    async def scenario():
        venue = FakeBinance()
        async with running(venue, (BTC,)) as run:
            [session] = await connected(venue)
            await venue.trade(BTC)
            await until(lambda: run.ids(BTC))
            session.cut()
            ahead = [venue.happen(BTC) for _ in range(3)]
            await until(lambda: run.counts["backfilled_trades"] == 3)
            for trade_id in ahead[1:]:  # the stream has been behind all the while
                await venue.tell(BTC, venue.message(BTC, trade_id))
            await venue.trade(BTC)
            await until(lambda: 104 in run.ids(BTC))
            await until(lambda: run.counts["holes_filled"] == 1)

            assert run.ids(BTC) == [100, 101, 102, 103, 104]
            assert run.counts["duplicates"] == 2

    asyncio.run(scenario())


def test_rows_that_rest_leaves_out_are_asked_for_again():
    async def scenario():
        venue = FakeBinance()
        async with running(venue, (BTC,)) as run:
            [session] = await connected(venue)
            await venue.trade(BTC)
            await until(lambda: run.ids(BTC))
            session.cut()
            venue.rest_skips = {102}
            for _ in range(4):
                venue.happen(BTC)
            await until(lambda: 104 in run.ids(BTC))
            assert 102 not in run.ids(BTC)
            assert run.counts["holes_filled"] == 0
            venue.rest_skips = set()
            await until(lambda: run.counts["holes_filled"] == 1)

            assert sorted(run.ids(BTC)) == [100, 101, 102, 103, 104]
            assert run.last_holes()[0].trades == 4

    asyncio.run(scenario())


WRONG = [
    (500, {}, b"{}"),
    (200, {}, b"<html>busy</html>"),
    (200, {}, b'{"code":-1000,"msg":"unknown"}'),
    (TORN, {}, b'[{"id":101,"pri'),
    (200, {}, b'[{"id":900,"price":"1","qty":"1","time":1723161255342,"isBuyerMaker":true}]'),
    (200, {}, b'[{"id":101,"price":"-1","qty":"1","time":1723161255342,"isBuyerMaker":true}]'),
    (404, {}, b""),
    (400, {}, b'{"code":-1121,"msg":"Invalid symbol."}'),
    (302, {"Location": "http://localhost:1/"}, b""),
]


@pytest.mark.parametrize("wrong", WRONG, ids=range(len(WRONG)))
def test_a_wrong_answer_of_rest_is_asked_again_while_live_data_goes_on(wrong):
    async def scenario():
        venue = FakeBinance()
        venue.answers = [wrong]
        async with running(venue, (BTC,)) as run:
            await connected(venue)
            await venue.trade(BTC)
            venue.happen(BTC)
            await venue.trade(BTC)
            await until(lambda: len(venue.asked) >= 1)
            await venue.trade(BTC)
            await until(lambda: run.counts["holes_filled"] == 1)

            assert sorted(run.ids(BTC)) == [100, 101, 102, 103]
            assert run.counts["backfilled_trades"] == 1
            assert len(venue.asked) == 2
            assert all(first == 101 and limit == 1 for _, _, first, limit in venue.asked)

    asyncio.run(scenario())


@pytest.mark.parametrize(("status", "count"), [(429, "rate_limited"), (418, "banned")])
def test_no_request_is_sent_before_retry_after(status, count):
    async def scenario():
        venue = FakeBinance()
        venue.answers = [(status, {"Retry-After": "1"}, b"{}")]
        async with running(venue, (BTC, ETH)) as run:
            await connected(venue)
            for symbol in (BTC, ETH):
                await venue.trade(symbol)
                venue.happen(symbol)
            await venue.trade(BTC)
            await until(lambda: run.counts[count] == 1)
            await venue.trade(ETH)  # another symbol wants to ask, and has to wait as well
            await until(lambda: run.counts["holes_filled"] == 2)

            assert venue.asked_at[1] - venue.asked_at[0] >= 1.0
            assert len(venue.asked) == 3
            assert "breaker_opened" not in run.counts

    asyncio.run(scenario())


def test_the_weight_that_the_venue_tells_is_believed():
    async def scenario():
        venue = FakeBinance()
        settings = SETTINGS.at("http://localhost")
        venue.used_weight = int(settings.weight_per_minute * settings.weight_share) - 10
        async with running(venue, (BTC,)) as run:
            await connected(venue)
            await venue.trade(BTC)
            venue.happen(BTC)
            await venue.trade(BTC)
            await until(lambda: run.counts["holes_filled"] == 1)
            venue.happen(BTC)
            await venue.trade(BTC)
            await until(lambda: run.counts["throttled"] == 1)
            await venue.trade(BTC)
            await until(lambda: 104 in run.ids(BTC))

            assert len(venue.asked) == 1
            assert run.feed.health.gauges["weight_used"] == venue.used_weight

    asyncio.run(scenario())


def test_what_a_full_inbox_sheds_is_a_hole_that_is_filled_once_there_is_room():
    async def scenario():
        venue = FakeBinance()
        inbox = Inbox(InboxSettings(max_messages=10), lambda: 1_000_000_000)
        async with running(venue, (BTC,), inbox=inbox) as run:
            await connected(venue)
            for _ in range(25):
                await venue.trade(BTC)
            await until(lambda: run.counts["shed"] == 15)
            await asyncio.sleep(0.1)
            assert len(inbox) <= 11  # what fits, and the hole
            assert venue.asked == []
            run.drain()
            await venue.trade(BTC)
            await until(lambda: run.counts["holes_filled"] == 1)

            assert sorted(run.ids(BTC)) == list(range(100, 126))
            hole = run.last_holes()[0]
            assert (hole.cause, hole.first_id, hole.last_id) == ("shed", 110, 124)
            assert hole.trades == 15

    asyncio.run(scenario())


def test_what_was_shed_comes_back_even_if_no_trade_follows():
    async def scenario():
        venue = FakeBinance()
        inbox = Inbox(InboxSettings(max_messages=4), lambda: 1_000_000_000)
        async with running(venue, (BTC,), inbox=inbox) as run:
            await connected(venue)
            for _ in range(6):
                await venue.trade(BTC)
            await until(lambda: run.counts["shed"] == 2)
            await until(lambda: run.drain() and run.counts["holes_filled"] == 1)

            assert sorted(run.ids(BTC)) == list(range(100, 106))

    asyncio.run(scenario())


def test_quotes_give_way_to_trades_and_are_counted():
    async def scenario():
        venue = FakeBinance()
        inbox = Inbox(InboxSettings(max_messages=10), lambda: 1_000_000_000)
        async with running(venue, (BTC,), inbox=inbox) as run:
            await connected(venue)
            for update in range(20):
                await venue.quote(BTC, update)
            await venue.trade(BTC)
            await until(lambda: run.counts["shed"] == 15)
            await until(lambda: len(inbox) == 6)

            assert run.holes() == []
            assert run.ids(BTC) == [100]

    asyncio.run(scenario())


def test_trades_that_normalise_would_reject_are_fetched_and_both_stand_in_the_log():
    async def scenario():
        venue = FakeBinance()
        async with running(venue, (BTC,)) as run:
            await connected(venue)
            await venue.trade(BTC)
            broken = [venue.happen(BTC) for _ in range(3)]
            await venue.tell(BTC, venue.message(BTC, broken[0], price="NaN"))
            await venue.tell(BTC, venue.message(BTC, broken[1])[:-30])
            await venue.tell(BTC, "\u00ff" + venue.message(BTC, broken[2]))
            await venue.trade(BTC)
            await until(lambda: run.counts["holes_filled"] == 1)

            odd = [r for r in run.drain() if r.kind == "binance" and r.symbol is None]
            assert len(odd) == 3
            assert run.ids(BTC) == [100, 104, *broken]

    asyncio.run(scenario())


def test_frames_that_cannot_be_a_message_are_counted_and_cost_no_connection():
    async def scenario():
        venue = FakeBinance()
        async with running(venue, (BTC,)) as run:
            [session] = await connected(venue)
            await session.ws.send_bytes(b"{}")
            await session.send("x" * (2 << 20))
            for text in (
                "",
                "[]",
                "null",
                '{"e":7}',
                '{"result":null,"id":1}',
                '{"code":2,"msg":"Invalid request"}',
                '{"error":{"code":3,"msg":"no"}}',
                '{"stream":"a@trade","data":[]}',
                '{"e":"unheard","s":"BTCUSDT"}',
            ):
                await session.send(text)
            await venue.trade(BTC)
            await until(lambda: run.ids(BTC) == [100])

            assert run.counts["rejected"] == 2
            assert run.counts["refused"] == 2
            assert len([r for r in run.got if r.symbol is None]) == 6
            assert venue.live == [session]

    asyncio.run(scenario())


def test_an_id_that_leaps_too_far_is_believed_once_another_confirms_it():
    async def scenario():
        venue = FakeBinance()
        async with running(venue, (BTC,)) as run:
            await connected(venue)
            await venue.trade(BTC)
            far = 10_000_000
            await venue.tell(BTC, venue.message(BTC, venue.happen(BTC, far)))
            del venue.tape[BTC][far]
            await venue.trade(BTC)
            await until(lambda: 101 in run.ids(BTC))
            assert run.ids(BTC) == [100, far, 101]
            assert run.holes() == []

            await venue.trade(BTC, far + 1)
            await venue.trade(BTC, far + 2)
            await until(lambda: run.counts["holes_unfilled"] == 1)
            await venue.trade(BTC, far + 3)
            await until(lambda: far + 3 in run.ids(BTC))
            assert venue.asked == []
            hole = run.last_holes()[0]
            assert hole.state is HoleState.UNFILLED
            assert "are not fetched" in hole.note

    asyncio.run(scenario())


def test_a_hole_that_rest_never_fills_is_given_up_with_what_is_missing():
    async def scenario():
        import msgspec

        venue = FakeBinance()
        venue.rest_skips = {102}
        settings = msgspec.structs.replace(SETTINGS, give_up_seconds=0.5)
        async with running(venue, (BTC,), settings) as run:
            await connected(venue)
            await venue.trade(BTC)
            for _ in range(3):
                venue.happen(BTC)
            await venue.trade(BTC)
            await until(lambda: run.counts["holes_unfilled"] == 1)

            [hole] = run.last_holes()
            assert (hole.first_id, hole.last_id, hole.trades) == (102, 102, 2)
            assert hole.note.startswith("1 of 3 trades are missing")
            await venue.tell(BTC, venue.message(BTC, 102))  # late, but no duplicate
            await until(lambda: 102 in run.ids(BTC))

    asyncio.run(scenario())


def test_aggregates_are_a_tape_of_their_own():
    async def scenario():
        import msgspec

        venue = FakeBinance()
        venue.aggregate = True
        settings = msgspec.structs.replace(SETTINGS, trades="aggTrade", quotes=False)
        async with running(venue, (BTC,), settings) as run:
            [session] = await connected(venue)
            assert session.streams == ["btcusdt@aggTrade"]
            await venue.trade(BTC)
            venue.happen(BTC)
            await venue.trade(BTC)
            await until(lambda: run.counts["holes_filled"] == 1)

            assert run.ids(BTC) == [100, 102, 101]
            assert venue.asked == [("/api/v3/aggTrades", BTC, 101, 1)]
            envelope = next(r for r in run.got if r.kind == "binance_rest")
            assert json.loads(envelope.payload)["stream"] == "aggTrade"

    asyncio.run(scenario())
