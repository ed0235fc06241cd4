import asyncio
import json
import time
from contextlib import suppress

import aiohttp
import pytest

from exchange.news_faults import ENDPOINTS, NewsFault, NewsFaults, faults_of
from tests.exchange.serving import AGENT, DEADLINE, get, get_json, served, venue_at

PATH = "/exchange/news_fault"
ONE_OF_EACH = {
    "alpha_vantage": "/query?function=GLOBAL_QUOTE&symbol=AAPL&apikey=K",
    "rss": "/rss",
    "reddit": "/r/Bitcoin/new.json",
    "stocktwits": "/api/2/streams/symbol/BTC.X.json",
    "coindesk": "/news/v1/article/list",
    "fear_greed": "/fng/",
    "cnn": "/index/fearandgreed/graphdata",
}
CNN = {"Referer": "https://edition.cnn.com/", "Origin": "https://edition.cnn.com"}


def test_a_fault_is_switched_on_listed_and_switched_off_over_http():
    async def scenario():
        venue = venue_at()
        async with served(venue) as (url, client):
            async with client.post(
                url + PATH, json={"endpoint": "rss", "kind": "500", "seconds": 60}
            ) as answer:
                assert answer.status == 200
            assert (await get(client, f"{url}/rss"))[0] == 500
            assert (await get(client, f"{url}/fng/"))[0] == 200
            listed = (await get_json(client, url + PATH))["active"]
            async with client.delete(url + PATH) as answer:
                assert (await answer.json())["active"] == []
            assert (await get(client, f"{url}/rss"))[0] == 200
        assert [(fault["endpoint"], fault["kind"]) for fault in listed] == [("rss", "500")]
        assert venue.rules.counts["rss_faults"] == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        (b"no JSON", "malformed"),
        (b'{"kind": "500", "endpoint": "gopher"}', "gopher"),
        (b'{"kind": "burst", "endpoint": "rss"}', "burst"),
        (b'{"kind": "500", "seconds": 0}', "positive"),
        (b'{"kind": "500", "colour": 1}', "colour"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_with_a_sentence(asked, word):
    async def scenario():
        async with (
            served(venue_at()) as (url, client),
            client.post(url + PATH, data=asked) as answer,
        ):
            return answer.status, (await answer.json())["error"]

    status, error = asyncio.run(scenario())
    assert status == 400
    assert word in error


@pytest.mark.parametrize("endpoint", sorted(ONE_OF_EACH))
def test_each_http_endpoint_honours_a_fault_for_all(endpoint):
    async def scenario():
        venue = venue_at()
        faults_of(venue).add(NewsFault(kind="503"))
        async with served(venue) as (url, client):
            headers = AGENT | CNN
            failed = await get(client, url + ONE_OF_EACH[endpoint], headers=headers)
            faults_of(venue).clear()
            mended = await get(client, url + ONE_OF_EACH[endpoint], headers=headers)
        assert (failed[0], mended[0]) == (503, 200)

    asyncio.run(scenario())


@pytest.mark.parametrize("endpoint", sorted(ONE_OF_EACH))
@pytest.mark.parametrize("kind", ["malformed", "truncated", "html", "empty"])
def test_spoiled_answers_are_no_json(endpoint, kind):
    async def scenario():
        venue = venue_at()
        faults_of(venue).add(NewsFault(kind=kind, endpoint=endpoint))
        async with served(venue) as (url, client):
            return await get(client, url + ONE_OF_EACH[endpoint], headers=AGENT | CNN)

    status, _, body = asyncio.run(scenario())
    assert status == 200
    with pytest.raises((ValueError, UnicodeDecodeError)):
        json.loads(body)


def test_a_count_ends_a_fault_after_so_many_answers():
    async def scenario():
        venue = venue_at()
        faults_of(venue).add(NewsFault(kind="500", endpoint="rss", count=2))
        async with served(venue) as (url, client):
            return [(await get(client, f"{url}/rss"))[0] for _ in range(4)]

    assert asyncio.run(scenario()) == [500, 500, 200, 200]


def test_a_fault_ends_with_its_seconds():
    faults = NewsFaults()
    faults.add(NewsFault(kind="500", endpoint="rss", seconds=0.02))
    assert faults.on("rss") is not None

    deadline = time.monotonic() + 5.0
    while faults.on("rss") is not None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_cut_answer_is_shorter_than_it_announced():
    async def scenario():
        venue = venue_at()
        faults_of(venue).add(NewsFault(kind="cut", endpoint="rss"))
        async with served(venue) as (url, client):
            with pytest.raises(aiohttp.ClientPayloadError):
                await get(client, f"{url}/rss", headers={"Accept-Encoding": "identity"})

    asyncio.run(scenario())


def test_a_hanging_answer_never_comes_and_the_connection_ends_with_the_fault():
    async def scenario():
        venue = venue_at()
        faults_of(venue).add(NewsFault(kind="hang", endpoint="rss", seconds=60.0))
        async with served(venue) as (url, _):
            # By hand: aiohttp's client asks once more where a connection ended without a byte.
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.split(":")[-1]))
            writer.write(b"GET /rss HTTP/1.1\r\nHost: test\r\n\r\n")
            asked = asyncio.ensure_future(reader.read())
            done, _ = await asyncio.wait([asked], timeout=0.3)
            assert not done
            faults_of(venue).clear()
            with suppress(ConnectionResetError):
                assert await asyncio.wait_for(asked, DEADLINE) == b""
            writer.close()

    asyncio.run(scenario())


def test_every_kind_is_known_to_an_endpoint_that_serves():
    assert set(ONE_OF_EACH) | {"yahoo"} == set(ENDPOINTS)
