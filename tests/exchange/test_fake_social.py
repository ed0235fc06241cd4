import asyncio
import base64
from itertools import pairwise

import pytest

from exchange.corpus import NewsSettings
from exchange.reddit import RedditSettings
from exchange.stocktwits import StockTwitsSettings
from tests.exchange.serving import AGENT, Hand, get, get_json, served, venue_at

LONG = NewsSettings(backlog=2000)
SUB = "/r/Bitcoin/new.json"
STREAM = "/api/2/streams/symbol/{}.json"


def run(scenario, *, hand=None, settings=(LONG,)):
    """Run `scenario(url, client)` against a venue whose clock stands until `hand` moves it."""

    async def serve():
        async with served(venue_at(hand=hand or Hand(), settings=settings)) as (url, client):
            return await scenario(url, client)

    return asyncio.run(serve())


def test_a_listing_has_reddits_shape_and_canary_authors():
    async def scenario(url, client):
        return await get(client, url + SUB, headers=AGENT), await get_json(
            client, url + SUB, headers=AGENT
        )

    (status, headers, _), listing = run(scenario)
    assert status == 200
    assert listing["kind"] == "Listing"
    data = listing["data"]
    assert data["dist"] == len(data["children"]) == 25
    for child in data["children"]:
        post = child["data"]
        assert child["kind"] == "t3"
        assert post["name"] == f"t3_{post['id']}"
        assert post["author"].startswith("canary-author-") or post["author"] == "[deleted]"
        assert isinstance(post["created_utc"], float)
    times = [child["data"]["created_utc"] for child in data["children"]]
    assert times == sorted(times, reverse=True)
    assert headers["X-Ratelimit-Used"] == "1"
    assert headers["X-Ratelimit-Remaining"] == "9.0"
    assert 1 <= int(headers["X-Ratelimit-Reset"]) <= 60


def test_pages_follow_one_another_without_gap_or_repeat():
    async def scenario(url, client):
        names, after = [], ""
        while True:
            page = await get_json(client, f"{url}{SUB}?limit=10&after={after}", headers=AGENT)
            names += [child["data"]["name"] for child in page["data"]["children"]]
            after = page["data"]["after"]
            if after is None:
                return names, await get_json(client, f"{url}{SUB}?limit=100", headers=AGENT)

    names, whole = run(scenario, settings=(NewsSettings(backlog=1500),))
    assert names == [child["data"]["name"] for child in whole["data"]["children"]]
    assert len(names) == len(set(names)) > 30


def test_before_gives_what_is_newer():
    async def scenario(url, client):
        whole = await get_json(client, f"{url}{SUB}", headers=AGENT)
        names = [child["data"]["name"] for child in whole["data"]["children"]]
        newer = await get_json(client, f"{url}{SUB}?before={names[3]}", headers=AGENT)
        return names, [child["data"]["name"] for child in newer["data"]["children"]]

    names, newer = run(scenario)
    assert newer == names[:3]


@pytest.mark.parametrize(
    "agent", ["python-requests/2.32", "Python/3.12 aiohttp/3.14", "python-httpx2/2", "curl/8", ""]
)
def test_a_user_agent_that_describes_nobody_gets_429(agent):
    async def scenario(url, client):
        return await get(client, url + SUB, headers={"User-Agent": agent})

    assert run(scenario)[0] == 429


def test_without_login_the_eleventh_request_of_a_minute_gets_429_until_the_minute_is_over():
    hand = Hand()

    async def scenario(url, client):
        first = [(await get(client, url + SUB, headers=AGENT))[0] for _ in range(11)]
        status, headers, _ = await get(client, url + SUB, headers=AGENT)
        hand.forward(float(headers["X-Ratelimit-Reset"]))
        return first, status, (await get(client, url + SUB, headers=AGENT))[0]

    first, refused, later = run(scenario, hand=hand)
    assert first == [200] * 10 + [429]
    assert (refused, later) == (429, 200)


def basic(name, secret):
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


async def token_of(client, url, auth, grant="client_credentials"):
    async with client.post(
        f"{url}/api/v1/access_token", data={"grant_type": grant}, headers=AGENT | auth
    ) as answer:
        return answer.status, await answer.json()


def test_oauth_gives_a_token_that_opens_listings_until_it_lapses():
    hand = Hand()
    settings = (LONG, RedditSettings(clients={"id": "secret"}, token_seconds=100.0))

    async def scenario(url, client):
        status, body = await token_of(client, url, basic("id", "secret"))
        assert (status, body["token_type"], body["expires_in"]) == (200, "bearer", 100)
        bearer = AGENT | {"Authorization": f"bearer {body['access_token']}"}
        _, headers, _ = await get(client, f"{url}/r/Bitcoin/new", headers=bearer)
        assert headers["X-Ratelimit-Remaining"] == "99.0"
        statuses = [(await get(client, f"{url}/r/Bitcoin/new", headers=bearer))[0]]
        hand.forward(101.0)
        statuses.append((await get(client, f"{url}/r/Bitcoin/new", headers=bearer))[0])
        return statuses

    assert run(scenario, hand=hand, settings=settings) == [200, 401]


@pytest.mark.parametrize(
    "auth", [{}, {"Authorization": "Basic %%%"}, basic("id", "wrong"), basic("other", "secret")]
)
def test_no_token_for_a_wrong_client(auth):
    settings = (RedditSettings(clients={"id": "secret"}),)

    async def scenario(url, client):
        return await token_of(client, url, auth)

    assert run(scenario, settings=settings)[0] == 401


def test_another_grant_is_not_supported():
    async def scenario(url, client):
        return await token_of(client, url, basic("id", "x"), grant="password")

    assert run(scenario) == (200, {"error": "unsupported_grant_type"})


@pytest.mark.parametrize("header", [{}, {"Authorization": "bearer nonsense"}])
def test_the_oauth_path_is_closed_without_a_good_token(header):
    async def scenario(url, client):
        return await get(client, f"{url}/r/Bitcoin/new", headers=AGENT | header)

    assert run(scenario)[0] == 401


def test_an_unknown_subreddit_is_a_404():
    async def scenario(url, client):
        return await get(client, f"{url}/r/nowhere/new.json", headers=AGENT)

    assert run(scenario)[0] == 404


def test_a_stream_pages_back_by_max_thirty_at_a_time():
    async def scenario(url, client):
        pages, newest = [], ""
        while True:
            page = await get_json(client, f"{url}{STREAM.format('BTC.X')}?max={newest}")
            pages.append(page)
            if not page["cursor"]["more"]:
                return pages
            newest = page["cursor"]["max"]

    pages = run(scenario)
    assert len(pages) > 1
    assert [len(page["messages"]) for page in pages[:-1]] == [30] * (len(pages) - 1)
    for before, after in pairwise(pages):
        # `max` is included, as the venue documents it.
        assert after["messages"][0] == before["messages"][-1]
    ids = [message["id"] for page in pages for message in page["messages"]]
    assert sorted(ids, reverse=True) == ids


def test_messages_are_stocktwits_shape_and_sentiment_is_mostly_missing_in_all_its_forms():
    async def scenario(url, client):
        found = []
        for symbol in ("BTC.X", "AAPL", "TSLA", "eth.x", "SPY", "MU"):
            found += (await get_json(client, url + STREAM.format(symbol)))["messages"]
        return found

    messages = run(scenario)
    sentiments = [message["entities"].get("sentiment", "absent") for message in messages]
    assert {"basic": "Bullish"} in sentiments
    assert {"basic": "Bearish"} in sentiments
    assert None in sentiments
    assert "absent" in sentiments
    assert {"basic": None} in sentiments
    for message in messages:
        assert message["user"]["username"].startswith("canary-author-")
        assert message["created_at"].endswith("Z")


def test_since_gives_what_is_newer():
    async def scenario(url, client):
        first = await get_json(client, url + STREAM.format("BTC.X"))
        since = first["messages"][4]["id"]
        return first, await get_json(client, f"{url}{STREAM.format('BTC.X')}?since={since}")

    first, newer = run(scenario)
    assert newer["messages"] == first["messages"][:4]


def test_the_201st_request_of_an_hour_gets_429():
    hand = Hand()
    settings = (StockTwitsSettings(requests=3), NewsSettings())

    async def scenario(url, client):
        got = [(await get(client, url + STREAM.format("AAPL")))[0] for _ in range(4)]
        hand.forward(3600.0)
        return got, (await get(client, url + STREAM.format("AAPL")))[0]

    assert StockTwitsSettings().requests == 200
    assert run(scenario, hand=hand, settings=settings) == ([200, 200, 200, 429], 200)


@pytest.mark.parametrize(("symbol", "status"), [("NOPE", 404), ("BTC.X", 200)])
def test_an_unknown_symbol_is_a_404_with_an_error(symbol, status):
    async def scenario(url, client):
        return await get(client, url + STREAM.format(symbol))

    assert run(scenario)[0] == status
