"""The bars of many symbols laid end to end, so that one index reaches any of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.features import CLOSE, Floats, Singles
from models.ppo.rules import NEVER_CLOSES, Flags, Integers
from models.schema import HISTORY


class Series(Protocol):
    """What is read of one symbol's bars; `models.datasets.SymbolBars` has it."""

    ts_close: Integers
    bars: Floats
    session_left: Integers
    features: Singles
    volatility: Floats


@dataclass(frozen=True)
class Market:
    """Columns over all rows of all symbols, and the episodes that they are cut into."""

    ts_close: Integers
    features: Singles  # (rows, features)
    volatility: Floats  # of one bar
    session_left: Integers  # bars still to come; NEVER_CLOSES where there is no end
    ready: Flags  # the symbol's window is full, as in serving
    next_return: Floats  # simple return to the symbol's next bar; 0 at its last
    symbol_of: Integers  # index into `symbols`
    symbols: tuple[str, ...]
    episodes: Integers  # (episodes, 2): first and last row that are acted on

    @cached_property
    def volatility_floor(self) -> float:
        """A quarter of the median: below it a motionless minute would weigh like a crash."""
        return float(np.median(self.volatility[self.ready])) / 4.0


def market_of(
    bars: Mapping[str, Series],
    *,
    from_ns: int | None = None,
    to_ns: int | None = None,
    episode_bars: int = 1_800,
) -> Market:
    """Lay the bars that close in [from_ns, to_ns] end to end, symbol by symbol.

    An episode is what is left of one session, or `episode_bars` where trading never closes.
    Its last row has a next bar, so that its action earns a return.

    Raises:
        ValueError: no symbol has a full window there.
    """
    low = np.iinfo(np.int64).min if from_ns is None else from_ns
    high = np.iinfo(np.int64).max if to_ns is None else to_ns
    symbols = tuple(sorted(bars))
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in _COLUMNS}
    episodes, begin = [], 0
    for index, name in enumerate(symbols):
        part = bars[name]
        inside = (part.ts_close >= low) & (part.ts_close <= high)
        full = (np.arange(len(inside)) >= HISTORY - 1) & np.isfinite(part.features).all(1)
        close = part.bars[inside, CLOSE]
        ready, left = full[inside], part.session_left[inside].astype(np.int64)
        columns["ts_close"].append(part.ts_close[inside])
        columns["features"].append(np.nan_to_num(part.features[inside]))
        columns["volatility"].append(np.nan_to_num(part.volatility[inside]))
        columns["session_left"].append(left)
        columns["ready"].append(ready)
        columns["next_return"].append(np.append(close[1:] / close[:-1] - 1.0, 0.0)[: len(close)])
        columns["symbol_of"].append(np.full(len(close), index))
        episodes.append(begin + _episodes(ready, left, episode_bars))
        begin += len(close)
    found = np.concatenate(episodes) if episodes else np.empty((0, 2), np.int64)
    if not len(found):
        raise ValueError(f"no symbol has {HISTORY} bars before the span to act on; give more bars")
    laid = {name: np.concatenate(parts) for name, parts in columns.items()}
    return Market(symbols=symbols, episodes=found, **laid)


_COLUMNS = (
    "ts_close", "features", "volatility", "session_left", "ready", "next_return", "symbol_of"
)


def _episodes(ready: Flags, session_left: Integers, length: int) -> Integers:
    """Return first and last row of each run of ready rows within a session."""
    count = len(ready)
    if not ready.any():
        return np.empty((0, 2), dtype=np.int64)
    endless = session_left == NEVER_CLOSES
    opens = np.r_[True, (session_left[1:] > session_left[:-1]) & ~endless[1:]]
    chunk = endless & (np.arange(count) % length == 0)
    starts = ready & (opens | chunk | ~np.r_[False, ready[:-1]])
    first = np.flatnonzero(starts)
    rows = np.flatnonzero(ready)
    run = np.cumsum(starts)[rows]
    last = rows[np.r_[np.flatnonzero(np.diff(run)), len(rows) - 1]]
    last = np.minimum(last, count - 2)  # the very last row has no next bar
    return np.stack((first, last), axis=1)[last > first]
