"""HyperExec: the Gymnasium environment of optimal execution, ``gym.make("HyperExec-v0")``."""

from gymnasium.envs.registration import register, registry

from hyperexec_env.version import __version__

__all__ = ["__version__"]

if "HyperExec-v0" not in registry:
    register(
        id="HyperExec-v0",
        entry_point="hyperexec_env.envs.single:HyperExecEnv",
        vector_entry_point="hyperexec_env.envs.vector:HyperExecVectorEnv",
        # the horizon is part of the problem (no time limit), and the environment checks order and actions by itself
        disable_env_checker=True,
        order_enforce=False,
    )
