"""CleanRL: the one changed line of `ppo_continuous_action.py`, and the environments that the script makes of it.

    env_id: str = "hyperexec_env:HyperExec-v0"

or, without a change, `python ppo_continuous_action.py --env-id hyperexec_env:HyperExec-v0`: gymnasium imports the module
before the colon, which registers the environment. For the discrete scripts (`ppo.py`, `dqn.py`) the line in `make_env` is
`env = gym.make(env_id, action_mode="discrete")`.
"""

from __future__ import annotations

import gymnasium as gym
import numpy as np

ENV_ID = "hyperexec_env:HyperExec-v0"


def make_env(env_id: str, gamma: float = 1.0) -> gym.Env:
    """Return an environment in the wrappers that the script puts around it."""
    env: gym.Env = gym.make(env_id)
    env = gym.wrappers.FlattenObservation(env)
    env = gym.wrappers.RecordEpisodeStatistics(env)
    env = gym.wrappers.ClipAction(env)
    env = gym.wrappers.NormalizeObservation(env)
    env = gym.wrappers.TransformObservation(env, lambda seen: np.clip(seen, -10.0, 10.0), env.observation_space)
    env = gym.wrappers.NormalizeReward(env, gamma=gamma)
    return gym.wrappers.TransformReward(env, lambda reward: np.clip(reward, -10.0, 10.0))


def main(steps: int = 100, lanes: int = 4) -> list[float]:
    """Step the environments as the script does, with random actions; return the episodic returns that it would log."""
    envs = gym.vector.SyncVectorEnv([lambda: make_env(ENV_ID)] * lanes, autoreset_mode=gym.vector.AutoresetMode.SAME_STEP)
    envs.action_space.seed(1)
    envs.reset(seed=1)
    returns: list[float] = []
    for _ in range(steps):
        *_, infos = envs.step(envs.action_space.sample())
        if "final_info" in infos:
            over = infos["final_info"]["_episode"]
            returns += infos["final_info"]["episode"]["r"][over].tolist()
    envs.close()
    return returns


if __name__ == "__main__":
    print(f"mean return of random actions: {np.mean(main()):.1f} bps")
