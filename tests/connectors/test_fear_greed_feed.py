"""Each value of a mood index is told once, and only values of the index."""

import asyncio
import json

import msgspec
import pytest

from connectors.sources.fear_greed import (
    CnnFearGreedFeed,
    CnnFearGreedSettings,
    FearGreedFeed,
    FearGreedSettings,
)
from connectors.sources.news_files import FEAR_GREED
from operators.messages import SECOND, Mood, Raw
from tests.pages import NOW, QUICK, Pages, inbox, running, until

DAY = 86_400 * SECOND
TODAY = NOW // DAY * DAY
PATHS = {FearGreedFeed: "/fng/", CnnFearGreedFeed: "/index/fearandgreed/graphdata"}


def fng(value="47", at=TODAY, **fields):
    day = {"value": value, "value_classification": "Fear", "timestamp": str(at // SECOND)}
    document = {"name": "Fear and Greed Index", "data": [day], "metadata": {"error": None}}
    return json.dumps(document | fields).encode()


def cnn(score=23.6, timestamp="2024-08-08T23:50:00+00:00", **fields):
    index = {"score": score, "rating": "extreme fear", "timestamp": timestamp}
    return json.dumps({"fear_and_greed": index | fields, "other": []}).encode()


def collect(kind, answers, rounds=3, prepare=None):
    """Run a feed for some rounds; return (moods, feed, pages)."""
    settings = FearGreedSettings if kind is FearGreedFeed else CnnFearGreedSettings
    to = inbox()

    async def run():
        async with Pages({PATHS[kind]: answers}) as pages:
            feed = kind(settings(every_s=0.01, poll=QUICK).at(pages.base))
            if prepare:
                prepare(feed)
            async with running(feed, to):
                await until(lambda: pages.count(PATHS[kind]) > rounds)
            return feed, pages

    feed, pages = asyncio.run(run())
    taken = to.take(100)
    assert {each.kind for each in taken} <= {"mood"}
    return [msgspec.json.decode(each.payload, type=Mood) for each in taken], feed, pages


def test_value_is_told_once():
    moods, feed, pages = collect(FearGreedFeed, fng())

    assert moods == [Mood(source=FEAR_GREED, value=47.0, available_at=NOW)]
    assert feed.health.state == "up"
    assert "date_format" not in pages.asked[0][1]
    assert feed.symbols == ()


def test_new_day_is_told_even_with_the_same_value():
    answers = [fng("47", TODAY - DAY), fng("47", TODAY), fng("47", TODAY - DAY)]
    moods, _, _ = collect(FearGreedFeed, answers, rounds=5)

    assert [mood.value for mood in moods] == [47.0, 47.0]


def test_corrected_value_of_the_same_day_is_told():
    moods, _, _ = collect(FearGreedFeed, [fng("47"), fng("49")])

    assert [mood.value for mood in moods] == [47.0, 49.0]


def test_value_of_the_log_is_not_told_again():
    def prepare(feed):
        for source, value in ((FEAR_GREED, 47.0), ("cnn_fear_greed", 3.0)):
            payload = msgspec.json.encode(Mood(source=source, value=value, available_at=NOW))
            feed.remember(Raw(offset=0, path="m", kind="mood", ts_init=NOW, payload=payload))
        feed.remember(Raw(offset=0, path="m", kind="mood", ts_init=NOW, payload=b"{"))

    answers = [fng("47"), fng("47"), fng("50")]
    moods, _, _ = collect(FearGreedFeed, answers, prepare=prepare)

    assert [mood.value for mood in moods] == [50.0]


@pytest.mark.parametrize(
    "body",
    [
        fng("101"),
        fng("-1"),
        fng("nan"),
        fng("inf"),
        fng("much"),
        fng(None),
        fng(at=NOW + 2 * DAY),
        fng(at=0),
        fng(data=None, metadata={"error": "limit"}),
        fng(data=[]),
        b"",
        b"<html>",
        b"[]",
    ],
)
def test_what_is_no_value_of_the_index_is_counted(body):
    moods, feed, _ = collect(FearGreedFeed, [body, body, fng("50")])

    assert [mood.value for mood in moods] == [50.0]
    assert feed.health.counts["rejected"] == 2
    assert feed.health.state == "up"


def test_index_that_stands_still_is_not_told():
    moods, feed, _ = collect(FearGreedFeed, fng(at=TODAY - 5 * DAY))

    assert moods == []
    assert feed.health.counts["stale"] > 0
    assert "too old" in feed.health.note


def test_cnn_is_asked_as_from_its_page():
    def page(request):
        if request.headers.get("Referer") != "https://edition.cnn.com/":
            return {"status": 418}
        assert request.headers["Origin"] == "https://edition.cnn.com"
        return cnn()

    moods, feed, _ = collect(CnnFearGreedFeed, page)

    assert moods == [Mood(source="cnn_fear_greed", value=23.6, available_at=NOW)]
    assert feed.health.counts["banned"] == 0


def test_cnn_times_of_both_forms():
    answers = [cnn(20, (NOW - 60 * SECOND) // 10**6), cnn(21, "2024-08-08T23:54:00.123Z")]
    moods, _, _ = collect(CnnFearGreedFeed, answers)

    assert [mood.value for mood in moods] == [20.0, 21.0]


def test_cnn_that_refuses_is_cut_and_counted():
    moods, feed, _ = collect(CnnFearGreedFeed, {"status": 418})

    assert moods == []
    assert feed.health.state == "cut"
    assert feed.health.counts["banned"] > 0
