"""skrl: PPO on the native vector environment.

pip install skrl
"""

from __future__ import annotations

import sys
import tempfile

import torch
from skrl.agents.torch.ppo import PPO
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.models.torch import DeterministicMixin, GaussianMixin, Model
from skrl.trainers.torch import SequentialTrainer
from skrl.utils import set_seed
from torch import nn

import hyperexec_env as hx

LANES = 64
OPTIONS = {"rollouts": 26, "learning_epochs": 10, "mini_batches": 8, "discount_factor": 1.0, "learning_rate": 3e-4}


def perceptron(inputs: int, outputs: int) -> nn.Sequential:
    """Return two hidden layers of 64 units."""
    return nn.Sequential(nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs))


class Policy(GaussianMixin, Model):
    """A normal distribution around a perceptron."""

    def __init__(self, observations, actions, device) -> None:
        """Make the layers."""
        Model.__init__(self, observation_space=observations, action_space=actions, device=device)
        GaussianMixin.__init__(self)  # the environment clips actions
        self.net, self.log_std = (
            perceptron(self.num_observations, self.num_actions),
            nn.Parameter(torch.zeros(self.num_actions)),
        )

    def compute(self, inputs, role=""):
        """Return the mean of the action."""
        return self.net(inputs["observations"]), {"log_std": self.log_std}


class Value(DeterministicMixin, Model):
    """A perceptron."""

    def __init__(self, observations, actions, device) -> None:
        """Make the layers."""
        Model.__init__(self, observation_space=observations, action_space=actions, device=device)
        DeterministicMixin.__init__(self)
        self.net = perceptron(self.num_observations, 1)

    def compute(self, inputs, role=""):
        """Return the value."""
        return self.net(inputs["observations"]), {}


def main(timesteps: int = 200_000, episodes: int = 2_000) -> hx.Board:
    """Train PPO and judge it against the baselines."""
    set_seed(0)
    env = wrap_env(hx.make_vec("regime-day", LANES, autoreset_mode="SameStep"), verbose=False)
    spaces = (env.observation_space, env.action_space, env.device)
    models = {"policy": Policy(*spaces), "value": Value(*spaces)}
    with tempfile.TemporaryDirectory() as folder:
        agent = PPO(
            models=models,
            memory=RandomMemory(memory_size=OPTIONS["rollouts"], num_envs=LANES, device=env.device),
            observation_space=env.observation_space,
            action_space=env.action_space,
            device=env.device,
            cfg={**OPTIONS, "rewards_shaper": lambda rewards, *_: 0.1 * rewards, "experiment": _experiment(folder)},
        )
        cfg = {"timesteps": timesteps // LANES, "headless": True, "disable_progressbar": True}
        SequentialTrainer(env=env, agents=agent, cfg=cfg).train()

    def act(observation):
        with torch.no_grad():
            return models["policy"].net(torch.from_numpy(observation)).numpy()

    return hx.evaluate("regime-day", ["baselines", hx.ObservationPolicy("skrl PPO", act)], episodes=episodes)


def _experiment(folder: str):
    """Return settings that write nothing outside a folder."""
    from skrl.agents.torch import ExperimentCfg

    return ExperimentCfg(directory=folder, write_interval=0, checkpoint_interval=0)


if __name__ == "__main__":
    print(main(*map(int, sys.argv[1:])))
