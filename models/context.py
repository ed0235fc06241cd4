"""Features against the market: each symbol's less the mean of all at that moment.

What all symbols do at once is decided by few independent moments, and a model that learns it from a
few weeks learns those weeks. What one does against the others has as many moments as symbols, and
lasts: see the walk-forward comparison in the forecast's card. One function each for serving, which
has the cross-section at hand, and for stored bars.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.datasets import SymbolBars
from models.features import Singles

LEAST = 2  # symbols; one alone has no market and stays as it is


def relative(windows: Singles, ready: NDArray[np.bool_]) -> Singles:
    """Return windows, (symbols, WINDOW, features), less the mean over the `ready` symbols.

    >>> two = np.array([[[1.0]], [[3.0]], [[9.0]]], np.float32)
    >>> relative(two, np.array([True, True, False])).ravel().tolist()
    [-1.0, 1.0, 7.0]
    """
    if ready.sum() < LEAST:
        return windows
    mean = windows[ready].mean(axis=0, dtype=np.float64)
    return windows - mean.astype(np.float32)


def relative_bars(by_symbol: Mapping[str, SymbolBars]) -> dict[str, SymbolBars]:
    """Return the bars with features less the mean of all symbols that have some at that close."""
    stamps = np.unique(np.concatenate([bars.ts_close for bars in by_symbol.values()]))
    places = {name: np.searchsorted(stamps, bars.ts_close) for name, bars in by_symbol.items()}
    width = next(iter(by_symbol.values())).features.shape[1]
    total, count = np.zeros((len(stamps), width)), np.zeros(len(stamps))
    known = {name: np.isfinite(bars.features).all(axis=1) for name, bars in by_symbol.items()}
    for name, bars in by_symbol.items():
        at = places[name][known[name]]  # each close once, so that adding by index is safe
        total[at] += bars.features[known[name]]
        count[at] += 1.0
    mean = (total / np.maximum(count, 1.0)[:, None]).astype(np.float32)
    mean[count < LEAST] = 0.0
    return {
        name: replace(bars, features=bars.features - mean[places[name]])
        for name, bars in by_symbol.items()
    }
