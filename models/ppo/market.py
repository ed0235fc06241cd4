"""The bars of many symbols laid end to end, so that one index reaches any of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.context import LEAST
from models.datasets import SymbolBars
from models.features import Floats, Singles
from models.ppo.rules import (
    BASIS_POINT,
    NEVER_CLOSES,
    Flags,
    Integers,
    PositionRules,
    trade_cost,
)
from models.schema import FEATURES, HISTORY

# Without it a policy that expects nothing has no reason to be flat: going home costs, staying
# costs nothing. A bar in the market must be worth half a hundredth of its volatility.
RISK_AVERSION = 0.01
_STILL = 1e-6  # a hundredth of a basis point: less is no movement
_COLUMNS = (
    "ts_close",
    "features",
    "volatility",
    "session_left",
    "ready",
    "half_spread_bps",
    "next_return",
    "symbol_of",
)
# Features that change their sign with the direction of prices; the others stay.
_ODD = frozenset(
    {
        *(f"roc_{span}" for span in (1, 2, 5, 10, 15, 30, 60)),
        *("momentum_10", "rsi_14", "rsi_5", "stochastic_k", "stochastic_d", "williams_r_14"),
        *("cci_20", "mfi_14", "macd", "macd_signal", "macd_histogram", "directional_index"),
        *(f"ema_distance_{span}" for span in (8, 21, 55)),
        *(f"sma_distance_{span}" for span in (20, 60, 120)),
        *("bollinger_position", "obv_slope_20", "bar_position", "vwap_distance"),
        *("imbalance", "imbalance_mean_10"),
    }
)
SIGNS = np.array([-1.0 if name in _ODD else 1.0 for name in FEATURES], dtype=np.float32)


@dataclass(frozen=True)
class Market:
    """Columns over all rows of all symbols, and the episodes that they are cut into."""

    ts_close: Integers
    features: Singles  # (rows, features)
    volatility: Floats  # of one bar
    session_left: Integers  # bars still to come; NEVER_CLOSES where there is no end
    ready: Flags  # the symbol's window is full, as in serving
    half_spread_bps: Floats  # of price; 0 where no quote is known
    next_return: Floats  # simple return to the symbol's next bar; 0 at its last
    symbol_of: Integers  # index into `symbols`
    symbols: tuple[str, ...]
    episodes: Integers  # (episodes, 2): first and last row that are acted on


def cost_of(
    market: Market, rows: Integers, traded: Floats | Integers, rules: PositionRules
) -> Floats:
    """Return what changing positions by `traded` at `rows` costs, as a fraction of notional.

    Slippage is half the quoted spread where it is wider than the rules assume: bars close at
    the last trade, at bid or ask by turns, and that bounce must not pay for trading on it.
    """
    slippage = np.maximum(rules.slippage_bps, market.half_spread_bps[rows])
    return trade_cost(np.asarray(traded, dtype=np.float64), rules.fee_bps, slippage)


def reward_of(
    market: Market, rows: Integers, position: Integers, net: Floats, rules: PositionRules
) -> Floats:
    """Return the reward of holding `position` at `rows` for a `net` return, in units of risk.

    A mean-variance utility: net / volatility of one bar, less half of `RISK_AVERSION` times the
    position squared. The volatility counts as no less than what one side of a trade costs:
    moves that no trade could live on would otherwise make a cost look like a crash.
    """
    floor = (rules.fee_bps + rules.slippage_bps) * BASIS_POINT
    risk = np.maximum(market.volatility[rows], max(floor, _STILL))
    return net / risk - RISK_AVERSION / 2.0 * position * position


def market_of(
    bars: Mapping[str, SymbolBars],
    *,
    after: int | None = None,
    until: int | None = None,
    skip: int = 0,
    longest: int = 1_800,
) -> Market:
    """Lay the bars that close in (after, until] (ns) end to end, symbol by symbol.

    The first `skip` of each symbol there are not acted on: the embargo after a cut. An
    episode is at most `longest` bars of one session. Its last row has a next bar, so that
    its action earns a return.

    Raises:
        ValueError: no symbol has a full window there.
    """
    low = np.iinfo(np.int64).min if after is None else after
    high = np.iinfo(np.int64).max if until is None else until
    symbols = tuple(sorted(bars))
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in _COLUMNS}
    episodes, begin = [], 0
    for index, name in enumerate(symbols):
        part = bars[name]
        inside = (part.ts_close > low) & (part.ts_close <= high)
        full = part.ready & np.isfinite(part.features).all(1)
        close = part.close[inside]
        ready = full[inside] & (np.arange(inside.sum()) >= skip)
        left = part.session_left[inside].astype(np.int64)
        columns["ts_close"].append(part.ts_close[inside])
        columns["features"].append(np.nan_to_num(part.features[inside]))
        columns["volatility"].append(np.nan_to_num(part.volatility[inside]))
        columns["session_left"].append(left)
        columns["ready"].append(ready)
        half = part.spread[inside] / close / 2.0 / BASIS_POINT
        columns["half_spread_bps"].append(np.maximum(np.nan_to_num(half), 0.0))
        columns["next_return"].append(np.append(close[1:] / close[:-1] - 1.0, 0.0)[: len(close)])
        columns["symbol_of"].append(np.full(len(close), index))
        episodes.append(begin + _episodes(ready, left, longest))
        begin += len(close)
    if not sum(map(len, episodes)):
        raise ValueError(f"nothing to act on: no symbol has {HISTORY} bars and one more there")
    laid = {name: np.concatenate(parts) for name, parts in columns.items()}
    return Market(symbols=symbols, episodes=np.concatenate(episodes), **laid)


def mirrored(market: Market) -> Market:
    """Return the market upside down: every move, and every feature of direction, turned round.

    A few weeks have a drift, and a policy that is short all day has learned those weeks.
    Learning and choosing on both a market and its mirror leaves no drift to learn.
    """
    return replace(market, features=market.features * SIGNS, next_return=-market.next_return)


def delayed(market: Market, bars: int) -> Market:
    """Return the market of one whose orders are filled `bars` bars late.

    A position earns the return that begins so many bars after its decision, in the same
    session. What the last trade bounces between bid and ask is over by then.
    """
    left, rows = market.session_left, np.arange(len(market.next_return))
    later = np.minimum(rows + bars, len(rows) - 1)
    earns = (rows + bars == later) & (market.symbol_of[later] == market.symbol_of)
    earns &= (left == NEVER_CLOSES) | (left > bars)
    return replace(market, next_return=np.where(earns, market.next_return[later], 0.0))


def hedged(market: Market) -> Market:
    """Return the market with the mean return of all its ready symbols taken off each return.

    For learning alone: what all symbols do at once is noise to a policy that reads them against
    their mean, and taking it off makes the same lesson quieter.
    """
    moment = np.unique(market.ts_close, return_inverse=True)[1]
    count = np.bincount(moment, market.ready)
    mean = np.bincount(moment, market.ready * market.next_return) / np.maximum(count, 1.0)
    mean[count < LEAST] = 0.0  # one alone has no market
    return replace(market, next_return=market.next_return - mean[moment])


def joined(markets: Sequence[Market]) -> Market:
    """Return the markets as one, with the episodes of all."""
    rows = np.cumsum([0, *(len(each.ts_close) for each in markets)])
    names = np.cumsum([0, *(len(each.symbols) for each in markets)])
    parts = {name: [getattr(each, name) for each in markets] for name in _COLUMNS}
    parts["symbol_of"] = [
        part + int(base) for part, base in zip(parts["symbol_of"], names[:-1], strict=True)
    ]
    episodes = [each.episodes + base for each, base in zip(markets, rows[:-1], strict=True)]
    return Market(
        symbols=tuple(name for each in markets for name in each.symbols),
        episodes=np.concatenate(episodes),
        **{name: np.concatenate(part) for name, part in parts.items()},
    )


def _episodes(ready: Flags, session_left: Integers, longest: int) -> Integers:
    """Return first and last row of each run of ready rows within a session."""
    count = len(ready)
    if not ready.any():
        return np.empty((0, 2), dtype=np.int64)
    closes = session_left != NEVER_CLOSES
    opens = np.r_[True, (session_left[1:] > session_left[:-1]) & closes[1:]]
    begins = ready & (opens | ~np.r_[False, ready[:-1]])
    since = np.arange(count) - np.maximum.accumulate(np.where(begins, np.arange(count), 0))
    starts = ready & (since % longest == 0)
    first = np.flatnonzero(starts)
    rows = np.flatnonzero(ready)
    run = np.cumsum(starts)[rows]
    last = rows[np.r_[np.flatnonzero(np.diff(run)), len(rows) - 1]]
    last = np.minimum(last, count - 2)  # the very last row has no next bar
    return np.stack((first, last), axis=1)[last > first]
