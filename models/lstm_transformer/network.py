"""The hybrid network: an LSTM branch and a Transformer branch over one window, gated together.

The LSTM reads the window as a path (what came after what), the encoder compares its moments
(which earlier move looks like this one); a gate decides for each input how much of either
to trust. Reference for such a fusion: Lim et al., "Temporal Fusion Transformers" (2021).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.schema import FEATURES, WINDOW

LEVELS = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Shape:
    """Sizes, as written into the artefact's extra file."""

    features: int = len(FEATURES)
    window: int = WINDOW
    patch: int = 3  # rows in one token: every row is read, and 20 tokens cost a third of 60
    width: int = 32
    heads: int = 2
    members: int = 3  # seeds in one graph; their outputs are averaged
    dropout: float = 0.1

    @property
    def tokens(self) -> int:
        """Tokens in one window."""
        return self.window // self.patch


class Attention(nn.Module):
    """Multi-head self-attention over all tokens (Vaswani et al., 2017).

    Written out, as torch's own fused module takes another path in training than in export.
    """

    def __init__(self, width: int, heads: int) -> None:
        """Make projections for `heads` heads of `width / heads` each."""
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, tokens, width) to the same shape."""
        _, count, width = tokens.shape
        size = width // self.heads
        packed = self.project(tokens).reshape(-1, count, 3, self.heads, size)
        query, key, value = packed.permute(2, 0, 3, 1, 4).unbind(0)  # (batch, heads, tokens, size)
        weights = torch.softmax(query @ key.transpose(2, 3) * size**-0.5, dim=-1)
        mixed = (weights @ value).transpose(1, 2).reshape(-1, count, width)
        out: Tensor = self.join(mixed)
        return out


class Encoder(nn.Module):
    """One pre-norm Transformer encoder layer."""

    def __init__(self, shape: Shape) -> None:
        """Make the layer for `shape`."""
        super().__init__()
        width = shape.width
        self.attention = Attention(width, shape.heads)
        self.before_attention, self.before_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.forward_path = nn.Sequential(
            nn.Linear(width, 2 * width),
            nn.GELU(approximate="tanh"),
            nn.Linear(2 * width, width),
        )
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, tokens, width) to the same shape."""
        tokens = tokens + self.dropout(self.attention(self.before_attention(tokens)))
        out: Tensor = tokens + self.dropout(self.forward_path(self.before_forward(tokens)))
        return out


class Member(nn.Module):
    """One seed's network: standardised windows in, five raw outputs out.

    Outputs are (batch, 5): median, log spreads below and above it, the logit of P(up), and
    the logit of P(better than the market), an auxiliary target that serves training only.
    """

    def __init__(self, shape: Shape) -> None:
        """Make the two branches, the gate and the heads."""
        super().__init__()
        width = shape.width
        self.shape = shape
        self.embed = nn.Linear(shape.patch * shape.features, width)
        self.place = nn.Parameter(torch.zeros(shape.tokens, width))
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.encoder = Encoder(shape)
        self.normalise = nn.LayerNorm(2 * width)
        self.gate = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(shape.dropout)
        self.heads = nn.Linear(width, 5)
        # A straight way from the last row, so that the branches need only learn what a
        # linear model cannot see.
        self.direct = nn.Linear(shape.features, 5)
        nn.init.zeros_(self.direct.weight)
        nn.init.zeros_(self.direct.bias)
        nn.init.normal_(self.heads.weight, std=0.02)

    def forward(self, windows: Tensor) -> Tensor:
        """Map (batch, window, features) to (batch, 5)."""
        shape = self.shape
        last = windows[:, -1]
        patches = windows.reshape(-1, shape.tokens, shape.patch * shape.features)
        tokens = torch.tanh(self.embed(patches))
        path, _ = self.lstm(tokens)
        compared = self.encoder(tokens + self.place)
        both = self.normalise(torch.cat((path[:, -1], compared[:, -1]), dim=-1))
        gate = torch.sigmoid(self.gate(both))
        fused = gate * both[:, : shape.width] + (1.0 - gate) * both[:, shape.width :]
        out: Tensor = self.heads(self.dropout(fused)) + self.direct(last)
        return out


class Network(nn.Module):
    """What is exported: mask, scaling, all members and the calibration in one graph.

    Buffers hold what is not learned by gradient: `mask` (features that this model reads),
    `mean` and `scale` (moments of the fit split), `temperature` of P(up), and the shift and
    the two stretches of the quantiles (all from the calibration split).
    """

    mask: Tensor
    mean: Tensor
    scale: Tensor
    temperature: Tensor
    quantile_shift: Tensor
    quantile_stretch: Tensor

    def __init__(self, shape: Shape) -> None:
        """Make all members; their weights come from torch's seed."""
        super().__init__()
        self.shape = shape
        self.members = nn.ModuleList(Member(shape) for _ in range(shape.members))
        self.register_buffer("mask", torch.ones(shape.features))
        self.register_buffer("mean", torch.zeros(shape.features))
        self.register_buffer("scale", torch.ones(shape.features))
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("quantile_shift", torch.zeros(()))
        self.register_buffer("quantile_stretch", torch.ones(2))

    def standardise(self, windows: Tensor) -> Tensor:
        """Mask and scale raw features of any leading shape."""
        return (windows - self.mean) / self.scale * self.mask

    def raw(self, windows: Tensor) -> Tensor:
        """Average the members' outputs for raw windows, (batch, 5), before calibration."""
        inputs = self.standardise(windows)
        total = self.members[0](inputs)
        for member in list(self.members)[1:]:
            total = total + member(inputs)
        out: Tensor = total / len(self.members)
        return out

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Map raw windows to calibrated outputs.

        Returns the quantiles of the horizon's return in units of volatility * sqrt(horizon),
        (batch, 3) ascending, and P(up), (batch,).
        """
        raw = self.raw(windows)
        low, median, high = quantiles(raw).unbind(-1)
        centre = median + self.quantile_shift
        stretch = self.quantile_stretch
        levels = torch.stack(
            (centre - (median - low) * stretch[0], centre, centre + (high - median) * stretch[1]),
            dim=-1,
        )
        return levels, torch.sigmoid(raw[:, 3] * self.temperature)


def quantiles(raw: Tensor) -> Tensor:
    """Return the three uncalibrated quantiles of raw outputs; they never cross."""
    median = raw[..., 0]
    below = functional.softplus(raw[..., 1] + 0.5)
    above = functional.softplus(raw[..., 2] + 0.5)
    return torch.stack((median - below, median, median + above), dim=-1)
