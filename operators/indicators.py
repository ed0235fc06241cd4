"""Bars become scale-free features, kept as windowed state by symbol.

A row of features is a pure function of the last 128 bars of one symbol, and a model input is
the last 60 rows: 187 stored bars give it again bit for bit. So they do when some of them are
repaired.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.features import COLUMNS, feature_row
from models.schema import FEATURES, HISTORY, LOOKBACK, WINDOW
from operators.messages import Bar, BarQuality, Features, Floats, NoBar, Repaired, Singles


def bar_row(bar: Bar) -> tuple[float, ...]:
    """Return the numbers of `bar` that features are made of, in column order.

    The last says that the price is nobody's: a trade fetched later counts as any other.
    """
    known = bar.quality is BarQuality.OBSERVED or (
        bar.quality is BarQuality.BACKFILLED and bar.trades > 0
    )
    return (
        bar.open,
        bar.high,
        bar.low,
        bar.close,
        bar.volume,
        bar.vwap,
        np.nan if bar.spread is None else bar.spread,
        np.nan if bar.imbalance is None else bar.imbalance,
        0.0 if known else 1.0,
    )


def absent(symbol: str, ts_close: int) -> Features:
    """Return what a symbol without a bar at `ts_close` adds to the cross-section: nothing."""
    return Features(
        symbol=symbol, ts_close=ts_close, bar=None, window=None, volatility=0.0, ready=False
    )


@dataclass(slots=True)
class IndicatorState:
    """The last 187 bars and the last 60 feature rows of one symbol."""

    # What `bar_row` gives, then the bar's index in its session and the share of it passed.
    bars: Floats = field(default_factory=lambda: np.empty((0, COLUMNS + 2)))
    closes: list[int] = field(default_factory=list)  # ts_close of each bar, ascending
    rows: Singles = field(default_factory=lambda: np.empty((0, len(FEATURES)), np.float32))
    repaired: int | None = None  # the first bar whose row, and all after it, must be made again


class Indicators:
    """Turn each bar of one symbol into its model input; other messages pass through.

    Ready after 187 bars: 128 for the first row, then 60 rows in all. A `Repaired` passes on
    too; its bars take the place of their first forms, and the next window is what it would be
    had they been so from the start.
    """

    def __init__(self) -> None:
        self.state = IndicatorState()

    def on(self, message: Any) -> Iterable[Any]:
        """Answer a `Bar` or `NoBar` with `Features`, and let everything else through."""
        if isinstance(message, NoBar):
            return (absent(message.symbol, message.ts_close),)
        if isinstance(message, Repaired):
            self._repair(message.bars)
            return (message,)
        if not isinstance(message, Bar):
            return (message,)
        state = self.state
        state.bars = np.vstack((state.bars[-(HISTORY - 1) :], _table_row(message)))
        state.closes = [*state.closes[-(HISTORY - 1) :], message.ts_close]
        last = len(state.bars) - 1
        first = last
        if state.repaired is not None:
            first = bisect_left(state.closes, state.repaired)  # all repairs at once
            state.repaired = None
        volatility = 0.0
        made = []
        for place in range(max(first, LOOKBACK - 1), last + 1):
            row, volatility = self._row(place)
            made.append(row)
        if made:
            state.rows = np.vstack((state.rows, *made))[-WINDOW:]
        ready = len(state.rows) == WINDOW
        return (
            Features(
                symbol=message.symbol,
                ts_close=message.ts_close,
                bar=message,
                window=state.rows if ready else None,
                volatility=volatility,
                ready=ready,
            ),
        )

    def on_end(self) -> Iterable[Any]:
        """Report nothing."""
        return ()

    def _row(self, place: int) -> tuple[Singles, float]:
        """Make the row of the bar at `place`, which has 127 before it."""
        bars = self.state.bars[place - LOOKBACK + 1 : place + 1]
        return feature_row(bars[:, :COLUMNS], int(bars[-1, COLUMNS]), float(bars[-1, COLUMNS + 1]))

    def _repair(self, bars: Iterable[Bar]) -> None:
        """Put bars in their places, and forget the rows from the first of them on."""
        state = self.state
        table = dict(zip(state.closes, state.bars, strict=True))
        begin = state.closes[0] if len(table) == HISTORY else 0
        # What is older than a full window weighs in nothing any more.
        known = {bar.ts_close: _table_row(bar) for bar in bars if bar.ts_close >= begin}
        if not known:
            return
        first = min(known)
        fresh = len(table) if state.repaired is None else bisect_left(state.closes, state.repaired)
        stale = fresh - min(bisect_left(state.closes, first), fresh)
        # Rows stand for the bars that end where they are fresh.
        state.rows = state.rows[: max(len(state.rows) - stale, 0)]
        state.repaired = first if state.repaired is None else min(first, state.repaired)
        table |= known
        state.closes = sorted(table)[-HISTORY:]
        state.bars = np.array([table[close] for close in state.closes])


def _table_row(bar: Bar) -> tuple[float, ...]:
    return (*bar_row(bar), float(bar.session_index), bar.session_fraction)
