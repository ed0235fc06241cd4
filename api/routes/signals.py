"""Signals, and why each was given."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from api import models, views
from api.context import (
    LAST,
    READ_PROBLEMS,
    Ctx,
    Cursor,
    Limit,
    OneSymbol,
    Reads,
    Since,
    Until,
    fusion_settings,
)
from api.models import Action, SignalId, Symbol
from api.problems import Refusal, responses
from api.reader import HOUR, cursor_of
from api.rows import Row
from api.what_if import LEGS, what_if

router = APIRouter(prefix="/signals", tags=["signals"])
Id = Annotated[SignalId, Path(description="The signal's id, 32 hexadecimal digits.")]
FOUND = READ_PROBLEMS | responses(404)


@router.get("", response_model=models.Signals, responses=READ_PROBLEMS)
def signals(
    context: Ctx,
    _: Reads,
    symbol: OneSymbol = None,
    action: Annotated[Action | None, Query(description="Only these.")] = None,
    approved: Annotated[bool | None, Query(description="Only those, or all but those.")] = None,
    since: Since = 0,
    until: Until = LAST,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Any:
    """Return signals, the newest first."""
    found = context.reader.signals(
        limit=limit + 1,
        symbol=symbol,
        action=action,
        approved=approved,
        since=since,
        until=until,
        cursor=cursor,
    )
    page = found[:limit]
    last = page[-1] if len(found) > limit else None
    return {
        "signals": [views.signal_brief(row) for row in page],
        "next": None if last is None else cursor_of(last["ts_close"], last["symbol"]),
    }


@router.get("/latest", response_model=models.Signals, responses=READ_PROBLEMS)
def latest(
    context: Ctx,
    _: Reads,
    symbol: Annotated[
        list[Symbol] | None, Query(max_length=200, description="Only these; may be repeated.")
    ] = None,
) -> Any:
    """Return each symbol's newest signal of the last hour, from Redis where there is one."""
    if context.hot is None:
        rows = context.reader.latest_signals(symbol)
    else:
        wanted = symbol or context.reader.symbols()
        rows = context.hot.latest_signals(wanted)
        # An empty tier, or one that began anew, does not know them all.
        if lacking := set(wanted) - {row["symbol"] for row in rows}:
            rows += context.reader.latest_signals(sorted(lacking))
        newest = max((row["ts_close"] for row in rows), default=0)
        recent = (row for row in rows if row["ts_close"] >= newest - HOUR)
        rows = sorted(recent, key=lambda row: str(row["symbol"]))
    return {"signals": [views.signal_brief(row) for row in rows]}


@router.get("/{signal_id}", response_model=models.Signal, responses=FOUND)
def signal(context: Ctx, _: Reads, signal_id: Id) -> Any:
    """Return one signal with everything that made it."""
    return views.signal(_found(context, signal_id))


@router.get("/{signal_id}/explanation", response_model=models.Explanation, responses=FOUND)
def explanation(context: Ctx, _: Reads, signal_id: Id) -> Any:
    """Return what a signal was made of, from stored values; nothing is computed again."""
    reader = context.reader
    row = _found(context, signal_id)
    symbol, ts_close = row["symbol"], row["ts_close"]
    bars = reader.bars(symbol, until=ts_close, limit=60, known_at=ts_close)
    kinds = ("Headline", "ScoredHeadline", "Mood")
    news = [
        each
        for each in map(views.headline, reader.notices(limit=200, kinds=kinds, known=ts_close))
        if not each["symbols"] or symbol in each["symbols"]
    ]
    outcome, portfolio = reader.outcome(signal_id), reader.portfolio(ts_close)
    return {
        "signal": views.signal(row),
        "bars": [views.bar(each) for each in reversed(bars)],
        "headlines": news[:20],
        "outcome": None if outcome is None else views.outcome(outcome),
        "portfolio": None if portfolio is None else views.portfolio_brief(portfolio),
        "settings": fusion_settings(reader.run()),
    }


@router.get("/{signal_id}/what-if", response_model=models.WhatIf, responses=FOUND | responses(409))
def hypothesis(
    context: Ctx,
    _: Reads,
    signal_id: Id,
    drop: Annotated[
        list[LEGS] | None, Query(max_length=3, description="Legs to leave out.")
    ] = None,
    entry_score: Annotated[
        float | None, Query(ge=0.0, le=1.0, allow_inf_nan=False, description="Another threshold.")
    ] = None,
    minimum_confidence: Annotated[
        float | None, Query(ge=0.0, le=1.0, allow_inf_nan=False, description="Another one.")
    ] = None,
) -> Any:
    """Return what fusion and entry would have said without a leg, or by another threshold."""
    row = _found(context, signal_id)
    settings = fusion_settings(context.reader.run())
    if settings is None:
        raise Refusal(409, "this store does not keep the run's settings, which this needs")
    return what_if(
        views.signal(row),
        settings,
        drop=tuple(dict.fromkeys(drop or ())),
        entry_score=entry_score,
        minimum_confidence=minimum_confidence,
    )


def _found(context: Ctx, signal_id: str) -> Row:
    row = context.reader.signal(signal_id)
    if row is None:
        raise Refusal(404, "the store has no such signal")
    return row
