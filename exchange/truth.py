"""What the venue knows about itself: what it sent or would have sent, rules broken, faults.

These routes are for tests, drills and people; no venue has them, and no fault strikes them.
"""

from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from exchange.clock import MILLISECOND
from exchange.faults import FaultError, fault_from_json
from exchange.instruments import Instrument
from exchange.rest_faults import CONTROL

if TYPE_CHECKING:
    from exchange.app import Venue

__all__ = ["routes", "summary", "truth"]


def truth(
    venue: "Venue", symbol: str, from_ms: int | None = None, to_ms: int | None = None
) -> list[list[Any]]:
    """Tell the trades of `symbol` that happened in [from_ms, to_ms), up to now.

    Rows are [id, T, price, quantity, buyer is maker], the decimals as they are sent.

    Raises:
        KeyError: the venue has no such symbol.
    """
    instrument = venue.market.instruments[symbol]
    visible = instrument.trades_until(venue.clock.position())
    first = 0 if from_ms is None else instrument.trades_before_ms(from_ms, visible)
    after = visible if to_ms is None else instrument.trades_before_ms(to_ms, visible)
    rows = (instrument.trade(number) for number in range(first, after))
    return [[row.id, row.time_ms, row.price, row.quantity, row.maker] for row in rows]


def summary(venue: "Venue") -> dict[str, Any]:
    """Tell the venue's time and, by symbol, which trades have happened."""
    position = venue.clock.position()
    return {
        "venue_time_ms": venue.clock.at(position) // MILLISECOND,
        "start_ms": venue.clock.start // MILLISECOND,
        "clock": venue.clock.mode,
        "speed": venue.clock.speed,
        "running": venue.clock.running,
        "ended": venue.market.ended,
        "symbols": {
            symbol: _happened(instrument, position)
            for symbol, instrument in venue.market.instruments.items()
        },
    }


def _happened(instrument: Instrument, position: int) -> dict[str, Any]:
    count = instrument.trades_until(position)
    aggregates = instrument.aggregates_of(count)
    return {
        "count": count,
        "first_id": instrument.trade_id(0) if count else None,
        "last_id": instrument.trade_id(count - 1) if count else None,
        "aggregates": aggregates,
        "first_aggregate_id": instrument.aggregate_id(0) if aggregates else None,
        "last_aggregate_id": instrument.aggregate_id(aggregates - 1) if aggregates else None,
    }


def routes(venue: "Venue") -> list[web.RouteDef]:
    """Give the routes under /exchange/."""
    control = _Control(venue)
    return [
        web.get(f"{CONTROL}truth", control.truth),
        web.get(f"{CONTROL}rules", control.rules),
        web.get(f"{CONTROL}faults", control.faults),
        web.get(f"{CONTROL}connections", control.connections),
        web.post(f"{CONTROL}fault", control.inject),
        web.post(f"{CONTROL}start", control.start),
    ]


class _Control:
    def __init__(self, venue: "Venue") -> None:
        self._venue = venue

    async def truth(self, request: web.Request) -> web.Response:
        symbol = request.query.get("symbol")
        if symbol is None:
            return web.json_response(summary(self._venue))
        if symbol not in self._venue.market.instruments:
            return web.json_response({"error": f"no symbol {symbol!r}"}, status=404)
        try:
            bounds = [
                int(request.query[name]) if name in request.query else None
                for name in ("from_ms", "to_ms")
            ]
        except ValueError:
            return web.json_response({"error": "from_ms and to_ms are integers"}, status=400)
        return web.json_response(truth(self._venue, symbol, *bounds))

    async def rules(self, _: web.Request) -> web.Response:
        rules = self._venue.rules
        told = {
            "breaches": rules.breaches,
            "counts": rules.counts,
            "connections_open": len(self._venue.connections),
            "closed_1008": rules.counts["closed_1008"],
        }
        return web.json_response(told)

    async def faults(self, _: web.Request) -> web.Response:
        return _encoded([running.report() for running in self._venue.faults.begun])

    async def connections(self, _: web.Request) -> web.Response:
        rows = [
            {
                "number": one.number,
                "venue": one.venue,
                "streams": sorted(one.streams),
                "waiting_bytes": one.waiting_bytes(),
                "half_open": one.half_open,
            }
            for one in self._venue.connections
        ]
        return web.json_response(rows)

    async def inject(self, request: web.Request) -> web.Response:
        try:
            fault = fault_from_json(await request.read())
        except FaultError as error:
            return web.json_response({"error": str(error)}, status=400)
        return _encoded(self._venue.faults.inject(fault).report())

    async def start(self, _: web.Request) -> web.Response:
        self._venue.clock.run()
        return web.json_response({"running": True})


def _encoded(told: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(told), content_type="application/json")
