"""The Gymnasium environments: observations, actions and rewards. `envs` translates for agents; `market` simulates."""

from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.envs.vector import HyperExecVectorEnv

__all__ = ["HyperExecEnv", "HyperExecVectorEnv"]
