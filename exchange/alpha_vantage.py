"""Alpha Vantage: `GET /query?function=GLOBAL_QUOTE|NEWS_SENTIMENT&...&apikey=K`.

- GLOBAL_QUOTE of the recorded shares (`exchange.share_prices`), the day's numbers so far; an
  unknown symbol gives an empty object.
- NEWS_SENTIMENT over the invented items.
- Errors are HTTP 200 in the venue's words (`exchange.alpha_vantage_answers`): no or wrong key,
  unknown function, missing symbol, premium function, the key "demo" beyond its examples, more
  than one request a second (in turn as "Information" and as "Note"), more than 25 a day (in
  turn in two forms, one of which repeats the key). A request that is refused for the burst does
  not count for the day. Each can be switched on as a fault of endpoint "alpha_vantage".

The real venue gives free keys the end of day's quote, and the running day's only against money;
here every key gets the running day's.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from aiohttp import web

from exchange import alpha_vantage_answers as answers
from exchange.alpha_vantage_news import news_sentiment
from exchange.app import Venue
from exchange.corpus import newsroom
from exchange.delivery import deliver_json
from exchange.news_faults import faults_of
from exchange.parts import settings_of
from exchange.prices import Prices, prices_of
from exchange.prints import Print
from exchange.rules import RollingWindow

__all__ = ["AlphaVantageSettings", "routes"]

SECOND = 1_000_000_000
_PREMIUM = frozenset([
    "REALTIME_BULK_QUOTES", "TIME_SERIES_INTRADAY", "TIME_SERIES_DAILY_ADJUSTED", "FX_INTRADAY",
    "CRYPTO_INTRADAY", "REALTIME_OPTIONS",
])  # fmt: skip
_FIVE_HOURS = timedelta(hours=5)  # the trading day of a moment is told by New York's date


class AlphaVantageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The free tier's limits, and whose keys hold. Times are real ones."""

    requests_per_second: int = 1
    requests_per_day: int = 25
    # Shorter days let a test, or a demo, see the quota come back.
    day_seconds: float = 86_400.0
    # Keys that hold; empty: any that is not empty, as at the venue.
    keys: tuple[str, ...] = ()


class _Quota:
    """What one key has used."""

    def __init__(self, settings: AlphaVantageSettings) -> None:
        self._settings = settings
        self._second = RollingWindow(settings.requests_per_second, 1.0)
        self._day = -1
        self._used = 0
        self._refused = {"burst": 0, "daily": 0}

    def take(self, now: float, key: str) -> dict[str, str] | None:
        """Take a request at `now` (real seconds); the venue's refusal where none is left."""
        day = int(now // self._settings.day_seconds)
        if day != self._day:
            self._day, self._used = day, 0
        if not self._second.take(now):
            return self._in_turn("burst", key)
        if self._used >= self._settings.requests_per_day:
            return self._in_turn("daily", key)
        self._used += 1
        return None

    def _in_turn(self, kind: str, key: str) -> dict[str, str]:
        self._refused[kind] += 1
        first = self._refused[kind] % 2 == 1
        return _refusal(kind if first else _OTHER_FORM[kind], self._settings, key, "")


_OTHER_FORM = {"burst": "burst_note", "daily": "daily_key"}


def _refusal(kind: str, settings: AlphaVantageSettings, key: str, function: str) -> dict[str, str]:
    day = settings.requests_per_day
    return {
        "burst": answers.burst(settings.requests_per_second, day),
        "burst_note": answers.burst_note(),
        "daily": answers.daily(day),
        "daily_key": answers.daily_key(day, key),
        "premium": answers.premium(),
        "bad_key": answers.bad_key(),
        "bad_symbol": answers.bad_call(function),
        "demo": answers.demo(),
    }[kind]


def _quote(symbol: str, seen: Print | None) -> dict[str, Any]:
    if seen is None:
        return {"Global Quote": {}}
    day = (datetime.fromtimestamp(seen.ts // SECOND, UTC) - _FIVE_HOURS).date()
    change = seen.price - seen.previous_close
    return {
        "Global Quote": {
            "01. symbol": symbol,
            "02. open": f"{seen.day_open:.4f}",
            "03. high": f"{seen.day_high:.4f}",
            "04. low": f"{seen.day_low:.4f}",
            "05. price": f"{seen.price:.4f}",
            "06. volume": str(seen.day_volume),
            "07. latest trading day": day.isoformat(),
            "08. previous close": f"{seen.previous_close:.4f}",
            "09. change": f"{change:.4f}",
            "10. change percent": f"{100 * change / seen.previous_close:.4f}%",
        }
    }


class _AlphaVantage:
    """The endpoint of one venue."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._settings = settings_of(venue, AlphaVantageSettings)
        self._prices: Prices | None = None  # read for the first client
        self._quotas: dict[str, _Quota] = {}

    async def query(self, request: web.Request) -> web.StreamResponse:
        if self._prices is None:
            self._prices = await prices_of(self._venue)
        body = self._body(request, self._prices)
        return await deliver_json(request, self._venue, "alpha_vantage", body)

    def _body(self, request: web.Request, prices: Prices) -> dict[str, Any]:
        asked = request.query
        key, function = asked.get("apikey", ""), asked.get("function", "")
        fault = faults_of(self._venue).on("alpha_vantage")
        if fault is not None and fault.kind in _FORCED:
            return dict(_refusal(fault.kind, self._settings, key, function))
        if not key or (self._settings.keys and key not in {*self._settings.keys, "demo"}):
            self._venue.rules.breach("alpha_vantage_key")
            return dict(answers.bad_key())
        example = function == "NEWS_SENTIMENT" and asked.get("tickers") == "AAPL"
        if key == "demo" and not example and asked.get("symbol") != "IBM":
            return dict(answers.demo())
        if key != "demo":
            quota = self._quotas.setdefault(key, _Quota(self._settings))
            refused = quota.take(self._venue.clock.real_elapsed() / SECOND, key)
            if refused is not None:
                self._venue.rules.breach("alpha_vantage_limit")
                return dict(refused)
        return self._function(function, asked, prices)

    def _function(self, function: str, asked: Mapping[str, str], prices: Prices) -> dict[str, Any]:
        now, symbol = self._venue.clock.now(), asked.get("symbol", "")
        if function in _PREMIUM:
            return dict(answers.premium())
        if function == "NEWS_SENTIMENT":
            return news_sentiment(asked, newsroom(self._venue), now)
        if function != "GLOBAL_QUOTE":
            return dict(answers.no_function(function))
        if not symbol:
            return dict(answers.bad_call(function))
        return _quote(symbol, prices.last_share(symbol, now))


_FORCED = frozenset(
    ["burst", "burst_note", "daily", "daily_key", "premium", "bad_key", "bad_symbol", "demo"]
)


def routes(venue: Venue) -> list[web.RouteDef]:
    """Serve the query endpoint."""
    return [web.get("/query", _AlphaVantage(venue).query)]
