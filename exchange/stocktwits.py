"""StockTwits' symbol streams: `GET /api/2/streams/symbol/{SYM}.json`.

Thirty messages a page, the newest first; `max` gives those with ids up to it, `since` those
above it. 200 requests an hour by address, then 429. Most messages have no sentiment: it is null
in one of its forms. The messages are invented. Faults are those of endpoint "stocktwits".
"""

from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from exchange.app import Venue
from exchange.client_limits import ClientLimit
from exchange.corpus import Item, newsroom, read_stories
from exchange.delivery import deliver_json
from exchange.parts import settings_of

__all__ = ["StockTwitsSettings", "routes"]

_PAGE = 30
_FIRST_ID = 600_000_000  # ids are dense over all symbols, as the real ones nearly are


class StockTwitsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client may ask."""

    requests: int = 200  # the venue's limit for clients without a token
    window_seconds: float = 3600.0  # real time


def _message(item: Item, symbols: dict[str, int]) -> dict[str, Any]:
    mood = item.story.sentiment
    label = {"basic": "Bullish" if mood > 0 else "Bearish"} if abs(mood) >= 0.3 else None
    # A message without a label has been seen in these three forms.
    bare: tuple[dict[str, Any], ...] = ({"sentiment": None}, {}, {"sentiment": {"basic": None}})
    entities = bare[item.number // 7 % 3] if label is None else {"sentiment": label}
    return {
        "id": _FIRST_ID + item.number,
        "body": item.title,
        "created_at": datetime.fromtimestamp(item.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "user": {
            "id": item.number % 10_000,
            "username": item.author,
            "name": item.author,
            "followers": 0,
        },
        "source": {"id": 2269, "title": "StockTwits Web", "url": "https://stocktwits.com"},
        "symbols": [{"id": symbols[tag], "symbol": tag} for tag in item.story.cashtags],
        "likes": {"total": 0, "user_ids": []},
        "entities": entities,
    }


def routes(venue: Venue) -> list[web.RouteDef]:
    """Serve the streams."""
    settings = settings_of(venue, StockTwitsSettings)
    limit = ClientLimit(venue, "stocktwits", settings.requests, settings.window_seconds)
    tags = sorted({tag for story in read_stories() for tag in story.cashtags})
    symbols = {tag: 10_000 + place for place, tag in enumerate(tags)}

    async def answer(request: web.Request) -> web.StreamResponse:
        if not limit.take(request.remote or ""):
            most = f"Client may not make more than {limit.limit} requests an hour."
            return await _refuse(request, 429, f"Rate limit exceeded. {most}")
        symbol = request.match_info["symbol"].upper()
        if symbol not in symbols:
            return await _refuse(request, 404, "Symbol not found")
        newest, since = request.query.get("max", ""), request.query.get("since", "")
        if not (newest or "0").isdecimal() or not (since or "0").isdecimal():
            return await _refuse(request, 400, "max and since are message ids")
        found = [
            item
            for item in newsroom(venue).items(venue.clock.now(), "stocktwits", 100_000)
            if symbol in item.story.cashtags
            and (not newest or _FIRST_ID + item.number <= int(newest))
            and (not since or _FIRST_ID + item.number > int(since))
        ]
        page = [_message(item, symbols) for item in found[:_PAGE]]
        body = {
            "response": {"status": 200},
            "symbol": {"id": symbols[symbol], "symbol": symbol, "title": f"{symbol} (sample)"},
            "cursor": {
                "more": len(found) > _PAGE,
                "since": page[0]["id"] if page else None,
                "max": page[-1]["id"] if page else None,
            },
            "messages": page,
        }
        return await deliver_json(request, venue, "stocktwits", body)

    async def _refuse(request: web.Request, status: int, message: str) -> web.StreamResponse:
        body = {"response": {"status": status}, "errors": [{"message": message}]}
        return await deliver_json(request, venue, "stocktwits", body, status=status)

    return [web.get("/api/2/streams/symbol/{symbol}.json", answer)]
