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
from models.lstm_transformer import baselines
from models.lstm_transformer.baselines import Logistic
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
from models.lstm_transformer.validation import (
    calibrate,
    distribution,
    feature_moments,
    raw_outputs,
    validation_of,
)
from models.schema import FEATURES, SCHEMA_HASH

QUOTES = ("spread", "spread_ratio_20", "imbalance", "imbalance_mean_10", "has_quotes")
TOLERANCE = 1e-5  # between torch and ONNX, absolute, on both outputs


@dataclass(frozen=True)
class Recipe:
    """What a training is made of; chosen on the tuning split."""

    epochs: int = 2
    batch: int = 1024
    rate: float = 5e-4
    decay: float = 0.2
    neutral_weight: float = 0.5  # of the auxiliary target: better than the market?
    checks: int = 3  # looks at the tuning split in one epoch
    patience: int = 4  # looks without a better loss before a member stops
    linear_start: bool = True  # the straight way begins as logistic regressions
    quote_dropout: float = 0.0  # share of windows shown without quotes


# Half of the one-second windows hide their quotes, so that the model also serves a venue
# whose quotes are missing or unlike those of 2013.
RECIPES = {
    "1m": Recipe(),
    "1s": Recipe(epochs=4, rate=1e-3, decay=0.05, linear_start=False, quote_dropout=0.5),
}


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


def start_linear(network: Network, up: Logistic, neutral: Logistic) -> None:
    """Start every member's straight way as these regressions, on the network's own scaling."""
    mean, scale = network.mean.double().cpu().numpy(), network.scale.double().cpu().numpy()
    for member in network.members:
        direct = member.direct
        for output, model in ((3, up), (4, neutral)):
            weights = model.weights * scale / model.scale
            bias = model.bias + float(model.weights @ ((mean - model.mean) / model.scale))
            with torch.no_grad():
                direct.weight[output] = torch.from_numpy(weights)  # type: ignore[index, operator]
                direct.bias[output] = bias  # type: ignore[index, operator]


def fit_member(
    member: Member, network: Network, fit: Feeder, tune: Feeder, recipe: Recipe, seed: int
) -> list[dict[str, float]]:
    """Train one member, keep its best weights on the tuning split; return its history."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(member.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
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
        "neutral_ic": statistics.ic(score, tune.samples.neutral),
    }


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
    rows, moved = stack.features[fit.rows], fit.returns != 0.0
    logistic = baselines.fit(rows[moved], fit.returns[moved] > 0.0, mask)
    if recipe.linear_start:
        apart = np.abs(fit.neutral) > 1e-9  # a lone symbol is its own market
        neutral = baselines.fit(rows[apart], fit.neutral[apart] > 0.0, mask)
        start_linear(network, logistic, neutral)
    history = []
    for number, member in enumerate(network.members):
        feeders = Feeder(stack, fit, on), Feeder(stack, tune, on)
        history.append(fit_member(member, network, *feeders, recipe, seed + number))  # type: ignore[arg-type]
    network.to("cpu").eval()
    # The tuning days as well: the market's own moves dominate any two days.
    calibrating = join([tune, stack.splits["calibrate"]])
    calibration = calibrate(network, raw_outputs(network, stack, calibrating), calibrating)

    logistic.write(out / f"{name}.logistic.json")
    save_file(network.state_dict(), out / f"{name}.safetensors")
    export(network, out / f"{name}.onnx")
    some = [part.take(np.arange(min(300, len(part)))) for part in stack.splits.values()]
    real = stack.windows(join(some))
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
