"""A scripted Binance for tests of the feed: it does exactly what a test tells it, when told."""

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from time import monotonic, time_ns

from aiohttp import WSMsgType, web

from connectors.feeds import Inbox, InboxSettings
from connectors.sources.binance import BinanceFeed, BinanceSettings
from operators.messages import Hole

TORN = 0  # instead of a status: the body ends before its time
PATIENCE = 10.0  # seconds until a condition that does not come true fails its test


async def until(condition, what="", seconds=PATIENCE):
    """Wait until `condition()` is true and return it."""
    end = monotonic() + seconds
    while not (found := condition()):
        assert monotonic() < end, f"it never came true: {what}"
        await asyncio.sleep(0.005)
    return found


class Session:
    """One WebSocket of the client's."""

    def __init__(self, ws, streams, request):
        self.ws = ws
        self.streams = streams
        self.transport = request.transport
        self.sent = []  # what the client sent: (monotonic, type)
        self.mute = False  # nothing is delivered on it
        self.pongs = True  # the client's pings are answered
        self.ended = asyncio.Event()
        self.behind = []  # held back while `slow`
        self.slow = False

    async def send(self, message):
        if self.mute or self.ws.closed:
            return
        if self.slow:
            self.behind.append(message)
            return
        with suppress(ConnectionResetError):  # it goes down this moment
            await self.ws.send_str(message)

    async def catch_up(self):
        self.slow = False
        for message in self.behind:
            await self.ws.send_str(message)
        self.behind.clear()

    def cut(self):
        self.transport.abort()


class FakeBinance:
    """Trades and quotes of any symbol, over sockets and REST."""

    def __init__(self, tls=None):
        self.tls = tls
        self.tape = {}  # symbol: {id: time}
        self.sessions = []
        self.answers = []  # (status, headers, body) of the next REST answers, before true ones
        self.asked = []  # (path, symbol, first, limit)
        self.asked_at = []
        self.headers = []
        self.rest_newest = {}  # symbol: REST knows no newer id
        self.rest_skips = set()  # ids REST does not know
        self.refuse = None  # a status for connection attempts
        self.on_open = None
        self.used_weight = 0
        self.aggregate = False
        self.port = 0

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://localhost:{self.port}"

    @property
    def live(self):
        return [session for session in self.sessions if not session.ended.is_set()]

    async def start(self):
        app = web.Application()
        app.router.add_get("/stream", self._stream)
        app.router.add_get("/api/v3/historicalTrades", self._rest)
        app.router.add_get("/api/v3/aggTrades", self._rest)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "localhost", self.port, ssl_context=self.tls)
        await site.start()
        self.port = self.runner.addresses[0][1]
        return self

    async def stop(self):
        for session in self.live:
            session.cut()
        await self.runner.cleanup()

    async def _stream(self, request):
        if self.refuse is not None:
            status, headers = self.refuse
            return web.Response(status=status, headers=headers)
        ws = web.WebSocketResponse(autoping=False)
        await ws.prepare(request)
        session = Session(ws, request.query["streams"].split("/"), request)
        self.sessions.append(session)
        if self.on_open is not None:
            await self.on_open(session)
        try:
            async for message in ws:
                session.sent.append((monotonic(), message.type))
                if message.type is WSMsgType.PING and session.pongs:
                    await ws.pong(message.data)
        finally:
            session.ended.set()
        return ws

    async def _rest(self, request):
        symbol, first = request.query["symbol"], int(request.query["fromId"])
        limit = int(request.query["limit"])
        self.asked.append((request.path, symbol, first, limit))
        self.asked_at.append(monotonic())
        self.headers.append(dict(request.headers))
        if self.answers:
            status, headers, body = self.answers.pop(0)
            if status == TORN:
                whole = web.StreamResponse(headers={"Content-Length": str(len(body) + 100)})
                await whole.prepare(request)
                await whole.write(body)
                request.transport.close()
                return whole
            return web.Response(status=status, headers=headers, body=body)
        newest = self.rest_newest.get(symbol, 1 << 62)
        ids = [i for i in sorted(self.tape.get(symbol, {})) if first <= i <= newest]
        rows = [self.row(symbol, i) for i in ids if i not in self.rest_skips][:limit]
        body = "[" + ",".join(rows) + "]"
        headers = {"X-MBX-USED-WEIGHT-1M": str(self.used_weight)}
        return web.Response(body=body.encode(), headers=headers)

    def row(self, symbol, trade_id):
        at = self.tape[symbol][trade_id]
        if self.aggregate:
            return (
                f'{{"a":{trade_id},"p":"100.0","q":"1.0","f":1,"l":1,"T":{at},"m":true,"M":true}}'
            )
        return (
            f'{{"id":{trade_id},"price":"100.0","qty":"1.0","quoteQty":"100.0","time":{at},'
            '"isBuyerMaker":true,"isBestMatch":true}'
        )

    def message(self, symbol, trade_id, price="100.0"):
        at = self.tape[symbol][trade_id]
        kind, key = ("aggTrade", "a") if self.aggregate else ("trade", "t")
        more = ',"f":1,"l":1' if self.aggregate else ""
        return (
            f'{{"stream":"{symbol.lower()}@{kind}","data":{{"e":"{kind}","E":{at},'
            f'"s":"{symbol}","{key}":{trade_id},"p":"{price}","q":"1.0"{more},"T":{at},'
            '"m":true,"M":true}}'
        )

    def happen(self, symbol, trade_id=None):
        """Trade without telling anyone; return the id."""
        tape = self.tape.setdefault(symbol, {})
        trade_id = max(tape, default=99) + 1 if trade_id is None else trade_id
        tape[trade_id] = time_ns() // 1_000_000
        return trade_id

    async def trade(self, symbol, trade_id=None):
        """Trade, and tell every subscriber."""
        trade_id = self.happen(symbol, trade_id)
        await self.tell(symbol, self.message(symbol, trade_id))
        return trade_id

    async def quote(self, symbol, update_id):
        await self.tell(
            symbol,
            f'{{"stream":"{symbol.lower()}@bookTicker","data":{{"u":{update_id},"s":"{symbol}",'
            '"b":"99.5","B":"1.0","a":"100.5","A":"1.0"}}',
        )

    async def tell(self, symbol, message):
        for session in self.live:
            if any(stream.startswith(f"{symbol.lower()}@") for stream in session.streams):
                await session.send(message)

    async def tell_all(self, message):
        for session in self.live:
            await session.send(message)


class Run:
    """A feed that runs against a fake, and what it has delivered."""

    def __init__(self, feed, inbox):
        self.feed = feed
        self.inbox = inbox
        self.got = []

    def drain(self):
        self.got.extend(self.inbox.take(1 << 20))
        return self.got

    async def has(self, symbol, trade_id):
        """Wait until a trade stands in the log."""
        await until(lambda: trade_id in self.ids(symbol), f"{symbol} {trade_id}")

    async def has_quote(self, symbol, update_id):
        """Wait until a quote stands in the log."""
        await until(lambda: update_id in self.quotes(symbol), f"{symbol} quote {update_id}")

    @property
    def counts(self):
        return self.feed.health.counts

    def holes(self, symbol=None):
        """Return every hole as the log was told it, in order."""
        holes = [
            json_hole(received.payload) for received in self.drain() if received.kind == "hole"
        ]
        return [hole for hole in holes if symbol in {None, hole.symbol}]

    def last_holes(self, symbol=None):
        """Return the last word on each hole."""
        return list({(h.symbol, h.ts_from): h for h in self.holes(symbol)}.values())

    def ids(self, symbol):
        """Return the ids of the trades in the log, in order, with those that were fetched."""
        out = []
        for received in self.drain():
            if received.symbol != symbol:
                continue
            if received.kind == "binance":
                data = json.loads(received.payload)["data"]
                if "e" in data:
                    out.append(data["a"] if data["e"] == "aggTrade" else data["t"])
            elif received.kind == "binance_rest":
                rows = json.loads(received.payload)["trades"]
                out.extend(row.get("id", row.get("a")) for row in rows)
        return out

    def quotes(self, symbol):
        found = [
            json.loads(r.payload)["data"]
            for r in self.drain()
            if r.symbol == symbol and r.kind == "binance"
        ]
        return [data["u"] for data in found if "u" in data]


def json_hole(payload):
    import msgspec

    return msgspec.json.decode(payload, type=Hole)


SETTINGS = BinanceSettings(
    silence_seconds=30.0,
    overlap_least_seconds=0.05,
    overlap_seconds=1.0,
    stable_seconds=0.0,
    grace_seconds=0.02,
    settle_seconds=0.2,
    check_seconds=0.02,
    open_timeout_seconds=3.0,
    close_timeout_seconds=0.5,
    backoff_first_seconds=0.02,
    backoff_most_seconds=0.2,
)


@asynccontextmanager
async def running(venue, symbols, settings=SETTINGS, *, tls=None, inbox=None, feed=None):
    """Start the venue unless it runs, and a feed on it; end both."""
    started = venue.port != 0
    if not started:
        await venue.start()
    feed = feed or BinanceFeed(settings.at(venue.url), symbols, tls)
    run = Run(feed, Inbox(InboxSettings(), time_ns) if inbox is None else inbox)
    task = asyncio.create_task(feed.run(run.inbox))
    try:
        yield run
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0)
        if not started:
            await venue.stop()
