"""The three legs become one score: weighted by what each has proved and how sure it is.

A leg's confidence is its skill (measured out of sample) times its certainty (the rank of this
output among its validation outputs), so a leg that knows little cannot outvote one that does.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import msgspec
import numpy as np

from operators.frozen import Migration
from operators.messages import CrossSection, Floats, Fused, Leg, Tally

LEGS = ("forecast", "policy", "sentiment")  # the order of every sum and of `Fused.legs`


class FusionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Prior weights of the legs; only their ratios matter.

    The thresholds on score and confidence are risk's: see `RiskSettings`.
    """

    # Forecast and policy read the same features with different aims, so neither comes first;
    # news is rarer and its skill is declared until outcomes exist, so it gets half.
    forecast: float = 0.4
    policy: float = 0.4
    sentiment: float = 0.2

    def __post_init__(self) -> None:
        """Refuse weights that cannot be normalised."""
        weights = (self.forecast, self.policy, self.sentiment)
        if not all(0.0 <= weight < np.inf for weight in weights) or sum(weights) <= 0.0:
            raise ValueError("the legs' weights must be at least 0, finite and not all 0")


def leg_confidence(leg: Leg, ready: Any) -> tuple[Floats, Any]:
    """Return a leg's confidence (symbols,) in [0, 1] and which symbols it speaks for.

    A leg is silent where it abstains, where the symbol is not ready and where its numbers are
    not finite; its confidence there is 0.
    """
    speaks = ready & ~leg.abstains & np.isfinite(leg.value) & np.isfinite(leg.certainty)
    certainty = np.clip(np.where(speaks, leg.certainty, 0.0), 0.0, 1.0)
    return min(max(leg.skill, 0.0), 1.0) * certainty, speaks


def fuse(cross: CrossSection, legs: Sequence[Leg], settings: FusionSettings) -> Fused:
    """Fuse the legs of one cross-section; `legs` may come in any order.

    - weight: prior x confidence, 0 where the leg is silent, scaled so that each symbol's
      weights sum to 1 (all stay 0 if no leg has confidence);
    - score: sum of weight x value, in [-1, 1];
    - confidence: mean of the confidences of the legs that speak, weighted by their priors; a
      silent leg neither helps nor hurts; 0 if all are silent;
    - disagreement: weighted standard deviation of the values around the score, in [0, 1]:
      1 when two equal weights say -1 and +1.

    Raises:
        ValueError: a leg is missing, unknown or twice.
    """
    ordered = tuple(sorted(legs, key=lambda leg: LEGS.index(leg.name)))
    if tuple(leg.name for leg in ordered) != LEGS:
        raise ValueError(f"expected the legs {LEGS}, found {[leg.name for leg in legs]}")
    size = len(cross.symbols)
    weights = np.zeros((len(LEGS), size))
    values = np.zeros((len(LEGS), size))
    total, spoken, trusted = np.zeros(size), np.zeros(size), np.zeros(size)
    # Sums run leg by leg in a fixed order, element by element, so that every bit repeats.
    for row, leg in enumerate(ordered):
        prior = getattr(settings, leg.name)
        confidence, speaks = leg_confidence(leg, cross.ready)
        values[row] = np.clip(np.where(speaks, leg.value, 0.0), -1.0, 1.0)
        weights[row] = prior * confidence
        total += weights[row]
        spoken += np.where(speaks, prior, 0.0)
        trusted += prior * confidence
    weights /= np.where(total > 0.0, total, 1.0)
    score, spread = np.zeros(size), np.zeros(size)
    for row in range(len(LEGS)):
        score += weights[row] * values[row]
    score = np.clip(score, -1.0, 1.0)
    for row in range(len(LEGS)):
        spread += weights[row] * (values[row] - score) ** 2
    return Fused(
        cross=cross,
        legs=ordered,
        weights=weights,
        score=score,
        confidence=np.clip(trusted / np.where(spoken > 0.0, spoken, 1.0), 0.0, 1.0),
        disagreement=np.clip(np.sqrt(spread), 0.0, 1.0),
    )


@dataclass(slots=True)
class Pending:
    """What has arrived of one bar close."""

    cross: CrossSection | None = None
    legs: dict[str, Leg] = field(default_factory=dict)

    def complete(self) -> bool:
        """Say whether everything is there."""
        return self.cross is not None and len(self.legs) == len(LEGS)


@dataclass(slots=True)
class FusionState:
    """Bar closes that wait for a part, and the last one that was fused."""

    pending: dict[int, Pending] = field(default_factory=dict)
    fused_until: int = 0
    repeated: int = 0


class Fusion:
    """Join each cross-section with its three legs and emit `Fused` in order of `ts_close`.

    The parts may come in any interleaving. A part of a bar close that was already fused, or a
    second copy of one that waits, is dropped and counted. Other messages pass through.

    >>> stage = Fusion(FusionSettings())
    >>> list(stage.on("another message"))
    ['another message']
    """

    # Orders have gained fields since, which are absent in those of before.
    migrations: ClassVar[dict[str, Migration]] = {"1-5e65fafd7359": Migration(lambda state: state)}

    def __init__(self, settings: FusionSettings) -> None:
        self.settings = settings
        self.state = FusionState()

    def on(self, message: Any) -> Iterable[Any]:
        """Take a `CrossSection` or `Leg`; return the bar closes it completes."""
        if not isinstance(message, CrossSection | Leg):
            return (message,)
        state = self.state
        if message.ts_close <= state.fused_until:
            return self._repeated()
        pending = state.pending.setdefault(message.ts_close, Pending())
        if isinstance(message, Leg):
            if message.name in pending.legs:
                return self._repeated()
            pending.legs[message.name] = message
        elif pending.cross is not None:
            return self._repeated()
        else:
            pending.cross = message
        out = []
        # An earlier bar close that still waits holds back the later ones: risk is a path.
        for ts_close in sorted(state.pending):
            first = state.pending[ts_close]
            if first.cross is None or not first.complete():
                break
            del state.pending[ts_close]
            state.fused_until = ts_close
            out.append(fuse(first.cross, tuple(first.legs.values()), self.settings))
        return out

    def _repeated(self) -> Iterable[Any]:
        self.state.repeated += 1
        return (Tally(key="fusion", name="repeated", count=self.state.repeated),)

    def on_end(self) -> Iterable[Any]:
        """Report nothing; what is incomplete stays in state."""
        return ()
