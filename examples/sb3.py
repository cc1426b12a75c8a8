"""stable-baselines3 and sb3-contrib: PPO, RecurrentPPO without the regime, and MaskablePPO with discrete actions.

pip install stable-baselines3 sb3-contrib
"""

from __future__ import annotations

import sys

from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3 import PPO

import hyperexec_env as hx

TIME_LEFT = 9
"""Number of the feature `time_left`, which is 1 where an episode begins."""


def ppo(timesteps: int) -> hx.ObservationPolicy:
    """Train PPO on one environment, on any seed: boards have episodes of their own."""
    model = PPO("MlpPolicy", hx.make("regime-day"), n_steps=26 * 40, batch_size=260, gamma=1.0, seed=0, device="cpu")
    model.learn(timesteps)
    return hx.ObservationPolicy("PPO", lambda observation: model.predict(observation, deterministic=True)[0])


def recurrent_ppo(timesteps: int) -> hx.ObservationPolicy:
    """Train a policy with memory, which infers the hidden regime from the past."""
    env = hx.make("regime-day", observe_regime=False)
    model = RecurrentPPO("MlpLstmPolicy", env, n_steps=26 * 10, batch_size=26 * 5, gamma=1.0, seed=0, device="cpu")
    model.learn(timesteps)
    memory = None

    def act(observation):
        nonlocal memory
        begins = observation[:, TIME_LEFT] == 1.0
        action, memory = model.predict(observation, None if begins.all() else memory, begins, deterministic=True)
        return action

    return hx.ObservationPolicy("RecurrentPPO", act, observe_regime=False)


def maskable_ppo(timesteps: int) -> hx.ObservationPolicy:
    """Train on discrete levels; MaskablePPO asks the environment for `action_masks()`."""
    env = hx.make("regime-day", action_mode="discrete")
    model = MaskablePPO("MlpPolicy", env, n_steps=26 * 40, batch_size=260, gamma=1.0, seed=0, device="cpu")
    model.learn(timesteps)
    return hx.ObservationPolicy("MaskablePPO", lambda seen: model.predict(seen, deterministic=True)[0], action_mode="discrete")


def main(timesteps: int = 200_000, episodes: int = 2_000) -> hx.Board:
    """Train the three and judge them against the baselines."""
    policies = [train(timesteps) for train in (ppo, recurrent_ppo, maskable_ppo)]
    return hx.evaluate("regime-day", ["baselines", *policies], episodes=episodes)


if __name__ == "__main__":
    print(main(*map(int, sys.argv[1:])))
