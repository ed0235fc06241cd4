"""CoinDesk Data's news list: `GET /news/v1/article/list?lang=EN&limit=N`.

Also `to_ts` (articles up to a UNIX second, for paging), `categories` and `exclude_categories`.
The items are invented and say so. Faults are those of endpoint "coindesk".
"""

from typing import Any

from aiohttp import web

from exchange.app import Venue
from exchange.corpus import DISCLAIMER, Item, newsroom
from exchange.delivery import deliver_json

__all__ = ["routes"]

_PATH = "/news/v1/article/list"
_MOST = 100
_LANGUAGES = frozenset(["EN", "ES", "TR", "FR", "JP", "PT"])
SECOND = 1_000_000_000


def _article(item: Item) -> dict[str, Any]:
    mood = item.story.sentiment
    return {
        "TYPE": "121",
        "ID": 40_000_000 + item.number,
        "GUID": f"https://coindesk.example.com/?p={item.number}",
        "PUBLISHED_ON": item.seconds,
        "IMAGE_URL": f"https://images.example.com/{item.story.key}.jpeg",
        "TITLE": item.title,
        "SUBTITLE": None,
        "AUTHORS": item.author,
        "URL": f"https://coindesk.example.com/{item.story.key}?utm_source=sample&id={item.number}",
        "SOURCE_ID": 5,
        "BODY": f"{item.story.body} ({DISCLAIMER})",
        "KEYWORDS": "|".join(["Sample", *item.story.categories]),
        "LANG": "EN",
        "UPVOTES": 0,
        "DOWNVOTES": 0,
        "SCORE": 0,
        "SENTIMENT": "POSITIVE" if mood > 0.2 else "NEGATIVE" if mood < -0.2 else "NEUTRAL",
        "STATUS": "ACTIVE",
        "CREATED_ON": item.seconds + 1,
        "UPDATED_ON": None,
        "SOURCE_DATA": {
            "TYPE": "120",
            "ID": 5,
            "SOURCE_KEY": "samplecoindesk",
            "NAME": "Sample Coin Desk",
            "URL": "https://coindesk.example.com/rss",
            "LANG": "EN",
            "SOURCE_TYPE": "RSS",
            "STATUS": "ACTIVE",
        },
        "CATEGORY_DATA": [
            {"TYPE": "122", "ID": place + 1, "NAME": name, "CATEGORY": name}
            for place, name in enumerate(item.story.categories)
        ],
    }


def routes(venue: Venue) -> list[web.RouteDef]:
    """Serve the list."""

    async def answer(request: web.Request) -> web.StreamResponse:
        asked = request.query
        wrong = _wrong(asked.get("limit", "50"), asked.get("lang", "EN"), asked.get("to_ts", "-1"))
        if wrong is not None:
            name, value, why = wrong
            error = {
                "type": 2,
                "message": f"{name} parameter. {why}",
                "other_info": {"param": name, "values": [value]},
            }
            return await deliver_json(
                request, venue, "coindesk", {"Data": {}, "Err": error}, status=400
            )
        now = venue.clock.now()
        until = int(asked.get("to_ts", "-1"))
        if until >= 0:
            now = min(now, until * SECOND + SECOND - 1)
        # All items are in English; another language has none.
        limit = int(asked.get("limit", "50")) if asked.get("lang", "EN") == "EN" else 0
        found = newsroom(venue).items(now, "coindesk", 100_000) if limit else []
        wanted = set(filter(None, asked.get("categories", "").split(",")))
        unwanted = set(filter(None, asked.get("exclude_categories", "").split(",")))
        articles = [
            _article(item)
            for item in found
            if (not wanted or wanted & set(item.story.categories))
            and not unwanted & set(item.story.categories)
        ]
        body = {"Data": articles[:limit], "Err": {}}
        return await deliver_json(request, venue, "coindesk", body)

    return [web.get(_PATH, answer)]


def _wrong(limit: str, lang: str, until: str) -> tuple[str, str, str] | None:
    """Name the first parameter that is wrong, its value, and why."""
    if not limit.isdecimal() or not 1 <= int(limit) <= _MOST:
        return "limit", limit, f"Must be an integer between 1 and {_MOST}"
    if lang not in _LANGUAGES:
        return "lang", lang, f"Must be one of {', '.join(sorted(_LANGUAGES))}"
    if not until.removeprefix("-").isdecimal():
        return "to_ts", until, "Must be a unix timestamp"
    return None
