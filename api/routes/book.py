"""The paper portfolio, risk and its limits."""

from typing import Annotated, Any

import msgspec
import numpy as np
from fastapi import APIRouter, Query

from api import models, views
from api.context import LAST, READ_PROBLEMS, Context, Ctx, Reads, Since, Until, risk_of
from api.problems import Refusal, responses
from api.rows import Row
from operators.messages import Control

router = APIRouter(tags=["portfolio and risk"])
NONE_YET = READ_PROBLEMS | responses(404)
_MOST_POINTS = 2000


@router.get("/portfolio", response_model=models.Portfolio, responses=NONE_YET)
def portfolio(context: Ctx, _: Reads) -> Any:
    """Return the paper portfolio after its last decision."""
    return views.portfolio(_last(context))


@router.get("/portfolio/history", response_model=models.PortfolioHistory, responses=READ_PROBLEMS)
def history(
    context: Ctx,
    _: Reads,
    since: Since = 0,
    until: Until = LAST,
    points: Annotated[
        int, Query(ge=2, le=_MOST_POINTS, description="At most so many, evenly spread.")
    ] = 600,
) -> Any:
    """Return the portfolio over time, oldest first; a long span by fewer points."""
    reader = context.reader
    interval = context.interval()
    every = interval
    span = reader.rows.read(
        "SELECT min(ts_close) AS first, max(ts_close) AS last FROM portfolio "
        "WHERE ts_close BETWEEN ? AND ?",
        (since, until),
    )[0]
    if span["first"] is not None:
        closes = (span["last"] - span["first"]) // interval + 1
        every = interval * -(-closes // points)
    found = reader.portfolios(since=since, until=until, every=every, limit=points)
    return {"points": [views.portfolio_brief(row) for row in found], "every": every}


@router.get("/risk", response_model=models.Risk, responses=NONE_YET)
def risk(context: Ctx, _: Reads) -> Any:
    """Return what is limited, how far it is used, and what operators have ordered."""
    row = _last(context)
    told = risk_of(row)
    orders = {name: _order(order) for name, order in told.get("muted", {}).items()}
    return {
        "ts_close": row["ts_close"],
        "stopped": bool(row["stopped"]),
        "stop": None if told["stop"] is None else _order(told["stop"]),
        "muted": [orders[symbol] for symbol in sorted(orders)],
        "limits": limits(row),
        "drawdown": row["drawdown"],
        "drawdown_rung": told["drawdown_rung"],
        "drawdown_multiplier": told["drawdown_multiplier"],
        "var_95": row["var_95"],
        "var_99": row["var_99"],
        "kupiec": told["kupiec"],
        "volatile": told["volatile"],
        "clusters": told["clusters"],
        "fired": told["fired"],
    }


def limits(row: Row) -> list[dict[str, Any]]:
    """Return every limit that operators may move, with what is used of it."""
    told = risk_of(row)
    weights = {each["symbol"]: abs(each["weight"]) for each in views.holdings(row)}
    clusters = [sum(weights.get(symbol, 0.0) for symbol in group) for group in told["clusters"]]
    used = {
        "position_limit": max(weights.values(), default=0.0),
        "cluster_limit": max(clusters, default=0.0),
        "gross_limit": row["gross"],
        "net_limit": abs(row["net"]),
        "var_limit": row["var_99"],
    }
    return [
        {
            "name": name,
            "value": limit["value"],
            "most": limit["most"],
            "used": used[name],
            "headroom": None if used[name] is None else 1.0 - used[name] / limit["value"],
            "adjustable": True,
        }
        for name, limit in told.get("limits", {}).items()
    ]


@router.get("/risk/correlation", response_model=models.Correlation, responses=READ_PROBLEMS)
def correlation(
    context: Ctx,
    _: Reads,
    bars: Annotated[int, Query(ge=3, le=600, description="Over so many bars.")] = 128,
) -> Any:
    """Return how the symbols' one-bar log returns move together, over the last bars."""
    names = context.reader.symbols()
    rows = context.reader.closes(names, bars, context.interval())
    times = sorted({row["ts_close"] for each in rows.values() for row in each})
    place = {ts_close: index for index, ts_close in enumerate(times)}
    closes = np.full((len(times), len(names)), np.nan)
    for column, name in enumerate(names):
        for row in rows[name]:
            if row["close"]:
                closes[place[row["ts_close"]], column] = row["close"]
    return {"symbols": names, "bars": len(times), "matrix": _correlations(closes)}


def _correlations(closes: np.ndarray[Any, np.dtype[np.float64]]) -> list[list[float | None]]:
    """Return the matrix of one-bar log returns; `closes` is (rows, symbols), NaN where unknown."""
    if len(closes) < 3:
        return [[None] * closes.shape[1] for _ in range(closes.shape[1])]
    returns = np.diff(np.log(closes), axis=0)
    returns = np.where(np.isfinite(returns), returns, 0.0)
    centred = returns - returns.mean(axis=0)
    scale = np.sqrt((centred**2).sum(axis=0))
    moves = scale > 0.0
    unit = centred / np.where(moves, scale, 1.0)
    matrix = np.clip(unit.T @ unit, -1.0, 1.0)
    known = np.outer(moves, moves)
    return [
        [round(value, 4) if there else None for value, there in zip(values, there_, strict=True)]
        for values, there_ in zip(matrix.tolist(), known.tolist(), strict=True)
    ]


def _order(told: dict[str, Any]) -> dict[str, Any]:
    # It is in force: risk told of it. Where it stands in the log `/control/orders` says.
    return views.order(msgspec.convert(told, Control)) | {"state": "in_force"}


def _last(context: Context) -> Row:
    row = context.reader.portfolio()
    if row is None:
        raise Refusal(404, "there is no decision yet")
    return row
