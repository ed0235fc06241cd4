"""Train the forecast of one interval, from stored bars to a verified artefact.

    python -m models.lstm_transformer.train --interval 1m --data DIR --cache DIR

Reads top to bottom: samples by time, fit of each seed, calibration, export, manifest.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from models import runtime, statistics
from models.exporting import write_entry
from models.features import Floats, Singles
from models.lstm_transformer import baselines
from models.lstm_transformer.export import OPSET, export, parity
from models.lstm_transformer.network import LEVELS, Member, Network, Shape, quantiles
from models.lstm_transformer.samples import (
    HORIZONS,
    INTERVALS,
    SOURCES,
    Samples,
    Stack,
    assemble,
    join,
)
from models.runtime import Artefact
from models.schema import FEATURES, SCHEMA_HASH

# The clock of a few dozen sessions is noise that a network would learn by heart.
UNREAD = ("session_sin", "session_cos")
QUOTES = ("spread", "spread_ratio_20", "imbalance", "imbalance_mean_10", "has_quotes")
TOLERANCE = 1e-5  # between torch and ONNX, absolute, on both outputs


@dataclass(frozen=True)
class Recipe:
    """What a training is made of; chosen on the tuning split."""

    epochs: int = 3
    batch: int = 1024
    rate: float = 1e-3
    decay: float = 0.05
    neutral_weight: float = 0.5  # of the auxiliary target: better than the market?
    checks: int = 3  # looks at the tuning split in one epoch
    patience: int = 4  # looks without a better loss before a member stops
    quote_dropout: float = 0.0  # share of windows shown without quotes


# Half of the one-second windows hide their quotes, so that the model also serves a venue
# whose quotes are missing or unlike those of 2013.
RECIPES = {"1m": Recipe(), "1s": Recipe(epochs=4, quote_dropout=0.5)}


def loss_of(raw: Tensor, target: Tensor, neutral: Tensor, recipe: Recipe) -> Tensor:
    """Return pinball loss plus cross-entropy of the direction, with and without the market.

    A target of exactly zero has no direction and counts for the quantiles only.
    """
    levels = torch.tensor(LEVELS, device=raw.device)
    error = target[:, None] - quantiles(raw)
    pinball = torch.maximum(levels * error, (levels - 1.0) * error).mean()
    direction = _cross_entropy(raw[:, 3], target)
    if recipe.neutral_weight == 0.0:
        return pinball + direction
    return pinball + direction + recipe.neutral_weight * _cross_entropy(raw[:, 4], neutral)


def _cross_entropy(logit: Tensor, target: Tensor) -> Tensor:
    moved = (target.abs() > 1e-9).float()
    each = functional.binary_cross_entropy_with_logits(
        logit, (target > 0.0).float(), reduction="none"
    )
    return (each * moved).sum() / moved.sum().clamp(min=1.0)


class Feeder:
    """Hand out batches of windows on the training device."""

    def __init__(self, stack: Stack, samples: Samples, device: torch.device) -> None:
        """Keep views only: windows overlap and are gathered batch by batch."""
        self.stack = stack
        self.samples = samples
        self.device = device
        self.target = torch.from_numpy(samples.target.astype(np.float32))
        self.neutral = torch.from_numpy(samples.neutral.astype(np.float32))

    def batch(self, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return windows, targets and market-neutral targets of the chosen samples."""
        windows = self.stack.windows(self.samples.take(chosen.numpy()))
        parts = (torch.from_numpy(windows), self.target[chosen], self.neutral[chosen])
        return tuple(part.to(self.device) for part in parts)  # type: ignore[return-value]


def fit_member(
    member: Member, network: Network, fit: Feeder, tune: Feeder, recipe: Recipe, seed: int
) -> list[dict[str, float]]:
    """Train one member, keep its best weights on the tuning split; return its history."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(
        member.parameters(), lr=recipe.rate, weight_decay=recipe.decay
    )
    batches = len(fit.samples) // recipe.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=recipe.rate, total_steps=recipe.epochs * batches
    )
    quotes = [FEATURES.index(name) for name in QUOTES]
    best, kept, waited = float("inf"), None, 0
    history: list[dict[str, float]] = []
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(fit.samples), generator=generator)
        for number in range(batches):
            windows, target, neutral = fit.batch(
                order[number * recipe.batch : (number + 1) * recipe.batch]
            )
            if recipe.quote_dropout:
                blind = torch.rand(len(windows), generator=generator) < recipe.quote_dropout
                hidden = blind.nonzero().to(windows.device)
                windows[hidden, :, quotes] = 0.0
            member.train()
            loss = loss_of(member(network.standardise(windows)), target, neutral, recipe)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(member.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            if (number + 1) % max(1, batches // recipe.checks):
                continue
            found = tuning_scores(member, network, tune, recipe)
            history.append({"epoch": epoch + (number + 1) / batches, **found})
            print(f"  seed {seed} " + json.dumps(history[-1]), flush=True)
            if found["loss"] < best:
                best, waited = found["loss"], 0
                kept = {name: value.clone() for name, value in member.state_dict().items()}
            else:
                waited += 1
        if waited >= recipe.patience:
            break
    if kept is not None:
        member.load_state_dict(kept)
    return history


def tuning_scores(
    member: Member, network: Network, tune: Feeder, recipe: Recipe
) -> dict[str, float]:
    """Return the loss of a member on the tuning split, and its AUC and IC there."""
    member.eval()
    with torch.no_grad():
        outputs = [
            member(network.standardise(tune.batch(chosen)[0]))
            for chosen in torch.arange(len(tune.samples)).split(4096)
        ]
    raw = torch.cat(outputs).cpu()
    loss = loss_of(raw, tune.target, tune.neutral, recipe)
    score = raw[:, 3].double().numpy()
    moved = tune.samples.returns != 0.0
    return {
        "loss": float(loss),
        "auc": statistics.auc(tune.samples.returns[moved] > 0.0, score[moved]),
        "ic": statistics.ic(score, tune.samples.returns),
    }


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


def feature_moments(rows: Singles) -> tuple[Floats, Floats, Floats]:
    """Return mask, mean and scale of the fit split's rows.

    A feature that never varied there (quotes, where a market has none) is masked: what the
    network would make of it later, nothing has taught it.
    """
    mean, scale = rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64)
    mask = (scale > 1e-3).astype(np.float64)
    mask[[FEATURES.index(name) for name in UNREAD]] = 0.0
    return mask, mean, np.where(mask > 0.0, scale, 1.0)


def train(
    interval: str,
    data: Path,
    out: Path,
    cache: Path | None = None,
    *,
    seed: int = 7,
    device: str = "cpu",
    threads: int = 1,
) -> None:
    """Train the forecast of `interval` and put it into the folder `out`.

    One thread by default: sums then have one order, so that the same data and seed give the
    same weights, and the two intervals can train side by side.
    """
    begun = perf_counter()
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    on = torch.device("cuda" if device == "auto" and torch.cuda.is_available() else "cpu")
    recipe, shape, name = RECIPES[interval], Shape(), f"forecast_{interval}"
    stack = assemble(interval, data, cache)
    fit, tune = stack.splits["fit"], stack.splits["tune"]
    print({use: len(part) for use, part in stack.splits.items()}, flush=True)

    network = Network(shape)
    mask, mean, scale = feature_moments(stack.features[fit.rows])
    for buffer, values in ((network.mask, mask), (network.mean, mean), (network.scale, scale)):
        buffer.copy_(torch.from_numpy(values))
    network.to(on)
    history = []
    for number, member in enumerate(network.members):
        feeders = Feeder(stack, fit, on), Feeder(stack, tune, on)
        history.append(fit_member(member, network, *feeders, recipe, seed + number))  # type: ignore[arg-type]
    network.to("cpu").eval()
    calibrating = stack.splits["calibrate"]
    calibration = calibrate(network, raw_outputs(network, stack, calibrating), calibrating)

    rows = stack.features[fit.rows]
    moved = fit.returns != 0.0
    logistic = baselines.fit(rows[moved], fit.returns[moved] > 0.0, mask)
    logistic.write(out / f"{name}.logistic.json")
    save_file(network.state_dict(), out / f"{name}.safetensors")
    export(network, out / f"{name}.onnx")
    real = stack.windows(join([part.take(slice(0, 300)) for part in stack.splits.values()]))
    difference = parity(network, out / f"{name}.onnx", real)

    entry: dict[str, Any] = {
        "kind": "forecast",
        "file": f"{name}.onnx",
        "extra_files": [f"{name}.logistic.json", f"{name}.safetensors"],
        "logistic": f"{name}.logistic.json",
        "state": f"{name}.safetensors",
        "shape": asdict(shape),
        "opset": OPSET,
        "inputs": {"features": ["n", shape.window, shape.features]},
        "outputs": {"quantiles": ["n", len(LEVELS)], "p_up": ["n"]},
        "levels": list(LEVELS),
        "schema_hash": SCHEMA_HASH,
        "interval_ns": INTERVALS[interval],
        "horizon_bars": HORIZONS[interval],
        "calendar": SOURCES[interval][0].calendar,
        "tolerance": TOLERANCE,
        "parity": difference,
        "distribution": distribution(rows, mask, mean, scale),
        "calibration": calibration,
        "seen": [_seen(span) for span in stack.spans if span["use"] != "test"],
        "licence": "MIT; trained on data named in the model card",
    }
    entry |= validation_of(out, name, entry, stack)
    entry["trained_on"] = {
        "files": stack.files,
        "splits": stack.spans,
        "seed": seed,
        "recipe": asdict(recipe),
        "history": [member[-1] for member in history],
        "best_tuning_loss": [min(look["loss"] for look in member) for member in history],
    }
    write_entry(out, name, entry)
    print(f"{name}: {perf_counter() - begun:.0f} s", json.dumps(entry["metrics"]), flush=True)


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
    estimate, low, _ = found["ic"]
    value, how = low / 0.10, "lower 95 % bound of the test IC over 0.10"
    if low <= 0.0:
        value = max(estimate / 2.0, 0.002) / 0.10
        how = "half the test IC over 0.10, at least 0.02: its interval includes 0"
    return {
        "centre": centre,
        "ranks": ranks,
        "skill": {
            "value": float(np.clip(value, 0.0, 1.0)),
            "ic": found["ic"],
            "n": len(test),
            "how": how,
        },
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


def _seen(span: dict[str, Any]) -> dict[str, Any]:
    return {name: span[name] for name in ("dataset", "symbols", "from_ns", "to_ns", "use")}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interval", choices=sorted(SOURCES), required=True)
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    parser.add_argument("--out", type=Path, default=runtime.ONNX)
    parser.add_argument("--cache", type=Path, help="where computed features are kept")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--device", choices=("cpu", "auto"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    train(
        args.interval,
        args.data,
        args.out,
        args.cache,
        seed=args.seed,
        device=args.device,
        threads=args.threads,
    )


if __name__ == "__main__":
    main()
