"""Symbols, bars, news."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from api import models, views
from api.context import LAST, READ_PROBLEMS, Ctx, Cursor, Limit, Reads, Since, Until
from api.models import Symbol
from api.problems import Refusal, responses
from api.reader import cursor_of, place_of

router = APIRouter(tags=["market"])
Sparkline = Annotated[int, Query(ge=0, le=600, description="Closes in each sparkline.")]


@router.get("/symbols", response_model=models.Symbols, responses=READ_PROBLEMS)
def symbols(context: Ctx, _: Reads, sparkline: Sparkline = 60) -> Any:
    """Return every symbol with its last price and how it got there."""
    names = context.reader.symbols()
    closes = context.reader.closes(names, max(sparkline, 1), context.interval())
    muted = context.muted()
    return {
        "symbols": [
            {
                "symbol": name,
                "ts_close": rows[-1]["ts_close"] if rows else None,
                "price": rows[-1]["close"] if rows else None,
                "quality": rows[-1]["quality"] if rows else None,
                "change": _change([row["close"] for row in rows]),
                "sparkline": [row["close"] for row in rows][-sparkline:] if sparkline else [],
                "muted": name in muted,
            }
            for name, rows in closes.items()
        ]
    }


def _change(closes: list[float | None]) -> float | None:
    known = [close for close in closes if close]
    return known[-1] / known[0] - 1.0 if known else None


@router.get(
    "/bars/{symbol:path}", response_model=models.Bars, responses=READ_PROBLEMS | responses(404)
)
def bars(
    context: Ctx,
    _: Reads,
    symbol: Annotated[Symbol, Path(description="As `/symbols` names it.")],
    since: Since = 0,
    until: Until = LAST,
    limit: Limit = 300,
    first: Annotated[bool, Query(description="As they closed, not as known last.")] = False,
    cursor: Cursor = None,
) -> Any:
    """Return a symbol's last bars within a time, oldest first."""
    if cursor is not None:
        until = min(until, place_of(cursor, int)[0] - 1)
    found = context.reader.bars(symbol, since=since, until=until, limit=limit + 1, first=first)
    if not found and symbol not in context.reader.symbols():
        raise Refusal(404, "there is no such symbol")
    page = found[:limit]
    return {
        "symbol": symbol,
        "interval": page[0]["interval"] if page else context.interval(),
        "bars": [views.bar(row) for row in reversed(page)],
        "next": cursor_of(page[-1]["ts_close"]) if len(found) > limit else None,
    }


@router.get("/headlines", response_model=models.Headlines, responses=READ_PROBLEMS)
def headlines(context: Ctx, _: Reads, limit: Limit = 50, cursor: Cursor = None) -> Any:
    """Return headlines and mood indices as the engine knew them, the newest first."""
    before = LAST if cursor is None else place_of(cursor, int)[0]
    kinds = ("Headline", "ScoredHeadline", "Mood")
    found = context.reader.notices(limit=limit + 1, kinds=kinds, before=before)
    page = found[:limit]
    return {
        "headlines": [views.headline(row) for row in page],
        "next": cursor_of(page[-1]["log_offset"]) if len(found) > limit else None,
    }
