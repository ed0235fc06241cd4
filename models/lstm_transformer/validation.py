"""What a trained network knows and is worth: the space it learned in, and untouched metrics.

Every number that turns outputs into a leg (temperature, quantiles, doubt, ranks, centre, skill)
comes from bars that took no part in the fit; what is usual, from those of the fit.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models import statistics
from models.features import Floats, Singles
from models.lstm_transformer.calibration import weigh_doubt
from models.lstm_transformer.forecaster import doubted
from models.lstm_transformer.network import Network
from models.lstm_transformer.samples import Samples, Stack, join
from models.runtime import Artefact
from models.schema import FEATURES

SHRINKAGE = 0.1  # of the hidden states' covariance
UNUSUAL = 0.999  # of the fit split lies nearer than the limit
SPACE_ROWS = 60_000  # of the fit split, for what is usual of hidden states
FEWEST_DAYS = 5  # to draw whole days

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


def learn_space(network: Network, stack: Stack, samples: Samples) -> None:
    """Take centre and spread of each member's hidden states and tokens, from the fit's `samples`.

    Covariances are shrunk towards a multiple of the identity: the states fill their space
    unevenly, and a direction that hardly varied would decide alone.
    """
    network.eval()
    width = network.shape.width
    count = 0
    total = torch.zeros(2, network.shape.members, width, dtype=torch.float64)
    square = torch.zeros(2, network.shape.members, width, width, dtype=torch.float64)
    for chosen in np.array_split(np.arange(len(samples)), len(samples) // 4096 + 1):
        with torch.no_grad():
            hidden, tokens = network.states(torch.from_numpy(stack.windows(samples.take(chosen))))
        count += len(chosen)
        # A batch's tokens weigh as one row together, so that both have one count.
        for place, states in enumerate((hidden[:, :, None].double(), tokens.double())):
            each = states.shape[2]
            total[place] += states.sum((1, 2)) / each
            square[place] += torch.einsum("mbti,mbtj->mij", states, states) / each
    mean = total / count
    covariance = square / count - mean[..., :, None] * mean[..., None, :]
    spread = covariance.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    covariance = (1.0 - SHRINKAGE) * covariance + SHRINKAGE * spread * torch.eye(width)
    network.centre.copy_(mean.float())
    network.whiten.copy_(torch.linalg.cholesky(covariance.inverse()).float())


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


def validation_of(
    out: Path, name: str, entry: dict[str, Any], stack: Stack, others: dict[str, Floats]
) -> dict[str, Any]:
    """Return limits, doubt, centre, ranks, skill and metrics, from the exported graph itself.

    The limits come from the fit split; doubt, centre and ranks from the tuning and calibration
    splits together; skill and metrics from the test split, which nothing else has touched.
    `others` are scores of the test split that the model is compared to.
    """
    artefact = Artefact(name, entry | {"sha256": "unset"}, out)
    fit, test = stack.splits["fit"], stack.splits["test"]
    some = fit.take(np.arange(0, len(fit), max(1, len(fit) // SPACE_ROWS)))
    strangeness = outputs(artefact, stack, some)["strangeness"]
    limits = np.quantile(strangeness, UNUSUAL, axis=0).tolist()

    validation = join([stack.splits["tune"], stack.splits["calibrate"]])
    found = outputs(artefact, stack, validation)
    edge = 2.0 * found["p_up"] - 1.0
    centre = float(np.median(edge))
    edge -= centre
    aim = validation.neutral if entry["relative"] else validation.returns
    told = np.abs(aim) > 1e-9
    doubt = weigh_doubt(edge[told], found["disagreement"][told], aim[told] > 0.0)
    magnitude = doubted(edge, found["disagreement"], doubt)
    ranks = np.quantile(magnitude, np.linspace(0.0, 1.0, 101)).tolist()

    p_up = outputs(artefact, stack, test)["p_up"]
    metrics = compared(p_up, others, test)
    return {
        "hidden": {"limits": limits, "quantile": UNUSUAL},
        "doubt": doubt,
        "centre": centre,
        "ranks": ranks,
        "skill": statistics.skill_of(metrics["ic"], len(test)),
        "metrics": metrics,
    }


def compared(p_up: Floats, others: dict[str, Floats], test: Samples) -> dict[str, Any]:
    """Return the model's metrics, those of `others`, and how much better it is on the same draws.

    Whole days are drawn where there are at least five, else hours. `neutral_ic` is without the
    market's common move, which a few days decide by chance.
    """
    days = statistics.days_of(test.ts_close)
    hours = statistics.hours_of(test.ts_close)
    kind, block = ("day", days) if days.max() + 1 >= FEWEST_DAYS else ("hour", hours)
    rises, moved = test.returns > 0.0, test.returns != 0.0
    measures: dict[str, tuple[Any, Callable[[Floats], statistics.Statistic]]] = {
        "auc": (moved, lambda scores: statistics.weighted_auc(rises[moved], scores)),
        "ic": (..., lambda scores: statistics.weighted_ic(scores, test.returns)),
        "neutral_ic": (..., lambda scores: statistics.weighted_ic(scores, test.neutral)),
    }
    found: dict[str, list[float]] = {}
    baselines: dict[str, dict[str, list[float]]] = {label: {} for label in others}
    better: dict[str, dict[str, list[float]]] = {label: {} for label in others}
    for metric, (of, prepare) in measures.items():
        drawn = {
            label: statistics.draws_of(prepare(scores[of]), block[of])
            for label, scores in {"": p_up, **others}.items()
        }
        found[metric] = statistics.interval_of(drawn[""])
        for label in others:
            baselines[label][metric] = statistics.interval_of(drawn[label])
            better[label][metric] = statistics.interval_of(drawn[""] - drawn[label])
    return {
        "split": "test",
        "n": len(test),
        "blocks": {"kind": kind, "count": int(block.max()) + 1},
        **found,
        "brier": statistics.brier(rises[moved], p_up[moved]),
        "ece": statistics.ece(rises[moved], p_up[moved]),
        "baselines": baselines,
        "better_than": better,
    }


def outputs(artefact: Artefact, stack: Stack, samples: Samples) -> dict[str, Floats]:
    """Return the exported graph's P(up), disagreement and strangeness of all samples."""
    session = artefact.session(1)
    names = ("p_up", "disagreement", "strangeness")
    parts = [
        session.run(names, {"features": stack.windows(samples.take(chosen))})
        for chosen in np.array_split(np.arange(len(samples)), len(samples) // 2048 + 1)
    ]
    columns = zip(*parts, strict=True)
    return {
        name: np.concatenate(column).astype(np.float64)
        for name, column in zip(names, columns, strict=True)
    }
