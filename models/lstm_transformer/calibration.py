"""How a trained network's outputs become chances, intervals and certainty: from unseen bars.

Everything here is a number or a few, chosen on the tuning and calibration splits, which took no
part in the fit.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.datasets import Flags
from models.features import Floats
from models.lstm_transformer.forecaster import doubted
from models.lstm_transformer.network import LEVELS, Network, quantiles
from models.lstm_transformer.samples import Samples, Stack

DOUBTS = (0.5, 1.0, 1.5, 2.0, 3.0)  # standard deviations of the members


def straight(network: Network, stack: Stack, samples: Samples) -> Tensor:
    """Return the logit that the straight way alone gives, (samples,)."""
    last = torch.from_numpy(stack.inputs[samples.rows]).to(network.mask.device)
    with torch.no_grad():
        direct = network.members[0].direct  # the same in all members
        out: Tensor = direct(network.standardise(last))[:, 3].cpu()  # type: ignore[operator]
    return out


def shrink(network: Network, raw: Tensor, base: Tensor, samples: Samples) -> float:
    """Keep of what the branches add to the straight way the share that unseen samples bear out.

    Changes the network and `raw` in place; returns the share, in [0, 1].
    """
    apart = samples.neutral != 0.0
    better = torch.from_numpy(samples.neutral[apart] > 0.0).double()
    added = (raw[:, 3] - base).double()
    shares = torch.linspace(0.0, 1.0, 21, dtype=torch.float64)
    losses = [_least_loss((base.double() + share * added)[apart], better)[0] for share in shares]
    share = float(shares[int(np.argmin(losses))])
    raw[:, 3] = base + share * added.float()
    with torch.no_grad():
        for member in network.members:
            heads = member.heads
            heads.weight[3] *= share  # type: ignore[index, operator]
            heads.bias[3] *= share  # type: ignore[index, operator]
    return share


def _least_loss(logit: Tensor, label: Tensor, most: float = 2.0) -> tuple[float, float]:
    """Return the least cross-entropy over temperatures up to `most`, and that temperature."""
    grid = torch.linspace(0.05, most, 391, dtype=torch.float64)
    losses = [functional.binary_cross_entropy_with_logits(logit * t, label) for t in grid]
    best = int(torch.stack(losses).argmin())
    return float(losses[best]), float(grid[best])


def calibrate(network: Network, raw: Tensor, samples: Samples) -> dict[str, Any]:
    """Set the temperature of P(up) and the stretch of the quantiles from unseen samples.

    Slopes only: an intercept would learn the market's drift in these few days. The stretch is
    split-conformal, for each side apart (Romano et al., 2019, with a score that is relative to
    the half's width): of exchangeable rows a tenth at most falls beyond either quantile.
    """
    moved = samples.returns != 0.0
    logit, up = raw[moved, 3].double(), torch.from_numpy(samples.returns[moved] > 0.0).double()
    _, temperature = _least_loss(logit, up)
    low, median, high = quantiles(raw).double().unbind(-1)
    target = torch.from_numpy(samples.target)
    halves = {
        "below": ((median - target) / (median - low)).numpy(),
        "above": ((target - median) / (high - median)).numpy(),
    }
    stretch = {side: conformal(scores) for side, scores in halves.items()}
    network.temperature.fill_(temperature)
    network.quantile_stretch.copy_(torch.tensor([stretch["below"], stretch["above"]]))
    levels = np.linspace(0.0, 1.0, 101)
    widths = {
        side: (np.quantile(scores, levels) / stretch[side]).tolist()
        for side, scores in halves.items()
    }
    return {"temperature": temperature, **stretch, "widths": widths}


def conformal(scores: Floats, miss: float = LEVELS[0]) -> float:
    """Return the score that a new one, exchangeable with these, exceeds with chance `miss` at most.

    At most one rank above the least score of which that is true.

    >>> conformal(np.arange(1.0, 20.0), miss=0.1)
    19.0
    """
    level = min(np.ceil((len(scores) + 1) * (1.0 - miss)) / len(scores), 1.0)
    return float(np.quantile(scores, level, method="higher"))


def weigh_doubt(edge: Floats, doubt: Floats, rose: Flags) -> float:
    """Return how many standard deviations of the members an edge is brought nearer to zero.

    Of `DOUBTS` the one under which what is left of the edge foretells unseen samples best, by
    cross-entropy at its own best temperature: at least half of one, since a forecast that its
    members do not share is worth less.
    """
    label = torch.from_numpy(rose).double()
    losses = [
        _least_loss(torch.from_numpy(np.sign(edge) * doubted(edge, doubt, weight)), label, 8.0)[0]
        for weight in DOUBTS
    ]
    return DOUBTS[int(np.argmin(losses))]
