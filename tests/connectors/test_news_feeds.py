"""CoinDesk, Reddit, StockTwits and Alpha Vantage as headlines, each by its own rules."""

import asyncio
import io
import itertools
import json
import logging

import msgspec
import pytest
import structlog

from connectors.secrets import AuthorHash, Secret
from connectors.sources.alpha_vantage_budget import DailyBudget
from connectors.sources.alpha_vantage_news import AlphaVantageNewsFeed, AlphaVantageNewsSettings
from connectors.sources.coindesk import CoinDeskFeed, CoinDeskSettings
from connectors.sources.headlines import HeadlineDesk
from connectors.sources.reddit import RedditFeed, RedditSettings
from connectors.sources.stocktwits import StockTwitsFeed, StockTwitsSettings
from connectors.sources.symbol_book import SymbolBook
from operators.messages import SECOND, Headline
from tests.pages import NOW, QUICK, Pages, inbox, running, until

BOOK = SymbolBook(("BTCUSDT", "ETHUSDT", "AAPL"))
HASH = AuthorHash(b"k" * 16)
SECONDS = NOW // SECOND
KEY = "CANARY-key-8e61ab"
TOKEN = "CANARY-token-0c77d1"
AUTHOR = "Canaria_Featherstone"


def collect(make, answers, condition=None, to=None):
    """Run the feed that `make(base)` gives until `condition(feed, pages)`, or 3 rounds."""
    to = to or inbox()

    async def run():
        async with Pages(answers) as pages:
            feed = make(pages.base)
            rounds = condition or (lambda _, pages: len(pages.asked) > 3)
            async with running(feed, to):
                await until(lambda: rounds(feed, pages))
            return feed, pages

    feed, pages = asyncio.run(run())
    headlines = [msgspec.json.decode(each.payload, type=Headline) for each in to.take(10_000)]
    return headlines, feed, pages


def desk():
    return HeadlineDesk(BOOK, HASH)


# ------------------------------------------------------------------------------- CoinDesk


def article(title="Bitcoin rises", **fields):
    return {"TYPE": "121", "ID": 1, "GUID": "g1", "PUBLISHED_ON": SECONDS - 60, "TITLE": title} | {
        "URL": "https://x.example",
        "BODY": "Body.",
        "LANG": "EN",
        "STATUS": "ACTIVE",
        "AUTHORS": AUTHOR,
        "SOURCE_DATA": {"NAME": "Desk"},
        "CATEGORY_DATA": [{"CATEGORY": "MARKET", "NAME": "MARKET"}],
        **fields,
    }


def coindesk(base, **fields):
    given = {"every_s": 0.01, "poll": QUICK, "api_key": Secret(KEY)}
    return CoinDeskFeed(CoinDeskSettings(**given | fields).at(base), desk())


LIST = "/news/v1/article/list"


def test_coindesk_articles():
    rows = [
        article("Bitcoin rises - Desk", ID=3, GUID="g3"),
        {"TITLE": 5},
        "nothing",
        article("Miners gain", GUID="g2", CATEGORY_DATA=[{"NAME": "ETH", "CATEGORY": "ETH"}]),
        article("Withdrawn Bitcoin story", GUID="g4", STATUS="DELETED"),
        article("Bitcoin hat kein Datum", GUID="g5", LANG="DE"),
        article("Ether has no date", GUID="g6", PUBLISHED_ON=None, AUTHORS=None),
    ]
    headlines, feed, pages = collect(
        coindesk, {LIST: json.dumps({"Data": rows, "Err": {}}).encode()}
    )

    found = {headline.text: headline for headline in headlines}
    assert set(found) == {"Bitcoin rises", "Miners gain", "Ether has no date"}
    assert found["Miners gain"].symbols == ("ETHUSDT",)
    assert found["Bitcoin rises"].published_at == NOW - 60 * SECOND
    assert found["Bitcoin rises"].author_hash == HASH(AUTHOR)
    assert found["Ether has no date"].author_hash is None
    assert feed.health.counts["undated"] == 1
    assert feed.health.counts["foreign_language"] == 1
    assert feed.health.counts["rejected"] == 2
    assert pages.asked[0][1] == {"lang": "EN", "limit": "50"}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"Data": {}}', b'{"Err": {"message": "no"}}', b"[" * 100_000, b"\xff"]
)
def test_answer_of_another_form_is_counted_and_told(body):
    _, feed, _ = collect(coindesk, {LIST: body}, lambda feed, _: feed.health.counts["rejected"] > 1)

    assert feed.health.state == "cut"
    assert feed.health.note.startswith("unusable answer: ")


def test_one_language_that_fails_does_not_cost_the_other():
    def page(request):
        if request.query["lang"] == "EN":
            return {"status": 404}
        return json.dumps({"Data": [article("ビットコイン上昇", LANG="JP")]}).encode()

    headlines, feed, _ = collect(lambda base: coindesk(base, langs=("EN", "JP")), {LIST: page})

    assert [(headline.text, headline.lang) for headline in headlines] == [
        ("ビットコイン上昇", "ja")
    ]
    assert feed.health.state == "up"
    assert feed.health.note == "1 of 2: status 404"


# --------------------------------------------------------------------------------- Reddit


def post(title="Bitcoin rises", **fields):
    data = {"id": title, "title": title, "selftext": "", "created_utc": SECONDS - 60.0}
    return {"kind": "t3", "data": data | {"score": 5, "author": AUTHOR} | fields}


def listing(*posts):
    data = {"children": list(posts), "after": None}
    return json.dumps({"kind": "Listing", "data": data}).encode()


def reddit(base, **fields):
    given = {"every_s": 0.01, "poll": QUICK, "subreddits": ("stocks",)}
    return RedditFeed(RedditSettings(**given | fields).at(base), desk())


def with_app(base, **fields):
    return reddit(base, client_id="app", client_secret=Secret(KEY), **fields)


def test_reddit_public_listing():
    posts = listing(
        post("Bitcoin rises"),
        post("Bitcoin falls", score=-3),
        post("Rules on Bitcoin", stickied=True),
        post("Bitcoin gone", removed_by_category="moderator"),
        post("Ether gains", author="[deleted]"),
        {"kind": "t1", "data": {"id": "c", "title": "Bitcoin comment"}},
        {"kind": "t3", "data": None},
    )
    headlines, feed, pages = collect(reddit, {"/r/stocks/new.json": posts})

    authors = {headline.text: headline.author_hash for headline in headlines}
    assert authors == {"Bitcoin rises": HASH(AUTHOR), "Ether gains": None}
    assert pages.asked[0][1] == {"limit": "100", "raw_json": "1"}
    assert "nextgen-trading-engine" in pages.asked[0][2]["User-Agent"]
    assert feed.health.counts["rejected"] == 1


def token(seconds=3600):
    return json.dumps(
        {"access_token": TOKEN, "expires_in": seconds, "token_type": "bearer"}
    ).encode()


def test_reddit_app_asks_for_a_token_once_and_bears_it():
    answers = {"/api/v1/access_token": token(), "/r/stocks/new": listing(post())}
    headlines, feed, pages = collect(with_app, answers)

    assert len(headlines) == 1
    assert pages.count("/api/v1/access_token") == 1
    assert pages.asked[0][3] == "grant_type=client_credentials"
    assert pages.asked[0][2]["Authorization"].startswith("Basic ")
    assert pages.asked[1][2]["Authorization"] == f"bearer {TOKEN}"
    assert feed.health.counts["tokens"] == 1


def test_reddit_token_is_renewed_when_it_ends_or_is_revoked():
    answers = {"/api/v1/access_token": token(1), "/r/stocks/new": listing(post())}
    _, feed, pages = collect(with_app, answers)
    assert pages.count("/api/v1/access_token") >= 2

    revoked = [{"status": 401}, listing(post())]
    answers = {"/api/v1/access_token": token(), "/r/stocks/new": revoked}
    _, feed, pages = collect(
        with_app, answers, lambda feed, _: feed.health.counts["headlines"] == 1
    )
    assert pages.count("/api/v1/access_token") == 2
    assert feed.health.state == "up"


def test_reddit_says_so_when_the_app_is_refused():
    for refused in ({"status": 401}, b'{"error": "invalid_grant"}', b"<html>"):
        answers = {"/api/v1/access_token": refused}
        _, feed, pages = collect(with_app, answers, lambda feed, _: feed.health.state == "cut")

        assert pages.count("/r/stocks/new") == 0
        assert feed.health.note


def test_reddit_rests_when_its_limit_is_used_up():
    times = []

    def page(_):
        times.append(asyncio.get_running_loop().time())
        headers = {"X-Ratelimit-Remaining": "0.0", "X-Ratelimit-Reset": "0.2"}
        return {"body": listing(post()), "headers": headers}

    _, feed, _ = collect(reddit, {"/r/stocks/new.json": page}, lambda *_: len(times) > 2)

    assert all(later - first >= 0.2 for first, later in itertools.pairwise(times))
    assert feed.health.counts["throttled"] >= 2
    assert feed.health.gauges["requests_left"] == 0.0


# ----------------------------------------------------------------------------- StockTwits


def message(number, body=None, **fields):
    return {
        "id": number,
        "body": body or f"$BTC.X story number {number}",
        "created_at": "2024-08-08T23:50:00Z",
        "user": {"id": 1, "username": AUTHOR, "name": "Canaria Feather"},
        "entities": {"sentiment": None},
        **fields,
    }


class Stream:
    """StockTwits' paging: newest first, `max` for those below an id."""

    def __init__(self, last, page=30):
        self.last = last
        self.page = page

    def __call__(self, request):
        top = min(int(request.query.get("max", self.last + 1)) - 1, self.last)
        messages = [message(number) for number in range(top, max(top - self.page, 0), -1)]
        return json.dumps({"response": {"status": 200}, "messages": messages}).encode()


def stocktwits(base, **fields):
    given = {"every_s": 0.01, "poll": QUICK, "symbols": {"BTCUSDT": "BTC.X"}}
    return StockTwitsFeed(StockTwitsSettings(**given | fields).at(base), desk())


STREAM = "/api/2/streams/symbol/BTC.X.json"


def test_stocktwits_pages_back_to_the_last_message_seen():
    stream = Stream(100)

    def more(feed, pages):
        if pages.count(STREAM) == 2:
            stream.last = 175  # 75 more: three pages
        return feed.health.counts["headlines"] >= 105

    headlines, feed, pages = collect(stocktwits, {STREAM: stream}, more)

    numbers = sorted(int(headline.text.split()[-1]) for headline in headlines)
    assert numbers == list(range(71, 176))
    assert {headline.symbols for headline in headlines} == {("BTCUSDT",)}
    assert {headline.author_hash for headline in headlines} == {HASH(AUTHOR)}
    assert [asked[1] for asked in pages.asked if asked[1]] == [{"max": "146"}, {"max": "116"}]
    assert feed.health.counts["pages_missed"] == 0


def test_stocktwits_reads_no_more_pages_than_set_and_counts_it():
    stream = Stream(100)

    def more(feed, pages):
        if pages.count(STREAM) == 2:
            stream.last = 1000
        return feed.health.counts["pages_missed"] > 0

    _, feed, _ = collect(lambda base: stocktwits(base, most_pages=2), {STREAM: stream}, more)

    assert feed.health.counts["pages_missed"] >= 1


def test_stocktwits_bad_messages_cost_themselves():
    rows = [
        message(9, "Bitcoin up @someone"),
        {"id": "x", "body": "y"},
        None,
        message(8, 5),
        message(7, "$BTC.X", created_at="?"),
    ]
    headlines, feed, _ = collect(stocktwits, {STREAM: json.dumps({"messages": rows}).encode()})

    assert {headline.text for headline in headlines} == {"Bitcoin up", "$BTC.X"}
    assert feed.health.counts["undated"] == 1


# -------------------------------------------------------------------------- Alpha Vantage


def story(title="Bitcoin rises", **fields):
    return {
        "title": title,
        "url": f"https://x.example/{title}",
        "time_published": "20240808T235000",
        "authors": [AUTHOR],
        "summary": "Summary.",
        "source": "Benzinga",
        "overall_sentiment_score": 0.2,
        "ticker_sentiment": [],
        **fields,
    }


def news(*stories):
    return json.dumps({"items": str(len(stories)), "feed": list(stories)}).encode()


def alpha_vantage(base, budget=None, **fields):
    given = {"every_s": 0.01, "poll": QUICK, "api_key": Secret(KEY), "requests_per_day": 50}
    settings = AlphaVantageNewsSettings(**given | fields).at(base)
    return AlphaVantageNewsFeed(settings, desk(), budget=budget)


def test_alpha_vantage_news():
    tickers = [
        {"ticker": "CRYPTO:ETH", "relevance_score": "0.9"},
        {"ticker": "AAPL", "relevance_score": "0.05"},
    ]
    bad = {"ticker": "AAPL", "relevance_score": "much"}
    body = news(
        story("Miners gain", ticker_sentiment=tickers), story("Apple", ticker_sentiment=[bad]), 7
    )
    headlines, feed, pages = collect(alpha_vantage, {"/query": body})

    assert [(headline.text, headline.symbols) for headline in headlines] == [
        ("Miners gain", ("ETHUSDT",))
    ]
    assert headlines[0].published_at == NOW - 254 * SECOND
    assert feed.health.counts["rejected"] == 2
    query = pages.asked[0][1]
    assert (query["function"], query["apikey"]) == ("NEWS_SENTIMENT", KEY)
    assert (query["topics"], query["time_from"]) == ("financial_markets", "20240807T2254")
    assert pages.asked[1][1]["time_from"] == "20240808T2254"  # since the last time


def test_alpha_vantage_keeps_to_its_part_of_the_day_and_leaves_the_rest():
    shared = DailyBudget(25)

    def make(base):
        return alpha_vantage(base, shared, requests_per_day=3)

    _, feed, pages = collect(
        make, {"/query": news(story())}, lambda feed, _: feed.health.counts["throttled"] > 3
    )

    assert pages.count("/query") == 3
    assert shared.left(NOW) == 22
    assert feed.health.note == "no answer: the day's requests are used up"


BURST = {"Information": "Please consider 1 request per second. ... 25 requests per day ..."}
DAILY = {"Information": "our standard API rate limit is 25 requests per day"}


def test_alpha_vantage_burst_is_tried_again():
    bodies = [json.dumps(BURST).encode(), news(story())]

    def make(base):
        return alpha_vantage(base, burst_wait_s=0.01)

    headlines, feed, _ = collect(
        make, {"/query": bodies}, lambda feed, _: feed.health.counts["headlines"] == 1
    )

    assert len(headlines) == 1
    assert feed.health.counts["rate_limited"] == 1
    assert feed.health.state == "up"


@pytest.mark.parametrize(
    ("body", "state"),
    [
        (DAILY, "cut"),
        ({"Information": "the parameter apikey is invalid or missing."}, "stopped"),
        ({"Information": "Thank you! This is a premium endpoint."}, "stopped"),
        ({"Information": "The demo API key is for demo purposes only."}, "stopped"),
        ({"Error Message": "Invalid inputs. Invalid input found."}, "cut"),
        ({"feed": "none"}, "cut"),
    ],
)
def test_alpha_vantage_refusals(body, state):
    _, feed, pages = collect(
        alpha_vantage,
        {"/query": json.dumps(body).encode()},
        lambda feed, _: feed.health.state == state,
    )

    assert feed.health.note
    if state == "stopped" or body is DAILY:
        assert pages.count("/query") == 1


def test_alpha_vantage_without_a_key_stops_before_it_asks():
    _, feed, pages = collect(
        lambda base: alpha_vantage(base, api_key=Secret()),
        {},
        lambda feed, _: feed.health.state == "stopped",
    )

    assert pages.asked == []
    assert "key" in feed.health.note


# ------------------------------------------------------------------------------- canaries


def test_no_key_token_or_author_shows_anywhere():
    """Everything a feed writes: payloads, health, structlog and library logs at DEBUG."""
    names = (AUTHOR, "Canaria", "Featherstone", KEY, TOKEN)
    about = f"Bitcoin up, says {AUTHOR}. u/{AUTHOR} and @{AUTHOR}"
    cases = [
        (coindesk, {LIST: json.dumps({"Data": [article(about)]}).encode()}),
        (coindesk, {LIST: {"status": 403, "body": KEY.encode()}}),
        (
            with_app,
            {
                "/api/v1/access_token": token(),
                "/r/stocks/new": [listing(post(about)), {"status": 401}, {"status": 500}],
            },
        ),
        (with_app, {"/api/v1/access_token": json.dumps({"error": KEY}).encode()}),
        (stocktwits, {STREAM: json.dumps({"messages": [message(1, about)]}).encode()}),
        (alpha_vantage, {"/query": news(story(about))}),
        (alpha_vantage, {"/query": json.dumps({"Note": f"key {KEY} is used up"}).encode()}),
    ]
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root, httpx_log = logging.getLogger(), logging.getLogger("httpx2")
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    httpx_log.setLevel(logging.WARNING)  # it logs addresses: guard_logging has its own test
    written, told = [], 0
    try:
        with structlog.testing.capture_logs() as events:
            for make, answers in cases:
                to = inbox()
                headlines, feed, _ = collect(
                    make, answers, lambda _, pages: len(pages.asked) > 5, to
                )
                told += len(headlines)
                written += [repr(headlines), repr(feed.health), repr(feed.settings)]
                written += [repr(vars(feed)["_handled"])]
            written += [repr(events), stream.getvalue()]
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        httpx_log.setLevel(logging.NOTSET)

    assert told == 4
    everything = "\n".join(written).casefold()
    assert not [name for name in names if name.casefold() in everything]
