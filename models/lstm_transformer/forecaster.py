"""The forecast as serving runs it: NumPy and ONNX Runtime only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.context import relative
from models.features import Floats, Singles
from models.inference import Balanced, Device
from models.runtime import Artefact, rank
from models.schema import FEATURES, WINDOW
from models.seen import trained_until

Flags = NDArray[np.bool_]

# ONNX Runtime's kernels take rows by fours and what is left over by another way, which rounds
# otherwise. Batches of whole fours give a row the same bits beside any others: a shard forecasts
# its own symbols as the whole universe would.
_ROWS = 4
OUTPUTS = ("quantiles", "p_up", "disagreement", "strangeness")


@dataclass(frozen=True, slots=True)
class Forecast:
    """The forecast for each symbol of a cross-section, rows as given.

    A row that abstains says nothing: value and certainty 0, P(up) one half, quantiles 0.
    """

    p_up: Floats  # (symbols,) calibrated probability of a positive return at the horizon
    quantiles: Floats  # (symbols, 3): log returns at the levels .1, .5, .9
    value: Floats  # (symbols,) in [-1, 1], positive is bullish
    certainty: Floats  # (symbols,) in [0, 1]
    disagreement: Floats  # (symbols,): standard deviation over members of P(up)'s logit
    strangeness: Floats  # (symbols, 2): of hidden state and tokens; about 1 for what was learned
    abstains: Flags  # (symbols,)


class Forecaster:
    """Forecast returns of whole cross-sections with one verified artefact."""

    def __init__(self, artefact: Artefact, threads: int = 1, device: Device = "cpu") -> None:
        """Open the session; take what turns its outputs into a leg from the manifest."""
        entry = artefact.entry
        self.identity = artefact.identity
        self.horizon_bars = int(entry["horizon_bars"])
        self.horizon_ns = self.horizon_bars * int(entry["interval_ns"])
        self.skill = float(entry["skill"]["value"])
        self.trained_until = trained_until(entry)
        # For each side of the intervals, how wide at evenly spaced shares of returns within.
        self.widths: tuple[list[float], list[float]] = (
            entry["widths"]["below"],
            entry["widths"]["above"],
        )
        self.relative = bool(entry.get("relative", False))
        self._ranks: list[float] = entry["ranks"]
        self._centre = float(entry["centre"])
        self._doubt = float(entry["doubt"])
        self._usual = np.array(entry["hidden"]["limits"])
        known = entry["distribution"]
        self._mean = np.array(known["mean"])
        self._weight = np.array(known["weight"])  # 0 for features the model does not read
        self._limit = float(known["limit"])
        self._session = artefact.session(threads, device)
        if isinstance(self._session, Balanced):
            self._session.balance(
                lambda rows: {"features": np.zeros((rows, WINDOW, len(FEATURES)), np.float32)}
            )

    def predict(self, features: Singles, volatility: Floats, ready: Flags) -> Forecast:
        """Forecast a cross-section of windows, (symbols, WINDOW, features), float32.

        All symbols of the moment at once: a model may read them against their mean.
        `volatility` is (symbols,), of one-bar log returns. A row abstains when it is not
        `ready`, when its symbol does not move at all, or when it is unlike the fit data: in its
        last row, or in what the network made of the whole window.
        """
        # One broken row must not reach the others through their mean.
        ready = ready & np.isfinite(features).all(axis=(1, 2))
        inputs = relative(features, ready) if self.relative else features
        return self.predict_inputs(inputs, volatility, ready)

    def predict_inputs(self, features: Singles, volatility: Floats, ready: Flags) -> Forecast:
        """As `predict`, of rows of any moments whose market has been taken off already."""
        levels, chance, disagreement, strangeness = self._run(features)
        abstains = ~ready | (volatility <= 0.0) | (self.distance(features) > self._limit)
        # Neither alone: a wild last row saturates the network, and looks ordinary inside.
        abstains |= (strangeness > self._usual).any(axis=1)
        p_up = np.where(abstains, 0.5, chance)
        reach = volatility * np.sqrt(self.horizon_bars)
        quantiles = np.where(abstains, 0.0, reach)[:, None] * levels
        edge = np.where(abstains, 0.0, 2.0 * p_up - 1.0 - self._centre)
        magnitude = doubted(edge, disagreement, self._doubt)
        certainty = np.where(abstains, 0.0, rank(magnitude, self._ranks))
        value = np.sign(edge) * certainty
        return Forecast(p_up, quantiles, value, certainty, disagreement, strangeness, abstains)

    def _run(self, features: Singles) -> tuple[Floats, Floats, Floats, Floats]:
        outputs = self._session.run(OUTPUTS, {"features": _whole(features)})
        levels, chance, disagreement, strangeness = (
            found[: len(features)].astype(np.float64) for found in outputs
        )
        return levels, chance, disagreement, strangeness

    def distance(self, features: Singles) -> Floats:
        """Return the last row's mean squared distance from the fit data, in deviations."""
        distance = features[:, -1].astype(np.float64) - self._mean
        out: Floats = (distance * distance * self._weight).sum(axis=1)
        return out


def doubted(edge: Floats, disagreement: Floats, weight: float) -> Floats:
    """Return what is left of the size of an edge, 2 P(up) - 1, where members disagree.

    `weight` standard deviations of theirs are taken off, as a lower bound would. `disagreement` is
    in logits, of which half a one is as much edge, near zero.

    >>> doubted(np.array([0.04, -0.04, 0.01]), np.array([0.0, 0.02, 0.04]), 1.0).tolist()
    [0.04, 0.03, 0.0]
    """
    return np.maximum(np.abs(edge) - weight * 0.5 * disagreement, 0.0)


def _whole(features: Singles) -> Singles:
    """Return windows with as many empty ones behind as make whole fours."""
    lacking = -len(features) % _ROWS
    if not lacking:
        return features
    return np.concatenate([features, np.zeros((lacking, *features.shape[1:]), features.dtype)])
