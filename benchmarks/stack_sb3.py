"""stable-baselines3 and sb3-contrib: each algorithm with its default hyperparameters, on the native vector environment."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import sb3_contrib
import stable_baselines3
import torch
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.torch_layers import get_actor_critic_arch

from hyperexec_env.evaluation.network import NetworkPolicy
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.training.adapter import BatchVecEnv
from hyperexec_env.training.export import DISCRETE, policy_of

ROLLOUT: Final = 2048
"""Slices between two updates of PPO, TRPO and MaskablePPO: the default `n_steps` of their single environment."""


class Lanes(NamedTuple):
    """Parallel environments. With more lanes an off-policy algorithm takes fewer gradient steps: one per step of all lanes."""

    on_policy: int
    off_policy: int


def train(
    name: str, scenario: Scenario, seed: int, slices: int, lanes: Lanes, network: tuple[int, ...] = ()
) -> tuple[NetworkPolicy, Any]:
    """Train an algorithm of either library.

    Args:
        name: Class of the algorithm.
        scenario: The scenario.
        seed: Seed of the weights, the exploration and the market.
        slices: Slices to trade.
        lanes: Parallel environments; ARS, which plays whole episodes one after the other, has one.
        network: Units of the hidden layers of what acts; (): the library's. Critics, which a policy file does not hold, keep
            the library's layers.

    Returns:
        The exported policy, and the model's own deterministic action as a function of observations (episodes, features).
    """
    torch.set_num_threads(1)
    algorithm = name.lower()
    kind = getattr(stable_baselines3, name, None) or getattr(sb3_contrib, name)
    mode = "discrete" if algorithm in DISCRETE else "pace"
    policy, options = "MlpPolicy", dict[str, Any](gamma=1.0)  # finite horizon: rewards are not discounted
    count = lanes.off_policy if issubclass(kind, OffPolicyAlgorithm) else lanes.on_policy
    if name in ("PPO", "TRPO", "MaskablePPO"):
        options["n_steps"] = min(ROLLOUT, slices) // count
    if name == "ARS":
        count, policy, options = 1, "LinearPolicy", {}
    env = BatchVecEnv(count, seed, scenario=scenario, action_mode=mode)
    if network:
        own = kind(policy, env, device="cpu", **options).policy
        critic = get_actor_critic_arch(own.net_arch)[1]
        options["policy_kwargs"] = {"net_arch": {"pi": [*network], "qf": critic} if hasattr(own, "actor") else [*network]}
    model = kind(policy, env, seed=seed, device="cpu", **options).learn(slices)
    exported = policy_of(model, algorithm, mode, True, name)
    return exported, lambda observations: model.predict(observations, deterministic=True)[0]
