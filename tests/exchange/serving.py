"""A fake venue with settings of its modules and a clock that tests move, and raw requests."""

import asyncio
from contextlib import asynccontextmanager
from datetime import datetime

import aiohttp

from exchange.app import Exchange, ExchangeSettings, Venue
from exchange.clock import ClockMode, VenueClock
from exchange.parts import configure

SECOND = 1_000_000_000
AGENT = {"User-Agent": "test:nextgen-fake-venue:1.0 (by a test)"}
DEADLINE = 10.0


class Hand:
    """A monotonic clock in ns that stands until a test moves it."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now

    def forward(self, seconds):
        self.now += int(seconds * SECOND)


def ns(text):
    """Read ISO 8601 with a zone as UNIX ns."""
    return int(datetime.fromisoformat(text).timestamp()) * SECOND


def venue_at(start="2024-08-08T18:00:00+00:00", *, hand=None, settings=()):
    """Make a venue whose clock begins at `start`, moved by `hand` or by itself."""
    venue = Venue(ExchangeSettings(first_seconds=2.0, clock=ClockMode.RECORDED))
    for one in settings:
        configure(venue, one)
    venue.clock = VenueClock(ns(start), **({"monotonic": hand} if hand else {}))
    return venue


@asynccontextmanager
async def served(venue):
    """Serve `venue`; gives its URL and a client without defaults of its own."""
    async with (
        Exchange(venue) as exchange,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE)) as client,
    ):
        yield exchange.url, client


async def get(client, url, **options):
    """Return status, headers and body of a GET."""
    async with client.get(url, **options) as answer:
        return answer.status, answer.headers, await answer.read()


async def get_json(client, url, **options):
    """Return the JSON of a GET that succeeds."""
    async with client.get(url, **options) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json(content_type=None)


async def until(condition):
    """Wait until `condition` holds; fail where it does not within the deadline."""
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)
