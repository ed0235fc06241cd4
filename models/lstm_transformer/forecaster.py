"""The forecast as serving runs it: NumPy and ONNX Runtime only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.features import Floats, Singles
from models.runtime import Artefact, rank

Flags = NDArray[np.bool_]

# ONNX Runtime's kernels take rows by fours and what is left over by another way, which rounds
# otherwise. Batches of whole fours give a row the same bits beside any others: a shard forecasts
# its own symbols as the whole universe would.
_ROWS = 4


@dataclass(frozen=True, slots=True)
class Forecast:
    """The forecast for each symbol of a cross-section, rows as given.

    A row that abstains says nothing: value and certainty 0, P(up) one half, quantiles 0.
    """

    p_up: Floats  # (symbols,) calibrated probability of a positive return at the horizon
    quantiles: Floats  # (symbols, 3): log returns at the levels .1, .5, .9
    value: Floats  # (symbols,) in [-1, 1], positive is bullish
    certainty: Floats  # (symbols,) in [0, 1]
    abstains: Flags  # (symbols,)


class Forecaster:
    """Forecast returns of whole cross-sections with one verified artefact."""

    def __init__(self, artefact: Artefact, threads: int = 1) -> None:
        """Open the session; take what turns its outputs into a leg from the manifest."""
        entry = artefact.entry
        self.identity = artefact.identity
        self.horizon_bars = int(entry["horizon_bars"])
        self.horizon_ns = self.horizon_bars * int(entry["interval_ns"])
        self.skill = float(entry["skill"]["value"])
        self._ranks: list[float] = entry["ranks"]
        self._centre = float(entry["centre"])
        known = entry["distribution"]
        self._mean = np.array(known["mean"])
        self._weight = np.array(known["weight"])  # 0 for features the model does not read
        self._limit = float(known["limit"])
        self._session = artefact.session(threads)

    def predict(self, features: Singles, volatility: Floats, ready: Flags) -> Forecast:
        """Forecast a cross-section of windows, (symbols, WINDOW, features), float32.

        `volatility` is (symbols,), of one-bar log returns. A row abstains when it is not
        `ready`, when its symbol does not move at all, or when it is unlike the fit data.
        """
        count = len(features)
        levels, chance = (
            found[:count]
            for found in self._session.run(["quantiles", "p_up"], {"features": _whole(features)})
        )
        abstains = ~ready | (volatility <= 0.0) | (self.strangeness(features) > self._limit)
        p_up = np.where(abstains, 0.5, chance.astype(np.float64))
        reach = volatility * np.sqrt(self.horizon_bars)
        quantiles = np.where(abstains, 0.0, reach)[:, None] * levels.astype(np.float64)
        edge = np.where(abstains, 0.0, 2.0 * p_up - 1.0 - self._centre)
        certainty = np.where(abstains, 0.0, rank(np.abs(edge), self._ranks))
        return Forecast(p_up, quantiles, np.sign(edge) * certainty, certainty, abstains)

    def strangeness(self, features: Singles) -> Floats:
        """Return the last row's mean squared distance from the fit data, in deviations."""
        distance = features[:, -1].astype(np.float64) - self._mean
        out: Floats = (distance * distance * self._weight).sum(axis=1)
        return out


def _whole(features: Singles) -> Singles:
    """Return windows with as many empty ones behind as make whole fours."""
    lacking = -len(features) % _ROWS
    if not lacking:
        return features
    return np.concatenate([features, np.zeros((lacking, *features.shape[1:]), features.dtype)])
