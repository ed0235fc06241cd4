"""What a policy must beat beside doing nothing: momentum, and the forecast without a policy.

Both act under the policy's own rules and costs, so that only the choice of position differs.
"""

from collections.abc import Mapping

import numpy as np

from models.context import relative_bars
from models.datasets import SymbolBars
from models.features import Floats, Singles
from models.lstm_transformer.forecaster import Forecaster
from models.ppo.market import Market
from models.ppo.replay import Act
from models.ppo.rules import Flags, Integers
from models.schema import FEATURES

MOVED = 1.0  # deviations of the past return from which momentum takes a side
EDGE = 0.25  # share of the forecast's validation outputs that are stronger than what is acted on
BATCH = 512


def _certain(side: Integers) -> Floats:
    """Return probabilities, (symbols, 3), that leave no doubt."""
    out: Floats = np.eye(3)[side + 1]
    return out


def momentum(horizon: int) -> Act:
    """Return a policy that follows the past return over `horizon` bars once it is large.

    In between it keeps what it has.
    """
    column = FEATURES.index(f"roc_{horizon}")

    def act(features: Singles, position: Integers, held: Integers, ready: Flags) -> Floats:  # noqa: ARG001 - as replay calls it
        past = features[:, -1, column]
        return _certain(np.where(np.abs(past) >= MOVED, np.sign(past), position).astype(np.int64))

    return act


def threshold(views: Floats, level: float = 1.0 - EDGE) -> Act:
    """Return a policy that takes the forecast's side where it is sure, and else keeps what it has.

    `views` is the forecast's value, (times, symbols), in the order in which replay asks: its
    size is the rank of the output among the validation outputs.
    """
    rows = iter(views)

    def act(features: Singles, position: Integers, held: Integers, ready: Flags) -> Floats:  # noqa: ARG001 - as replay calls it
        view = next(rows)
        return _certain(np.where(np.abs(view) >= level, np.sign(view), position).astype(np.int64))

    return act


def forecast_views(
    bars: Mapping[str, SymbolBars], market: Market, forecaster: Forecaster
) -> Floats:
    """Return the forecast's value at each bar close of the market, (times, symbols)."""
    stamps = np.unique(market.ts_close)
    read = relative_bars(bars) if forecaster.relative else bars
    views = np.zeros((len(stamps), len(market.symbols)))
    for column, name in enumerate(market.symbols):
        symbol = bars[name]
        asked = np.flatnonzero(symbol.ready & np.isin(symbol.ts_close, stamps))
        for first in range(0, len(asked), BATCH):
            rows = asked[first : first + BATCH]
            forecast = forecaster.predict_inputs(
                read[name].windows(rows), symbol.volatility[rows], np.ones(len(rows), bool)
            )
            views[np.searchsorted(stamps, symbol.ts_close[rows]), column] = forecast.value
    return views
