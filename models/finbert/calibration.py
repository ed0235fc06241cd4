"""Make a classifier's probabilities as frequent as they say: a temperature and class offsets."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from models.finbert.scorer import softmax

Floats = NDArray[np.float64]


class Calibration(NamedTuple):
    """`softmax(logits / temperature + offsets)` is what the scorer answers."""

    temperature: float
    offsets: list[float]  # one a class, their sum zero

    def probabilities(self, logits: NDArray[np.floating]) -> Floats:
        """Return probabilities (rows, classes) of logits."""
        return softmax(logits.astype(np.float64) / self.temperature + np.array(self.offsets))


def fit_calibration(
    sets: Sequence[tuple[NDArray[np.floating], NDArray[np.integer]]],
) -> Calibration:
    """Return what makes the labels of the sets likeliest, each set of equal weight.

    `sets` are logits (rows, classes) and labels (rows,). The offsets take back what class weights
    in the loss have put in: bias-corrected temperature scaling (Alexandari et al., 2020).
    """
    logits = np.concatenate([each.astype(np.float64) for each, _ in sets])
    labels = np.concatenate([each for _, each in sets])
    weights = np.concatenate([np.full(len(each), 1.0 / len(each)) for _, each in sets])
    rows, classes = np.arange(len(labels)), logits.shape[1]

    def loss(theta: Floats) -> tuple[float, Floats]:
        scaled = logits * np.exp(theta[0])
        chances = softmax(scaled + theta[1:])
        error = chances.copy()
        error[rows, labels] -= 1.0
        error *= weights[:, None]
        picked = np.maximum(chances[rows, labels], 1e-12)
        gradient = np.concatenate(([(error * scaled).sum()], error.sum(0)))
        return -float((weights * np.log(picked)).sum()), gradient

    bounds = [(-np.log(4.0), np.log(4.0))] + [(-3.0, 3.0)] * classes
    theta = minimize(loss, np.zeros(classes + 1), jac=True, bounds=bounds, method="L-BFGS-B").x
    offsets = theta[1:] - theta[1:].mean()  # a shift of all classes changes nothing
    return Calibration(
        round(float(np.exp(-theta[0])), 4), [round(float(offset), 4) for offset in offsets]
    )
