"""Replay a policy over past bars exactly as serving would: all symbols at one bar close."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.features import Floats, Singles
from models.ppo.market import Market, cost_of, reward_of
from models.ppo.rules import (
    NEVER_CLOSES,
    Flags,
    Integers,
    PositionRules,
    next_position,
    preference_of,
)

# (features (symbols, window, features), position, held, ready) -> probabilities (symbols, 3)
Act = Callable[[Singles, Integers, Integers, Flags], Floats]


@dataclass(frozen=True)
class Track:
    """What a policy did; arrays are (times, symbols), rows by bar close."""

    ts_close: Integers  # (times,)
    ready: Flags
    preference: Floats  # log-odds of long against short; 0 where not ready
    position: Integers  # after the bar's close
    traded: Floats  # |change of position|
    returns: Floats  # to the symbol's next bar in the same session
    earned: Floats  # position times the return to the symbol's next bar
    cost: Floats
    reward: Floats  # as training's environment gives it: net return in units of risk


def replay(market: Market, act: Act, rules: PositionRules) -> Track:
    """Let the policy act at every bar close in turn, from flat, and record what follows."""
    stamps, time_of = np.unique(market.ts_close, return_inverse=True)
    shape = (len(stamps), len(market.symbols))
    rows = np.full(shape, -1, dtype=np.int64)
    rows[time_of, market.symbol_of] = np.arange(len(market.ts_close))
    present = rows >= 0
    ready = present & market.ready[rows]
    left = np.where(present, market.session_left[rows], NEVER_CLOSES)
    positions = np.zeros(shape, dtype=np.int64)
    preference = np.zeros(shape)
    position = held = np.zeros(shape[1], dtype=np.int64)
    before = np.zeros(shape, dtype=np.int64)
    for time in range(shape[0]):
        features = market.features[rows[time]][:, None, :]  # (symbols, 1, features)
        probabilities = act(features, position, held, ready[time])
        before[time] = position
        position, held = next_position(
            probabilities, position, held, left[time], ready[time], rules
        )
        positions[time] = position
        preference[time] = preference_of(probabilities)
    traded = np.abs(positions - before).astype(np.float64)
    returns = np.where(present, market.next_return[rows], 0.0)
    earned = positions.astype(np.float64) * returns
    cost = cost_of(market, rows, traded, rules)
    return Track(
        ts_close=stamps,
        ready=ready,
        preference=np.where(ready, preference, 0.0),
        position=positions,
        traded=traded,
        returns=np.where(left == 0, 0.0, returns),
        earned=earned,
        cost=cost,
        reward=np.where(present, reward_of(market, rows, positions, earned - cost, rules), 0.0),
    )
