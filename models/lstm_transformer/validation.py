"""What a trained network is worth: calibration, the space it knows, and untouched metrics.

Every number that turns outputs into a leg (temperature, ranks, centre, skill) comes from
bars that took no part in the fit.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models import statistics
from models.features import Floats, Singles
from models.lstm_transformer import baselines
from models.lstm_transformer.network import LEVELS, Network, quantiles
from models.lstm_transformer.samples import Samples, Stack, join
from models.runtime import Artefact
from models.schema import FEATURES

# The clock of a few dozen sessions is noise that a network would learn by heart.
UNREAD = ("session_sin", "session_cos")


def feature_moments(rows: Singles) -> tuple[Floats, Floats, Floats]:
    """Return mask, mean and scale of the fit split's rows.

    A feature that never varied there (quotes, where a market has none) is masked: what the
    network would make of it later, nothing has taught it.
    """
    mean, scale = rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64)
    mask = (scale > 1e-3).astype(np.float64)
    mask[[FEATURES.index(name) for name in UNREAD]] = 0.0
    return mask, mean, np.where(mask > 0.0, scale, 1.0)


def raw_outputs(network: Network, stack: Stack, samples: Samples) -> Tensor:
    """Return the network's uncalibrated outputs for all samples, on the CPU."""
    network.eval()
    device = network.mask.device
    with torch.no_grad():
        parts = [
            network.raw(torch.from_numpy(stack.windows(samples.take(chosen))).to(device)).cpu()
            for chosen in np.array_split(np.arange(len(samples)), len(samples) // 4096 + 1)
        ]
    return torch.cat(parts)


def calibrate(network: Network, raw: Tensor, samples: Samples) -> dict[str, float]:
    """Set the temperature of P(up) and the stretch of the quantiles from unseen samples.

    Slopes only: an intercept would learn the market's drift in these few days.
    """
    moved = samples.returns != 0.0
    logit, up = raw[moved, 3].double(), torch.from_numpy(samples.returns[moved] > 0.0).double()
    grid = torch.linspace(0.05, 2.0, 391, dtype=torch.float64)
    losses = [functional.binary_cross_entropy_with_logits(logit * t, up) for t in grid]
    temperature = float(grid[int(torch.stack(losses).argmin())])
    low, median, high = quantiles(raw).double().unbind(-1)
    target = torch.from_numpy(samples.target)
    below = torch.quantile((median - target) / (median - low), 1.0 - LEVELS[0])
    above = torch.quantile((target - median) / (high - median), LEVELS[2])
    network.temperature.fill_(temperature)
    network.quantile_stretch.copy_(torch.stack((below, above)).float())
    return {"temperature": temperature, "below": float(below), "above": float(above)}


def distribution(rows: Singles, mask: Floats, mean: Floats, scale: Floats) -> dict[str, Any]:
    """Return what makes a last row strange: its mean squared deviation above that of 99.9 %."""
    weight = mask / (scale * scale) / mask.sum()
    distance = rows.astype(np.float64) - mean
    strangeness = (distance * distance * weight).sum(axis=1)
    return {
        "mean": mean.tolist(),
        "weight": weight.tolist(),
        "limit": float(np.quantile(strangeness, 0.999)),
        "quantile": 0.999,
    }


def validation_of(out: Path, name: str, entry: dict[str, Any], stack: Stack) -> dict[str, Any]:
    """Return centre, ranks, skill and metrics, from the exported graph itself.

    Centre and ranks come from the tuning and calibration splits together, skill and metrics
    from the test split, which nothing else has touched.
    """
    blank = {"centre": 0.0, "ranks": [0.0, 1.0], "skill": {"value": 0.0}, "sha256": "unset"}
    validation = join([stack.splits["tune"], stack.splits["calibrate"]])
    edge = 2.0 * _chances(Artefact(name, entry | blank, out), stack, validation) - 1.0
    centre = float(np.median(edge))
    ranks = np.quantile(np.abs(edge - centre), np.linspace(0.0, 1.0, 101)).tolist()

    test = stack.splits["test"]
    p_up = _chances(Artefact(name, entry | blank, out), stack, test)
    blocks, kind = statistics.blocks_of(test.ts_close)
    moved = test.returns != 0.0
    logistic = baselines.Logistic.read(out / entry["logistic"])
    rows = stack.features[test.rows]
    others = {
        "logistic": logistic.probability(rows),
        "momentum": baselines.momentum(rows, int(entry["horizon_bars"])),
    }

    def measured(scores: Floats) -> dict[str, list[float]]:
        rises = test.returns[moved] > 0.0
        auc = statistics.weighted_auc(rises, scores[moved])
        ic = statistics.weighted_ic(scores, test.returns)
        return {
            "auc": statistics.block_bootstrap(auc, blocks[moved]),
            "ic": statistics.block_bootstrap(ic, blocks),
        }

    found = measured(p_up)
    return {
        "centre": centre,
        "ranks": ranks,
        "skill": statistics.skill_of(found["ic"], len(test)),
        "metrics": {
            "split": "test",
            "n": len(test),
            "blocks": kind,
            **found,
            "brier": statistics.brier(test.returns[moved] > 0.0, p_up[moved]),
            "ece": statistics.ece(test.returns[moved] > 0.0, p_up[moved]),
            "baselines": {label: measured(scores) for label, scores in others.items()},
        },
    }


def _chances(artefact: Artefact, stack: Stack, samples: Samples) -> Floats:
    session = artefact.session(2)
    parts = np.array_split(np.arange(len(samples)), len(samples) // 2048 + 1)
    outputs = [
        session.run(["p_up"], {"features": stack.windows(samples.take(chosen))})[0]
        for chosen in parts
    ]
    return np.concatenate(outputs).astype(np.float64)
