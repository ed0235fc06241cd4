"""The Fear & Greed indices, from the recorded days of `data/mood`.

- alternative.me: `GET /fng/?limit=N` (1; 0 is all): values as strings, newest first, of each day
  that has begun by the venue's clock; the newest tells the seconds until the next.
  `date_format` turns its timestamps into dates, as at the venue; 600 requests in 10 minutes.
- CNN: `GET /index/fearandgreed/graphdata[/{date}]`: 418 unless Referer and Origin are CNN's. CNN's
  own index is of shares and not recorded here: the same days of the crypto index are served in
  its form.

Where the venue's clock is outside the recorded days, they are shifted by whole days so that the
last recorded one is the venue's today. Faults are those of "fear_greed" and "cnn".
"""

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from aiohttp import web

from exchange.app import Venue
from exchange.client_limits import ClientLimit
from exchange.delivery import deliver_json

__all__ = ["routes"]

FOLDER = Path(__file__).parents[1] / "data/mood"
SECOND = 1_000_000_000
_DAY = 86_400
_FORMS = {"us": "%m-%d-%Y", "cn": "%Y/%m/%d", "kr": "%Y.%m.%d", "world": "%d-%m-%Y"}


class _Day(NamedTuple):
    timestamp: int  # its midnight, UNIX seconds UTC
    value: int
    classification: str


def _recorded(folder: Path = FOLDER) -> list[_Day]:
    days: dict[int, _Day] = {}
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="") as lines:
            for row in csv.DictReader(lines):
                begun = int(row["timestamp"])
                days[begun] = _Day(begun, round(float(row["value"])), row["classification"])
    if not days:
        raise FileNotFoundError(f"{folder} holds no day of the Fear & Greed index")
    return [days[begun] for begun in sorted(days)]


def _until(days: list[_Day], now: int) -> list[_Day]:
    """Return the days that have begun by `now` (UNIX seconds), the newest first."""
    today = now // _DAY * _DAY
    first, last = days[0].timestamp, days[-1].timestamp
    shift = 0 if first <= today <= last else today - last // _DAY * _DAY
    shown = [day._replace(timestamp=day.timestamp + shift) for day in days]
    return [day for day in reversed(shown) if day.timestamp <= now]


def routes(venue: Venue) -> list[web.RouteDef]:
    """Serve both indices."""
    days = _recorded()
    limit = ClientLimit(venue, "fear_greed", 600, 600.0)

    def now() -> int:
        return venue.clock.now() // SECOND

    async def alternative(request: web.Request) -> web.StreamResponse:
        if not limit.take(request.remote or ""):
            body = _fng([], "Too many requests.")
            return await deliver_json(request, venue, "fear_greed", body, status=429)
        asked = request.query.get("limit", "1")
        if not asked.isdecimal():
            body = _fng([], "limit must be a number")
            return await deliver_json(request, venue, "fear_greed", body, status=400)
        shown = _until(days, now())[: int(asked) or None]
        form = _FORMS.get(request.query.get("date_format", ""))
        rows = [
            {
                "value": str(day.value),
                "value_classification": day.classification,
                "timestamp": _date(day, form),
            }
            for day in shown
        ]
        if rows and form is None:
            rows[0]["time_until_update"] = str(max(0, shown[0].timestamp + _DAY - now()))
        return await deliver_json(request, venue, "fear_greed", _fng(rows, None))

    async def cnn(request: web.Request) -> web.StreamResponse:
        if not all(_of_cnn(request.headers.get(name, "")) for name in ("Referer", "Origin")):
            venue.rules.count("cnn_teapots")
            return web.Response(status=418, text="I'm a teapot. You're a bot.")
        return await deliver_json(request, venue, "cnn", _graph(_until(days, now()), now()))

    path = "/index/fearandgreed/graphdata"
    return [
        web.get("/fng/", alternative),
        web.get("/fng", alternative),
        web.get(path, cnn),
        web.get(path + "/{date}", cnn),
    ]


def _fng(rows: list[dict[str, str]], error: str | None) -> dict[str, Any]:
    return {"name": "Fear and Greed Index", "data": rows, "metadata": {"error": error}}


def _date(day: _Day, form: str | None) -> str:
    if form is None:
        return str(day.timestamp)
    return datetime.fromtimestamp(day.timestamp, UTC).strftime(form)


def _of_cnn(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host == "cnn.com" or host.endswith(".cnn.com")


def _graph(shown: list[_Day], now: int) -> dict[str, Any]:
    def before(days: int) -> float:
        old = [day for day in shown if day.timestamp <= now - days * _DAY]
        return float((old or shown[-1:])[0].value)

    newest = shown[0]
    told = datetime.fromtimestamp(now, UTC) - timedelta(seconds=now % 60)
    rating = newest.classification.lower()
    history = [
        {"x": day.timestamp * 1000.0, "y": float(day.value), "rating": day.classification.lower()}
        for day in reversed(shown)
    ]
    return {
        "fear_and_greed": {
            "score": float(newest.value),
            "rating": rating,
            "timestamp": told.isoformat(),
            "previous_close": before(1),
            "previous_1_week": before(7),
            "previous_1_month": before(30),
            "previous_1_year": before(365),
        },
        "fear_and_greed_historical": {
            "timestamp": now * 1000.0,
            "score": float(newest.value),
            "rating": rating,
            "data": history,
        },
    }
