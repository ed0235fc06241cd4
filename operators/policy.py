"""The policy leg: PPO over features and the virtual position its own actions imply.

It never sees the portfolio, so the dataflow has no cycle; training and serving share the
position rules in `models.ppo.rules`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.ppo.actor import Actor
from models.ppo.rules import NEVER_CLOSES, Integers, PositionRules, next_position
from operators.messages import Checkpoint, CrossSection, Leg
from operators.stage import checkpoint_due, freeze


@dataclass(slots=True)
class VirtualPositions:
    """What the policy's own actions imply, in the universe's order."""

    position: Integers  # (symbols,): -1, 0 or 1
    held: Integers  # (symbols,): bars since it last changed


class Policy:
    """Answer each cross-section with the policy's leg, and move the virtual positions."""

    def __init__(
        self, actor: Actor, rules: PositionRules, symbols: int, checkpoint_every: int
    ) -> None:
        self.state = VirtualPositions(np.zeros(symbols, np.int64), np.zeros(symbols, np.int64))
        self.actor = actor
        self.rules = rules
        self.checkpoint_every = checkpoint_every

    def on(self, message: Any) -> Iterable[Any]:
        """Act on a `CrossSection`; drop what else flows by, it goes on elsewhere."""
        if not isinstance(message, CrossSection):
            return ()
        before = self.state
        probabilities = self.actor.act(
            message.features, before.position, before.held, message.ready
        )
        position, held = next_position(
            probabilities,
            before.position,
            before.held,
            _bars_left(message),
            message.ready,
            self.rules,
        )
        self.state = VirtualPositions(position, held)
        value, certainty = self.actor.view(probabilities, message.ready)
        leg = Leg(
            name="policy",
            ts_close=message.ts_close,
            value=value,
            certainty=certainty,
            skill=float(self.actor.artefact.entry["skill"]["value"]),
            abstains=~message.ready,
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
            return (leg,)
        return (leg, Checkpoint(ts_close=message.ts_close, stage="policy", state=freeze(self)))

    def on_end(self) -> Iterable[Any]:
        """Report nothing."""
        return ()


def _bars_left(cross: CrossSection) -> Integers:
    """Return how many bars each symbol's session still has."""
    return np.array(
        [
            NEVER_CLOSES if bar is None or bar.session_left is None else bar.session_left
            for bar in cross.bars
        ],
        np.int64,
    )
