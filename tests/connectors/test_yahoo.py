"""Yahoo's stream against a server of another WebSocket implementation."""

import asyncio
import ssl
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from time import monotonic

import msgspec
import pytest
import structlog
import trustme
from aiohttp import WSMsgType, web

from connectors.feeds import Inbox, InboxSettings
from connectors.sources.yahoo import YahooFeed, YahooMarket, YahooSettings
from models.calendars import CalendarError
from operators.messages import SECOND, Hole, HoleState
from operators.yahoo import decode
from tests.support import raw
from tests.yahoo_frames import REAL, enveloped, frame

START = 1_736_500_000 * SECOND  # a Friday in 2025, 09:06 UTC: New York has not opened
ALWAYS = (YahooMarket("", "24/7", 60.0),)
# Everything that real settings do in minutes, in parts of a second.
FAST = YahooSettings(
    markets=ALWAYS,
    check_seconds=0.01,
    backoff_first_seconds=0.01,
    backoff_most_seconds=0.05,
    overlap_seconds=0.05,
    close_timeout_seconds=0.2,
    settle_seconds=0.05,
)
GOOD = 10.0  # seconds that nothing should take


class Clock:
    """UNIX ns that rise by a microsecond a look, so that times are all different."""

    def __init__(self):
        self.now = START

    def __call__(self):
        self.now += 1000
        return self.now


class Venue:
    """Yahoo as far as a test needs it; it never closes by itself."""

    def __init__(self):
        self.sockets = []
        self.subscriptions = []  # (socket, message, when)
        self.refuse = False
        self.greet = []  # frames that answer each first subscription
        self.changed = asyncio.Event()

    async def handle(self, request):
        if self.refuse:
            raise web.HTTPServiceUnavailable
        assert request.query_string == "version=2"
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        socket.transport = request.transport
        first = True
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                self.subscriptions.append((socket, message.json(), monotonic()))
                if first:
                    self.sockets.append(socket)
                    for payload in self.greet:
                        await socket.send_str(payload.decode())
                first = False
                self.changed.set()
        return socket

    async def send(self, *frames, socket=-1):
        for payload in frames:
            await self.sockets[socket].send_bytes(payload)

    async def until(self, condition):
        """Wait until `condition` holds of what the venue has seen."""
        async with asyncio.timeout(GOOD):
            while not condition():
                self.changed.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.changed.wait(), 0.01)


@asynccontextmanager
async def venue(tls=None):
    found = Venue()
    app = web.Application()
    app.router.add_get("/", found.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    found.base = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    try:
        yield found
    finally:
        await runner.cleanup()


class Run:
    """A feed that runs, and what it put into its inbox."""

    def __init__(self, feed, inbox, at):
        self.feed = feed
        self.inbox = inbox
        self.at = at
        self.taken = []

    @property
    def all(self):
        self.taken += self.inbox.take(1_000_000)
        return self.taken

    @property
    def frames(self):
        return [received.payload for received in self.all if received.kind == "yahoo"]

    @property
    def holes(self):
        return [
            msgspec.json.decode(received.payload, type=Hole)
            for received in self.all
            if received.kind == "hole"
        ]

    def told(self, symbol):
        return [(hole.cause, hole.state) for hole in self.holes if hole.symbol == symbol]

    @property
    def counts(self):
        return self.feed.health.counts


@asynccontextmanager
async def running(at, settings=FAST, symbols=None, tls=None, memory=(), inbox=None):
    feed = YahooFeed(settings.at(at.base), symbols or {"AAPL": "AAPL", "TSLA": "TSLA"}, tls)
    for entry in memory:
        feed.remember(entry)
    inbox = Inbox(InboxSettings(), Clock()) if inbox is None else inbox  # an empty one is false
    task = asyncio.create_task(feed.run(inbox))
    try:
        yield Run(feed, inbox, at)
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def apple(price=305.7, after=0, **fields):
    return frame(id="AAPL", price=price, time=START // 10**6 + after, **fields)


def tesla(price=676.0, after=0, **fields):
    return frame(id="TSLA", price=price, time=START // 10**6 + after, **fields)


def scenario(play):
    asyncio.run(play())


def replaced(**changes):
    return msgspec.structs.replace(FAST, **changes)


# ------------------------------------------------------------------------------- frames


def test_real_frames_reach_the_log_as_they_came():
    async def play():
        symbols = {"BTC": "BTC-USD", "AAPL": "AAPL", "TSLA": "TSLA", "MSFT": "MSFT"}
        payloads = [enveloped(real["message"]) for real in REAL]
        async with venue() as there, running(there, symbols=symbols) as run:
            await there.until(lambda: there.sockets)
            await there.send(*payloads)
            await there.until(lambda: len(run.frames) == len(REAL))

            assert run.frames == payloads
            assert [r.symbol for r in run.all] == ["BTC", "AAPL", "TSLA", *["MSFT"] * 4]
            assert {r.feed for r in run.all} == {"yahoo"}
            assert run.feed.health.state == "up"
            assert run.counts["messages"] == len(REAL)
            assert run.counts["bytes"] == sum(map(len, payloads))

    scenario(play)


def test_bare_frames_are_known_too():
    async def play():
        async with venue() as there, running(there) as run:
            await there.until(lambda: there.sockets)
            await there.send(REAL[1]["message"].encode())
            await there.until(lambda: run.frames)

            assert run.all[0].symbol == "AAPL"
            [tick] = decode(raw(run.frames[0], kind="yahoo"))
            assert tick.price == 305.76

    scenario(play)


def test_garbage_reaches_the_log_and_ends_nothing():
    garbage = [b"\xff\xfe", b"{", enveloped("!"), enveloped("CgRB"), b"A" * 70_000,
               b'{"type":"error","message":"?"}', frame(quote_type=7),
               frame(id="NVDA", price=1.0, time=1_779_437_422_000)]  # fmt: skip

    async def play():
        async with venue() as there, running(there) as run:
            await there.until(lambda: there.sockets)
            await there.send(*garbage, apple())
            await there.until(lambda: len(run.frames) == len(garbage) + 1)

            assert [r.symbol for r in run.all] == [None] * len(garbage) + ["AAPL"]
            assert run.counts["rejected"] == 5
            assert len(there.sockets) == 1

    scenario(play)


def test_frame_above_the_limit_ends_its_connection_and_not_the_feed():
    async def play():
        async with venue() as there, running(there) as run:
            await there.until(lambda: there.sockets)
            await there.send(b"A" * (FAST.max_frame_bytes + 1))
            await there.until(lambda: len(there.sockets) == 2)
            await there.send(apple())
            await there.until(lambda: run.frames)

            assert run.told("AAPL") == [("cut", HoleState.OPEN), ("cut", HoleState.UNFILLED)]

    scenario(play)


def test_equal_frames_are_delivered_once_and_counted():
    async def play():
        async with venue() as there, running(there) as run:
            await there.until(lambda: there.sockets)
            spaced = apple().replace(b'","', b'", "')  # the same message in another envelope
            await there.send(apple(), apple(), spaced, tesla(), apple(after=1000), apple())
            await there.until(lambda: run.counts["messages"] == 6)

            assert run.frames == [apple(), tesla(), apple(after=1000)]
            assert run.counts["duplicates"] == 3

    scenario(play)


def test_memory_of_frames_is_bounded():
    async def play():
        settings = replaced(remembered_frames=3)
        async with venue() as there, running(there, settings) as run:
            await there.until(lambda: there.sockets)
            await there.send(*(apple(after=n) for n in range(5)), apple(after=0))
            await there.until(lambda: len(run.frames) == 6)

            [known] = [s for s in run.feed._symbols.values() if s.ours == "AAPL"]
            assert len(known.frames) == 3

    scenario(play)


def test_shed_frames_open_a_hole_until_there_is_room():
    async def play():
        inbox = Inbox(InboxSettings(max_messages=2), Clock())
        async with venue() as there, running(there, inbox=inbox) as run:
            await there.until(lambda: there.sockets)
            await there.send(*(apple(after=n) for n in range(4)))
            await there.until(lambda: run.counts["messages"] == 4)
            assert run.told("AAPL") == [("shed", HoleState.OPEN)]  # taking makes room
            await there.send(apple(after=9))
            await there.until(lambda: len(run.frames) == 3)

            opened, ended = run.holes
            assert opened.ts_from == run.all[1].ts_init
            assert (ended.state, ended.ts_to) == (HoleState.UNFILLED, run.all[-2].ts_init)
            assert run.counts["shed"] == 2

    scenario(play)


# ------------------------------------------------------------------------ subscriptions


def test_subscription_is_sent_at_once_and_again_in_time():
    async def play():
        async with venue() as there, running(there, replaced(resubscribe_seconds=0.1)) as run:
            await there.until(lambda: len(there.subscriptions) == 4)

            messages = [message for _, message, _ in there.subscriptions]
            times = [when for *_, when in there.subscriptions]
            assert messages == [{"subscribe": ["AAPL", "TSLA"]}] * 4
            assert len(there.sockets) == 1
            assert all(0.08 < b - a < 5.0 for a, b in pairwise(times))
            assert not run.holes

    scenario(play)


def test_defaults_subscribe_each_15_s_and_rotate_before_20_minutes():
    assert YahooSettings().resubscribe_seconds == 15.0
    assert YahooSettings().max_age_seconds < 20 * 60


def test_symbols_are_spread_over_connections():
    async def play():
        symbols = {f"S{n}": f"Y{n}" for n in range(5)}
        settings = replaced(symbols_per_connection=2)
        async with venue() as there, running(there, settings, symbols) as run:
            await there.until(lambda: len(there.sockets) == 3)
            asked = sorted(message["subscribe"] for _, message, _ in there.subscriptions)

            assert asked == [["Y0", "Y1"], ["Y2", "Y3"], ["Y4"]]
            await there.until(lambda: run.feed.health.gauges.get("connections_open") == 3)

    scenario(play)


# ------------------------------------------------------------------- cuts and silences


@pytest.mark.parametrize("how", ["abort", "close", "1008"])
def test_cut_connection_is_replaced_and_leaves_a_hole(how):
    async def play():
        async with venue() as there, running(there) as run:
            await there.until(lambda: there.sockets)
            await there.send(apple(), tesla())
            await there.until(lambda: len(run.frames) == 2)
            last = run.all[-1].ts_init
            socket = there.sockets[0]
            if how == "abort":  # the TCP connection goes without a close frame
                socket.transport.abort()
            else:
                await socket.close(code=1000 if how == "close" else 1008)
            await there.until(lambda: len(there.sockets) == 2)
            assert run.feed.health.state == "cut"
            assert run.told("AAPL") == run.told("TSLA") == [("cut", HoleState.OPEN)]
            await there.send(apple(after=1000))
            await there.until(lambda: len(run.frames) == 3)

            opened, ended = (h for h in run.holes if h.symbol == "AAPL")
            assert (opened.ts_from, opened.ts_to) == (last, None)
            assert (ended.ts_from, ended.state) == (last, HoleState.UNFILLED)
            again = next(r for r in run.all if r.payload == apple(after=1000))
            assert ended.ts_to == again.ts_init
            assert ended.note == "Yahoo has no history to ask"
            assert run.feed.health.state == "up"
            assert run.feed.health.gauges["cut_to_good_seconds"] < 2.0
            assert run.counts["reconnects"] == 1
            # Tesla does not trade, but its connection delivers: it is well again.
            await there.until(lambda: len(run.holes) == 4)
            assert run.told("TSLA") == [("cut", HoleState.OPEN), ("cut", HoleState.UNFILLED)]

    scenario(play)


def test_venue_that_is_down_is_tried_until_it_is_back():
    async def play():
        async with venue() as there:
            there.refuse = True
            async with running(there) as run:
                await there.until(lambda: run.holes)
                assert run.feed.health.state == "cut"
                assert "InvalidStatus" in run.feed.health.note
                there.refuse = False
                await there.until(lambda: there.sockets)
                await there.send(apple())
                await there.until(lambda: run.feed.health.state == "up")

                assert run.feed.health.note == ""
                assert run.told("AAPL") == [("cut", HoleState.OPEN), ("cut", HoleState.UNFILLED)]

    scenario(play)


def test_connection_that_falls_silent_is_replaced():
    async def play():
        settings = replaced(markets=(YahooMarket("", "24/7", 0.3),))
        async with venue() as there, running(there, settings) as run:
            await there.until(lambda: there.sockets)
            await there.send(apple(), tesla())
            await there.until(lambda: len(there.sockets) == 2)  # nobody closed the first
            assert run.told("AAPL") == run.told("TSLA") == [("silent", HoleState.OPEN)]
            assert run.feed.health.state == "cut"
            await there.send(apple(after=1000), tesla(after=1000))
            await there.until(lambda: len(run.holes) == 4)

            assert run.told("AAPL")[-1] == ("silent", HoleState.UNFILLED)
            assert run.counts["stale"] == 1

    scenario(play)


def test_heartbeats_alone_are_silence():
    async def play():
        settings = replaced(markets=(YahooMarket("", "24/7", 0.3),))
        async with venue() as there, running(there, settings) as run:
            await there.until(lambda: there.sockets)
            first = there.sockets[0]
            while len(there.sockets) == 1:
                with suppress(ConnectionError):
                    await first.send_bytes(frame(quote_type=7))
                await asyncio.sleep(0.02)

            assert run.told("AAPL") == [("silent", HoleState.OPEN)]

    scenario(play)


def test_patience_doubles_while_new_connections_bring_nothing():
    async def play():
        settings = replaced(markets=(YahooMarket("", "24/7", 0.1),))
        async with venue() as there, running(there, settings):
            await there.until(lambda: len(there.sockets) == 4)
            times = {}
            for socket, _, when in there.subscriptions:
                times.setdefault(socket, when)
            gaps = [b - a for a, b in pairwise(times.values())]

            assert gaps[1] >= 0.2
            assert gaps[2] >= 0.4

    scenario(play)


def test_silence_while_the_market_is_closed_is_quiet():
    async def play():
        settings = replaced(markets=(YahooMarket("", "XNYS", 0.05),), quiet_seconds=0.1)
        async with venue() as there, running(there, settings) as run:
            await there.until(lambda: there.sockets)
            await there.send(apple())
            await there.until(lambda: run.feed.health.state == "up")  # before the session
            await there.until(lambda: run.feed.health.state == "quiet")

            assert len(there.sockets) == 1
            assert not run.holes

    scenario(play)


def test_silence_counts_from_the_opening_and_not_from_the_night():
    async def play():
        clock = Clock()
        clock.now += 5 * 3600 * SECOND  # 14:06 UTC, 24 minutes before New York opens
        settings = replaced(markets=(YahooMarket("", "XNYS", 0.4),))
        inbox = Inbox(InboxSettings(), clock)
        async with venue() as there, running(there, settings, inbox=inbox) as run:
            await there.until(lambda: there.sockets)
            await asyncio.sleep(0.5)  # of a closed market
            clock.now += 3600 * SECOND
            opened = monotonic()
            await there.until(lambda: len(there.sockets) == 2)

            assert monotonic() - opened > 0.35
            assert run.told("AAPL") == [("silent", HoleState.OPEN)]

    scenario(play)


def test_symbol_that_falls_silent_alone_is_subscribed_again():
    async def play():
        settings = replaced(markets=(YahooMarket("", "24/7", 0.3),))
        async with venue() as there, running(there, settings) as run:
            await there.until(lambda: there.sockets)
            await there.send(apple(), tesla())
            count = 0
            while not run.holes:
                count += 1
                await there.send(apple(after=count))
                await asyncio.sleep(0.02)
            await there.until(lambda: len(there.subscriptions) == 2)
            assert run.told("TSLA") == [("silent", HoleState.OPEN)]
            assert run.feed.health.state == "up"
            for _ in range(10):  # others do not end its hole
                await there.send(apple(after=(count := count + 1)))
                await asyncio.sleep(0.02)
            await there.send(tesla(after=1))
            await there.until(lambda: len(run.holes) == 2)

            tesla_at = next(r.ts_init for r in run.all if r.payload == tesla())
            assert run.told("TSLA")[-1] == ("silent", HoleState.UNFILLED)
            assert run.holes[0].ts_from == tesla_at
            assert not run.told("AAPL")
            assert run.counts["stale"] == 1
            assert len(there.sockets) == 1

    scenario(play)


def test_peer_that_is_gone_without_a_word_is_noticed_by_its_missing_pong():
    async def deaf(reader, writer):
        """Shake hands, and then neither read nor write."""
        import base64
        import hashlib

        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(
            line.split(": ")[1]
            for line in head.split("\r\n")
            if line.lower().startswith("sec-websocket-key")
        )
        magic = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1((key + magic).encode()).digest()).decode()
        writer.write(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )
        writers.append(writer)

    writers = []

    async def play():
        server = await asyncio.start_server(deaf, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        there = Venue()
        there.base = f"http://127.0.0.1:{port}"
        # Its market is closed: silence alone would say nothing.
        settings = replaced(
            markets=(YahooMarket("", "XNYS", 60.0),), ping_seconds=0.1, ping_timeout_seconds=0.1
        )
        async with running(there, settings) as run:
            await there.until(lambda: len(writers) >= 2)
            assert run.told("AAPL") == [("cut", HoleState.OPEN)]
        for writer in writers:
            writer.transport.abort()
        server.close()
        await server.wait_closed()

    scenario(play)


def test_holes_of_one_symbol_never_begin_alike():
    async def play():
        async with venue() as there, running(there) as run:
            for cuts in range(3):
                await there.until(lambda cuts=cuts: len(there.sockets) > cuts)
                await there.send(apple(after=cuts))
                await there.until(lambda cuts=cuts: len(run.frames) > cuts)
                there.sockets[-1].transport.abort()
            await there.until(lambda: len(run.told("AAPL")) == 5)

            begun = [h.ts_from for h in run.holes if h.symbol == "AAPL" and h.ts_to is None]
            assert len(set(begun)) == 3
            assert all(h.ts_to is None or h.ts_to > h.ts_from for h in run.holes)

    scenario(play)


# --------------------------------------------------------------------------- rotations


def test_rotation_before_yahoo_closes_loses_and_doubles_nothing():
    async def play():
        settings = replaced(max_age_seconds=0.3)
        async with venue() as there, running(there, settings) as run:
            await there.until(lambda: there.sockets)
            sent = []
            while run.counts["rotations"] < 3:
                payload = apple(after=len(sent) * 7)
                sent.append(payload)
                for socket in list(there.sockets):  # both tell everything while they overlap
                    with suppress(ConnectionError):
                        await socket.send_bytes(payload)
                await asyncio.sleep(0.005)
            await there.until(lambda: len(run.frames) == len(sent))

            assert run.frames == sent
            assert run.counts["duplicates"] > 0
            assert not run.holes
            assert run.counts["reconnects"] == 0

    scenario(play)


def test_rotation_that_cannot_connect_leaves_the_old_connection_in_place():
    async def play():
        settings = replaced(max_age_seconds=0.1)
        async with venue() as there, running(there, settings) as run:
            await there.until(lambda: there.sockets)
            there.refuse = True
            for n in range(40):
                await there.send(apple(after=n))
                await asyncio.sleep(0.01)
            assert (len(there.sockets), run.counts["rotations"]) == (1, 0)
            there.refuse = False
            await there.until(lambda: len(there.sockets) == 2)
            await there.send(apple(after=99), socket=0)
            await there.send(apple(after=99), socket=1)
            await there.until(lambda: run.counts["rotations"] == 1)

            assert len(run.frames) == 41
            assert not run.holes

    scenario(play)


def test_new_connection_that_brings_nothing_does_not_replace_one_that_delivers():
    async def play():
        settings = replaced(max_age_seconds=0.1, rotation_patience_seconds=0.2)
        async with venue() as there, running(there, settings) as run:
            await there.until(lambda: there.sockets)
            n = 0
            while len(there.sockets) < 3:  # the second was given up
                n += 1
                await there.send(apple(after=n), socket=0)
                await asyncio.sleep(0.01)

            assert run.counts["rotations"] == 0
            assert not run.holes
            assert len(run.frames) >= n - 1

    scenario(play)


def test_cut_while_rotating_is_taken_over_without_a_hole():
    async def play():
        settings = replaced(max_age_seconds=0.1, overlap_seconds=5.0)
        async with venue() as there, running(there, settings) as run:
            await there.until(lambda: len(there.sockets) == 2)
            for socket in (0, 1):
                await there.send(apple(), socket=socket)
            await there.until(lambda: run.counts["messages"] == 2)
            there.sockets[0].transport.abort()
            await there.send(apple(after=5), socket=1)
            await there.until(lambda: run.counts["rotations"] == 1 and len(run.frames) == 2)

            assert not run.holes

    scenario(play)


def test_connection_that_was_dead_when_the_new_one_took_over_leaves_a_hole():
    async def play():
        settings = replaced(max_age_seconds=0.3)
        async with venue() as there, running(there, settings) as run:
            await there.until(lambda: there.sockets)
            await there.send(apple(), tesla())
            await there.until(lambda: len(run.frames) == 2)
            last = run.all[-1].ts_init
            await there.until(lambda: len(there.sockets) == 2)
            n = 0
            while not run.counts["rotations"]:  # the first brings nothing of it
                n += 1
                await there.send(apple(after=n), socket=1)
                await asyncio.sleep(0.01)
            await there.send(apple(after=n + 1), socket=1)
            await there.until(lambda: len(run.told("AAPL")) == 2)

            assert run.told("AAPL") == [("silent", HoleState.OPEN), ("silent", HoleState.UNFILLED)]
            assert {hole.ts_from for hole in run.holes} == {last}

    scenario(play)


def test_rotation_in_a_quiet_market_leaves_no_hole():
    async def play():
        settings = replaced(max_age_seconds=0.1)
        async with venue() as there, running(there, settings) as run:
            there.greet = [apple(), tesla()]  # a subscription is answered with the last trades
            await there.until(lambda: run.counts["rotations"] == 2)

            assert run.frames == [apple(), tesla()]
            assert run.counts["duplicates"] >= 4
            assert not run.holes

    scenario(play)


# ------------------------------------------------------------------------- the restart


def test_restart_tells_how_long_nobody_listened():
    async def play():
        memory = [
            raw(apple(), kind="yahoo", path="yahoo", ts_init=START - 90 * SECOND),
            raw(b"{}", kind="clock", path="sequencer", ts_init=START - 30 * SECOND),
        ]
        async with venue() as there, running(there, memory=memory) as run:
            await there.until(lambda: there.sockets)
            await there.send(apple(after=1))
            await there.until(lambda: len(run.told("AAPL")) == 2)

            opened, ended = (h for h in run.holes if h.symbol == "AAPL")
            assert (opened.cause, opened.ts_from) == ("down", START - 90 * SECOND)
            assert (ended.state, ended.ts_from) == (HoleState.UNFILLED, opened.ts_from)

    scenario(play)


def test_hole_that_a_restart_found_open_is_ended_and_not_opened_twice():
    async def play():
        open_hole = Hole(
            feed="yahoo", symbol="AAPL", cause="cut", ts_from=START - 99 * SECOND, ts_to=None,
            state=HoleState.OPEN, found_at=START - 98 * SECOND,
        )  # fmt: skip
        memory = [
            raw(msgspec.json.encode(open_hole), kind="hole", path="yahoo", ts_init=START - SECOND),
            raw(b"not a hole", kind="hole", path="yahoo", ts_init=START - SECOND),
        ]
        async with venue() as there, running(there, memory=memory) as run:
            await there.until(lambda: there.sockets)
            await there.send(apple(after=1))
            await there.until(lambda: run.told("AAPL"))

            assert run.told("AAPL") == [("cut", HoleState.UNFILLED)]
            assert run.holes[-1].ts_from == open_hole.ts_from

    scenario(play)


# ------------------------------------------------------------------------ health, TLS


def test_lag_is_the_median_of_new_trades_and_ignores_the_answer_to_a_subscription():
    async def play():
        clock = Clock()
        inbox = Inbox(InboxSettings(), clock)
        async with venue() as there:
            there.greet = [apple(after=-3_600_000)]  # the last trade was an hour ago
            async with running(there, inbox=inbox) as run:
                await there.until(lambda: len(run.frames) == 1)
                assert "lag_seconds" not in run.feed.health.gauges
                clock.now += 60 * SECOND
                for n in range(5):
                    await there.send(apple(after=30_000 + n))
                await there.send(apple(after=40_000_000_000))  # one odd time
                await there.send(apple(after=30_000))  # told again
                await there.until(lambda: run.counts["messages"] == 8)

                assert run.feed.health.gauges["lag_seconds"] == pytest.approx(30.0, abs=0.1)
                await there.until(lambda: "30 s after the trade" in run.feed.health.note)

    scenario(play)


def certificates():
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


def test_certificate_of_a_known_authority_is_accepted():
    async def play():
        server, client = certificates()
        async with venue(server) as there, running(there, tls=client) as run:
            await there.until(lambda: there.sockets)
            await there.send(apple())
            await there.until(lambda: run.frames)

    scenario(play)


def test_unknown_certificate_is_refused_and_said():
    async def play():
        server, _ = certificates()
        async with venue(server) as there, running(there) as run:
            await there.until(lambda: run.feed.health.state == "cut")

            assert not there.sockets
            assert "SSLCertVerificationError" in run.feed.health.note

    scenario(play)


def test_logs_hold_no_frame():
    async def play():
        async with venue() as there, running(there) as run:
            await there.until(lambda: there.sockets)
            await there.send(enveloped("CANARY!"), apple())
            await there.until(lambda: len(run.frames) == 2)
            there.sockets[0].transport.abort()
            await there.until(lambda: len(there.sockets) == 2)

    with structlog.testing.capture_logs() as logs:
        scenario(play)
    assert "yahoo_lost" in {entry["event"] for entry in logs}
    assert "CANARY" not in str(logs)


# --------------------------------------------------------------------------- settings


def test_settings_move_to_another_venue_and_keep_the_path():
    assert YahooSettings().at("http://127.0.0.1:8900").url == "ws://127.0.0.1:8900/?version=2"
    assert YahooSettings().at("https://fake:1").url == "wss://fake:1/?version=2"
    assert YahooSettings().url == "wss://streamer.finance.yahoo.com/?version=2"


@pytest.mark.parametrize(
    ("name", "calendar"),
    [("AAPL", "XNYS"), ("BRK-B", "XNYS"), ("^GSPC", "XNYS"), ("7203.T", "XTKS"),
     ("BTC-USD", "24/7"), ("EURUSD=X", "24/5"), ("ES=F", "CMES")],
)  # fmt: skip
def test_names_tell_their_market(name, calendar):
    assert YahooSettings().market_of(name).calendar == calendar


def test_two_symbols_of_one_name_are_refused():
    with pytest.raises(ValueError, match="found one named twice"):
        YahooFeed(YahooSettings(), {"A": "AAPL", "B": "AAPL"})


def test_unknown_calendar_is_refused():
    with pytest.raises(CalendarError):
        YahooFeed(YahooSettings(markets=(YahooMarket("", "NOWHERE", 1.0),)), {"A": "AAPL"})
