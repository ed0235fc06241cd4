"""The market as a Gymnasium environment: the features, costs and rules that serving uses.

    import gymnasium, models.ppo.environment
    env = gymnasium.make("nextgen/Positions-v0", market=market, rules=rules_for(interval))

The observation is the last feature row with the virtual position and its holding time. The
action is the position wanted: 0, 1, 2 for short, flat, long; `rules.allowed` says what is
granted. The reward of a bar is

    (position * next return - costs) / max(volatility of one bar, cost of one side)
        - RISK_AVERSION / 2 * position ** 2

a mean-variance utility in units of risk, which adds up over bars. The differential Sharpe
ratio would need running moments of past rewards in the observation, which serving does not
have; dividing by the volatility known at the bar gives each symbol and hour the same say, and
needs nothing but the bar. An episode is a part of one session and begins flat.
"""

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

from models.features import Floats, Singles
from models.ppo.market import Market, cost_of, reward_of
from models.ppo.rules import Integers, PositionRules, allowed, observe
from models.schema import CLIP, FEATURES

NAME = "nextgen/Positions-v0"


def observation_space() -> spaces.Box:
    """Return the space of (features + 2,) float32; the last two are position and holding time."""
    high = np.array([CLIP] * len(FEATURES) + [1.0, 1.0], dtype=np.float32)
    low = np.array([-CLIP] * len(FEATURES) + [-1.0, 0.0], dtype=np.float32)
    return spaces.Box(low, high, dtype=np.float32)


def action_space() -> spaces.Discrete:
    """Return the space of wanted positions: 0, 1, 2 for short, flat, long."""
    return spaces.Discrete(3)


def look(market: Market, rows: Integers, position: Integers, held: Integers) -> Singles:
    """Return the observations at `rows`, (lanes, features + 2)."""
    return observe(market.features[rows], position, held)


def take(
    market: Market,
    rows: Integers,
    position: Integers,
    held: Integers,
    actions: Integers,
    rules: PositionRules,
    *,
    cost_share: float = 1.0,
) -> tuple[Integers, Integers, Floats]:
    """Act at `rows`: return the positions granted, their holding times and the rewards.

    All arrays are (lanes,). `cost_share` scales the costs; training raises it from 0 to 1.
    """
    granted, stood = allowed(
        actions - 1, position, held, market.session_left[rows], market.ready[rows], rules
    )
    costs = cost_of(market, rows, granted - position, rules)
    net = granted * market.next_return[rows] - cost_share * costs
    return granted, stood, reward_of(market, rows, granted, net, rules)


class PositionsEnv(gymnasium.Env[Singles, np.int64]):
    """One symbol at a time; each episode is drawn by the environment's own generator."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(self, market: Market, rules: PositionRules) -> None:
        """Trade `market` under `rules`."""
        self.observation_space = observation_space()
        self.action_space = action_space()
        self.market = market
        self.rules = rules
        self._row = self._last = 0
        self._position = self._held = np.zeros(1, dtype=np.int64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Singles, dict[str, Any]]:
        """Begin a random episode, flat.

        `options` may name the "episode", and the "position" and "held" to begin it with.
        """
        super().reset(seed=seed)
        options = options or {}
        chosen = options.get("episode")
        if chosen is None:
            chosen = self.np_random.integers(len(self.market.episodes))
        self._row, self._last = (int(row) for row in self.market.episodes[chosen])
        self._position = np.array([options.get("position", 0)], dtype=np.int64)
        self._held = np.array([options.get("held", 0)], dtype=np.int64)
        return self._look(), self._where()

    def step(self, action: np.int64) -> tuple[Singles, float, bool, bool, dict[str, Any]]:
        """Want a position at this bar's close and earn until the next.

        Ends (`terminated`) with the session, where all are flat; is cut (`truncated`) elsewhere.
        """
        self._position, self._held, rewards = take(
            self.market,
            np.array([self._row]),
            self._position,
            self._held,
            np.array([action], dtype=np.int64),
            self.rules,
        )
        over = self._row >= self._last
        closed = bool(self.market.session_left[self._row] == 0)
        self._row += 1
        return self._look(), float(rewards[0]), over and closed, over and not closed, self._where()

    def _look(self) -> Singles:
        return look(self.market, np.array([self._row]), self._position, self._held)[0]

    def _where(self) -> dict[str, Any]:
        return {
            "symbol": self.market.symbols[self.market.symbol_of[self._row]],
            "ts_close": int(self.market.ts_close[self._row]),
            "position": int(self._position[0]),
            "held": int(self._held[0]),
        }


gymnasium.register(NAME, entry_point="models.ppo.environment:PositionsEnv")
