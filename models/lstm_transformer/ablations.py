"""What each part of the network is worth: the same training without it, on later sessions.

    python -m models.lstm_transformer.ablations --data DIR --cache DIR --out DIR

The last two walk-forward folds, four sessions each, all before the test split, which is not looked
at. Each variant is fitted on the sessions before a fold, but for the last two of them, which stop
it and say what share of the branches' logit to keep; one member, a third of the rows, the recipe
and seed of training.
"""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models import runtime, statistics
from models.datasets import Integers
from models.features import Floats
from models.lstm_transformer import baselines
from models.lstm_transformer.calibration import shrink, straight
from models.lstm_transformer.fitting import RECIPES, Feeder, Recipe, fit_member, start_linear
from models.lstm_transformer.network import Network, Shape
from models.lstm_transformer.samples import HORIZONS, INTERVALS, Samples, Stack, assemble
from models.lstm_transformer.validation import feature_moments, raw_outputs
from models.lstm_transformer.walk_forward import folds, known
from models.schema import FEATURES, WINDOW

SEED = 7
LAST = 2  # folds
TUNING = 2  # sessions before a fold
THIN = 3  # of the rows that training takes, every so many
VOLUME = ("mfi_14", "volume_zscore_60", "obv_slope_20", "vwap_distance")
WHOLE, STRAIGHT = "whole", "straight way alone"


@dataclass(frozen=True)
class Variant:
    """What is left of the network and of its input."""

    branches: str = "both"
    relative: bool = True
    left_out: tuple[str, ...] = ()


VARIANTS = {
    WHOLE: Variant(),
    "LSTM alone": Variant(branches="lstm"),
    "Transformer alone": Variant(branches="transformer"),
    "without cross-section": Variant(relative=False),
    "without volume": Variant(left_out=VOLUME),
}


def foretell(
    variant: Variant, stack: Stack, fit: Samples, tune: Samples, asked: Samples, recipe: Recipe
) -> tuple[Floats, Floats, float]:
    """Train a variant; return what it says of `asked`, and what its straight way alone does.

    The third is the share of the branches' logit that was kept.
    """
    torch.manual_seed(SEED)
    if not variant.relative:
        stack = replace(stack, inputs=stack.features)
    rows = stack.inputs[fit.rows]
    mask, mean, scale = feature_moments(rows)
    mask[[FEATURES.index(name) for name in variant.left_out]] = 0.0
    network = Network(Shape(members=1, branches=variant.branches))
    for buffer, values in ((network.mask, mask), (network.mean, mean), (network.scale, scale)):
        buffer.copy_(torch.from_numpy(values))
    apart = np.abs(fit.neutral) > 1e-9
    start_linear(
        network, baselines.fit(rows[apart], fit.neutral[apart] > 0.0, mask, ridge=recipe.ridge)
    )
    device = torch.device("cpu")
    feeders = Feeder(stack, fit, device), Feeder(stack, tune, device)
    fit_member(network.members[0], network, *feeders, recipe, SEED)  # type: ignore[arg-type]
    share = shrink(network, raw_outputs(network, stack, tune), straight(network, stack, tune), tune)
    found = raw_outputs(network, stack, asked)[:, 3]
    alone = straight(network, stack, asked)
    return found.double().numpy(), alone.double().numpy(), share


def ablate(stack: Stack, embargo: int, recipe: Recipe) -> dict[str, dict[str, list[float]]]:
    """Return each variant's AUC, IC and neutral IC, as `compared` does."""
    samples = known(stack)
    scores: dict[str, list[Floats]] = {name: [] for name in (*VARIANTS, STRAIGHT)}
    shares: dict[str, list[float]] = {name: [] for name in scores}  # fold by fold
    places: list[Integers] = []
    for fitted, asked in list(folds(samples, embargo))[-LAST:]:
        before = samples.take(fitted)
        day = statistics.days_of(before.ts_close)
        tuning = day > day.max() - TUNING
        tune = before.take(tuning)
        rest = before.take(before.ts_close < tune.ts_close.min() - embargo)
        fit = rest.take(np.arange(0, len(rest), THIN))
        places.append(asked)
        for name, variant in VARIANTS.items():
            print(name, flush=True)
            found, alone, share = foretell(variant, stack, fit, tune, samples.take(asked), recipe)
            scores[name].append(found / found.std())
            shares[name].append(share)
            if name == WHOLE:
                scores[STRAIGHT].append(alone / alone.std())
    asked_of = samples.take(np.concatenate(places))
    found_of = compared({name: np.concatenate(parts) for name, parts in scores.items()}, asked_of)
    return {name: {**of, "shares": shares[name]} for name, of in found_of.items()}


def compared(scores: dict[str, Floats], samples: Samples) -> dict[str, dict[str, list[float]]]:
    """Return metrics as [estimate, low, high] over draws of days; and each less the whole's."""
    days = statistics.days_of(samples.ts_close)
    moved = samples.returns != 0.0
    rises = samples.returns > 0.0
    metrics: dict[str, tuple[Any, Any]] = {
        "auc": (moved, lambda score: statistics.weighted_auc(rises[moved], score)),
        "ic": (..., lambda score: statistics.weighted_ic(score, samples.returns)),
        "neutral_ic": (..., lambda score: statistics.weighted_ic(score, samples.neutral)),
    }
    found: dict[str, dict[str, list[float]]] = {name: {} for name in scores}
    for metric, (of, prepare) in metrics.items():
        drawn = {
            name: statistics.draws_of(prepare(score[of]), days[of])
            for name, score in scores.items()
        }
        for name, values in drawn.items():
            found[name][metric] = statistics.interval_of(values)
            found[name][f"{metric} less whole"] = statistics.interval_of(values - drawn[WHOLE])
    return found


def table(found: dict[str, dict[str, list[float]]]) -> str:
    """Return the figures as a table of Markdown."""
    columns = ("auc", "ic", "neutral_ic", "ic less whole")
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, of in found.items():
        cells = ["{:.4f} [{:.4f}, {:.4f}]".format(*of[column]) for column in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Train all variants of the one-minute forecast, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    parser.add_argument("--cache", type=Path, help="where computed features are kept")
    parser.add_argument("--out", type=Path, default=runtime.ONNX.parent / "docs")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    stack = assemble("1m", chosen.data, chosen.cache)
    embargo = (WINDOW + HORIZONS["1m"]) * INTERVALS["1m"]
    found = ablate(stack, embargo, RECIPES["1m"])
    print(table(found))
    chosen.out.mkdir(parents=True, exist_ok=True)
    path = chosen.out / "ablations_1m.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
