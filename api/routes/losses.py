"""What was lost, and what was refused."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from api import models, views
from api.context import READ_PROBLEMS, Ctx, Cursor, Limit, OneSymbol, Reads
from api.reader import cursor_of
from operators.messages import Reason

router = APIRouter(tags=["losses"])


@router.get("/holes", response_model=models.Holes, responses=READ_PROBLEMS)
def holes(
    context: Ctx, _: Reads, symbol: OneSymbol = None, limit: Limit = 100, cursor: Cursor = None
) -> Any:
    """Return times in which feeds may have lost messages, the newest first."""
    found = context.reader.holes(limit=limit + 1, symbol=symbol, cursor=cursor)
    page = found[:limit]
    last = page[-1] if len(found) > limit else None
    return {
        "holes": [views.hole(row) for row in page],
        "next": None if last is None else cursor_of(last["ts_from"], last["symbol"], last["feed"]),
    }


@router.get("/gaps", response_model=models.Gaps, responses=READ_PROBLEMS)
def gaps(
    context: Ctx, _: Reads, symbol: OneSymbol = None, limit: Limit = 100, cursor: Cursor = None
) -> Any:
    """Return trades that ids prove missing, the newest first."""
    found = context.reader.gaps(limit=limit + 1, symbol=symbol, cursor=cursor)
    page = found[:limit]
    last = page[-1] if len(found) > limit else None
    return {
        "gaps": [views.gap(row) for row in page],
        "next": None if last is None else cursor_of(last["ts_from"], last["symbol"], last["venue"]),
    }


@router.get("/rejections", response_model=models.Rejections, responses=READ_PROBLEMS)
def rejections(
    context: Ctx,
    _: Reads,
    symbol: OneSymbol = None,
    reason: Annotated[Reason | None, Query(description="Only for this reason.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Any:
    """Return refused input, the last first, and how much in all; payloads stay in the store."""
    found = context.reader.rejections(limit=limit + 1, symbol=symbol, reason=reason, cursor=cursor)
    page = found[:limit]
    last = page[-1] if len(found) > limit else None
    return {
        "rejections": page,
        "counts": context.reader.rejected(),
        "next": None if last is None else cursor_of(last["log_offset"], last["reason"]),
    }
