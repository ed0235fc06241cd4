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
    branches: str = "both"  # or "lstm", or "transformer": for ablations

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

    def embedded(self, windows: Tensor) -> Tensor:
        """Map (batch, window, features) to a token for each patch, (batch, tokens, width)."""
        shape = self.shape
        patches = windows.reshape(-1, shape.tokens, shape.patch * shape.features)
        out: Tensor = self.embed(patches)
        return out

    def hidden(self, embedded: Tensor) -> Tensor:
        """Map tokens to what the gate lets through of both branches, (batch, width)."""
        shape = self.shape
        tokens = torch.tanh(embedded)
        path, _ = self.lstm(tokens)
        compared = self.encoder(tokens + self.place)
        ends = [path[:, -1], compared[:, -1]]
        if shape.branches != "both":  # nor may the other reach the common mean and variance
            other = 1 if shape.branches == "lstm" else 0
            ends[other] = torch.zeros_like(ends[other])
        both = self.normalise(torch.cat(ends, dim=-1))
        of_lstm, of_encoder = both[:, : shape.width], both[:, shape.width :]
        if shape.branches != "both":
            return of_lstm if shape.branches == "lstm" else of_encoder
        gate = torch.sigmoid(self.gate(both))
        return gate * of_lstm + (1.0 - gate) * of_encoder

    def answer(self, hidden: Tensor, last: Tensor) -> Tensor:
        """Map hidden states and the windows' last rows, (batch, features), to (batch, 5)."""
        out: Tensor = self.heads(self.dropout(hidden)) + self.direct(last)
        return out

    def forward(self, windows: Tensor) -> Tensor:
        """Map (batch, window, features) to (batch, 5)."""
        return self.answer(self.hidden(self.embedded(windows)), windows[:, -1])


class Network(nn.Module):
    """What is exported: mask, scaling, all members and the calibration in one graph.

    Buffers hold what is not learned by gradient: `mask` (features that this model reads),
    `mean` and `scale` (moments of the fit split), `centre` and `whiten` (of each member's hidden
    states in the fit split, and of its tokens), `temperature` of P(up), and the shift and the two
    stretches of the quantiles (from the calibration split).
    """

    mask: Tensor
    mean: Tensor
    scale: Tensor
    centre: Tensor
    whiten: Tensor
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
        self.register_buffer("centre", torch.zeros(2, shape.members, shape.width))
        self.register_buffer("whiten", torch.eye(shape.width).repeat(2, shape.members, 1, 1))
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("quantile_shift", torch.zeros(()))
        self.register_buffer("quantile_stretch", torch.ones(2))

    def standardise(self, windows: Tensor) -> Tensor:
        """Mask and scale raw features of any leading shape."""
        return (windows - self.mean) / self.scale * self.mask

    def states(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Return each member's hidden states and tokens for raw windows.

        These are (members, batch, width) and (members, batch, tokens, width).
        """
        inputs = self.standardise(windows)
        tokens = [member.embedded(inputs) for member in self.members]  # type: ignore[operator]
        each = zip(self.members, tokens, strict=True)
        hidden = [member.hidden(embedded) for member, embedded in each]  # type: ignore[operator]
        return torch.stack(hidden), torch.stack(tokens)

    def answers(self, hidden: Tensor, windows: Tensor) -> Tensor:
        """Return each member's outputs before calibration, (members, batch, 5)."""
        last = self.standardise(windows[:, -1])
        each = zip(self.members, hidden.unbind(0), strict=True)
        return torch.stack([member.answer(state, last) for member, state in each])  # type: ignore[operator]

    def raw(self, windows: Tensor) -> Tensor:
        """Average the members' outputs for raw windows, (batch, 5), before calibration."""
        return self.answers(self.states(windows)[0], windows).mean(0)

    def strangeness(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """Return how far a window lies from those of the fit split, (batch, 2).

        The root of the squared Mahalanobis distance by dimension, as the mean over members: about
        1 for what was learned from. First of the hidden state (after Lee et al., 2018), then of the
        strangest token: the branches' bounded units forget how far off the past was.
        """
        of_hidden = (hidden - self.centre[0][:, None]) @ self.whiten[0]
        of_tokens = (tokens - self.centre[1][:, None, None]) @ self.whiten[1][:, None]
        squared = torch.stack(
            (
                (of_hidden * of_hidden).mean(-1).mean(0),
                (of_tokens * of_tokens).mean(-1).mean(0).amax(-1),
            ),
            dim=-1,
        )
        return squared.sqrt()

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Map raw windows to calibrated outputs.

        Returns the quantiles of the horizon's return in units of volatility * sqrt(horizon),
        (batch, 3) ascending; P(up), (batch,); the standard deviation over members of its logit,
        (batch,); and the `strangeness`, (batch, 2).
        """
        hidden, tokens = self.states(windows)
        answers = self.answers(hidden, windows)
        raw = answers.mean(0)
        low, median, high = quantiles(raw).unbind(-1)
        middle = median + self.quantile_shift
        stretch = self.quantile_stretch
        levels = torch.stack(
            (middle - (median - low) * stretch[0], middle, middle + (high - median) * stretch[1]),
            dim=-1,
        )
        apart = answers[:, :, 3] - raw[:, 3]
        disagreement = (apart * apart).mean(0).sqrt() * self.temperature
        chance = torch.sigmoid(raw[:, 3] * self.temperature)
        return levels, chance, disagreement, self.strangeness(hidden, tokens)


def quantiles(raw: Tensor) -> Tensor:
    """Return the three uncalibrated quantiles of raw outputs; they never cross."""
    median = raw[..., 0]
    below = functional.softplus(raw[..., 1] + 0.5)
    above = functional.softplus(raw[..., 2] + 0.5)
    return torch.stack((median - below, median, median + above), dim=-1)
