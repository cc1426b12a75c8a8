"""The single environment, in Python floats."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from hyperexec_env.envs.action import PACES
from hyperexec_env.envs.episode import Block, Episode
from hyperexec_env.envs.observation import Situation, observation_space
from hyperexec_env.envs.task import build_task, check_reset_options
from hyperexec_env.market.checks import check_choice, check_integer
from hyperexec_env.market.kernel import close

__all__ = ["HyperExecEnv"]

_BLOCK = 512


class HyperExecEnv(gym.Env[NDArray[np.float32], Any]):
    r"""Execute a parent order before its deadline, slice by slice, at the least cost."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi", "rgb_array", "human"], "render_fps": 4}

    def __init__(
        self,
        scenario: Any = "regime-day",
        action_mode: str = "pace",
        reward: str = "expected",
        observe_regime: bool = True,
        random_side: bool = False,
        quantity_range: Any = None,
        render_mode: str | None = None,
    ) -> None:
        """Check the options; see the class for what they mean."""
        if render_mode is not None:
            check_choice("render_mode", render_mode, self.metadata["render_modes"])
        self.task = build_task(
            scenario,
            action_mode=action_mode,
            reward=reward,
            observe_regime=observe_regime,
            random_side=random_side,
            quantity_range=quantity_range,
        )
        self.render_mode = render_mode
        self.action_space = self.task.mode.space
        self.observation_space = observation_space()
        self._discrete, self._realised = self.task.mode.discrete, self.task.realised
        self._block: Block | None = None
        self._running: Episode | None = None
        self._seed: int | None = None
        self._number = -1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start the next episode of the seed (of a new seed: episode 0; `options={"episode": i}`: that one)."""
        super().reset(seed=seed)
        if seed is not None or self._seed is None:
            self._seed, self._number, self._block = self.np_random_seed, -1, None
        self._number += 1
        if options:
            given = check_reset_options(options, ("episode",))
            self._number = check_integer("reset option 'episode'", given["episode"], low=0, high=2**63 - 1)
        self._running = Episode(self.task, self._block_of(self._number), self._number)
        return self._running.observe(), self._info()

    def _block_of(self, number: int) -> Block:
        """Return the block that holds an episode; blocks double in size while episodes follow one another."""
        block = self._block
        if block is None or not block.first <= number < block.first + block.count:
            follows = block is not None and number == block.first + block.count
            count = min(2 * block.count, _BLOCK) if block is not None and follows else 1
            block = self._block = Block(self.task, int(self._seed or 0), number, count)
        return block

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Trade one slice as the action says."""
        return self._trade(self._going().shares(self._level(action) if self._discrete else self._value(action)))

    def trade(self, shares: float) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Trade a number of shares in this slice: what :meth:`step` does with an action, for policies that count in shares."""
        self._going()
        if shares != shares:
            raise ValueError(f"shares to trade must be a number, got {shares}")
        return self._trade(float(shares))

    def _going(self) -> Episode:
        episode = self._running
        if episode is None or not episode.left:
            raise ResetNeeded("the episode is over or was never begun: call reset() first")
        return episode

    def _trade(self, shares: float) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        episode: Any = self._running
        cost = episode.trade(shares)
        paid = cost.shortfall + cost.risk if self._realised else cost.expected
        if episode.left:
            return episode.observe(), paid * episode.scale, False, False, self._info() if self._discrete else {}
        paid += close(self.task.market.impact, episode.state, episode.quantity)[0 if self._realised else 1]
        return episode.observe(), paid * episode.scale, True, False, self._info() | episode.final_info()

    @staticmethod
    def _value(action: Any) -> float:
        """Return a continuous action as a float within the bounds."""
        try:
            shape = action.shape
        except AttributeError:
            action = np.asarray(action)
            shape = action.shape
        if shape != (1,):
            raise ValueError(f"action must be an array of shape (1,), got shape {shape}")
        value: float = action.item()
        if -1.0 <= value <= 1.0:
            return value
        if value != value:
            raise ValueError(f"action must be a number in [-1, 1], got {value}")
        return math.copysign(1.0, value)

    @staticmethod
    def _level(action: Any) -> int:
        """Return a discrete action as an int."""
        level = np.asarray(action)
        if level.shape != () or level.dtype.kind not in "iu" or not 0 <= level < len(PACES):
            raise ValueError(f"action must be a whole number in [0, {len(PACES) - 1}], got {action!r}")
        return int(level)

    def action_masks(self) -> NDArray[np.bool_]:
        """Return which discrete levels are worth trying (the name that sb3-contrib's MaskablePPO looks for)."""
        if not self._discrete or self._running is None:
            raise ValueError(f"action masks belong to action_mode='discrete' after reset(), got {self.task.mode.name!r}")
        return self._running.mask().astype(bool)

    def _info(self) -> dict[str, Any]:
        return {"action_mask": self.action_masks().astype(np.int8)} if self._discrete else {}

    @property
    def situation(self) -> Situation:
        """What a policy may know now, in natural units (floats)."""
        if self._running is None:
            raise ResetNeeded("call reset() before asking for the situation")
        return self._running.situation()
