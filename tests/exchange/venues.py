"""What the exchange's tests share: a short market, and a client that hides nothing."""

import asyncio
import gzip
import json
from contextlib import asynccontextmanager

import aiohttp

from exchange.app import RECORDING, Exchange, ExchangeSettings, Venue
from exchange.rules import BinanceRules

SECONDS = 12.0
PATIENCE = 20.0  # a wait that takes longer has failed


def lines(seconds=SECONDS):
    """Raw messages of the recording's first seconds, read without the exchange's own reader."""
    first = None
    kept = []
    with gzip.open(RECORDING, "rb") as file:
        for line in file:
            received, raw = line.rstrip(b"\n").split(b" ", 1)
            first = first or int(received)
            if int(received) > first + seconds * 1_000_000_000:
                return kept
            kept.append(raw)
    return kept


LINES = lines()


def recorded(*streams):
    names = tuple(b'{"stream":"%b"' % name.encode() for name in streams)
    return [line for line in LINES if line.startswith(names)]


def venue(rules=None, **settings):
    settings.setdefault("first_seconds", SECONDS)
    return Venue(ExchangeSettings(binance=BinanceRules(**(rules or {})), **settings))


class Client:
    """Requests and sockets to one exchange."""

    def __init__(self, exchange, session):
        self.exchange = exchange
        self.venue = exchange.venue
        self.session = session

    def connect(self, path, **options):
        options.setdefault("autoping", False)
        options.setdefault("max_msg_size", 0)
        return self.session.ws_connect(self.exchange.url + path, **options)

    async def get(self, path, **params):
        async with self.session.get(self.exchange.url + path, params=params) as response:
            return response.status, await response.json(), response.headers

    async def rows(self, path, **params):
        status, rows, _ = await self.get(path, **params)
        assert status == 200, rows
        return rows

    async def fault(self, **fault):
        url = f"{self.exchange.url}/exchange/fault"
        async with self.session.post(url, json=fault) as response:
            told = await response.json()
            assert response.status == 200, told
            return told


@asynccontextmanager
async def served(rules=None, *, tls_folder=None, **settings):
    async with (
        Exchange(venue(rules, **settings), tls_folder=tls_folder) as exchange,
        aiohttp.ClientSession() as session,
    ):
        yield Client(exchange, session)


def scenario(run, *args, **options):
    """Run `run(client)` against a served exchange, and fail where it takes too long."""

    async def bounded():
        async with asyncio.timeout(PATIENCE), served(*args, **options) as client:
            return await run(client)

    return asyncio.run(bounded())


async def until(condition):
    while not condition():  # noqa: ASYNC110 - a condition of the venue, which tells nobody
        await asyncio.sleep(0.005)


async def texts(socket, count):
    """Receive `count` text messages as bytes; pings are not counted."""
    got = []
    while len(got) < count:
        message = await socket.receive()
        if message.type is aiohttp.WSMsgType.TEXT:
            got.append(message.data.encode())
        else:
            assert message.type is aiohttp.WSMsgType.PING, message
    return got


async def answer(socket):
    """Receive messages up to the first that answers a request."""
    while True:
        message = json.loads((await texts(socket, 1))[0])
        if not {"e", "u", "stream"} & set(message):
            return message


async def end_of(socket):
    """Receive until the connection ends; tell its close code (1006: without a close frame)."""
    while True:
        message = await socket.receive()
        if message.type in {
            aiohttp.WSMsgType.CLOSE,
            aiohttp.WSMsgType.CLOSED,
            aiohttp.WSMsgType.CLOSING,
            aiohttp.WSMsgType.ERROR,
        }:
            return socket.close_code
