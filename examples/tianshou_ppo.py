"""tianshou: PPO by its high-level interface.

pip install "tianshou[eval]"
"""

from __future__ import annotations

import sys

import torch
from tianshou.highlevel.config import OnPolicyTrainingConfig
from tianshou.highlevel.env import EnvFactoryRegistered, VectorEnvType
from tianshou.highlevel.experiment import ExperimentConfig, PPOExperimentBuilder
from tianshou.highlevel.params.algorithm_params import PPOParams

import hyperexec_env as hx  # registers HyperExec-v0

LANES = 8


def main(timesteps: int = 200_000, episodes: int = 2_000) -> hx.Board:
    """Train PPO and judge it against the baselines."""
    envs = EnvFactoryRegistered(task="HyperExec-v0", venv_type=VectorEnvType.DUMMY, scenario="regime-day")
    batch = 26 * LANES * 5
    training = OnPolicyTrainingConfig(
        max_epochs=1,
        epoch_num_steps=timesteps,
        collection_step_num_env_steps=batch,
        num_training_envs=LANES,
        num_test_envs=1,
        test_step_num_episodes=10,
        buffer_size=batch,
        batch_size=260,
        update_step_num_repetitions=10,
    )
    experiment = (
        PPOExperimentBuilder(envs, ExperimentConfig(persistence_enabled=False, watch=False, device="cpu"), training)
        .with_ppo_params(PPOParams(gamma=1.0, gae_lambda=0.95, lr=3e-4, return_scaling=True))
        .with_actor_factory_default(hidden_sizes=(64, 64))
        .with_critic_factory_default(hidden_sizes=(64, 64))
        .build()
    )
    policy = experiment.run().world.algorithm.policy
    policy.eval()

    def act(observation):
        with torch.no_grad():
            (mean, _), _ = policy.actor(observation)
        return policy.map_action(mean.numpy())

    return hx.evaluate("regime-day", ["baselines", hx.ObservationPolicy("tianshou PPO", act)], episodes=episodes)


if __name__ == "__main__":
    print(main(*map(int, sys.argv[1:])))
