"""CleanRL: its published single file `ppo_continuous_action.py`, run from a wheel of the package with the changes below.

    pip download --no-deps --only-binary=:all: --python-version 3.10 cleanrl==1.2.0

The package asks for Python below 3.11 and for gymnasium 0.28; the file itself needs neither after the changes.
"""

from __future__ import annotations

import contextlib
import io
import sys
import zipfile
from typing import Any, Final

import gymnasium as gym
import numpy as np
import torch

from hyperexec_env.evaluation.network import NetworkPolicy
from hyperexec_env.market.scenario import Scenario

FILE: Final = "cleanrl/ppo_continuous_action.py"
CHANGES: Final = (
    # gymnasium 1 asks for the new space; the line is left out, because a policy file holds no clipped observations
    ("        env = gym.wrappers.TransformObservation(env, lambda obs: np.clip(obs, -10, 10))\n", ""),
    # the reset that gymnasium 0.28 had
    (
        "args.gamma) for i in range(args.num_envs)]\n",
        "args.gamma) for i in range(args.num_envs)], autoreset_mode=gym.vector.AutoresetMode.SAME_STEP\n",
    ),
    # logs
    ('for info in infos["final_info"]:', "for info in ():"),
    (
        "from torch.utils.tensorboard import SummaryWriter",
        "from unittest.mock import MagicMock\n\nSummaryWriter = lambda folder: MagicMock()",
    ),
)
"""Changes of the file, as (old text, new text)."""
_CONSTANT: Final = 1e-6
"""Variance of a feature below which it never changed."""


def source(wheel: str) -> str:
    """Return the changed file of a wheel.

    Raises:
        ValueError: The wheel is not one of the version whose lines are changed.
    """
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(FILE).decode()
    for old, new in CHANGES:
        if text.count(old) != 1:
            raise ValueError(f"{wheel} must be the wheel of cleanrl 1.2.0: its {FILE} lacks {old.strip()!r}")
        text = text.replace(old, new)
    return text


def train(wheel: str, scenario: Scenario, seed: int, slices: int) -> tuple[NetworkPolicy, Any]:
    """Run the file with its default options, but for gamma (1: finite horizon) and the number of slices.

    Returns:
        The exported policy, and the agent's own mean action as a function of observations (episodes, features).
    """
    torch.set_num_threads(1)
    name = "HyperExec-stack-v0"
    gym.registry.pop(name, None)
    gym.register(name, entry_point="hyperexec_env:HyperExecEnv", kwargs={"scenario": scenario})
    words = ["--env-id", name, "--seed", str(seed), "--total-timesteps", str(slices), "--gamma", "1", "--cuda", "false"]
    words += ["--num-steps", str(min(2048, slices))]
    names: dict[str, Any] = {"__name__": "__main__", "__file__": FILE}
    given, sys.argv = sys.argv, [FILE, *words]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(source(wheel), FILE, "exec"), names)  # noqa: S102 - the user's own wheel
    finally:
        sys.argv = given
    agent, env = names["agent"], names["envs"].envs[0]
    while not isinstance(env, gym.wrappers.NormalizeObservation):
        env = env.env
    usual, _ = env.unwrapped.reset()
    return _exported(agent.actor_mean, env.obs_rms, env.epsilon, usual, seed)


def _exported(actor: Any, seen: Any, epsilon: float, usual: Any, seed: int) -> tuple[NetworkPolicy, Any]:
    """Return the policy of an actor on normalised observations; the normalisation becomes part of the first layer.

    A feature that never changed has its `usual` value for ever, and goes to the bias: divided by a standard deviation of
    rounding, it would swamp the float32 of the weights.
    """
    linear = [layer for layer in actor if isinstance(layer, torch.nn.Linear)]
    layers = [(layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()) for layer in linear]
    deviation, mean = np.sqrt(seen.var.astype(float) + epsilon), seen.mean.astype(float)
    constant = seen.var < _CONSTANT
    weight, bias = layers[0]
    shift = (np.where(constant, usual, 0.0) - mean) / deviation
    layers[0] = weight * np.where(constant, 0.0, 1.0 / deviation), bias + weight @ shift
    plain = tuple((weight.astype(np.float32), bias.astype(np.float32)) for weight, bias in layers)
    policy = NetworkPolicy("CleanRL PPO", plain, "tanh", "clip", "pace", True, seed)

    def act(observations: Any) -> Any:
        with torch.no_grad():
            normalised = torch.Tensor((observations - mean) / deviation)
            return np.clip(actor(normalised).numpy()[:, 0], -1.0, 1.0)

    return policy, act
