"""Train a policy by PPO (Schulman et al. 2017, stable-baselines3)."""

from __future__ import annotations

from hyperexec_env.training.ppo import Args, train
from hyperexec_env.training.run import Trained, trained

__all__ = ["Args", "main"]

ORDER = 3


def main(args: Args) -> Trained:
    """Train a policy, and return the policy and its folder."""
    return trained(train(args), args)
