"""The Binance feed's connections: replaced without a break, within the venue's rules."""

import asyncio
import ssl
from time import monotonic, time_ns

import msgspec
import pytest
import structlog
import trustme
from aiohttp import WSMsgType

from connectors.feeds import HoleState, Inbox, InboxSettings
from connectors.secrets import Secret
from connectors.sources.binance import BinanceFeed
from tests.fake_binance import SETTINGS, FakeBinance, running, until

BTC, ETH = "BTCUSDT", "ETHUSDT"


def settings(**changes):
    return msgspec.structs.replace(SETTINGS, **changes)


class Market:
    """Trades and quotes that go on while a test looks at the connections."""

    def __init__(self, venue, symbols=(BTC, ETH)):
        self.venue = venue
        self.symbols = symbols
        self.updates = 0
        self.stopped = False

    async def run(self):
        while not self.stopped:
            self.updates += 1
            for symbol in self.symbols:
                await self.venue.trade(symbol)
                await self.venue.quote(symbol, self.updates)
            await asyncio.sleep(0.002)

    async def __aenter__(self):
        self.task = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, *_):
        self.stopped = True
        await self.task


async def whole(venue, run, market, symbols=(BTC, ETH)):
    """Check that every trade and quote since the first one known stands in the log once."""
    for symbol in symbols:
        newest = max(venue.tape[symbol])
        await run.has(symbol, newest)
        ids = sorted(run.ids(symbol))
        assert ids == list(range(ids[0], newest + 1))
        await run.has_quote(symbol, market.updates)
        quotes = sorted(run.quotes(symbol))
        assert quotes == list(range(quotes[0], market.updates + 1))


def test_streams_are_shared_out_over_connections_in_their_urls():
    async def scenario():
        venue = FakeBinance()
        symbols = tuple(f"S{n}USDT" for n in range(5))
        async with running(venue, symbols, settings(streams_per_connection=4)) as run:
            await until(lambda: len(venue.live) == 3)
            streams = [stream for session in venue.live for stream in session.streams]
            assert sorted(streams) == sorted(
                f"s{n}usdt@{kind}" for n in range(5) for kind in ("trade", "bookTicker")
            )
            assert max(len(session.streams) for session in venue.live) == 4
            for symbol in symbols:
                await venue.trade(symbol)
            await until(lambda: len(run.drain()) == 5)
            assert all(session.sent == [] for session in venue.live)
            await until(lambda: run.feed.health.gauges.get("connections_open") == 3.0)

    asyncio.run(scenario())


def test_a_rotation_loses_nothing_and_doubles_nothing():
    async def scenario():
        venue = FakeBinance()
        async with (
            running(venue, (BTC, ETH), settings(rotation_seconds=0.3)) as run,
            Market(venue) as market,
        ):
            await until(lambda: run.counts["rotations"] >= 3)
            market.stopped = True
            await market.task
            await whole(venue, run, market)

            assert run.holes() == []
            assert run.counts["duplicates"] > 0
            assert max(len(session.sent) for session in venue.sessions) <= 1  # its goodbye

    asyncio.run(scenario())


def test_a_rotation_waits_for_an_old_connection_that_is_behind():
    async def scenario():
        venue = FakeBinance()
        async with running(venue, (BTC, ETH), settings(rotation_seconds=0.3)) as run:
            await until(lambda: venue.live)
            first = venue.live[0]
            await venue.trade(BTC)
            first.slow = True
            behind = [await venue.trade(BTC) for _ in range(5)]
            await until(lambda: len(venue.live) == 2)
            ahead = await venue.trade(BTC)
            await until(lambda: ahead in run.ids(BTC))
            assert run.holes() == []
            await first.catch_up()
            await until(lambda: set(behind) <= set(run.ids(BTC)))
            await until(first.ended.is_set)

            assert sorted(run.ids(BTC)) == list(range(100, ahead + 1))
            assert run.holes() == []
            assert venue.asked == []

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "announcement",
    [
        '{"e":"serverShutdown","E":1723161255342}',
        '{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1723161255342}}',
    ],
    ids=["bare", "combined"],
)
def test_a_server_that_shuts_down_is_left_at_once_without_a_break(announcement):
    async def scenario():
        venue = FakeBinance()
        async with running(venue, (BTC, ETH)) as run, Market(venue) as market:
            await until(lambda: run.ids(BTC))
            first = venue.live[0]
            await venue.tell_all(announcement)
            await until(lambda: len(venue.sessions) == 2, seconds=1.0)
            await venue.tell_all(announcement)  # the second one goes down as well, in the middle
            await until(first.ended.is_set)
            await until(lambda: len(venue.sessions) == 3 and len(venue.live) == 1)
            market.stopped = True
            await market.task
            await whole(venue, run, market)

            assert run.counts["rotations"] == 2
            assert run.holes() == []
            assert all(b"serverShutdown" not in received.payload for received in run.got)

    asyncio.run(scenario())


def test_an_old_connection_that_is_cut_during_its_rotation_is_a_hole_that_is_filled():
    async def scenario():
        venue = FakeBinance()
        async with running(venue, (BTC, ETH)) as run, Market(venue) as market:
            await until(lambda: run.ids(BTC))
            first = venue.live[0]
            venue.refuse = (503, {})
            await venue.tell_all('{"e":"serverShutdown","E":1723161255342}')
            await until(lambda: run.feed.groups[0].dial.note.endswith("(HTTP 503)"))
            first.cut()
            await until(lambda: run.counts["holes"] == 2)
            venue.refuse = None
            await until(lambda: run.counts["holes_filled"] == 2)
            market.stopped = True
            await market.task
            for symbol in (BTC, ETH):
                newest = max(venue.tape[symbol])
                await run.has(symbol, newest)
                ids = sorted(run.ids(symbol))
                assert ids == list(range(ids[0], newest + 1))

    asyncio.run(scenario())


def test_a_connection_that_dies_without_a_word_is_cut_after_its_silence():
    async def scenario():
        venue = FakeBinance()
        async with running(venue, (BTC,), settings(silence_seconds=0.6)) as run:
            await until(lambda: venue.live)
            first = venue.live[0]
            await venue.trade(BTC)
            await until(lambda: run.ids(BTC))
            first.mute, first.pongs = True, False
            began = monotonic()
            lost = await venue.trade(BTC)
            await until(lambda: len(venue.sessions) == 2)
            assert monotonic() - began < 1.5
            await venue.trade(BTC)
            await until(lambda: run.counts["holes_filled"] == 1)

            assert run.last_holes()[0].cause == "silent"
            assert sorted(run.ids(BTC)) == [100, lost, 102]
            assert [kind for _, kind in first.sent][:1] == [WSMsgType.PING]

    asyncio.run(scenario())


def test_a_half_open_connection_that_answers_pings_is_found_out_by_another():
    async def scenario():
        venue = FakeBinance()
        async with running(venue, (BTC, ETH), settings(silence_seconds=0.4)) as run:
            await until(lambda: venue.live)
            first = venue.live[0]
            await venue.trade(BTC)
            await venue.trade(ETH)
            await until(lambda: run.ids(ETH))
            first.mute = True
            async with Market(venue, (BTC,)):
                eth = await venue.trade(ETH)
                await until(lambda: run.counts["holes_filled"] == 2)

            holes = run.last_holes()
            assert {hole.cause for hole in holes} == {"silent"}
            assert run.ids(ETH) == [100, eth]
            assert first.ended.is_set()
            ids = sorted(run.ids(BTC))
            assert ids == list(range(100, ids[-1] + 1))

    asyncio.run(scenario())


def test_a_quiet_market_is_quiet_and_no_hole():
    async def scenario():
        venue = FakeBinance()
        async with running(venue, (BTC,), settings(silence_seconds=0.2)) as run:
            await until(lambda: venue.live)
            await venue.trade(BTC)
            await until(lambda: run.feed.health.state == "quiet")
            await until(lambda: run.counts["probes"] >= 1)
            await until(lambda: len(venue.live) == 1)
            await venue.trade(BTC)
            await until(lambda: run.feed.health.state == "up")

            assert run.ids(BTC) == [100, 101]
            assert run.holes() == []
            assert len(venue.sessions) <= 5

    asyncio.run(scenario())


def test_pings_are_answered_and_no_second_ever_holds_more_than_the_limit():
    async def scenario():
        venue = FakeBinance()
        async with running(venue, (BTC,), settings(silence_seconds=0.2)) as run:
            await until(lambda: venue.live)
            session = venue.live[0]
            for n in range(40):  # a flood, though the venue pings each 20 s
                await session.ws.ping(str(n).encode())
                await session.send(venue.message(BTC, venue.happen(BTC)))
                await asyncio.sleep(0.03)
            await until(lambda: run.counts["server_pings"] == 40)
            count = len(session.sent)
            await until(lambda: len(session.sent) > count)  # the last one is answered later

            times = [at for at, kind in session.sent]
            assert [kind for _, kind in session.sent].count(WSMsgType.PONG) >= 4
            for at in times:
                assert sum(at <= other <= at + 1.0 for other in times) <= 5
            assert run.counts["throttled"] > 0

    asyncio.run(scenario())


def test_a_single_ping_is_answered_at_once_with_its_own_payload():
    async def scenario():
        venue = FakeBinance()
        answered = []

        async def on_open(session):
            await session.ws.ping(b"1723161255342")

        venue.on_open = on_open
        async with running(venue, (BTC,)):
            await until(lambda: venue.live)
            session = venue.live[0]
            await until(lambda: session.sent, seconds=1.0)
            answered.extend(kind for _, kind in session.sent)
        assert answered[0] is WSMsgType.PONG

    asyncio.run(scenario())


def test_a_broken_rule_is_counted_and_the_feed_keeps_away_for_long():
    async def scenario():
        venue = FakeBinance()
        async with running(venue, (BTC,), settings(breach_seconds=0.6)) as run:
            await until(lambda: venue.live)
            await venue.trade(BTC)
            await until(lambda: run.ids(BTC))
            began = monotonic()
            await venue.live[0].ws.close(code=1008, message=b"too many")
            await until(lambda: run.counts["rule_breaches"] == 1)
            await until(lambda: "1008" in run.feed.health.note)
            assert run.feed.health.state == "cut"
            await until(lambda: len(venue.sessions) == 2)
            assert monotonic() - began >= 0.6

    asyncio.run(scenario())


def test_a_stream_that_is_late_is_replaced_once():
    async def scenario():
        venue = FakeBinance()
        ahead = Inbox(InboxSettings(), lambda: time_ns() + 4_000_000_000)
        changed = settings(lag_patience_seconds=0.3)
        async with (
            running(venue, (BTC,), changed, inbox=ahead) as run,
            Market(venue, (BTC,)) as market,
        ):
            await until(lambda: run.counts["stale"] == 1)
            assert run.feed.health.gauges["lag_seconds"] == pytest.approx(4.0, abs=0.3)
            await until(lambda: len(venue.sessions) == 2 and len(venue.live) == 1)
            await asyncio.sleep(0.6)
            assert run.counts["stale"] == 1
            market.stopped = True
            await market.task
            await whole(venue, run, market, (BTC,))
            # Bars close without what is so late, and the log says so.
            assert {(h.cause, h.state) for h in run.holes()} == {("lag", HoleState.OPEN)}

    asyncio.run(scenario())


def test_a_host_that_fails_gives_way_to_the_next():
    async def scenario():
        venue = FakeBinance()
        dead = FakeBinance()
        await venue.start()
        await dead.start()
        await dead.stop()
        changed = msgspec.structs.replace(
            SETTINGS.at(venue.url),
            ws_hosts=(f"ws://localhost:{dead.port}", f"ws://localhost:{venue.port}"),
            rest_hosts=(f"http://localhost:{dead.port}", f"http://localhost:{venue.port}"),
        )
        feed = BinanceFeed(changed, (BTC,))
        async with running(venue, (BTC,), feed=feed) as run:
            await until(lambda: venue.live)
            await venue.trade(BTC)
            venue.happen(BTC)
            await venue.trade(BTC)
            await until(lambda: run.counts["holes_filled"] == 1)
            assert run.counts["host_failovers"] == 2
        await venue.stop()

    asyncio.run(scenario())


def test_a_refused_connection_waits_for_as_long_as_the_venue_says():
    async def scenario():
        venue = FakeBinance()
        venue.refuse = (429, {"Retry-After": "1"})
        async with running(venue, (BTC,)) as run:
            await until(lambda: run.counts["rate_limited"] == 1)
            began = monotonic()
            venue.refuse = None
            await until(lambda: venue.live)
            assert monotonic() - began > 0.8
            assert run.counts["rate_limited"] == 1

    asyncio.run(scenario())


def certificates():
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


def test_a_certificate_of_a_trusted_authority_is_accepted_by_stream_and_rest():
    async def scenario():
        server, client = certificates()
        venue = FakeBinance(tls=server)
        async with running(venue, (BTC,), tls=client) as run:
            await until(lambda: venue.live)
            await venue.trade(BTC)
            venue.happen(BTC)
            await venue.trade(BTC)
            await until(lambda: run.counts["holes_filled"] == 1)
            assert run.feed.health.state in {"up", "starting"}

    asyncio.run(scenario())


def test_a_certificate_of_an_unknown_authority_is_refused_with_a_clear_note():
    async def scenario():
        server, _ = certificates()
        _, other = certificates()
        venue = FakeBinance(tls=server)
        async with running(venue, (BTC,), tls=other) as run:
            await until(lambda: "not accepted" in run.feed.health.note)
            assert run.feed.health.state == "cut"
            assert venue.sessions == []

    asyncio.run(scenario())


def test_the_key_is_sent_to_the_venue_and_stands_in_no_log_and_no_health():
    async def scenario():
        canary = "canary-key-1234567890"
        venue = FakeBinance()
        venue.answers = [(500, {}, b""), (418, {"Retry-After": "1"}, b"")]
        with structlog.testing.capture_logs() as logs:
            async with running(venue, (BTC,), settings(api_key=Secret(canary))) as run:
                await until(lambda: venue.live)
                await venue.trade(BTC)
                venue.happen(BTC)
                await venue.trade(BTC)
                await until(lambda: run.counts["banned"] == 1)
                await until(lambda: run.counts["holes_filled"] == 1)
                venue.live[0].cut()
                await until(lambda: run.counts["reconnects"] == 1)

                assert venue.headers[0]["x-mbx-apikey"] == canary
                said = [repr(logs), repr(run.feed.health), repr(run.drain()), repr(run.feed)]
                said.append(repr(run.feed.settings))
        assert len(logs) >= 3
        assert all(canary not in text for text in said)
        assert "100.0" not in repr(logs)  # nor a payload

    asyncio.run(scenario())


def test_a_feed_without_a_server_goes_on_trying_and_says_so():
    async def scenario():
        venue = FakeBinance()
        await venue.start()
        await venue.stop()
        feed = BinanceFeed(SETTINGS.at(venue.url), (BTC,))
        async with running(venue, (BTC,), feed=feed) as run:
            await until(lambda: run.feed.health.state == "cut")
            assert "1 of 1 connections are down: no connection to ws://" in run.feed.health.note
            await venue.start()
            await until(lambda: venue.live)
            await venue.trade(BTC)
            await until(lambda: run.feed.health.state == "up" and run.feed.health.note == "")
            assert run.holes() == []
        assert run.feed.health.state == "stopped"
        await venue.stop()

    asyncio.run(scenario())


def test_an_open_hole_is_told_while_the_venue_is_away():
    async def scenario():
        venue = FakeBinance()
        async with running(venue, (BTC,)) as run:
            await until(lambda: venue.live)
            await venue.trade(BTC)
            await until(lambda: run.ids(BTC))
            venue.refuse = (503, {})
            venue.live[0].cut()
            await until(lambda: run.feed.health.state == "cut")
            [hole] = run.holes()
            last = next(r for r in run.got if r.kind == "binance")
            assert (hole.state, hole.ts_from, hole.ts_to) == (HoleState.OPEN, last.ts_init, None)

    asyncio.run(scenario())
