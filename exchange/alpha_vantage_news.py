"""Alpha Vantage's NEWS_SENTIMENT over the invented items.

Scores are what the items' writer meant, so they are invented too.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from exchange.alpha_vantage_answers import invalid_inputs
from exchange.corpus import DISCLAIMER, Item, Newsroom

__all__ = ["news_sentiment"]

SECOND = 1_000_000_000
_MOST = 1000
_TICKER = re.compile(r"(CRYPTO:|FOREX:)?[A-Z0-9.\-]{1,10}")
_TOPICS = frozenset([
    "blockchain", "earnings", "ipo", "mergers_and_acquisitions", "financial_markets",
    "economy_fiscal", "economy_monetary", "economy_macro", "energy_transportation", "finance",
    "life_sciences", "manufacturing", "real_estate", "retail_wholesale", "technology",
])  # fmt: skip
_SORTS = frozenset(["LATEST", "EARLIEST", "RELEVANCE"])
_SCORES = (
    "x <= -0.35: Bearish; -0.35 < x <= -0.15: Somewhat-Bearish; -0.15 < x < 0.15: Neutral; "
    "0.15 <= x < 0.35: Somewhat_Bullish; x >= 0.35: Bullish"
)
_RELEVANCE = "0 < x <= 1, with a higher score indicating higher relevance."


def _label(score: float) -> str:
    bounds = ((-0.35, "Bearish"), (-0.15, "Somewhat-Bearish"), (0.1499, "Neutral"))
    for most, label in bounds:
        if score <= most:
            return label
    return "Somewhat-Bullish" if score < 0.35 else "Bullish"


def _topics(item: Item) -> list[str]:
    crypto = any(ticker.startswith("CRYPTO:") for ticker in item.story.tickers)
    return ["blockchain", "financial_markets"] if crypto else ["financial_markets", "technology"]


def _entry(item: Item) -> dict[str, Any]:
    score = item.story.sentiment
    return {
        "title": item.title,
        "url": f"https://newswire.example.com/{item.story.key}-{item.number}",
        "time_published": datetime.fromtimestamp(item.seconds, UTC).strftime("%Y%m%dT%H%M%S"),
        "authors": [item.author],
        "summary": f"{item.story.body} ({DISCLAIMER})",
        "banner_image": None,
        "source": "Sample Newswire",
        "category_within_source": "n/a",
        "source_domain": "newswire.example.com",
        "topics": [{"topic": name, "relevance_score": "0.5"} for name in _topics(item)],
        "overall_sentiment_score": score,
        "overall_sentiment_label": _label(score),
        "ticker_sentiment": [
            {
                "ticker": ticker,
                "relevance_score": f"{1 / (1 + place):.6f}",
                "ticker_sentiment_score": f"{score:.6f}",
                "ticker_sentiment_label": _label(score),
            }
            for place, ticker in enumerate(item.story.tickers)
        ],
    }


def _moment(text: str) -> int | None:
    """Read YYYYMMDDTHHMM as ns."""
    try:
        found = datetime.strptime(text, "%Y%m%dT%H%M").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(found.timestamp()) * SECOND


def news_sentiment(asked: Mapping[str, str], room: Newsroom, now: int) -> dict[str, Any]:
    """Answer a NEWS_SENTIMENT request; `now` is the venue's time in ns."""
    tickers = [t for t in asked.get("tickers", "").split(",") if t]
    topics = [t for t in asked.get("topics", "").split(",") if t]
    sort, limit = asked.get("sort", "LATEST"), asked.get("limit", "50")
    spans = [_moment(asked[name]) for name in ("time_from", "time_to") if name in asked]
    if (
        not all(_TICKER.fullmatch(ticker) for ticker in tickers)
        or not _TOPICS.issuperset(topics)
        or sort not in _SORTS
        or not limit.isdecimal()
        or not 1 <= int(limit) <= _MOST
        or None in spans
    ):
        return dict(invalid_inputs())
    begin = (_moment(asked["time_from"]) if "time_from" in asked else None) or 0
    end = (_moment(asked["time_to"]) if "time_to" in asked else None) or now
    found = [
        item
        for item in room.items(min(now, end), "alpha_vantage", 100_000)
        # All that are asked for have to be in an item.
        if item.ts >= begin
        and set(tickers) <= set(item.story.tickers)
        and set(topics) <= set(_topics(item))
    ]
    if sort == "EARLIEST":
        found.reverse()
    elif sort == "RELEVANCE" and tickers:
        found.sort(key=lambda item: item.story.tickers.index(tickers[0]))
    feed = [_entry(item) for item in found[: int(limit)]]
    return {
        "items": str(len(feed)),
        "sentiment_score_definition": _SCORES,
        "relevance_score_definition": _RELEVANCE,
        "feed": feed,
    }
