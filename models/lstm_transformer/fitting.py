"""The fit of one member: batches of windows, the loss, the looks at the tuning split."""

import json
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models import statistics
from models.lstm_transformer.baselines import Logistic
from models.lstm_transformer.network import LEVELS, Member, Network, quantiles
from models.lstm_transformer.samples import Samples, Stack
from models.schema import FEATURES

QUOTES = ("spread", "spread_ratio_20", "imbalance", "imbalance_mean_10", "has_quotes")


@dataclass(frozen=True)
class Recipe:
    """What a training is made of; chosen on the tuning split."""

    epochs: int = 2
    batch: int = 1024
    rate: float = 5e-4
    decay: float = 0.2
    neutral_weight: float = 1.0  # of the auxiliary target: better than the market?
    checks: int = 3  # looks at the tuning split in one epoch
    patience: int = 4  # looks without a better loss before a member stops
    linear_start: bool = True  # the straight way is a logistic regression, and stays one
    ridge: float = 30_000.0  # of that regression
    quote_dropout: float = 0.0  # share of windows shown without quotes


# Half of the one-second windows hide their quotes, so that the model also serves a venue
# whose quotes are missing or unlike those of 2013.
RECIPES = {
    "1m": Recipe(),
    "1s": Recipe(
        epochs=4,
        rate=1e-3,
        decay=0.05,
        neutral_weight=0.5,
        linear_start=False,
        quote_dropout=0.5,
    ),
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
    # Beside a regression on the neutral target the branches learn what it leaves of that target.
    aim = 3 if recipe.linear_start else 4
    return pinball + direction + recipe.neutral_weight * _cross_entropy(raw[:, aim], neutral)


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


def start_linear(network: Network, neutral: Logistic) -> None:
    """Make every member's straight way this regression, on the network's own scaling, for good.

    It says who does better than the market, which foretells the sign of the return as well as a
    regression on the sign itself, from far more independent moments.
    """
    mean, scale = network.mean.double().cpu().numpy(), network.scale.double().cpu().numpy()
    for member in network.members:
        direct = member.direct
        weights = neutral.weights * scale / neutral.scale
        bias = neutral.bias + float(neutral.weights @ ((mean - neutral.mean) / neutral.scale))
        with torch.no_grad():
            for output in (3, 4):
                direct.weight[output] = torch.from_numpy(weights)  # type: ignore[index, operator]
                direct.bias[output] = bias  # type: ignore[index, operator]
        direct.requires_grad_(requires_grad=False)  # type: ignore[operator]


def fit_member(
    member: Member, network: Network, fit: Feeder, tune: Feeder, recipe: Recipe, seed: int
) -> list[dict[str, float]]:
    """Train one member, keep its best weights on the tuning split; return its history."""
    generator = torch.Generator().manual_seed(seed)
    learning = [weights for weights in member.parameters() if weights.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=recipe.rate, weight_decay=recipe.decay)
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
