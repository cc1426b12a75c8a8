"""What an agent sees, may do and is paid. It translates; it does not simulate."""

from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.envs.vector import HyperExecVectorEnv

__all__ = ["HyperExecEnv", "HyperExecVectorEnv"]
