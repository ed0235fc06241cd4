"""Which inputs and targets foretell later sessions: walk-forward experiments before any training.

    python -m models.lstm_transformer.walk_forward --data DIR --cache DIR --out DIR

Four folds of four sessions each, all before the test split: each is foretold from all sessions
before it, less an embargo of a window and a horizon of bars. The test split is not looked at.
Regressions and boosted trees on the last row, so that a comparison takes minutes and what the
network is given rests on more than two days of tuning.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from models import runtime, statistics
from models.datasets import Integers
from models.features import Floats
from models.lstm_transformer import baselines
from models.lstm_transformer.samples import HORIZONS, INTERVALS, Samples, Stack, assemble, join
from models.lstm_transformer.validation import feature_moments
from models.schema import WINDOW

FOLDS, SESSIONS = 4, 4
RIDGES = (10.0, 1_000.0, 30_000.0)
SHARES = (0.2, 0.5, 1.0)  # of the market that is put back into relative features
GROUPS = (2, 6, 24)  # symbols of a market smaller than all

Predict = Callable[[Floats], Floats]


def folds(samples: Samples, embargo: int) -> Iterator[tuple[Integers, Integers]]:
    """Yield the rows that are fitted and those that are foretold, fold by fold.

    `embargo` (ns) lies between the last row that is fitted and the first that is foretold.
    """
    day = statistics.days_of(samples.ts_close)
    last = int(day.max()) + 1
    for fold in range(FOLDS):
        begin = last - SESSIONS * (FOLDS - fold)
        asked = np.flatnonzero((day >= begin) & (day < begin + SESSIONS))
        first = samples.ts_close[asked].min()
        yield np.flatnonzero(samples.ts_close < first - embargo), asked


def experiments(stack: Stack) -> dict[str, Callable[[Integers, Integers], Floats]]:
    """Return what is tried, by name: a function of fitted and foretold rows that gives scores."""
    samples = known(stack)
    plain = stack.features[samples.rows].astype(np.float64)
    relative = stack.inputs[samples.rows].astype(np.float64)
    market = plain - relative
    up, better = samples.returns > 0.0, samples.neutral > 0.0
    moved, apart = samples.returns != 0.0, np.abs(samples.neutral) > 1e-9

    def regression(rows: Floats, label: Any, counts: Any, ridge: float) -> Any:
        def run(fitted: Integers, asked: Integers) -> Floats:
            some = fitted[counts[fitted]]
            mask = feature_moments(rows[some].astype(np.float32))[0]
            model = baselines.fit(rows[some], label[some], mask, ridge=ridge)
            return model.probability(rows[asked].astype(np.float32))

        return run

    def trees(rows: Floats) -> Any:
        from sklearn.ensemble import HistGradientBoostingRegressor  # noqa: PLC0415 - train extra

        def run(fitted: Integers, asked: Integers) -> Floats:
            model = HistGradientBoostingRegressor(
                max_iter=150, learning_rate=0.04, max_leaf_nodes=15, min_samples_leaf=2_000,
                l2_regularization=50.0, early_stopping=False, random_state=0,
            )  # fmt: skip
            model.fit(rows[fitted], np.clip(samples.neutral[fitted], -3.0, 3.0))
            out: Floats = model.predict(rows[asked])
            return out

        return run

    found = {}
    for ridge in RIDGES:
        found[f"plain features, sign of the return, ridge {ridge:,.0f}"] = regression(
            plain, up, moved, ridge
        )
        found[f"plain features, better than the market, ridge {ridge:,.0f}"] = regression(
            plain, better, apart, ridge
        )
        found[f"relative features, sign of the return, ridge {ridge:,.0f}"] = regression(
            relative, up, moved, ridge
        )
        found[f"relative features, better than the market, ridge {ridge:,.0f}"] = regression(
            relative, better, apart, ridge
        )
    for share in SHARES:
        found[f"relative features and {share:.0%} of the market's"] = regression(
            relative + share * market, better, apart, RIDGES[-1]
        )
    found["relative and the market's features side by side"] = regression(
        np.hstack([relative, market]), better, apart, RIDGES[-1]
    )
    found["the market's features alone, sign of the return"] = regression(
        market, up, moved, RIDGES[-1]
    )
    for size in GROUPS:
        found[f"relative to markets of {size} symbols"] = regression(
            plain - _of_groups(stack, samples, size), better, apart, RIDGES[-1]
        )
    found["boosted trees on relative features"] = trees(relative)
    found["boosted trees on relative and market features"] = trees(np.hstack([relative, market]))
    return found


def known(stack: Stack) -> Samples:
    """Return all samples but those of the test split."""
    return join([stack.splits[use] for use in ("fit", "tune", "calibrate")])


def compare(stack: Stack, embargo: int) -> dict[str, dict[str, list[float]]]:
    """Return AUC, IC and neutral IC of each experiment in each fold, best mean IC first."""
    samples = known(stack)
    found: dict[str, dict[str, list[float]]] = {}
    for name, run in experiments(stack).items():
        scores: dict[str, list[float]] = {"auc": [], "ic": [], "neutral_ic": []}
        for fitted, asked in folds(samples, embargo):
            score = run(fitted, asked)
            returns = samples.returns[asked]
            moved = returns != 0.0
            scores["auc"].append(statistics.auc(returns[moved] > 0.0, score[moved]))
            scores["ic"].append(statistics.ic(score, returns))
            scores["neutral_ic"].append(statistics.ic(score, samples.neutral[asked]))
        found[name] = scores
        print(name, {metric: np.round(np.mean(of), 4) for metric, of in scores.items()}, flush=True)  # noqa: T201
    return dict(sorted(found.items(), key=lambda each: -float(np.mean(each[1]["ic"]))))


def _of_groups(stack: Stack, samples: Samples, size: int) -> Floats:
    """Return the mean features of each sample's group of symbols at its bar close."""
    shuffled = np.random.default_rng(0).permutation(len(stack.symbols))
    group = shuffled[stack.symbol_of] // size
    finite = np.isfinite(stack.features).all(axis=1)
    moments, moment = np.unique(stack.ts_close, return_inverse=True)
    groups = int(group.max()) + 1
    place = moment * groups + group
    count = np.bincount(place[finite], minlength=len(moments) * groups)
    asked = place[samples.rows]
    columns = [
        np.bincount(place[finite], column[finite].astype(np.float64), len(moments) * groups)[asked]
        for column in stack.features.T
    ]
    out: Floats = np.stack(columns, axis=1) / np.maximum(count[asked], 1)[:, None]
    return out


def main() -> None:
    """Run all experiments of the one-minute forecast and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--interval", choices=sorted(INTERVALS), default="1m")
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    parser.add_argument("--cache", type=Path, help="where computed features are kept")
    parser.add_argument("--out", type=Path, default=runtime.ONNX.parent / "docs")
    chosen = parser.parse_args()
    stack = assemble(chosen.interval, chosen.data, chosen.cache)
    embargo = (WINDOW + HORIZONS[chosen.interval]) * INTERVALS[chosen.interval]
    found = compare(stack, embargo)
    chosen.out.mkdir(parents=True, exist_ok=True)
    path = chosen.out / f"walk_forward_{chosen.interval}.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
