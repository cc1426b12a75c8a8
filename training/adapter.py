"""stable-baselines3 meets the native batch: a `VecEnv` with no work per lane.

stable-baselines3 does not take Gymnasium's vector environments, so this class speaks its protocol and passes arrays through.
Only lanes that end cost a dictionary each, because the protocol wants one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.vec_env.base_vec_env import VecEnv

from hyperexec_env.envs.vector import HyperExecVectorEnv

__all__ = ["TRAINING_SEEDS", "BatchVecEnv"]

TRAINING_SEEDS = 2**40
"""Lane seeds of training start here; the seeds of evaluations are below 2^32."""


class BatchVecEnv(VecEnv):
    """The native vector environment as a stable-baselines3 `VecEnv`.

    Args:
        lanes: Number of lanes.
        seed: Training seed; lane i gets the seed 2^40 + 2^20 seed + i.
        reward_scale: Multiplies the reward (bps), so that values are near one for the critic.
        options: Options of the environment.
    """

    def __init__(self, lanes: int, seed: int, reward_scale: float = 1.0, **options: Any) -> None:
        """Make the environment and seed its lanes."""
        self.batch = HyperExecVectorEnv(lanes, AutoresetMode.SAME_STEP, **options)
        super().__init__(lanes, self.batch.single_observation_space, self.batch.single_action_space)
        self.reward_scale = reward_scale
        self._first_seed: int | None = None
        self.seed(seed)
        self._actions: NDArray[Any] = np.empty(0)
        self._lengths = np.zeros(lanes, dtype=np.int64)
        self._none: list[dict[str, Any]] = [{} for _ in range(lanes)]

    def reset(self) -> NDArray[np.float32]:
        """Begin the next episode in every lane."""
        observation, _ = self.batch.reset(seed=self._first_seed)
        self._first_seed = None
        self._lengths[:] = 0
        return observation

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for :meth:`step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Trade one slice in every lane; lanes that end begin their next episode at once."""
        observation, reward, ended, _, info = self.batch.step(self._actions)
        self._lengths += 1
        infos = self._none
        if ended.any():
            infos = self._none.copy()
            objective = info["final_info"]["objective_bps"]
            for lane in np.flatnonzero(ended).tolist():
                episode = {"r": -float(objective[lane]), "l": int(self._lengths[lane]), "t": 0.0}
                infos[lane] = {
                    "terminal_observation": info["final_obs"][lane],
                    "episode": episode,
                    "TimeLimit.truncated": False,
                }
            self._lengths[ended] = 0
        return observation, (reward * self.reward_scale).astype(np.float32), ended, infos

    def close(self) -> None:
        """Release nothing."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of the batch, the same for every lane."""
        return [getattr(self.batch, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: the lanes share one batch."""
        raise AttributeError(f"cannot set {attr_name!r} on lanes: they share one batch")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Call a method of the batch once and return its result lane by lane (for `action_masks`)."""
        result = getattr(self.batch, method_name)(*method_args, **method_kwargs)
        return [result[lane] for lane in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Return False for every lane: nothing wraps them."""
        return [False] * len(list(self._get_indices(indices)))

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seed the lanes from the next reset on, always in the range of training."""
        if seed is not None:
            self._first_seed = TRAINING_SEEDS + 2**20 * seed
        return [None if self._first_seed is None else self._first_seed + lane for lane in range(self.num_envs)]
