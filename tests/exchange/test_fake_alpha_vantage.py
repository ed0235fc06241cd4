import asyncio
import re

import pytest

from exchange.alpha_vantage import AlphaVantageSettings
from exchange.news_faults import NewsFault, faults_of
from tests.exchange.serving import Hand, get_json, ns, served, venue_at
from tests.support import EQKER

OPEN_HOURS = "2024-08-08T18:00:00+00:00"  # Thursday, 14:00 in New York


def asking(*queries, hand=None, pause=1.5, start=OPEN_HOURS, fault=None, **settings):
    """Ask one query after the other, `pause` real seconds apart; return the answers."""

    async def scenario():
        moved = hand or Hand()
        venue = venue_at(start, hand=moved, settings=[AlphaVantageSettings(**settings)])
        if fault is not None:
            faults_of(venue).add(NewsFault(kind=fault, endpoint="alpha_vantage"))
        answers = []
        async with served(venue) as (url, client):
            for query in queries:
                answers.append(await get_json(client, f"{url}/query?{query}"))
                moved.forward(pause)
        return answers

    return asyncio.run(scenario())


QUOTE = "function=GLOBAL_QUOTE&symbol=AAPL&apikey=K"
NEWS = "function=NEWS_SENTIMENT&apikey=K&limit=1000"


def test_a_quote_has_the_venues_fields_as_strings_and_a_recorded_price():
    quote = asking(QUOTE)[0]["Global Quote"]

    assert list(quote) == [
        "01. symbol", "02. open", "03. high", "04. low", "05. price", "06. volume",
        "07. latest trading day", "08. previous close", "09. change", "10. change percent",
    ]  # fmt: skip
    assert all(isinstance(value, str) for value in quote.values())
    text = (EQKER / "AAPL_1min.csv").read_text()
    recorded = {float(n) for line in text.splitlines()[1:] for n in line.split(",")[1:5]}
    assert float(quote["05. price"]) in recorded
    assert quote["07. latest trading day"] == "2024-08-08"
    change = float(quote["05. price"]) - float(quote["08. previous close"])
    assert float(quote["09. change"]) == pytest.approx(change, abs=1e-3)
    assert re.fullmatch(r"-?\d+\.\d{4}%", quote["10. change percent"])


def test_quotes_move_with_the_venues_clock_and_stand_still_over_a_weekend():
    moving = asking(QUOTE, QUOTE, pause=600.0)
    standing = asking(QUOTE, QUOTE, pause=600.0, start="2024-08-10T18:00:00+00:00")

    assert moving[0]["Global Quote"]["06. volume"] != moving[1]["Global Quote"]["06. volume"]
    assert standing[0] == standing[1]
    assert standing[0]["Global Quote"]["07. latest trading day"] == "2024-08-09"


def test_an_unknown_symbol_is_an_empty_object():
    assert asking("function=GLOBAL_QUOTE&symbol=NOPE&apikey=K") == [{"Global Quote": {}}]


def test_two_requests_within_a_second_are_a_burst_in_two_forms():
    answers = asking(QUOTE, QUOTE, QUOTE, pause=0.1)

    assert "Global Quote" in answers[0]
    assert answers[1].keys() == {"Information"}
    assert "1 request per second" in answers[1]["Information"]
    assert "25 requests per day" in answers[1]["Information"]
    assert answers[2].keys() == {"Note"}
    assert "calls per minute" in answers[2]["Note"]


def test_a_second_later_is_soon_enough_and_a_burst_costs_nothing_of_the_day():
    answers = asking(*[QUOTE] * 14, pause=0.5, requests_per_day=7)

    assert ["Global Quote" in answer for answer in answers] == [True, False] * 7


def test_the_26th_request_of_a_day_is_refused_in_two_forms_and_the_next_day_answers():
    answers = asking(*[QUOTE] * 28, pause=3.0, day_seconds=81.0)

    assert all("Global Quote" in answer for answer in answers[:25])
    assert "rate limit is 25 requests per day" in answers[25]["Information"]
    assert "instantly remove all daily rate limits" in answers[25]["Information"]
    assert "detected your API key as K and" in answers[26]["Information"]
    assert "Global Quote" in answers[27]


def test_each_key_has_a_quota_of_its_own():
    answers = asking(QUOTE, QUOTE.replace("=K", "=L"), pause=0.01)

    assert all("Global Quote" in answer for answer in answers)


@pytest.mark.parametrize(
    ("query", "key", "words"),
    [
        ("function=GLOBAL_QUOTE&symbol=AAPL", "Error Message", "apikey is invalid or missing"),
        ("function=GLOBAL_QUOTE&symbol=AAPL&apikey=", "Error Message", "apikey is invalid"),
        ("function=GLOBAL_QUOTE&symbol=AAPL&apikey=wrong", "Error Message", "apikey is invalid"),
        ("function=GLOBAL_QUOTE&apikey=K", "Error Message", "Invalid API call"),
        ("function=NOPE&apikey=K", "Error Message", "This API function (NOPE) does not exist"),
        ("function=TIME_SERIES_INTRADAY&symbol=A&apikey=K", "Information", "premium endpoint"),
        ("function=GLOBAL_QUOTE&symbol=AAPL&apikey=demo", "Information", "demo purposes only"),
        ("function=NEWS_SENTIMENT&apikey=K&sort=UPWARDS", "Information", "Invalid inputs"),
        ("function=NEWS_SENTIMENT&apikey=K&tickers=a%20b", "Information", "Invalid inputs"),
        ("function=NEWS_SENTIMENT&apikey=K&limit=1001", "Information", "Invalid inputs"),
        ("function=NEWS_SENTIMENT&apikey=K&time_from=2024", "Information", "Invalid inputs"),
    ],
)
def test_each_error_has_its_key_and_words(query, key, words):
    answer = asking(query, keys=("K",))[0]

    assert answer.keys() == {key}
    assert words in answer[key]


@pytest.mark.parametrize(
    ("kind", "key", "words"),
    [
        ("burst", "Information", "1 request per second"),
        ("burst_note", "Note", "5 calls per minute"),
        ("daily", "Information", "25 requests per day"),
        ("daily_key", "Information", "your API key as K"),
        ("premium", "Information", "premium endpoint"),
        ("bad_key", "Error Message", "apikey is invalid"),
        ("bad_symbol", "Error Message", "for GLOBAL_QUOTE"),
        ("demo", "Information", "demo purposes"),
    ],
)
def test_each_error_can_be_switched_on(kind, key, words):
    answer = asking(QUOTE, fault=kind)[0]

    assert answer.keys() == {key}
    assert words in answer[key]


def test_news_is_the_venues_shape_with_scores_as_it_has_them():
    answer = asking(NEWS)[0]

    assert answer["items"] == str(len(answer["feed"]))
    assert answer["feed"]
    for item in answer["feed"]:
        assert re.fullmatch(r"\d{8}T\d{6}", item["time_published"])
        assert isinstance(item["overall_sentiment_score"], int | float)
        assert all(isinstance(t["ticker_sentiment_score"], str) for t in item["ticker_sentiment"])
        assert item["authors"][0].startswith("canary-author-")
        assert "nvented sample item" in item["summary"]
    times = [item["time_published"] for item in answer["feed"]]
    assert times == sorted(times, reverse=True)


def test_tickers_are_all_of_them_and_topics_narrow():
    both, one, chain = asking(
        NEWS + "&tickers=CRYPTO:BTC,CRYPTO:ETH", NEWS + "&tickers=AAPL", NEWS + "&topics=blockchain"
    )

    def tickers(answer):
        return [{t["ticker"] for t in item["ticker_sentiment"]} for item in answer["feed"]]

    assert tickers(both)
    assert all({"CRYPTO:BTC", "CRYPTO:ETH"} <= found for found in tickers(both))
    assert tickers(one)
    assert all("AAPL" in found for found in tickers(one))
    assert all(any(t.startswith("CRYPTO:") for t in found) for found in tickers(chain))


def test_times_bound_the_news_and_sort_turns_it():
    whole = asking(NEWS)[0]["feed"]
    middle = whole[len(whole) // 2]["time_published"][:13]

    late, early, turned = asking(
        f"{NEWS}&time_from={middle}", f"{NEWS}&time_to={middle}", f"{NEWS}&sort=EARLIEST"
    )

    assert all(item["time_published"] >= middle + "00" for item in late["feed"])
    assert all(item["time_published"] <= middle + "00" for item in early["feed"])
    assert len(late["feed"]) + len(early["feed"]) >= len(whole)
    turned_times = [item["time_published"] for item in turned["feed"]]
    assert turned_times == sorted(turned_times)


def test_no_news_is_from_the_venues_future():
    answer = asking(f"{NEWS}&time_to=20991231T2359")[0]

    now = "20240808T180000"
    assert ns(OPEN_HOURS) > 0
    assert all(item["time_published"] <= now for item in answer["feed"])


def test_labels_follow_the_scores():
    for item in asking(NEWS)[0]["feed"]:
        score, label = item["overall_sentiment_score"], item["overall_sentiment_label"]
        bearish, neutral = score < -0.15 or score == -0.15, -0.15 < score < 0.15
        assert ("Bearish" in label) == bearish
        assert (label == "Neutral") == neutral
        assert label.startswith("Somewhat") == (not neutral and abs(score) < 0.35)
