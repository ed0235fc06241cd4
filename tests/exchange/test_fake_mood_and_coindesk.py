import asyncio
import csv

import pytest

from exchange.corpus import NewsSettings
from tests.exchange.serving import Hand, get, get_json, ns, served, venue_at
from tests.support import DATA

CNN = {"Referer": "https://edition.cnn.com/markets", "Origin": "https://edition.cnn.com"}
GRAPH = "/index/fearandgreed/graphdata"
LIST = "/news/v1/article/list"


def rows():
    with (DATA / "mood/fear_greed_2024-08.csv").open() as lines:
        return {int(row["timestamp"]): row for row in csv.DictReader(lines)}


def run(scenario, start="2024-08-08T18:00:00+00:00", hand=None, settings=()):
    async def serve():
        async with served(venue_at(start, hand=hand or Hand(), settings=settings)) as (url, client):
            return await scenario(url, client)

    return asyncio.run(serve())


def test_the_index_is_the_recorded_one_up_to_the_venues_day():
    async def scenario(url, client):
        return await get_json(client, f"{url}/fng/?limit=0")

    body = run(scenario)
    assert body["name"] == "Fear and Greed Index"
    assert body["metadata"] == {"error": None}
    recorded = rows()
    times = [int(day["timestamp"]) for day in body["data"]]
    today = ns("2024-08-08T00:00:00+00:00") // 10**9
    assert times == sorted((t for t in recorded if t <= today), reverse=True)
    for day in body["data"]:
        row = recorded[int(day["timestamp"])]
        assert day["value"] == str(round(float(row["value"])))
        assert day["value_classification"] == row["classification"]
    assert body["data"][0]["time_until_update"] == str(6 * 3600)
    assert all("time_until_update" not in day for day in body["data"][1:])


@pytest.mark.parametrize(
    ("query", "count"), [("", 1), ("?limit=3", 3), ("?limit=3&format=json", 3)]
)
def test_limit_is_one_unless_told(query, count):
    async def scenario(url, client):
        return await get_json(client, f"{url}/fng/{query}")

    assert len(run(scenario)["data"]) == count


def test_a_new_day_brings_a_new_value():
    hand = Hand()

    async def scenario(url, client):
        before = await get_json(client, f"{url}/fng/")
        hand.forward(6 * 3600)
        return before, await get_json(client, f"{url}/fng/")

    before, after = run(scenario, hand=hand)
    assert int(after["data"][0]["timestamp"]) - int(before["data"][0]["timestamp"]) == 86_400


def test_outside_the_recorded_days_they_are_shifted_to_end_today():
    async def scenario(url, client):
        return await get_json(client, f"{url}/fng/?limit=2")

    newest = run(scenario, start="2026-03-04T05:06:07+00:00")["data"][0]
    assert int(newest["timestamp"]) == ns("2026-03-04T00:00:00+00:00") // 10**9
    assert newest["value"] == str(round(float(list(rows().values())[-1]["value"])))


def test_date_format_spoils_the_timestamps():
    async def scenario(url, client):
        return await get_json(client, f"{url}/fng/?date_format=world")

    assert run(scenario)["data"][0]["timestamp"] == "08-08-2024"


def test_a_limit_that_is_no_number_is_a_400_with_an_error():
    async def scenario(url, client):
        return await get(client, f"{url}/fng/?limit=many")

    assert run(scenario)[0] == 400


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Referer": CNN["Referer"]},
        {"Origin": CNN["Origin"]},
        CNN | {"Origin": "https://notcnn.com"},
    ],
)
def test_cnn_is_a_teapot_to_strangers(headers):
    async def scenario(url, client):
        return await get(client, url + GRAPH, headers=headers)

    assert run(scenario)[0] == 418


@pytest.mark.parametrize("path", [GRAPH, GRAPH + "/2024-08-01"])
def test_cnns_graph_has_its_shape(path):
    async def scenario(url, client):
        return await get_json(client, url + path, headers=CNN)

    body = run(scenario)
    now = body["fear_and_greed"]
    assert isinstance(now["score"], float)
    assert now["rating"] == now["rating"].lower()
    assert now["timestamp"] == "2024-08-08T18:00:00+00:00"
    history = body["fear_and_greed_historical"]["data"]
    assert history[-1]["y"] == now["score"]
    assert [point["x"] for point in history] == sorted(point["x"] for point in history)


def test_articles_have_coindesks_shape():
    async def scenario(url, client):
        return await get_json(client, f"{url}{LIST}?lang=EN&limit=5")

    body = run(scenario, settings=(NewsSettings(backlog=400),))
    assert body["Err"] == {}
    assert len(body["Data"]) == 5
    times = [article["PUBLISHED_ON"] for article in body["Data"]]
    assert times == sorted(times, reverse=True)
    assert times[0] * 10**9 <= ns("2024-08-08T18:00:00+00:00")
    assert len({article["ID"] for article in body["Data"]}) == 5
    for article in body["Data"]:
        assert article["AUTHORS"].startswith("canary-author-")
        assert article["SENTIMENT"] in {"POSITIVE", "NEGATIVE", "NEUTRAL"}
        assert {entry["NAME"] for entry in article["CATEGORY_DATA"]}
        assert article["SOURCE_DATA"]["NAME"] == "Sample Coin Desk"
        assert "nvented sample item" in article["BODY"]


def test_to_ts_pages_back_and_categories_narrow():
    async def scenario(url, client):
        first = await get_json(client, f"{url}{LIST}?limit=100")
        until = first["Data"][3]["PUBLISHED_ON"]
        older = await get_json(client, f"{url}{LIST}?limit=100&to_ts={until}")
        chain = await get_json(client, f"{url}{LIST}?limit=100&categories=ETH")
        without = await get_json(client, f"{url}{LIST}?limit=100&exclude_categories=ETH")
        return first["Data"], older["Data"], chain["Data"], without["Data"]

    first, older, chain, without = run(scenario)
    assert older == first[3:]
    assert chain
    assert len(chain) + len(without) == len(first)
    assert all("ETH" in {c["NAME"] for c in article["CATEGORY_DATA"]} for article in chain)


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "lang=XX", "to_ts=now"])
def test_a_wrong_parameter_is_a_400_that_names_it(query):
    async def scenario(url, client):
        async with client.get(f"{url}{LIST}?{query}") as answer:
            return answer.status, await answer.json()

    status, body = run(scenario)
    assert status == 400
    assert body["Data"] == {}
    assert body["Err"]["other_info"]["param"] == query.split("=")[0]


def test_another_language_has_no_articles():
    async def scenario(url, client):
        return await get_json(client, f"{url}{LIST}?lang=ES")

    assert run(scenario)["Data"] == []
