"""What a policy earns after costs on bars that it has not seen, beside doing nothing."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.datasets import SymbolBars, labels
from models.features import Floats
from models.lstm_transformer.forecaster import Forecaster
from models.ppo.actor import Actor
from models.ppo.baselines import forecast_views, momentum, threshold
from models.ppo.market import Market, cost_of, market_of
from models.ppo.replay import Track, replay
from models.ppo.rules import NEVER_CLOSES, Integers, PositionRules
from models.runtime import Artefact
from models.seen import refuse_seen, utc
from models.statistics import block_bootstrap, days_of, hours_of, weighted_ic

_DAY = 86_400_000_000_000
_BUSINESS_DAYS, _DAYS = 252, 365
SESSIONS = 8  # at least, for a bootstrap that draws whole sessions
COMPARED = (
    "return",
    "sharpe",
    "max_drawdown",
    "turnover",
    "gross_return",
    "return_filled_late",
    "sharpe_filled_late",
)

Result = dict[str, Any]


def evaluate(
    bars: Mapping[str, SymbolBars],
    artefact: Artefact,
    rules: PositionRules,
    *,
    allow_seen: bool,
    forecaster: Forecaster | None = None,
    after: int = 0,
    skip: int = 0,
    seed: int = 0,
) -> Result:
    """Replay the policy over `bars` that close later than `after` (ns); return figures after costs.

    The first `skip` bars of each symbol are not acted on.

    Each symbol gets an equal and constant share of the capital. `return` (total), `sharpe`
    (annualised, of bar returns) and `ic` are [estimate, low, high] with 95 % intervals by
    block bootstrap over sessions, or hours if there are fewer than eight (`blocks`); `turnover`
    is traded notional a day in units of capital; `return_filled_late` and `sharpe_filled_late`
    are what is left if each trade waits for the next bar's close instead of catching the one it
    was decided at; `edge_bps`
    is what a unit traded earned before costs, to hold against `cost_bps`. `ic` is Spearman's
    correlation of the leg's value with the return over the manifest's horizon. `baselines` are
    flat, buy and hold, and under the policy's own rules and costs momentum and, with a
    `forecaster`, its side where it is sure.

    Raises:
        SeenData: the model has seen some of it, unless `allow_seen`.
        ValueError: no symbol has a full window.
    """
    for name, symbol in bars.items():
        acted = symbol.ts_close[symbol.ready & (symbol.ts_close > after)]
        if len(acted):
            refuse_seen(
                artefact.name,
                artefact.entry,
                [name],
                int(acted[0]),
                int(acted[-1]),
                allow_seen=allow_seen,
            )
    market = market_of(bars, after=after, skip=skip)
    actor = Actor(artefact)
    track = replay(market, actor.act, rules)
    horizon = int(artefact.entry["horizon_bars"])
    report = measure(market, track, rules, seed=seed)
    others = {"momentum": momentum(horizon)}
    if forecaster is not None:
        others["forecast_threshold"] = threshold(forecast_views(bars, market, forecaster))
    for name, act in others.items():
        figures = measure(market, replay(market, act, rules), rules, seed=seed)
        report["baselines"][name] = {key: figures[key] for key in COMPARED}
    return report | {"ic": information(bars, track, actor, horizon, seed=seed)}


def measure(market: Market, track: Track, rules: PositionRules, *, seed: int = 0) -> Result:
    """Return the figures of a replayed `track`, without the IC."""
    acting = track.ready.any(1)
    stamps = track.ts_close[acting]
    symbols = len(market.symbols)
    net = (track.earned - track.cost)[acting].sum(1) / symbols
    traded, earned = track.traded[acting].sum(), track.earned[acting].sum()
    days = len(np.unique(stamps // _DAY))
    endless = bool((market.session_left == NEVER_CLOSES).any())
    per_year = len(stamps) / days * (_DAYS if endless else _BUSINESS_DAYS)
    blocks, kind = sessions_of(stamps)
    flat = {"return": [0.0] * 3, "sharpe": [0.0] * 3, "turnover": 0.0, "max_drawdown": 0.0}
    held = hold(market, track, rules)[acting]
    late = -track.cost
    late[1:] += track.position[:-1] * track.returns[1:]
    waited = _figures(late[acting].sum(1) / symbols, blocks, per_year, seed)
    return {
        "n": int(track.ready.sum()),
        "symbols": symbols,
        "span": f"{utc(int(stamps[0]))} to {utc(int(stamps[-1]))}",
        "blocks": kind,
        **_figures(net, blocks, per_year, seed),
        "return_filled_late": waited["return"],
        "sharpe_filled_late": waited["sharpe"],
        "turnover": float(traded / symbols / days),
        "trades": int((track.traded > 0).sum()),
        "in_market": float(np.abs(track.position)[track.ready].mean()),
        "gross_return": float(np.expm1(np.log1p(track.earned[acting].sum(1) / symbols).sum())),
        "edge_bps": float(earned / traded * 1e4) if traded else 0.0,
        "cost_bps": float(track.cost.sum() / track.traded.sum() * 1e4) if traded else 0.0,
        "baselines": {
            "flat": flat,
            "buy_and_hold": {
                **_figures(held, blocks, per_year, seed),
                "turnover": 2.0 / days,
            },
        },
    }


def sessions_of(ts_close: Integers) -> tuple[Integers, dict[str, Any]]:
    """Return each row's block of the bootstrap and what the blocks are.

    Sessions (UTC days), as what a policy earns within one hangs together; hours where fewer than
    `SESSIONS` of them would be drawn from.
    """
    block, kind = days_of(ts_close), "session"
    if block.max() + 1 < SESSIONS:
        block, kind = hours_of(ts_close), "hour"
    return block, {"kind": kind, "count": int(block.max()) + 1}


def hold(market: Market, track: Track, rules: PositionRules) -> Floats:
    """Return the bar returns, (times,), of equal weights bought once and sold at the end.

    A symbol is bought at its first ready bar; average costs are paid on the way in and out.
    """
    stamps, time_of = np.unique(market.ts_close, return_inverse=True)
    growth = np.zeros((len(stamps), len(market.symbols)))
    growth[time_of, market.symbol_of] = np.where(market.ready, np.log1p(market.next_return), 0.0)
    worth = np.exp(growth.cumsum(0)).mean(1)
    returns: Floats = worth / np.r_[1.0, worth[:-1]] - 1.0
    acting = np.flatnonzero(track.ready.any(1))
    ready = np.flatnonzero(market.ready)
    once = float(cost_of(market, ready, np.ones(len(ready)), rules).mean())
    returns[acting[[0, -1]]] -= once
    return returns


def information(
    bars: Mapping[str, SymbolBars], track: Track, actor: Actor, horizon: int, *, seed: int = 0
) -> list[float]:
    """Return the IC of the leg's value with the return over `horizon` bars, with its interval."""
    values, returns, stamps = paired(bars, track, actor, horizon)
    blocks, _ = sessions_of(stamps)
    return block_bootstrap(weighted_ic(values, returns), blocks, seed=seed, draws=200)


def paired(
    bars: Mapping[str, SymbolBars], track: Track, actor: Actor, horizon: int, *, delay: int = 0
) -> tuple[Floats, Floats, Integers]:
    """Return value, realised return and bar close of each ready row that has a label.

    With `delay` the return begins that many bars after the value, in the same session.
    """
    values, returns, stamps = [], [], []
    for column, name in enumerate(sorted(bars)):
        symbol = bars[name]
        times = np.searchsorted(track.ts_close, symbol.ts_close)
        times = np.minimum(times, len(track.ts_close) - 1)
        label = labels(symbol, horizon)
        label = np.r_[label[delay:], np.full(min(delay, len(label)), np.nan)]
        left = symbol.session_left
        label[(left != NEVER_CLOSES) & (left < delay)] = np.nan
        known = (track.ts_close[times] == symbol.ts_close) & np.isfinite(label)
        known &= track.ready[times, column]
        chosen = times[known]
        value, _ = actor.opinion(track.preference[chosen, column], track.ready[chosen, column])
        values.append(value)
        returns.append(label[known])
        stamps.append(symbol.ts_close[known])
    return np.concatenate(values), np.concatenate(returns), np.concatenate(stamps)


def _figures(net: Floats, blocks: Integers, per_year: float, seed: int) -> Result:
    """Return total return and Sharpe ratio with intervals, and the largest drawdown."""
    growth = np.log1p(net)
    worth = np.exp(np.r_[0.0, growth.cumsum()])

    def sharpe(weights: Floats) -> float:
        mean = weights @ net / weights.sum()
        variance = weights @ (net - mean) ** 2 / weights.sum()
        return float(mean / np.sqrt(variance) * np.sqrt(per_year)) if variance > 0.0 else 0.0

    return {
        "return": _total(net, blocks, seed),
        "sharpe": block_bootstrap(sharpe, blocks, seed=seed),
        "max_drawdown": float((1.0 - worth / np.maximum.accumulate(worth)).max()),
    }


def _total(net: Floats, blocks: Integers, seed: int) -> list[float]:
    """Return the compounded return of bar returns, with its interval."""
    growth = np.log1p(net)

    def total(weights: Floats) -> float:
        return float(np.expm1(weights @ growth))

    return block_bootstrap(total, blocks, seed=seed)
