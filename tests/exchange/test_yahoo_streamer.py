import asyncio
import base64
import json
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest

from exchange.faults import Fault, Kind, Target
from exchange.news_faults import NewsFault, faults_of
from exchange.prices import PriceSettings
from exchange.prints import REGULAR
from exchange.yahoo import YahooSettings
from exchange.yahoo_frames import recorded_frames
from tests.exchange.pricing_reader import as_fields, read_frame
from tests.exchange.serving import DEADLINE, Hand, served, until, venue_at

# Forty prints a second and share, in regular hours, whatever the clock says.
LIVELY = PriceSettings(hours="continuous", bar_seconds=0.1)
PLAIN = YahooSettings(duplicate_share=0.0, late_share=0.0, newer_share=0.0)


def plain(**options):
    return YahooSettings(
        **{"duplicate_share": 0.0, "late_share": 0.0, "newer_share": 0.0} | options
    )


@asynccontextmanager
async def streamed(venue, **options):
    """Serve `venue` to one client of version 2."""
    async with (
        served(venue) as (url, client),
        client.ws_connect(f"{url}/?version=2", **options) as socket,
    ):
        yield socket


async def frames(socket, count):
    async with asyncio.timeout(DEADLINE):
        return [await socket.receive_str() for _ in range(count)]


async def quiet(socket, seconds=0.3):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await socket.receive()


async def drained(socket):
    """Take what came before, until the first pause that is longer than any between frames."""
    with suppress(TimeoutError):
        while True:
            async with asyncio.timeout(0.2):
                await socket.receive_str()


async def drained_of(socket, symbol):
    """Take what was on its way of `symbol`, until many frames in a row are of others."""
    others = 0
    async with asyncio.timeout(DEADLINE):
        while others < 20:
            others = 0 if read_frame(await socket.receive_str()).id == symbol else others + 1


def test_version_2_wraps_frames_and_no_version_does_not():
    async def scenario():
        async with served(venue_at(settings=[LIVELY, PLAIN])) as (url, client):
            async with client.ws_connect(f"{url}/?version=2") as socket:
                await socket.send_json({"subscribe": ["AAPL"]})
                wrapped = await frames(socket, 3)
            async with client.ws_connect(url) as socket:
                await socket.send_json({"subscribe": ["AAPL"]})
                bare = await frames(socket, 3)
        assert all(json.loads(text)["type"] == "pricing" for text in wrapped)
        assert not any(text.startswith("{") for text in bare)
        for text in [*wrapped, *bare]:
            message = read_frame(text)
            assert (message.id, message.market_hours, message.quote_type) == ("AAPL", REGULAR, 8)
            assert message.time % 1000 == 0
            assert 100 < message.price < 250

    asyncio.run(scenario())


def test_frames_come_for_what_is_subscribed_and_no_more_after_it_is_given_up():
    async def scenario():
        venue = venue_at(settings=[LIVELY, PLAIN])
        async with streamed(venue) as socket:
            await socket.send_json({"subscribe": ["AAPL", "MSFT", "NOPE"]})
            seen = {read_frame(text).id for text in await frames(socket, 12)}
            await socket.send_json({"unsubscribe": ["AAPL"]})
            await until(lambda: venue.connections[0].streams == {"MSFT", "NOPE"})
            await drained_of(socket, "AAPL")
        assert seen == {"AAPL", "MSFT"}
        assert venue.rules.counts["yahoo_unknown_symbols"] == 1

    asyncio.run(scenario())


def test_volume_rises_with_the_prints_and_two_clients_see_the_same():
    async def scenario():
        async with (
            served(venue_at(settings=[LIVELY, PLAIN])) as (url, client),
            client.ws_connect(f"{url}/?version=2") as one,
            client.ws_connect(f"{url}/?version=2") as two,
        ):
            for socket in (one, two):
                await socket.send_json({"subscribe": ["SPY"]})
            first, second = await frames(one, 25), await frames(two, 25)
        volumes = [read_frame(text).day_volume for text in first]
        assert volumes == sorted(volumes)
        assert volumes[-1] > volumes[0]
        shared = set(first) & set(second)
        assert len(shared) > 15

    asyncio.run(scenario())


def test_recorded_frames_are_served_verbatim():
    async def scenario():
        settings = YahooSettings(recorded=True, recorded_seconds=0.01)
        async with streamed(venue_at(settings=[settings])) as socket:
            symbols = {symbol for symbol, _ in recorded_frames()}
            await socket.send_json({"subscribe": sorted(symbols)})
            got = [json.loads(text)["message"] for text in await frames(socket, 14)]
        real = [text for _, text in recorded_frames()]
        start = real.index(got[0])
        assert got == [real[(start + place) % len(real)] for place in range(14)]

    asyncio.run(scenario())


def test_a_subscription_that_is_not_sent_again_lapses_without_a_word():
    async def scenario():
        venue = venue_at(settings=[LIVELY, plain(lapse_seconds=0.4)])
        async with streamed(venue) as socket:
            await socket.send_json({"subscribe": ["AAPL"]})
            await frames(socket, 2)
            await until(lambda: venue.rules.counts["yahoo_lapsed"] == 1)
            await drained(socket)
            await quiet(socket)
            assert not socket.closed
            await socket.send_json({"subscribe": ["AAPL"]})
            assert read_frame((await frames(socket, 1))[0]).id == "AAPL"

    asyncio.run(scenario())


def test_a_subscription_that_is_sent_again_goes_on():
    async def scenario():
        venue = venue_at(settings=[LIVELY, plain(lapse_seconds=0.4)])
        async with streamed(venue) as socket:
            for _ in range(12):
                await socket.send_json({"subscribe": ["AAPL"]})
                await frames(socket, 3)
        assert venue.rules.counts["yahoo_lapsed"] == 0

    asyncio.run(scenario())


def test_an_idle_connection_ends_without_a_close_frame_though_subscriptions_are_repeated():
    async def scenario():
        venue = venue_at(settings=[LIVELY, plain(idle_seconds=0.5)])
        async with streamed(venue) as socket:
            await socket.send_json({"subscribe": ["AAPL"]})
            async with asyncio.timeout(DEADLINE):
                while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
                    if not socket.closed:
                        await socket.send_json({"subscribe": ["AAPL"]})
            assert message.type is aiohttp.WSMsgType.CLOSED
            assert socket.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE
        assert venue.rules.counts["yahoo_idle_ends"] == 1

    asyncio.run(scenario())


def test_frames_come_twice_and_late_when_told_so():
    async def scenario():
        settings = YahooSettings(
            duplicate_share=0.3, late_share=0.3, late_seconds=1.2, newer_share=0.3
        )
        async with streamed(venue_at(settings=[LIVELY, settings])) as socket:
            await socket.send_json({"subscribe": ["SPY", "AAPL"]})
            got = await frames(socket, 200)
        read = [read_frame(text) for text in got]
        assert len(set(got)) < len(got)
        of_one = [message.time for message in read if message.id == "SPY"]
        assert of_one != sorted(of_one)
        newer = [text for text in got if b"newer" in base64.b64decode(json.loads(text)["message"])]
        assert newer

    asyncio.run(scenario())


def test_frames_that_are_late_do_not_come_after_their_symbol_is_given_up():
    async def scenario():
        hand = Hand()
        settings = plain(late_share=1.0, late_seconds=5.0, heartbeat_seconds=0.01)
        venue = venue_at(hand=hand, settings=[LIVELY, settings])
        async with streamed(venue) as socket:
            await socket.send_json({"subscribe": ["AAPL", "MSFT"]})
            await frames(socket, 1)  # a heartbeat: the clock stands
            hand.forward(1.0)
            await frames(socket, 3)  # those after a step that made the late frames
            await socket.send_json({"unsubscribe": ["AAPL"]})
            await until(lambda: venue.connections[0].streams == {"MSFT"})
            hand.forward(5.0)
            seen = []
            while seen.count("MSFT") < 10:
                seen.append(read_frame((await frames(socket, 1))[0]).id)
        assert set(seen) <= {"", "MSFT"}

    asyncio.run(scenario())


def test_delayed_symbols_are_that_far_behind_the_clock():
    async def scenario():
        settings = [
            PriceSettings(hours="continuous", bar_seconds=0.1, copies={"7203.T": "AAPL"}),
            plain(delays={"7203.T": 1200.0}),
        ]
        venue = venue_at(settings=settings)
        async with streamed(venue) as socket:
            await socket.send_json({"subscribe": ["7203.T"]})
            message = read_frame((await frames(socket, 1))[0])
            behind = venue.clock.now() // 10**6 - message.time
        assert message.id == "7203.T"
        assert 1_199_000 < behind < 1_210_000

    asyncio.run(scenario())


def test_crypto_frames_have_the_prices_of_the_market():
    async def scenario():
        hand = Hand()
        venue = venue_at(settings=[plain(heartbeat_seconds=0.05)])
        venue.clock._monotonic = hand  # the market's own clock, moved by hand
        venue.market.clock._monotonic = hand
        venue.clock = venue.market.clock
        async with streamed(venue) as socket:
            await socket.send_json({"subscribe": ["BTC-USD"]})
            await until(lambda: venue.connections[0].streams == {"BTC-USD"})
            heartbeats = [read_frame(text) for text in await frames(socket, 2)]
            hand.forward(1.5)
            message = heartbeats[0]
            while message.quote_type == 7:
                message = read_frame((await frames(socket, 1))[0])
        assert {(beat.id, beat.price) for beat in heartbeats} == {("", 0.0)}
        assert message.id == "BTC-USD"
        assert (message.quote_type, message.currency, message.exchange) == (41, "USD", "CCC")
        assert message.last_size == message.day_volume == message.vol_24hr > 0
        prices = {float(t.price) for t in venue.market.instruments["BTCUSDT"].track.trades}
        assert min(abs(message.price - price) for price in prices) < 0.01

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", ["garbage", "wrong_json", "wrong_type"])
def test_spoiled_frames_are_no_frames(kind):
    async def scenario():
        venue = venue_at(settings=[LIVELY, PLAIN])
        faults_of(venue).add(NewsFault(kind=kind, endpoint="yahoo"))
        async with streamed(venue) as socket:
            await socket.send_json({"subscribe": ["AAPL"]})
            text = (await frames(socket, 1))[0]
            with pytest.raises((ValueError, TypeError, AssertionError)):
                read_frame(text)
            faults_of(venue).clear()
            async with asyncio.timeout(DEADLINE):
                while (await socket.receive_str()) == text:
                    pass

    asyncio.run(scenario())


def test_a_silent_streamer_keeps_its_connections():
    async def scenario():
        venue = venue_at(settings=[LIVELY, PLAIN])
        faults_of(venue).add(NewsFault(kind="silent", endpoint="yahoo"))
        async with streamed(venue) as socket:
            await socket.send_json({"subscribe": ["AAPL"]})
            await until(lambda: venue.rules.counts["yahoo_silenced"] > 3)
            await quiet(socket, 0.1)
            faults_of(venue).clear()
            await frames(socket, 1)

    asyncio.run(scenario())


def test_a_cut_ends_connections_once_and_new_ones_stay():
    async def scenario():
        venue = venue_at(settings=[LIVELY, PLAIN])
        async with served(venue) as (url, client):
            async with client.ws_connect(f"{url}/?version=2") as socket:
                await until(lambda: len(venue.connections) == 1)
                faults_of(venue).add(NewsFault(kind="cut", endpoint="yahoo"))
                async with asyncio.timeout(DEADLINE):
                    message = await socket.receive()
                assert message.type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}
            async with client.ws_connect(f"{url}/?version=2") as socket:
                await socket.send_json({"subscribe": ["AAPL"]})
                await frames(socket, 3)

    asyncio.run(scenario())


def test_a_refused_handshake_is_a_503():
    async def scenario():
        venue = venue_at()
        faults_of(venue).add(NewsFault(kind="refuse", endpoint="yahoo"))
        async with served(venue) as (url, client):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await client.ws_connect(url)
            async with client.get(url) as answer:
                assert answer.status == 426
        assert refused.value.status == 503

    asyncio.run(scenario())


def test_scripted_faults_of_connections_strike_yahoo_by_name():
    async def scenario():
        venue = venue_at(settings=[LIVELY, PLAIN])
        async with streamed(venue) as socket:
            await socket.send_json({"subscribe": ["AAPL"]})
            await frames(socket, 1)
            venue.faults.inject(Fault(kind=Kind.GAP, seconds=60.0, target=Target(venue="yahoo")))
            await until(lambda: venue.faults.begun[0].messages.struck > 2)
            venue.faults.inject(Fault(kind=Kind.CUT, target=Target(venue="yahoo")))
            async with asyncio.timeout(DEADLINE):
                while (await socket.receive()).type is aiohttp.WSMsgType.TEXT:
                    pass

    asyncio.run(scenario())


def test_messages_that_ask_nothing_are_ignored_and_pings_answered():
    async def scenario():
        venue = venue_at(settings=[LIVELY, PLAIN])
        async with streamed(venue, autoping=False) as socket:
            for text in ("no JSON", "[]", '{"hello": 1}', '{"subscribe": "AAPL"}'):
                await socket.send_str(text)
            await socket.ping(b"here")
            message = await socket.receive(timeout=DEADLINE)
            assert (message.type, bytes(message.data)) == (aiohttp.WSMsgType.PONG, b"here")
        assert venue.rules.counts["yahoo_bad_messages"] == 3

    asyncio.run(scenario())


def test_frames_are_filled_as_real_ones_are():
    async def scenario():
        async with streamed(venue_at(settings=[LIVELY, PLAIN])) as socket:
            await socket.send_json({"subscribe": ["TSLA"]})
            return [as_fields(read_frame(text)) for text in await frames(socket, 6)]

    core = {
        "id", "price", "time", "exchange", "quote_type", "market_hours", "change_percent",
        "day_volume", "change", "price_hint",
    }  # fmt: skip
    for fields in asyncio.run(scenario()):
        assert fields.keys() - {"day_high", "day_low"} == core
        assert fields["price_hint"] == 2
        assert fields["time"] % 1000 == 0
