"""torchrl: PPO on `GymEnv("HyperExec-v0")`.

pip install torchrl
"""

from __future__ import annotations

import sys

import torch
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.collectors import Collector
from torchrl.envs import GymEnv
from torchrl.modules import NormalParamExtractor, ProbabilisticActor, TanhNormal, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

import hyperexec_env as hx  # registers HyperExec-v0

BATCH = 26 * 40
"""Slices in an update: 40 days or more."""


def perceptron(inputs: int, outputs: int) -> nn.Sequential:
    """Return two hidden layers of 64 units."""
    return nn.Sequential(nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs))


def train(timesteps: int, scenario: hx.ScenarioLike = "regime-day", seed: int = 0) -> ProbabilisticActor:
    """Train PPO on one environment, in updates of :data:`BATCH` slices, and return the actor."""
    torch.manual_seed(seed)
    env = GymEnv("HyperExec-v0", scenario=scenario)
    env.set_seed(seed)
    features = env.observation_spec["observation"].shape[-1]
    mean = TensorDictModule(
        nn.Sequential(perceptron(features, 2), NormalParamExtractor()), in_keys=["observation"], out_keys=["loc", "scale"]
    )
    actor = ProbabilisticActor(
        mean, in_keys=["loc", "scale"], distribution_class=TanhNormal, return_log_prob=True, spec=env.action_spec
    )
    critic = ValueOperator(perceptron(features, 1), in_keys=["observation"])
    advantage = GAE(gamma=1.0, lmbda=0.95, value_network=critic)
    loss = ClipPPOLoss(actor, critic, clip_epsilon=0.2, entropy_coeff=0.0)
    optimiser = torch.optim.Adam(loss.parameters(), lr=3e-4)
    collector = Collector(env, actor, frames_per_batch=BATCH, total_frames=timesteps, auto_register_policy_transforms=False)
    for batch in collector:
        batch["next", "reward"] *= 0.1  # bps: keep the critic's targets near one
        for _ in range(10):
            advantage(batch)
            for part in batch.reshape(-1)[torch.randperm(BATCH)].split(260):
                parts = loss(part)
                optimiser.zero_grad()
                (parts["loss_objective"] + parts["loss_critic"]).backward()
                nn.utils.clip_grad_norm_(loss.parameters(), 0.5)
                optimiser.step()
    collector.shutdown()
    return actor


def main(timesteps: int = 200_000, episodes: int = 2_000) -> hx.Board:
    """Train PPO and judge it against the baselines."""
    actor = train(timesteps)

    def act(observation):
        with torch.no_grad():
            return torch.tanh(actor[0](torch.from_numpy(observation))[0]).numpy()

    return hx.evaluate("regime-day", ["baselines", hx.ObservationPolicy("torchrl PPO", act)], episodes=episodes)


if __name__ == "__main__":
    print(main(*map(int, sys.argv[1:])))
