"""Binance's REST market data: /api/v3/..., with its weights, limits and errors.

Only what has happened by the venue's time is told, never what the recording holds beyond it.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from exchange.binance_limits import Limits
from exchange.instruments import AggregateTrade, Instrument, SoldTrade
from exchange.klines import INTERVALS, candles, decimal, kline_row
from exchange.market import base_and_quote
from exchange.recordings import units

if TYPE_CHECKING:
    from exchange.app import Venue

__all__ = ["routes"]

_MOST = 1000
_USUAL = 500


class _BadRequestError(Exception):
    """A request is refused with HTTP 400, Binance's code and message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def routes(venue: "Venue") -> list[web.RouteDef]:
    """Give the routes of Binance's REST API."""
    limits = Limits(venue.settings.binance, venue.rules)
    made: list[web.RouteDef] = []
    for path, weight, answer in (
        ("ping", 1, _ping),
        ("time", 1, _time),
        ("exchangeInfo", 20, _exchange_info),
        ("aggTrades", 4, _agg_trades),
        ("historicalTrades", 25, _historical_trades),
        ("trades", 25, _trades),
        ("klines", 2, _klines),
    ):
        made.append(web.get(f"/api/v3/{path}", _handler(venue, limits, weight, answer)))
    return made


def _json(told: Any, status: int = 200) -> web.Response:
    body = msgspec.json.encode(told)
    return web.Response(body=body, status=status, content_type="application/json")


def _handler(
    venue: "Venue",
    limits: Limits,
    weight: int,
    answer: Callable[["Venue", Mapping[str, str]], Any],
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        venue.rules.count("binance_requests")
        address = request.remote or ""
        now = time.monotonic()
        refused = limits.take(address, weight, now)
        if refused is not None:
            status, seconds = refused
            message = "Too many requests." if status == 429 else "Way too many requests; banned."
            response = _json({"code": -1003, "msg": message}, status)
            response.headers["Retry-After"] = str(seconds)
        else:
            try:
                response = _json(answer(venue, request.query))
            except _BadRequestError as bad:
                venue.rules.count("binance_bad_requests")
                response = _json({"code": bad.code, "msg": str(bad)}, 400)
        used = str(limits.used(address, now))
        response.headers["X-MBX-USED-WEIGHT"] = used
        response.headers["X-MBX-USED-WEIGHT-1M"] = used
        return response

    return handle


# Parameters.


def _instrument(venue: "Venue", query: Mapping[str, str]) -> Instrument:
    symbol = query.get("symbol")
    if not symbol:
        raise _BadRequestError(
            -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."
        )
    if symbol not in venue.market.instruments:
        raise _BadRequestError(-1121, "Invalid symbol.")
    return venue.market.instruments[symbol]


def _integer(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 19:
        raise _BadRequestError(
            -1100,
            f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.",
        )
    return int(text)


def _limit(query: Mapping[str, str]) -> int:
    limit = _integer(query, "limit")
    if limit is None:
        return _USUAL
    if not 1 <= limit <= _MOST:
        raise _BadRequestError(-1130, "Data sent for parameter 'limit' is not valid.")
    return limit


def _times(query: Mapping[str, str]) -> tuple[int | None, int | None]:
    start, end = _integer(query, "startTime"), _integer(query, "endTime")
    if start is not None and end is not None and start > end:
        raise _BadRequestError(-1127, "Start time is greater than end time.")
    return start, end


# Answers.


def _ping(_: "Venue", __: Mapping[str, str]) -> dict[str, Any]:
    return {}


def _time(venue: "Venue", _: Mapping[str, str]) -> dict[str, int]:
    return {"serverTime": venue.clock.now_ms()}


def _exchange_info(venue: "Venue", query: Mapping[str, str]) -> dict[str, Any]:
    symbols = [_instrument(venue, query).symbol] if "symbol" in query else venue.market.instruments
    rows = []
    for symbol in symbols:
        base, quote = base_and_quote(symbol)
        rows.append(
            {
                "symbol": symbol,
                "status": "TRADING",
                "baseAsset": base,
                "baseAssetPrecision": 8,
                "quoteAsset": quote,
                "quotePrecision": 8,
                "orderTypes": ["LIMIT", "MARKET"],
                "isSpotTradingAllowed": True,
                "isMarginTradingAllowed": False,
                "filters": [],
                "permissions": ["SPOT"],
            }
        )
    weight = {
        "rateLimitType": "REQUEST_WEIGHT",
        "interval": "MINUTE",
        "intervalNum": 1,
        "limit": venue.settings.binance.weight_per_minute,
    }
    return {
        "timezone": "UTC",
        "serverTime": venue.clock.now_ms(),
        "rateLimits": [weight],
        "exchangeFilters": [],
        "symbols": rows,
    }


def _agg_trades(venue: "Venue", query: Mapping[str, str]) -> list[dict[str, Any]]:
    instrument, limit = _instrument(venue, query), _limit(query)
    (start, end), from_id = _times(query), _integer(query, "fromId")
    if from_id is not None and (start is not None or end is not None):
        raise _BadRequestError(-1128, "Combination of optional parameters invalid.")
    visible = instrument.aggregates_of(instrument.trades_until(venue.clock.position()))
    after = visible
    if end is not None:
        after = instrument.aggregates_before_ms(end + 1, visible)
    if from_id is not None:
        first = instrument.aggregates_before_id(from_id, visible)
    elif start is not None:
        first = instrument.aggregates_before_ms(start, visible)
    else:
        first = max(0, after - limit)
    rows = map(instrument.aggregate, range(first, min(after, first + limit)))
    return [_aggregate_row(row) for row in rows]


def _aggregate_row(one: AggregateTrade) -> dict[str, Any]:
    return {
        "a": one.id,
        "p": one.price,
        "q": decimal(one.units),
        "f": one.first,
        "l": one.last,
        "T": one.time_ms,
        "m": one.maker,
        "M": True,
    }


def _historical_trades(venue: "Venue", query: Mapping[str, str]) -> list[dict[str, Any]]:
    return _trade_rows(venue, query, _integer(query, "fromId"))


def _trades(venue: "Venue", query: Mapping[str, str]) -> list[dict[str, Any]]:
    return _trade_rows(venue, query, None)


def _trade_rows(
    venue: "Venue", query: Mapping[str, str], from_id: int | None
) -> list[dict[str, Any]]:
    instrument, limit = _instrument(venue, query), _limit(query)
    visible = instrument.trades_until(venue.clock.position())
    first = max(0, visible - limit)
    if from_id is not None:
        first = instrument.trades_before_id(from_id, visible)
    rows = map(instrument.trade, range(first, min(visible, first + limit)))
    return [_trade_row(row) for row in rows]


def _trade_row(one: SoldTrade) -> dict[str, Any]:
    notional = units(one.price.encode()) * units(one.quantity.encode())
    return {
        "id": one.id,
        "price": one.price,
        "qty": one.quantity,
        "quoteQty": decimal(notional // 100_000_000),
        "time": one.time_ms,
        "isBuyerMaker": one.maker,
        "isBestMatch": True,
    }


def _klines(venue: "Venue", query: Mapping[str, str]) -> list[list[int | str]]:
    instrument, limit = _instrument(venue, query), _limit(query)
    interval = query.get("interval", "")
    if interval not in INTERVALS:
        raise _BadRequestError(-1120, "Invalid interval.")
    start, end = _times(query)
    position = venue.clock.position()
    made = candles(
        instrument,
        INTERVALS[interval],
        instrument.trades_until(position),
        venue.clock.now_ms(),
        start_ms=start,
        end_ms=end,
        limit=limit,
    )
    return [kline_row(one) for one in made]
