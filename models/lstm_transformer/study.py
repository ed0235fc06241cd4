"""Everything the evaluation report says about a forecast: metrics, calibration, leaks, drift.

All of it from the exported graph, on the splits of training; nothing is fitted on the test split.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from models import datasets, runtime, statistics
from models.context import relative_bars
from models.datasets import SymbolBars
from models.features import Floats, Singles
from models.lstm_transformer import baselines
from models.lstm_transformer.baselines import Logistic
from models.lstm_transformer.forecaster import Forecast, Forecaster
from models.lstm_transformer.samples import HORIZONS, Samples, Stack
from models.runtime import Artefact
from models.schema import FEATURES

BATCH = 2_048
BINS = 15
DELAYS = (0, 1, 2, 5, 10)  # bars between the forecast and where its return begins
SEED = 7
_DAY = 86_400_000_000_000


def study(interval: str, stack: Stack, folder: Path = runtime.ONNX) -> dict[str, Any]:
    """Return the figures of `forecast_{interval}` on the test split of `stack`."""
    artefact = runtime.load(f"forecast_{interval}", kind="forecast", folder=folder)
    test = stack.splits["test"]
    found = predict(Forecaster(artefact), stack, test)
    logistic = Logistic.read(folder / artefact.entry["logistic"])
    rows = stack.features[test.rows]
    scores = {
        "model": found.p_up,
        "logistic regression": logistic.probability(rows),
        "momentum": baselines.momentum(rows, HORIZONS[interval]),
    }
    blocks = {"day": statistics.days_of(test.ts_close), "hour": statistics.hours_of(test.ts_close)}
    moved = test.returns != 0.0
    rises = test.returns > 0.0
    return {
        "model": artefact.identity,
        "n": len(test),
        "unmoved": int((~moved).sum()),
        "abstained": int(found.abstains.sum()),
        "spans": stack.spans,
        "blocks": {kind: int(block.max()) + 1 for kind, block in blocks.items()},
        "metrics": {
            name: {kind: _measured(score, test, block) for kind, block in blocks.items()}
            for name, score in scores.items()
        },
        "better_than_logistic": {
            kind: _paired(found.p_up, scores["logistic regression"], test, block)
            for kind, block in blocks.items()
        },
        "ece": statistics.block_bootstrap(
            statistics.weighted_ece(rises[moved], found.p_up[moved]), blocks["day"][moved]
        ),
        "brier": statistics.brier(rises[moved], found.p_up[moved]),
        "reliability": reliability(rises[moved], found.p_up[moved]),
        "coverage": _coverage(found, test),
        "by_day": _by_day(found.p_up, test),
        "by_symbol": _by_symbol(found.p_up, test, stack.symbols),
        "shuffled_labels": shuffled(stack, SEED),
        "drift": drift(stack.inputs[stack.splits["fit"].rows], stack.inputs[test.rows]),
    }


def predict(forecaster: Forecaster, stack: Stack, samples: Samples) -> Forecast:
    """Return the forecasts of all samples."""
    # So that quantiles stay in units of volatility x sqrt(horizon), as targets are.
    volatility = np.full(len(samples), 1.0 / np.sqrt(forecaster.horizon_bars))
    parts = [
        forecaster.predict_inputs(
            stack.windows(samples.take(chosen)), volatility[chosen], np.ones(len(chosen), bool)
        )
        for chosen in np.array_split(np.arange(len(samples)), len(samples) // BATCH + 1)
    ]
    return Forecast(
        **{
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in Forecast.__dataclass_fields__
        }
    )


def reliability(rises: datasets.Flags, chances: Floats, bins: int = BINS) -> list[dict[str, Any]]:
    """Return, for bins of equal count, the mean chance given and how often prices rose."""
    order = np.argsort(chances, kind="stable")
    return [
        {
            "n": len(part),
            "chance": float(chances[part].mean()),
            "rose": float(rises[part].mean()),
        }
        for part in np.array_split(order, bins)
    ]


def shuffled(stack: Stack, seed: int) -> list[float]:
    """Return the test AUC, with its interval, of a regression fitted on labels dealt anew.

    Far from one half would mean that the test rows leak into the fit, or the measure is wrong.
    """
    fit, test = stack.splits["fit"], stack.splits["test"]
    up = np.random.default_rng(seed).permutation(fit.returns > 0.0)
    rows = stack.features[fit.rows]
    mask = (rows.std(0) > 1e-3).astype(np.float64)
    scores = baselines.fit(rows, up, mask).probability(stack.features[test.rows])
    moved = test.returns != 0.0
    statistic = statistics.weighted_auc(test.returns[moved] > 0.0, scores[moved])
    return statistics.block_bootstrap(statistic, statistics.days_of(test.ts_close)[moved])


def delayed(
    bars: dict[str, SymbolBars], artefact: Artefact, after: int, stride: int = 5
) -> dict[int, list[float]]:
    """Return the IC with the return that begins so many bars later, for bars after `after` (ns).

    A forecast that lives on the bounce of last prices dies within a bar or two.
    """
    horizon = int(artefact.entry["horizon_bars"])
    forecaster = Forecaster(artefact)
    values: list[Floats] = []
    stamps: list[datasets.Integers] = []
    returns: dict[int, list[Floats]] = {delay: [] for delay in DELAYS}
    read = relative_bars(bars) if forecaster.relative else bars
    for name, symbol in bars.items():
        label = datasets.labels(symbol, horizon)
        at = np.flatnonzero(symbol.ready & (symbol.ts_close > after) & np.isfinite(label))
        at = at[symbol.ts_close[at] // symbol.interval % stride == 0]
        for part in np.array_split(at, len(at) // BATCH + 1):
            if len(part):
                ready = np.ones(len(part), bool)
                found = forecaster.predict_inputs(
                    read[name].windows(part), symbol.volatility[part], ready
                )
                values.append(found.value)
                stamps.append(symbol.ts_close[part])
                for delay in DELAYS:
                    later = np.r_[label[delay:], np.full(delay, np.nan)]
                    returns[delay].append(later[part])
    value, block = np.concatenate(values), statistics.days_of(np.concatenate(stamps))
    out = {}
    for delay, parts in returns.items():
        later = np.concatenate(parts)
        known = np.isfinite(later)
        statistic = statistics.weighted_ic(value[known], later[known])
        out[delay] = statistics.block_bootstrap(statistic, block[known])
    return out


def drift(fit: Singles, other: Singles, bins: int = 10) -> dict[str, float]:
    """Return each feature's population stability index between two sets of rows, largest first.

    Sum over bins of (share - expected) x log(share / expected), bins of equal count in `fit`;
    by custom .1 is little and .25 is much.
    """
    found = {}
    for column, name in enumerate(FEATURES):
        edges = np.unique(np.quantile(fit[:, column], np.linspace(0.0, 1.0, bins + 1)[1:-1]))
        shares = [
            np.bincount(np.searchsorted(edges, rows[:, column]), minlength=len(edges) + 1)
            / len(rows)
            for rows in (fit, other)
        ]
        expected, seen = (np.maximum(share, 1e-4) for share in shares)
        found[name] = float(((seen - expected) * np.log(seen / expected)).sum())
    return dict(sorted(found.items(), key=lambda each: -each[1]))


def _measured(scores: Floats, samples: Samples, block: datasets.Integers) -> dict[str, list[float]]:
    moved = samples.returns != 0.0
    auc = statistics.weighted_auc(samples.returns[moved] > 0.0, scores[moved])
    ic = statistics.weighted_ic(scores, samples.returns)
    neutral = statistics.weighted_ic(scores, samples.neutral)
    return {
        "auc": statistics.block_bootstrap(auc, block[moved]),
        "ic": statistics.block_bootstrap(ic, block),
        # Without the market's common move, which a few days of test decide by chance.
        "neutral_ic": statistics.block_bootstrap(neutral, block),
    }


def _paired(
    ours: Floats, theirs: Floats, samples: Samples, block: datasets.Integers
) -> dict[str, list[float]]:
    """Return how much better our scores are, both drawn on the same blocks."""
    moved = samples.returns != 0.0
    rises = samples.returns[moved] > 0.0

    def difference(
        prepared: Callable[[Floats], statistics.Statistic], where: datasets.Flags
    ) -> list[float]:
        first, second = (
            statistics.draws_of(prepared(scores[where]), block[where]) for scores in (ours, theirs)
        )
        return statistics.interval_of(first - second)

    everywhere = np.ones(len(samples), bool)
    return {
        "auc": difference(lambda scores: statistics.weighted_auc(rises, scores), moved),
        "ic": difference(
            lambda scores: statistics.weighted_ic(scores, samples.returns), everywhere
        ),
        "neutral_ic": difference(
            lambda scores: statistics.weighted_ic(scores, samples.neutral), everywhere
        ),
    }


def _coverage(found: Forecast, samples: Samples) -> dict[str, float]:
    """Return the shares of targets outside the quantiles .1 and .9."""
    spoken = ~found.abstains
    target, quantiles = samples.target[spoken], found.quantiles[spoken]
    return {
        "below_low": float((target < quantiles[:, 0]).mean()),
        "above_high": float((target > quantiles[:, 2]).mean()),
    }


def _by_day(scores: Floats, samples: Samples) -> list[dict[str, Any]]:
    days = samples.ts_close // _DAY
    return [
        {
            "day": str(np.datetime64(int(day), "D")),
            "n": int(of.sum()),
            "auc": _auc(scores[of], samples.returns[of]),
            "ic": statistics.ic(scores[of], samples.returns[of]),
        }
        for day in np.unique(days)
        for of in [days == day]
    ]


def _by_symbol(
    scores: Floats, samples: Samples, symbols: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    return {
        symbols[code]: {
            "n": int(of.sum()),
            "auc": _auc(scores[of], samples.returns[of]),
            "ic": statistics.ic(scores[of], samples.returns[of]),
        }
        for code in np.unique(samples.symbol)
        for of in [samples.symbol == code]
    }


def _auc(scores: Floats, returns: Floats) -> float:
    moved = returns != 0.0
    return statistics.auc(returns[moved] > 0.0, scores[moved])
