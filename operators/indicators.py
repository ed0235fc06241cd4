"""Bars become scale-free features, kept as windowed state by symbol.

A row of features is a pure function of the last 128 bars of one symbol, and a model input is
the last 60 rows: 187 stored bars give it again bit for bit.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.features import COLUMNS, feature_row
from models.schema import FEATURES, LOOKBACK, WINDOW
from operators.messages import Bar, BarQuality, Features, Floats, NoBar, Singles


def bar_row(bar: Bar) -> tuple[float, ...]:
    """Return the numbers of `bar` that features are made of, in column order."""
    return (
        bar.open,
        bar.high,
        bar.low,
        bar.close,
        bar.volume,
        bar.vwap,
        np.nan if bar.spread is None else bar.spread,
        np.nan if bar.imbalance is None else bar.imbalance,
        0.0 if bar.quality is BarQuality.OBSERVED else 1.0,
    )


def absent(symbol: str, ts_close: int) -> Features:
    """Return what a symbol without a bar at `ts_close` adds to the cross-section: nothing."""
    return Features(
        symbol=symbol, ts_close=ts_close, bar=None, window=None, volatility=0.0, ready=False
    )


@dataclass(slots=True)
class IndicatorState:
    """The last 128 bars and the last 60 feature rows of one symbol."""

    bars: Floats = field(default_factory=lambda: np.empty((0, COLUMNS)))
    rows: Singles = field(default_factory=lambda: np.empty((0, len(FEATURES)), np.float32))


class Indicators:
    """Turn each bar of one symbol into its model input; other messages pass through.

    Ready after 187 bars: 128 for the first row, then 60 rows in all.
    """

    def __init__(self) -> None:
        self.state = IndicatorState()

    def on(self, message: Any) -> Iterable[Any]:
        """Answer a `Bar` or `NoBar` with `Features`, and let everything else through."""
        if isinstance(message, NoBar):
            return (absent(message.symbol, message.ts_close),)
        if not isinstance(message, Bar):
            return (message,)
        state = self.state
        state.bars = np.vstack((state.bars[-(LOOKBACK - 1) :], bar_row(message)))
        volatility = 0.0
        if len(state.bars) == LOOKBACK:
            row, volatility = feature_row(
                state.bars, message.session_index, message.session_fraction
            )
            state.rows = np.vstack((state.rows[-(WINDOW - 1) :], row))
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
