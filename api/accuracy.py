"""How right signals were, computed from stored outcomes."""

from typing import Any

import numpy as np

from api.rows import Row
from models.features import Floats
from models.statistics import ic, wilson

BINS = 10  # of P(up)
_LEAST = 3  # pairs that a correlation needs
LEGS = {
    "score": "score",
    "forecast": "forecast_value",
    "policy": "policy_value",
    "sentiment": "sentiment_value",
}


def accuracy_of(rows: list[Row], since: int, until: int, stretches: int) -> dict[str, Any]:
    """Return hits and ranks by leg, calibration, and the score's hit rate over time."""
    realised = _column(rows, "realised_return")
    values = {leg: _column(rows, column) for leg, column in LEGS.items()}
    return {
        "legs": {leg: _leg(found, realised) for leg, found in values.items()},
        "calibration": _calibration(_column(rows, "p_up"), realised),
        "over_time": _over_time(rows, values, realised, since, until, stretches),
    }


def _column(rows: list[Row], name: str) -> Floats:
    """Return a column, NaN where it is unknown."""
    return np.array([np.nan if row[name] is None else row[name] for row in rows], np.float64)


def _hits(values: Floats, realised: Floats) -> tuple[int, int]:
    """Return how often the signs met, and of how many; zeros say nothing."""
    says = np.isfinite(values) & np.isfinite(realised) & (values != 0.0) & (realised != 0.0)
    met = np.sign(values[says]) == np.sign(realised[says])
    return int(met.sum()), int(says.sum())


def _leg(values: Floats, realised: Floats) -> dict[str, Any]:
    hits, n = _hits(values, realised)
    both = np.isfinite(values) & np.isfinite(realised)
    varied = both.sum() >= _LEAST and np.ptp(values[both]) > 0 and np.ptp(realised[both]) > 0
    return {
        "n": n,
        "hits": hits,
        "hit_rate": hits / n if n else None,
        "interval": wilson(hits, n),
        "ic": ic(values[both], realised[both]) if varied else None,
    }


def _calibration(p_up: Floats, realised: Floats) -> list[dict[str, Any]]:
    edges = np.linspace(0.0, 1.0, BINS + 1)
    known = np.isfinite(p_up) & np.isfinite(realised)
    bins = np.clip((p_up[known] * BINS).astype(np.int64), 0, BINS - 1)
    up = realised[known] > 0.0
    found = []
    for index in range(BINS):
        here = bins == index
        n = int(here.sum())
        found.append(
            {
                "low": float(edges[index]),
                "high": float(edges[index + 1]),
                "n": n,
                "forecast": float(p_up[known][here].mean()) if n else None,
                "realised": float(up[here].mean()) if n else None,
            }
        )
    return found


def _over_time(
    rows: list[Row],
    values: dict[str, Floats],
    realised: Floats,
    since: int,
    until: int,
    stretches: int,
) -> list[dict[str, Any]]:
    if not rows:
        return []
    closes = np.array([row["ts_close"] for row in rows], np.int64)
    begin = max(since, int(closes.min()))
    span = max((until - begin) // stretches + 1, 1)
    places = np.clip((closes - begin) // span, 0, stretches - 1)
    found = []
    for index in np.unique(places).tolist():
        here = places == index
        hits, n = _hits(values["score"][here], realised[here])
        found.append(
            {
                "since": begin + index * span,
                "n": n,
                "hit_rate": hits / n if n else None,
                "abstained": float(np.isnan(values["forecast"][here]).mean()),
            }
        )
    return found
