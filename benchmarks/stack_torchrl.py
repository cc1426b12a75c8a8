"""torchrl: PPO with the settings of `examples/torchrl_ppo.py`."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from tensordict import TensorDict

from hyperexec_env.evaluation.network import NetworkPolicy
from hyperexec_env.market.scenario import Scenario

EXAMPLE: Final = Path(__file__).parent.parent / "examples" / "torchrl_ppo.py"


def train(scenario: Scenario, seed: int, slices: int) -> tuple[NetworkPolicy, Any]:
    """Train the actor of the example.

    Returns:
        The exported policy, and the mode of the actor's distribution as a function of observations (episodes, features).
    """
    torch.set_num_threads(1)
    actor = runpy.run_path(str(EXAMPLE))["train"](slices, scenario, seed)
    linear = [layer for layer in actor.modules() if isinstance(layer, torch.nn.Linear)]
    layers = [(layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy()) for layer in linear]
    layers[-1] = layers[-1][0][:1], layers[-1][1][:1]  # the location; the second output is the scale
    policy = NetworkPolicy("torchrl PPO", tuple(layers), "tanh", "tanh", "pace", True, seed)

    def act(observations: Any) -> Any:
        with torch.no_grad():
            seen = TensorDict({"observation": torch.from_numpy(observations)}, batch_size=[len(observations)])
            distribution = actor.get_dist(seen)
            return np.asarray(distribution.deterministic_sample)[:, 0]

    return policy, act
