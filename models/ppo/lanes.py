"""Many environments in step: the same `look` and `take` over arrays, for stable-baselines3."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from models.features import Singles
from models.ppo.environment import action_space, look, observation_space, take
from models.ppo.market import Market
from models.ppo.rules import Integers, PositionRules


class Lanes(VecEnv):  # type: ignore[misc] # the package has no types
    """`count` episodes of a market side by side; a lane that ends begins another at once.

    Lanes start within their first episode at random rows, so that they stand at different
    hours of different days: their market-wide moves then do not coincide.
    """

    def __init__(self, market: Market, rules: PositionRules, count: int, seed: int) -> None:
        """Make `count` lanes; `cost_share` may be changed between steps."""
        super().__init__(count, observation_space(), action_space())
        self.market = market
        self.rules = rules
        self.cost_share = 1.0
        self.generator = np.random.Generator(np.random.PCG64(seed))
        self.row = np.zeros(count, dtype=np.int64)
        self.last = np.zeros(count, dtype=np.int64)
        self.position = np.zeros(count, dtype=np.int64)
        self.held = np.zeros(count, dtype=np.int64)
        self._actions = np.zeros(count, dtype=np.int64)
        self._queue: Integers = np.empty(0, dtype=np.int64)

    def reset(self) -> Singles:
        """Begin all lanes anew and return their observations, (lanes, features + 2)."""
        self._begin(np.arange(self.num_envs))
        self.row = self.generator.integers(self.row, self.last, endpoint=True)
        return look(self.market, self.row, self.position, self.held)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Take the lanes' actions, (lanes,)."""
        self._actions = actions.astype(np.int64)

    def step_wait(self) -> tuple[Singles, Singles, NDArray[np.bool_], list[dict[str, Any]]]:
        """Act in all lanes; return observations, rewards, which lanes ended, and their ends."""
        self.position, self.held, rewards = take(
            self.market,
            self.row,
            self.position,
            self.held,
            self._actions,
            self.rules,
            cost_share=self.cost_share,
        )
        over = self.row >= self.last
        closed = self.market.session_left[self.row] == 0
        self.row = self.row + 1
        seen = look(self.market, self.row, self.position, self.held)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        ended = np.flatnonzero(over)
        if len(ended):
            for lane in ended:
                infos[lane] = {
                    "terminal_observation": seen[lane].copy(),
                    "TimeLimit.truncated": not closed[lane],
                }
            self._begin(ended)
            seen[ended] = look(self.market, self.row[ended], self.position[ended], self.held[ended])
        return seen, rewards.astype(np.float32), over, infos

    def _begin(self, lanes: Integers) -> None:
        """Put fresh episodes into `lanes`; all episodes come once before any comes again."""
        while len(self._queue) < len(lanes):
            shuffled = self.generator.permutation(len(self.market.episodes))
            self._queue = np.concatenate((self._queue, shuffled))
        drawn, self._queue = self._queue[: len(lanes)], self._queue[len(lanes) :]
        self.row[lanes], self.last[lanes] = self.market.episodes[drawn].T
        self.position[lanes] = 0
        self.held[lanes] = 0

    def close(self) -> None:
        """Release nothing: all lives in arrays."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return the attribute for each lane asked for."""
        return [getattr(self, attr_name, None) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:  # noqa: ARG002
        """Refuse: lanes share their settings."""
        raise TypeError(f"lanes share their settings, so {attr_name} cannot be set for one")

    def env_method(
        self,
        method_name: str,
        *args: Any,  # noqa: ARG002
        indices: Any = None,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> list[Any]:
        """Refuse: lanes are rows of arrays, not objects."""
        raise TypeError(f"lanes are rows of arrays, so there is no {method_name} to call on one")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:  # noqa: ARG002
        """Say that no lane is wrapped."""
        return [False for _ in self._get_indices(indices)]

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Restart the generator that draws episodes."""
        if seed is not None:
            self.generator = np.random.Generator(np.random.PCG64(seed))
        return [seed] * self.num_envs
