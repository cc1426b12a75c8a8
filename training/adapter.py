"""Adapter of the native vector environment to stable-baselines3, and snapshots of the complete training state as arrays.

stable-baselines3 does not accept Gymnasium's vector environments. This class implements its `VecEnv` protocol and passes arrays
through. Python work per lane occurs only when a lane ends, because the protocol requires a dictionary for that lane.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.vec_env.base_vec_env import VecEnv

from hyperexec_env.envs.basket_vector import HyperExecBasketVectorEnv
from hyperexec_env.envs.touch_vector import HyperExecTouchVectorEnv
from hyperexec_env.envs.vector import HyperExecVectorEnv
from hyperexec_env.envs.venues_vector import HyperExecVenuesVectorEnv
from hyperexec_env.market.basket_scenario import BasketScenario
from hyperexec_env.market.touch_scenario import TouchScenario
from hyperexec_env.market.venue_scenario import VenueScenario

__all__ = ["TRAINING_SEEDS", "BatchVecEnv", "restore", "snapshot"]

TRAINING_SEEDS = 2**40
"""Smallest lane seed of training. Boards have a stream of their own, so this only separates trainings from small seeds."""


_KINDS: dict[type, Any] = {
    BasketScenario: HyperExecBasketVectorEnv,
    TouchScenario: HyperExecTouchVectorEnv,
    VenueScenario: HyperExecVenuesVectorEnv,
}
"""Vector environment of each kind of scenario but that of one asset."""


class BatchVecEnv(VecEnv):
    """The native vector environment as a stable-baselines3 `VecEnv`.

    Args:
        lanes: Number of lanes.
        seed: Training seed; lane i has the seed 2^40 + 2^20 seed + i.
        reward_scale: Multiplier of the reward (bps), so that the critic's targets are near one.
        options: Options of the environment.

    Raises:
        ValueError: The reward is a vector.
    """

    def __init__(self, lanes: int, seed: int, reward_scale: float = 1.0, **options: Any) -> None:
        """Create the environment and seed its lanes."""
        kind = _KINDS.get(type(options.get("scenario")), HyperExecVectorEnv)
        self.batch: Any = kind(lanes, AutoresetMode.SAME_STEP, **options)
        if getattr(self.batch.task, "parts", ()):
            raise ValueError("reward must be a number for stable-baselines3, got 'cost-risk': pass a function of an Outcome")
        super().__init__(lanes, self.batch.single_observation_space, self.batch.single_action_space)
        self.reward_scale = reward_scale
        self._first_seed: int | None = None
        self.seed(seed)
        self._actions: NDArray[Any] = np.empty(0)
        self._lengths = np.zeros(lanes, dtype=np.int64)
        self._none: list[dict[str, Any]] = [{} for _ in range(lanes)]

    def reset(self) -> NDArray[np.float32]:
        """Begin the next episode in every lane."""
        observation: NDArray[np.float32] = self.batch.reset(seed=self._first_seed)[0]
        self._first_seed = None
        self._lengths[:] = 0
        return observation

    def position(self) -> dict[str, NDArray[Any]]:
        """Return the positions of all lanes in their episodes, after the first reset."""
        return {**self.batch.position(), "lengths": self._lengths.copy()}

    def go_on(self, position: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Restore the lanes to a position of :meth:`position`, and return the observations, shape (lanes, features).

        The next reset does not reseed the lanes.
        """
        self._lengths[:] = position["lengths"]
        self._first_seed = None
        restored: NDArray[np.float32] = self.batch.go_on(position)
        return restored

    def step_async(self, actions: NDArray[Any]) -> None:
        """Store the actions for :meth:`step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Trade one slice in every lane; lanes whose episode ends begin the next episode in the same step."""
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
        """Do nothing: there is nothing to release."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of the batch, the same for every lane."""
        return [getattr(self.batch, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Raise an AttributeError, because the lanes share one batch."""
        raise AttributeError(f"cannot set {attr_name!r} on lanes: they share one batch")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Call a method of the batch once and return its result lane by lane (for `action_masks`)."""
        result = getattr(self.batch, method_name)(*method_args, **method_kwargs)
        return [result[lane] for lane in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Return False for every lane, because lanes are never wrapped."""
        return [False] * len(list(self._get_indices(indices)))

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seed the lanes at the next reset, offset into the range of training seeds."""
        if seed is not None:
            self._first_seed = TRAINING_SEEDS + 2**20 * seed
        return [None if self._first_seed is None else self._first_seed + lane for lane in range(self.num_envs)]


_PROGRESS = ("num_timesteps", "_n_updates", "_episode_num", "_n_calls", "exploration_rate", "_current_progress_remaining")
_BUFFER = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def snapshot(model: Any) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the complete state of a model on a :class:`BatchVecEnv` between two updates: arrays, and values for JSON.

    The state contains weights, optimiser states, the filled part of a replay buffer, the positions of the episodes, the states
    of the random generators and the progress. It omits the statistics of recent episodes, which are only logged.
    """
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - stable-baselines3 draws from the global generator
    tensors = {key: values.detach().cpu().numpy().copy() for key, values in _weights(model)}
    tensors |= {f"environment/{key}": values for key, values in model.get_env().position().items()}
    tensors |= {"random/torch": torch.get_rng_state().numpy(), "random/numpy": np.asarray(keys)}
    if model._last_episode_starts is not None:
        tensors["episode_starts"] = np.array(model._last_episode_starts)
    buffer = getattr(model, "replay_buffer", None)
    if buffer is not None:
        filled = len(buffer.observations) if buffer.full else buffer.pos
        tensors |= {f"buffer/{key}": getattr(buffer, key)[:filled] for key in _BUFFER}
    return tensors, {
        "progress": {key: getattr(model, key) for key in _PROGRESS if hasattr(model, key)},
        "numpy": [name, *rest],
        "actions": model.action_space.np_random.bit_generator.state,
        "buffer": None if buffer is None else {"pos": buffer.pos, "full": buffer.full},
    }


def restore(model: Any, tensors: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> None:
    """Restore a state taken by :func:`snapshot` into a model built with the same options.

    Raises:
        KeyError, RuntimeError, ValueError: The state belongs to a different model.
    """
    for name, state in model.get_parameters().items():
        part = _part(model, name)
        if "param_groups" not in state:
            part.load_state_dict({key: _tensor(tensors, f"{name}/{key}") for key in state})
            continue
        moments: dict[int, dict[str, Any]] = {}
        for key in (key for key in tensors if key.startswith(f"{name}/")):
            moments.setdefault(int(key.split("/")[1]), {})[key.split("/")[2]] = _tensor(tensors, key)
        part.load_state_dict({**state, "state": moments})
    if getattr(model, "log_ent_coef", None) is not None:
        model.log_ent_coef.data.copy_(_tensor(tensors, "log_ent_coef"))
    for key, value in about["progress"].items():
        setattr(model, key, value)
    _refill(model, tensors, about["buffer"])
    model._last_obs = model.get_env().go_on(
        {key.removeprefix("environment/"): values for key, values in tensors.items() if key.startswith("environment/")}
    )
    if "episode_starts" in tensors:
        model._last_episode_starts = tensors["episode_starts"].copy()
    name, *rest = about["numpy"]
    np.random.set_state((name, tensors["random/numpy"], *rest))  # noqa: NPY002 - stable-baselines3 draws from it
    torch.set_rng_state(_tensor(tensors, "random/torch"))
    model.action_space.np_random.bit_generator.state = about["actions"]


def _weights(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the weights and optimiser states of a model by name."""
    for name, state in model.get_parameters().items():
        if "param_groups" not in state:
            yield from ((f"{name}/{key}", values) for key, values in state.items())
            continue
        for index, moments in state["state"].items():
            yield from ((f"{name}/{index}/{key}", torch.as_tensor(values)) for key, values in moments.items())
    if getattr(model, "log_ent_coef", None) is not None:
        yield "log_ent_coef", model.log_ent_coef


def _part(model: Any, name: str) -> Any:
    """Return the attribute of a model at a dotted path."""
    for word in name.split("."):
        model = getattr(model, word)
    return model


def _tensor(tensors: Mapping[str, NDArray[Any]], name: str) -> torch.Tensor:
    return torch.from_numpy(tensors[name].copy())


def _refill(model: Any, tensors: Mapping[str, NDArray[Any]], position: Mapping[str, Any] | None) -> None:
    """Restore the stored transitions into the replay buffer, if the model has one."""
    if position is None:
        return
    buffer = model.replay_buffer
    buffer.pos, buffer.full = position["pos"], position["full"]
    for key in _BUFFER:
        values = tensors[f"buffer/{key}"]
        getattr(buffer, key)[: len(values)] = values
