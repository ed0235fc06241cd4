"""What a forecast must beat: a logistic regression on the last row, and plain momentum.

The regression is fitted at training time on the fit split alone and stored as numbers, so
that an evaluation never fits anything on the data it measures.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.datasets import Flags
from models.features import Floats, Singles
from models.schema import FEATURES

RIDGE = 10.0  # on standardised features: neighbouring features are nearly the same


@dataclass(frozen=True)
class Logistic:
    """P(up) from the last row's features."""

    mean: Floats
    scale: Floats
    weights: Floats
    bias: float

    def probability(self, rows: Singles) -> Floats:
        """Return P(up) for feature rows, (n, features)."""
        scores = (rows.astype(np.float64) - self.mean) / self.scale @ self.weights + self.bias
        out: Floats = 1.0 / (1.0 + np.exp(-scores))
        return out

    def write(self, path: Path) -> None:
        """Store the coefficients as JSON, to ten decimals.

        What lies beyond depends on how many threads the linear algebra ran on.
        """
        content = {
            "features": list(FEATURES),
            "mean": self.mean.round(10).tolist(),
            "scale": self.scale.round(10).tolist(),
            "weights": self.weights.round(10).tolist(),
            "bias": round(self.bias, 10),
        }
        path.write_text(json.dumps(content, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Logistic":
        """Read what `write` stored."""
        content = json.loads(path.read_text())
        mean, scale, weights = (np.array(content[name]) for name in ("mean", "scale", "weights"))
        return cls(mean, scale, weights, float(content["bias"]))


def fit(rows: Singles, up: Flags, mask: Floats, steps: int = 12, ridge: float = RIDGE) -> Logistic:
    """Fit by Newton's method with a ridge penalty; `mask` is 0 for features left out."""
    mean = rows.mean(0, dtype=np.float64) * mask
    spread = rows.std(0, dtype=np.float64)
    scale = np.where((mask > 0) & (spread > 1e-6), spread, 1.0)
    used = np.flatnonzero((mask > 0) & (spread > 1e-6))
    inputs = np.hstack(((rows[:, used] - mean[used]) / scale[used], np.ones((len(rows), 1))))
    penalty = np.diag([*np.full(len(used), ridge), 0.0])
    theta = np.zeros(len(used) + 1)
    for _ in range(steps):
        chance = 1.0 / (1.0 + np.exp(-inputs @ theta))
        slope = inputs.T @ (chance - up) + penalty @ theta
        curve = (inputs * (chance * (1.0 - chance))[:, None]).T @ inputs + penalty
        step = np.linalg.solve(curve, slope)
        theta -= step
        if np.abs(step).max() < 1e-8:
            break
    weights = np.zeros(rows.shape[1])
    weights[used] = theta[:-1]
    return Logistic(mean, scale, weights, float(theta[-1]))


def momentum(rows: Singles, horizon: int) -> Floats:
    """Return the past return over (about) the horizon, as a forecast that it goes on."""
    out: Floats = rows[:, FEATURES.index(f"roc_{horizon}")].astype(np.float64)
    return out
