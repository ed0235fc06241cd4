"""The policy leg: PPO over features and the virtual position its own actions imply.

It never sees the portfolio, so the dataflow has no cycle; training and serving share the
position rules in `models.ppo.rules`. What cannot be read (masked, not finite, or the stale price
of a cut feed) is not acted on: the position stays, and the leg abstains.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.ppo.actor import Actor
from models.ppo.rules import NEVER_CLOSES, Flags, Integers, PositionRules, next_position
from models.seen import trained_until
from operators.messages import BarQuality, Checkpoint, CrossSection, Leg
from operators.model_age import ModelAge, ModelAgeSettings, Told
from operators.stage import checkpoint_due, freeze


@dataclass(slots=True)
class VirtualPositions:
    """What the policy's own actions imply, in the universe's order; and its age as told."""

    position: Integers  # (symbols,): -1, 0 or 1
    held: Integers  # (symbols,): bars since it last changed
    age: Told


class Policy:
    """Answer each cross-section with the policy's leg, and move the virtual positions."""

    def __init__(
        self,
        actor: Actor,
        rules: PositionRules,
        ages: ModelAgeSettings,
        symbols: int,
        checkpoint_every: int,
    ) -> None:
        nothing = np.zeros(symbols, np.int64)
        self.state = VirtualPositions(nothing, nothing, Told())
        self.age = ModelAge(trained_until(actor.artefact.entry), ages)
        self.actor = actor
        self.rules = rules
        self.checkpoint_every = checkpoint_every

    def on(self, message: Any) -> Iterable[Any]:
        """Act on a `CrossSection`; drop what else flows by, it goes on elsewhere."""
        if not isinstance(message, CrossSection):
            return ()
        before, readable = self.state, _readable(message)
        probabilities = self.actor.act(message.features, before.position, before.held, readable)
        position, held = next_position(
            probabilities,
            before.position,
            before.held,
            _bars_left(message),
            readable,
            self.rules,
        )
        told = list(self.age.tell(before.age, "policy", message.ts_close))
        self.state = VirtualPositions(position, held, before.age)
        value, certainty = self.actor.view(probabilities, readable)
        leg = Leg(
            name="policy",
            ts_close=message.ts_close,
            value=value,
            certainty=certainty,
            skill=float(self.actor.artefact.entry["skill"]["value"]),
            abstains=~readable,
            detail={
                "p_short": probabilities[:, 0],
                "p_flat": probabilities[:, 1],
                "p_long": probabilities[:, 2],
                "position_before": before.position.astype(np.float64),
                "position": position.astype(np.float64),
            },
            model=self.actor.artefact.identity,
        )
        if not checkpoint_due(message.ts_close, message.interval, self.checkpoint_every):
            return (*told, self.age.aged(leg))
        return (
            *told,
            self.age.aged(leg),
            Checkpoint(ts_close=message.ts_close, stage="policy", state=freeze(self)),
        )

    def on_end(self) -> Iterable[Any]:
        """Report nothing."""
        return ()


def _readable(cross: CrossSection) -> Flags:
    """Return which symbols may be acted on, (symbols,); the others keep what they have.

    Those with a full window of finite features whose bar is no gap: while a feed is cut, the
    last price stands there as if it were still true.
    """
    seen = [bar is not None and bar.quality is not BarQuality.GAP for bar in cross.bars]
    finite = np.isfinite(cross.features[:, -1]).all(axis=1)
    readable: Flags = cross.ready & finite & np.array(seen, np.bool_)
    return readable


def _bars_left(cross: CrossSection) -> Integers:
    """Return how many bars each symbol's session still has."""
    return np.array(
        [
            NEVER_CLOSES if bar is None or bar.session_left is None else bar.session_left
            for bar in cross.bars
        ],
        np.int64,
    )
