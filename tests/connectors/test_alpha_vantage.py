"""Alpha Vantage is asked within its quota, and each of its refusals is heeded in its own way."""

import asyncio
import json
import logging
import random
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from itertools import pairwise
from time import monotonic

import msgspec
import pytest
import structlog
from aiohttp import web

from connectors.feeds import Inbox, InboxSettings
from connectors.secrets import Secret, guard_logging
from connectors.sources.alpha_vantage import AlphaVantageFeed, AlphaVantageSettings
from connectors.sources.alpha_vantage_answers import AlphaVantageAnswer, classify
from connectors.sources.alpha_vantage_budget import DailyBudget
from operators.alpha_vantage import decode
from operators.messages import SECOND, Hole, HoleState
from tests.support import raw

CANARY = "C4N4RYK3YOFOURS7"
HOUR = 3600 * SECOND
DAY = 24 * HOUR
OPENING = int(datetime(2025, 1, 10, 14, 30, tzinfo=UTC).timestamp()) * SECOND  # a Friday
MONDAY = OPENING + 3 * DAY
GOOD = 10.0  # seconds that nothing should take
FAST = AlphaVantageSettings(
    api_key=Secret(CANARY),
    requests_per_second=1000.0,
    min_interval_seconds=0.001,
    burst_wait_seconds=0.01,
    backoff_first_seconds=0.01,
    backoff_most_seconds=0.02,
    check_seconds=0.002,
)

# As the venue writes them, gathered from projects that use it.
BURST = {
    "Information": "Thank you for using Alpha Vantage! Please consider spreading out your free API "
    "requests more sparingly (1 request per second). You may subscribe to any of the premium "
    "plans at https://www.alphavantage.co/premium/ to lift the free key rate limit (25 requests "
    "per day), raise the per-second burst limit, and instantly unlock all premium endpoints"
}
DAILY = {
    "Information": f"We have detected your API key as {CANARY} and our standard API rate limit is "
    "25 requests per day. Please subscribe to any of the premium plans at "
    "https://www.alphavantage.co/premium/ to instantly remove all daily rate limits."
}
PREMIUM = {
    "Information": "Thank you for using Alpha Vantage! This is a premium endpoint. You may "
    "subscribe to any of the premium plans at https://www.alphavantage.co/premium/ to instantly "
    "unlock all premium endpoints"
}
BAD_KEY = {
    "Error Message": "the parameter apikey is invalid or missing. Please claim your free API key "
    "on (https://www.alphavantage.co/support/#api-key). It should take less than 20 seconds."
}
DEMO = {
    "Information": "The **demo** API key is for demo purposes only. Please claim your free API key "
    "at (https://www.alphavantage.co/support/#api-key) to explore our full API offerings. It "
    "takes fewer than 20 seconds."
}
BAD_SYMBOL = {
    "Error Message": "Invalid API call. Please retry or visit the documentation "
    "(https://www.alphavantage.co/documentation/) for GLOBAL_QUOTE."
}
BAD_CALL = {"Error Message": "This API function (GLOBAL_QUOTES) does not exist."}


def quote(symbol="IBM", price="189.48", day="2025-01-10"):
    return {
        "Global Quote": {
            "01. symbol": symbol,
            "05. price": price,
            "06. volume": "3541285",
            "07. latest trading day": day,
        }
    }


# ---------------------------------------------------------------------------- the answers


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (quote(), "ok"),
        ({"Global Quote - DATA DELAYED BY 15 MINUTES": quote()["Global Quote"]}, "ok"),
        ({"items": "1", "feed": [{"title": "t"}]}, "ok"),
        ({"Global Quote": {}}, "empty"),
        ({}, "empty"),
        ({"items": "0", "feed": []}, "empty"),
        ({"Information": "No articles found. Please adjust the time range or refer to the API "
          "documentation https://www.alphavantage.co/documentation#newsapi and try again."},
         "empty"),
        (BURST, "burst"),
        ({"Note": BURST["Information"]}, "burst"),
        ({"Information": "Thank you for using Alpha Vantage! Please consider spreading out your "
          "free API requests more sparingly (1 request per second). Our standard API rate limit "
          "is 25 requests per day."}, "burst"),
        ({"Note": "Thank you for using Alpha Vantage! Our standard API call frequency is 5 calls "
          "per minute and 500 calls per day. Please visit https://www.alphavantage.co/premium/ "
          "if you would like to target a higher API call frequency."}, "burst"),
        ({"Information": "Burst pattern detected. Please consider spreading out your API requests "
          "more evenly across a 1-minute window and query no more than 5 requests per second."},
         "burst"),
        (DAILY, "daily_quota"),
        ({"Note": "Thank you for using Alpha Vantage! Our standard API rate limit is 25 requests "
          "per day. Please subscribe to any of the premium plans at "
          "https://www.alphavantage.co/premium/ to instantly remove all daily rate limits."},
         "daily_quota"),
        ({"Note": "Our standard API call frequency is 25 calls per day."}, "daily_quota"),
        (PREMIUM, "premium"),
        ({"message": "This is a premium endpoint.", "data": []}, "premium"),
        ({"Information": "Thank you for using Alpha Vantage! The outputsize=full parameter value "
          "is a premium feature for the TIME_SERIES_DAILY endpoint."}, "premium"),
        (BAD_KEY, "bad_key"),
        ({"Information": BAD_KEY["Error Message"]}, "bad_key"),
        (DEMO, "demo"),
        (BAD_SYMBOL, "bad_symbol"),
        ({"Information": "Invalid inputs. Please refer to the API documentation "
          "https://www.alphavantage.co/documentation#newsapi and try again."}, "bad_symbol"),
        (BAD_CALL, "bad_call"),
        ({"detail": "Could not satisfy the request Accept header."}, "other"),
        ({"Information": "We are moving house."}, "other"),
        ({"Note": 7}, "other"),
        ({"Global Quote": "gone"}, "other"),
        ([], "other"),
        ("burst per second", "other"),
    ],
)  # fmt: skip
def test_every_answer_is_told_apart(body, expected):
    assert classify(json.dumps(body, indent=4).encode()) is AlphaVantageAnswer(expected)


def test_case_and_line_breaks_of_a_sentence_do_not_matter():
    body = json.dumps({"information": DAILY["Information"].upper().replace(" ", "\n ")})

    assert classify(body.encode()) is AlphaVantageAnswer.DAILY_QUOTA


@pytest.mark.parametrize(
    "body", [b"", b"<html>Bad gateway</html>", b'{"Global Quote":', b"\xff", b"[" * 9999]
)
def test_what_is_no_json_is_told_too(body):
    assert classify(body) is AlphaVantageAnswer.BAD_JSON


def test_random_bytes_are_never_data():
    noise = random.Random(3)

    assert all(classify(noise.randbytes(n)) is not AlphaVantageAnswer.OK for n in range(300))


# ----------------------------------------------------------------------------- the budget


def test_budget_never_allows_more_than_its_limit_within_24_hours():
    budget, steps, taken, now = DailyBudget(25), random.Random(5), [], OPENING

    for _ in range(3000):
        now += steps.randrange(2 * HOUR)
        while budget.left(now):
            budget.take(now)
            taken.append(now)
            now += steps.randrange(600 * SECOND)

    assert len(taken) > 1000
    assert all(b - a > DAY for a, b in zip(taken, taken[25:], strict=False))


def test_budget_says_when_it_is_free_again():
    budget = DailyBudget(2)
    budget.take(OPENING)
    assert budget.free_at(OPENING) == OPENING
    budget.take(OPENING + HOUR)

    free = budget.free_at(OPENING + 2 * HOUR)

    assert OPENING + DAY < free < OPENING + DAY + HOUR
    assert (budget.left(free - 1), budget.left(free)) == (0, 1)


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2025-01-10T15:00", "2025-01-11T00:00"),  # UTC's midnight is the sooner one,
        ("2025-01-11T03:00", "2025-01-11T05:00"),  # then New York's
        ("2025-07-10T03:00", "2025-07-10T04:00"),  # in summer
    ],
)
def test_used_up_quota_rests_until_the_sooner_of_two_midnights(now, until):
    start, end = (
        int(datetime.fromisoformat(f"{text}+00:00").timestamp()) * SECOND for text in (now, until)
    )
    budget = DailyBudget(25)

    rested = budget.rest(start)

    assert end <= rested <= end + 120 * SECOND
    assert (budget.left(rested - 1), budget.left(rested)) == (0, 25)


# ------------------------------------------------------------------------------- the feed


class Clock:
    """UNIX ns, set by the test."""

    def __init__(self, now):
        self.now = now

    def __call__(self):
        self.now += 1
        return self.now


class Venue:
    """Answers as it is told: `answers` by symbol, else a quote."""

    def __init__(self):
        self.asked = []  # (symbol, the clock's time)
        self.answers = {}
        self.status = 200
        self.queries = []

    async def handle(self, request):
        symbol = request.query["symbol"]
        self.queries.append(dict(request.query))
        self.asked.append((symbol, self.clock.now))
        found = self.answers.get(symbol, quote(symbol))
        if isinstance(found, list):
            found = found.pop(0) if found else quote(symbol)
        body = found if isinstance(found, bytes) else json.dumps(found, indent=4).encode()
        return web.Response(body=body, status=self.status, content_type="application/json")

    @property
    def symbols(self):
        return [symbol for symbol, _ in self.asked]


class Run:
    def __init__(self, feed, inbox, there):
        self.feed = feed
        self.inbox = inbox
        self.there = there
        self.taken = []

    @property
    def all(self):
        self.taken += self.inbox.take(1_000_000)
        return self.taken

    @property
    def quotes(self):
        return [r for r in self.all if r.kind == "alpha_vantage"]

    @property
    def told(self):
        holes = [msgspec.json.decode(r.payload, type=Hole) for r in self.all if r.kind == "hole"]
        return [(hole.symbol, hole.cause, hole.state) for hole in holes]

    @property
    def health(self):
        return self.feed.health

    async def until(self, condition):
        async with asyncio.timeout(GOOD):
            while not condition():  # noqa: ASYNC110 - no event stands for it
                await asyncio.sleep(0.002)

    async def still(self, condition):
        """Check that `condition` holds, and goes on to while the feed looks many times."""
        for _ in range(30):
            assert condition()
            await asyncio.sleep(0.002)


@asynccontextmanager
async def running(
    answers=None, settings=FAST, symbols=("IBM", "MSFT"), now=OPENING, memory=(), status=200
):
    there = Venue()
    there.clock = Clock(now)
    there.answers = answers or {}
    there.status = status
    app = web.Application()
    app.router.add_get("/query", there.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    names = {f"{symbol}.US": symbol for symbol in symbols}
    feed = AlphaVantageFeed(settings.at(base), names)
    for entry in memory:
        feed.remember(entry)
    inbox = Inbox(InboxSettings(), there.clock)
    task = asyncio.create_task(feed.run(inbox))
    try:
        yield Run(feed, inbox, there)
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await runner.cleanup()


def replaced(**changes):
    return msgspec.structs.replace(FAST, **changes)


def scenario(play):
    asyncio.run(play())


def test_quote_reaches_the_log_as_it_came_and_becomes_a_tick():
    async def play():
        async with running() as run:
            await run.until(lambda: run.quotes)
            received = run.quotes[0]

            assert (received.feed, received.symbol) == ("alpha_vantage", "IBM.US")
            assert json.dumps(quote(), indent=4).encode() in received.payload
            [tick] = decode(raw(received.payload, kind="alpha_vantage", ts_init=received.ts_init))
            assert (tick.symbol, tick.price, tick.day_volume) == ("IBM.US", 189.48, 3541285.0)
            assert run.health.state == "up"
            assert run.there.queries[0] == {
                "function": "GLOBAL_QUOTE",
                "symbol": "IBM",
                "apikey": CANARY,
            }

    scenario(play)


async def pass_time(run, until, step=60 * SECOND):
    """Let the venue's time pass; the feed looks at each minute at least once."""
    while run.there.clock.now < until:
        del run.health.gauges["requests_left"]  # set at each look
        run.there.clock.now += step
        await run.until(lambda: "requests_left" in run.health.gauges)


def test_days_requests_are_spread_over_the_session_symbol_after_symbol():
    async def play():
        async with running(symbols=("IBM", "MSFT", "AAPL")) as run:
            await run.until(lambda: run.quotes)
            await pass_time(run, OPENING + 7 * HOUR)
            times = [at for _, at in run.there.asked]
            gaps = [b - a for a, b in pairwise(times)]

            assert 23 <= len(times) <= 25
            assert run.there.symbols[:6] == ["IBM", "MSFT", "AAPL"] * 2
            # 6.5 hours by 25 requests are 936 seconds; a look takes place once a minute.
            assert all(900 * SECOND < gap < 1200 * SECOND for gap in gaps)
            assert times[-1] < OPENING + 6.5 * HOUR
            assert run.health.state == "quiet"
            assert run.health.note == "The market is closed."
            assert not run.told

    scenario(play)


def test_nothing_is_asked_while_the_market_is_closed():
    async def play():
        async with running(now=OPENING - HOUR) as run:
            await run.until(lambda: run.health.state == "quiet")
            await run.still(lambda: not run.there.asked)
            run.there.clock.now = OPENING
            await run.until(lambda: run.quotes)

    scenario(play)


def test_quota_of_its_own_counting_is_never_exceeded_and_comes_back_the_next_day():
    async def play():
        settings = replaced(requests_per_day=3, calendar="24/7")
        memory = [
            raw(b"{}", kind="alpha_vantage", path="alpha_vantage", ts_init=OPENING - HOUR * n)
            for n in (20, 2)
        ] + [raw(b"{}", kind="alpha_vantage", path="news", ts_init=OPENING - HOUR)]
        async with running(settings=settings, memory=memory) as run:
            # Two were asked before the restart, the last of them 2 of 8 hours ago.
            await run.until(lambda: run.health.gauges.get("requests_left") == 1.0)
            await run.still(lambda: not run.there.asked)
            run.there.clock.now = OPENING + 6 * HOUR  # the first is more than a day old
            await run.until(lambda: len(run.there.asked) == 1)
            run.there.clock.now = OPENING + 15 * HOUR
            await run.until(lambda: len(run.there.asked) == 2)
            await run.until(lambda: "used up" in run.health.note)
            assert run.health.state == "quiet"
            await run.still(lambda: len(run.there.asked) == 2)
            run.there.clock.now = OPENING + 23 * HOUR
            await run.until(lambda: len(run.there.asked) == 3)

    scenario(play)


def test_two_feeds_of_one_key_share_its_budget():
    budget = DailyBudget(1)
    feed = AlphaVantageFeed(FAST, {"IBM": "IBM"}, budget=budget)
    feed.remember(raw(b"{}", kind="alpha_vantage", path="alpha_vantage", ts_init=OPENING))

    assert budget.left(OPENING + 1) == 0


def test_burst_is_waited_out_and_asked_again():
    async def play():
        settings = replaced(burst_wait_seconds=0.1)
        async with running({"IBM": [BURST, BURST]}, settings) as run:
            began = monotonic()
            await run.until(lambda: run.quotes)

            assert run.there.symbols == ["IBM"] * 3
            assert monotonic() - began >= 0.3  # 0.1, then twice as long
            assert run.health.counts["rate_limited"] == 2
            assert run.health.state == "up"
            assert not run.told

    scenario(play)


def test_used_up_day_is_slept_through():
    async def play():
        async with running({"IBM": [DAILY]}) as run:
            await run.until(lambda: run.health.state == "cut")
            assert run.told == [
                ("IBM.US", "cut", HoleState.OPEN),
                ("MSFT.US", "cut", HoleState.OPEN),
            ]
            await run.until(lambda: "used up" in run.health.note)
            assert "9 h" in run.health.note  # until midnight UTC
            run.there.clock.now = OPENING + 5 * HOUR
            await run.still(lambda: len(run.there.asked) == 1)
            run.there.clock.now = MONDAY
            await run.until(lambda: len(run.quotes) == 1)

            assert ("IBM.US", "cut", HoleState.UNFILLED) in run.told
            assert run.health.state == "up"

    scenario(play)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (PREMIUM, "paid keys"),
        (BAD_KEY, "does not accept the API key"),
        (DEMO, "demo key"),
        (BAD_CALL, "GLOBAL_QUOTE"),
    ],
)
def test_what_no_waiting_helps_stops_the_feed_with_a_sentence(answer, words):
    async def play():
        async with running({"IBM": [answer]}) as run:
            await run.until(lambda: run.health.state == "stopped")
            run.there.clock.now = MONDAY
            await run.still(lambda: len(run.there.asked) == 1)

            assert words in run.health.note
            assert [symbol for symbol, *_ in run.told] == ["IBM.US", "MSFT.US"]

    scenario(play)


def test_missing_key_asks_nothing():
    async def play():
        async with running(settings=replaced(api_key=Secret())) as run:
            await run.until(lambda: run.health.state == "stopped")
            await run.still(lambda: not run.there.asked)

            assert "API key" in run.health.note

    scenario(play)


@pytest.mark.parametrize("answer", [{"Global Quote": {}}, BAD_SYMBOL])
def test_unknown_symbol_is_dropped_and_reported_and_the_others_go_on(answer):
    async def play():
        async with running({"IBM": answer}, symbols=("IBM", "MSFT", "AAPL")) as run:
            await run.until(lambda: run.told)
            await pass_time(run, OPENING + 2 * HOUR)

            assert run.there.symbols[:5] == ["IBM", "MSFT", "AAPL", "MSFT", "AAPL"]
            assert run.there.symbols.count("IBM") == 1
            assert "does not know IBM.US" in run.health.note
            assert run.health.state == "up"
            assert run.told == [("IBM.US", "cut", HoleState.OPEN)]

    scenario(play)


def test_feed_without_a_symbol_left_stops():
    async def play():
        async with running({"IBM": {}}, symbols=("IBM",)) as run:
            await run.until(lambda: run.health.state == "stopped")

            assert "None of the symbols" in run.health.note

    scenario(play)


@pytest.mark.parametrize(
    "answer",
    [{"Hello": "world"}, b"<html>", {"Note": "?"}, quote("MSFT"), {"Global Quote": {"05.": "1"}}],
)
def test_answer_that_says_nothing_is_counted_and_asked_again_later(answer):
    async def play():
        async with running({"IBM": [answer]}, symbols=("IBM",)) as run:
            await run.until(lambda: run.quotes)

            assert run.there.symbols == ["IBM", "IBM"]
            assert run.told == [
                ("IBM.US", "cut", HoleState.OPEN),
                ("IBM.US", "cut", HoleState.UNFILLED),
            ]
            counts = run.health.counts
            assert counts["other"] + counts["bad_json"] + counts["rejected"] == 1

    scenario(play)


def test_failing_server_is_asked_again_within_the_budget():
    async def play():
        settings = replaced(requests_per_day=4)
        async with running(settings=settings, status=500) as run:
            await run.until(lambda: len(run.there.asked) == 4)
            await run.until(lambda: "used up" in run.health.note)
            await run.still(lambda: len(run.there.asked) == 4)

            assert run.health.state == "cut"
            assert run.health.counts["requests_failed"] == 4
            assert run.there.symbols == ["IBM", "MSFT"] * 2

    scenario(play)


def test_shed_quote_opens_a_hole():
    async def play():
        async with running(symbols=("IBM",)) as run:
            run.inbox.settings = InboxSettings(max_messages=0)
            await run.until(lambda: run.told)
            assert run.told == [("IBM.US", "shed", HoleState.OPEN)]
            run.inbox.settings = InboxSettings()
            run.there.clock.now += HOUR
            await run.until(lambda: run.quotes)

            assert run.told[-1] == ("IBM.US", "shed", HoleState.UNFILLED)

    scenario(play)


@pytest.mark.parametrize("answer", [DAILY, PREMIUM, BAD_KEY, BURST, b"<html>", quote()])
def test_key_is_in_no_log_health_payload_or_error(answer, caplog, capsys, monkeypatch):
    factory = logging.getLogRecordFactory()
    guard_logging()  # as a run does; libraries log URLs
    caplog.set_level(logging.DEBUG)

    async def play():
        async with running({"IBM": [answer]}) as run:
            await run.until(lambda: run.health.state != "starting")
            shown.append(repr((run.all, run.health, run.feed.settings, vars(run.feed))))

    shown = []
    try:
        with structlog.testing.capture_logs() as logs:
            scenario(play)
    finally:
        logging.setLogRecordFactory(factory)
    everything = [*shown, repr(logs), caplog.text, *capsys.readouterr()]
    assert CANARY in DAILY["Information"]
    assert not any(CANARY in text for text in everything)
    with suppress(TypeError, NotImplementedError):
        assert CANARY.encode() not in msgspec.json.encode(FAST)


def test_settings_move_to_another_venue_and_keep_the_path():
    assert FAST.at("https://127.0.0.1:1").url == "https://127.0.0.1:1/query"
